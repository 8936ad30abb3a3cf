//! State after a block, sealed or being built, and the classes that are declared in it.
use super::dto;
use super::params::{Arguments, BlockId};
use super::{Answer, Dialect, StarknetError, sealed};
use crate::context::Shared;
use crate::error::RpcError;
use keel_contracts::starknet::{Class, classes};
use keel_store::{StateReader, StoredValue};
use keel_types::{Felt, Height};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The state that a block id names.
pub(super) fn state<'a>(shared: &'a Shared, id: BlockId) -> Result<Box<dyn StateReader + 'a>, RpcError> {
    Ok(match sealed(shared, id)? {
        Some(header) => Box::new(shared.store.state_at(header.height())?),
        None => Box::new(shared.store.open_state()?.ok_or(StarknetError::BlockNotFound)?),
    })
}

/// Contracts that have storage and no class: the block hash map, the alias table and a reserved one. [spec starknet (a)]
fn has_no_class(contract: &Felt) -> bool {
    *contract >= Felt::ONE && *contract <= Felt::THREE
}

pub(super) fn storage_at(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let (contract, key) = (arguments.felt("contract_address")?, arguments.felt("key")?);
    let id = arguments.block_id("block_id")?;
    let [with_block] = arguments.flags("response_flags", ["INCLUDE_LAST_UPDATE_BLOCK"])?;
    let state = state(shared, id)?;
    if !has_no_class(&contract) && state.class_hash(&contract)?.is_none() {
        return Err(StarknetError::ContractNotFound.into());
    }
    if !with_block {
        return Ok(dto::felt(&state.storage(&contract, &key)?));
    }
    let entry = entry_at(shared, id, &contract, &key)?;
    // A slot that was never written counts as written by block 0. [OpenRPC 0.10, STORAGE_RESULT]
    let (value, last_update_block) = entry.map_or((Felt::ZERO, 0), |entry| (entry.value, entry.height.0));
    Ok(json!({"value": dto::felt(&value), "last_update_block": last_update_block}))
}

/// A slot with the block that set it.
fn entry_at(shared: &Shared, id: BlockId, contract: &Felt, key: &Felt) -> Result<Option<StoredValue>, RpcError> {
    if let Some(header) = sealed(shared, id)? {
        // Refuses a block whose state is not kept.
        shared.store.state_at(header.height())?;
        return Ok(shared.store.storage_entry_at(contract, key, header.height())?);
    }
    let (height, written) = shared
        .store
        .open_block(|open| (open.height, open.diff.storage.get(contract).and_then(|entries| entries.get(key)).copied()));
    let below = height.0.checked_sub(1).map(Height).ok_or(StarknetError::BlockNotFound)?;
    let entry = shared.store.storage_entry_at(contract, key, below)?;
    let before = entry.map_or(Felt::ZERO, |entry| entry.value);
    // Written back to what it was is not changed by the block.
    Ok(written.filter(|value| *value != before).map(|value| StoredValue { value, height }).or(entry))
}

pub(super) fn nonce(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let (id, contract) = (arguments.block_id("block_id")?, arguments.felt("contract_address")?);
    let state = state(shared, id)?;
    state.class_hash(&contract)?.ok_or(StarknetError::ContractNotFound)?;
    Ok(dto::felt(&state.nonce(&contract)?))
}

pub(super) fn class_hash_at(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let (id, contract) = (arguments.block_id("block_id")?, arguments.felt("contract_address")?);
    Ok(dto::felt(&state(shared, id)?.class_hash(&contract)?.ok_or(StarknetError::ContractNotFound)?))
}

/// A class as the specification shows it. [OpenRPC, CONTRACT_CLASS and CASM_COMPILED_CONTRACT_CLASS]
struct Shown {
    sierra: Value,
    casm: Value,
    /// Selectors that `starknet_call` may name.
    external: Vec<Felt>,
}

/// Classes come from the program itself: genesis declares all there are.
static SHOWN: LazyLock<BTreeMap<Felt, Shown>> =
    LazyLock::new(|| classes().iter().map(|class| (class.class_hash, Shown::of(class))).collect());

impl Shown {
    fn of(class: &Class) -> Shown {
        let sierra: Value = serde_json::from_str(class.sierra).expect("an artifact is committed JSON");
        let casm: Value = serde_json::from_str(class.casm).expect("an artifact is committed JSON");
        let selectors = sierra["entry_points_by_type"]["EXTERNAL"].as_array().into_iter().flatten();
        let external = selectors.filter_map(|point| Felt::from_hex(point["selector"].as_str()?).ok()).collect();
        let mut shown = only(&sierra, &["sierra_program", "contract_class_version", "entry_points_by_type"]);
        shown.insert("abi".into(), json!(class.abi));
        let casm_fields =
            ["prime", "compiler_version", "entry_points_by_type", "bytecode", "bytecode_segment_lengths", "hints"];
        Shown { sierra: Value::Object(shown), casm: Value::Object(only(&casm, &casm_fields)), external }
    }
}

/// Some fields of an object; what it does not have is left out.
fn only(value: &Value, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), value.get(name)?.clone()))).collect()
}

fn shown(class: &Felt) -> Result<&'static Shown, RpcError> {
    SHOWN.get(class).ok_or_else(|| {
        tracing::error!(class = %format!("{class:#x}"), "a class is declared that this program does not hold");
        RpcError::Internal
    })
}

/// A class is known at a block if it was declared by then.
pub(super) fn class(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let (id, class) = (arguments.block_id("block_id")?, arguments.felt("class_hash")?);
    state(shared, id)?.compiled_class_hash(&class)?.ok_or(StarknetError::ClassHashNotFound)?;
    Ok(shown(&class)?.sierra.clone())
}

pub(super) fn class_at(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let (id, contract) = (arguments.block_id("block_id")?, arguments.felt("contract_address")?);
    let class = state(shared, id)?.class_hash(&contract)?.ok_or(StarknetError::ContractNotFound)?;
    Ok(shown(&class)?.sierra.clone())
}

pub(super) fn compiled_casm(shared: &Shared, _: &Dialect, arguments: &mut Arguments) -> Answer {
    let class = arguments.felt("class_hash")?;
    let latest = state(shared, BlockId::Latest)?;
    latest.compiled_class_hash(&class)?.ok_or(StarknetError::ClassHashNotFound)?;
    Ok(shown(&class)?.casm.clone())
}

/// Whether a class can be called at `selector`.
pub(super) fn has_entry_point(class: &Felt, selector: &Felt) -> Result<bool, RpcError> {
    Ok(shown(class)?.external.contains(selector))
}
