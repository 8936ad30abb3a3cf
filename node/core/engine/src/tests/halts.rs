//! Safe mode at every sequence number of ten random journals: whatever came before, it leaves the same thing behind.

use super::random::venue;
use super::world::World;
use crate::{Engine, Output};
use keel_ledger::Holdings;
use keel_types::*;

/// Commands of each journal.
const COMMANDS: usize = 1_000;
/// A replay from genesis with the halt at its end costs the whole journal: at every so many commands.
const REPLAY_EVERY: usize = 100;

macro_rules! journals {
    ($($name:ident = $seed:literal),+) => { $(#[test] fn $name() { halt_everywhere($seed); })+ };
}
journals! {
    safe_mode_at_every_command_of_journal_1 = 101,
    safe_mode_at_every_command_of_journal_2 = 102,
    safe_mode_at_every_command_of_journal_3 = 103,
    safe_mode_at_every_command_of_journal_4 = 104,
    safe_mode_at_every_command_of_journal_5 = 105,
    safe_mode_at_every_command_of_journal_6 = 106,
    safe_mode_at_every_command_of_journal_7 = 107,
    safe_mode_at_every_command_of_journal_8 = 108,
    safe_mode_at_every_command_of_journal_9 = 109,
    safe_mode_at_every_command_of_journal_10 = 110
}

/// The journal goes on as if nothing had been; each halt happens to an engine of its own.
fn halt_everywhere(seed: u64) {
    let (mut world, mut stream) = venue(seed);
    let (mut orders, mut untriggered, mut positions) = (0, 0, 0);
    for n in 0..COMMANDS {
        let before = &world.engine;
        orders += before.open_orders();
        untriggered += before.due.untriggered();
        positions +=
            before.holdings.all_installed().iter().flat_map(|h| &h.markets).filter(|m| m.position.size != 0).count();
        let (halted, output) = halt(&world);
        assert_halted(before, &halted, &output, n);
        if n % REPLAY_EVERY == 0 {
            let (mut replica, _) = Engine::new(&world.genesis);
            for (i, (ts, command)) in world.log.iter().enumerate() {
                replica.apply(Seq(i as u64 + 1), *ts, command);
            }
            assert_eq!(replica.apply(replica.last_seq().next(), world.now, &command(&world)), output, "replayed to {n}");
            assert_eq!(replica.digest(), halted.digest(), "replayed to {n}");
        }
        let command = stream.command(&mut world);
        world.apply_fast(command);
    }
    // A journal without these would prove nothing.
    assert!(orders > COMMANDS && untriggered > COMMANDS / 10 && positions > COMMANDS, "{orders} {untriggered} {positions}");
}

fn command(world: &World) -> Command {
    let reasons = LossReasons::of(LossReason::SettlementHeadStale);
    Command::EnterSafeMode(EnterSafeMode { incident: IncidentId(7), reasons, observed_ts: world.now })
}

fn halt(world: &World) -> (Engine, Output) {
    let mut engine = Engine::restore(&world.genesis, &world.engine.snapshot()).expect("a snapshot restores");
    let output = engine.apply(engine.last_seq().next(), world.now, &command(world));
    (engine, output)
}

fn assert_halted(before: &Engine, halted: &Engine, output: &Output, n: usize) {
    assert_eq!(halted.check(), [], "at {n}");
    assert_eq!((halted.phase().phase, halted.open_orders()), (Phase::Halted, 0), "at {n}");
    assert_eq!(halted.due.switches().count(), 0, "a dead man's switch is left at {n}");
    for (was, is) in before.holdings.all_installed().iter().zip(halted.holdings.all_installed()) {
        let held = |holdings: &Holdings| holdings.balances.iter().map(|b| (b.total, b.listed)).collect::<Vec<_>>();
        let positions = |holdings: &Holdings| holdings.markets.iter().map(|m| m.position).collect::<Vec<_>>();
        assert_eq!((held(was), positions(was)), (held(is), positions(is)), "money moved at {n}");
        assert!(is.balances.iter().all(|balance| balance.reserved == 0), "something is reserved at {n}: {is:?}");
        let open = is.markets.iter().map(|m| (m.orders, m.open_buy, m.open_sell, m.open_reduce_only));
        assert!(open.into_iter().all(|sums| sums == (0, 0, 0, 0)), "an order counts at {n}: {is:?}");
    }
    assert_eq!(before.liabilities(), halted.liabilities(), "at {n}");
    let cancels =
        output.events.iter().filter(|event| matches!(event, Event::Order(update) if update.reason == Reason::SafeMode));
    assert_eq!(cancels.count(), before.open_orders(), "one event for each order at {n}");
    let entered = output.events.iter().find_map(|event| match event {
        Event::SafeModeEntered { incident, cancelled, .. } => Some((*incident, *cancelled as usize)),
        _ => None,
    });
    assert_eq!(entered, Some((halted.phase().incident, before.open_orders())), "at {n}");
}
