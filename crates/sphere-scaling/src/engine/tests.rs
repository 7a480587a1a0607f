//! What holds for every decision.
