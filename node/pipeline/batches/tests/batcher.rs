//! Claims about batches made of real stored blocks. The blocks hold arbitrary diffs; what blocks hold is `keel-blocks`' business.

mod chain;

use chain::{CALLDATA, Chain, felt};
use keel_batches::kzg::verify;
use keel_batches::{Batch, BatchError, BatchLimits, Batcher, CloseReason, DataAvailability, DataError, PackedDiff};
use keel_commitment::commitments::{Event, MessageToL1};
use keel_commitment::hash::{ascii, poseidon_array};
use keel_commitment::{Felt, StateDiff};
use keel_contracts::ethereum as contract;
use keel_contracts::starknet::EVENT_SAFE_MODE_ENTERED;
use keel_store::{BatchStatus, L1HandlerCall, Receipt, Transaction};
use keel_types::{BatchId, Bytes32, DataForm, FeltBytes, Height, SettlementLayer};
use std::collections::BTreeMap;

const BLOBS: SettlementLayer = SettlementLayer::Ethereum { chain_id: 31_337, data: DataForm::Blobs };
const STARKNET: SettlementLayer = SettlementLayer::Starknet { chain_id: FeltBytes(Felt::THREE) };
const LIMITS: BatchLimits = BatchLimits { blocks_max: 3, age_ms: 1_000_000, words_max: 100_000 };

fn storage(entries: &[(u64, u64, u64)]) -> StateDiff {
    let mut diff = StateDiff::default();
    entries.iter().for_each(|(contract, key, value)| diff.set_storage(felt(*contract), felt(*key), felt(*value)));
    diff
}

fn batches(chain: &Chain, batcher: &mut Batcher) -> Vec<Batch> {
    std::iter::from_fn(|| batcher.step().unwrap()).map(|header| chain.batch(header.batch.0)).collect()
}

/// The state diff as the settlement layer gives it to anybody: from blobs, calldata or chunks alone.
fn published(layer: SettlementLayer, batch: &Batch) -> PackedDiff {
    let data = &batch.content.data;
    let read = match data {
        DataAvailability::Blobs { .. } => DataAvailability::from_blobs(&batch.blobs()),
        DataAvailability::Calldata { words } => DataAvailability::of_words(layer, words.clone()),
        DataAvailability::Chunks { .. } => DataAvailability::of_words(layer, data.chunks().collect::<Vec<_>>().concat()),
    };
    assert_eq!(read.as_ref(), Ok(data));
    read.unwrap().decode().unwrap()
}

fn busy_chain() -> Chain {
    busy_chain_on(CALLDATA)
}

