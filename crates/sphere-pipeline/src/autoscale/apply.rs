//! How is a decision carried out?
//!
//! First all orders are planned within the change budget, one after the other; then they are given to the target a
//! few at a time; then everybody is told what became of them. An order that has no answer when the time of the sync is
//! over counts as failed: the next sync sees the size as it is.

use super::overseer::Outcome;
use super::subject::Subject;
use super::{AutoscaleStage, TARGET_CALLS};
use crate::metrics::Stage;
use crate::target::{Applied, TargetError};
use crate::workload::Workload;
use futures::stream::{self, StreamExt};
use sphere_core::{Decision, Mode};
use sphere_scaling::safety::ChangeBudget;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// What the target is asked for.
pub(super) struct Order {
    workload: Arc<Workload>,
    /// The HPA's minimum: a value, or `None` to give the field back.
    floor: Option<Option<u32>>,
    /// From, to.
    size: Option<(u32, u32)>,
}

/// The order that a decision leads to, as far as the budget allows; what it needs of the budget is spent.
pub(super) fn plan(
    stage: &AutoscaleStage,
    budget: &mut ChangeBudget,
    subject: &Subject,
    decision: &mut Decision,
) -> Order {
    let stands = |floor| stage.target.floor_stands(subject.workload(), floor);
    let floor = subject.floor_to_set(decision, stands);
    let mut order = Order { workload: subject.shared_workload(), floor, size: None };
    if !decision.applied || decision.mode < Mode::ScaleOut {
        return order;
    }
    let (now, from, mut to) = (decision.at, decision.current, decision.desired);
    if let Some(limit) = &stage.settings.change_limit {
        let granted = budget.grant(now, limit, from, to);
        decision.reasons.extend(granted.reason);
        to = granted.replicas;
        budget.spend(now, limit, from, to);
    }
    match to == from {
        true => decision.applied = false,
        false => order.size = Some((from, to)),
    }
    order
}

/// Gives orders to the target, [`TARGET_CALLS`] at a time; the outcomes in their order.
pub(super) async fn carry_out(
    stage: &AutoscaleStage,
    orders: Vec<Order>,
    patience: Duration,
) -> Vec<Outcome> {
    let deadline = Instant::now() + patience;
    stream::iter(orders)
        .map(|order| async move {
            let mut outcome = Outcome::default();
            if let Some(floor) = order.floor {
                outcome.floor = Some(within(deadline, stage.target.set_floor(&order.workload, floor)).await);
            }
            if let Some((from, to)) = order.size {
                outcome.size =
                    Some(within(deadline, stage.target.set_replicas(&order.workload, from, to)).await);
            }
            outcome
        })
        .buffered(TARGET_CALLS)
        .collect()
        .await
}

async fn within(
    deadline: Instant,
    call: impl Future<Output = Result<Applied, TargetError>>,
) -> Result<Applied, TargetError> {
    let late = || TargetError::Unavailable("no answer within the time of a sync".into());
    if Instant::now() >= deadline {
        return Err(late());
    }
    tokio::time::timeout_at(deadline, call).await.unwrap_or_else(|_| Err(late()))
}

/// Notes what became of a decision; returns the size it led to.
pub(super) fn settle(
    stage: &AutoscaleStage,
    budget: &mut ChangeBudget,
    subject: &mut Subject,
    decision: &mut Decision,
    asked: (Option<Option<u32>>, Option<(u32, u32)>),
    outcome: &Outcome,
) -> u32 {
    settle_floor(stage, subject, decision, asked.0, outcome);
    let (Some((from, to)), Some(answer)) = (asked.1, &outcome.size) else { return decision.current };
    let reached = match answer {
        Ok(Applied::Done) => {
            let why: Vec<&str> = decision.reasons.iter().map(sphere_core::Reason::name).collect();
            info!(workload = %subject.workload().id, from, to, reasons = %why.join(","), "autoscale: scaled");
            return to;
        }
        Ok(Applied::Moved { replicas }) => {
            warn!(workload = %subject.workload().id, from, replicas, "autoscale: somebody else changed the size");
            stage.metrics.error(Stage::Autoscale, "target", "moved");
            *replicas
        }
        Ok(Applied::Untouched) => from,
        Err(error) => {
            warn!(workload = %subject.workload().id, from, to, %error, "autoscale: scaling");
            stage.metrics.error(Stage::Autoscale, "target", "write");
            from
        }
    };
    decision.applied = false;
    budget.refund(decision.at, from, to);
    reached
}

fn settle_floor(
    stage: &AutoscaleStage,
    subject: &mut Subject,
    decision: &mut Decision,
    asked: Option<Option<u32>>,
    outcome: &Outcome,
) {
    let (Some(wanted), Some(answer)) = (asked, &outcome.floor) else { return };
    let done = match answer {
        Ok(Applied::Done) => {
            info!(workload = %subject.workload().id, floor = ?wanted, "autoscale: the HPA's minimum");
            subject.floor_set(wanted);
            true
        }
        Ok(Applied::Untouched | Applied::Moved { .. }) => false,
        Err(error) => {
            warn!(workload = %subject.workload().id, ?wanted, %error, "autoscale: setting the HPA's minimum");
            stage.metrics.error(Stage::Autoscale, "target", "floor");
            false
        }
    };
    // A field that could not be given back must not keep the mode now in force from scaling.
    if !done && decision.mode == Mode::Floor {
        decision.applied = false;
    }
}

impl Order {
    /// What is asked for: the minimum, the size.
    pub(super) fn asked(&self) -> (Option<Option<u32>>, Option<(u32, u32)>) {
        (self.floor, self.size)
    }

    /// Gives the HPA's minimum back, for a workload that is no longer ours.
    pub(super) fn give_back(workload: Arc<Workload>) -> Self {
        Self { workload, floor: Some(None), size: None }
    }
}
