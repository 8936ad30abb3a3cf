//! `starknet_getStorageProof`: what the tries hold and do not hold at a block, with the nodes that show it.
use super::events::felt_list;
use super::params::{Arguments, BlockId, felt};
use super::{Answer, StarknetError, dto, sealed};
use crate::context::Shared;
use crate::error::RpcError;
use crate::limits::PROOF_KEYS_MAX;
use jsonrpsee::types::Params;
use keel_commitment::trie::{HEIGHT_STATE, Node};
use keel_store::{StateAt, StoreError, TrieId};
use keel_types::Felt;
use serde_json::{Value, json};

/// What is asked for.
#[derive(Default)]
struct Wanted {
    classes: Vec<Felt>,
    contracts: Vec<Felt>,
    storage: Vec<(Felt, Vec<Felt>)>,
}

/// All parts are of one moment of the store, whatever is committed meanwhile. A contract that is not there has all-zero leaf data and an
/// empty storage; the proof of a trie in which nothing is asked for has no nodes.
pub fn get(shared: &Shared, params: &Params<'_>) -> Answer {
    let names = ["block_id", "class_hashes", "contract_addresses", "contracts_storage_keys"];
    let mut arguments = Arguments::read(params, &names)?;
    let id = arguments.block_id("block_id")?;
    if id == BlockId::PreConfirmed {
        return Err(RpcError::params("block_id", "the block being built has no tries yet"));
    }
    let wanted = Wanted::read(&mut arguments)?;
    let header = sealed(shared, id)?.ok_or(StarknetError::BlockNotFound)?;
    let state = shared.store.state_at(header.height()).map_err(proof_error)?;
    let mut answer = prove(&state, &wanted).map_err(proof_error)?;
    answer["global_roots"] = json!({
        "contracts_tree_root": dto::felt(&header.contracts_root),
        "classes_tree_root": dto::felt(&header.classes_root),
        "block_hash": dto::felt(&header.hash),
    });
    Ok(answer)
}

impl Wanted {
    fn read(arguments: &mut Arguments) -> Result<Wanted, RpcError> {
        let mut list = |name| arguments.optional(name).map_or(Ok(vec![]), |list| keys(name, &list));
        let (classes, contracts) = (list("class_hashes")?, list("contract_addresses")?);
        let name = "contracts_storage_keys";
        let storage = match arguments.optional(name) {
            None => vec![],
            Some(Value::Array(entries)) => entries.iter().map(storage_keys).collect::<Result<_, _>>()?,
            Some(_) => return Err(RpcError::params(name, "expected an array")),
        };
        let wanted = Wanted { classes, contracts, storage };
        let in_storage: usize = wanted.storage.iter().map(|(_, keys)| 1 + keys.len()).sum();
        if wanted.classes.len() + wanted.contracts.len() + in_storage > PROOF_KEYS_MAX {
            return Err(RpcError::params("", TOO_MANY));
        }
        Ok(wanted)
    }
}

const TOO_MANY: &str = "at most 1,024 class hashes, addresses, storage keys and contracts they are asked of, together";
const _: () = assert!(PROOF_KEYS_MAX == 1_024, "as the text says");

/// One entry of `contracts_storage_keys`.
fn storage_keys(entry: &Value) -> Result<(Felt, Vec<Felt>), RpcError> {
    let malformed = || RpcError::params("contracts_storage_keys", "expected {contract_address, storage_keys}");
    let fields = entry.as_object().filter(|fields| fields.len() == 2).ok_or_else(malformed)?;
    let (Some(contract), Some(list)) = (fields.get("contract_address"), fields.get("storage_keys")) else {
        return Err(malformed());
    };
    let contract = in_trie("contract_address", felt("contract_address", contract)?)?;
    Ok((contract, keys("storage_keys", list)?))
}

fn keys(name: &str, list: &Value) -> Result<Vec<Felt>, RpcError> {
    felt_list(name, list)?.into_iter().map(|key| in_trie(name, key)).collect()
}

fn in_trie(name: &str, key: Felt) -> Result<Felt, RpcError> {
    match key.bits() <= usize::from(HEIGHT_STATE) {
        true => Ok(key),
        false => Err(RpcError::params(name, "not below 2^251, where the keys of the tries are")),
    }
}

/// Everything but `global_roots`.
fn prove(state: &StateAt<'_>, wanted: &Wanted) -> Result<Value, StoreError> {
    let leaf = |address: &Felt| {
        let contract = state.contract_state(address)?;
        Ok(json!({
            "nonce": dto::felt(&contract.nonce),
            "class_hash": dto::felt(&contract.class_hash),
            "storage_root": dto::felt(&contract.storage_root),
        }))
    };
    let leaves: Value = wanted.contracts.iter().map(leaf).collect::<Result<_, StoreError>>()?;
    let storage = wanted.storage.iter().map(|(contract, keys)| nodes(state, TrieId::Storage(*contract), keys));
    Ok(json!({
        "classes_proof": nodes(state, TrieId::Classes, &wanted.classes)?,
        "contracts_proof": {
            "nodes": nodes(state, TrieId::Contracts, &wanted.contracts)?,
            "contract_leaves_data": leaves,
        },
        "contracts_storage_proofs": storage.collect::<Result<Value, StoreError>>()?,
    }))
}

fn nodes(state: &StateAt<'_>, trie: TrieId, keys: &[Felt]) -> Result<Value, StoreError> {
    let node = |(hash, node): (Felt, Node)| json!({"node_hash": dto::felt(&hash), "node": node_json(&node)});
    Ok(state.prove(trie, keys)?.into_iter().map(node).collect())
}

fn node_json(node: &Node) -> Value {
    match node {
        Node::Binary { left, right } => json!({"left": dto::felt(left), "right": dto::felt(right)}),
        Node::Edge { path, child } => {
            json!({"path": dto::felt(&path.value()), "length": path.len(), "child": dto::felt(child)})
        }
    }
}

/// The block is there and its tries are not: an error of its own in the specification.
fn proof_error(error: StoreError) -> RpcError {
    match error {
        StoreError::NotRetained { .. } => StarknetError::StorageProofNotSupported.into(),
        error => error.into(),
    }
}
