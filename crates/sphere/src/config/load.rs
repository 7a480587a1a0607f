//! How does a file become a configuration?

use super::model::{ClockConfig, Config, SourceConfig, TargetConfig};
use super::read::{Problem, Reader, render};
use super::tree::{Content, Node, Place};
use serde_json::json;
use serde_saphyr::options;
use sphere_pipeline::workload::{Workload, WorkloadSpec, Workloads};
use sphere_simcluster::SimulatedClusterConfig;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Largest file that is read, bytes. Ten thousand workloads need about 2 MB.
const LARGEST_FILE: u64 = 64 << 20;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All but the workloads.
    pub config: Config,
    /// The workloads.
    pub workloads: Workloads,
}

/// What a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Stages whose workloads are listed.
    Pipeline,
    /// The operator, whose workloads are objects in the cluster. Absent keys mean: `source: kubernetes`, `store: memory`.
    Operator,
}

/// Reads a file; the error is all that is wrong with it, as people read it.
pub fn load(path: &Path) -> Result<Loaded, String> {
    load_for(path, Use::Pipeline)
}

/// Reads a file for a purpose.
pub fn load_for(path: &Path, purpose: Use) -> Result<Loaded, String> {
    let text = read_text(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    load_text_for(&path.display().to_string(), &text, folder, purpose)
}

fn read_text(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST_FILE {
        return Err(format!("{}: {size} bytes; at most {LARGEST_FILE} are read", path.display()));
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn parse(name: &str, text: &str) -> Result<Node, String> {
    // Truth values are true and false alone: a workload named `no` has that name. The limits against bombs of aliases
    // stay; those on size are ours.
    let options = options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_events: 20_000_000,
            max_nodes: 10_000_000,
            max_total_scalar_bytes: LARGEST_FILE as usize,
            max_reader_input_bytes: Some(LARGEST_FILE as usize),
        },
    };
    if text.trim().is_empty() {
        return Ok(Node { place: Place::default(), left_out: false, content: Content::Map(Vec::new()) });
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // Its own picture of the place would show the lines around it, and what secret may be in them.
        let place =
            error.location().map_or(Place::default(), |at| Place { line: at.line(), column: at.column() });
        let problem = error.without_snippet().to_string();
        let problem = Problem { file: name.into(), place, key: "YAML".into(), problem };
        render(&[problem], |_| Some(text.to_owned()))
    })
}

/// Reads the text of a file called `name`; other files it names are looked for in `folder`.
pub fn load_text(name: &str, text: &str, folder: &Path) -> Result<Loaded, String> {
    load_text_for(name, text, folder, Use::Pipeline)
}

/// Sets what an absent key means to the operator.
fn operator_defaults(root: &mut Node) {
    for (key, value) in [("source", "kubernetes"), ("store", "memory")] {
        if root.get(key).is_none()
            && let Content::Map(entries) = &mut root.content
        {
            let place = Place::default();
            let node = Node { place, left_out: false, content: Content::Scalar(value.into()) };
            entries.push((key.into(), place, node));
        }
    }
}

/// What can not be in a configuration for this purpose.
fn misplaced(purpose: Use, config: &Config, root: &Node, reader: &mut Reader<'_>) {
    match purpose {
        Use::Pipeline if config.source == SourceConfig::Kubernetes => {
            reader.meaning(
                root,
                "",
                "source",
                "kubernetes is for `sphere operator`; prometheus or simulatedCluster expected",
            );
        }
        Use::Pipeline => {}
        Use::Operator => {
            if config.source == SourceConfig::SimulatedCluster {
                reader.meaning(
                    root,
                    "",
                    "source",
                    "simulatedCluster given; `sphere operator` takes kubernetes or prometheus",
                );
            }
            if config.target != TargetConfig::None {
                reader.meaning(
                    root,
                    "",
                    "target",
                    "`sphere operator` scales the objects of the cluster; leave this out",
                );
            }
            if config.clock != ClockConfig::default() {
                reader.meaning(root, "", "clock", "`sphere operator` lives in real time; leave this out");
            }
            for key in ["workloads", "workloadDefaults", "workloadsFile"] {
                if root.get(key).is_some() {
                    reader.meaning(root, "", key, "`sphere operator` has its workloads from PredictiveAutoscaler objects; leave this out");
                }
            }
        }
    }
}

