//! Sealed blocks: one write each.

use crate::chain::{Block, Header, PlacedTransaction, Receipt, Transaction};
use crate::codec::{self, Wire, get, put};
use crate::error::StoreError;
use crate::events::{EventPosition, EventRow, put_event_keys};
use crate::keys::{BLOCK_HASHES, DIFFS, EVENTS, HEADERS, Key, META, RECEIPTS, SEALS, TRANSACTION_HASHES, TRANSACTIONS};
use crate::store::{Batch, KEY_BLOCKS_HEIGHT, KEY_BLOCKS_SEQ, Store, borsh_vec, corrupt, decode};
use crate::tries::TrieChanges;
use borsh::{BorshDeserialize, BorshSerialize};
use keel_commitment::commitments::MessageToL1;
use keel_commitment::{Felt, StateDiff};
use keel_types::{Height, Seq};

/// A receipt as stored; its events are rows of their own, so that they can be scanned without the rest.
#[derive(BorshSerialize, BorshDeserialize)]
struct ReceiptRow {
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    transaction_hash: Felt,
    #[borsh(serialize_with = "put", deserialize_with = "get")]
    messages_sent: Vec<MessageToL1>,
    event_first: u32,
    event_count: u32,
    first_seq: Seq,
    last_seq: Seq,
}

impl Store {
    /// Commits a sealed block: chain data, flat state, tries, indexes and markers, and forgets what the retention no longer covers, all in
    /// one write. Then [`Store::height`] is its height.
    ///
    /// `tries` must come from [`Store::trie_changes`] of `block.diff` on the stored state; the header's roots are checked against it.
    ///
    /// # Errors
    /// The block is not the next one, names another parent or other roots; the database. Nothing is written then.
    ///
    /// # Panics
    /// When transactions and receipts do not match: the caller's bug.
    pub fn commit_block(&self, block: &Block, tries: &TrieChanges) -> Result<(), StoreError> {
        self.check_next(&block.header)?;
        assert_eq!(block.transactions.len(), block.receipts.len(), "every transaction has a receipt");
        assert_eq!(tries.contracts.root, block.header.contracts_root, "tries and header are of one block");
        assert_eq!(tries.classes.root, block.header.classes_root, "tries and header are of one block");
        let height = block.header.height();
        let mut batch = self.batch();
        put_header(&mut batch, &block.header);
        put_transactions(&mut batch, block);
        batch.put(DIFFS, Key::new().height(height), codec::to_vec(&block.diff));
        self.put_state(&mut batch, height, &block.diff);
        self.put_tries(&mut batch, height, tries);
        self.prune_after(&mut batch, height)?;
        batch.put(META, KEY_BLOCKS_HEIGHT, borsh_vec(&height.0));
        batch.put(META, KEY_BLOCKS_SEQ, borsh_vec(&block.header.last_seq));
        batch.write()?;
        self.publish(&block.header);
        Ok(())
    }

    fn check_next(&self, header: &Header) -> Result<(), StoreError> {
        let expected = self.height().map_or(0, |height| height.0 + 1);
        if header.block.number != expected {
            return Err(StoreError::NotNext { what: "block", expected, found: header.block.number });
        }
        let Some(tip) = self.tip()? else { return Ok(()) };
        if header.block.parent_hash != tip.hash {
            return Err(StoreError::OtherParent { height: expected });
        }
        if header.first_seq != tip.last_seq.next() {
            let expected = tip.last_seq.0 + 1;
            return Err(StoreError::NotNext { what: "command of a block", expected, found: header.first_seq.0 });
        }
        Ok(())
    }

    /// Header of the last committed block; `None` before genesis.
    ///
    /// # Errors
    /// The database.
    pub fn tip(&self) -> Result<Option<Header>, StoreError> {
        self.height().map_or(Ok(None), |height| self.header(height))
    }

    /// A block's header; `None` if there is no such block.
    ///
    /// # Errors
    /// The database.
    pub fn header(&self, height: Height) -> Result<Option<Header>, StoreError> {
        self.get(HEADERS, Key::new().height(height))
    }

