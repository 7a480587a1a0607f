//! What did a workload do at one instant?
//!
//! One [`Sample`] per workload and step. Values that were not measured are `None`, never 0: a scraper that
//! fails must not look like a workload without users.

use crate::{Timestamp, WorkloadId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Measurements of one workload at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The workload measured.
    pub workload: WorkloadId,
    /// End of the interval the values describe.
    pub at: Timestamp,
    /// Total demand over all pods, in the unit of the workload's metric (cores, requests/s, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demand: Option<f64>,
    /// What one pod can carry, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_per_pod: Option<f64>,
    /// Replicas asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Replicas ready to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
    /// Pods were at their limit: `demand` is a lower bound of the true demand.
    #[serde(default)]
    pub censored: bool,
    /// Memory in use over all pods, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Where the numbers come from, e.g. `prometheus`.
    pub source: String,
}

/// Why a [`Sample`] can not be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A number is NaN, infinite or negative.
    #[error("{field} is {value}; a finite number of at least 0 is expected")]
    BadNumber {
        /// The offending field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
}

impl Sample {
    /// Checks that every number present is finite and not negative.
    pub fn validate(&self) -> Result<(), SampleError> {
        for (field, value) in [("demand", self.demand), ("capacity_per_pod", self.capacity_per_pod)] {
            if let Some(value) = value
                && !(value.is_finite() && value >= 0.0)
            {
                return Err(SampleError::BadNumber { field, value });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_is_not_zero() {
        let json = r#"{"workload":"a/Deployment/b","at":1000,"source":"test"}"#;
        let sample: Sample = serde_json::from_str(json).unwrap();
        assert_eq!(sample.demand, None);
        assert_eq!(sample.validate(), Ok(()));
        let nan = Sample { demand: Some(f64::NAN), ..sample };
        assert!(nan.validate().is_err());
    }
}
