//! What a journal promises, on a real RocksDB.

use keel_journal::{Journal, JournalError, JournalReader, LocalJournal, Options, Replay, StoredRecord, SyncedLength};
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
fn a_reader_sees_durable_records_page_by_page_as_they_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let reader = journal.reader();
    assert_eq!(
        (reader.durable(), reader.begins_at(Seq(1)).unwrap(), reader.page(Seq(1), 1).unwrap()),
        (Seq(0), true, vec![])
    );
    let mut written = vec![];
    for commands in [1, 3, 2, 1, 4] {
        let next = record(&journal, commands);
        journal.append(&next).unwrap();
        written.push(next);
    }
    assert_eq!(reader.durable(), Seq(11));
    let begins: Vec<u64> = (0..=14).filter(|seq| reader.begins_at(Seq(*seq)).unwrap()).collect();
    assert_eq!(begins, [1, 2, 5, 7, 8, 12]);
    let stored: Vec<_> = written.iter().map(|r| StoredRecord { first_seq: r.first_seq, bytes: r.encode() }).collect();
    assert_eq!(reader.page(Seq(1), usize::MAX).unwrap(), stored);
    assert_eq!(reader.page(Seq(3), usize::MAX).unwrap(), stored[2..], "from the next record on");
    assert_eq!(reader.page(Seq(2), 1).unwrap(), stored[1..2], "at least one");
    assert_eq!(reader.page(Seq(2), stored[1].bytes.len() + stored[2].bytes.len()).unwrap(), stored[1..3]);
    drop((journal, reader));
    assert_eq!(JournalReader::open_read_only(dir.path()).unwrap().durable(), Seq(11));
}

#[test]
fn records_are_appended_together_or_not_at_all() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut leader, mut follower) = (open(first.path()), open(second.path()));
    let mut written = vec![];
    for commands in [1, 3, 2] {
        let next = record(&leader, commands);
        leader.append(&next).unwrap();
        written.push(next);
    }
    let mut forged = written.clone();
    forged[1].ts = Ts(forged[1].ts.0 + 1);
    assert!(matches!(follower.append_all(&forged), Err(JournalError::Corrupt { seq: Seq(5), .. })), "its successor's link");
    assert!(matches!(follower.append_all(&written[1..]), Err(JournalError::OutOfOrder { .. })));
    assert_eq!(follower.tail(), None);
    follower.append_all(&written).unwrap();
    follower.append_all(&[]).unwrap();
    assert_eq!((follower.tail(), follower.reader().durable()), (leader.tail(), Seq(6)));
    assert_eq!(read(&follower, Seq(1), Bytes32::default()), written);
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
