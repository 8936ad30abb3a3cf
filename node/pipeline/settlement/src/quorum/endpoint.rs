//! One endpoint: JSON-RPC over HTTP, in bounds.

use super::{Answer, Fault, Request};
use crate::error::L1Error;
use crate::http::{self, Client, Response, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// One request. Longer than any answer of a healthy node; the head counts as stale long after it.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer that is no JSON-RPC, what is shown.
const SHOWN_MAX: usize = 200;

/// Not cheap to clone; shared by the quorum.
pub(super) struct Endpoint {
    pub(super) name: String,
    url: Url,
    client: Client,
    /// It differed, or failed, when it was last heard: said once.
    pub(super) apart: AtomicBool,
    /// It did not answer when it was last asked: it is not waited for.
    pub(super) mute: AtomicBool,
}

/// What stands in an HTTP body.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    result: Value,
    error: Option<Fault>,
}

impl Endpoint {
    pub(super) fn new(address: &str, client: Client) -> Result<Endpoint, L1Error> {
        let url: Url = address.parse().map_err(|error| L1Error::Unreachable(format!("{address}: {error}")))?;
        // Paths and queries of public endpoints hold keys, which are not logged.
        let name = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        Ok(Endpoint { name, url, client, apart: AtomicBool::new(false), mute: AtomicBool::new(false) })
    }

    /// Asks once. The error says why there is no answer.
    pub(super) async fn ask(&self, request: &Request, timeout: Duration, bytes_max: usize) -> Result<Answer, String> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": request.method, "params": request.params });
        let response = self.client.post(self.url.clone()).timeout(timeout).json(&body).send().await;
        let response = response.map_err(|error| self.failed(error))?;
        let status = response.status();
        let bytes = self.read(response, bytes_max).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Body { error: Some(fault), .. }) => Ok(Err(fault)),
            Ok(Body { result, error: None }) if status.is_success() => Ok(Ok(result)),
            _ => {
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX)]).into_owned();
                Err(format!("{}: HTTP {status}, and no JSON-RPC: {shown}", self.name))
            }
        }
    }

    async fn read(&self, mut response: Response, bytes_max: usize) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > bytes_max {
                return Err(format!("{}: an answer of more than {bytes_max} bytes", self.name));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failed(&self, error: http::Error) -> String {
        format!("{}: {}", self.name, http::explain(error))
    }
}
