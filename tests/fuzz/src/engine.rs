//! The engine under any script of commands.

use crate::rules::genesis;
use crate::script::Script;
use crate::{Reached, variant};
use borsh::BorshSerialize;
use keel_engine::{Engine, Output};
use keel_types::*;
use std::sync::LazyLock;

static GENESIS: LazyLock<Genesis> = LazyLock::new(genesis);

/// Most commands of one script: every one is followed by a walk over the whole state.
const COMMANDS_MAX: usize = 160;
/// The engine is replaced by one restored from its snapshot after so many commands.
const RESTORE_EVERY: usize = 32;
/// Commands of a script that become seeds of the codec.
const SEEDS_MAX: usize = 8;

/// After every command every invariant holds and every receipt can be recomputed; at the end the snapshot restores to the same digest, and the
/// same commands give the same events, writes and digest again.
pub fn engine(data: &[u8], reached: &mut Reached) {
    let mut script = Script::new(data);
    let (mut engine, _) = Engine::new(&GENESIS);
    let mut log: Vec<(Ts, Command, Output)> = Vec::new();
    for command in script.opening() {
        let output = engine.apply(engine.last_seq().next(), script.now, &command);
        log.push((script.now, command, output));
    }
    for n in 1..=COMMANDS_MAX {
        let Some(command) = script.next(&engine) else { break };
        let output = engine.apply(engine.last_seq().next(), script.now, &command);
        let violations = engine.check();
        assert!(violations.is_empty(), "{violations:?} after {command:?}");
        for event in &output.events {
            if let Event::Liquidation(receipt) = event {
                assert_eq!(keel_ledger::liquidation::recompute(receipt), [], "{receipt:?}");
            }
            reached.note(|| name(event));
        }
        if n % RESTORE_EVERY == 0 {
            engine = restored(&engine);
        }
        log.push((script.now, command, output));
    }
    let restored = restored(&engine);
    assert_eq!(restored.dump(), engine.dump(), "a snapshot loses something");

    let (mut replica, _) = Engine::new(&GENESIS);
    for (n, (ts, command, output)) in log.iter().enumerate() {
        assert_eq!(&replica.apply(Seq(n as u64 + 1), *ts, command), output, "replay differs at {command:?}");
    }
    assert_eq!(replica.digest(), engine.digest(), "replay ends elsewhere");
}

fn restored(engine: &Engine) -> Engine {
    let snapshot = engine.snapshot();
    let restored = Engine::restore(&GENESIS, &snapshot).expect("an engine's own snapshot restores");
    assert_eq!(restored.digest(), engine.digest(), "a snapshot is of another state");
    assert!(restored.snapshot() == snapshot, "a state with two snapshots");
    restored
}

/// Commands, records, results and snapshots that a script leads to, as inputs of [command_codec](crate::command_codec).
pub fn codec_seeds(data: &[u8]) -> Vec<Vec<u8>> {
    let mut script = Script::new(data);
    let (mut engine, _) = Engine::new(&GENESIS);
    let mut executed = Vec::new();
    for command in script.opening() {
        engine.apply(engine.last_seq().next(), script.now, &command);
    }
    for _ in 0..COMMANDS_MAX {
        let Some(command) = script.next(&engine) else { break };
        let seq = engine.last_seq().next();
        let Output { events, writes } = engine.apply(seq, script.now, &command);
        executed.push(Executed { seq, command, events, writes });
    }
    let snapshot = |how| seed(4, [&[how, 21, 1], data].concat());
    let mut seeds: Vec<Vec<u8>> = (0..4).map(snapshot).collect();
    let encoded = |value: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut bytes = Vec::new();
        value(&mut bytes).expect("writing to a Vec cannot fail");
        bytes
    };
    for executed in executed.iter().take(SEEDS_MAX) {
        seeds.push(seed(0, encoded(&|out| executed.command.serialize(out))));
        seeds.push(seed(2, encoded(&|out| executed.serialize(out))));
    }
    executed.truncate(SEEDS_MAX);
    if let Some(first) = executed.first() {
        let commands = executed.iter().map(|executed| executed.command.clone()).collect();
        let record = Record { prev: Bytes32([1; 32]), first_seq: first.seq, ts: script.now, commands };
        seeds.push(seed(1, record.encode()));
        let released = Released { record_hash: record.hash(), ts: record.ts, executed };
        seeds.push(seed(3, encoded(&|out| released.serialize(out))));
    }
    seeds
}

/// The state a script ends in, as a snapshot.
pub(crate) fn snapshot_of(data: &[u8]) -> Vec<u8> {
    let mut script = Script::new(data);
    let (mut engine, _) = Engine::new(&GENESIS);
    for command in script.opening() {
        engine.apply(engine.last_seq().next(), script.now, &command);
    }
    for _ in 0..COMMANDS_MAX {
        let Some(command) = script.next(&engine) else { break };
        engine.apply(engine.last_seq().next(), script.now, &command);
    }
    engine.snapshot()
}

/// With the byte that says what it is, see [crate::codec].
fn seed(kind: u8, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.insert(0, kind);
    bytes
}

fn name(event: &Event) -> String {
    match event {
        Event::Rejected { reject, .. } => format!("rejected {reject}"),
        Event::Order(update) => format!("order {} {}", update.state, update.reason),
        Event::Liquidation(receipt) => format!("liquidation {}", variant(&receipt.decision)),
        other => variant(other),
    }
}
