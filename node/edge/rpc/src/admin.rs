//! The admin server: its own port, a token in every HTTP request and in the one that opens a WebSocket.
//!
//! The secret that signed a token says what its holder may do: operators steer the node, followers read its journal and attest
//! ([crate::follow]) and can change nothing.
use crate::answers::done;
use crate::error::RpcError;
use crate::fields::Fields;
use crate::follow::{self, FollowerConfig};
use crate::jwt::{JwtSecret, OperatorSecrets, TokenError};
use crate::limits::*;
use crate::server::{self, Running, Setup};
use jsonrpsee::core::BoxError;
use jsonrpsee::server::{BatchRequestConfig, HttpBody, HttpResponse, PingConfig, ServerConfig};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::{Extensions, RpcModule};
use keel_ingress::IngressError;
use keel_ingress::queue::{Answer, Shed};
use keel_types::{Event, IncidentId};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};
use tower::{Layer, Service};

/// What an operator's command comes back with.
pub type AdminAnswer = Pin<Box<dyn Future<Output = Result<Answer, AdminRefusal>> + Send>>;

/// Who carries out what an operator asks for: the guard, in the binary.
pub trait AdminSink: Send + Sync + 'static {
    /// Enters safe mode with reason OPERATOR. `reason` is the operator's own words, at most [ADMIN_REASON_BYTES_MAX] bytes, for the log.
    fn enter_safe_mode(&self, reason: String) -> AdminAnswer;
    /// Lets an incident go on that waits for operators; by `operator`, the index of the secret that signed.
    fn resume(&self, incident: IncidentId, operator: u8) -> AdminAnswer;
}

/// Why the guard could not take the command.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdminRefusal {
    /// The command cannot apply now, in words for the operator.
    #[error("{0}")]
    NotNow(String),
    /// Not known whether it was executed; `node_status` tells.
    #[error("no answer in time: the outcome is unknown, see node_status")]
    Unknown,
}

/// Configuration of the admin server.
#[derive(Clone)]
pub struct AdminConfig {
    /// Loopback, unless TLS stands before it.
    pub listen: SocketAddr,
    pub operators: OperatorSecrets,
    /// `None`: nobody may follow this node.
    pub follower: Option<FollowerConfig>,
}

/// What the holder of a secret may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Read the journal, attest, report a difference.
    Follower,
    /// That, and everything else. The index of the operator's secret.
    Operator(u8),
}

impl Role {
    /// Refuses a request without a role.
    pub(crate) fn any(extensions: &Extensions) -> Result<(), RpcError> {
        extensions.get::<Role>().map(|_| ()).ok_or(RpcError::RoleForbids)
    }

    /// Which operator asks; refuses anybody else.
    fn operator(extensions: &Extensions) -> Result<u8, RpcError> {
        match extensions.get::<Role>() {
            Some(Role::Operator(operator)) => Ok(*operator),
            Some(Role::Follower) | None => Err(RpcError::RoleForbids),
        }
    }
}

/// Binds and serves.
pub(crate) async fn start(config: AdminConfig, sink: Arc<dyn AdminSink>) -> std::io::Result<Running> {
    let server_config = ServerConfig::builder()
        .max_request_body_size(ADMIN_REQUEST_BYTES_MAX)
        .max_connections(ADMIN_CONNECTIONS_MAX)
        .set_batch_request_config(BatchRequestConfig::Disabled)
        .max_subscriptions_per_connection(1)
        .set_message_buffer_capacity(ADMIN_MESSAGES_BUFFERED_MAX)
        .enable_ws_ping(PingConfig::new().ping_interval(WS_PING_INTERVAL).inactive_limit(WS_SILENT_MAX).max_failures(1))
        .build();
    let mut methods = module(sink);
    let secrets = Secrets { operators: config.operators, follower: config.follower.as_ref().map(|f| f.secret.clone()) };
    if let Some(follower) = config.follower {
        follow::register(&mut methods, follower);
    }
    let setup = Setup {
        listen: config.listen,
        routes: vec![("/", methods.clone().into()), ("/admin", methods.into())],
        config: server_config,
        connections: ADMIN_CONNECTIONS_MAX,
        sessions: None,
        status_page: None,
        http: tower::ServiceBuilder::new().layer(RequireToken(Arc::new(secrets))),
    };
    server::start(setup).await
}

