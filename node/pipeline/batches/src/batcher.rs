//! From the store's sealed blocks to the store's batches.

use crate::batch::{Batch, BatchContent, StatePoint};
use crate::compression::{compressed_len_at_most, compressed_len_max};
use crate::data::{DataAvailability, data_words_max};
use crate::decide::{BatchLimits, BlockSummary, CloseReason, Cut, decide};
use crate::error::BatchError;
use crate::message::{MessageToL1, MessageToL2};
use crate::packed::{PackedDiff, packed_len};
use keel_commitment::aliases::{ALIAS_CONTRACT, alias_of};
use keel_commitment::{Felt, StateDiff};
use keel_contracts::starknet::{EVENT_SAFE_MODE_ENTERED, config_hash, program_hash};
use keel_store::{BatchHeader, BatchStatus, Header, Receipt, Store, StoreError, Transaction};
use keel_types::{Address, BatchId, DataForm, Genesis, Height, L1Address, SettlementLayer};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Makes batches of sealed blocks. One per store: it is the only writer of new batches.
pub struct Batcher {
    store: Store,
    limits: BatchLimits,
    layer: SettlementLayer,
    exchange: Address,
    config_hash: Felt,
    program_hash: Felt,
    /// A batch that reaches this height ends there.
    on_demand: Option<Height>,
    /// Blocks after the last batch that were looked at.
    open: Open,
}

/// The batch that is being filled.
#[derive(Default)]
struct Open {
    blocks: Vec<BlockSummary>,
    /// Of those blocks, squashed; entries that are no change are still in it.
    diff: StateDiff,
    message_words: usize,
}

impl Batcher {
    /// Goes on after the last batch in the store.
    pub fn new(store: Store, genesis: &Genesis, limits: BatchLimits) -> Batcher {
        let layer = genesis.settlement.layer;
        Batcher {
            store,
            limits: BatchLimits { words_max: limits.words_max.min(data_words_max(layer)), ..limits },
            layer,
            exchange: genesis.exchange,
            config_hash: config_hash(genesis.chain_id.0, genesis.fee_token),
            program_hash: program_hash(genesis.rules_version),
            on_demand: None,
            open: Open::default(),
        }
    }

    /// Asks that the batch which reaches `height` ends there, even if nothing else would end it. In a batch that is made
    /// already, this asks for nothing. Of several requests the lowest counts until it is met.
    pub fn close_at(&mut self, height: Height) {
        self.on_demand = Some(self.on_demand.map_or(height, |before| before.min(height)));
    }

    /// Looks at the blocks sealed since the last call. Makes at most one batch, as BUILT: call again until `None`.
    ///
    /// # Errors
    /// The store, or a block that cannot settle. Nothing is made then, and the next call tries again.
    pub fn step(&mut self) -> Result<Option<BatchHeader>, BatchError> {
        let (id, first) = self.next()?;
        self.on_demand = self.on_demand.filter(|height| *height >= first);
        if self.open.blocks.first().is_some_and(|block| block.height != first) {
            self.open = Open::default();
        }
        let Some(tip) = self.store.height() else { return Ok(None) };
        loop {
            if let Some(cut) = decide(&self.limits, &self.open.blocks, self.on_demand) {
                return self.build(id, first, cut).map(Some);
            }
            let height = self.open.blocks.last().map_or(first, |block| Height(block.height.0 + 1));
            if height > tip {
                return Ok(None);
            }
            self.look_at(height)?;
        }
    }

    /// Makes the batch that ends with `end`, whatever the limits say: the settlement contract already has it, and the
    /// store that knew it was lost.
    ///
    /// # Errors
    /// `end` is not a sealed block after the last batch; see [`Batcher::step`].
    pub fn build_to(&mut self, end: Height) -> Result<BatchHeader, BatchError> {
        let (batch, first) = self.next()?;
        let tip = self.store.height();
        if end < first || tip.is_none_or(|tip| end > tip) {
            return Err(BatchError::End { batch, first, end, tip });
        }
        self.build(batch, first, Cut { last: end, reason: CloseReason::Settled })
    }

    /// Number and first block of the next batch.
    fn next(&self) -> Result<(BatchId, Height), BatchError> {
        let latest = self.store.latest_batch()?;
        Ok(latest.map_or((BatchId(0), Height(0)), |b| (BatchId(b.batch.0 + 1), Height(b.last_block.0 + 1))))
    }

