//! Claims about batches made of real stored blocks. The blocks hold arbitrary diffs; what blocks hold is `keel-blocks`' business.

mod chain;

use chain::{Chain, felt};
use keel_batches::{Batch, BatchError, BatchLimits, Batcher, CloseReason, DataAvailability, PackedDiff};
use keel_commitment::commitments::{Event, MessageToL1};
use keel_commitment::{Felt, StateDiff};
use keel_contracts::starknet::EVENT_SAFE_MODE_ENTERED;
use keel_store::{BatchStatus, L1HandlerCall, Receipt, Transaction};
use keel_types::{BatchId, Bytes32, Height};
use std::collections::BTreeMap;

const LIMITS: BatchLimits = BatchLimits { blocks_max: 3, age_ms: 1_000_000, words_max: 100_000 };

fn storage(entries: &[(u64, u64, u64)]) -> StateDiff {
    let mut diff = StateDiff::default();
    entries.iter().for_each(|(contract, key, value)| diff.set_storage(felt(*contract), felt(*key), felt(*value)));
    diff
}

fn batches(chain: &Chain, batcher: &mut Batcher) -> Vec<Batch> {
    std::iter::from_fn(|| batcher.step().unwrap()).map(|header| chain.batch(header.batch.0)).collect()
}

fn words(batch: &Batch) -> &[Felt] {
    let DataAvailability::Calldata { words } = &batch.content.data;
    words
}

/// Ten blocks that deploy, write, overwrite, delete and count.
fn busy_chain() -> Chain {
    let chain = Chain::new();
    let mut genesis = storage(&[(1_000, 1, 1), (1_000, 5_000, 2), (2_000, 5_000, 3)]);
    genesis.deployed_contracts = [(felt(1_000), felt(70)), (felt(2_000), felt(71))].into();
    genesis.declared_classes = [(felt(70), felt(700)), (felt(71), felt(710))].into();
    chain.commit(genesis, vec![]);
    for n in 1..10u64 {
        let value = if n % 4 == 0 { 0 } else { n };
        let mut diff = storage(&[(1_000, 5_000 + n % 3, value), (2_000, 6_000 + n, n), (3_000 + n, 9, n)]);
        diff.nonces.insert(felt(1_000), felt(n));
        if n == 5 {
            diff.replaced_classes.insert(felt(2_000), felt(72));
            diff.declared_classes.insert(felt(72), felt(720));
        }
        chain.commit(diff, vec![]);
    }
    chain
}

#[test]
fn batches_are_contiguous_and_their_words_alone_rebuild_every_state() {
    let chain = busy_chain();
    let batches = batches(&chain, &mut chain.batcher(LIMITS));
    let ranges: Vec<_> = batches.iter().map(|b| (b.content.first_block.0, b.content.last_block.0)).collect();
    assert_eq!(ranges, [(0, 2), (3, 5), (6, 8)]);

    let (mut aliases, mut state) = (BTreeMap::new(), StateDiff::default());
    for (n, batch) in batches.iter().enumerate() {
        assert_eq!(batch.content.id, BatchId(n as u64));
        let packed = PackedDiff::decode(words(batch)).unwrap();
        packed.learn_aliases(&mut aliases);
        let was_there = |name: &Felt| state.class_hash_at(name).is_some() || state.declared_classes.contains_key(name);
        let diff = packed.to_diff(&aliases, was_there).unwrap();
        assert_eq!(diff, batch.content.diff);
        state.squash(&diff);
        assert_eq!(chain.root_of(&state), batch.content.after.root, "state after batch {n}");
    }
}

#[test]
fn program_outputs_chain_from_minus_one() {
    let chain = busy_chain();
    let batches = batches(&chain, &mut chain.batcher(LIMITS));
    let header = |batch: &Batch| batch.output[..10].to_vec();
    let block = |height: u64| chain.store.header(Height(height)).unwrap().unwrap();
    let (two, five) = (block(2), block(5));
    let config = keel_contracts::starknet::config_hash(chain.genesis.chain_id.0, chain.genesis.fee_token);
    let zero = Felt::ZERO;
    let first = vec![zero, two.block.state_root, zero - Felt::ONE, felt(2), zero, two.hash, zero, config, zero, zero];
    assert_eq!(header(&batches[0]), first);
    let second =
        vec![two.block.state_root, five.block.state_root, felt(2), felt(5), two.hash, five.hash, zero, config, zero, zero];
    assert_eq!(header(&batches[1]), second);
    assert_eq!(batches[0].output[10..], [zero, zero]);
    let facts: std::collections::BTreeSet<_> = batches.iter().map(|batch| batch.fact).collect();
    assert_eq!(facts.len(), 3);
}

