//! What the loop promises, on a journal that fails on purpose.

use keel_engine::Engine;
use keel_ingress::queue::{Answer, Inbox, InboxCapacity, QueueFull, Shed};
use keel_journal::Journal;
use keel_journal::model::{Fault, ModelJournal};
use keel_sequencer::{Clock, Config, Control, Outputs, Sequencer, SnapshotDue, Start, Stop, recover};
use keel_types::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

fn genesis() -> Genesis {
    keel_contracts::genesis::load(keel_contracts::genesis::DEV).expect("the development genesis is good")
}

/// A sequencer over a model journal; releases are kept, answers given at once, every block counts as committed.
struct Rig {
    inbox: Inbox,
    control: Control,
    journal: ModelJournal,
    released: Arc<Mutex<Vec<Arc<Released>>>>,
    snapshots: Arc<Mutex<Vec<SnapshotDue>>>,
    thread: JoinHandle<Result<(), Stop>>,
}

impl Rig {
    fn start(journal: ModelJournal, engine: Engine, prepare: impl FnOnce(&Control, &Inbox)) -> Rig {
        let clock = Arc::new(Clock::start(journal.tail().map(|t| t.ts), true).unwrap());
        let committed = Arc::new(AtomicU64::new(u64::MAX));
        let control = Control::new(clock, committed);
        let (inbox, receiver) = Inbox::new(InboxCapacity::default());
        let (released, snapshots) = (Arc::new(Mutex::new(vec![])), Arc::new(Mutex::new(vec![])));
        let (keep, keep_snapshot) = (released.clone(), snapshots.clone());
        let outputs = Outputs {
            release: Box::new(move |record: Arc<Released>, replies: Vec<(usize, oneshot::Sender<Answer>)>| {
                for (index, reply) in replies {
                    let executed = &record.executed[index];
                    let events = executed.events.clone();
                    let _ = reply.send(Answer::Done { seq: executed.seq, ts: record.ts, events });
                }
                keep.lock().unwrap().push(record);
                true
            }),
            snapshot: Box::new(move |due| keep_snapshot.lock().unwrap().push(due)),
        };
        let times = Config {
            tick: Duration::from_millis(2),
            block_interval: Duration::from_millis(10),
            snapshot_interval: Duration::from_millis(20),
            layer: genesis().settlement.layer,
        };
        prepare(&control, &inbox);
        let sequencer = Sequencer::new(engine, journal.clone(), receiver, control.clone(), outputs, times);
        let thread = std::thread::spawn(move || sequencer.run());
        Rig { inbox, control, journal, released, snapshots, thread }
    }

    fn stop(self) -> (ModelJournal, Vec<Arc<Released>>, Vec<SnapshotDue>, Result<(), Stop>) {
        self.control.stop.store(true, Ordering::Release);
        let result = self.thread.join().unwrap();
        let released = self.released.lock().unwrap().clone();
        let snapshots = std::mem::take(&mut *self.snapshots.lock().unwrap());
        (self.journal, released, snapshots, result)
    }
}

fn now() -> Ts {
    Clock::start(None, false).unwrap().now()
}

fn registration(nonce: u64) -> Command {
    let signed = Signed {
        account: Address(Felt::from(7_000 + nonce)),
        nonce,
        valid_until: now().plus_ms(60_000),
        hash: MessageHash(Felt::from(nonce)),
        session_key: StarkKey::default(),
    };
    Command::Register(Register { signed, key: StarkKey(Felt::from(5)), template: 0 })
}

#[test]
fn nothing_is_answered_or_released_that_the_journal_did_not_take() {
    for fault in [Fault::Lost, Fault::StoredButReportedLost] {
        let genesis = genesis();
        let journal = ModelJournal::default();
        journal.fail_after(5, fault);
        let mut answers = vec![];
        let rig = Rig::start(journal, Engine::new(&genesis).0, |_, _| {});
        for nonce in 0..200 {
            let (reply, answer) = oneshot::channel();
            if rig.inbox.submit(registration(nonce), Some(reply)).is_err() {
                break; // the loop ended and closed the inbox
            }
            answers.push(answer);
            std::thread::sleep(Duration::from_micros(300));
        }
        let result = rig.thread.join().unwrap();
        assert!(matches!(result, Err(Stop::Journal(_))), "{result:?}");
        let released = rig.released.lock().unwrap().clone();
        assert_eq!(released.len(), 5, "{fault:?}");
        let last = released.last().unwrap().last_seq();
        for answer in &mut answers {
            match answer.try_recv() {
                Ok(Answer::Done { seq, .. }) => assert!(seq <= last, "{seq} was answered and is not durable"),
                Ok(Answer::Shed(_)) | Err(_) => {}
            }
        }
        let durable = rig.journal.records().len();
        assert_eq!(durable, if fault == Fault::Lost { 5 } else { 6 });
    }
}

