//! How is a component asked again after it failed?
//!
//! Exponential pauses with full jitter, so that many processes do not come back in step; stopped by a token.

use backon::{BackoffBuilder, ExponentialBuilder};
use std::fmt::Display;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Pauses from 50 ms to 2 s, for ever.
pub fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Repeats `attempt` until it succeeds or fails for good; `None` when `stop` came first. Tells `failed` of
/// every failure that is followed by another try.
pub async fn until_done<T, E: Display, F: Future<Output = Result<T, E>>>(
    stop: &CancellationToken,
    transient: impl Fn(&E) -> bool,
    mut failed: impl FnMut(&E),
    mut attempt: impl FnMut() -> F,
) -> Option<Result<T, E>> {
    let mut pauses = pauses();
    loop {
        let result = tokio::select! {
            result = attempt() => result,
            () = stop.cancelled() => return None,
        };
        match result {
            Err(error) if transient(&error) => {
                failed(&error);
                let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return None,
                }
            }
            result => return Some(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_transient_failure_is_repeated_and_a_permanent_one_is_not() {
        let stop = CancellationToken::new();
        let (mut tries, mut told) = (0, 0);
        let result: Option<Result<u32, &str>> = until_done(
            &stop,
            |error| *error == "busy",
            |_| told += 1,
            || {
                tries += 1;
                std::future::ready(if tries < 4 { Err("busy") } else { Err("forbidden") })
            },
        )
        .await;
        assert_eq!((result, tries, told), (Some(Err("forbidden")), 4, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_the_wait() {
        let stop = CancellationToken::new();
        stop.cancel();
        let result: Option<Result<(), &str>> =
            until_done(&stop, |_| true, |_| (), || std::future::ready(Err("busy"))).await;
        assert_eq!(result, None);
    }

    #[test]
    fn pauses_grow_to_their_limit_and_go_on() {
        let pauses: Vec<Duration> = pauses().take(50).collect();
        assert!(pauses[0] >= FIRST_PAUSE && pauses[0] <= 2 * FIRST_PAUSE, "{:?}", pauses[0]);
        assert!(pauses[40..].iter().all(|p| *p >= LONGEST_PAUSE / 2 && *p <= 2 * LONGEST_PAUSE));
    }
}
