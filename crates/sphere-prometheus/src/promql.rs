//! How is a question put in PromQL?

use std::time::Duration;

/// Longest matcher on namespaces, bytes; a longer list is asked about in several queries.
const MAX_MATCHER_BYTES: usize = 8 * 1024;

/// Can it name a label?
pub(crate) fn is_label_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.as_bytes().first().is_some_and(|b| !b.is_ascii_digit())
}

/// Can it name a metric?
pub(crate) fn is_metric_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
        && text.as_bytes().first().is_some_and(|b| !b.is_ascii_digit())
}

/// A string literal.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The text as a regular expression that matches only it.
fn escape_regex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A matcher for one of `values`: `label="a"` or `label=~"a|b"`.
pub(crate) fn one_of(label: &str, values: &[&str]) -> String {
    match values {
        [only] => format!("{label}={}", quote(only)),
        _ => {
            let escaped: Vec<String> = values.iter().map(|v| escape_regex(v)).collect();
            format!("{label}=~{}", quote(&escaped.join("|")))
        }
    }
}

/// `values` in groups, so that the matcher of each stays below its limit.
pub(crate) fn groups<'a>(values: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut groups: Vec<Vec<&str>> = Vec::new();
    let mut bytes = MAX_MATCHER_BYTES;
    for value in values {
        let length = escape_regex(value).len() + 1;
        if bytes + length > MAX_MATCHER_BYTES {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(group) = groups.last_mut() {
            group.push(value);
        }
    }
    groups
}

/// A duration as PromQL writes it: `40s`, `2500ms`.
pub(crate) fn duration(span: Duration) -> String {
    let ms = span.as_millis();
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// A query of the user in which what is older than `stale_after` is left out. Possible for a bare selector, such as
/// `queue_length{queue="mail"}`; what is in an expression only its author can limit, so it is left alone.
pub(crate) fn fresh(query: &str, stale_after: Duration) -> String {
    let query = query.trim();
    if !is_bare_selector(query) {
        return query.to_owned();
    }
    format!("{query} and timestamp({query}) >= time() - {}", stale_after.as_secs_f64())
}

fn is_bare_selector(query: &str) -> bool {
    let (name, rest) = query.find('{').map_or((query, ""), |at| query.split_at(at));
    if !is_metric_name(name.trim()) {
        return false;
    }
    // One pair of braces, closed by the last character, nothing but quoted text may hold another.
    let mut quoted: Option<char> = None;
    let mut skip = false;
    for (at, c) in rest.char_indices() {
        if std::mem::take(&mut skip) {
            continue;
        }
        match quoted {
            Some(_) if c == '\\' => skip = true,
            Some(end) if c == end => quoted = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quoted = Some(c),
            None if c == '}' => return at + 1 == rest.len(),
            None => {}
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_literally() {
        assert_eq!(one_of("namespace", &["shop"]), r#"namespace="shop""#);
        assert_eq!(one_of("namespace", &["a.b", "c|d"]), r#"namespace=~"a\\.b|c\\|d""#);
        assert_eq!(quote("a\"b\\"), r#""a\"b\\""#);
        assert_eq!(
            [duration(Duration::from_secs(40)), duration(Duration::from_millis(2500))],
            ["40s", "2500ms"]
        );
    }

    #[test]
    fn a_long_list_is_split_and_nothing_is_lost() {
        let names: Vec<String> = (0..1000).map(|i| format!("team-{i:04}-of-the-large-cluster")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let groups = groups(&names);
        assert!(groups.len() > 2);
        assert!(groups.iter().all(|group| one_of("n", group).len() < MAX_MATCHER_BYTES + 10));
        assert_eq!(groups.concat(), names);
        assert!(super::groups(&[]).is_empty());
    }

    #[test]
    fn only_a_bare_selector_can_be_checked_for_age() {
        for bare in ["queue", r#"queue{a="}",b=~'x"'}"#, " job:queue:sum "] {
            assert!(fresh(bare, Duration::from_secs(60)).contains("timestamp("), "{bare}");
        }
        for expression in
            ["sum(queue)", "queue + 1", r#"queue{a="b"} / 2"#, "queue[5m]", "1", "queue{a=\"", "up{"]
        {
            assert_eq!(fresh(expression, Duration::from_secs(60)), expression);
        }
    }
}