#[test]
fn a_replay_makes_the_same_results_from_genesis_and_from_a_snapshot() {
    let genesis = genesis();
    let rig = Rig::start(ModelJournal::default(), Engine::new(&genesis).0, |_, _| {});
    for nonce in 0..100 {
        rig.inbox.submit(registration(nonce), None).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let (journal, released, snapshots, result) = rig.stop();
    assert!(result.is_ok(), "{result:?}");
    let mut again = vec![];
    let from_genesis = recover(&genesis, Start::Genesis, &journal, None, &mut |record| {
        again.push(Arc::new(record));
        true
    })
    .unwrap();
    assert_eq!(again, released);
    assert!(snapshots.len() >= 2);
    for SnapshotDue { tail, digest, engine, .. } in snapshots {
        let recovered = recover(&genesis, Start::Snapshot { tail, digest, engine }, &journal, None, &mut |_| true).unwrap();
        assert_eq!(recovered.engine.digest(), from_genesis.engine.digest());
        assert_eq!(recovered.tail, from_genesis.tail);
    }
}

#[test]
fn after_a_detection_the_next_record_is_safe_mode_alone_and_queued_commands_are_answered() {
    let genesis = genesis();
    let (reply, mut answer) = oneshot::channel();
    let rig = Rig::start(ModelJournal::default(), Engine::new(&genesis).0, |control, inbox| {
        control.halt.report(LossReasons::of(LossReason::OracleStale), &control.clock);
        inbox.submit(registration(1), Some(reply)).unwrap();
    });
    while rig.released.lock().unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(answer.try_recv().unwrap(), Answer::Shed(Shed::SafeMode));
    let (_, released, _, _) = rig.stop();
    assert!(matches!(released[0].executed[..], [Executed { command: Command::EnterSafeMode(_), .. }]), "{:?}", released[0]);
    let executed = released.iter().flat_map(|r| &r.executed);
    assert!(executed.clone().all(|e| e.command.signed().is_none()), "a queued command was executed after the detection");
}

#[test]
fn an_append_that_hangs_shows_and_what_was_detected_meanwhile_comes_right_after_it() {
    let genesis = genesis();
    let rig = Rig::start(ModelJournal::default(), Engine::new(&genesis).0, |_, _| {});
    let vitals = rig.control.vitals.clone();
    let until = |so: &dyn Fn() -> bool| {
        while !so() {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    until(&|| !rig.released.lock().unwrap().is_empty());
    rig.journal.hold(true);
    until(&|| vitals.since_append().is_some_and(|since| since > Duration::from_millis(50)));
    let durable = rig.journal.records().len();
    let (reply, mut answer) = oneshot::channel();
    rig.inbox.submit(registration(1), Some(reply)).unwrap();
    rig.control.halt.report(LossReasons::of(LossReason::JournalStalled), &rig.control.clock);
    // Admission closes: users are told at once, the node's own commands still come.
    rig.inbox.admit(false);
    assert_eq!(rig.inbox.submit(registration(2), None), Err(QueueFull::Paused));
    rig.inbox.submit(Command::Tick, None).unwrap();
    assert_eq!(rig.journal.records().len(), durable, "nothing passes an append that hangs");
    rig.journal.hold(false);
    rig.inbox.admit(true);
    until(&|| rig.journal.records().len() > durable + 1);
    assert_eq!(answer.try_recv().unwrap(), Answer::Shed(Shed::SafeMode));
    let records = rig.journal.records();
    assert!(matches!(records[durable + 1].commands[..], [Command::EnterSafeMode(_)]), "{:?}", records[durable + 1]);
    until(&|| vitals.since_append().is_none());
    assert!(vitals.since_turn() < Duration::from_secs(5));
    rig.stop().3.unwrap();
}

#[test]
fn a_record_that_was_not_released_is_in_no_snapshot() {
    for releases in [true, false] {
        let (genesis, journal, snapshots) = (genesis(), ModelJournal::default(), Arc::new(Mutex::new(0)));
        let control = Control::new(Arc::new(Clock::start(None, true).unwrap()), Arc::new(AtomicU64::new(u64::MAX)));
        let (_inbox, receiver) = Inbox::new(InboxCapacity::default());
        let (taken, stop) = (snapshots.clone(), control.stop.clone());
        let outputs = Outputs {
            release: Box::new(move |_, _| releases),
            snapshot: Box::new(move |_| {
                *taken.lock().unwrap() += 1;
                stop.store(true, Ordering::Release);
            }),
        };
        // Every record closes a block, and every block is due for a snapshot.
        let (tick, zero) = (Duration::from_millis(2), Duration::ZERO);
        let layer = genesis.settlement.layer;
        let config = Config { tick, block_interval: zero, snapshot_interval: zero, layer };
        let engine = Engine::new(&genesis).0;
        let result = Sequencer::new(engine, journal.clone(), receiver, control, outputs, config).run();
        assert_eq!(result.is_ok(), releases, "{result:?}");
        assert!(matches!(journal.records()[0].commands.last(), Some(Command::SealBlock(_))));
        assert_eq!(*snapshots.lock().unwrap() > 0, releases);
    }
}

#[test]
fn a_changed_record_stops_the_start() {
    let genesis = genesis();
    let rig = Rig::start(ModelJournal::default(), Engine::new(&genesis).0, |_, _| {});
    for nonce in 0..20 {
        rig.inbox.submit(registration(nonce), None).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let (journal, _, _, _) = rig.stop();
    let mut forged = ModelJournal::default();
    let mut prev = Bytes32::default();
    for mut record in journal.records() {
        record.prev = prev;
        // One registration left out, the chain mended around it: only the digest in the next seal can tell.
        for command in &mut record.commands {
            if matches!(command, Command::Register(r) if r.signed.nonce == 3) {
                *command = Command::Tick;
            }
        }
        prev = record.hash();
        forged.append(&record).unwrap();
    }
    let result = recover(&genesis, Start::Genesis, &forged, None, &mut |_| true);
    assert!(matches!(result, Err(keel_sequencer::RecoverError::Command { .. })), "a diverging state was accepted");
}

/// 1,200 dead man's switches at one instant: each is a Tick of its own, and none waits for the clock's next tick.
#[test]
fn work_that_is_due_is_done_at_once_and_a_record_takes_in_only_so_much_of_it() {
    const SWITCHES: u64 = 1_200;
    let genesis = genesis();
    let rig = Rig::start(ModelJournal::default(), Engine::new(&genesis).0, |_, _| {});
    // Far enough ahead to be set by all before it comes, on a slow machine too.
    let at = now().plus_ms(4_000);
    let submit = |command: Command| while rig.inbox.submit(command.clone(), None).is_err() {};
    for nonce in 0..SWITCHES {
        let registration = registration(nonce);
        let signed = Signed { nonce: 1_000_000, ..*registration.signed().unwrap() };
        submit(registration);
        submit(Command::ScheduleCancel(ScheduleCancel { signed, at }));
    }
    let fired = |record: &Released| {
        let events = record.executed.iter().flat_map(|executed| &executed.events);
        events.filter(|event| matches!(event, Event::CancelScheduled { at: Ts(0), .. })).count()
    };
    let fired_in_all = || rig.released.lock().unwrap().iter().map(|record| fired(record)).sum::<usize>();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while fired_in_all() < SWITCHES as usize && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (journal, released, _, result) = rig.stop();
    assert!(result.is_ok(), "{result:?}");
    let counts: Vec<usize> = released.iter().map(|record| fired(record)).filter(|count| *count > 0).collect();
    assert_eq!(counts.iter().sum::<usize>() as u64, SWITCHES);
    // And one by the record's own tick, when that had come too.
    assert!((1_000..=1_001).contains(&counts[0]), "one record takes in no more: {counts:?}");
    // A seal or a user's batch may end a record early; a tick for each would take 1,200.
    assert!(counts.len() <= 4, "{counts:?}");
    assert!(released.iter().filter(|record| fired(record) > 0).all(|record| record.ts >= at));
    let replayed = recover(&genesis, Start::Genesis, &journal, None, &mut |_| true);
    assert!(replayed.is_ok(), "due work is journaled as the Ticks that did it");
}
