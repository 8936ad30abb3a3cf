//! Recomputation of what a stored block says of itself.

use crate::block::{content, handler_hash, invoke_hash};
use crate::error::BlocksError;
use keel_commitment::Felt;
use keel_store::{Block, Store, Transaction};
use keel_types::{Genesis, Height};

/// What about a block is not as its content says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlockFault {
    #[error("block {0} is missing")]
    Missing(Height),
    #[error("block {0} names another parent than the block before it")]
    Parent(Height),
    #[error("block {0} has a transaction with another hash than its fields give")]
    TransactionHash(Height),
    #[error("block {0} has other commitments than its transactions, receipts and diff give")]
    Content(Height),
    #[error("block {0} has another hash than its header gives")]
    Hash(Height),
}

/// Recomputes transaction hashes, commitments and block hash from the content of a block. The state root is not recomputed
/// here: [Store::recompute_roots] does.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_block(genesis: &Genesis, block: &Block, parent: Option<&Felt>) -> Result<(), BlockFault> {
    let height = block.header.height();
    if block.header.block.parent_hash != parent.copied().unwrap_or_default() {
        return Err(BlockFault::Parent(height));
    }
    let right = |(transaction, receipt): (&Transaction, &keel_store::Receipt)| {
        let hash = match transaction {
            Transaction::Invoke(invoke) => invoke_hash(&genesis.chain_id.0, invoke),
            Transaction::L1Handler(call) => handler_hash(&genesis.chain_id.0, call),
        };
        hash == transaction.hash() && hash == receipt.transaction_hash
    };
    if block.transactions.len() != block.receipts.len() || !block.transactions.iter().zip(&block.receipts).all(right) {
        return Err(BlockFault::TransactionHash(height));
    }
    if content(&block.transactions, &block.receipts, &block.diff) != block.header.block.content {
        return Err(BlockFault::Content(height));
    }
    match block.header.block.hash() {
        Ok(hash) if hash == block.header.hash => Ok(()),
        _ => Err(BlockFault::Hash(height)),
    }
}

/// [check_block] for the stored blocks `from..=to`, as a chain.
///
/// # Errors
/// The store; inside, the first fault.
pub fn check_chain(
    genesis: &Genesis,
    store: &Store,
    from: Height,
    to: Height,
) -> Result<Result<(), BlockFault>, BlocksError> {
    let mut parent = match from.0.checked_sub(1) {
        Some(before) => store.header(Height(before))?.map(|header| header.hash),
        None => None,
    };
    for height in (from.0..=to.0).map(Height) {
        let Some(block) = store.block(height)? else { return Ok(Err(BlockFault::Missing(height))) };
        if let Err(fault) = check_block(genesis, &block, parent.as_ref()) {
            return Ok(Err(fault));
        }
        parent = Some(block.header.hash);
    }
    Ok(Ok(()))
}
