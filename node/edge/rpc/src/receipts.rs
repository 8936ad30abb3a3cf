//! `node_getCancelReceipt`: proof that an incident cancelled an order, down from the root of the settled state.
use crate::context::Shared;
use crate::error::RpcError;
use crate::fields::Fields;
use crate::method::{Call, Method, Param};
use crate::streams::render::market_name;
use jsonrpsee::types::Params;
use keel_blocks::{CancelPath, CancelTree, CancelledOrder, cancel_root_slot, join_roots};
use keel_commitment::trie::Node;
use keel_ingress::IngressError;
use keel_store::{BatchHeader, BatchStatus, CancelledPlace, StoreError, TrieId};
use keel_types::*;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Trees that are kept: of the last incidents that somebody asked about. One of 100,000 orders has 8 MB and takes seconds to make.
const TREES_KEPT: usize = 4;

/// The methods.
pub(crate) const METHODS: &[Method] = &[Method {
    name: "node_getCancelReceipt",
    summary: "Proof that safe mode cancelled an order: its leaf, the path to the cancel root of the incident, and from there to the state \
              root of the newest confirmed batch. `state` is null until a batch with the incident is confirmed.",
    params: &[Param::required("order", "felt", "Its hash.")],
    result: "CancelReceipt",
    errors: &["UNKNOWN_ORDER"],
    call: Call::Store(receipt),
}];

/// Trees over what records cancelled. A record never changes, so what is kept stays good.
#[derive(Default)]
pub struct CancelTrees(Mutex<VecDeque<(Seq, Arc<CancelTree>)>>);

impl CancelTrees {
    /// Whoever asks first makes it, and everybody else waits for it.
    fn of(&self, shared: &Shared, incident: IncidentId, seq: Seq) -> Result<Arc<CancelTree>, StoreError> {
        let mut kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, tree)) = kept.iter().find(|(of, _)| *of == seq) {
            return Ok(tree.clone());
        }
        let orders = shared.store.cancelled_by(incident, seq)?;
        let leaves = orders.iter().map(|update| CancelledOrder::of(update, seq).leaf()).collect();
        let tree = Arc::new(CancelTree::new(leaves));
        kept.truncate(TREES_KEPT - 1);
        kept.push_front((seq, tree.clone()));
        Ok(tree)
    }
}

fn receipt(shared: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    let mut fields = Fields::read(params)?;
    let order = fields.felt("order")?.ok_or(IngressError::MissingField("order".into()))?;
    fields.finish()?;
    shared.wait_for_history()?;
    let place = shared.store.cancelled_place(MessageHash(order))?.ok_or(Reject::UnknownOrder)?;
    let update = shared.store.cancelled_at(place)?.ok_or(Reject::UnknownOrder)?;
    let cancelled = CancelledOrder::of(&update, place.seq);
    let records = shared.store.cancelling_records(place.incident)?;
    let (settled, records) = match settled(shared, &records, place.seq)? {
        Some((batch, known)) => (Some(batch), &records[..known]),
        None => (None, &records[..]),
    };
    let path = path(shared, place, records)?;
    let root = path.root(cancelled.leaf());
    Ok(json!({
        "incident": place.incident.to_string(),
        "order": cancelled.order.to_string(),
        "account": cancelled.account.to_string(),
        "market": market_name(&shared.genesis, cancelled.market),
        "marketIndex": cancelled.market.0.to_string(),
        "remaining": cancelled.remaining.to_string(),
        "remainingQuantums": cancelled.remaining.0.to_string(),
        "seq": place.seq.to_string(),
        "leaf": hex(&cancelled.leaf()),
        "index": path.index.to_string(),
        "siblings": path.siblings.iter().map(hex).collect::<Value>(),
        "cancelRoot": hex(&root),
        "state": match settled {
            Some(batch) => state(shared, &batch, place.incident)?,
            None => Value::Null,
        },
    }))
}

/// The newest confirmed batch, if the record is in it, and how many of the incident's records are.
fn settled(shared: &Shared, records: &[Seq], seq: Seq) -> Result<Option<(BatchHeader, usize)>, RpcError> {
    let Some(batch) = shared.store.latest_batch_with(BatchStatus::Confirmed)? else { return Ok(None) };
    let mut known = 0;
    for record in records {
        let block = shared.store.height_of_seq(*record)?;
        known += usize::from(block.is_some_and(|block| block <= batch.last_block));
    }
    let has = records[..known].contains(&seq);
    Ok(has.then_some((batch, known)))
}

/// From the order's leaf to the joined root of `records`, one of which is its own.
fn path(shared: &Shared, place: CancelledPlace, records: &[Seq]) -> Result<CancelPath, RpcError> {
    let (mut before, mut after, mut path) = (None, vec![], None);
    for record in records {
        let tree = shared.cancel_trees.of(shared, place.incident, *record)?;
        if *record == place.seq {
            path = tree.path(place.index.into());
        } else if path.is_none() {
            before = join_roots(before, tree.root());
        } else {
            after.extend(tree.root());
        }
    }
    Ok(path.ok_or(Reject::UnknownOrder)?.joined(before, after))
}

/// The cancel root in the state after a batch; null where the tries of that block are not kept any more.
fn state(shared: &Shared, batch: &BatchHeader, incident: IncidentId) -> Result<Value, RpcError> {
    let (exchange, slot) = (shared.genesis.exchange, cancel_root_slot(incident));
    let Some(header) = shared.store.header(batch.last_block)? else { return Ok(Value::Null) };
    let state = shared.store.state_at(batch.last_block)?;
    let proved = (|| {
        let contract = state.contract_state(&exchange.0)?;
        let contracts = state.prove(TrieId::Contracts, &[exchange.0])?;
        let storage = state.prove(TrieId::Storage(exchange.0), &[slot])?;
        Ok((contract, contracts, storage))
    })();
    let (contract, contracts, storage) = match proved {
        Ok(proved) => proved,
        Err(StoreError::NotRetained { .. }) => return Ok(Value::Null),
        Err(error) => return Err(error.into()),
    };
    Ok(json!({
        "batch": batch.batch.to_string(),
        "block": batch.last_block.to_string(),
        "root": hex(&header.block.state_root),
        "contractsRoot": hex(&header.contracts_root),
        "classesRoot": hex(&header.classes_root),
        "exchange": exchange.to_string(),
        "classHash": hex(&contract.class_hash),
        "storageRoot": hex(&contract.storage_root),
        "nonce": hex(&contract.nonce),
        "slot": hex(&slot),
        "contractsProof": contracts.iter().map(node).collect::<Value>(),
        "storageProof": storage.iter().map(node).collect::<Value>(),
    }))
}

fn node((hash, node): &(Felt, Node)) -> Value {
    match node {
        Node::Binary { left, right } => json!({"hash": hex(hash), "left": hex(left), "right": hex(right)}),
        Node::Edge { path, child } => json!({
            "hash": hex(hash), "path": hex(&path.value()), "length": path.len().to_string(), "child": hex(child),
        }),
    }
}

fn hex(felt: &Felt) -> String {
    format!("{felt:#x}")
}
