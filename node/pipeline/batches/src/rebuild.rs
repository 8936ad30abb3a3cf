//! The state, rebuilt batch by batch from what is on the settlement layer: the inverse of making batches.
//!
//! Nothing of the node is used: no block, no journal. What a batch says is applied only if it continues the state that is here, and only if the
//! state that comes out has the root that the settlement contract has accepted.

use crate::compression::{DecompressError, compressed_len, decompress};
use crate::output::{OutputError, ProgramOutput};
use crate::packed::{PackedDiff, UnpackError};
use keel_commitment::aliases::ALIAS_FIRST;
use keel_commitment::{Felt, StateDiff};
use keel_store::{Replica, ReplicaHead, Settled, StoreError};
use keel_types::{BatchId, Bytes32, Height};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A batch as the settlement layer has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettledBatch {
    pub batch: BatchId,
    /// Program output of the update.
    pub output: Vec<Felt>,
    /// The data words, as they were submitted: compressed. Out of blobs, with the zeros that fill the last one.
    pub words: Vec<Felt>,
    /// Where the update is.
    pub l1_block: u64,
    pub l1_tx_hash: Bytes32,
}

/// Why a batch was not applied. Nothing is changed.
#[derive(Debug, thiserror::Error)]
#[error("rebuild: batch {batch}: {why}")]
pub struct RebuildError {
    pub batch: BatchId,
    pub why: RebuildFault,
}

/// See [`RebuildError`].
#[derive(Debug, thiserror::Error)]
pub enum RebuildFault {
    #[error("{0}")]
    Output(#[from] OutputError),
    #[error("its data is not compressed words: {0}")]
    Decompress(#[from] DecompressError),
    #[error("its data is not a packed state diff: {0}")]
    Unpack(#[from] UnpackError),
    /// A batch is missing, or this one is of another chain.
    #[error(
        "it begins after block {begins:?} with root {root:#x}, the state here is of block {have:?} with root {have_root:#x}"
    )]
    NotContinued { begins: Option<Height>, root: Felt, have: Option<Height>, have_root: Felt },
    /// Its last block is not above the one before it.
    #[error("it ends with block {0:?}")]
    Ends(Option<Height>),
    /// A root that is not the one that was accepted among them: [`StoreError::OtherRoot`].
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Applies a batch to the state that is here.
///
/// # Errors
/// See [`RebuildError`]; nothing is changed then.
pub fn apply(replica: &Replica, settled: &SettledBatch) -> Result<ReplicaHead, RebuildError> {
    apply_words(replica, settled).map_err(|why| RebuildError { batch: settled.batch, why })
}

fn apply_words(replica: &Replica, settled: &SettledBatch) -> Result<ReplicaHead, RebuildFault> {
    let output = ProgramOutput::decode(&settled.output)?;
    let (have, have_root, have_hash) = match replica.head()? {
        None => (None, Felt::ZERO, Felt::ZERO),
        Some(head) => (Some(head.last_block), head.root, head.block_hash),
    };
    let before = output.before;
    if (before.height, before.root, before.hash) != (have, have_root, have_hash) {
        let (begins, root) = (before.height, before.root);
        return Err(RebuildFault::NotContinued { begins, root, have, have_root });
    }
    let last_block = output.after.height.filter(|last| Some(*last) > have).ok_or(RebuildFault::Ends(output.after.height))?;
    let diff = decode(replica, &settled.words)?;
    let next = Settled {
        batch: settled.batch,
        last_block,
        root: output.after.root,
        block_hash: output.after.hash,
        l1_block: settled.l1_block,
        l1_tx_hash: settled.l1_tx_hash,
    };
    Ok(replica.apply(&next, &diff)?)
}

/// The state diff that data words stand for, over the state that is here.
///
/// # Errors
/// The words are not compressed, not a packed diff, or of another state: see [`RebuildFault`].
pub fn decode(replica: &Replica, words: &[Felt]) -> Result<StateDiff, RebuildFault> {
    let packed = PackedDiff::decode(&decompress(without_filling(words)?)?)?;
    let mut aliases = BTreeMap::new();
    for name in names(&packed).filter(|name| *name >= Felt::from(ALIAS_FIRST)) {
        if let Some(meant) = replica.name_of_alias(&name)? {
            aliases.insert(name, meant);
        }
    }
    packed.learn_aliases(&mut aliases);
    let failure = RefCell::new(None);
    let was_there = |name: &Felt| {
        replica.is_there(name).unwrap_or_else(|error| {
            failure.borrow_mut().get_or_insert(error);
            false
        })
    };
    let diff = packed.to_diff(&aliases, was_there);
    failure.into_inner().map_or(Ok(()), Err)?;
    Ok(diff?)
}

/// The words that the compression header counts. Zeros after them fill a blob; anything else is left to be refused.
///
/// # Errors
/// There is no header.
pub fn without_filling(words: &[Felt]) -> Result<&[Felt], DecompressError> {
    let length = compressed_len(words.first().ok_or(DecompressError::Empty)?)?;
    match words.split_at_checked(length) {
        Some((words, filling)) if filling.iter().all(|word| *word == Felt::ZERO) => Ok(words),
        _ => Ok(words),
    }
}

/// Every address and key as it stands in the words.
fn names(packed: &PackedDiff) -> impl Iterator<Item = Felt> {
    packed
        .contracts
        .iter()
        .flat_map(|contract| std::iter::once(contract.address).chain(contract.storage.iter().map(|(key, _)| *key)))
}
