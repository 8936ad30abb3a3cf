//! `keel status`: one look at a running node.

use crate::wiring::request;
use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Prints the node's own answer, most important first; fails when the node cannot be reached.
pub async fn run(rpc: &str) -> Result<()> {
    let Value::Object(status) = request(rpc, "node_status", json!({})).await? else { bail!("status: unexpected answer") };
    for (name, value) in &status {
        match value {
            Value::String(text) => println!("{name:>24}  {text}"),
            other => println!("{name:>24}  {other}"),
        }
    }
    Ok(())
}
