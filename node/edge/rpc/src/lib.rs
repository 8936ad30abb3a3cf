//! JSON-RPC over HTTP and WebSocket: `starknet_*`, `trade_*`, `market_*`, `bridge_*`, `node_*`; `admin_*` on its own port.
//!
//! Invariant: nothing here decides anything about money or order. Writes go to ingress and wait for the durable answer; reads come
//! from the published view and the store. No lock of the engine can be held from here, and every limit is in [limits].
//!
//! | path | what |
//! |---|---|
//! | `/rpc/v0_9` | `starknet_*` of 0.9.0, and Keel's own methods |
//! | `/rpc/v0_10`, `/rpc` | `starknet_*` of 0.10.2, and Keel's own methods |
//! | `/status`, `/status.json`, `/metrics` | the status page, to be read without any tool, and what it shows as data ([status_page]) |
//!
//! Keel's own methods take one object, by name; every number in and out is a decimal string; unknown fields are refused.
#![forbid(unsafe_code)]

mod account;
mod admin;
mod answers;
mod batch;
pub mod bridge;
mod context;
pub mod error;
mod fields;
mod follow;
mod history;
pub mod incidents;
pub mod jwt;
pub mod limits;
mod market;
mod method;
mod node;
mod openrpc;
mod receipts;
mod server;
mod stall;
mod starknet;
mod status_page;
mod streams;
mod time;
mod trade;

pub use admin::{AdminAnswer, AdminConfig, AdminRefusal, AdminSink};
pub use context::{
    AgesMax, Cancellation, DepositState, Integrity, IntegrityReport, IntegrityVerdict, NodeStatus, PendingDeposit,
    RpcContext, SettlementStatus, Submission,
};
pub use follow::{Announced, AttestationDesk, FollowerConfig};
pub use jwt::{JwtSecret, OperatorSecrets};
pub use node::short_string;
pub use server::{Client, Running};
pub use time::utc;

use context::Shared;
use jsonrpsee::RpcModule;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where the servers listen.
#[derive(Clone)]
pub struct Config {
    /// The public server. Loopback by default in the binary: nothing here is TLS.
    pub public: SocketAddr,
    /// `None`: no admin server.
    pub admin: Option<AdminConfig>,
}

/// The servers that run.
pub struct ServerHandles {
    pub public: Running,
    pub admin: Option<Running>,
    sessions: Arc<streams::session::Sessions>,
    methods: Vec<String>,
}

impl ServerHandles {
    /// Every session is about to be lost, because the node stops: cancel-on-disconnect is carried out while the sequencer still takes
    /// commands. No session can be opened afterwards.
    pub async fn lose_sessions(&self) {
        for cancel in self.sessions.all_closed() {
            // One that is not queued in time was logged; stopping goes on.
            let _ = tokio::time::timeout(limits::LOSE_SESSION_TIMEOUT, cancel).await;
        }
    }

    /// Names of the methods that `/rpc` answers to.
    pub fn methods(&self) -> &[String] {
        &self.methods
    }

    /// Stops both; requests under way are answered.
    pub async fn stop(self) {
        self.public.stop().await;
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
    }
}

/// Failed to start a server.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} for {what}: {source}")]
pub struct StartError {
    pub what: &'static str,
    pub address: SocketAddr,
    pub source: std::io::Error,
}

/// Starts the servers on the running tokio runtime. `sink` carries out what operators ask for.
pub async fn start(context: RpcContext, config: Config, sink: Arc<dyn AdminSink>) -> Result<ServerHandles, StartError> {
    let shared = Shared::new(context);
    let chain = starknet::subscriptions::Chain::follow(&shared.store);
    let v09 = module(&shared, &chain, starknet::V09);
    let v10 = module(&shared, &chain, starknet::V10);
    let methods = v10.method_names().map(String::from).collect();
    let setup = server::Setup {
        listen: config.public,
        routes: vec![("/rpc", v10.clone().into()), ("/rpc/v0_10", v10.into()), ("/rpc/v0_9", v09.into())],
        config: server::public_config(),
        connections: limits::CONNECTIONS_MAX,
        sessions: Some(shared.sessions.clone()),
        status_page: Some(status_page::StatusPage::new(shared.clone())),
        http: tower::ServiceBuilder::new(),
    };
    let failed = |what, address| move |source| StartError { what, address, source };
    let public = server::start(setup).await.map_err(failed("the public RPC", config.public))?;
    let admin = match config.admin {
        None => None,
        Some(admin) => {
            let address = admin.listen;
            Some(admin::start(admin, sink).await.map_err(failed("the admin RPC", address))?)
        }
    };
    Ok(ServerHandles { public, admin, sessions: shared.sessions.clone(), methods })
}

/// Every method of one path.
fn module(
    shared: &Arc<Shared>,
    chain: &Arc<starknet::subscriptions::Chain>,
    dialect: &'static starknet::Dialect,
) -> RpcModule<Arc<Shared>> {
    let mut module = RpcModule::new(shared.clone());
    starknet::register(&mut module, dialect);
    starknet::subscriptions::register(&mut module, shared, chain, dialect);
    method::register(&mut context::Methods(&mut module));
    streams::register(&mut module);
    bridge::stream::register(&mut module, chain);
    module
}