    /// Height of the block with a hash.
    ///
    /// # Errors
    /// The database.
    pub fn height_of_hash(&self, hash: &Felt) -> Result<Option<Height>, StoreError> {
        // Rows above the published height are of a block that is being committed.
        let height = self.get(BLOCK_HASHES, Key::new().felt(hash))?;
        Ok(height.filter(|height| Some(*height) <= self.height()))
    }

    /// The block that holds command `seq`; `None` while it is not in a block. Command 0 is genesis.
    ///
    /// # Errors
    /// The database.
    pub fn height_of_seq(&self, seq: Seq) -> Result<Option<Height>, StoreError> {
        let row = self.scan(SEALS, &[], Key::new().u64(seq.0).as_ref()).next().transpose()?;
        let height = row.map(|(key, value)| decode(SEALS, &key, &value)).transpose()?;
        Ok(height.filter(|height| Some(*height) <= self.height()))
    }

    /// A whole block, events in the receipts.
    ///
    /// # Errors
    /// The database.
    pub fn block(&self, height: Height) -> Result<Option<Block>, StoreError> {
        let Some(header) = self.header(height)? else { return Ok(None) };
        let diff = self.diff(height)?.unwrap_or_default();
        Ok(Some(Block { header, transactions: self.transactions(height)?, receipts: self.receipts(height)?, diff }))
    }

    /// The transactions of a block, in order; empty if there is no such block.
    ///
    /// # Errors
    /// The database.
    pub fn transactions(&self, height: Height) -> Result<Vec<Transaction>, StoreError> {
        let prefix = Key::new().height(height);
        let rows = self.scan(TRANSACTIONS, prefix.as_ref(), prefix.as_ref());
        rows.map(|row| row.and_then(|(key, value)| decode(TRANSACTIONS, &key, &value))).collect()
    }

    /// A transaction by its place.
    ///
    /// # Errors
    /// The database.
    pub fn transaction(&self, height: Height, index: u32) -> Result<Option<Transaction>, StoreError> {
        self.get(TRANSACTIONS, Key::new().height(height).u32(index))
    }

    /// Where the transaction with a hash is.
    ///
    /// # Errors
    /// The database.
    pub fn place_of_transaction(&self, hash: &Felt) -> Result<Option<(Height, u32)>, StoreError> {
        let place: Option<(Height, u32)> = self.get(TRANSACTION_HASHES, Key::new().felt(hash))?;
        // The rows of a block are there a moment before readers may have it; until then the transaction is in the open block.
        Ok(place.filter(|(height, _)| Some(*height) <= self.height()))
    }

    /// A transaction by its hash.
    ///
    /// # Errors
    /// The database.
    pub fn transaction_by_hash(&self, hash: &Felt) -> Result<Option<PlacedTransaction>, StoreError> {
        let Some((height, index)) = self.place_of_transaction(hash)? else { return Ok(None) };
        let transaction = self.transaction(height, index)?;
        Ok(transaction.map(|transaction| PlacedTransaction { height, index, transaction }))
    }

