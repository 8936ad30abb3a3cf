//! The public server: HTTP and WebSocket on one port, one method table per path.
use crate::batch::NoWritesInBatch;
use crate::context::Unread;
use crate::error::RpcError;
use crate::limits::*;
use crate::stall::Stalling;
use crate::status_page::{Form, StatusPage};
use crate::streams::session::Sessions;
use jsonrpsee::Methods;
use jsonrpsee::core::BoxError;
use jsonrpsee::core::middleware::RpcServiceBuilder;
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, HttpResponse, PingConfig, ServerConfig, ServerHandle, StopHandle, TowerService,
    TowerServiceBuilder, serve_with_graceful_shutdown, stop_channel,
};
use jsonrpsee::types::ErrorObjectOwned;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;
use tower::layer::util::{Identity, Stack};

type RpcLayers = Stack<NoWritesInBatch, Identity>;

/// Who sent a request; in the extensions of every call. Budgets of ingress are kept by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client {
    pub ip: IpAddr,
    /// Of the TCP connection; unique while this process lives.
    pub connection: u64,
    /// Whether it came over a WebSocket.
    pub websocket: bool,
}

/// Method tables by path; any other path is 404.
pub(crate) type Routes = Vec<(&'static str, Methods)>;

/// A running server.
pub struct Running {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Running {
    /// Where it listens; the port is the real one where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Takes no more requests, answers those that are under way.
    pub async fn stop(self) {
        // The only error is that it stopped already.
        let _ = self.handle.stop();
        self.handle.stopped().await;
    }
}

/// How a server differs from the other one.
pub(crate) struct Setup<H> {
    pub listen: SocketAddr,
    pub routes: Routes,
    pub config: ServerConfig,
    pub connections: u32,
    /// Who is told of WebSockets that open and are lost.
    pub sessions: Option<Arc<Sessions>>,
    /// Served beside the methods.
    pub status_page: Option<Arc<StatusPage>>,
    pub http: tower::ServiceBuilder<H>,
}

/// Configuration of the public server.
pub(crate) fn public_config() -> ServerConfig {
    ServerConfig::builder()
        .max_request_body_size(REQUEST_BYTES_MAX)
        .max_response_body_size(RESPONSE_BYTES_MAX)
        .max_connections(CONNECTIONS_MAX)
        .max_subscriptions_per_connection(SUBSCRIPTIONS_PER_CONNECTION_MAX)
        .set_message_buffer_capacity(WS_MESSAGES_BUFFERED_MAX)
        // Bounded in `batch`, with an error code of our own; the parser is bounded by the body.
        .set_batch_request_config(BatchRequestConfig::Unlimited)
        .enable_ws_ping(PingConfig::new().ping_interval(WS_PING_INTERVAL).inactive_limit(WS_SILENT_MAX).max_failures(1))
        .build()
}

/// Binds and serves until stopped.
pub(crate) async fn start<H>(setup: Setup<H>) -> std::io::Result<Running>
where
    H: Clone + Send + Sync + 'static,
    Router<H>: ServesConnections,
{
    let listener = TcpListener::bind(setup.listen).await?;
    let address = listener.local_addr()?;
    let (stop, handle) = stop_channel();
    let builder = jsonrpsee::server::Server::builder()
        .set_config(setup.config)
        .set_http_middleware(setup.http)
        .set_rpc_middleware(RpcServiceBuilder::new().layer(NoWritesInBatch))
        .to_service_builder();
    let router = Router {
        routes: Arc::new(setup.routes),
        builder,
        sessions: setup.sessions,
        status_page: setup.status_page,
        stop: stop.clone(),
        client: None,
        permit: None,
    };
    let connections = Connections::new(setup.connections);
    tokio::spawn(accept(listener, router, connections, stop));
    Ok(Running { address, handle })
}

async fn accept<H>(listener: TcpListener, router: Router<H>, connections: Arc<Connections>, stop: StopHandle)
where
    H: Clone + Send + Sync + 'static,
    Router<H>: ServesConnections,
{
    let mut stopped = std::pin::pin!(stop.clone().shutdown());
    for connection in 1.. {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => return,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: it passes when connections close, and must not spin until then.
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(permit) = connections.enter(remote.ip()) else {
            tracing::debug!(%remote, "too many connections");
            continue;
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, %remote, "set TCP_NODELAY");
        }
        let client = Client { ip: remote.ip(), connection, websocket: false };
        let router = Router { client: Some(client), permit: Some(Arc::new(permit)), ..router.clone() };
        tokio::spawn(router.serve_connection(socket, stop.clone()));
    }
}

/// Sends a request to the method table of its path. One per connection.
#[derive(Clone)]
pub(crate) struct Router<H> {
    routes: Arc<Routes>,
    builder: TowerServiceBuilder<RpcLayers, H>,
    sessions: Option<Arc<Sessions>>,
    status_page: Option<Arc<StatusPage>>,
    stop: StopHandle,
    client: Option<Client>,
    permit: Option<Arc<Permit>>,
}

/// Says that a router with these layers can serve a TCP connection; spares every caller the bounds.
pub(crate) trait ServesConnections: Sized + Send + 'static {
    fn serve_connection(self, socket: TcpStream, stop: StopHandle) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

macro_rules! serves_connections {
    ($layer:ty) => {
        impl ServesConnections for Router<$layer> {
            fn serve_connection(self, socket: TcpStream, stop: StopHandle) -> Pin<Box<dyn Future<Output = ()> + Send>> {
                Box::pin(async move {
                    if let Err(error) = serve_with_graceful_shutdown(Stalling::new(socket, WRITE_STALL_MAX), self, stop.shutdown()).await {
                        tracing::debug!(%error, "a connection ended");
                    }
                })
            }
        }
    };
}
serves_connections!(Identity);
serves_connections!(Stack<crate::admin::RequireToken, Identity>);

impl<B, H> Service<http::Request<B>> for Router<H>
where
    H: Clone,
    TowerService<RpcLayers, H>: Service<http::Request<B>, Response = HttpResponse, Error = BoxError>,
    <TowerService<RpcLayers, H> as Service<http::Request<B>>>::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let path = request.uri().path();
        if let (Some(page), Some(form)) = (&self.status_page, Form::of(path)) {
            let answer = page.clone().answer(form, request.method());
            return Box::pin(async { Ok(answer.await) });
        }
        let Some((_, methods)) = self.routes.iter().find(|(known, _)| *known == path) else {
            return Box::pin(async { Ok(not_found()) });
        };
        let websocket = jsonrpsee::server::ws::is_upgrade_request(&request);
        if let Some(client) = self.client {
            request.extensions_mut().insert(Client { websocket, ..client });
        }
        if websocket {
            request.extensions_mut().insert(Unread::new());
        }
        let mut service = self.builder.clone().build(methods.clone(), self.stop.clone());
        if let Some(permit) = &self.permit
            && websocket
        {
            // An upgraded connection outlives the HTTP service; its permit must live as long, and its session no longer.
            let (permit, closed) = (permit.clone(), service.on_session_closed());
            let session = self.sessions.clone().zip(self.client.map(|client| client.connection));
            if let Some((sessions, connection)) = &session {
                sessions.opened(*connection);
            }
            tokio::spawn(async move {
                closed.await;
                if let Some((sessions, connection)) = session {
                    sessions.closed(connection);
                }
                drop(permit);
            });
        }
        let answered = service.call(request);
        Box::pin(async move {
            let answer = answered.await?;
            // The library's own code for this is one of ingress's.
            Ok(if answer.status() == http::StatusCode::PAYLOAD_TOO_LARGE { too_big() } else { answer })
        })
    }
}

