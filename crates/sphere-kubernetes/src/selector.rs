//! Which pods does the text of a label selector mean?
//!
//! The scale subresource gives its selector as text (`app=web,tier in (a,b),!canary`), as `k8s.io/apimachinery/pkg/labels` writes
//! it. kube has the matching but reads no text.

use kube::core::{Expression, Selector};
use sphere_scaling::hpa::{LabelOperator, LabelSelector};

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("selector {text:?}: {problem}; expected e.g. app=web,tier in (a,b),!canary")]
pub struct ParseSelectorError {
    text: String,
    problem: &'static str,
}

/// Requirements, at commas that are not in parentheses.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    text.split(move |c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    })
    .map(str::trim)
}

/// Reads a selector. An empty one is an error: it would mean every pod.
pub(crate) fn parse(text: &str) -> Result<Selector, ParseSelectorError> {
    let fail = |problem| ParseSelectorError { text: text.chars().take(200).collect(), problem };
    if text.trim().is_empty() {
        return Err(fail("it is empty"));
    }
    parts(text).map(|part| requirement(part).map_err(fail)).collect()
}

fn is_key(key: &str) -> bool {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    !key.is_empty() && key.chars().all(named)
}

fn requirement(part: &str) -> Result<Expression, &'static str> {
    let key = |text: &str| {
        let key = text.trim();
        if is_key(key) { Ok(key.to_owned()) } else { Err("a key is not one") }
    };
    let value = |text: &str| {
        let value = text.trim();
        if value.is_empty() || is_key(value) { Ok(value.to_owned()) } else { Err("a value is not one") }
    };
    if let Some(rest) = part.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(key(rest)?));
    }
    if let Some((left, right)) = part.split_once("!=") {
        return Ok(Expression::NotEqual(key(left)?, value(right)?));
    }
    if let Some((left, right)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Expression::Equal(key(left)?, value(right)?));
    }
    if let Some((left, set)) = part.split_once('(') {
        let set = set.strip_suffix(')').ok_or("a parenthesis is not closed")?;
        let values = set.split(',').map(value).collect::<Result<_, _>>()?;
        let (left, operator) =
            left.trim().rsplit_once(char::is_whitespace).ok_or("an operator is missing")?;
        return match operator {
            "in" => Ok(Expression::In(key(left)?, values)),
            "notin" => Ok(Expression::NotIn(key(left)?, values)),
            _ => Err("an operator is neither in nor notin"),
        };
    }
    Ok(Expression::Exists(key(part)?))
}

/// The selector of a metric, as the metrics APIs take it.
pub(crate) fn text_of(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().map(|(k, v)| Expression::Equal(k.clone(), v.clone()));
    let further = selector.match_expressions.iter().map(|r| {
        let (key, values) = (r.key.clone(), r.values.iter().cloned().collect());
        match r.operator {
            LabelOperator::In => Expression::In(key, values),
            LabelOperator::NotIn => Expression::NotIn(key, values),
            LabelOperator::Exists => Expression::Exists(key),
            LabelOperator::DoesNotExist => Expression::DoesNotExist(key),
        }
    });
    labels.chain(further).collect::<Selector>().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::SelectorExt;
    use std::collections::BTreeMap;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn selectors_choose_pods_as_kubernetes_does() {
        let pod = [("app", "web"), ("tier", "b"), ("example.com/team", "x")];
        for (selector, chosen) in [
            ("app=web", true),
            ("app==web", true),
            ("app=db", false),
            ("app!=db", true),
            ("absent!=db", true),
            ("tier in (a,b)", true),
            ("tier in (a, c), app=web", false),
            ("tier notin (a,c),app=web", true),
            ("absent notin (a)", true),
            ("example.com/team", true),
            ("!canary", true),
            ("!app", false),
            ("app=web,tier in (a,b),!canary,example.com/team=x", true),
            ("app=", false),
        ] {
            assert_eq!(matches(selector, &pod), chosen, "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in
            ["", "  ", "app=web,", "a b", "tier in (a", "tier of (a)", "in (a)", "=web", "app=a b", "x>5"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_selector_of_a_metric_is_written_as_text() {
        let selector: LabelSelector = serde_json::from_str(
            r#"{"matchLabels": {"queue": "orders"}, "matchExpressions": [
                {"key": "region", "operator": "In", "values": ["us", "eu"]}, {"key": "old", "operator": "DoesNotExist"}]}"#,
        )
        .unwrap();
        assert_eq!(text_of(&selector), "queue=orders,region in (eu,us),!old");
    }
}
