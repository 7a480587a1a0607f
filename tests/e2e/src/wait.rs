//! How long does a test wait for what must come, and watch for what must not?

use std::time::{Duration, Instant};

/// Generous: machines that build at the same time are slow, and a pass is early anyway.
#[derive(Clone, Copy, Debug)]
pub struct Patience(pub Duration);

impl Patience {
    /// For what the API server alone does.
    pub const API: Patience = Patience(Duration::from_secs(60));
    /// For a decision: several scrapes and syncs.
    pub const DECISION: Patience = Patience(Duration::from_secs(180));
    /// For a forecaster that starts cold and must be trusted before it may act.
    pub const FORECAST: Patience = Patience(Duration::from_secs(900));
}

/// Looks every half second until there is no error, and fails with the last one when patience is at its end.
pub async fn eventually<T>(
    what: &str,
    patience: Patience,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let began = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(last) if began.elapsed() > patience.0 => {
                panic!("{what}: not within {} s; last: {last}", patience.0.as_secs())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// Looks every half second for that long, and fails at the first error.
pub async fn throughout(what: &str, length: Duration, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let began = Instant::now();
    while began.elapsed() < length {
        if let Err(seen) = look().await {
            panic!("{what}: after {:.1} s: {seen}", began.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
