//! What must a model do to be used online?
//!
//! A [`PointModel`] knows one thing: the expected demand of the coming steps, on an even grid. It sees one
//! value per step, or is told that a step brought none. Time stamps, bad values, and how sure we are belong
//! to [`Online`](crate::Online), which turns any point model into a [`Forecaster`](crate::Forecaster).
//! Where only the point forecast is wanted (a simulator replaying the founding system), use it directly.

use sphere_core::Timestamp;

/// A model of the expected demand on an even grid.
///
/// Callers give finite values of magnitude at most [`MAX_MAGNITUDE`](crate::MAX_MAGNITUDE), one per step and in
/// order; models answer with numbers as finite.
pub trait PointModel: Send {
    /// The first value, still to come, belongs to the step that ends at `first`; a step is `step_ms` wide. For models
    /// that know dates; said once.
    fn begins_at(&mut self, _first: Timestamp, _step_ms: u64) {}

    /// Takes the value of the next step. Models with parameters re-estimate them here when their schedule
    /// says so.
    fn observe(&mut self, value: f64);

    /// The next step is over and brought no value: time moves on, nothing is learnt.
    fn skip(&mut self);

    /// `steps` steps brought no value, too many to bridge: what is local (level, trend, buffer) starts again
    /// with the next value; what is long-lived (parameters, seasonal pattern) may stay.
    fn restart(&mut self, steps: u64);

    /// Re-estimates parameters from the model's own buffer. Models without any do nothing.
    fn refit(&mut self) {}

    /// Shifts the schedule of refits by `phase` steps, so that many models do not refit in the same step.
    fn stagger_refits(&mut self, _phase: usize) {}

    /// Values seen since the start or the last restart.
    fn observations(&self) -> usize;

    /// Observations before the first forecast.
    fn needed(&self) -> usize {
        1
    }

    /// Bytes on the heap, beside the size of the type.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// Writes the expected value of steps 1, 2, …, `out.len()` ahead. Before [`PointModel::needed`]
    /// observations the numbers mean nothing.
    fn predict(&self, out: &mut [f64]);
}
