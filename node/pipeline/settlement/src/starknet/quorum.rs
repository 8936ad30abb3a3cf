//! Starknet's methods over several endpoints.

use crate::error::{L1Error, Refusal};
use crate::quorum::{Answer, AskError, Dialect, Quorum, REQUEST_TIMEOUT, Request, Rule, only};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use starknet::providers::ProviderRequestData;
use starknet::providers::jsonrpc::{JsonRpcError, JsonRpcMethod, JsonRpcResponse, JsonRpcTransport};
use std::time::Duration;

/// A class takes the node longer than any other request.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(60);

/// Fields of an event.
const EVENT: &[&str] = &["from_address", "keys", "data", "block_hash", "block_number", "transaction_hash"];
/// Fields of a transaction of ours.
#[rustfmt::skip]
const TRANSACTION: &[&str] = &[
    "transaction_hash", "type", "version", "sender_address", "calldata", "signature", "nonce", "resource_bounds", "tip",
    "paymaster_data", "account_deployment_data", "nonce_data_availability_mode", "fee_data_availability_mode",
];

struct Starknet;

impl Dialect for Starknet {
    fn rule(&self, request: &Request) -> Rule {
        match request.method.as_str() {
            "starknet_getBlockWithTxHashes" => match request.params["block_id"].as_str() {
                Some("latest") => Rule::Newest,
                Some(_) => Rule::Block,
                None => Rule::Same,
            },
            "starknet_blockNumber" | "starknet_estimateFee" => Rule::Figures,
            "starknet_addInvokeTransaction" | "starknet_addDeclareTransaction" => Rule::Any,
            _ => Rule::Same,
        }
    }

    fn told(&self, method: &str, mut result: Value) -> Value {
        match method {
            "starknet_getEvents" if result["events"].is_array() => {
                let events = result["events"].as_array().into_iter().flatten();
                json!({ "events": events.map(|event| only(event, EVENT)).collect::<Value>() })
            }
            "starknet_getTransactionByHash" => only(&result, TRANSACTION),
            "starknet_getBlockWithTxHashes" => {
                // On L1 or not yet is asked by the tag.
                if result["status"] == "ACCEPTED_ON_L1" {
                    result["status"] = "ACCEPTED_ON_L2".into();
                }
                result
            }
            "starknet_getTransactionStatus" => match result["finality_status"].as_str() {
                // All that waits for its block is one.
                Some("RECEIVED" | "CANDIDATE" | "PRE_CONFIRMED") => json!({ "finality_status": "RECEIVED" }),
                Some("ACCEPTED_ON_L1") => {
                    result["finality_status"] = "ACCEPTED_ON_L2".into();
                    only(&result, &["finality_status", "execution_status", "failure_reason"])
                }
                _ => only(&result, &["finality_status", "execution_status", "failure_reason"]),
            },
            _ => result,
        }
    }

    fn key(&self, method: &str, answer: &Answer) -> Value {
        match (method, answer) {
            // The rest differs by version, and is not read.
            ("starknet_getBlockWithTxHashes", Ok(block)) => {
                only(block, &["block_number", "block_hash", "parent_hash", "timestamp"])
            }
            ("starknet_getTransactionStatus", Ok(status)) => only(status, &["finality_status", "execution_status"]),
            (_, Ok(result)) => result.clone(),
            (_, Err(fault)) => {
                // The words differ by client and version, but for the contract's own.
                let words = fault.data.as_ref().map(Value::to_string).unwrap_or_default();
                let reason = match Refusal::of_text(&words) {
                    Refusal::Other(_) => String::new(),
                    known => known.to_string(),
                };
                json!({ "refused": [fault.code, reason] })
            }
        }
    }

    fn answer_bytes_max(&self, _: &str) -> usize {
        // A thousand events, a block's transactions, a transaction with a chunk of data.
        4 << 20
    }

    fn number(&self, block: &Value) -> Option<u64> {
        block["block_number"].as_u64()
    }

    fn numbered(&self, _: &Value, number: u64) -> Value {
        json!({ "block_id": { "block_number": number } })
    }

    fn next_page(&self, request: &Request, result: &Value) -> Option<Value> {
        let token = match request.method.as_str() {
            "starknet_getEvents" => result["continuation_token"].as_str()?,
            _ => return None,
        };
        let mut params = request.params.clone();
        params["filter"]["continuation_token"] = token.into();
        Some(params)
    }

    fn join(&self, whole: &mut Value, mut page: Value) {
        if let (Some(events), Some(more)) = (whole["events"].as_array_mut(), page["events"].as_array_mut()) {
            events.append(more);
        }
    }

    fn timeout(&self, method: &str) -> Duration {
        if method == "starknet_addDeclareTransaction" { DECLARE_TIMEOUT } else { REQUEST_TIMEOUT }
    }
}

/// The quorum as the `starknet` crate asks it.
#[derive(Clone)]
pub(crate) struct Transport(Quorum);

/// `endpoints` as one, see [`Quorum::new`].
pub(crate) fn connect(endpoints: &[String], quorum: usize) -> Result<Quorum, L1Error> {
    Quorum::new(endpoints, quorum, &Starknet)
}

impl Transport {
    /// Over `endpoints`, see [`Quorum::new`].
    pub(super) fn new(endpoints: &[String], quorum: usize) -> Result<Transport, L1Error> {
        connect(endpoints, quorum).map(Transport)
    }
}

