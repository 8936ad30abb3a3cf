use super::world::{SPOT, UNIT, World, genesis};
use crate::{Engine, RestoreError};
use keel_types::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A taker that meets three makers, so that a panic finds money, orders and prices half moved.
fn busy() -> (World, Command) {
    let mut world = World::funded(genesis());
    for (actor, price) in [('a', 100), ('b', 101), ('c', 102)] {
        let order = world.order(actor, SPOT, Side::Sell, Qty(UNIT), Price(price * UNIT));
        world.apply(Command::Place(order));
    }
    let taker = Command::Place(world.order('d', SPOT, Side::Buy, Qty(3 * UNIT), Price(102 * UNIT)));
    (world, taker)
}

#[test]
fn a_panic_changes_nothing_and_the_command_can_run_again() {
    let (mut world, taker) = busy();
    let (mut control, _) = busy();
    let seq = world.engine.last_seq().next();
    let (snapshot, dump) = (world.engine.snapshot(), world.engine.dump());
    let mut panics = 0;
    loop {
        world.engine.inject_panic(panics);
        let result = catch_unwind(AssertUnwindSafe(|| world.engine.apply(seq, world.now, &taker)));
        let Err(_) = result else {
            let output = result.expect("it did not panic");
            assert_eq!(output, control.engine.apply(seq, control.now, &taker), "panics before left a trace");
            break;
        };
        panics += 1;
        assert!(world.engine.snapshot() == snapshot);
        assert_eq!(world.engine.dump(), dump);
        assert_eq!(world.engine.last_seq(), Seq(seq.0 - 1));
    }
    assert!(panics >= 4, "one before the walk, one per maker: {panics}");
    assert_eq!(world.engine.digest(), control.engine.digest());
}

#[test]
fn after_a_panic_another_command_runs_as_if_nothing_had_been() {
    let (mut world, taker) = busy();
    let (mut control, _) = busy();
    let seq = world.engine.last_seq().next();
    world.engine.inject_panic(3);
    assert!(catch_unwind(AssertUnwindSafe(|| world.engine.apply(seq, world.now, &taker))).is_err());
    let halt = Command::EnterSafeMode(EnterSafeMode {
        incident: IncidentId(1),
        reasons: LossReasons::of(LossReason::InvariantBroken),
        observed_ts: world.now,
    });
    assert_eq!(world.engine.apply(seq, world.now, &halt), control.engine.apply(seq, control.now, &halt));
    assert_eq!(world.engine.digest(), control.engine.digest());
}

#[test]
fn an_engine_can_be_handed_to_another_thread() {
    fn sendable<T: Send + Sync>() {}
    sendable::<Engine>();
}

#[test]
fn a_restored_engine_goes_on_as_the_first_would_have() {
    let (mut world, taker) = busy();
    let mut restored = Engine::restore(&world.genesis, &world.engine.snapshot()).expect("restores");
    let seq = world.engine.last_seq().next();
    assert_eq!(restored.apply(seq, world.now, &taker), world.engine.apply(seq, world.now, &taker));
    assert_eq!(restored.digest(), world.engine.digest());
}

#[test]
fn bytes_that_are_not_this_chains_snapshot_are_refused() {
    let (world, _) = busy();
    let bytes = world.engine.snapshot();
    let refuse = |bytes: &[u8]| Engine::restore(&world.genesis, bytes).expect_err("refused");
    assert_eq!(refuse(b""), RestoreError::NotASnapshot);
    assert_eq!(refuse(b"KEELSNAP\x7f\0\0\0"), RestoreError::NotASnapshot);
    let mut other = world.genesis.clone();
    other.rules_version = 2;
    assert!(matches!(Engine::restore(&other, &bytes), Err(RestoreError::OtherGenesis { .. })));
    for cut in 0..bytes.len() {
        // A cut at the end of a section can only lose accounts, which conservation or the sections before give away.
        Engine::restore(&world.genesis, &bytes[..cut]).expect_err("a cut snapshot is refused");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(refuse(&longer), RestoreError::Malformed { .. }));
}

#[test]
fn one_more_quantum_in_a_snapshot_breaks_conservation() {
    let (world, _) = busy();
    let bytes = world.engine.snapshot();
    let restored = |at: usize| {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        catch_unwind(|| Engine::restore(&world.genesis, &changed))
    };
    let mut caught = 0;
    for at in 12..bytes.len() {
        match restored(at) {
            Ok(Ok(engine)) => assert_ne!(engine.digest(), world.engine.digest(), "byte {at} is not covered by the digest"),
            Ok(Err(_)) => caught += 1,
            Err(_) => panic!("restoring panicked on byte {at}"),
        }
    }
    assert!(caught > 100, "{caught}");
}
