//! What does SPHERE do when it is told nothing?
//!
//! It scales a simulated cluster on generated weeks of web traffic, sixty times faster than real time, so that
//! everything can be seen at work within a minute. Nothing outlives the process.

/// The built-in configuration, as a file would say it.
pub fn built_in() -> &'static str {
    include_str!("built-in.yaml")
}
