//! `sphere demo`: the whole idea in half a minute, without a file, a service or a network.

use super::simulate::TournamentArgs;
use super::{CliError, print};
use clap::Args;
use sphere::simulate::{Capacity, Plan};
use sphere_sim::{Contestant, Physics, Startup, generator};
use std::path::PathBuf;
use std::time::Duration;

/// See SPHERE at work on a built-in week of web traffic: no file, no service, no network.
///
/// A synthetic week (daily and weekly rhythm, noise, an hourly newsletter, a flash crowd, an outage with a retry
/// storm) is played second by second. The first two days are history; on the other five the HPA, the founding
/// rule, SPHERE and an oracle scale the same service side by side.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sphere demo --startup 60s --report my-report.html")]
pub struct DemoArgs {
    /// Time from create to Ready
    #[arg(long, value_name = "STARTUP", default_value = "60s")]
    startup: Startup,
    #[command(flatten)]
    tournament: TournamentArgs,
}

const DAYS: u32 = 7;
const HISTORY_DAYS: usize = 2;
const BINS_PER_DAY: usize = 8640;
const DEFAULT_REPORT: &str = "reports/demo.html";

/// Generates the week, plays, prints.
pub fn run(args: &DemoArgs) -> Result<(), CliError> {
    let profile = generator::web_traffic(DAYS, 7);
    let bins = profile.rates_rps.len();
    let plan = Plan {
        trace: "a synthetic week of web traffic".into(),
        profile,
        dated: true,
        segment: HISTORY_DAYS * BINS_PER_DAY..bins,
        scale: 1.0,
        capacity: Capacity::Rps(30.0),
        startups: vec![args.startup],
        physics: Physics::Queue,
        contestants: vec![
            Contestant::Hpa(60),
            Contestant::HpaRps(80),
            Contestant::Classic,
            Contestant::Sphere,
            Contestant::SpherePrice(100.0),
            Contestant::Oracle,
        ],
        sweep_step_pct: None,
        seed: 1,
        seeds: 3,
        min_replicas: 1,
        max_replicas: None,
        history: Duration::from_secs(14 * 86_400),
        client_timeout_s: 5,
        service_s: None,
    };
    let mut tournament = args.tournament.clone();
    tournament.report = Some(args.tournament.report.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_REPORT)));
    if !tournament.json() {
        print(
            "A synthetic week of web traffic: daily and weekly rhythm, noise, an hourly newsletter, a flash crowd on\n\
             Saturday, an outage with a retry storm on Sunday. Two days of history, five days played, three seeds.\n\n",
        )?;
    }
    let plan = tournament.complete(plan);
    tournament.play(&plan).map(|_| ())
}
