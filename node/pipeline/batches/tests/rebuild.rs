//! Claims about the state that is rebuilt from batches: equal to the node's, and nothing else is taken for it.

mod chain;

use chain::{Chain, felt};
use keel_batches::compression::compress;
use keel_batches::{Batch, BatchLimits, OutputError, PackedDiff, ProgramOutput, RebuildFault, SettledBatch, apply};
use keel_commitment::aliases::{ALIAS_CONTRACT, alias_of};
use keel_commitment::commitments::MessageToL1;
use keel_commitment::{Felt, StateDiff};
use keel_store::{Replica, StoreError};
use keel_types::{BatchId, Bytes32, Height};

/// A chain that deploys, writes, deletes, declares, replaces a class, and has messages both ways; its batches as they are settled.
fn told() -> (Chain, Vec<SettledBatch>) {
    let chain = Chain::new();
    let bridge = chain.genesis.settlement.bridge;
    for n in 0..9u64 {
        let mut diff = StateDiff::default();
        diff.set_storage(felt(1_000), felt(5_000 + n % 3), if n % 4 == 3 { Felt::ZERO } else { felt(n + 1) });
        diff.set_storage(felt(2_000 + n), felt(9), felt(n + 1));
        diff.nonces.insert(felt(1_000), felt(n + 1));
        match n {
            0 => drop(diff.deployed_contracts.insert(felt(1_000), felt(70))),
            4 => drop(diff.replaced_classes.insert(felt(1_000), felt(71))),
            _ => {}
        }
        if n == 0 || n == 4 {
            diff.declared_classes.insert(felt(70 + n / 4), felt(700 + n));
        }
        let sent =
            MessageToL1 { from_address: chain.genesis.exchange.0, to_address: bridge.0, payload: vec![felt(1), felt(n)] };
        chain.commit(diff, vec![chain.handler(n, vec![felt(3), felt(4)]), chain.invoke(n, vec![sent])]);
    }
    let mut batcher = chain.batcher(BatchLimits { blocks_max: 3, age_ms: 1_000_000, words_max: 100_000 });
    let mut settled = Vec::new();
    while let Some(header) = batcher.step().unwrap() {
        let batch = chain.batch(header.batch.0);
        settled.push(as_settled(&chain, &batch));
    }
    assert_eq!(settled.len(), 3);
    (chain, settled)
}

fn as_settled(chain: &Chain, batch: &Batch) -> SettledBatch {
    let stored = |key: &Felt| chain.store.storage_at(&ALIAS_CONTRACT, key, batch.content.last_block).unwrap();
    let packed = PackedDiff::of(&batch.content.diff, |key| alias_of(key, stored)).unwrap();
    let (id, l1_tx_hash) = (batch.content.id, Bytes32([9; 32]));
    SettledBatch {
        batch: id,
        output: batch.output.clone(),
        words: compress(&packed.encode()).unwrap(),
        l1_block: 5,
        l1_tx_hash,
    }
}

fn replica(dir: &tempfile::TempDir) -> Replica {
    Replica::open(dir.path(), Bytes32([7; 32])).unwrap()
}

#[test]
fn the_state_rebuilt_from_batches_alone_is_the_nodes() {
    let (chain, batches) = told();
    let dir = tempfile::tempdir().unwrap();
    let replica = replica(&dir);
    let mut state = StateDiff::default();
    for settled in &batches {
        state.squash(&chain.batch(settled.batch.0).content.diff);
        let head = apply(&replica, settled).unwrap();
        let header = chain.store.header(head.last_block).unwrap().unwrap();
        assert_eq!((head.root, head.block_hash), (header.block.state_root, header.hash));
    }
    let head = replica.head().unwrap().unwrap();
    state.storage.values_mut().for_each(|entries| entries.retain(|_, value| *value != Felt::ZERO));
    assert_eq!((head.last_block, head.root), (Height(8), chain.root_of(&state)), "by the from-scratch trie");
    let mut slots = 0;
    chain
        .store
        .state_at(Height(8))
        .unwrap()
        .each_storage(|contract, slot, value| {
            slots += 1;
            assert_eq!(replica.storage(&contract, &slot).unwrap(), value);
            Ok(())
        })
        .unwrap();
    assert_eq!(replica.storage_count().unwrap(), slots);
    assert_eq!(replica.contract(&felt(1_000)).unwrap(), chain.store.contract_state(&felt(1_000)).unwrap());
}