    fn look_at(&mut self, height: Height) -> Result<(), BatchError> {
        let header = header(&self.store, height)?;
        let receipts = self.store.receipts(height)?;
        let (to_l1, to_l2) = messages(self.layer, &self.store, height, &receipts)?;
        let words = to_l1.iter().map(|m| m.words().len()).chain(to_l2.iter().map(|m| m.words().len())).sum::<usize>();
        self.open.diff.squash(&diff(&self.store, height)?);
        self.open.message_words += words;
        let words = self.words_at_most(height)?;
        let safe_mode = self.enters_safe_mode(&receipts);
        let message_words = self.open.message_words;
        self.open.blocks.push(BlockSummary { height, ts: header.ts, words, message_words, safe_mode });
        Ok(())
    }

    /// [`BlockSummary::words`] of the batch that is being filled, which ends with block `last` so far.
    ///
    /// While the packed words could not become too many whatever they are, they are only counted. Then the open diff is sorted as
    /// for compression, which is milliseconds. Entries that turn out to be no change only take words away.
    fn words_at_most(&self, last: Height) -> Result<usize, BatchError> {
        let messages = match self.layer {
            SettlementLayer::Ethereum { data: DataForm::Calldata, .. } => self.open.message_words,
            SettlementLayer::Ethereum { data: DataForm::Blobs, .. } | SettlementLayer::Starknet { .. } => 0,
        };
        let bound = compressed_len_max(packed_len(&self.open.diff)) + messages;
        if bound <= self.limits.words_max {
            return Ok(bound);
        }
        let (words, others) = self.pack(&self.open.diff, last)?.fixed_words();
        Ok(compressed_len_at_most(&words, others).saturating_add(messages))
    }

    fn enters_safe_mode(&self, receipts: &[Receipt]) -> bool {
        let events = receipts.iter().flat_map(|receipt| &receipt.events);
        events
            .filter(|event| event.from_address == self.exchange.0)
            .any(|event| event.keys.first() == Some(&EVENT_SAFE_MODE_ENTERED))
    }

    /// A stored batch, made again of its blocks; nothing is written. The blocks and the state before them must still be there.
    ///
    /// # Errors
    /// The store, or a block that is missing in it.
    pub fn again(&self, header: &BatchHeader, reason: CloseReason) -> Result<Batch, BatchError> {
        self.make(header.batch, header.first_block, Cut { last: header.last_block, reason })
    }

    fn make(&self, id: BatchId, first: Height, cut: Cut) -> Result<Batch, BatchError> {
        let (mut squashed, mut to_l1, mut to_l2) = (StateDiff::default(), vec![], vec![]);
        for height in (first.0..=cut.last.0).map(Height) {
            squashed.squash(&diff(&self.store, height)?);
            let (up, down) = messages(self.layer, &self.store, height, &self.store.receipts(height)?)?;
            to_l1.extend(up);
            to_l2.extend(down);
        }
        let parent = first.0.checked_sub(1).map(Height);
        let diff = without_unchanged(&self.store, squashed, parent)?;
        let data = DataAvailability::of(self.layer, &self.pack(&diff, cut.last)?)?;
        let before = match parent {
            None => StatePoint::BEFORE_GENESIS,
            Some(parent) => state_after(&header(&self.store, parent)?),
        };
        Ok(Batch::new(BatchContent {
            id,
            first_block: first,
            last_block: cut.last,
            before,
            after: state_after(&header(&self.store, cut.last)?),
            closed: cut.reason,
            diff,
            to_l1,
            to_l2,
            data,
            config_hash: self.config_hash,
            program_hash: self.program_hash,
        }))
    }

    fn build(&mut self, id: BatchId, first: Height, cut: Cut) -> Result<BatchHeader, BatchError> {
        let batch = self.make(id, first, cut)?;
        let header = BatchHeader {
            batch: id,
            first_block: first,
            last_block: cut.last,
            status: BatchStatus::Built,
            note: Vec::new(),
        };
        self.store.put_batch(&header, &batch.encode())?;
        self.open = Open::default();
        tracing::info!(batch = %id, first = %first, last = %cut.last, reason = cut.reason.as_str(), "batch built");
        Ok(header)
    }

