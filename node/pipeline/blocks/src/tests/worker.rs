use super::*;
use crate::{BlockWorker, BlocksError, Wait, WorkerConfig};
use std::sync::atomic::Ordering;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A directory, a store in it, and a worker on the store.
fn start(dir: &tempfile::TempDir) -> (Store, BlockWorker) {
    let genesis = Arc::new(genesis());
    let store = Store::open(dir.path(), genesis.hash()).unwrap();
    let genesis_writes = genesis_writes(&genesis);
    let key = Some(key(&genesis));
    let worker = BlockWorker::start(WorkerConfig { genesis, genesis_writes, store: store.clone(), key }).unwrap();
    (store, worker)
}

fn feed(worker: &BlockWorker, script: &str) {
    let feed = worker.feed();
    Script::run(&genesis(), script).into_iter().for_each(|released| assert!(feed.send(Arc::new(released))));
}

#[test]
fn blocks_are_committed_behind_the_journal_and_skipped_when_they_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, worker) = start(&dir);
    assert_eq!((store.height(), worker.committed().load(Ordering::Acquire)), (Some(Height(0)), 0));
    feed(&worker, "register 1 | seal | deposit 1 1 5 | seal | tick");
    assert_eq!(worker.wait_for(Height(2), LONG), Wait::Committed);
    assert_eq!(worker.committed().load(Ordering::Acquire), 2);
    assert_eq!(worker.wait_for(Height(3), Duration::from_millis(20)), Wait::TimedOut);
    worker.stop().unwrap();
    let tip = store.tip().unwrap();
    drop(store);

    let (store, worker) = start(&dir);
    assert_eq!(store.tip().unwrap(), tip);
    assert_eq!(worker.committed().load(Ordering::Acquire), 2);
    feed(&worker, "register 1 | seal | deposit 1 1 5 | seal | tick | fill 0 1 2 | seal");
    assert_eq!(worker.wait_for(Height(3), LONG), Wait::Committed);
    worker.stop().unwrap();
    assert_eq!(store.header(Height(2)).unwrap(), tip);
    let block = store.block(Height(3)).unwrap().unwrap();
    assert_eq!((block.transactions.len(), block.header.first_seq), (1, Seq(5)));
}

#[test]
fn an_error_ends_the_worker_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, worker) = start(&dir);
    let released = Script::run(&genesis(), "tick | tick | seal");
    let feed = worker.feed();
    assert!(feed.send(Arc::new(released[1].clone())));
    assert_eq!(worker.wait_for(Height(1), LONG), Wait::Ended);
    let error = worker.errors().recv_timeout(LONG).unwrap();
    assert!(matches!(error, BlocksError::NotNext { .. }), "{error}");
    assert!(!feed.send(Arc::new(released[2].clone())));
    drop(feed);
    assert!(worker.stop().is_ok(), "the error was taken before");
}
