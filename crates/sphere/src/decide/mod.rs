//! What would SPHERE have decided?
//!
//! `sphere decide` reads one JSON object per line ([`DecideInput`]) and writes one decision per line
//! ([`DecideOutput`]), with the code production runs, so that an incident can be replayed and a policy tried by
//! hand. Lines do not know each other; the same line gives the same answer on every machine.
//!
//! A bad line is told with its number, the path of the key, the value and what is accepted; it does not stop the
//! stream and leaves nothing half-written. Blank lines are skipped.

mod check;
mod input;
mod instant;
mod replay;

pub use check::{LineError, Problem};
pub use input::{
    ContainerInput, DecideInput, History, ObservationInput, PodInput, ReadingInput, SampleInput,
};
pub use instant::{Instant, parse_rfc3339};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use sphere_core::{Decision, Forecast};
use sphere_scaling::AutoscalerState;
use std::io::{self, BufRead, Write};

/// What to write beside the decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecideOptions {
    /// The forecast decided on.
    pub with_forecast: bool,
    /// The autoscaler's state after the decision, to go on from (`history.state`).
    pub with_state: bool,
}

/// The answer to one line: a [`Decision`] with more keys.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DecideOutput {
    /// The decision; its keys stand at the top.
    #[serde(flatten)]
    pub decision: Decision,
    /// The decision in one sentence.
    pub explanation: String,
    /// The forecast decided on, if it was asked for and there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// The autoscaler's state after the decision, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AutoscalerState>,
}

/// Written out because a flattened type that refuses unknown keys would refuse those beside it.
impl<'de> Deserialize<'de> for DecideOutput {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut keys = serde_json::Map::deserialize(from)?;
        let mut take = |key: &str| keys.remove(key).unwrap_or(serde_json::Value::Null);
        let (explanation, forecast, state) = (take("explanation"), take("forecast"), take("state"));
        let read = || -> Result<Self, serde_json::Error> {
            Ok(Self {
                explanation: serde_json::from_value(explanation)?,
                forecast: serde_json::from_value(forecast)?,
                state: serde_json::from_value(state)?,
                decision: serde_json::from_value(keys.into())?,
            })
        };
        read().map_err(de::Error::custom)
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines decided.
    pub decided: u64,
    /// Lines refused. If there are any, the command ends with exit code 2.
    pub refused: u64,
}

/// Decides on one line of JSON, the `line`-th of its stream (from 1).
pub fn decide_line(line: u64, text: &str, options: DecideOptions) -> Result<DecideOutput, LineError> {
    check::read(text).map(|input| answer(&input, options)).map_err(|problems| LineError { line, problems })
}

fn answer(input: &DecideInput, options: DecideOptions) -> DecideOutput {
    let replay::Replayed { decision, forecast, state } = replay::replay(input);
    DecideOutput {
        explanation: explain(&decision),
        decision,
        forecast: forecast.filter(|_| options.with_forecast),
        state: options.with_state.then_some(state),
    }
}

/// The decision in one sentence: `12 replicas (8 now): in 40 s demand is expected at …; …`.
pub fn explain(decision: &Decision) -> String {
    let Decision { desired, current, .. } = *decision;
    let noun = if desired == 1 { "replica" } else { "replicas" };
    let change = if desired == current { "as now".to_owned() } else { format!("{current} now") };
    let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    format!("{desired} {noun} ({change}): {}", reasons.join("; "))
}

/// Reads lines from `input` until its end and writes one decision per line to `output`, in their order.
///
/// Every refused line goes to `refused` as soon as it is met, and the stream goes on. `Err` only when reading
/// or writing fails.
pub fn run(
    mut input: impl BufRead,
    mut output: impl Write,
    options: DecideOptions,
    mut refused: impl FnMut(&LineError),
) -> io::Result<Summary> {
    let mut summary = Summary::default();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = match std::str::from_utf8(&bytes) {
            Ok(text) => decide_line(line, text, options),
            Err(error) => {
                let problem = format!("byte {} is not UTF-8", error.valid_up_to() + 1);
                Err(LineError { line, problems: vec![Problem { path: String::new(), problem }] })
            }
        };
        match answer {
            Ok(answer) => {
                let mut text = serde_json::to_vec(&answer)?;
                text.push(b'\n');
                output.write_all(&text)?;
                summary.decided += 1;
            }
            Err(error) => {
                refused(&error);
                summary.refused += 1;
            }
        }
    }
    output.flush()?;
    Ok(summary)
}
