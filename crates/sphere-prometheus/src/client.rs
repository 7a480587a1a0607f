//! How is a query sent, retried, bounded and its answer judged?

use crate::answer::{Envelope, Series};
use crate::config::{Auth, Method, PrometheusConfig, is_loopback};
use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Request, StatusCode, Url};
use sphere_core::Timestamp;
use sphere_pipeline::SourceError;
use std::error::Error as _;
use std::path::Path;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Name in samples, errors and metrics.
pub(crate) const NAME: &str = "prometheus";

/// First pause before another try; it doubles, and a random part of it is waited (full jitter).
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before another try.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest text of a query or an answer in an error, characters.
const MAX_QUOTED: usize = 300;
/// Longest secret read from a file, bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;
/// Bodies above this are parsed on a thread for blocking work, bytes.
const PARSE_ELSEWHERE: usize = 1 << 20;

/// Why a query has no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No connection, no answer in time, HTTP 5xx.
    Unavailable,
    /// The answer broke off.
    Truncated,
    /// The answer is longer than we read, or the query touched more than the server allows.
    TooLarge,
    /// The answer can not be used.
    Bad,
}

/// The cause and what happened, in words.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub cause: Cause,
    pub detail: String,
}

impl Failure {
    fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> Self {
        match failure.cause {
            Cause::Unavailable => SourceError::Unavailable { source_name: NAME, detail: failure.detail },
            _ => SourceError::BadAnswer { source_name: NAME, detail: failure.detail },
        }
    }
}

pub(crate) fn no_data(detail: impl Into<String>) -> SourceError {
    SourceError::NoData { source_name: NAME, detail: detail.into() }
}

pub(crate) fn bad(detail: impl Into<String>) -> SourceError {
    SourceError::BadAnswer { source_name: NAME, detail: detail.into() }
}

/// The instants of a range query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub first: Timestamp,
    pub last: Timestamp,
    pub step: Duration,
}

pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    pub config: PrometheusConfig,
    slots: Semaphore,
}

impl Client {
    /// A client for a configuration without problems.
    pub fn new(config: PrometheusConfig) -> Result<Self, String> {
        crate::install_crypto();
        let mut base = Url::parse(&config.url).map_err(|error| format!("url: {error}"))?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|e| format!("headers.{name}: {e}"))?;
            let mut value = HeaderValue::from_str(value).map_err(|e| format!("headers.{name}: {e}"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sphere/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // A redirect would carry the query, and a POST as GET, where nobody said it should go.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.timeout())
            .pool_max_idle_per_host(config.max_concurrent_queries);
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if let Some(tls) = &config.tls {
            let read = |key: &str, path: &Path| {
                std::fs::read(path).map_err(|e| format!("tls.{key}: {}: {e}", path.display()))
            };
            if let Some(path) = &tls.ca_file {
                let pem = read("caFile", path)?;
                let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                    .map_err(|e| format!("tls.caFile: {}: {}", path.display(), chain(&e)))?;
                if certificates.is_empty() {
                    return Err(format!("tls.caFile: {}: no PEM certificate in it", path.display()));
                }
                builder = builder.tls_certs_only(certificates);
            }
            if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
                let mut pem = read("certFile", cert)?;
                pem.push(b'\n');
                pem.extend(read("keyFile", key)?);
                let identity = reqwest::Identity::from_pem(&pem)
                    .map_err(|e| format!("tls.certFile, tls.keyFile: {}", chain(&e)))?;
                builder = builder.identity(identity);
            }
        }
        let http = builder.build().map_err(|error| chain(&error))?;
        let slots = Semaphore::new(config.max_concurrent_queries);
        Ok(Self { http, base, config, slots })
    }

