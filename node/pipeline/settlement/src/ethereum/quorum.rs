//! Several endpoints of one settlement layer, read as one. [spec settlement, Messages and money]
//!
//! An answer counts when a quorum of them gives it; so no single one, behind, mute or lying, stops the node or fools it.
//! Two nodes never quite agree on "now", so what has a moment is asked in two steps: the newest block that a quorum has
//! reached, by number, then the block of that number, by hash. What cannot be equal by nature (a gas estimate, a fee) is
//! chosen so that one liar cannot raise what is paid. A transaction goes to all.
//!
//! While no quorum agrees there is no head: to the guard the head stands still (SETTLEMENT_HEAD_STALE).

use crate::error::L1Error;
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{Request, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest};
use alloy::transports::http::Http;
use alloy::transports::http::reqwest::{Client, Url};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::JoinSet;
use tower::Service;

/// One request. Longer than any answer of a healthy node; the head counts as stale long after it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the others may take once a quorum has answered, where all answers are wanted.
const GRACE: Duration = Duration::from_millis(300);

/// The endpoints answer, and not the same.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no {needed} of {count} endpoints agree on {method}")]
pub(crate) struct NoQuorum {
    needed: usize,
    count: usize,
    method: String,
}

/// A provider over `endpoints`, which need not answer yet. `quorum` 0 is a majority. No fillers: nonces, gas and fees are the
/// sender's own.
///
/// # Errors
/// An address cannot be parsed; there is none; the quorum is more than there are, or so small that two could disagree.
pub(crate) fn connect(endpoints: &[String], quorum: usize) -> Result<DynProvider, L1Error> {
    let count = endpoints.len();
    let needed = if quorum == 0 { count / 2 + 1 } else { quorum };
    if needed > count || needed * 2 <= count {
        return Err(L1Error::Unreachable(format!("a quorum of {needed} of {count} endpoints is no majority of them")));
    }
    let client = Client::builder().timeout(REQUEST_TIMEOUT).connect_timeout(REQUEST_TIMEOUT).build();
    let client = client.map_err(|error| L1Error::Unreachable(error.to_string()))?;
    let endpoint = |address: &String| {
        let url: Url = address.parse().map_err(|error| L1Error::Unreachable(format!("{address}: {error}")))?;
        // Paths and queries of public endpoints hold keys, which are not logged.
        let name = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        Ok(Endpoint { name, transport: Http::with_client(client.clone(), url), apart: AtomicBool::new(false) })
    };
    let endpoints = endpoints.iter().map(endpoint).collect::<Result<Vec<_>, L1Error>>()?;
    let quorum = Quorum { endpoints: endpoints.into(), needed };
    Ok(ProviderBuilder::new().disable_recommended_fillers().connect_client(RpcClient::new(quorum, false)).erased())
}

struct Endpoint {
    name: String,
    transport: Http<Client>,
    /// It differed, or failed, when it was last heard: said once.
    apart: AtomicBool,
}

#[derive(Clone)]
struct Quorum {
    endpoints: Arc<[Endpoint]>,
    needed: usize,
}

/// How one answer is made of several.
enum Rule {
    /// A quorum must say the same.
    Same,
    /// A moment: the highest number that a quorum has reached.
    Number,
    /// The block at a moment.
    Block,
    /// An estimate: the highest of a quorum.
    Highest,
    /// A price: the lowest of a quorum. Too little is raised later.
    Lowest,
    /// One that takes it is enough.
    Any,
}

fn rule(request: &SerializedRequest) -> Rule {
    match request.method() {
        "eth_blockNumber" => Rule::Number,
        "eth_getBlockByNumber" if !params(request)[0].as_str().is_some_and(|tag| tag.starts_with("0x")) => Rule::Block,
        "eth_estimateGas" => Rule::Highest,
        "eth_feeHistory" | "eth_gasPrice" | "eth_maxPriorityFeePerGas" | "eth_blobBaseFee" => Rule::Lowest,
        "eth_sendRawTransaction" => Rule::Any,
        _ => Rule::Same,
    }
}

/// What one endpoint said: `Err` is no answer at all.
type Answer = (usize, Result<Response, TransportError>);

