//! When must we not trust what we have, and what do we do then?
//!
//! Small pure pieces that the decision is composed of. The common rule: when unsure, behave like a careful
//! reactive autoscaler, and never scale in because something was missing.
//!
//! - [`Hold`]: no metrics: hold, and after a stated time at least the fallback.
//! - [`usable_step`]: may this forecast speak about the lead time?
//! - [`effective_mode`]: how far may we act now? The ladder steps down by itself.
//! - [`ChangeBudget`]: how many replicas may still change in the whole cluster?

mod budget;
mod forecast;
mod hold;
mod ladder;

pub use budget::{ChangeBudget, ChangeLimit, Granted};
pub use forecast::{comes_from_the_future, plausible, usable_step};
pub use hold::{Held, Hold, HoldPolicy};
pub use ladder::{EffectiveMode, Obstacles, effective_mode};