    /// The diff with the aliases as they stand after block `last`.
    fn pack(&self, diff: &StateDiff, last: Height) -> Result<PackedDiff, BatchError> {
        let failure = RefCell::new(None);
        let stored = |key: &Felt| {
            self.store.storage_at(&ALIAS_CONTRACT, key, last).unwrap_or_else(|error| {
                failure.borrow_mut().get_or_insert(error);
                Felt::ZERO
            })
        };
        let packed = PackedDiff::of(diff, |key| alias_of(key, stored));
        match failure.into_inner() {
            Some(error) => Err(error.into()),
            None => Ok(packed?),
        }
    }
}

fn header(store: &Store, height: Height) -> Result<Header, BatchError> {
    store.header(height)?.ok_or(BatchError::BlockMissing(height))
}

fn diff(store: &Store, height: Height) -> Result<StateDiff, BatchError> {
    store.diff(height)?.ok_or(BatchError::BlockMissing(height))
}

fn state_after(header: &Header) -> StatePoint {
    StatePoint { height: Some(header.height()), root: header.block.state_root, hash: header.hash }
}

/// Drops the entries that leave everything as it was after block `parent` (before genesis: nothing was there).
fn without_unchanged(store: &Store, mut diff: StateDiff, parent: Option<Height>) -> Result<StateDiff, StoreError> {
    for (address, entries) in &mut diff.storage {
        retain_changed(entries, |key| parent.map_or(Ok(Felt::ZERO), |at| store.storage_at(address, key, at)))?;
    }
    diff.storage.retain(|_, entries| !entries.is_empty());
    let class = |address: &Felt| match parent {
        None => Ok(Felt::ZERO),
        Some(at) => Ok(store.class_hash_at(address, at)?.unwrap_or_default()),
    };
    let compiled = |hash: &Felt| match parent {
        None => Ok(Felt::ZERO),
        Some(at) => Ok(store.compiled_class_hash_at(hash, at)?.map_or(Felt::ZERO, |stored| stored.value)),
    };
    retain_changed(&mut diff.nonces, |address| parent.map_or(Ok(Felt::ZERO), |at| store.nonce_at(address, at)))?;
    retain_changed(&mut diff.deployed_contracts, class)?;
    retain_changed(&mut diff.replaced_classes, class)?;
    retain_changed(&mut diff.declared_classes, compiled)?;
    retain_changed(&mut diff.migrated_compiled_classes, compiled)?;
    Ok(diff)
}

fn retain_changed(
    entries: &mut BTreeMap<Felt, Felt>,
    before: impl Fn(&Felt) -> Result<Felt, StoreError>,
) -> Result<(), StoreError> {
    let mut failure = None;
    entries.retain(|key, value| match before(key) {
        Ok(before) => before != *value,
        Err(error) => {
            failure.get_or_insert(error);
            true
        }
    });
    failure.map_or(Ok(()), Err)
}

/// The messages of a block, both ways, in the order of its transactions.
fn messages(
    layer: SettlementLayer,
    store: &Store,
    height: Height,
    receipts: &[Receipt],
) -> Result<(Vec<MessageToL1>, Vec<MessageToL2>), BatchError> {
    let sent = receipts.iter().flat_map(|receipt| &receipt.messages_sent);
    let to_l1 = sent.map(|message| {
        let to = L1Address(message.to_address);
        if !layer.admits(to) {
            return Err(BatchError::Receiver { height, to });
        }
        Ok(MessageToL1 { from: message.from_address, to, payload: message.payload.clone() })
    });
    let to_l1 = to_l1.collect::<Result<_, BatchError>>()?;
    let mut to_l2 = Vec::new();
    for transaction in store.transactions(height)? {
        let Transaction::L1Handler(call) = transaction else { continue };
        let wrong = |why| BatchError::Handler { height, why };
        let (sender, payload) = call.calldata.split_first().ok_or(wrong("calldata without a sender"))?;
        let from = L1Address(*sender);
        if !layer.admits(from) {
            return Err(wrong("the sender is no address of the settlement layer"));
        }
        let message =
            MessageToL2 { from, to: call.contract, nonce: call.nonce, selector: call.selector, payload: payload.to_vec() };
        if message.hash(layer) != call.message_hash {
            return Err(wrong("the message has another hash"));
        }
        to_l2.push(message);
    }
    Ok((to_l1, to_l2))
}
