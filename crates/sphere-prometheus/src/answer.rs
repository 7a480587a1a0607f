//! What did Prometheus say?
//!
//! The envelope of `/api/v1/query` and `/api/v1/query_range`, parsed in one pass without keeping what is not needed.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// The envelope.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope {
    pub status: String,
    #[serde(default)]
    pub data: Option<Data>,
    #[serde(default)]
    pub error_type: Option<String>,
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
    #[serde(default)]
    pub infos: Vec<String>,
}

/// The result and its type.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Data {
    pub result_type: String,
    pub result: Vec<Element>,
}

/// One series with one value (vector) or several (matrix).
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Series {
    #[serde(default)]
    pub metric: BTreeMap<String, String>,
    #[serde(default)]
    pub value: Option<Point>,
    #[serde(default)]
    pub values: Vec<Point>,
}

impl Series {
    /// A label; empty when it is not there, as in PromQL.
    pub fn label(&self, name: &str) -> &str {
        self.metric.get(name).map_or("", String::as_str)
    }

    /// The value of a vector's series; absent if it is no number that can be measured.
    pub fn measured(&self) -> Option<f64> {
        self.value.as_ref().and_then(|point| point.measured())
    }
}

/// An instant in milliseconds since the epoch and a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub at_ms: i64,
    pub value: f64,
}

impl Point {
    /// Finite and not negative, or absent.
    pub fn measured(self) -> Option<f64> {
        (self.value.is_finite() && self.value >= 0.0).then_some(self.value)
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (seconds, text): (f64, Number) = Deserialize::deserialize(deserializer)?;
        // Prometheus gives milliseconds as a fraction of a second.
        Ok(Point { at_ms: (seconds * 1000.0).round() as i64, value: text.0 })
    }
}

/// A number in quotes, `NaN` and `+Inf` among them.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Quoted;
        impl Visitor<'_> for Quoted {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in quotes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse()
                    .map(Number)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Quoted)
    }
}

/// Part of a result: a series, or half of the pair that a scalar is.
#[derive(Debug)]
pub(crate) enum Element {
    Series(Series),
    Time(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Element;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a series, an instant or a value")
            }
            fn visit_f64<E>(self, seconds: f64) -> Result<Element, E> {
                Ok(Element::Time(seconds))
            }
            fn visit_u64<E>(self, seconds: u64) -> Result<Element, E> {
                Ok(Element::Time(seconds as f64))
            }
            fn visit_i64<E>(self, seconds: i64) -> Result<Element, E> {
                Ok(Element::Time(seconds as f64))
            }
            fn visit_str<E>(self, text: &str) -> Result<Element, E> {
                Ok(Element::Text(text.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
                Series::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Element::Series)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Element, A::Error> {
                Err(serde::de::Error::custom("a list within the result"))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Data {
    /// The series of a vector or matrix; a scalar is one without labels.
    pub fn into_series(self) -> Result<Vec<Series>, String> {
        match self.result_type.as_str() {
            "vector" | "matrix" => self
                .result
                .into_iter()
                .map(|element| match element {
                    Element::Series(series) if series.value.is_none() && series.values.is_empty() => {
                        Err("a series without a number (a native histogram?)".into())
                    }
                    Element::Series(series) => Ok(series),
                    other => Err(format!("{other:?} where a series was expected")),
                })
                .collect(),
            "scalar" => match self.result.as_slice() {
                [Element::Time(seconds), Element::Text(text)] => {
                    let value = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
                    let point = Point { at_ms: (seconds * 1000.0).round() as i64, value };
                    Ok(vec![Series { value: Some(point), ..Series::default() }])
                }
                _ => Err("a scalar that is no pair of instant and value".into()),
            },
            other => Err(format!("a result of type {other:?}; vector, matrix or scalar expected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Vec<Series>, String> {
        let envelope: Envelope = serde_json::from_str(json).map_err(|e| e.to_string())?;
        envelope.data.ok_or("no data")?.into_series()
    }

    #[test]
    fn vectors_matrices_and_scalars_are_read_and_what_can_not_be_measured_is_absent() {
        let vector = parse(
            r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"pod":"a"},"value":[1435781451.781,"1.5"]},{"metric":{},"value":[1435781451,"NaN"]},
            {"metric":{},"value":[1,"-3"]},{"metric":{},"value":[1,"+Inf"]}]}}"#,
        )
        .unwrap();
        assert_eq!(vector[0].label("pod"), "a");
        assert_eq!(vector[0].value, Some(Point { at_ms: 1_435_781_451_781, value: 1.5 }));
        let measured: Vec<Option<f64>> = vector.iter().map(Series::measured).collect();
        assert_eq!(measured, [Some(1.5), None, None, None]);
        let matrix = parse(
            r#"{"status":"success","data":{"result":[{"metric":{"a":"b"},"values":[[1,"2"],[2,"3"]]}],"resultType":"matrix"}}"#,
        );
        assert_eq!(matrix.unwrap()[0].values.len(), 2);
        let scalar = parse(r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"7"]}}"#);
        assert_eq!(scalar.unwrap()[0].measured(), Some(7.0));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for json in [
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}}"#,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[[1]]}}"#,
            r#"{"status":"success"}"#,
            r#"{"data":7}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }
}