    /// The transaction that stands for command `seq`; `None` while it is in no block, or if it stands in none.
    ///
    /// # Errors
    /// The database.
    pub fn transaction_of_seq(&self, seq: Seq) -> Result<Option<PlacedTransaction>, StoreError> {
        let Some(height) = self.height_of_seq(seq)? else { return Ok(None) };
        let Some(header) = self.header(height)? else { return Ok(None) };
        let count = header.block.content.transaction_count as u32;
        let receipt = |index: u32| {
            let key = Key::new().height(height).u32(index);
            let row: Option<ReceiptRow> = self.get(RECEIPTS, key.as_ref())?;
            row.ok_or_else(|| corrupt(RECEIPTS, key.as_ref(), "the header counts more transactions than there are"))
        };
        // The first transaction that does not end before it: they stand in seq order.
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if receipt(middle)?.last_seq < seq {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == count || receipt(low)?.first_seq > seq {
            return Ok(None);
        }
        let transaction = self.transaction(height, low)?;
        Ok(transaction.map(|transaction| PlacedTransaction { height, index: low, transaction }))
    }

    /// The receipts of a block, in order; empty if there is no such block.
    ///
    /// # Errors
    /// The database.
    pub fn receipts(&self, height: Height) -> Result<Vec<Receipt>, StoreError> {
        let prefix = Key::new().height(height);
        let rows = self.scan(RECEIPTS, prefix.as_ref(), prefix.as_ref());
        let rows = rows.map(|row| row.and_then(|(key, value)| decode::<ReceiptRow>(RECEIPTS, &key, &value)));
        rows.map(|row| self.with_events(height, row?)).collect()
    }

    /// The receipt of the transaction at a place.
    ///
    /// # Errors
    /// The database.
    pub fn receipt(&self, height: Height, index: u32) -> Result<Option<Receipt>, StoreError> {
        let row: Option<ReceiptRow> = self.get(RECEIPTS, Key::new().height(height).u32(index))?;
        row.map(|row| self.with_events(height, row)).transpose()
    }

    /// Index in its block of the first event of the transaction at a place, or of the next if it has none.
    ///
    /// # Errors
    /// The database.
    pub fn first_event(&self, height: Height, index: u32) -> Result<Option<u32>, StoreError> {
        let row: Option<ReceiptRow> = self.get(RECEIPTS, Key::new().height(height).u32(index))?;
        Ok(row.map(|row| row.event_first))
    }

    fn with_events(&self, height: Height, row: ReceiptRow) -> Result<Receipt, StoreError> {
        let from = Key::new().height(height).u32(row.event_first);
        let rows = self.scan(EVENTS, Key::new().height(height).as_ref(), from.as_ref()).take(row.event_count as usize);
        let rows = rows.map(|row| row.and_then(|(key, value)| decode::<EventRow>(EVENTS, &key, &value)));
        let events: Vec<_> = rows.map(|row| row.map(|row| row.event)).collect::<Result<_, _>>()?;
        if events.len() != row.event_count as usize {
            return Err(corrupt(EVENTS, from.as_ref(), "a receipt names more events than there are"));
        }
        let ReceiptRow { transaction_hash, messages_sent, first_seq, last_seq, .. } = row;
        Ok(Receipt { transaction_hash, messages_sent, events, first_seq, last_seq })
    }

    /// The state diff of a block.
    ///
    /// # Errors
    /// The database.
    pub fn diff(&self, height: Height) -> Result<Option<StateDiff>, StoreError> {
        let key = Key::new().height(height);
        let Some(bytes) = self.get_bytes(DIFFS, key.as_ref())? else { return Ok(None) };
        let mut rest = bytes.as_slice();
        match StateDiff::get(&mut rest) {
            Ok(diff) if rest.is_empty() => Ok(Some(diff)),
            Ok(_) => Err(corrupt(DIFFS, key.as_ref(), "bytes left over")),
            Err(error) => Err(corrupt(DIFFS, key.as_ref(), &error.to_string())),
        }
    }
}

fn put_header(batch: &mut Batch<'_>, header: &Header) {
    let height = header.height();
    batch.put(HEADERS, Key::new().height(height), borsh_vec(header));
    batch.put(BLOCK_HASHES, Key::new().felt(&header.hash), borsh_vec(&height));
    batch.put(SEALS, Key::new().u64(header.last_seq.0), borsh_vec(&height));
}

fn put_transactions(batch: &mut Batch<'_>, block: &Block) {
    let height = block.header.height();
    let mut event_first = 0;
    for (index, (transaction, receipt)) in (0..).zip(block.transactions.iter().zip(&block.receipts)) {
        assert_eq!(transaction.hash(), receipt.transaction_hash, "receipts stand in the order of their transactions");
        let key = || Key::new().height(height).u32(index);
        let row = ReceiptRow {
            transaction_hash: receipt.transaction_hash,
            messages_sent: receipt.messages_sent.clone(),
            event_first,
            event_count: receipt.events.len() as u32,
            first_seq: receipt.first_seq,
            last_seq: receipt.last_seq,
        };
        batch.put(TRANSACTIONS, key(), borsh_vec(transaction));
        batch.put(TRANSACTION_HASHES, Key::new().felt(&transaction.hash()), borsh_vec(&(height, index)));
        batch.put(RECEIPTS, key(), borsh_vec(&row));
        for event in &receipt.events {
            let row = EventRow { transaction_index: index, transaction_hash: transaction.hash(), event: event.clone() };
            batch.put(EVENTS, Key::new().height(height).u32(event_first), borsh_vec(&row));
            put_event_keys(batch, event, EventPosition { height, index: event_first });
            event_first += 1;
        }
    }
}
