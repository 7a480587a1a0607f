//! Is the kill switch on?
//!
//! Three switches, each of which stops all writing by us to the targets it covers and gives raised minimums back;
//! decisions are still made and shown. None of them can be missed by a typing error: where a value can not be
//! read as "off", it is on.
//!
//! | switch | covers | on |
//! |---|---|---|
//! | ConfigMap `sphere-kill-switch` in the operator's namespace | everything | it is there, unless `data.disabled` is `"false"`; `data.reason` is shown |
//! | annotation `autoscaling.sphere.dev/disabled` on a namespace | its objects | any value but `"false"` |
//! | the same annotation on a PredictiveAutoscaler | this one | any value but `"false"` |

use std::collections::BTreeMap;

/// Name of the ConfigMap.
pub const CONFIG_MAP: &str = "sphere-kill-switch";
/// Name of the annotation.
pub const ANNOTATION: &str = "autoscaling.sphere.dev/disabled";

/// Does the ConfigMap stop everything? Then what to tell. `data` is `None` where there is no such ConfigMap.
pub fn config_map(namespace: &str, data: Option<&BTreeMap<String, String>>) -> Option<String> {
    let data = data?;
    if data.get("disabled").is_some_and(|value| is_false(value)) {
        return None;
    }
    let mut text = format!("ConfigMap {namespace}/{CONFIG_MAP}");
    if let Some(reason) = data.get("reason").map(|r| r.trim()).filter(|r| !r.is_empty()) {
        // A condition is no place for a novel.
        text.push_str(&format!(" ({})", reason.chars().take(200).collect::<String>()));
    }
    Some(text)
}

/// Do these annotations switch off what they are on?
pub fn annotated(annotations: Option<&BTreeMap<String, String>>) -> bool {
    annotations.and_then(|all| all.get(ANNOTATION)).is_some_and(|value| !is_false(value))
}

fn is_false(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("false")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_config_map_is_on_unless_it_says_off() {
        let on = |pairs: &[(&str, &str)]| config_map("sphere", Some(&data(pairs)));
        assert_eq!(config_map("sphere", None), None);
        assert_eq!(on(&[]).as_deref(), Some("ConfigMap sphere/sphere-kill-switch"));
        for value in ["true", "yes", "", "flase"] {
            assert!(on(&[("disabled", value)]).is_some(), "{value:?}");
        }
        assert_eq!(on(&[("disabled", " False ")]), None);
        assert!(on(&[("reason", "incident 42")]).unwrap().ends_with("(incident 42)"));
    }

    #[test]
    fn an_annotation_is_on_unless_it_says_off() {
        assert!(!annotated(None));
        assert!(!annotated(Some(&data(&[("other", "true")]))));
        assert!(!annotated(Some(&data(&[(ANNOTATION, "false")]))));
        assert!(annotated(Some(&data(&[(ANNOTATION, "true")]))));
        assert!(annotated(Some(&data(&[(ANNOTATION, "")]))));
    }
}
