use crate::block::{Seal, SealedBlock, number, seal_block};
use crate::commands::Drafts;
use crate::error::BlocksError;
use crate::key::BlockKey;
use crate::state::PendingState;
use keel_commitment::{Felt, StateDiff};
use keel_store::{OpenTransaction, Store};
use keel_types::{Command, Executed, Genesis, Height, SealBlock, Seq, Ts};
use std::sync::Arc;

/// Collects executed commands, shows what they made as the open block of the store, and closes blocks where the journal does.
///
/// After [BlockBuilder::add] gave a block, that block must be committed to the same store before the next command comes.
///
/// The open block holds closed transactions only: they have their nonce and hash, and stand in the sealed block as they are.
pub struct BlockBuilder {
    genesis: Arc<Genesis>,
    store: Store,
    key: Option<BlockKey>,
    state: PendingState,
    drafts: Drafts,
    /// The closed transactions of the open block.
    closed: Vec<Arc<OpenTransaction>>,
    /// How many of them are published.
    published: usize,
    /// The operator's next.
    nonce: u64,
    /// Of the first invoke of the open block.
    first_nonce: u64,
    /// Time of the last command that was taken and not yet published.
    unpublished: Option<Ts>,
    /// Last command taken.
    seq: Seq,
    /// First command of the open block.
    first_seq: Seq,
}

impl BlockBuilder {
    /// Goes on behind the last block of `store`, which must have its genesis block. The store's open block begins anew.
    ///
    /// # Errors
    /// The store.
    pub fn new(genesis: Arc<Genesis>, store: Store, key: Option<BlockKey>) -> Result<BlockBuilder, BlocksError> {
        let seq = store.blocks_seq()?;
        let nonce =
            u64::try_from(store.nonce_latest(&genesis.operator.0)?).expect("the operator's nonce counts transactions");
        let state = PendingState::new(genesis.clone(), store.clone());
        store.restart_open_block()?;
        Ok(BlockBuilder {
            genesis,
            store,
            key,
            state,
            drafts: Drafts::default(),
            closed: vec![],
            published: 0,
            nonce,
            first_nonce: nonce,
            unpublished: None,
            seq,
            first_seq: seq.next(),
        })
    }

    /// Takes the next command of the journal; the finished block if it is a SealBlock that was executed. Commands that are
    /// in a block already are passed over, so replay may begin earlier.
    ///
    /// Before the work of sealing (tries, hashes) the block's transactions are published, all of them.
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
        self.drafts.add(&self.genesis, &mut self.state, executed, ts)?;
        self.number();
        self.unpublished = Some(ts);
        match &executed.command {
            // A seal that the engine refused closes nothing.
            Command::SealBlock(seal) if was_sealed(executed, seal.height) => self.seal(seal, ts).map(Some),
            _ => Ok(None),
        }
    }

    /// Shows readers what the commands taken since the last time closed. Called at the end of each record.
    ///
    /// # Errors
    /// The store.
    pub fn publish(&mut self) -> Result<(), BlocksError> {
        let Some(ts) = self.unpublished.take() else { return Ok(()) };
        let new = &self.closed[self.published..];
        // What changed closes together with the transactions that changed it: with no transaction there is no change.
        let (mut diff, restored) = self.state.take_unpublished()?;
        self.add_nonce(&mut diff);
        self.store.extend_open_block(ts, new.to_vec(), diff, &restored);
        self.published = self.closed.len();
        Ok(())
    }

    fn seal(&mut self, command: &SealBlock, ts: Ts) -> Result<SealedBlock, BlocksError> {
        let next = Height(self.store.height().map_or(0, |height| height.0 + 1));
        if command.height != next {
            return Err(BlocksError::OtherHeight { seq: self.seq, sealed: command.height, next });
        }
        self.drafts.close_fills(&self.genesis, &mut self.state);
        self.number();
        self.publish()?;
        let seal = Seal {
            height: command.height,
            ts,
            first_seq: self.first_seq,
            last_seq: self.seq,
            engine_digest: command.engine_digest,
        };
        let mut diff = self.state.take_diff()?;
        self.add_nonce(&mut diff);
        let closed = std::mem::take(&mut self.closed);
        (self.first_seq, self.first_nonce, self.published) = (self.seq.next(), self.nonce, 0);
        seal_block(&self.genesis, &self.store, self.key.as_ref(), seal, &closed, diff)
    }

    /// Drafts that closed get nonce and hash, once.
    fn number(&mut self) {
        let (genesis, nonce) = (&self.genesis, &mut self.nonce);
        self.closed.extend(self.drafts.take_closed().into_iter().map(|draft| Arc::new(number(genesis, draft, nonce))));
    }

    fn add_nonce(&self, diff: &mut StateDiff) {
        if self.nonce != self.first_nonce {
            diff.nonces.insert(self.genesis.operator.0, Felt::from(self.nonce));
        }
    }
}

fn was_sealed(executed: &Executed, height: Height) -> bool {
    executed.events.iter().any(|event| matches!(event, keel_types::Event::BlockSealed { height: h } if *h == height))
}
