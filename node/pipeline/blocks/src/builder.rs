use crate::block::{Seal, SealedBlock, seal_block};
use crate::commands::Drafts;
use crate::error::BlocksError;
use crate::key::BlockKey;
use crate::state::PendingState;
use keel_store::Store;
use keel_types::{Command, Executed, Genesis, Height, SealBlock, Seq, Ts};
use std::sync::Arc;

/// Collects executed commands and closes blocks where the journal does.
///
/// After [BlockBuilder::add] gave a block, that block must be committed to the same store before the next command comes.
pub struct BlockBuilder {
    genesis: Arc<Genesis>,
    store: Store,
    key: Option<BlockKey>,
    state: PendingState,
    drafts: Drafts,
    /// Last command taken.
    seq: Seq,
    /// First command of the open block.
    first_seq: Seq,
}

impl BlockBuilder {
    /// Goes on behind the last block of `store`, which must have its genesis block.
    ///
    /// # Errors
    /// The store.
    pub fn new(genesis: Arc<Genesis>, store: Store, key: Option<BlockKey>) -> Result<BlockBuilder, BlocksError> {
        let seq = store.blocks_seq()?;
        let state = PendingState::new(genesis.clone(), store.clone());
        Ok(BlockBuilder { genesis, store, key, state, drafts: Drafts::default(), seq, first_seq: seq.next() })
    }

    /// Takes the next command of the journal; the finished block if it is a SealBlock that was executed. Commands that are
    /// in a block already are passed over, so replay may begin earlier.
    ///
    /// # Errors
    /// Any is final: see [BlocksError].
    pub fn add(&mut self, executed: &Executed, ts: Ts) -> Result<Option<SealedBlock>, BlocksError> {
        if executed.seq <= self.seq {
            return Ok(None);
        }
        if executed.seq != self.seq.next() {
            return Err(BlocksError::NotNext { expected: self.seq.next(), found: executed.seq });
        }
        self.seq = executed.seq;
        self.drafts.add(&self.genesis, &mut self.state, executed)?;
        self.state.write(&executed.writes);
        match &executed.command {
            // A seal that the engine refused closes nothing.
            Command::SealBlock(seal) if was_sealed(executed, seal.height) => self.seal(seal, ts).map(Some),
            _ => Ok(None),
        }
    }

    fn seal(&mut self, command: &SealBlock, ts: Ts) -> Result<SealedBlock, BlocksError> {
        let next = Height(self.store.height().map_or(0, |height| height.0 + 1));
        if command.height != next {
            return Err(BlocksError::OtherHeight { seq: self.seq, sealed: command.height, next });
        }
        let seal = Seal {
            height: command.height,
            ts,
            first_seq: self.first_seq,
            last_seq: self.seq,
            engine_digest: command.engine_digest,
        };
        self.first_seq = self.seq.next();
        let drafts = std::mem::take(&mut self.drafts).finish(&self.genesis);
        let diff = self.state.take_diff()?;
        seal_block(&self.genesis, &self.store, self.key.as_ref(), seal, drafts, diff)
    }
}

fn was_sealed(executed: &Executed, height: Height) -> bool {
    executed.events.iter().any(|event| matches!(event, keel_types::Event::BlockSealed { height: h } if *h == height))
}
