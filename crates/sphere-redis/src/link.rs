//! How does one node get our commands?
//!
//! A [`Link`] is at most one connection to one node, shared by all who send there; commands of different callers
//! are interleaved on it (the client multiplexes). It connects when it is needed, forgets a connection that
//! failed, and connects again for the next caller. Waiting and trying again is up to the caller.

use crate::address::Address;
use crate::config::RedisConfig;
use crate::counters::Counters;
use crate::failure::Failure;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, TlsCertificates, Value,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Mutex, Semaphore};

/// Chunks on their way on one connection; more would only wait in our memory, with their time-out running.
const CHUNKS_IN_FLIGHT: usize = 8;

/// How to log in anywhere.
#[derive(Debug)]
pub(crate) struct Login {
    config: RedisConfig,
}

impl Login {
    /// Reads the files once, so that a wrong path is told at start.
    pub fn new(config: RedisConfig) -> Result<Self, Failure> {
        // Two providers in one process would make rustls panic; the first to say so wins, and ours is ring everywhere.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let login = Self { config };
        login.password()?;
        login.certificates()?;
        Ok(login)
    }

    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    fn password(&self) -> Result<Option<String>, Failure> {
        let password = if let Some(path) = &self.config.password_file {
            let text = read("passwordFile", path)?;
            String::from_utf8(text).map_err(|_| {
                Failure::Permanent(format!("passwordFile {} is not UTF-8 text", path.display()))
            })?
        } else if let Some(name) = &self.config.password_env {
            std::env::var(name).map_err(|_| {
                Failure::Permanent(format!(
                    "passwordEnv: the environment variable {name} is absent or not text"
                ))
            })?
        } else {
            return Ok(None);
        };
        let password = password.trim_end_matches(['\r', '\n']).to_string();
        if password.is_empty() {
            return Err(Failure::Permanent("the password is empty".into()));
        }
        Ok(Some(password))
    }

    fn certificates(&self) -> Result<Option<TlsCertificates>, Failure> {
        let Some(tls) = &self.config.tls else { return Ok(None) };
        let root_cert = tls.ca_file.as_deref().map(|path| read("tls.caFile", path)).transpose()?;
        let client_tls = match (&tls.cert_file, &tls.key_file) {
            (Some(cert), Some(key)) => Some(ClientTlsConfig {
                client_cert: read("tls.certFile", cert)?,
                client_key: read("tls.keyFile", key)?,
            }),
            _ => None,
        };
        Ok(Some(TlsCertificates { client_tls, root_cert }))
    }

    /// A client for one node that logs in when it connects; nothing is sent yet.
    pub fn client(&self, address: &Address) -> Result<Client, Failure> {
        let mut settings = RedisConnectionInfo::default().set_db(i64::from(self.config.database));
        if let Some(username) = &self.config.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = self.password()? {
            settings = settings.set_password(password);
        }
        self.client_with(address, settings)
    }

    /// What an error on the way to a usable connection means. The client library says of a refused login only that
    /// it was refused, be it a wrong password or a server with too many clients: so we ask again, and read.
    pub async fn refusal(&self, address: &Address, error: &RedisError) -> Failure {
        if error.kind() != ErrorKind::AuthenticationFailed {
            return Failure::of(error);
        }
        let attempt = async {
            let client = self.client_with(address, RedisConnectionInfo::default())?;
            let mut login = redis::cmd("AUTH");
            if let Some(username) = &self.config.username {
                login.arg(username);
            }
            login.arg(self.password()?.unwrap_or_default());
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(self.config.connect_timeout()))
                .set_response_timeout(Some(self.config.response_timeout()));
            let mut connection = client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map_err(|error| Failure::of(&error))?;
            match connection.req_packed_command(&login).await.and_then(|value| value.extract_error()) {
                Ok(_) => Err(Failure::Later("the login was refused, and is accepted now".into())),
                Err(error) => Err::<(), Failure>(Failure::of(&error)),
            }
        };
        attempt.await.err().unwrap_or_else(|| Failure::of(error))
    }

    fn client_with(&self, address: &Address, settings: RedisConnectionInfo) -> Result<Client, Failure> {
        let host = address.host.to_string();
        let certificates = self.certificates()?;
        let tls = self.config.tls.as_ref();
        let target = match tls {
            None => ConnectionAddr::Tcp(host, address.port),
            Some(tls) => {
                ConnectionAddr::TcpTls { host, port: address.port, insecure: tls.insecure, tls_params: None }
            }
        };
        let info = target
            .into_connection_info()
            .map_err(|error| Failure::of(&error))?
            .set_redis_settings(settings)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates)
                .map_err(|error| Failure::Permanent(format!("TLS: {error}"))),
            None => Client::open(info).map_err(|error| Failure::of(&error)),
        }
    }
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::Permanent(format!("{key} {} can not be read: {error}", path.display())))
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that an old failure does not close a new connection.
    generation: u64,
    failed: Option<(Instant, Failure)>,
}

/// See the module text.
pub(crate) struct Link {
    address: Address,
    login: Arc<Login>,
    counters: Arc<Counters>,
    state: Mutex<State>,
    in_flight: Semaphore,
}

impl Link {
    pub fn new(address: Address, login: Arc<Login>, counters: Arc<Counters>) -> Self {
        let state = Mutex::new(State::default());
        Self { address, login, counters, state, in_flight: Semaphore::new(CHUNKS_IN_FLIGHT) }
    }

    /// Sends a pipeline; one value per command, errors of single commands among them.
    pub async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        let _permit = self.in_flight.acquire().await;
        let (generation, mut connection) = self.connected().await.map_err(|f| f.at(&self.address))?;
        let limit = self.login.config.response_timeout();
        let answer = tokio::time::timeout(limit, connection.req_packed_commands(pipeline, 0, pipeline.len()));
        let failure = match answer.await {
            Ok(Ok(values)) if values.len() == pipeline.len() => return Ok(values),
            Ok(Ok(values)) => {
                Failure::Lost(format!("{} answers to {} commands", values.len(), pipeline.len()))
            }
            Ok(Err(error)) => Failure::of(&error),
            Err(_) => Failure::Lost(format!("no answer within {:.1} s", limit.as_secs_f64())),
        };
        // After a time-out answers are still to come; a new connection begins with none.
        if matches!(failure, Failure::Lost(_)) {
            let mut state = self.state.lock().await;
            if state.generation == generation {
                state.connection = None;
            }
        }
        Err(failure.at(&self.address))
    }

    async fn connected(&self) -> Result<(u64, MultiplexedConnection), Failure> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((state.generation, connection.clone()));
        }
        // Whoever waited while another caller tried in vain shares that answer instead of queueing for its own.
        if let Some((at, failure)) = &state.failed
            && *at >= asked
        {
            return Err(failure.clone());
        }
        match self.connect().await {
            Ok(connection) => {
                state.generation += 1;
                state.failed = None;
                state.connection = Some(connection.clone());
                Counters::add(&self.counters.connections, 1);
                Ok((state.generation, connection))
            }
            Err(failure) => {
                state.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let client = self.login.client(&self.address)?;
        let limit = self.login.config.connect_timeout();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(self.login.config.response_timeout()));
        match tokio::time::timeout(limit, client.get_multiplexed_async_connection_with_config(&config)).await
        {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.login.refusal(&self.address, &error).await),
            Err(_) => Err(Failure::Lost(format!("no connection within {:.1} s", limit.as_secs_f64()))),
        }
    }
}
