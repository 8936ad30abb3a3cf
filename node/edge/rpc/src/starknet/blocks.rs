//! Blocks and what they changed.
use super::dto::{self, Body, Finality};
use super::params::{Arguments, felt_list};
use super::{Answer, Dialect, StarknetError, TRANSACTION_FLAGS, finality, sealed};
use crate::context::Shared;
use crate::error::RpcError;
use keel_commitment::StateDiff;
use keel_store::{Header, OpenTransaction, Receipt};
use keel_types::{Felt, Height, Ts};
use serde_json::{Value, json};
use std::sync::Arc;

/// The last sealed block.
pub(super) fn tip(shared: &Shared) -> Result<Header, RpcError> {
    Ok(shared.store.tip()?.ok_or(StarknetError::NoBlocks)?)
}

/// The block being built as one request sees it.
pub(super) struct Building {
    pub(super) height: Height,
    ts: Ts,
    pub(super) transactions: Vec<Arc<OpenTransaction>>,
}

impl Building {
    pub(super) fn read(shared: &Shared) -> Building {
        shared.store.open_block(|open| Building {
            height: open.height,
            ts: open.ts,
            transactions: open.transactions.clone(),
        })
    }

    /// The block it stands on.
    fn parent(&self, shared: &Shared) -> Result<Header, RpcError> {
        header_below(shared, self.height)
    }
}

/// The header of the block before `height`, which is a sealed one.
fn header_below(shared: &Shared, height: Height) -> Result<Header, RpcError> {
    let parent = height.0.checked_sub(1).map(Height).ok_or(StarknetError::BlockNotFound)?;
    Ok(shared.store.header(parent)?.ok_or(StarknetError::BlockNotFound)?)
}

pub(super) fn block(shared: &Shared, dialect: &Dialect, arguments: &mut Arguments, body: Body) -> Answer {
    let [proof_facts] = arguments.flags("response_flags", TRANSACTION_FLAGS)?;
    let (mut map, mut transactions) = match sealed(shared, arguments.block_id("block_id")?)? {
        Some(header) => {
            let finality = finality(shared, header.height())?;
            let mut map = (dialect.header)(&header);
            map.insert("status".into(), json!(finality.as_str()));
            let transactions = shared.store.transactions(header.height())?;
            // Receipts and their events are most of a block: read where they are asked for.
            let receipts = match body {
                Body::Receipts => shared.store.receipts(header.height())?,
                Body::TxHashes | Body::Txs => vec![Receipt::default(); transactions.len()],
            };
            (map, dto::body(transactions.iter().zip(&receipts), finality, body))
        }
        None => {
            let building = Building::read(shared);
            let content = building.transactions.iter().map(|open| (&open.transaction, &open.receipt));
            let transactions = dto::body(content, Finality::PreConfirmed, body);
            (dto::pre_confirmed_header(&building.parent(shared)?, building.ts.secs()), transactions)
        }
    };
    if let (true, Value::Array(transactions)) = (proof_facts, &mut transactions) {
        for entry in transactions {
            dto::add_proof_facts(if body == Body::Receipts { &mut entry["transaction"] } else { entry });
        }
    }
    map.insert("transactions".into(), transactions);
    Ok(Value::Object(map))
}

pub(super) fn transaction_count(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    Ok(match sealed(shared, arguments.block_id("block_id")?)? {
        Some(header) => json!(header.block.content.transaction_count),
        None => json!(shared.store.open_block(|open| open.transactions.len())),
    })
}

pub(super) fn state_update(shared: &Shared, dialect: &Dialect, arguments: &mut Arguments) -> Answer {
    let id = arguments.block_id("block_id")?;
    let wanted = match arguments.optional("contract_addresses") {
        Some(list) => Some(felt_list("contract_addresses", &list)?),
        None => None,
    };
    let Some(header) = sealed(shared, id)? else {
        let (height, diff) = shared.store.open_block(|open| (open.height, open.diff.clone()));
        let old_root = header_below(shared, height)?.block.state_root;
        return Ok(json!({"old_root": dto::felt(&old_root), "state_diff": (dialect.state_diff)(&only(diff, wanted))}));
    };
    let old_root = match header.height() {
        Height(0) => Felt::ZERO,
        height => header_below(shared, height)?.block.state_root,
    };
    let diff = shared.store.diff(header.height())?.ok_or(StarknetError::BlockNotFound)?;
    Ok(json!({
        "block_hash": dto::felt(&header.hash),
        "old_root": dto::felt(&old_root),
        "new_root": dto::felt(&header.block.state_root),
        "state_diff": (dialect.state_diff)(&only(diff, wanted)),
    }))
}

/// What a diff says of some contracts; classes are declared for all. [OpenRPC 0.10, starknet_getStateUpdate]
fn only(mut diff: StateDiff, wanted: Option<Vec<Felt>>) -> StateDiff {
    if let Some(wanted) = wanted {
        diff.storage.retain(|address, _| wanted.contains(address));
        for of_contracts in [&mut diff.nonces, &mut diff.deployed_contracts, &mut diff.replaced_classes] {
            of_contracts.retain(|address, _| wanted.contains(address));
        }
    }
    diff
}
