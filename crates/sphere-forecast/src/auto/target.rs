//! Which of the coming steps are learnt directly?

use serde::{Deserialize, Serialize};

/// Steps `from..=to` ahead whose mean is forecast; nearly always a single step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Target {
    pub(super) fn step(h: u32) -> Self {
        Self { from: h, to: h }
    }

    pub(super) fn is_step(self) -> bool {
        self.from == self.to
    }

    pub(super) fn steps(self) -> std::ops::RangeInclusive<u32> {
        self.from..=self.to
    }

    /// Mean of `f` over the steps.
    pub(super) fn mean(self, f: impl Fn(u32) -> f64) -> f64 {
        self.steps().map(f).sum::<f64>() / f64::from(self.to - self.from + 1)
    }
}

/// The founding system's scaling signal: the mean of these steps.
pub(super) const SIGNAL: Target = Target { from: 13, to: 15 };

/// Single steps up to `horizon`, dense near, sparse far, and the scaling signal if the horizon reaches it.
pub(super) fn ladder(horizon: u32) -> Vec<Target> {
    let steps = [1, 2, 3, 5, 8, 11, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360];
    let mut targets: Vec<Target> = steps.into_iter().filter(|&h| h < horizon).map(Target::step).collect();
    targets.push(Target::step(horizon));
    if horizon == SIGNAL.to {
        targets.push(SIGNAL);
    }
    targets
}

/// The next step and the lead.
pub(super) fn to_lead(lead: u32) -> Vec<Target> {
    let mut targets = vec![Target::step(1)];
    if lead > 1 {
        targets.push(Target::step(lead));
    }
    targets
}
