//! Who asks the API server?

use super::{Answer, Ask, Candidate, LeaseTimes, Record, Role};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// What is voted on.
#[derive(Clone, Debug)]
pub struct Election {
    /// Namespace of the lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are; nobody else must use this name.
    pub me: String,
    /// How long things take.
    pub times: LeaseTimes,
}

/// Stands for election until `stop`, and then gives the lease up. Every change of the role is told to `role`.
pub async fn run(client: Client, election: Election, role: watch::Sender<Role>, stop: CancellationToken) {
    let leases: Api<Lease> = Api::namespaced(client, &election.namespace);
    let mut candidate = Candidate::new(&election.me, election.times);
    while !stop.is_cancelled() {
        round(&leases, &election, &mut candidate).await;
        tell(&candidate, &role, &election);
        let mut pause = election.times.retry.mul_f64(0.9 + 0.2 * fastrand::f64());
        if let Role::Leader { until } = candidate.role(Instant::now()) {
            pause = pause.min(until.saturating_duration_since(Instant::now()));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    role.send_replace(Role::Standby { leader: None });
    if let Some(ask) = candidate.release(wall_ms()) {
        match call(&leases, &election, &ask).await {
            Answer::Lease { .. } => info!(lease = %election.name, "leader election: the lease was given up"),
            answer => {
                warn!(lease = %election.name, ?answer, "leader election: the lease could not be given up")
            }
        }
    }
}

/// Asks until there is nothing more to ask now; a few times at most.
async fn round(leases: &Api<Lease>, election: &Election, candidate: &mut Candidate) {
    for _ in 0..3 {
        let sent = Instant::now();
        let ask = candidate.ask(sent, wall_ms());
        let answer = call(leases, election, &ask).await;
        if !candidate.answered(sent, Instant::now(), &ask, answer) {
            return;
        }
    }
}

fn tell(candidate: &Candidate, role: &watch::Sender<Role>, election: &Election) {
    let now = candidate.role(Instant::now());
    let leads = |role: &Role| matches!(role, Role::Leader { .. });
    let before = role.send_replace(now.clone());
    match (leads(&before), &now) {
        (false, Role::Leader { .. }) => {
            info!(lease = %election.name, me = %election.me, "leader election: we lead")
        }
        (true, Role::Standby { leader }) => {
            warn!(lease = %election.name, ?leader, "leader election: we no longer lead");
        }
        (false, Role::Standby { leader }) if before != now => {
            info!(lease = %election.name, leader = leader.as_deref().unwrap_or("nobody"), "leader election: on standby");
        }
        _ => {}
    }
}

fn wall_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

async fn call(leases: &Api<Lease>, election: &Election, ask: &Ask) -> Answer {
    // Several tries must fit into the time that a renewal may take.
    let patience = (election.times.renew_deadline / 3).max(Duration::from_millis(200));
    let post = PostParams::default();
    let asked = async {
        match ask {
            Ask::Read => leases.get_opt(&election.name).await,
            Ask::Create(record) => leases.create(&post, &lease(election, record, None)).await.map(Some),
            Ask::Replace { record, version } => {
                let lease = lease(election, record, Some(version));
                leases.replace(&election.name, &post, &lease).await.map(Some)
            }
        }
    };
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(Some(lease))) => match lease.metadata.resource_version.clone() {
            Some(version) => Answer::Lease { record: record(&lease), version },
            None => Answer::Failed,
        },
        Ok(Ok(None)) => Answer::Absent,
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Answer::Conflict,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Answer::Absent,
        Ok(Err(error)) => {
            warn!(lease = %election.name, %error, "leader election");
            Answer::Failed
        }
        Err(_) => {
            debug!(lease = %election.name, ?patience, "leader election: no answer");
            Answer::Failed
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let ms = |time: Option<MicroTime>| time.map(|time| time.0.as_millisecond());
    let seconds = |s: i32| u64::try_from(s).ok().map(Duration::from_secs);
    Record {
        holder: spec.holder_identity,
        duration: spec.lease_duration_seconds.and_then(seconds),
        acquired_ms: ms(spec.acquire_time),
        renewed_ms: ms(spec.renew_time),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}

fn lease(election: &Election, record: &Record, version: Option<&str>) -> Lease {
    let time = |ms: Option<i64>| ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map(MicroTime);
    Lease {
        metadata: ObjectMeta {
            name: Some(election.name.clone()),
            namespace: Some(election.namespace.clone()),
            resource_version: version.map(Into::into),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: record.holder.clone(),
            // Whole seconds only, rounded up: others must not wait for less than the holder acts by.
            lease_duration_seconds: record
                .duration
                .and_then(|d| i32::try_from(d.as_secs() + u64::from(d.subsec_nanos() > 0)).ok()),
            acquire_time: time(record.acquired_ms),
            renew_time: time(record.renewed_ms),
            lease_transitions: Some(record.transitions),
            ..LeaseSpec::default()
        }),
    }
}