fn shape(error: serde_json::Error) -> AskError {
    AskError::Silent(format!("an answer of another shape: {error}"))
}

#[async_trait::async_trait]
impl JsonRpcTransport for Transport {
    type Error = AskError;

    async fn send_request<P, R>(&self, method: JsonRpcMethod, params: P) -> Result<JsonRpcResponse<R>, AskError>
    where
        P: Serialize + Send + Sync,
        R: DeserializeOwned + Send,
    {
        let params = serde_json::to_value(params).map_err(shape)?;
        let method = serde_json::to_value(method).map_err(shape)?.as_str().unwrap_or_default().to_owned();
        Ok(match self.0.ask(Request { method, params }).await? {
            Ok(result) => JsonRpcResponse::Success { id: 1, result: serde_json::from_value(result).map_err(shape)? },
            Err(fault) => {
                let error = JsonRpcError { code: fault.code, message: fault.message, data: fault.data };
                JsonRpcResponse::Error { id: 1, error }
            }
        })
    }

    /// Never asked for here.
    async fn send_requests<R>(&self, _: R) -> Result<Vec<JsonRpcResponse<Value>>, AskError>
    where
        R: AsRef<[ProviderRequestData]> + Send + Sync,
    {
        Err(AskError::Batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::Fault;

    fn request(method: &str, params: Value) -> Request {
        Request { method: method.into(), params }
    }

    #[test]
    fn what_has_a_moment_what_is_a_price_and_what_is_sent_have_rules_of_their_own() {
        for (method, params, rule) in [
            ("starknet_getBlockWithTxHashes", json!({ "block_id": "latest" }), Rule::Newest),
            ("starknet_getBlockWithTxHashes", json!({ "block_id": "l1_accepted" }), Rule::Block),
            ("starknet_getBlockWithTxHashes", json!({ "block_id": { "block_number": 7 } }), Rule::Same),
            ("starknet_estimateFee", json!({}), Rule::Figures),
            ("starknet_addInvokeTransaction", json!({}), Rule::Any),
            ("starknet_call", json!({ "block_id": "latest" }), Rule::Same),
            ("starknet_getEvents", json!({}), Rule::Same),
        ] {
            assert_eq!(Starknet.rule(&request(method, params.clone())), rule, "{method} {params}");
        }
        let asked = json!({ "block_id": "latest" });
        assert_eq!(Starknet.numbered(&asked, 7), json!({ "block_id": { "block_number": 7 } }));
    }

    #[test]
    fn pages_are_asked_for_by_the_endpoints_own_token_which_nobody_else_sees() {
        let asked = request("starknet_getEvents", json!({ "filter": { "chunk_size": 2 } }));
        let event = |number: u64| json!({ "from_address": "0x1", "keys": [], "data": [], "block_number": number });
        let mut whole = json!({ "events": [event(1), event(2)], "continuation_token": "2-0" });
        let next = Starknet.next_page(&asked, &whole).unwrap();
        assert_eq!(next, json!({ "filter": { "chunk_size": 2, "continuation_token": "2-0" } }));
        let last = json!({ "events": [event(3)] });
        assert_eq!(Starknet.next_page(&asked, &last), None);
        Starknet.join(&mut whole, last);
        let told = Starknet.told("starknet_getEvents", whole);
        assert_eq!(told, json!({ "events": [event(1), event(2), event(3)] }));
    }

    #[test]
    fn a_transaction_that_waits_waits_at_every_endpoint_the_same() {
        let told = |status: Value| Starknet.told("starknet_getTransactionStatus", status);
        let key = |status: Value| Starknet.key("starknet_getTransactionStatus", &Ok(told(status)));
        let received = key(json!({ "finality_status": "RECEIVED" }));
        let early = json!({ "finality_status": "PRE_CONFIRMED", "execution_status": "SUCCEEDED" });
        assert_eq!(key(early), received);
        let done = |on: &str| json!({ "finality_status": on, "execution_status": "SUCCEEDED" });
        assert_eq!(key(done("ACCEPTED_ON_L2")), key(done("ACCEPTED_ON_L1")));
        assert_ne!(key(done("ACCEPTED_ON_L2")), received);
        let failed = |why: &str| json!({ "finality_status": "ACCEPTED_ON_L2", "execution_status": "REVERTED", "failure_reason": why });
        assert_eq!(key(failed("one's words")), key(failed("another's words")));
        assert_ne!(key(failed("")), key(done("ACCEPTED_ON_L2")));
        assert_eq!(told(failed("why"))["failure_reason"], "why", "it is told all the same");
    }

    #[test]
    fn refusals_are_the_same_by_code_and_by_the_contracts_own_reason() {
        let key = |code, words: &str| {
            let fault = Fault { code, message: "error".into(), data: Some(json!({ "revert_error": words })) };
            Starknet.key("starknet_call", &Err(fault))
        };
        assert_eq!(key(40, "at 0x1: INVALID_PREVIOUS_ROOT"), key(40, "INVALID_PREVIOUS_ROOT (in frame 2)"));
        assert_eq!(key(40, "some words"), key(40, "other words"));
        assert_ne!(key(40, "INVALID_PREVIOUS_ROOT"), key(40, "ONLY_OPERATOR"));
        assert_ne!(key(40, "some words"), key(20, "some words"));
    }
}
