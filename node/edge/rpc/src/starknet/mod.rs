//! `starknet_*`: the chain as wallets, explorers and bridges read it. Two versions of the specification over one set of objects.
//!
//! Blocks here are sealed blocks. There is no consensus to wait for, so `pre_confirmed` is an empty block on top of `latest`: what
//! has been executed since is in `trade_*` and `market_*`, and becomes transactions when the block is sealed.
mod dto;
mod error;
mod events;
mod params;
mod proof;
mod v09;
mod v10;

pub use error::StarknetError;

use crate::context::{Methods, Shared};
use crate::error::RpcError;
use dto::{Body, Finality};
use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;
use keel_commitment::StateDiff;
use keel_store::{FoundEvent, Header, PlacedTransaction};
use keel_types::{Felt, Height};
use params::{Arguments, BlockId};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What one version of the specification does differently.
pub struct Dialect {
    /// What `starknet_specVersion` says. SDKs choose the CASM hash by it, so it must agree with the protocol version of the blocks.
    pub spec_version: &'static str,
    pub header: fn(&Header) -> Map<String, Value>,
    pub state_diff: fn(&StateDiff) -> Value,
    /// The event, and its index among the events of its transaction.
    pub emitted_event: fn(&FoundEvent, u64) -> Value,
    /// Transactions and storage may be asked for with `response_flags`.
    pub response_flags: bool,
    /// `getStateUpdate` may be asked for some contracts only.
    pub contract_filter: bool,
    /// An event filter may have several addresses.
    pub address_lists: bool,
}

/// Versions served, each on its own path.
pub const V09: &Dialect = &v09::DIALECT;
/// See [V09].
pub const V10: &Dialect = &v10::DIALECT;

type Answer = Result<Value, RpcError>;

/// Adds every `starknet_*` method of `dialect`.
pub fn register(module: &mut RpcModule<Arc<Shared>>, dialect: &'static Dialect) {
    let methods = &mut Methods(module);
    methods.store("starknet_specVersion", move |_, _| Ok(json!(dialect.spec_version)));
    methods.store("starknet_chainId", |shared, _| Ok(dto::felt(&shared.genesis.chain_id.0)));
    methods.store("starknet_syncing", |_, _| Ok(Value::Bool(false)));
    methods.store("starknet_blockNumber", |shared, _| Ok(json!(tip(shared)?.block.number)));
    methods.store("starknet_blockHashAndNumber", |shared, _| {
        let tip = tip(shared)?;
        Ok(json!({"block_hash": dto::felt(&tip.hash), "block_number": tip.block.number}))
    });
    methods.store("starknet_getBlockWithTxHashes", move |shared, params| {
        let id = Arguments::read(params, &["block_id"])?.block_id("block_id")?;
        block(shared, dialect, id, Body::TxHashes)
    });
    methods.store("starknet_getBlockWithTxs", move |shared, params| {
        block(shared, dialect, block_id_and_flags(dialect, params)?, Body::Txs)
    });
    methods.store("starknet_getBlockWithReceipts", move |shared, params| {
        block(shared, dialect, block_id_and_flags(dialect, params)?, Body::Receipts)
    });
    methods.store("starknet_getBlockTransactionCount", |shared, params| {
        let id = Arguments::read(params, &["block_id"])?.block_id("block_id")?;
        Ok(json!(sealed(shared, id)?.map_or(0, |header| header.block.content.transaction_count)))
    });
    methods.store("starknet_getStateUpdate", move |shared, params| state_update(shared, dialect, params));
    methods.store("starknet_getStorageAt", move |shared, params| storage_at(shared, dialect, params));
    methods.store("starknet_getStorageProof", proof::get);
    methods.store("starknet_getNonce", nonce);
    methods.store("starknet_getClassHashAt", class_hash_at);
    methods.store("starknet_getTransactionByHash", move |shared, params| transaction_by_hash(shared, dialect, params));
    methods.store("starknet_getTransactionByBlockIdAndIndex", move |shared, params| {
        transaction_by_place(shared, dialect, params)
    });
    methods.store("starknet_getTransactionReceipt", receipt);
    methods.store("starknet_getTransactionStatus", |shared, params| {
        let placed = placed(shared, &mut Arguments::read(params, &["transaction_hash"])?)?;
        let finality = finality(shared, placed.height)?;
        Ok(json!({"finality_status": finality.as_str(), "execution_status": "SUCCEEDED"}))
    });
    methods.store("starknet_getEvents", move |shared, params| events::get(shared, dialect, params));
}

/// INCLUDE_PROOF_FACTS is accepted and changes nothing: no transaction of this chain has any.
const TRANSACTION_FLAGS: [&str; 1] = ["INCLUDE_PROOF_FACTS"];

