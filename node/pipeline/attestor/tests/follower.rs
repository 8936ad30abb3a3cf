//! A follower of a journal that the test writes as a node would.

use keel_attestor::{FollowError, Follower, FollowerConfig, Verdict};
use keel_engine::Engine;
use keel_journal::JournalError;
use keel_store::StateRetention;
use keel_types::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn genesis() -> Arc<Genesis> {
    let text = include_str!("../../../../genesis/dev.json");
    Arc::new(keel_contracts::genesis::load(text).expect("the development genesis is good"))
}

/// Records of a node that enters safe mode and seals a block every third record.
fn journal(genesis: &Genesis, records: usize) -> Vec<Record> {
    let (mut engine, _) = Engine::new(genesis);
    let (mut written, mut prev) = (Vec::new(), Bytes32::default());
    for i in 0..records {
        let ts = Ts(genesis.ts.0 + 1_000_000_000 * (i as u64 + 1));
        let first_seq = engine.last_seq().next();
        let mut commands = vec![];
        let mut apply = |engine: &mut Engine, command: Command| {
            engine.apply(engine.last_seq().next(), ts, &command);
            commands.push(command);
        };
        if i == 4 {
            let reasons = LossReasons::of(LossReason::Restart);
            apply(&mut engine, Command::EnterSafeMode(EnterSafeMode { incident: IncidentId(1), reasons, observed_ts: ts }));
        }
        apply(&mut engine, Command::Tick);
        if i % 3 == 2 {
            let seal = SealBlock { height: Height(engine.height().0 + 1), engine_digest: engine.digest() };
            apply(&mut engine, Command::SealBlock(seal));
        }
        let record = Record { prev, first_seq, ts, commands };
        prev = record.hash();
        written.push(record);
    }
    written
}

fn open(folder: &Path) -> Result<Follower, FollowError> {
    let retention = StateRetention { proof_blocks: 0, state_blocks: 0 };
    let snapshot_interval = Duration::ZERO;
    Follower::open(FollowerConfig { folder: folder.to_owned(), genesis: genesis(), snapshot_interval, retention })
}

fn page(records: &[Record]) -> Vec<(Seq, Bytes32, Vec<u8>)> {
    records.iter().map(|record| (record.first_seq, record.hash(), record.encode())).collect()
}

/// The batch of these blocks as a follower made it, for another to compare with.
fn claim_of(follower: &mut Follower, first: u64, last: u64) -> BatchClaim {
    let (zero, felt) = (Bytes32::default(), FeltBytes::default());
    let batch = follower.next_batch().expect("a store");
    let blind =
        BatchClaim { batch, first_block: Height(first), last_block: Height(last), root: felt, block_hash: felt, fact: zero };
    // It differs from anything: the values computed here stand in the batch that was made.
    assert!(matches!(follower.check(&blind, PATIENCE), Err(FollowError::Diverged(_))));
    let (_, made) = keel_batches::Batch::load(follower.store(), batch).expect("a store").expect("made");
    let (root, block_hash) = (FeltBytes(made.content.after.root), FeltBytes(made.content.after.hash));
    BatchClaim { root, block_hash, fact: made.fact, ..blind }
}

#[test]
fn a_follower_that_is_stopped_anywhere_goes_on_and_agrees_with_one_that_was_not() {
    let records = journal(&genesis(), 30);
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut first = open(whole.path()).unwrap();
    first.take(&page(&records)).unwrap();
    let claims = [claim_of(&mut first, 0, 4), claim_of(&mut first, 5, 9)];
    first.close().unwrap();
    for chunk in records.chunks(4) {
        let mut second = open(parts.path()).unwrap();
        assert_eq!(second.next(), chunk[0].first_seq);
        second.take(&page(chunk)).unwrap();
        for claim in &claims {
            let executed = claim.last_block <= second.height();
            let verdict = second.check(claim, PATIENCE).unwrap();
            assert_eq!(verdict, if executed { Verdict::Agreed(*claim) } else { Verdict::NotYet });
        }
        second.close().unwrap();
    }
    let mut second = open(parts.path()).unwrap();
    let changed = |change: fn(&mut BatchClaim)| {
        let mut claim = claims[1];
        change(&mut claim);
        claim
    };
    for (claim, what) in [
        (changed(|claim| claim.root = FeltBytes(1_u64.into())), Diverged::StateRoot),
        (changed(|claim| claim.block_hash = FeltBytes(1_u64.into())), Diverged::BlockHash),
        (changed(|claim| claim.fact = Bytes32([1; 32])), Diverged::Fact),
    ] {
        let Err(FollowError::Diverged(found)) = second.check(&claim, PATIENCE) else { panic!("{what}") };
        assert_eq!((found.what, found.batch, found.height), (what, Some(BatchId(1)), Height(9)));
        assert_ne!(found.announced, found.computed);
    }
    let elsewhere = changed(|claim| claim.last_block = Height(8));
    for _ in 0..2 {
        assert!(matches!(second.check(&elsewhere, PATIENCE).unwrap(), Verdict::OtherRange { .. }));
        assert_eq!(second.check(&claims[1], PATIENCE).unwrap(), Verdict::Agreed(claims[1]));
    }
    second.close().unwrap();
}

#[test]
fn records_that_do_not_continue_the_journal_are_refused_and_nothing_is_kept() {
    let records = journal(&genesis(), 9);
    let dir = tempfile::tempdir().unwrap();
    let mut follower = open(dir.path()).unwrap();
    follower.take(&page(&records[..3])).unwrap();
    let next = follower.next();

    let mut other_time = records[3].clone();
    other_time.prev = Bytes32([9; 32]);
    assert!(matches!(follower.take(&page(&[other_time])), Err(FollowError::Journal(JournalError::Corrupt { .. }))));
    assert!(matches!(follower.take(&page(&records[4..5])), Err(FollowError::Journal(JournalError::OutOfOrder { .. }))));
    let mut torn = page(&records[3..4]);
    torn[0].2.pop();
    assert!(matches!(follower.take(&torn), Err(FollowError::NotARecord { .. })));
    let mut other_hash = page(&records[3..4]);
    other_hash[0].1 = Bytes32([9; 32]);
    assert!(matches!(follower.take(&other_hash), Err(FollowError::NotARecord { .. })));
    assert_eq!(follower.next(), next);
    follower.take(&page(&records[3..])).unwrap();
    follower.close().unwrap();
}

#[test]
fn another_digest_is_a_divergence_with_both_values_and_is_found_again_after_a_restart() {
    let mut records = journal(&genesis(), 6);
    let dir = tempfile::tempdir().unwrap();
    let mut follower = open(dir.path()).unwrap();
    let Some(Command::SealBlock(seal)) = records[5].commands.last_mut() else { panic!("a seal") };
    let computed = std::mem::replace(&mut seal.engine_digest, Bytes32([9; 32]));
    let expected =
        Divergence { what: Diverged::EngineDigest, batch: None, height: Height(2), announced: Bytes32([9; 32]), computed };
    let Err(FollowError::Diverged(found)) = follower.take(&page(&records)) else { panic!("agreed") };
    assert_eq!(found, expected);
    follower.close().unwrap();
    let Err(FollowError::Diverged(again)) = open(dir.path()) else { panic!("agreed") };
    assert_eq!(again, expected);
}
