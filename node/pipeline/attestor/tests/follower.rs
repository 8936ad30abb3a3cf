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

/// A record of one command right behind another.
fn behind(record: &Record, command: Command) -> Record {
    let (prev, first_seq, ts) = (record.hash(), record.last_seq().next(), record.ts.plus_ms(1));
    Record { prev, first_seq, ts, commands: vec![command] }
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
    // It is executed once it can be voided no more.
    let behind = behind(&records[5], Command::Tick);
    records.push(behind);
    let expected =
        Divergence { what: Diverged::EngineDigest, batch: None, height: Height(2), announced: Bytes32([9; 32]), computed };
    let Err(FollowError::Diverged(found)) = follower.take(&page(&records)) else { panic!("agreed") };
    assert_eq!(found, expected);
    follower.close().unwrap();
    let Err(FollowError::Diverged(again)) = open(dir.path()) else { panic!("agreed") };
    assert_eq!(again, expected);
}

/// Three records and a seal; then a record with a seal of another digest, which no follower executes well; its Void; and what the node went
/// on with. A control has refused commands in the place of both.
fn journals_with_and_without_a_void() -> [Vec<Record>; 2] {
    let genesis = genesis();
    [true, false].map(|voided| {
        let mut records = journal(&genesis, 3);
        let mut engine = Engine::new(&genesis).0;
        for record in &records {
            for (i, command) in (0..).zip(&record.commands) {
                engine.apply(Seq(record.first_seq.0 + i), record.ts, command);
            }
        }
        let refused = Command::SealBlock(SealBlock { height: Height(77), engine_digest: Bytes32::default() });
        let broken = SealBlock { height: Height(engine.height().0 + 1), engine_digest: Bytes32([9; 32]) };
        let seq = engine.last_seq().next();
        let void = Command::Void(Void { seq, reason: "a block that was told to nobody".into() });
        for command in [Command::SealBlock(broken), void] {
            let command = if voided { command } else { refused.clone() };
            let record = behind(&records[records.len() - 1], command.clone());
            engine.apply(record.first_seq, record.ts, if voided { &refused } else { &command });
            records.push(record);
        }
        let reasons = LossReasons::of(LossReason::InvariantBroken);
        let safe = EnterSafeMode { incident: IncidentId(1), reasons, observed_ts: genesis.ts };
        for command in [Some(Command::EnterSafeMode(safe)), None, Some(Command::Tick)] {
            let seal = SealBlock { height: Height(engine.height().0 + 1), engine_digest: engine.digest() };
            let record = behind(&records[records.len() - 1], command.unwrap_or(Command::SealBlock(seal)));
            engine.apply(record.first_seq, record.ts, &record.commands[0]);
            records.push(record);
        }
        records
    })
}

#[test]
fn a_follower_that_has_a_voided_record_already_comes_to_the_same_blocks_as_if_it_had_never_been() {
    let [records, control] = journals_with_and_without_a_void();
    let dir = tempfile::tempdir().unwrap();
    let mut follower = open(dir.path()).unwrap();
    follower.take(&page(&control)).unwrap();
    let claim = claim_of(&mut follower, 0, 2);
    follower.close().unwrap();
    // Up to the voided record, all but its Void, or its Void too before the connection is lost; with and without a restart in between.
    for (first, restart) in [(4, false), (4, true), (5, false), (5, true), (records.len(), true)] {
        let dir = tempfile::tempdir().unwrap();
        let mut follower = open(dir.path()).unwrap();
        follower.take(&page(&records[..first])).unwrap();
        assert_eq!(follower.next(), records[first - 1].last_seq().next(), "nothing is asked for twice");
        if restart {
            follower.close().unwrap();
            follower = open(dir.path()).unwrap();
        }
        follower.take(&page(&records[first..])).unwrap();
        assert_eq!(follower.check(&claim, PATIENCE).unwrap(), Verdict::Agreed(claim), "{first}, {restart}");
        follower.close().unwrap();
    }
    // Without its Void it is what it always was: a divergence.
    let dir = tempfile::tempdir().unwrap();
    let mut follower = open(dir.path()).unwrap();
    let unvoided = behind(&records[3], Command::Tick);
    let diverged = follower.take(&page(&[&records[..4], &[unvoided]].concat()));
    assert!(matches!(diverged, Err(FollowError::Diverged(Divergence { what: Diverged::EngineDigest, .. }))));
    follower.close().unwrap();
}
