use super::super::events::keys;
use super::super::params::{self, Arguments, BlockId, felt_list};
use super::super::{Dialect, StarknetError, TRANSACTION_FLAGS, sealed};
use super::Cursor;
use super::follow::{Blocks, Heads, Senders, Wanted};
use super::status::Status;
use crate::context::Shared;
use crate::error::RpcError;
use crate::limits::{EVENT_FILTER_ADDRESSES_MAX, SENDER_FILTER_MAX, SUBSCRIPTION_BLOCKS_BACK_MAX};
use keel_store::EventFilter;
use keel_types::Height;
use serde_json::Value;

/// `starknet_subscribeNewHeads`.
pub fn new_heads(shared: &Shared, _: &Dialect, mut arguments: Arguments) -> Result<Cursor, RpcError> {
    let (next, _) = start(shared, &mut arguments)?;
    Ok(Cursor::Heads(Heads { next }))
}

/// `starknet_subscribeEvents`.
pub fn events(shared: &Shared, dialect: &Dialect, mut arguments: Arguments) -> Result<Cursor, RpcError> {
    let addresses = match arguments.optional("from_address") {
        None => Vec::new(),
        Some(list @ Value::Array(_)) if dialect.address_lists => felt_list("from_address", &list)?,
        Some(address) => vec![params::felt("from_address", &address)?],
    };
    if addresses.len() > EVENT_FILTER_ADDRESSES_MAX {
        return Err(StarknetError::TooManyKeysInFilter.into());
    }
    let keys = arguments.optional("keys").map_or(Ok(Vec::new()), |value| keys(&value))?;
    let pre_confirmed = match arguments.optional("finality_status") {
        None => false,
        Some(status) => match status.as_str() {
            Some("PRE_CONFIRMED") => true,
            Some("ACCEPTED_ON_L2") => false,
            _ => return Err(RpcError::params("finality_status", "expected PRE_CONFIRMED or ACCEPTED_ON_L2")),
        },
    };
    let (next, live_from) = start(shared, &mut arguments)?;
    let filter = EventFilter { from: Height(0), to: Height(u64::MAX), addresses, keys };
    Ok(Cursor::Blocks(Blocks { wanted: Wanted::Events(filter), pre_confirmed, accepted: true, next, live_from }))
}

/// `starknet_subscribeTransactionStatus`.
pub fn transaction_status(_: &Shared, _: &Dialect, mut arguments: Arguments) -> Result<Cursor, RpcError> {
    Ok(Cursor::Status(Status::of(arguments.felt("transaction_hash")?)))
}

/// `starknet_subscribeNewTransactions`.
pub fn transactions(shared: &Shared, _: &Dialect, mut arguments: Arguments) -> Result<Cursor, RpcError> {
    let [proof_facts] = arguments.flags("tags", TRANSACTION_FLAGS)?;
    let known = ["RECEIVED", "CANDIDATE", "PRE_CONFIRMED", "ACCEPTED_ON_L2"];
    new_transactions(shared, arguments, &known, |senders| Wanted::Transactions { senders, proof_facts })
}

/// `starknet_subscribeNewTransactionReceipts`.
pub fn receipts(shared: &Shared, _: &Dialect, arguments: Arguments) -> Result<Cursor, RpcError> {
    new_transactions(shared, arguments, &["PRE_CONFIRMED", "ACCEPTED_ON_L2"], |senders| Wanted::Receipts { senders })
}

fn new_transactions(
    shared: &Shared,
    mut arguments: Arguments,
    known: &[&str],
    wanted: impl FnOnce(Senders) -> Wanted,
) -> Result<Cursor, RpcError> {
    let senders = arguments.optional("sender_address").map_or(Ok(Vec::new()), |list| felt_list("sender_address", &list))?;
    if senders.len() > SENDER_FILTER_MAX {
        return Err(StarknetError::TooManyAddressesInFilter.into());
    }
    let (pre_confirmed, accepted) = statuses(&mut arguments, known)?;
    let next = Height(shared.store.height().map_or(0, |tip| tip.0 + 1));
    Ok(Cursor::Blocks(Blocks { wanted: wanted(Senders::new(senders)), pre_confirmed, accepted, next, live_from: next }))
}

/// Whether `finality_status` has PRE_CONFIRMED, and whether it has ACCEPTED_ON_L2.
fn statuses(arguments: &mut Arguments, known: &[&str]) -> Result<(bool, bool), RpcError> {
    let malformed = || RpcError::params("finality_status", "expected an array of statuses, without ACCEPTED_ON_L1");
    let list = arguments.optional("finality_status").unwrap_or_else(|| Value::Array(Vec::new()));
    let list = list.as_array().ok_or_else(malformed)?;
    if !list.iter().all(|status| status.as_str().is_some_and(|status| known.contains(&status))) {
        return Err(malformed());
    }
    Ok((
        list.iter().any(|status| status == "PRE_CONFIRMED"),
        list.is_empty() || list.iter().any(|status| status == "ACCEPTED_ON_L2"),
    ))
}

/// The block to begin with, and the first that was not sealed when this was called.
fn start(shared: &Shared, arguments: &mut Arguments) -> Result<(Height, Height), RpcError> {
    let id = match arguments.optional("block_id") {
        None => BlockId::Latest,
        Some(id) => params::block_id("block_id", &id)?,
    };
    if matches!(id, BlockId::PreConfirmed | BlockId::L1Accepted) {
        return Err(RpcError::params("block_id", "a subscription begins with a hash, a number, or latest"));
    }
    // Before the block id is read: a block that is committed meanwhile comes as one that is new.
    let tip = shared.store.height().ok_or(StarknetError::BlockNotFound)?;
    let from = sealed(shared, id)?.ok_or(StarknetError::BlockNotFound)?.height();
    if from.0 + SUBSCRIPTION_BLOCKS_BACK_MAX < tip.0 {
        return Err(StarknetError::TooManyBlocksBack.into());
    }
    Ok((from, Height(tip.0 + 1)))
}