/// Ten blocks that deploy, write, overwrite, delete and count.
fn busy_chain_on(layer: SettlementLayer) -> Chain {
    let chain = Chain::on(layer);
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
fn batches_are_contiguous_and_their_data_alone_rebuilds_every_state_on_each_layer() {
    for layer in [CALLDATA, BLOBS, STARKNET] {
        let chain = busy_chain_on(layer);
        let batches = batches(&chain, &mut chain.batcher(LIMITS));
        let ranges: Vec<_> = batches.iter().map(|b| (b.content.first_block.0, b.content.last_block.0)).collect();
        assert_eq!(ranges, [(0, 2), (3, 5), (6, 8)]);

        let (mut aliases, mut state) = (BTreeMap::new(), StateDiff::default());
        for (n, batch) in batches.iter().enumerate() {
            assert_eq!(batch.content.id, BatchId(n as u64));
            batch.content.data.check().unwrap();
            let packed = published(layer, batch);
            packed.learn_aliases(&mut aliases);
            let was_there = |name: &Felt| state.class_hash_at(name).is_some() || state.declared_classes.contains_key(name);
            let diff = packed.to_diff(&aliases, was_there).unwrap();
            assert_eq!(diff, batch.content.diff);
            state.squash(&diff);
            assert_eq!(chain.root_of(&state), batch.content.after.root, "{layer}: state after batch {n}");
        }
    }
}

#[test]
fn the_contract_of_each_layer_finds_its_own_fact() {
    let batch = |layer| {
        let chain = busy_chain_on(layer);
        batches(&chain, &mut chain.batcher(LIMITS)).remove(1)
    };
    let word = |felts: &[Felt]| felts.iter().copied().map(contract::word).collect::<Vec<_>>();
    let (calldata, blobs, chunks) = (batch(CALLDATA), batch(BLOBS), batch(STARKNET));
    let data = calldata.content.data.words();
    assert_eq!((blobs.content.data.words(), chunks.content.data.words()), (data, data), "the same words in every form");

    let program = calldata.content.program_hash;
    let transition = contract::transition_fact_with_data(&word(&calldata.output), &word(data));
    assert_eq!(calldata.transition_fact.0, transition.0);
    assert_eq!(calldata.fact.0, contract::fact(program, transition).0);

    let transition = contract::transition_fact_with_blobs(&word(&blobs.output));
    assert_eq!(blobs.transition_fact.0, transition.0);
    assert_eq!(blobs.fact.0, contract::fact(program, transition).0);

    let output = poseidon_array(&chunks.output);
    let data_hash = poseidon_array(&[poseidon_array(data)]);
    let fact = poseidon_array(&[ascii("KEEL_TRANSITION"), program, output, data_hash]);
    assert_eq!((chunks.transition_fact, chunks.fact), (Bytes32(fact.to_bytes_be()), Bytes32(fact.to_bytes_be())));
    assert_eq!(chunks.output, calldata.output);
}

#[test]
fn the_output_opens_each_blob_where_the_words_and_commitments_say() {
    let chain = busy_chain_on(BLOBS);
    let mut batch = batches(&chain, &mut chain.batcher(LIMITS)).remove(0);
    let DataAvailability::Blobs { commitments, z, evaluations, .. } = &batch.content.data else { panic!("no blobs") };
    let [low, high] = commitments[0].words();
    let [value_low, value_high] = evaluations[0].words();
    let (zero, one) = (Felt::ZERO, Felt::ONE);
    // Flags; point, number of blobs, commitment, value; no messages.
    assert_eq!(batch.output[8..], [one, zero, *z, one, low, high, value_low, value_high, zero, zero]);
    let proofs = batch.point_proofs().unwrap();
    assert_eq!(proofs.len(), 1);
    assert!(verify(&commitments[0], z, &evaluations[0], &proofs[0]));

    let DataAvailability::Blobs { z, .. } = &mut batch.content.data else { panic!("no blobs") };
    *z += one;
    assert_eq!(batch.content.data.check(), Err(DataError::NotOfWords));
    assert_eq!(batch.point_proofs(), Err(DataError::NotOfWords));
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
    assert_eq!(batch.content.to_l1[0].hash(CALLDATA).0, up(1).hash());
}

#[test]
fn messages_of_starknet_are_hashed_with_poseidon() {
    let chain = Chain::on(STARKNET);
    let up = MessageToL1 { from_address: felt(50), to_address: felt(60), payload: vec![felt(1), felt(2)] };
    let content = vec![chain.handler(4, vec![felt(9)]), chain.invoke(0, vec![up])];
    chain.commit(storage(&[(1_000, 1, 2)]), content);
    let batch = batches(&chain, &mut chain.batcher(BatchLimits { blocks_max: 1, ..LIMITS })).remove(0);
    let hash = |words: &[Felt]| Bytes32(poseidon_array(words).to_bytes_be());
    let (down, up) = (&batch.content.to_l2[0], &batch.content.to_l1[0]);
    let (bridge, exchange) = (chain.genesis.settlement.bridge.0, chain.genesis.exchange.0);
    assert_eq!(down.hash(STARKNET), hash(&[bridge, exchange, felt(4), down.selector, felt(1), felt(9)]));
    assert_eq!(up.hash(STARKNET), hash(&[felt(50), felt(60), felt(2), felt(1), felt(2)]));
    assert_ne!(up.hash(STARKNET), up.hash(BLOBS));
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
    let mut large = StateDiff::default();
    (0..100).for_each(|key| large.set_storage(felt(1_000), felt(key), Felt::ZERO - felt(key + 1)));
    chain.commit(large, vec![]);
    chain.commit(storage(&[(1_000, 1, 2)]), vec![]);
    let limits = BatchLimits { blocks_max: 2, words_max: 90, ..LIMITS };
    let batches = batches(&chain, &mut chain.batcher(limits));
    let ends: Vec<_> = batches.iter().map(|b| (b.content.last_block, b.content.closed)).collect();
    assert_eq!(ends, [(Height(0), CloseReason::Size), (Height(1), CloseReason::Size)]);
    assert!(batches[1].content.data.words().len() > 90);
}

#[test]
fn a_batch_takes_as_many_blocks_as_fit_compressed() {
    let words_max = 60;
    for layer in [CALLDATA, BLOBS] {
        let chain = Chain::on(layer);
        // Of each block some words compress well, some not at all, and some were before what they are again.
        for n in 0..60u64 {
            let mut diff = storage(&[(1_000, 1, n % 2), (1_000, 500, 7), (2_000, 3, n)]);
            (0..n % 9).for_each(|key| diff.set_storage(felt(1_000), felt(900 + 10 * n + key), felt(n)));
            (0..n % 5).for_each(|key| {
                diff.set_storage(felt(1_500), felt(5_000 + 10 * n + key), Felt::ZERO - felt(1 + 9 * n + key))
            });
            chain.commit(diff, vec![]);
        }
        let limits = BatchLimits { blocks_max: 60, words_max, ..LIMITS };
        let batches = batches(&chain, &mut chain.batcher(limits));
        assert!(batches.len() > 1, "{}", batches.len());
        for batch in &batches {
            assert_eq!(batch.content.closed, CloseReason::Size);
            let (words, raw) = (batch.content.data.words().len(), published(layer, batch).encode().len());
            assert!(words <= words_max, "{layer}: {words} words");
            assert!(raw > words_max, "{layer}: {raw} words uncompressed are no reason to close");
            // The block after the last did not fit: it has a few large words and some small ones, and the bound leaves a word for
            // each contract.
            assert!(words > words_max - 25, "{layer}: {words} words");
        }
    }
}

#[test]
fn no_batch_is_larger_than_its_layer_takes() {
    let chain = Chain::new();
    for n in 0..8u64 {
        let mut diff = StateDiff::default();
        (0..400).for_each(|key| diff.set_storage(felt(20), felt(key), Felt::ZERO - felt(1_000 * n + key + 1)));
        (0..400).for_each(|key| diff.set_storage(felt(21 + n), felt(key), Felt::ZERO - felt(90_000 + 1_000 * n + key)));
        chain.commit(diff, vec![]);
    }
    let batches = batches(&chain, &mut chain.batcher(BatchLimits { blocks_max: 9, ..LIMITS }));
    assert!(!batches.is_empty() && batches.iter().all(|batch| batch.content.data.words().len() <= 3_000));
}

#[test]
fn stored_bytes_decode_to_the_same_batch_and_nothing_else() {
    for layer in [CALLDATA, BLOBS, STARKNET] {
        let chain = busy_chain_on(layer);
        let batch = batches(&chain, &mut chain.batcher(LIMITS)).remove(1);
        let bytes = batch.encode();
        assert_eq!(Batch::decode(BatchId(1), &bytes).unwrap(), batch);
        assert!(Batch::decode(BatchId(2), &bytes).is_err());
        assert!(Batch::decode(BatchId(1), &bytes[..bytes.len() - 1]).is_err());
    }
}