#[test]
fn what_a_batch_sets_back_is_not_in_it() {
    let chain = Chain::new();
    chain.commit(storage(&[(1_000, 200, 7)]), vec![]);
    let mut batcher = chain.batcher(BatchLimits { blocks_max: 2, ..LIMITS });
    chain.commit(storage(&[(1_000, 201, 1)]), vec![]);
    // A key that came and went, a key that went and came, and one real change.
    chain.commit(storage(&[(1_000, 200, 0), (1_000, 300, 5), (1_500, 3, 4)]), vec![]);
    chain.commit(storage(&[(1_000, 200, 7), (1_000, 300, 0), (1_000, 201, 2), (1_500, 3, 0)]), vec![]);
    let batches = batches(&chain, &mut batcher);
    let second = &batches[1].content.diff;
    assert_eq!(second.storage_changes(&felt(1_000)), [(felt(201), felt(2))]);
    assert!(!second.storage.contains_key(&felt(1_500)));
    // The alias of the key that came and went stays: it is state.
    assert!(second.storage[&Felt::TWO].contains_key(&felt(300)));
}

#[test]
fn messages_stand_in_the_output_in_the_order_of_their_transactions() {
    let chain = Chain::new();
    chain.commit(storage(&[(1_000, 1, 1)]), vec![]);
    let up = |payload: u64| MessageToL1 { from_address: felt(50), to_address: felt(60), payload: vec![felt(payload)] };
    let deposit = |nonce: u64| chain.handler(nonce, vec![felt(9), felt(nonce)]);
    chain.commit(storage(&[(1_000, 1, 2)]), vec![deposit(4), chain.invoke(0, vec![up(1), up(2)])]);
    chain.commit(storage(&[(1_000, 1, 3)]), vec![chain.invoke(1, vec![up(3)]), deposit(6)]);
    let batch = batches(&chain, &mut chain.batcher(LIMITS)).remove(0);
    let nonces: Vec<u64> = batch.content.to_l2.iter().map(|message| message.nonce).collect();
    assert_eq!(nonces, [4, 6]);
    let payloads: Vec<Felt> = batch.content.to_l1.iter().map(|message| message.payload[0]).collect();
    assert_eq!(payloads, [felt(1), felt(2), felt(3)]);
    let mut expected = vec![felt(12)];
    (1..=3).for_each(|n| expected.extend([felt(50), felt(60), felt(1), felt(n)]));
    expected.push(felt(14));
    for message in &batch.content.to_l2 {
        let nonce = felt(message.nonce);
        expected.extend([message.from.0, chain.genesis.exchange.0, nonce, message.selector, felt(2), felt(9), nonce]);
    }
    assert_eq!(batch.output[10..], expected);
    // The same hashes as the independent implementation in core.
    assert_eq!(batch.content.to_l1[0].hash().0, up(1).hash());
}

#[test]
fn a_transaction_that_is_no_message_stops_the_batch() {
    let chain = Chain::new();
    chain.commit(storage(&[(1_000, 1, 1)]), vec![]);
    let (transaction, receipt) = chain.handler(1, vec![felt(9)]);
    let Transaction::L1Handler(call) = transaction else { unreachable!("handler() makes handlers") };
    let forged = Transaction::L1Handler(L1HandlerCall { message_hash: Bytes32([1; 32]), ..call });
    chain.commit(storage(&[(1_000, 1, 2)]), vec![(forged, receipt)]);
    let error = chain.batcher(LIMITS).step().unwrap_err();
    assert!(matches!(error, BatchError::Handler { height: Height(1), .. }), "{error}");
    assert_eq!(chain.store.latest_batch().unwrap(), None);
}