/// Reads the text of a file for a purpose.
pub fn load_text_for(name: &str, text: &str, folder: &Path, purpose: Use) -> Result<Loaded, String> {
    let mut root = parse(name, text)?;
    if let Content::Scalar(serde_json::Value::Null) = root.content {
        root.content = Content::Map(Vec::new());
    }
    let mut reader = Reader::new(name);
    if purpose == Use::Operator {
        operator_defaults(&mut root);
    }
    let whole = root.clone();
    let list = root.take("workloads");
    let defaults = root.take("workloadDefaults");
    let list_file = root.take("workloadsFile");
    let config: Option<Config> = reader.read(&mut root, "");
    let config = config.unwrap_or_default();
    for (key, problem) in config.problems() {
        reader.meaning(&root, "", &key, problem);
    }
    misplaced(purpose, &config, &whole, &mut reader);
    let mut texts = HashMap::from([(name.to_owned(), text.to_owned())]);
    let mut problems = std::mem::take(&mut reader.problems);
    let mut specs: Vec<WorkloadSpec> = Vec::new();
    if let Some(list) = &list {
        problems.extend(read_list(name, list, "workloads", defaults.as_ref(), &config, &mut specs));
    }
    if let Some(node) = &list_file {
        match node.to_json().as_str() {
            None => reader.problem(node.place, "workloadsFile", "the name of a file is expected"),
            Some(file) => {
                let path: PathBuf = folder.join(file);
                let shown = path.display().to_string();
                match read_text(&path) {
                    Err(error) => reader.problem(node.place, "workloadsFile", error),
                    Ok(more) => {
                        let list = parse(&shown, &more)?;
                        problems.extend(read_list(&shown, &list, "", defaults.as_ref(), &config, &mut specs));
                        texts.insert(shown, more);
                    }
                }
            }
        }
    }
    let simulated = config.simulated_cluster.as_ref().filter(|_| list.is_none() && list_file.is_none());
    if let Some(cluster) = simulated {
        problems.extend(simulated_specs(name, cluster, defaults.as_ref(), &config, &mut specs));
    }
    let none =
        purpose == Use::Pipeline && specs.is_empty() && problems.is_empty() && reader.problems.is_empty();
    if none {
        let place = list.as_ref().map_or(Place::default(), |node| node.place);
        reader.problem(
            place,
            "workloads",
            "none; at least one workload is expected in workloads or workloadsFile",
        );
    }
    problems.append(&mut reader.problems);
    if !problems.is_empty() {
        return Err(render(&problems, |file| texts.get(file).cloned()));
    }
    let workloads: Result<Vec<Workload>, _> = specs.into_iter().map(Workload::new).collect();
    let workloads = workloads.map_err(|error| error.to_string())?;
    Ok(Loaded { config, workloads: Workloads::new(workloads) })
}

/// An entry with the defaults it does not replace.
fn with_defaults(entry: &Node, defaults: Option<&Node>) -> Node {
    let mut merged = entry.clone();
    if let (Content::Map(entries), Some(defaults)) = (&mut merged.content, defaults) {
        let missing = defaults.entries().iter().filter(|(key, _, _)| entry.get(key).is_none());
        let missing: Vec<_> = missing.cloned().collect();
        entries.extend(missing);
    }
    merged
}

fn read_list(
    file: &str,
    list: &Node,
    prefix: &str,
    defaults: Option<&Node>,
    config: &Config,
    specs: &mut Vec<WorkloadSpec>,
) -> Vec<Problem> {
    let mut reader = Reader::new(file);
    let Content::List(entries) = &list.content else {
        reader.problem(list.place, prefix, "a list of workloads is expected");
        return reader.problems;
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    // What a workload can not be read without; what its owner forgot or misspelt shall not hide the other mistakes.
    let stand_ins = [
        ("namespace", json!("default")),
        ("scaleTargetRef", json!({ "name": "unknown" })),
        ("maxReplicas", json!(i32::MAX)),
    ];
    for (index, entry) in entries.iter().enumerate() {
        let prefix = format!("{prefix}[{index}]");
        let mut entry = with_defaults(entry, defaults);
        let Some(spec) = reader.read_with::<WorkloadSpec>(&mut entry, &prefix, &stand_ins) else { continue };
        for problem in spec.problems(config.step.0) {
            reader.meaning(&entry, &prefix, &problem.key, problem.problem);
        }
        if ["namespace", "scaleTargetRef"].iter().any(|key| entry.get(key).is_none_or(|node| node.left_out)) {
            // Which one it is, nobody knows.
            continue;
        }
        let target = &spec.scale_target_ref;
        let id = format!("{}/{}/{}", spec.namespace, target.kind, target.name);
        if let Some(first) = seen.insert(id.clone(), index) {
            reader.meaning(
                &entry,
                &prefix,
                "scaleTargetRef",
                format!("{id} is there twice; entry {first} is the same"),
            );
        }
        specs.push(spec);
    }
    reader.problems
}

/// One spec for each simulated workload, in its bounds, with the defaults.
fn simulated_specs(
    file: &str,
    cluster: &SimulatedClusterConfig,
    defaults: Option<&Node>,
    config: &Config,
    specs: &mut Vec<WorkloadSpec>,
) -> Vec<Problem> {
    let mut reader = Reader::new(file);
    let text = |value: &str| Content::Scalar(value.into());
    let node =
        |content| Node { place: defaults.map_or(Place::default(), |d| d.place), left_out: false, content };
    for workload in &cluster.workloads {
        for index in 0..workload.count {
            let place = Place::default();
            let target = vec![("name".to_owned(), place, node(text(&workload.name_of(index))))];
            let entries = vec![
                ("namespace".to_owned(), place, node(text(&workload.namespace))),
                ("scaleTargetRef".to_owned(), place, node(Content::Map(target))),
            ];
            let mut entry = with_defaults(&node(Content::Map(entries)), defaults);
            for (key, value) in
                [("minReplicas", workload.min_replicas), ("maxReplicas", workload.max_replicas)]
            {
                if entry.get(key).is_none()
                    && let Content::Map(entries) = &mut entry.content
                {
                    entries.push((key.into(), place, node(Content::Scalar(value.into()))));
                }
            }
            let Some(spec) = reader.read::<WorkloadSpec>(&mut entry, "workloadDefaults") else {
                return reader.problems;
            };
            for problem in spec.problems(config.step.0) {
                reader.meaning(&entry, "workloadDefaults", &problem.key, problem.problem);
            }
            if !reader.problems.is_empty() {
                // The same defaults have the same problems in every workload.
                return reader.problems;
            }
            specs.push(spec);
        }
    }
    reader.problems
}
