//! The servers over real parts: engine, ingress with real signatures, blocks, batches and store, in one process.
mod admin;
mod bridge;
mod chain;
mod conformance;
mod follow;
mod http;
mod incidents;
mod keel;
mod node;
mod openrpc;
mod proof;
mod schema;
mod starknet;
mod status_page;
mod subscriptions;
mod transport;
mod ws;