#[test]
fn the_block_in_which_safe_mode_was_entered_ends_its_batch() {
    let chain = Chain::new();
    chain.commit(storage(&[(1_000, 1, 1)]), vec![]);
    let (transaction, receipt) = chain.invoke(0, vec![]);
    let event = |from: Felt| Event { from_address: from, keys: vec![EVENT_SAFE_MODE_ENTERED, felt(1)], data: vec![] };
    // Another contract may emit what it likes.
    let foreign = Receipt { events: vec![event(felt(1_000))], ..receipt.clone() };
    chain.commit(storage(&[(1_000, 1, 2)]), vec![(transaction.clone(), foreign)]);
    let ours = Receipt { events: vec![event(chain.genesis.exchange.0)], ..receipt };
    chain.commit(storage(&[(1_000, 1, 3)]), vec![(transaction, ours)]);
    chain.commit(storage(&[(1_000, 1, 4)]), vec![]);
    let batches = batches(&chain, &mut chain.batcher(BatchLimits { blocks_max: 10, ..LIMITS }));
    assert_eq!(batches.len(), 1);
    assert_eq!((batches[0].content.last_block, batches[0].content.closed), (Height(2), CloseReason::SafeMode));
}

#[test]
fn a_batch_asked_for_closes_at_its_block_and_only_once() {
    let chain = busy_chain();
    let mut batcher = chain.batcher(BatchLimits { blocks_max: 100, ..LIMITS });
    assert_eq!(batcher.step().unwrap(), None);
    batcher.close_at(Height(6));
    batcher.close_at(Height(3));
    let batches = batches(&chain, &mut batcher);
    let ends: Vec<_> = batches.iter().map(|b| (b.content.last_block.0, b.content.closed)).collect();
    assert_eq!(ends, [(3, CloseReason::OnDemand)]);
}

#[test]
fn a_lost_batch_is_made_again_with_the_end_the_contract_has() {
    let chain = busy_chain();
    let batch = batches(&chain, &mut chain.batcher(LIMITS)).remove(0);
    // The same blocks in another store, whose limits would cut elsewhere.
    let again = busy_chain();
    let mut batcher = again.batcher(BatchLimits { blocks_max: 7, ..LIMITS });
    assert!(matches!(batcher.build_to(Height(10)), Err(BatchError::End { .. })));
    let header = batcher.build_to(batch.content.last_block).unwrap();
    assert_eq!(header.status, BatchStatus::Built);
    let rebuilt = again.batch(0);
    assert_eq!((rebuilt.fact, rebuilt.content.closed), (batch.fact, CloseReason::Settled));
    assert!(matches!(batcher.build_to(batch.content.last_block), Err(BatchError::End { .. })));
    // And from there on by itself.
    assert_eq!(batcher.step().unwrap().map(|header| header.last_block), Some(Height(9)));
}

#[test]
fn a_large_block_is_a_batch_of_its_own() {
    let chain = Chain::new();
    chain.commit(storage(&[(1_000, 1, 1)]), vec![]);
    let many: Vec<_> = (0..100).map(|key| (1_000, key, 5)).collect();
    chain.commit(storage(&many), vec![]);
    chain.commit(storage(&[(1_000, 1, 2)]), vec![]);
    let limits = BatchLimits { blocks_max: 2, words_max: 150, ..LIMITS };
    let batches = batches(&chain, &mut chain.batcher(limits));
    let ends: Vec<_> = batches.iter().map(|b| (b.content.last_block.0, b.content.closed)).collect();
    assert_eq!(ends, [(0, CloseReason::Size), (1, CloseReason::Size)]);
    assert!(words(&batches[1]).len() > 150);
}

#[test]
fn stored_bytes_decode_to_the_same_batch_and_nothing_else() {
    let chain = busy_chain();
    let batch = batches(&chain, &mut chain.batcher(LIMITS)).remove(1);
    let bytes = batch.encode();
    assert_eq!(Batch::decode(BatchId(1), &bytes).unwrap(), batch);
    assert!(Batch::decode(BatchId(2), &bytes).is_err());
    assert!(Batch::decode(BatchId(1), &bytes[..bytes.len() - 1]).is_err());
}
