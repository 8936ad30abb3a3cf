//! Ethereum's methods over several endpoints.

use crate::error::L1Error;
use crate::quorum::{Answer, AskError, Dialect, Fault, Quorum, Request, Rule, only};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::task::{Context, Poll};
use tower::Service;

/// A provider over `endpoints`, see [`Quorum::new`]. No fillers: nonces, gas and fees are the sender's own.
pub(crate) fn connect(endpoints: &[String], quorum: usize) -> Result<DynProvider, L1Error> {
    let transport = Transport(Quorum::new(endpoints, quorum, &Ethereum)?);
    Ok(ProviderBuilder::new().disable_recommended_fillers().connect_client(RpcClient::new(transport, false)).erased())
}

/// Fields of a block that are read.
const BLOCK: &[&str] = &["number", "hash", "parentHash", "timestamp", "baseFeePerGas"];
/// Fields of an event.
const LOG: &[&str] =
    &["address", "topics", "data", "blockNumber", "blockHash", "transactionHash", "transactionIndex", "logIndex"];
/// Fields of a transaction: what it says, and where it is. Without its effective price, on which clients differ while it waits.
#[rustfmt::skip]
const TRANSACTION: &[&str] = &[
    "hash", "blockHash", "blockNumber", "transactionIndex", "type", "chainId", "nonce", "from", "to", "value", "input", "gas",
    "maxFeePerGas", "maxPriorityFeePerGas", "maxFeePerBlobGas", "blobVersionedHashes", "accessList", "r", "s", "v", "yParity",
];
/// Fields of a receipt.
#[rustfmt::skip]
const RECEIPT: &[&str] = &[
    "transactionHash", "transactionIndex", "blockHash", "blockNumber", "from", "to", "contractAddress", "type", "status",
    "cumulativeGasUsed", "gasUsed", "effectiveGasPrice", "blobGasUsed", "blobGasPrice", "logsBloom", "logs",
];

struct Ethereum;

impl Dialect for Ethereum {
    fn rule(&self, request: &Request) -> Rule {
        match request.method.as_str() {
            "eth_getBlockByNumber" => match request.params[0].as_str() {
                Some("latest") => Rule::Newest,
                Some(tag) if tag.starts_with("0x") => Rule::Same,
                _ => Rule::Block,
            },
            "eth_blockNumber" | "eth_estimateGas" | "eth_gasPrice" | "eth_maxPriorityFeePerGas" | "eth_blobBaseFee" => {
                Rule::Figures
            }
            "eth_sendRawTransaction" => Rule::Any,
            _ => Rule::Same,
        }
    }

    fn told(&self, method: &str, result: Value) -> Value {
        let logs = |value: &Value| value.as_array().into_iter().flatten().map(|log| only(log, LOG)).collect();
        match method {
            "eth_getBlockByNumber" | "eth_getBlockByHash" => only(&result, BLOCK),
            "eth_getTransactionByHash" => only(&result, TRANSACTION),
            "eth_getLogs" if result.is_array() => logs(&result),
            "eth_getTransactionReceipt" if result.is_object() => {
                let mut receipt = only(&result, RECEIPT);
                receipt["logs"] = logs(&result["logs"]);
                receipt
            }
            _ => result,
        }
    }

    fn key(&self, _: &str, answer: &Answer) -> Value {
        match answer {
            Ok(result) => result.clone(),
            Err(fault) => {
                let why = payload(fault).as_revert_data().map_or_else(|| fault.code.to_string(), |data| data.to_string());
                json!({ "refused": why })
            }
        }
    }

    fn answer_bytes_max(&self, method: &str) -> usize {
        // Events of thousands of blocks; else a transaction with its calldata is the largest.
        if method == "eth_getLogs" { 32 << 20 } else { 2 << 20 }
    }

    fn number(&self, block: &Value) -> Option<u64> {
        u64::from_str_radix(block["number"].as_str()?.strip_prefix("0x")?, 16).ok()
    }

    fn numbered(&self, params: &Value, number: u64) -> Value {
        json!([format!("{number:#x}"), params[1]])
    }
}

fn payload(fault: &Fault) -> ErrorPayload {
    let data = fault.data.as_ref().and_then(raw);
    ErrorPayload { code: fault.code, message: fault.message.clone().into(), data }
}

/// `None` never comes: a value is always JSON.
fn raw(value: &Value) -> Option<Box<RawValue>> {
    to_raw_value(value).ok()
}

/// The quorum as alloy asks it.
#[derive(Clone)]
struct Transport(Quorum);

impl Transport {
    async fn ask(self, request: SerializedRequest) -> Result<Response, TransportError> {
        let params = request.params().map(|params| serde_json::from_str(params.get())).transpose();
        let params = params.map_err(TransportError::ser_err)?.unwrap_or_else(|| json!([]));
        let asked = Request { method: request.method().to_owned(), params };
        let payload = match self.0.ask(asked).await.map_err(TransportErrorKind::custom)? {
            Ok(result) => ResponsePayload::Success(to_raw_value(&result).map_err(TransportError::ser_err)?),
            Err(fault) => ResponsePayload::Failure(payload(&fault)),
        };
        Ok(Response { id: request.id().clone(), payload })
    }
}

impl Service<RequestPacket> for Transport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> TransportFut<'static> {
        let this = self.clone();
        Box::pin(async move {
            match request {
                RequestPacket::Single(request) => this.ask(request).await.map(ResponsePacket::Single),
                RequestPacket::Batch(_) => Err(TransportErrorKind::custom(AskError::Batch)),
            }
        })
    }
}