    /// The deadline of a reading that begins now.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout()
    }

    /// The value of each series of `promql` at the instant `at`.
    pub async fn vector(
        &self,
        promql: &str,
        at: Timestamp,
        deadline: Instant,
    ) -> Result<Vec<Series>, Failure> {
        let mut parameters = self.parameters(promql);
        parameters.push(("time", seconds(at)));
        self.ask("api/v1/query", promql, parameters, deadline).await
    }

    /// The values of each series of `promql` on `range`.
    pub async fn matrix(
        &self,
        promql: &str,
        range: Range,
        deadline: Instant,
    ) -> Result<Vec<Series>, Failure> {
        let mut parameters = self.parameters(promql);
        parameters.push(("start", seconds(range.first)));
        parameters.push(("end", seconds(range.last)));
        parameters.push(("step", format!("{:.3}", range.step.as_secs_f64())));
        self.ask("api/v1/query_range", promql, parameters, deadline).await
    }

    fn parameters(&self, promql: &str) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("query", promql.to_owned()),
            ("timeout", crate::promql::duration(self.config.timeout())),
            // Newer servers look back no further than this for the value of an instant; others ignore it.
            ("lookback_delta", crate::promql::duration(self.config.stale_after())),
        ];
        if !self.config.accept_partial {
            // Thanos: fail instead of leaving stores out. Others ignore it.
            parameters.push(("partial_response", "false".into()));
        }
        parameters
    }

    async fn ask(
        &self,
        path: &str,
        promql: &str,
        parameters: Vec<(&'static str, String)>,
        deadline: Instant,
    ) -> Result<Vec<Series>, Failure> {
        let about = |failure: Failure| {
            let detail = format!("{} (query: {})", failure.detail, quoted(promql));
            Failure { detail, ..failure }
        };
        let late = || {
            let spent = self.config.timeout_seconds;
            Failure::new(Cause::Unavailable, format!("no answer within {spent} s from {}", self.host()))
        };
        let work = async {
            // The semaphore is never closed; if it were, the query would just not be limited.
            let _slot = self.slots.acquire().await;
            let pauses = ExponentialBuilder::default()
                .with_min_delay(FIRST_PAUSE)
                .with_max_delay(LONGEST_PAUSE)
                .with_max_times(self.config.retries as usize)
                .build()
                .map(|pause| pause.mul_f64(fastrand::f64()));
            let again = |failure: &Failure| matches!(failure.cause, Cause::Unavailable | Cause::Truncated);
            (|| self.attempt(path, &parameters)).retry(pauses).when(again).await
        };
        timeout_at(deadline, work).await.unwrap_or_else(|_| Err(late())).map_err(about)
    }

    async fn attempt(
        &self,
        path: &str,
        parameters: &[(&'static str, String)],
    ) -> Result<Vec<Series>, Failure> {
        let request = self.request(path, parameters)?;
        let response = self.http.execute(request).await.map_err(|e| self.transport(e))?;
        let status = response.status();
        let body = self.body(response).await?;
        if body.len() > PARSE_ELSEWHERE {
            let partial = self.config.accept_partial;
            let judged = tokio::task::spawn_blocking(move || judge(status, &body, partial)).await;
            return judged.map_err(|e| Failure::new(Cause::Bad, format!("parsing ended early: {e}")))?;
        }
        judge(status, &body, self.config.accept_partial)
    }

    fn request(&self, path: &str, parameters: &[(&'static str, String)]) -> Result<Request, Failure> {
        let misconfigured = |detail: String| Failure::new(Cause::Bad, detail);
        let mut url = self.base.join(path).map_err(|e| misconfigured(e.to_string()))?;
        let builder = match self.config.method {
            Method::Get => {
                url.query_pairs_mut().extend_pairs(parameters);
                self.http.get(url)
            }
            Method::Post => self.http.post(url).form(parameters),
        };
        let builder = match &self.config.auth {
            None => builder,
            Some(auth) => self.authenticated(builder, auth).map_err(misconfigured)?,
        };
        builder.build().map_err(|e| misconfigured(chain(&e)))
    }

    fn authenticated(
        &self,
        builder: reqwest::RequestBuilder,
        auth: &Auth,
    ) -> Result<reqwest::RequestBuilder, String> {
        if let Some(basic) = &auth.basic {
            let password = match (&basic.password_file, &basic.password_env) {
                (Some(path), _) => secret_of(path)?,
                (None, Some(name)) => {
                    std::env::var(name).map_err(|_| format!("environment variable {name} is not set"))?
                }
                (None, None) => return Err("auth.basic without a password".into()),
            };
            return Ok(builder.basic_auth(&basic.username, Some(password)));
        }
        let Some(path) = &auth.bearer_token_file else { return Ok(builder) };
        let mut value = HeaderValue::try_from(format!("Bearer {}", secret_of(path)?))
            .map_err(|_| format!("{}: holds characters a token can not have", path.display()))?;
        value.set_sensitive(true);
        Ok(builder.header(AUTHORIZATION, value))
    }

    /// The body, never more than allowed.
    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
        let most = self.config.max_response_bytes;
        let too_large = || Failure::new(Cause::TooLarge, format!("the answer is longer than {most} bytes"));
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| {
            let detail = format!("the answer broke off after {} bytes: {}", body.len(), chain(&e));
            Failure::new(Cause::Truncated, detail)
        })? {
            if body.len() + chunk.len() > most {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport(&self, error: reqwest::Error) -> Failure {
        let cause = if error.is_builder() { Cause::Bad } else { Cause::Unavailable };
        Failure::new(cause, format!("{}: {}", self.host(), chain(&error.without_url())))
    }

    fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

fn seconds(at: Timestamp) -> String {
    format!("{:.3}", at.secs_f64())
}

/// Status, envelope, partiality, type.
fn judge(status: StatusCode, body: &[u8], accept_partial: bool) -> Result<Vec<Series>, Failure> {
    let envelope: Result<Envelope, _> = serde_json::from_slice(body);
    if !status.is_success() {
        let said = match envelope {
            Ok(Envelope { error: Some(error), .. }) => error,
            _ => String::from_utf8_lossy(body).into_owned(),
        };
        let said = quoted(&said);
        let cause = if status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        {
            Cause::Unavailable
        } else if said.contains("too many samples") || said.contains("maximum resolution") {
            Cause::TooLarge
        } else {
            Cause::Bad
        };
        return Err(Failure::new(cause, format!("HTTP {}: {said}", status.as_u16())));
    }
    let bad = |detail: String| Failure::new(Cause::Bad, detail);
    let envelope = envelope.map_err(|error| {
        bad(format!("not an answer of Prometheus: {error}; it begins with {}", quoted(&lossy(body))))
    })?;
    if envelope.status != "success" {
        let kind = envelope.error_type.unwrap_or_default();
        return Err(bad(format!("{kind}: {}", quoted(&envelope.error.unwrap_or_default()))));
    }
    let data = envelope.data.ok_or_else(|| bad("an answer without data".into()))?;
    // This one info is about the name of a metric; all others say that something was left out or repaired.
    let harmless = |info: &String| info.contains("might not be a counter");
    let incomplete = envelope.warnings.iter().chain(envelope.infos.iter().filter(|info| !harmless(info)));
    let incomplete: Vec<&str> = incomplete.map(String::as_str).collect();
    if !incomplete.is_empty() {
        if !accept_partial {
            return Err(bad(format!("a partial answer: {}", quoted(&incomplete.join("; ")))));
        }
        tracing::debug!(warnings = %quoted(&incomplete.join("; ")), "a partial answer is used");
    }
    data.into_series().map_err(bad)
}

fn lossy(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(MAX_QUOTED)]).into_owned()
}

/// At most [`MAX_QUOTED`] characters of `text`, on one line.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String =
        text.chars().take(MAX_QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// An error with its causes; those of reqwest say little by themselves.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The secret in a file, without the line's end.
fn secret_of(path: &Path) -> Result<String, String> {
    let about = |problem: String| format!("{}: {problem}", path.display());
    let length = std::fs::metadata(path).map_err(|e| about(e.to_string()))?.len();
    if length > MAX_SECRET_BYTES {
        return Err(about(format!("{length} bytes, at most {MAX_SECRET_BYTES} expected")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| about(e.kind().to_string()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(about("is empty".into())) } else { Ok(text.to_owned()) }
}
