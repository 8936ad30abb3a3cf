//! Transactions, their receipts and how final they are, in the block being built and in sealed ones.
use super::blocks::Building;
use super::dto::{self, Finality};
use super::params::Arguments;
use super::{Answer, Dialect, StarknetError, TRANSACTION_FLAGS, finality, sealed};
use crate::context::Shared;
use crate::error::RpcError;
use keel_store::{DepositResult, OpenTransaction, PlacedTransaction, Transaction};
use keel_types::{Felt, Height, Seq};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where a transaction is.
pub(super) enum Found {
    Open { height: Height, open: Arc<OpenTransaction> },
    Sealed(PlacedTransaction),
}

impl Found {
    fn transaction(&self) -> &Transaction {
        match self {
            Found::Open { open, .. } => &open.transaction,
            Found::Sealed(placed) => &placed.transaction,
        }
    }

    fn finality(&self, shared: &Shared) -> Result<Finality, RpcError> {
        match self {
            Found::Open { .. } => Ok(Finality::PreConfirmed),
            Found::Sealed(placed) => finality(shared, placed.height),
        }
    }
}

/// The transaction with a hash. A scan of the open block is at most 2,000 comparisons.
pub(super) fn find(shared: &Shared, hash: &Felt) -> Result<Option<Found>, RpcError> {
    let is_it = |open: &OpenTransaction| open.transaction.hash() == *hash;
    locate(shared, is_it, || Ok(shared.store.transaction_by_hash(hash)?))
}

/// The transaction that stands for a command.
fn find_by_seq(shared: &Shared, seq: Seq) -> Result<Option<Found>, RpcError> {
    let is_it = |open: &OpenTransaction| (open.receipt.first_seq..=open.receipt.last_seq).contains(&seq);
    locate(shared, is_it, || Ok(shared.store.transaction_of_seq(seq)?))
}

fn locate(
    shared: &Shared,
    is_it: impl Fn(&OpenTransaction) -> bool,
    stored: impl FnOnce() -> Result<Option<PlacedTransaction>, RpcError>,
) -> Result<Option<Found>, RpcError> {
    let open = shared.store.open_block(|block| {
        let open = block.transactions.iter().find(|open| is_it(open)).cloned();
        open.map(|open| Found::Open { height: block.height, open })
    });
    if open.is_some() {
        return Ok(open);
    }
    // A block above the published height is being committed: what is in it was not sealed yet.
    Ok(stored()?.filter(|placed| Some(placed.height) <= shared.store.height()).map(Found::Sealed))
}

fn named(shared: &Shared, arguments: &mut Arguments) -> Result<Found, RpcError> {
    let hash = arguments.felt("transaction_hash")?;
    Ok(find(shared, &hash)?.ok_or(StarknetError::TxnHashNotFound)?)
}

fn show(transaction: &Transaction, proof_facts: bool) -> Value {
    let mut shown = dto::transaction_with_hash(transaction);
    if proof_facts {
        dto::add_proof_facts(&mut shown);
    }
    shown
}

pub(super) fn by_hash(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let [proof_facts] = arguments.flags("response_flags", TRANSACTION_FLAGS)?;
    Ok(show(named(shared, arguments)?.transaction(), proof_facts))
}

pub(super) fn by_place(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let [proof_facts] = arguments.flags("response_flags", TRANSACTION_FLAGS)?;
    let (id, index) = (arguments.block_id("block_id")?, arguments.integer("index")?);
    let transaction = match sealed(shared, id)? {
        Some(header) => {
            let index = u32::try_from(index).map_err(|_| StarknetError::InvalidTxnIndex)?;
            shared.store.transaction(header.height(), index)?
        }
        None => {
            let open = usize::try_from(index).ok().and_then(|at| Building::read(shared).transactions.get(at).cloned());
            open.map(|open| open.transaction.clone())
        }
    };
    Ok(show(&transaction.ok_or(StarknetError::InvalidTxnIndex)?, proof_facts))
}

pub(super) fn receipt(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let found = named(shared, arguments)?;
    let finality = found.finality(shared)?;
    let (mut map, place) = match &found {
        Found::Open { height, open } => {
            (dto::receipt(&open.transaction, &open.receipt, finality), json!({"block_number": height.0}))
        }
        Found::Sealed(PlacedTransaction { height, index, transaction }) => {
            let header = shared.store.header(*height)?.ok_or(StarknetError::TxnHashNotFound)?;
            let left = shared.store.receipt(*height, *index)?.ok_or(StarknetError::TxnHashNotFound)?;
            let place = json!({"block_hash": dto::felt(&header.hash), "block_number": height.0});
            (dto::receipt(transaction, &left, finality), place)
        }
    };
    dto::extend(&mut map, place);
    Ok(Value::Object(map))
}

pub(super) fn status(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let finality = named(shared, arguments)?.finality(shared)?;
    Ok(json!({"finality_status": finality.as_str(), "execution_status": "SUCCEEDED"}))
}

/// A deposit that was refused has no transaction and is not listed. Nothing is listed behind one that is still on its way: what is known is a
/// prefix of what will be, in the order of sending.
pub(super) fn messages_status(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let hash = arguments.bytes32("transaction_hash")?;
    shared.wait_for_history()?;
    let deposits = shared.store.deposits_of_l1_transaction(&hash)?;
    let credited = deposits.iter().filter(|row| matches!(row.result, DepositResult::Credited { .. }));
    let (mut statuses, mut on_its_way) = (Vec::new(), deposits.is_empty());
    for row in credited {
        let Some(found) = find_by_seq(shared, row.seq)? else {
            // Executed, and not yet taken over into the open block.
            on_its_way = true;
            break;
        };
        statuses.push(json!({
            "transaction_hash": dto::felt(&found.transaction().hash()),
            "finality_status": found.finality(shared)?.as_str(),
            "execution_status": "SUCCEEDED",
        }));
    }
    if statuses.is_empty() && on_its_way {
        return Err(StarknetError::TxnHashNotFound.into());
    }
    Ok(Value::Array(statuses))
}
