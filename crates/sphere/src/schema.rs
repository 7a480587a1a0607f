//! What do our messages look like?
//!
//! JSON Schemas (2020-12), generated from the very types that are read and written, so that they can not
//! disagree. The copies under `contracts/` are compared with these by a test.

use crate::config::ConfigFile;
use crate::decide::{DecideInput, DecideOutput};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;
use sphere_core::{Decision, Forecast, Sample};
use sphere_scaling::ScalingSpec;
use std::collections::BTreeMap;

/// All schemas by name: `config`, `decide-input`, `decide-output`, `decision`, `forecast`, `sample`, `scaling-spec`.
pub fn all() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("config", of::<ConfigFile>()),
        ("decide-input", of::<DecideInput>()),
        ("decide-output", of::<DecideOutput>()),
        ("decision", of::<Decision>()),
        ("forecast", of::<Forecast>()),
        ("sample", of::<Sample>()),
        ("scaling-spec", of::<ScalingSpec>()),
    ])
}

fn of<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}
