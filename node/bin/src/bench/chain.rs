//! A store with a chain made for a benchmark: real blocks through the real commit, their content invented.

use anyhow::{Context, Result};
use keel_commitment::StateDiff;
use keel_commitment::block_hash::{BlockContent, BlockHeader, GasPrice, GasPrices, L1DaMode};
use keel_store::{Block, Header, Receipt, Store, Transaction, TrieChanges};
use keel_types::{Bytes32, Felt, Seq, Ts};
use std::path::{Path, PathBuf};
use std::time::Duration;

const GENESIS: Bytes32 = Bytes32([0xbe; 32]);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A folder that goes away with the value.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one in `parent`, or where the system keeps temporary files.
    pub fn new(parent: Option<&Path>, name: &str) -> Result<Folder> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = parent.join(format!("keel-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Folder(folder))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn open(&self) -> Result<Store> {
        Ok(Store::open(&self.0, GENESIS)?)
    }

    /// Writes everything to files and opens the store again: its cache is empty then, the operating system's is not.
    pub fn reopen(&self, store: Store) -> Result<Store> {
        store.flush()?;
        anyhow::ensure!(store.close(CLOSE_TIMEOUT), "bench: the store is still in use");
        self.open()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("bench: {} is left behind: {error}", self.0.display());
        }
    }
}

/// The next block of the chain. Commitments to its content are not computed: nothing here reads them.
pub fn next_block(
    store: &Store,
    diff: StateDiff,
    tries: &TrieChanges,
    content: Vec<(Transaction, Receipt)>,
) -> Result<Block> {
    let tip = store.tip()?;
    let number = tip.as_ref().map_or(0, |tip| tip.block.number + 1);
    let seq = tip.as_ref().map_or(Seq(0), |tip| tip.last_seq.next());
    let price = GasPrice { wei: 1, fri: 1 };
    let block = BlockHeader {
        number,
        parent_hash: tip.map_or(Felt::ZERO, |tip| tip.hash),
        state_root: tries.state_root(),
        sequencer_address: Felt::ONE,
        timestamp: 1_700_000_000 + number,
        l1_da_mode: L1DaMode::Blob,
        gas_prices: GasPrices { l1_gas: price, l1_data_gas: price, l2_gas: price },
        starknet_version: "0.14.2".into(),
        content: BlockContent {
            transaction_count: content.len() as u64,
            event_count: content.iter().map(|(_, receipt)| receipt.events.len() as u64).sum(),
            state_diff_length: diff.len() as u64,
            transaction_commitment: Felt::ZERO,
            event_commitment: Felt::ZERO,
            receipt_commitment: Felt::ZERO,
            state_diff_commitment: Felt::ZERO,
        },
    };
    let header = Header {
        hash: block.hash().context("hash a block")?,
        block,
        signature: None,
        contracts_root: tries.contracts.root,
        classes_root: tries.classes.root,
        first_seq: seq,
        last_seq: seq,
        ts: Ts(number),
        engine_digest: Bytes32::default(),
    };
    let (transactions, receipts) = content.into_iter().unzip();
    Ok(Block { header, transactions, receipts, diff })
}
