//! Which weights turn smoothed levels into demand at exactly one target?
//!
//! The regression of [`crate::LeadForecaster`], one per target, on the levels and profiles kept here anyway: squared errors and
//! a memory of two days of 10 s steps make it steadier than the mix where demand is noisy around a
//! slow course. It is one expert among the others, and one of the measures of doubt is that of its errors.

/// Number of inputs.
pub(super) const INPUTS: usize = crate::lead::FEATURES;
/// What it sees of one origin.
pub(super) type Inputs = [f64; INPUTS];
pub(super) use crate::lead::rls::Rls;