fn too_big() -> HttpResponse {
    let error =
        jsonrpsee::MethodResponse::error(jsonrpsee::types::Id::Null, ErrorObjectOwned::from(RpcError::RequestTooBig));
    let mut response = HttpResponse::new(HttpBody::from(error.into_json().get().to_owned()));
    *response.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn not_found() -> HttpResponse {
    let mut response =
        HttpResponse::new(HttpBody::from("Not found: the paths are /rpc, /rpc/v0_9, /rpc/v0_10 and /status.\n"));
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    response
}

/// Counts connections, in all and by address.
struct Connections {
    all: Arc<Semaphore>,
    by_ip: Mutex<HashMap<IpAddr, usize>>,
}

/// One open connection; counted until it is dropped.
pub(crate) struct Permit {
    _one_of_all: OwnedSemaphorePermit,
    ip: IpAddr,
    connections: Arc<Connections>,
}

impl Connections {
    fn new(max: u32) -> Arc<Connections> {
        Arc::new(Connections { all: Arc::new(Semaphore::new(max as usize)), by_ip: Mutex::default() })
    }

    fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Permit> {
        let one_of_all = self.all.clone().try_acquire_owned().ok()?;
        let mut by_ip = self.by_ip.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = by_ip.entry(ip).or_insert(0);
        if *count >= CONNECTIONS_PER_IP_MAX && !ip.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Permit { _one_of_all: one_of_all, ip, connections: self.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut by_ip = self.connections.by_ip.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_connections_and_gets_its_own_back() {
        let connections = Connections::new(100);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<Permit> = (0..CONNECTIONS_PER_IP_MAX).map(|_| connections.enter(one).unwrap()).collect();
        assert!(connections.enter(one).is_none());
        assert!(connections.enter(other).is_some());
        held.pop();
        assert!(connections.enter(one).is_some());
        drop(held);
        assert!(connections.by_ip.lock().unwrap().is_empty());
        let all: Vec<Permit> = (0..100).filter_map(|i| connections.enter(IpAddr::from([10, 0, 1, i]))).collect();
        assert_eq!(all.len(), 100);
        assert!(connections.enter(IpAddr::from([127, 0, 0, 1])).is_none());
    }
}
