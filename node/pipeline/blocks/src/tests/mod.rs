//! Claims about blocks as a whole. A scenario is a script of commands, one word each; see [script::Script].

mod content;
mod determinism;
mod open;
mod script;
mod size;
mod worker;

use crate::{BlockBuilder, BlockKey, SealedBlock, genesis_block};
use keel_commitment::Felt;
use keel_commitment::block_hash::L1DaMode;
use keel_store::{Block, Store};
use keel_types::*;
use script::{Script, genesis, genesis_writes};
use std::sync::Arc;

/// The block key of the test chain.
fn secret() -> Felt {
    Felt::from(0x5ec2e7)
}

fn key(genesis: &Genesis) -> BlockKey {
    BlockKey::new(secret(), genesis).unwrap()
}

/// A store with a chain in it.
struct TestChain {
    _dir: tempfile::TempDir,
    genesis: Arc<Genesis>,
    store: Store,
}

impl TestChain {
    /// With the genesis block.
    fn new() -> TestChain {
        TestChain::of_genesis(genesis())
    }

    fn of_genesis(genesis: Genesis) -> TestChain {
        let (dir, genesis) = (tempfile::tempdir().unwrap(), Arc::new(genesis));
        let store = Store::open(dir.path(), genesis.hash()).unwrap();
        let chain = TestChain { _dir: dir, genesis, store };
        let sealed =
            genesis_block(&chain.genesis, &genesis_writes(&chain.genesis), &chain.store, Some(&key(&chain.genesis)));
        chain.commit(&sealed.unwrap());
        chain
    }

    /// A chain after a script.
    fn of(script: &str) -> TestChain {
        let chain = TestChain::new();
        chain.feed(&Script::run(&chain.genesis, script));
        chain
    }

    fn builder(&self) -> BlockBuilder {
        BlockBuilder::new(self.genesis.clone(), self.store.clone(), Some(key(&self.genesis))).unwrap()
    }

    fn feed(&self, released: &[Released]) {
        let mut builder = self.builder();
        for record in released {
            for executed in &record.executed {
                if let Some(sealed) = builder.add(executed, record.ts).unwrap() {
                    self.commit(&sealed);
                }
            }
            builder.publish().unwrap();
        }
    }

    fn commit(&self, sealed: &SealedBlock) {
        self.store.commit_block(&sealed.block, &sealed.tries).unwrap();
    }

    fn block(&self, height: u64) -> Block {
        self.store.block(Height(height)).unwrap().unwrap()
    }

    fn tip(&self) -> Height {
        self.store.height().unwrap()
    }

    /// A slot of the exchange in the latest state.
    fn read(&self, slot: Felt) -> Felt {
        self.store.storage_latest(&self.genesis.exchange.0, &slot).unwrap()
    }
}