fn module(sink: Arc<dyn AdminSink>) -> RpcModule<Arc<dyn AdminSink>> {
    let mut module = RpcModule::new(sink);
    module
        .register_async_method("admin_enterSafeMode", |params, sink, extensions| {
            let params = params.into_owned();
            async move {
                Role::operator(&extensions)?;
                enter_safe_mode(&params, &**sink).await.map_err(ErrorObjectOwned::from)
            }
        })
        .expect("a method is registered once");
    module
        .register_async_method("admin_resume", |params, sink, extensions| {
            let params = params.into_owned();
            async move {
                let operator = Role::operator(&extensions)?;
                resume(&params, operator, &**sink).await.map_err(ErrorObjectOwned::from)
            }
        })
        .expect("a method is registered once");
    module
}

async fn enter_safe_mode(params: &jsonrpsee::types::Params<'_>, sink: &dyn AdminSink) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let reason = fields.text("reason")?;
    fields.finish()?;
    if reason.len() > ADMIN_REASON_BYTES_MAX {
        return Err(IngressError::TooLong("reason".into()).into());
    }
    let (seq, ts, events) = done(sink.enter_safe_mode(reason).await?).map_err(not_executed)?;
    let entered = events.iter().find_map(|event| match event {
        Event::SafeModeEntered { incident, cancelled, .. } => Some((*incident, *cancelled)),
        _ => None,
    });
    let (incident, cancelled) = entered.ok_or_else(|| RpcError::refused_by_engine(seq, &events))?;
    Ok(json!({
        "seq": seq.to_string(), "ts": ts.ms().to_string(),
        "incident": incident.to_string(), "cancelled": cancelled.to_string(),
    }))
}

async fn resume(params: &jsonrpsee::types::Params<'_>, operator: u8, sink: &dyn AdminSink) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let incident: u32 = fields.integer("incident")?;
    fields.finish()?;
    let (seq, ts, events) = done(sink.resume(IncidentId(incident), operator).await?).map_err(not_executed)?;
    match events.iter().any(|event| matches!(event, Event::Resumed { .. })) {
        true => Ok(json!({
            "seq": seq.to_string(), "ts": ts.ms().to_string(),
            "incident": incident.to_string(), "operator": operator.to_string(),
        })),
        false => Err(RpcError::refused_by_engine(seq, &events)),
    }
}

fn not_executed(shed: Shed) -> RpcError {
    match shed {
        Shed::SafeMode => RpcError::AdminNotNow("the node entered safe mode first".into()),
        Shed::ShuttingDown => IngressError::ShuttingDown.into(),
    }
}

/// Refuses a request without a fresh token before a byte of its body is read.
#[derive(Clone)]
pub(crate) struct RequireToken(Arc<Secrets>);

struct Secrets {
    operators: OperatorSecrets,
    follower: Option<JwtSecret>,
}

impl Secrets {
    /// Whose token this is.
    fn verify(&self, token: &str, unix_seconds: u64) -> Result<Role, TokenError> {
        match (self.operators.verify(token, unix_seconds), &self.follower) {
            (Err(TokenError::Signature), Some(follower)) => follower.verify(token, unix_seconds).map(|()| Role::Follower),
            (checked, _) => checked.map(Role::Operator),
        }
    }
}

impl<S> Layer<S> for RequireToken {
    type Service = TokenCheck<S>;
    fn layer(&self, inner: S) -> TokenCheck<S> {
        TokenCheck { inner, secrets: self.0.clone() }
    }
}

/// See [RequireToken].
#[derive(Clone)]
pub(crate) struct TokenCheck<S> {
    inner: S,
    secrets: Arc<Secrets>,
}

impl<S> TokenCheck<S> {
    fn check(&self, headers: &http::HeaderMap) -> Result<Role, TokenError> {
        let header = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or(TokenError::Missing)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.secrets.verify(token.trim(), now)
    }
}

impl<S, B> Service<http::Request<B>> for TokenCheck<S>
where
    S: Service<http::Request<B>, Response = HttpResponse, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        match self.check(request.headers()) {
            Ok(role) => {
                request.extensions_mut().insert(role);
                Box::pin(self.inner.call(request))
            }
            Err(error) => {
                tracing::warn!(%error, "an admin request was refused");
                let mut response = HttpResponse::new(HttpBody::from(format!("Unauthorized: {error}.\n")));
                *response.status_mut() = http::StatusCode::UNAUTHORIZED;
                Box::pin(async { Ok(response) })
            }
        }
    }
}
