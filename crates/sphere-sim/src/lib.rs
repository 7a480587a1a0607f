//! What would each policy have done on this traffic, and what would users have felt?
//!
//! A deterministic simulator: [`Demand`] is played second by second against a virtual cluster whose pods need
//! their start-up time, metrics are scraped with the window and the delays of a real cluster, and every
//! [`policy::Policy`] acts only on what it would really see. SPHERE's own contestant runs the same forecasting and
//! scaling code as the live system. Same input, settings and seed: same bytes out.
//!
//! | module | question |
//! |---|---|
//! | [`demand`] | how many requests arrive in each tick? |
//! | [`cluster`] | how many pods are ready, and when do ordered ones follow? |
//! | [`service`] | who is served, how late, who gives up? |
//! | [`metrics`] | what does a scraper see of it, and when? |
//! | [`policy`] | how many replicas does each contestant order? |
//! | [`score`] | how well did it go? |
//! | [`world`] | what happens to one workload while time passes? |
//! | [`mod@run`] | one policy on one trace, start to end |
//! | [`tournament`] | many runs side by side: seeds, intervals, curves |
//! | [`generator`] | a synthetic week of web traffic |

pub mod cluster;
pub mod demand;
pub mod generator;
pub mod metrics;
pub mod policy;
pub mod run;
pub mod score;
pub mod service;
pub mod tournament;
pub mod world;

pub use cluster::Startup;
pub use demand::{Demand, Profile};
pub use policy::{Contestant, ForecastModel};
pub use run::{Physics, Recording, RunResult, Settings, run};
pub use score::Scorecard;
pub use tournament::{Run, Tournament};
pub use world::World;
