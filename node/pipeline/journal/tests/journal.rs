//! What a journal promises, on a real RocksDB.

use keel_journal::{Journal, JournalError, LocalJournal, Options, Replay, SyncedLength};
use keel_types::{Bytes32, Command, Record, Seq, Ts};

fn record(journal: &impl Journal, commands: usize) -> Record {
    let (prev, first_seq, ts) =
        journal.tail().map_or((Bytes32::default(), Seq(1), Ts(0)), |t| (t.hash, t.last_seq.next(), t.ts));
    Record { prev, first_seq, ts: Ts(ts.0 + 1), commands: vec![Command::Tick; commands] }
}

fn open(dir: &std::path::Path) -> LocalJournal {
    LocalJournal::open(dir, Options { sync: true, note_synced_length: true }).unwrap()
}

fn read(journal: &LocalJournal, from: Seq, link: Bytes32) -> Vec<Record> {
    let mut records = vec![];
    journal
        .replay(from, link, &mut |r| {
            records.push(r);
            true
        })
        .unwrap();
    records
}

#[test]
fn appended_records_are_read_back_in_order_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let mut written = vec![];
    for commands in [1, 3, 2] {
        let next = record(&journal, commands);
        journal.append(&next).unwrap();
        written.push(next);
    }
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(journal.tail().unwrap().last_seq, Seq(6));
    assert_eq!(read(&journal, Seq(1), Bytes32::default()), written);
    assert_eq!(read(&journal, Seq(5), written[1].hash()), written[2..]);
}

#[test]
fn a_record_that_does_not_continue_the_chain_is_refused_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let first = record(&journal, 2);
    journal.append(&first).unwrap();
    let good = record(&journal, 1);
    let gap = Record { first_seq: Seq(4), ..good.clone() };
    let unlinked = Record { prev: Bytes32([7; 32]), ..good.clone() };
    let backwards = Record { ts: first.ts, ..good.clone() };
    let empty = Record { commands: vec![], ..good.clone() };
    assert!(matches!(journal.append(&gap), Err(JournalError::OutOfOrder { .. })));
    for bad in [unlinked, backwards, empty] {
        assert!(matches!(journal.append(&bad), Err(JournalError::Corrupt { .. })), "{bad:?}");
    }
    assert_eq!(journal.tail().unwrap().last_seq, Seq(2));
    journal.append(&good).unwrap();
}

#[test]
fn replay_from_a_snapshot_whose_link_is_wrong_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    for _ in 0..2 {
        let next = record(&journal, 1);
        journal.append(&next).unwrap();
    }
    let result = journal.replay(Seq(2), Bytes32([9; 32]), &mut |_| true);
    assert!(matches!(result, Err(JournalError::Corrupt { .. })));
}

#[test]
fn cutting_back_to_the_synced_length_loses_no_synced_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    for _ in 0..50 {
        let next = record(&journal, 3);
        journal.append(&next).unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    assert_eq!(SyncedLength::cut_back(copy.path()).unwrap(), 0);
    assert_eq!(open(copy.path()).tail().unwrap().last_seq, Seq(150));
}

#[test]
fn without_sync_the_cut_takes_what_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = LocalJournal::open(dir.path(), Options { sync: false, note_synced_length: true }).unwrap();
    for _ in 0..50 {
        let next = record(&journal, 3);
        journal.append(&next).unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    assert!(SyncedLength::cut_back(copy.path()).unwrap() > 0);
    assert_eq!(open(copy.path()).tail(), None);
}