impl Quorum {
    async fn ask(self, request: SerializedRequest) -> Result<Response, TransportError> {
        match rule(&request) {
            Rule::Same => self.same(request).await,
            Rule::Number => self.ranked(&request, number, |highest_first| highest_first.nth(self.needed - 1)).await,
            Rule::Block => self.block(request).await,
            Rule::Highest => self.ranked(&request, number, |highest_first| highest_first.next()).await,
            Rule::Lowest => self.ranked(&request, price, |highest_first| highest_first.last()).await,
            Rule::Any => self.any(&request).await,
        }
    }

    fn send(&self, request: &SerializedRequest) -> JoinSet<Answer> {
        let mut answers = JoinSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let call = endpoint.transport.clone().call(RequestPacket::Single(request.clone()));
            answers.spawn(async move {
                let answer = call.await.and_then(|packet| match packet {
                    ResponsePacket::Single(response) => Ok(response),
                    ResponsePacket::Batch(_) => Err(TransportErrorKind::custom_str("a batch in answer to one request")),
                });
                (index, answer)
            });
        }
        answers
    }

    /// The first answer that a quorum gives.
    async fn same(&self, request: SerializedRequest) -> Result<Response, TransportError> {
        let mut answers = self.send(&request);
        let mut groups: Vec<(Value, Vec<usize>, Response)> = vec![];
        let mut silent = None;
        while let Some(Ok((index, answer))) = answers.join_next().await {
            let response = match answer {
                Ok(response) => response,
                Err(error) => {
                    self.differs(index, request.method(), &error.to_string());
                    silent = Some(error);
                    continue;
                }
            };
            let key = key(request.method(), &response);
            match groups.iter_mut().find(|group| group.0 == key) {
                Some(group) => group.1.push(index),
                None => groups.push((key, vec![index], response)),
            }
            if let Some(winner) = groups.iter().position(|group| group.1.len() >= self.needed) {
                let (_, agreeing, response) = groups.swap_remove(winner);
                agreeing.into_iter().for_each(|index| self.agrees(index));
                let others = groups.iter().flat_map(|(_, others, _)| others);
                others.for_each(|index| self.differs(*index, request.method(), "another answer than the quorum's"));
                return Ok(response);
            }
        }
        let answered: usize = groups.iter().map(|group| group.1.len()).sum();
        match silent {
            Some(error) if answered < self.needed => Err(error),
            _ => Err(self.no_quorum(request.method())),
        }
    }

    /// Of at least a quorum of answers, highest first, the one that `pick` takes.
    async fn ranked(
        &self,
        request: &SerializedRequest,
        rank: impl Fn(&Value) -> Option<u128>,
        pick: impl Fn(&mut dyn Iterator<Item = Response>) -> Option<Response>,
    ) -> Result<Response, TransportError> {
        let mut answers = self.send(request);
        let (mut ranked, mut refused, mut silent) = (vec![], vec![], None);
        let mut late = std::pin::pin!(tokio::time::sleep(REQUEST_TIMEOUT * 2));
        loop {
            let (index, answer) = tokio::select! {
                answer = answers.join_next() => match answer {
                    Some(Ok(answer)) => answer,
                    _ => break,
                },
                () = &mut late => break,
            };
            match answer {
                Ok(response) => match value(&response).as_ref().and_then(&rank) {
                    Some(rank) => ranked.push((rank, response)),
                    None => refused.push(response),
                },
                Err(error) => {
                    self.differs(index, request.method(), &error.to_string());
                    silent = Some(error);
                }
            }
            if ranked.len() == self.needed {
                late.as_mut().reset(tokio::time::Instant::now() + GRACE);
            }
        }
        if ranked.len() < self.needed {
            // A refusal (a call that reverts) is an answer, if a quorum refuses.
            if refused.len() >= self.needed {
                return Ok(refused.swap_remove(0));
            }
            return Err(silent.unwrap_or_else(|| self.no_quorum(request.method())));
        }
        ranked.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let mut highest_first = ranked.into_iter().map(|(_, response)| response);
        pick(&mut highest_first).ok_or_else(|| self.no_quorum(request.method()))
    }

    /// The block at a moment: its number first, then what a quorum calls the block of that number.
    async fn block(&self, request: SerializedRequest) -> Result<Response, TransportError> {
        let at = |block: &Value| number(&block["number"]);
        let moment = self.ranked(&request, at, |highest_first| highest_first.nth(self.needed - 1)).await?;
        let Some(number) = value(&moment).map(|block| block["number"].clone()) else { return Ok(moment) };
        let mut params = params(&request);
        params[0] = number;
        let numbered = Request::new(request.method().to_owned(), request.id().clone(), params).serialize();
        self.same(numbered.map_err(TransportError::ser_err)?).await
    }

    /// The first that takes it; the rest still get it.
    async fn any(&self, request: &SerializedRequest) -> Result<Response, TransportError> {
        let mut answers = self.send(request);
        let (mut refused, mut silent) = (None, None);
        while let Some(Ok((_, answer))) = answers.join_next().await {
            match answer {
                Ok(response) if response.is_success() => {
                    answers.detach_all();
                    return Ok(response);
                }
                Ok(response) => refused = Some(response),
                Err(error) => silent = Some(error),
            }
        }
        let silent = silent.unwrap_or_else(|| self.no_quorum(request.method()));
        refused.ok_or(silent)
    }

    fn agrees(&self, index: usize) {
        let endpoint = &self.endpoints[index];
        if endpoint.apart.swap(false, Ordering::Relaxed) {
            tracing::info!(endpoint = endpoint.name, "the endpoint agrees with the others again");
        }
    }

    fn differs(&self, index: usize, method: &str, why: &str) {
        let endpoint = &self.endpoints[index];
        if !endpoint.apart.swap(true, Ordering::Relaxed) {
            tracing::warn!(endpoint = endpoint.name, method, why, "the endpoint is left out");
        }
    }

    fn no_quorum(&self, method: &str) -> TransportError {
        let (needed, count) = (self.needed, self.endpoints.len());
        TransportErrorKind::custom(NoQuorum { needed, count, method: method.to_owned() })
    }
}

