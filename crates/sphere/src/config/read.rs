//! What is wrong with the file, all of it?
//!
//! A part that can not be read is noted, left out, and reading is tried again: an unknown key hides no wrong type, and
//! neither hides what only the meaning shows.

use super::tree::{Node, Place, Step};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use std::fmt::Write as _;

/// Problems told at most; whoever has more of them reads the wrong file.
pub const MOST_PROBLEMS: usize = 100;

/// Something in the configuration that can not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in.
    pub file: String,
    /// Where, if it stands in a file.
    pub place: Place,
    /// The key, with dots.
    pub key: String,
    /// What is wrong, and what is accepted.
    pub problem: String,
}

/// Collects problems of one file.
#[derive(Debug)]
pub struct Reader<'a> {
    file: &'a str,
    /// What was found so far.
    pub problems: Vec<Problem>,
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { variant } => Some(Step::Key(variant.clone())),
            Segment::Unknown => None,
        })
        .collect()
}

/// A key with dots and brackets, as steps.
pub fn parse_key(key: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in key.split('.') {
        let (name, rest) = part.split_once('[').unwrap_or((part, ""));
        if !name.is_empty() {
            steps.push(Step::Key(name.into()));
        }
        steps.extend(rest.split('[').filter_map(|i| i.trim_end_matches(']').parse().ok()).map(Step::Index));
    }
    steps
}

fn join(prefix: &str, steps: &[Step]) -> String {
    let mut text = prefix.to_owned();
    for step in steps {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                let _ = write!(text, ".{key}");
            }
            Step::Index(index) => {
                let _ = write!(text, "[{index}]");
            }
        }
    }
    text
}

/// The name in backquotes that follows `before`.
fn quoted<'t>(text: &'t str, before: &str) -> Option<&'t str> {
    text.strip_prefix(before)?.strip_prefix('`')?.split('`').next()
}

impl<'a> Reader<'a> {
    /// Without problems yet.
    pub fn new(file: &'a str) -> Self {
        Self { file, problems: Vec::new() }
    }

    /// Notes a problem.
    pub fn problem(&mut self, place: Place, key: impl Into<String>, problem: impl Into<String>) {
        let (key, problem) = (key.into(), problem.into());
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem { file: self.file.into(), place, key, problem });
        }
    }

    /// Notes a problem of meaning, at the key below `node` it is about.
    pub fn meaning(&mut self, node: &Node, prefix: &str, key: &str, problem: impl Into<String>) {
        let steps = parse_key(key);
        if let Some(Step::Key(first)) = steps.first() {
            match node.entries().iter().find(|(k, _, _)| k == first) {
                // It was told already that it can not be read.
                Some((_, _, part)) if part.left_out => return,
                // What is absent from the file altogether stands nowhere.
                None if prefix.is_empty() => return self.problem(Place::default(), key, problem),
                _ => {}
            }
        }
        let whole = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        self.problem(node.place_of(&steps), whole, problem);
    }

    /// Reads a value; `None` when so much is wrong that there is none. Parts that were wrong are left out.
    pub fn read<T: DeserializeOwned>(&mut self, node: &mut Node, prefix: &str) -> Option<T> {
        self.read_with(node, prefix, &[])
    }

    /// The same, where some values are needed: for those that are wrong or absent stand others, by key, so that the
    /// rest is looked at all the same. Their nodes are left out, so nothing is told of their meaning.
    pub fn read_with<T: DeserializeOwned>(
        &mut self,
        node: &mut Node,
        prefix: &str,
        stand_ins: &[(&str, Value)],
    ) -> Option<T> {
        let mut removed: Vec<(Vec<Step>, String)> = Vec::new();
        let mut standing: Vec<&(&str, Value)> = Vec::new();
        while self.problems.len() < MOST_PROBLEMS {
            let mut json = node.to_json();
            for (key, value) in &standing {
                json[key] = value.clone();
            }
            let error = match serde_path_to_error::deserialize::<_, T>(json) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let mut path = steps(error.path());
            let text = error.inner().to_string();
            let missing = quoted(&text, "missing field ").map(str::to_owned);
            if let Some(unknown) = quoted(&text, "unknown field ")
                && path.last() != Some(&Step::Key(unknown.into()))
            {
                path.push(Step::Key(unknown.into()));
            }
            // A needed key that was there, but wrong, was told already.
            let told =
                missing.as_ref().is_some_and(|key| removed.iter().any(|(at, k)| *at == path && k == key));
            if !told {
                self.problem(node.place_of(&path), join(prefix, &path), text);
            }
            if path.is_empty()
                && let Some(key) = missing
                && let Some(stand_in) = stand_ins.iter().find(|(name, _)| *name == key)
            {
                node.leave_out(&key);
                standing.push(stand_in);
                continue;
            }
            if path.is_empty() {
                return None;
            }
            node.at_mut(&path)?.left_out = true;
            if let Some(Step::Key(key)) = path.last() {
                let key = key.clone();
                path.pop();
                removed.push((path, key));
            }
        }
        None
    }
}

/// The line, unless it looks as if a secret was written into the file.
fn showable<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    const SECRET: [&str; 6] = ["password", "secret", "token", "authorization", "credential", "headers"];
    let (key, lower) = (key.to_ascii_lowercase(), line.to_ascii_lowercase());
    let secret = SECRET.iter().any(|word| key.contains(word) || lower.contains(&format!("{word}:")))
        || (line.contains("://") && line.contains('@'));
    (!secret).then_some(line)
}

/// All problems as people read them: place, key, text, and the line with a caret.
pub fn render(problems: &[Problem], source: impl Fn(&str) -> Option<String>) -> String {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
    let many = if sorted.len() == 1 { "problem" } else { "problems" };
    let mut text = format!("{} {many} in the configuration\n", sorted.len());
    for problem in sorted {
        let Place { line, column } = problem.place;
        if line == 0 {
            let _ = writeln!(text, "{}: {}: {}", problem.file, problem.key, problem.problem);
            continue;
        }
        let _ = writeln!(text, "{}:{line}:{column}: {}: {}", problem.file, problem.key, problem.problem);
        let lines = source(&problem.file);
        let shown = lines.as_deref().and_then(|text| text.lines().nth(line as usize - 1));
        if let Some(shown) = shown {
            let Some(shown) = showable(shown, &problem.key) else {
                let _ = writeln!(text, "{line:>6} | (not shown: it may hold a secret)");
                continue;
            };
            let indent = " ".repeat((column as usize).saturating_sub(1));
            let _ = writeln!(text, "{line:>6} | {shown}\n       | {indent}^");
        }
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_steps() {
        let key = |name: &str| Step::Key(name.into());
        assert_eq!(parse_key("a.b[2].c"), [key("a"), key("b"), Step::Index(2), key("c")]);
        assert_eq!(parse_key("[3].x"), [Step::Index(3), key("x")]);
    }

    #[test]
    fn a_line_with_a_secret_is_not_repeated() {
        for (line, key) in [
            ("password: hunter2", "store.redis.password"),
            ("redis: {password: hunter2, retries: 99}", "store.redis.retries"),
            ("url: http://me:hunter2@host", "source.prometheus.url"),
            ("  X-Scope: hunter2", "source.prometheus.headers.X-Scope"),
        ] {
            assert_eq!(showable(line, key), None, "{line}");
        }
        assert!(showable("passwordFile: /etc/x", "store.redis.retries").is_some());
    }
}
