//! Calls to the admin port of the node that is followed; one connection and one fresh token each.

use anyhow::{Result, ensure};
use http::{HeaderMap, HeaderValue, header};
use jsonrpsee::core::ClientError;
use jsonrpsee::core::client::ClientT;
use jsonrpsee::http_client::HttpClient;
use keel_rpc::{Announced, JwtSecret};
use keel_types::*;
use serde_json::{Value, json};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{reason}: {message}")]
    Refused { reason: String, message: String },
    #[error("{0}")]
    Unreachable(String),
    #[error("its answer has no good {0}")]
    Answer(&'static str),
}

/// The node.
pub struct Client {
    address: String,
    secret: JwtSecret,
}

impl Client {
    /// A client of `http://host:port`, or `https://`.
    pub fn new(address: &str, secret: JwtSecret) -> Result<Client> {
        let http = address.starts_with("http://") || address.starts_with("https://");
        ensure!(http, "{address:?} is not an http:// or https:// address");
        Ok(Client { address: address.trim_end_matches('/').to_owned(), secret })
    }

    /// Where the stream is.
    pub fn websocket(&self) -> String {
        self.address.replacen("http", "ws", 1)
    }

    /// The header that opens the admin port, for a minute.
    pub fn token(&self) -> HeaderMap {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let value = HeaderValue::from_str(&format!("Bearer {}", self.secret.sign(now))).expect("base64 is a header's text");
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    /// `admin_getBatches`.
    pub async fn batches(&self, from: BatchId, attestor: AttestorId) -> Result<Announced, CallError> {
        let params = json!({"from": from.to_string(), "attestor": attestor.to_string()});
        let answer = self.call("admin_getBatches", params).await?;
        let batches = answer["batches"].as_array().ok_or(CallError::Answer("batches"))?;
        let batches: Result<Vec<_>, CallError> = batches.iter().map(announced).collect();
        Ok(Announced { unconfirmed_from: BatchId(parsed(&answer, "unconfirmedFrom")?), batches: batches? })
    }

    /// `admin_submitAttestation`.
    pub async fn attest(&self, attestation: &Attestation) -> Result<Gathered, CallError> {
        let params = json!({
            "batch": attestation.batch.to_string(),
            "fact": attestation.fact.to_string(),
            "attestor": attestation.attestor.to_string(),
            "signature": format!("0x{}", hex::encode(&attestation.signature)),
        });
        let answer = self.call("admin_submitAttestation", params).await?;
        Ok(Gathered { have: parsed(&answer, "have")?, need: parsed(&answer, "need")? })
    }

    /// `admin_reportDivergence`.
    pub async fn diverged(&self, report: &DivergenceReport) -> Result<(), CallError> {
        let Divergence { what, batch, height, announced, computed } = report.divergence;
        let mut params = json!({
            "what": what.as_str(),
            "height": height.to_string(),
            "announced": announced.to_string(),
            "computed": computed.to_string(),
            "attestor": report.attestor.to_string(),
            "signature": format!("0x{}", hex::encode(&report.signature)),
        });
        if let Some(batch) = batch {
            params["batch"] = batch.to_string().into();
        }
        self.call("admin_reportDivergence", params).await.map(drop)
    }

    /// Any method, by name.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let unreachable = |error: ClientError| CallError::Unreachable(format!("{}: {error}", self.address));
        let builder = HttpClient::builder().request_timeout(REQUEST_TIMEOUT).set_headers(self.token());
        let client = builder.build(&self.address).map_err(unreachable)?;
        let params = crate::wiring::by_name(params).map_err(|_| CallError::Answer("parameters"))?;
        client.request(method, params).await.map_err(|error| match error {
            ClientError::Call(refused) => {
                let data = refused.data().and_then(|data| serde_json::from_str::<Value>(data.get()).ok());
                let reason = data.and_then(|data| data["reason"].as_str().map(str::to_owned)).unwrap_or_default();
                CallError::Refused { reason, message: refused.message().to_owned() }
            }
            other => unreachable(other),
        })
    }
}

fn announced(row: &Value) -> Result<(BatchClaim, bool), CallError> {
    let felt = |name| -> Result<FeltBytes, CallError> {
        let felt = row[name].as_str().and_then(|text| Felt::from_hex(text).ok());
        felt.map(FeltBytes).ok_or(CallError::Answer(name))
    };
    let claim = BatchClaim {
        batch: BatchId(parsed(row, "batch")?),
        first_block: Height(parsed(row, "firstBlock")?),
        last_block: Height(parsed(row, "lastBlock")?),
        root: felt("root")?,
        block_hash: felt("blockHash")?,
        fact: parsed(row, "fact")?,
    };
    Ok((claim, row["attested"].as_bool().ok_or(CallError::Answer("attested"))?))
}

fn parsed<T: FromStr>(row: &Value, name: &'static str) -> Result<T, CallError> {
    row[name].as_str().and_then(|text| text.parse().ok()).ok_or(CallError::Answer(name))
}
