//! Which merge patch makes one JSON value of another?
//!
//! RFC 7386: only what differs, `null` for what is gone, lists as a whole. So a status is written in a few bytes, and not
//! at all when nothing has changed.

use serde_json::{Map, Value};

/// The patch; `None`: there is nothing to change.
pub fn diff(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for (key, value) in new {
        // A missing object starts empty: its own nulls would be written otherwise.
        let nothing = Value::Null;
        if let Some(change) = diff(old.get(key).unwrap_or(&nothing), value) {
            patch.insert(key.clone(), change);
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// RFC 7386, section 2.
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (key, value) in patch {
            let Value::Object(members) = &mut *target else { return };
            if value.is_null() {
                members.remove(key);
            } else {
                apply(members.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }

    #[test]
    fn only_what_differs_is_in_it() {
        let old = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2], "f": {"g": 1}});
        let new = json!({"a": 1, "b": {"c": 2, "d": 4}, "e": [2]});
        assert_eq!(diff(&old, &new), Some(json!({"b": {"d": 4}, "e": [2], "f": null})));
        assert_eq!(diff(&old, &old), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..4i64).prop_map(Value::from)];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_patch_makes_the_one_of_the_other(old in value(), new in value()) {
            let mut patched = old.clone();
            if let Some(patch) = diff(&old, &new) {
                apply(&mut patched, &patch);
            }
            prop_assert_eq!(patched, new);
        }
    }
}