#[test]
fn zeros_that_fill_a_blob_are_no_words_and_others_are() {
    let (_, batches) = told();
    let dir = tempfile::tempdir().unwrap();
    let replica = replica(&dir);
    let mut filled = batches[0].clone();
    filled.words.resize(4_096, Felt::ZERO);
    filled.words[4_000] = felt(1);
    assert!(matches!(apply(&replica, &filled).unwrap_err().why, RebuildFault::Decompress(_)));
    filled.words[4_000] = Felt::ZERO;
    apply(&replica, &filled).unwrap();
}

#[test]
fn a_batch_that_is_not_the_next_or_not_what_was_accepted_is_refused_by_its_number() {
    let (_, batches) = told();
    let dir = tempfile::tempdir().unwrap();
    let replica = replica(&dir);
    apply(&replica, &batches[0]).unwrap();
    let before = replica.head().unwrap();
    let second = |change: &dyn Fn(&mut SettledBatch)| {
        let mut settled = batches[1].clone();
        change(&mut settled);
        settled
    };
    let other_words = |words: Vec<Felt>| second(&|settled| settled.words = words.clone());
    let word = |at: usize, value: Felt| second(&move |settled| settled.output[at] = value);
    type Expected = fn(&RebuildFault) -> bool;
    let cases: [(&str, SettledBatch, Expected); 8] = [
        ("a batch is missing", SettledBatch { batch: BatchId(1), ..batches[2].clone() }, |why| {
            matches!(why, RebuildFault::NotContinued { begins: Some(Height(5)), have: Some(Height(2)), .. })
        }),
        ("another root before", word(0, felt(1)), |why| matches!(why, RebuildFault::NotContinued { .. })),
        ("another root after", word(1, felt(1)), |why| {
            matches!(why, RebuildFault::Store(StoreError::OtherRoot { batch: BatchId(1), .. }))
        }),
        ("no blocks", word(3, felt(2)), |why| matches!(why, RebuildFault::Ends(Some(Height(2))))),
        ("no output", word(8, felt(7)), |why| matches!(why, RebuildFault::Output(OutputError::BadWord(8)))),
        ("other data", other_words(batches[2].words.clone()), |why| {
            matches!(why, RebuildFault::Store(StoreError::OtherRoot { .. }) | RebuildFault::Unpack(_))
        }),
        ("no data", other_words(vec![]), |why| matches!(why, RebuildFault::Decompress(_))),
        ("damaged data", other_words(batches[1].words[1..].to_vec()), |why| matches!(why, RebuildFault::Decompress(_))),
    ];
    for (name, settled, expected) in cases {
        let error = apply(&replica, &settled).unwrap_err();
        assert!(error.batch == BatchId(1) && expected(&error.why), "{name}: {error}");
        assert_eq!(replica.head().unwrap(), before, "{name}");
    }
    apply(&replica, &batches[1]).unwrap();
    apply(&replica, &batches[2]).unwrap();
}

#[test]
fn an_output_is_read_as_it_was_made_and_nothing_that_is_cut_or_longer() {
    let (chain, batches) = told();
    for settled in &batches {
        let content = chain.batch(settled.batch.0).content;
        let output = ProgramOutput::decode(&settled.output).unwrap();
        assert_eq!((output.before, output.after), (content.before, content.after));
        assert_eq!((&output.to_l1, &output.to_l2), (&content.to_l1, &content.to_l2));
        assert_eq!((output.config_hash, output.blobs), (content.config_hash, None));
        for end in 0..settled.output.len() {
            assert!(ProgramOutput::decode(&settled.output[..end]).is_err(), "{end} words");
        }
        let longer = [settled.output.clone(), vec![felt(0)]].concat();
        assert_eq!(ProgramOutput::decode(&longer), Err(OutputError::TooLong(1)));
    }
}