/// Names of the parameters; the flags only where the version has them.
fn with_flags(dialect: &Dialect, mut names: Vec<&'static str>) -> Vec<&'static str> {
    if dialect.response_flags {
        names.push("response_flags");
    }
    names
}

fn block_id_and_flags(dialect: &Dialect, params: &Params<'_>) -> Result<BlockId, RpcError> {
    let mut arguments = Arguments::read(params, &with_flags(dialect, vec!["block_id"]))?;
    arguments.flags("response_flags", TRANSACTION_FLAGS)?;
    arguments.block_id("block_id")
}

/// The last sealed block.
fn tip(shared: &Shared) -> Result<Header, RpcError> {
    Ok(shared.store.tip()?.ok_or(StarknetError::NoBlocks)?)
}

/// The header a block id names; `None` for the block being built.
fn sealed(shared: &Shared, id: BlockId) -> Result<Option<Header>, RpcError> {
    let height = match id {
        BlockId::PreConfirmed => return Ok(None),
        BlockId::Latest => shared.store.height(),
        BlockId::L1Accepted => shared.height_on_l1()?,
        BlockId::Number(number) => Some(Height(number)),
        BlockId::Hash(hash) => shared.store.height_of_hash(&hash)?,
    };
    // A block above the published height is being committed; it is no answer yet.
    let height = height.filter(|height| Some(*height) <= shared.store.height());
    let header = height.map_or(Ok(None), |height| shared.store.header(height))?;
    Ok(Some(header.ok_or(StarknetError::BlockNotFound)?))
}

/// The height whose state a block id names; the block being built has the state of `latest`.
fn state_height(shared: &Shared, id: BlockId) -> Result<Height, RpcError> {
    match sealed(shared, id)? {
        Some(header) => Ok(header.height()),
        None => Ok(shared.store.height().ok_or(StarknetError::BlockNotFound)?),
    }
}

fn finality(shared: &Shared, height: Height) -> Result<Finality, RpcError> {
    Ok(match shared.height_on_l1()? {
        Some(confirmed) if height <= confirmed => Finality::AcceptedOnL1,
        _ => Finality::AcceptedOnL2,
    })
}

fn block(shared: &Shared, dialect: &Dialect, id: BlockId, body: Body) -> Answer {
    let Some(header) = sealed(shared, id)? else {
        let latest = shared.store.tip()?.ok_or(StarknetError::BlockNotFound)?;
        let mut map = dto::pre_confirmed_header(&latest, shared.published.at().ts.secs());
        map.insert("transactions".into(), json!([]));
        return Ok(Value::Object(map));
    };
    let finality = finality(shared, header.height())?;
    let mut map = (dialect.header)(&header);
    map.insert("status".into(), json!(finality.as_str()));
    let block = shared.store.block(header.height())?.ok_or(StarknetError::BlockNotFound)?;
    map.insert("transactions".into(), dto::body(&block, finality, body));
    Ok(Value::Object(map))
}

fn state_update(shared: &Shared, dialect: &Dialect, params: &Params<'_>) -> Answer {
    let names: &[&str] = if dialect.contract_filter { &["block_id", "contract_addresses"] } else { &["block_id"] };
    let mut arguments = Arguments::read(params, names)?;
    let id = arguments.block_id("block_id")?;
    let wanted = match arguments.optional("contract_addresses") {
        Some(list) => Some(events::felt_list("contract_addresses", &list)?),
        None => None,
    };
    let Some(header) = sealed(shared, id)? else {
        let latest = shared.store.tip()?.ok_or(StarknetError::BlockNotFound)?;
        let diff = (dialect.state_diff)(&StateDiff::default());
        return Ok(json!({"old_root": dto::felt(&latest.block.state_root), "state_diff": diff}));
    };
    let old_root = match header.height().0.checked_sub(1) {
        Some(parent) => shared.store.header(Height(parent))?.ok_or(StarknetError::BlockNotFound)?.block.state_root,
        None => Felt::ZERO,
    };
    let mut diff = shared.store.diff(header.height())?.unwrap_or_default();
    if let Some(wanted) = wanted {
        diff.storage.retain(|address, _| wanted.contains(address));
        diff.nonces.retain(|address, _| wanted.contains(address));
        diff.deployed_contracts.retain(|address, _| wanted.contains(address));
        diff.replaced_classes.retain(|address, _| wanted.contains(address));
    }
    Ok(json!({
        "block_hash": dto::felt(&header.hash),
        "old_root": dto::felt(&old_root),
        "new_root": dto::felt(&header.block.state_root),
        "state_diff": (dialect.state_diff)(&diff),
    }))
}

/// Contracts that have storage and no class: the block hash map, the alias table and a reserved one. [spec starknet (a)]
fn has_no_class(contract: &Felt) -> bool {
    *contract >= Felt::ONE && *contract <= Felt::THREE
}

fn storage_at(shared: &Shared, dialect: &Dialect, params: &Params<'_>) -> Answer {
    let names = with_flags(dialect, vec!["contract_address", "key", "block_id"]);
    let mut arguments = Arguments::read(params, &names)?;
    let (contract, key) = (arguments.felt("contract_address")?, arguments.felt("key")?);
    let id = arguments.block_id("block_id")?;
    let [with_block] = arguments.flags("response_flags", ["INCLUDE_LAST_UPDATE_BLOCK"])?;
    let height = state_height(shared, id)?;
    if !has_no_class(&contract) && shared.store.class_hash_at(&contract, height)?.is_none() {
        return Err(StarknetError::ContractNotFound.into());
    }
    let entry = shared.store.storage_entry_at(&contract, &key, height)?;
    let value = dto::felt(&entry.map_or(Felt::ZERO, |entry| entry.value));
    // A slot that was never written counts as written by block 0, the block that made the empty state.
    let last_update_block = entry.map_or(0, |entry| entry.height.0);
    Ok(if with_block { json!({"value": value, "last_update_block": last_update_block}) } else { value })
}

fn nonce(shared: &Shared, params: &Params<'_>) -> Answer {
    let mut arguments = Arguments::read(params, &["block_id", "contract_address"])?;
    let (id, contract) = (arguments.block_id("block_id")?, arguments.felt("contract_address")?);
    let height = state_height(shared, id)?;
    shared.store.class_hash_at(&contract, height)?.ok_or(StarknetError::ContractNotFound)?;
    Ok(dto::felt(&shared.store.nonce_at(&contract, height)?))
}

fn class_hash_at(shared: &Shared, params: &Params<'_>) -> Answer {
    let mut arguments = Arguments::read(params, &["block_id", "contract_address"])?;
    let (id, contract) = (arguments.block_id("block_id")?, arguments.felt("contract_address")?);
    let height = state_height(shared, id)?;
    let class = shared.store.class_hash_at(&contract, height)?;
    Ok(dto::felt(&class.ok_or(StarknetError::ContractNotFound)?))
}

fn placed(shared: &Shared, arguments: &mut Arguments) -> Result<PlacedTransaction, RpcError> {
    let hash = arguments.felt("transaction_hash")?;
    let placed = shared.store.transaction_by_hash(&hash)?;
    Ok(placed.filter(|p| Some(p.height) <= shared.store.height()).ok_or(StarknetError::TxnHashNotFound)?)
}

fn transaction_by_hash(shared: &Shared, dialect: &Dialect, params: &Params<'_>) -> Answer {
    let mut arguments = Arguments::read(params, &with_flags(dialect, vec!["transaction_hash"]))?;
    arguments.flags("response_flags", TRANSACTION_FLAGS)?;
    Ok(dto::transaction_with_hash(&placed(shared, &mut arguments)?.transaction))
}

fn transaction_by_place(shared: &Shared, dialect: &Dialect, params: &Params<'_>) -> Answer {
    let mut arguments = Arguments::read(params, &with_flags(dialect, vec!["block_id", "index"]))?;
    arguments.flags("response_flags", TRANSACTION_FLAGS)?;
    let (id, index) = (arguments.block_id("block_id")?, arguments.integer("index")?);
    let header = sealed(shared, id)?.ok_or(StarknetError::InvalidTxnIndex)?;
    let index = u32::try_from(index).map_err(|_| StarknetError::InvalidTxnIndex)?;
    let transaction = shared.store.transaction(header.height(), index)?;
    Ok(dto::transaction_with_hash(&transaction.ok_or(StarknetError::InvalidTxnIndex)?))
}

fn receipt(shared: &Shared, params: &Params<'_>) -> Answer {
    let PlacedTransaction { height, index, transaction } =
        placed(shared, &mut Arguments::read(params, &["transaction_hash"])?)?;
    let header = shared.store.header(height)?.ok_or(StarknetError::TxnHashNotFound)?;
    let left = shared.store.receipt(height, index)?.ok_or(StarknetError::TxnHashNotFound)?;
    let mut map = dto::receipt(&transaction, &left, finality(shared, height)?);
    dto::extend(&mut map, json!({"block_hash": dto::felt(&header.hash), "block_number": height.0}));
    Ok(Value::Object(map))
}
