//! Small things that several commands share.

use anyhow::{Context, Result};
use jsonrpsee::core::client::ClientT;
use jsonrpsee::core::params::ObjectParams;
use jsonrpsee::http_client::HttpClient;
use serde_json::Value;
use std::time::Duration;

/// Longest wait for an answer of a node.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A client of one node.
pub fn client(rpc: &str) -> Result<HttpClient> {
    HttpClient::builder().request_timeout(REQUEST_TIMEOUT).build(rpc).with_context(|| format!("rpc address {rpc}"))
}

/// By-name parameters from a JSON object.
pub fn by_name(fields: Value) -> Result<ObjectParams> {
    let mut params = ObjectParams::new();
    let Value::Object(fields) = fields else { anyhow::bail!("parameters must be an object") };
    for (name, field) in fields {
        params.insert(&name, field).context("encode parameters")?;
    }
    Ok(params)
}

/// One call.
pub async fn request(rpc: &str, method: &str, params: Value) -> Result<Value> {
    let answer: Result<Value, _> = client(rpc)?.request(method, by_name(params)?).await;
    answer.with_context(|| format!("{method} at {rpc}"))
}