impl Service<RequestPacket> for Quorum {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> TransportFut<'static> {
        if let [only] = &self.endpoints[..] {
            return only.transport.clone().call(request);
        }
        let this = self.clone();
        Box::pin(async move {
            match request {
                RequestPacket::Single(request) => this.ask(request).await.map(ResponsePacket::Single),
                RequestPacket::Batch(_) => Err(TransportErrorKind::custom_str("requests are asked one by one")),
            }
        })
    }
}

fn params(request: &SerializedRequest) -> Value {
    let params = request.params().and_then(|params| serde_json::from_str(params.get()).ok());
    params.unwrap_or_else(|| Value::Array(vec![Value::Null]))
}

fn value(response: &Response) -> Option<Value> {
    match &response.payload {
        ResponsePayload::Success(payload) => serde_json::from_str(payload.get()).ok(),
        ResponsePayload::Failure(_) => None,
    }
}

/// What of an answer must be equal: what is used of it, and never what clients word or order differently.
fn key(method: &str, response: &Response) -> Value {
    if let ResponsePayload::Failure(error) = &response.payload {
        let why = error.as_revert_data().map_or_else(|| error.code.to_string(), |data| data.to_string());
        return serde_json::json!({ "refused": why });
    }
    let value = value(response).unwrap_or_default();
    let only = |value: &Value, fields: &[&str]| Value::Array(fields.iter().map(|field| value[*field].clone()).collect());
    let log = ["address", "topics", "data", "blockNumber", "blockHash", "transactionHash", "logIndex"];
    match (method, &value) {
        (_, Value::Null) => value,
        ("eth_getBlockByNumber" | "eth_getBlockByHash", _) => only(&value, &["number", "hash"]),
        ("eth_getLogs", Value::Array(logs)) => logs.iter().map(|entry| only(entry, &log)).collect(),
        ("eth_getTransactionReceipt", _) => only(&value, &["transactionHash", "status", "blockNumber", "blockHash"]),
        ("eth_getTransactionByHash", _) => only(&value, &["hash", "blockHash"]),
        _ => value,
    }
}

fn number(value: &Value) -> Option<u128> {
    u128::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// What a fee answer would make us pay per gas: the number itself, or of a history its last base fee and highest reward.
fn price(value: &Value) -> Option<u128> {
    if value.is_string() {
        return number(value);
    }
    let base = value["baseFeePerGas"].as_array()?.last().and_then(number)?;
    let rewards = value["reward"].as_array().into_iter().flatten().filter_map(Value::as_array).flatten();
    Some(base.saturating_add(rewards.filter_map(number).max().unwrap_or_default()))
}
