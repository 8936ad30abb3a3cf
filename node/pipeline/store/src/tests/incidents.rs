//! Incidents as the journal tells them.

use super::history::dump;
use super::*;
use crate::{
    AccountLoss, HistoryWriter, INCIDENT_STEPS_MAX, IncidentRow, Retention, StepKind, UNHEARD_FILLS_MS,
    UNHEARD_FILLS_PER_MARKET_MAX,
};
use keel_types::*;
use std::collections::BTreeMap;

const SPOT: MarketId = MarketId(0);
const PERPETUAL: MarketId = MarketId(3);

fn account(n: u64) -> Address {
    Address(felt(n))
}

fn record(seq: u64, ms: u64, command: Command, events: Vec<Event>) -> Released {
    let executed = vec![Executed { seq: Seq(seq), command, events, writes: vec![] }];
    Released { record_hash: Bytes32::default(), ts: Ts::from_ms(ms), executed }
}

fn cancelled(n: u64, owner: u64, market: MarketId, incident: u32) -> Event {
    Event::Order(OrderUpdate {
        order: MessageHash(felt(1_000 + n)),
        account: account(owner),
        market,
        side: Side::Sell,
        price: Price(5),
        client_id: 0,
        state: OrderState::Cancelled,
        reason: Reason::SafeMode,
        initiator: Initiator::SafeMode,
        size: Qty(10),
        filled: Qty(0),
        incident: IncidentId(incident),
    })
}

fn fill(market: MarketId, trade: u64, maker: u64, taker: u64) -> Event {
    let side = |owner: u64| FillSide {
        account: account(owner),
        order: MessageHash(felt(5_000 + owner)),
        fee: Amount(1),
        realized_pnl: Amount(0),
    };
    Event::Fill(Fill {
        market,
        trade: TradeId(trade),
        price: Price(5),
        size: Qty(QUANTUMS_PER_UNIT),
        taker_side: Side::Buy,
        maker: side(maker),
        taker: side(taker),
    })
}

fn entered(seq: u64, ms: u64, incident: u32, reason: LossReason, from: Phase, mut events: Vec<Event>) -> Released {
    let (incident, reasons) = (IncidentId(incident), LossReasons::of(reason));
    let command = Command::EnterSafeMode(EnterSafeMode { incident, reasons, observed_ts: Ts::from_ms(ms - 40) });
    let count = events.len() as u32;
    events.push(Event::SafeModeEntered { incident, reasons, cancelled: count });
    if from != Phase::Halted {
        events.push(Event::PhaseChanged { incident, from, to: Phase::Halted });
    }
    record(seq, ms, command, events)
}

fn phase(seq: u64, ms: u64, incident: u32, from: Phase, to: Phase) -> Released {
    let incident = IncidentId(incident);
    let integrity_report = if to == Phase::Spot { Bytes32([seq as u8; 32]) } else { Bytes32::default() };
    let set = SetPhase { incident, phase: to, post_only_until: Ts(0), integrity_report };
    record(seq, ms, Command::SetPhase(set), vec![Event::PhaseChanged { incident, from, to }])
}

/// A restart on a new chain; then trading, a loss after a pause, and a second loss in the middle of reopening.
fn story() -> Vec<Released> {
    use Phase::*;
    let tick = |seq, ms, events| record(seq, ms, Command::Tick, events);
    vec![
        entered(1, 1_000, 1, LossReason::Restart, Halted, vec![]),
        phase(2, 2_000, 1, Halted, ReadOnly),
        phase(3, 3_000, 1, ReadOnly, Spot),
        phase(4, 4_000, 1, Spot, ReduceOnly),
        phase(5, 5_000, 1, ReduceOnly, Open),
        tick(6, 89_999, vec![fill(SPOT, 1, 1, 2)]),
        tick(7, 90_000, vec![fill(SPOT, 2, 1, 2), fill(PERPETUAL, 1, 3, 2)]),
        tick(8, 100_000, vec![fill(SPOT, 3, 2, 1)]),
        // The process was away for an hour: what counts is the last record before.
        entered(
            9,
            3_600_000,
            2,
            LossReason::Restart,
            Open,
            vec![cancelled(1, 1, SPOT, 2), cancelled(2, 1, PERPETUAL, 2), cancelled(3, 4, SPOT, 2)],
        ),
        record(
            10,
            3_600_500,
            Command::Resume(Resume { incident: IncidentId(2), operator: 0 }),
            vec![Event::Resumed { incident: IncidentId(2), operator: 0 }],
        ),
        phase(11, 3_601_000, 2, Halted, ReadOnly),
        phase(12, 3_602_000, 2, ReadOnly, Spot),
        tick(13, 3_603_000, vec![fill(SPOT, 4, 1, 5)]),
        entered(14, 3_604_000, 2, LossReason::DiskLow, Spot, vec![cancelled(4, 1, SPOT, 2)]),
        phase(15, 3_605_000, 2, Halted, ReadOnly),
        phase(16, 3_606_000, 2, ReadOnly, Spot),
        phase(17, 3_607_000, 2, Spot, ReduceOnly),
        phase(18, 3_608_000, 2, ReduceOnly, Open),
    ]
}

fn written(dir: &tempfile::TempDir, records: &[Released], retention: Retention) -> Store {
    let store = open(dir);
    let mut writer = HistoryWriter::new(store.clone()).unwrap().with_retention(retention);
    records.iter().for_each(|released| writer.apply(released).unwrap());
    store
}

fn of_markets(counts: &[(MarketId, u32)]) -> BTreeMap<MarketId, u32> {
    counts.iter().copied().collect()
}

#[test]
fn an_incident_is_told_from_the_journal_with_its_steps_and_what_each_account_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = written(&dir, &story(), Retention::Forever);
    let incident = store.incident(IncidentId(2)).unwrap().unwrap();
    let expected = IncidentRow {
        incident: IncidentId(2),
        reasons: LossReasons::of(LossReason::Restart).with(LossReasons::of(LossReason::DiskLow)),
        observed_ts: Ts::from_ms(3_599_960),
        seq: Seq(9),
        ts: Ts::from_ms(3_600_000),
        entered_seq: Seq(14),
        entered_ts: Ts::from_ms(3_604_000),
        phase: Phase::Open,
        ended: Some((Seq(18), Ts::from_ms(3_608_000))),
        integrity_report: Bytes32([16; 32]),
        cancelled: of_markets(&[(SPOT, 3), (PERPETUAL, 1)]),
        accounts: 5,
        // Trades 2 and 3 of the one market, 1 of the other; then trade 4. Trade 1 was ten seconds and a millisecond before.
        fills: 4,
        fills_cut: false,
        steps: 11,
        closed_ns: 4_000_000_000,
        closed_since: None,
    };
    assert_eq!(incident, expected);
    assert_eq!((incident.cancelled_count(), incident.closed_ms(Ts::from_ms(9_999_999))), (4, 4_000));

    let steps = store.incident_steps(IncidentId(2)).unwrap();
    let told: Vec<String> = steps
        .iter()
        .map(|step| match step.what {
            StepKind::Entered { reasons, cancelled, .. } => {
                format!("{} {:?} cancels {cancelled}", step.seq, reasons.iter().collect::<Vec<_>>())
            }
            StepKind::Phase { from, to, .. } => format!("{} {from} to {to}", step.seq),
            StepKind::Resumed { operator } => format!("{} resumed by {operator}", step.seq),
        })
        .collect();
    assert_eq!(
        told,
        [
            "9 [Restart] cancels 3",
            "9 OPEN to HALTED",
            "10 resumed by 0",
            "11 HALTED to READ_ONLY",
            "12 READ_ONLY to SPOT",
            "14 [DiskLow] cancels 1",
            "14 SPOT to HALTED",
            "15 HALTED to READ_ONLY",
            "16 READ_ONLY to SPOT",
            "17 SPOT to REDUCE_ONLY",
            "18 REDUCE_ONLY to OPEN",
        ]
    );

    let accounts = store.incident_accounts(IncidentId(2), None, 9).unwrap().rows;
    let loss = |cancelled: &[_], fills| AccountLoss { cancelled: of_markets(cancelled), fills };
    assert_eq!(
        accounts.into_iter().map(|row| (row.account, row.loss)).collect::<Vec<_>>(),
        [
            (account(5), loss(&[], 1)),
            (account(4), loss(&[(SPOT, 1)], 0)),
            (account(3), loss(&[], 1)),
            (account(2), loss(&[], 3)),
            (account(1), loss(&[(SPOT, 2), (PERPETUAL, 1)], 3)),
        ]
    );
    let fills = |n, incident| {
        let page = store.incident_fills(account(n), IncidentId(incident), None, 9).unwrap();
        page.rows.iter().map(|row| (row.seq.0, row.market, row.trade.0, row.maker)).collect::<Vec<_>>()
    };
    assert_eq!(fills(1, 2), [(13, SPOT, 4, true), (8, SPOT, 3, false), (7, SPOT, 2, true)]);
    assert_eq!(fills(2, 2), [(8, SPOT, 3, true), (7, PERPETUAL, 1, false), (7, SPOT, 2, false)]);
    assert_eq!((fills(1, 1), fills(4, 2)), (vec![], vec![]));
    assert_eq!(store.incident_account(IncidentId(2), account(9)).unwrap(), None);
}

#[test]
fn incidents_are_read_newest_first_in_bounded_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = written(&dir, &story(), Retention::Forever);
    let first = store.incidents(None, 1).unwrap();
    let second = store.incidents(first.next.as_deref(), 1).unwrap();
    assert_eq!([first.rows[0].incident, second.rows[0].incident], [IncidentId(2), IncidentId(1)]);
    assert_eq!((second.next, store.incident(IncidentId(3)).unwrap()), (None, None));
    let accounts = store.incident_accounts(IncidentId(2), None, 2).unwrap();
    let rest = store.incident_accounts(IncidentId(2), accounts.next.as_deref(), 9).unwrap();
    assert_eq!((accounts.rows.len(), rest.rows.len(), rest.rows[0].account), (2, 3, account(3)));
    assert!(store.incident_accounts(IncidentId(1), None, 9).unwrap().rows.is_empty());
}

#[test]
fn an_incident_that_runs_counts_its_closed_time_up_to_now() {
    let dir = tempfile::tempdir().unwrap();
    let store = written(&dir, &story()[..15], Retention::Forever);
    let incident = store.incident(IncidentId(2)).unwrap().unwrap();
    assert_eq!((incident.phase, incident.ended, incident.steps), (Phase::ReadOnly, None, 8));
    assert_eq!(incident.closed_ms(Ts::from_ms(3_605_500)), 3_500);
}

#[test]
fn a_replay_from_anywhere_tells_the_same_incidents_also_where_history_has_forgotten_their_fills() {
    let mut records = story();
    let day_later = 3_600_000 + 2 * 86_400_000;
    records.push(record(19, day_later, Command::Tick, vec![]));
    let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let store = written(&dirs[0], &records, Retention::Days(1));
    assert!(store.trades(SPOT, None, 9).unwrap().is_empty(), "history has forgotten");
    assert_eq!(store.incident_fills(account(1), IncidentId(2), None, 9).unwrap().rows.len(), 3);
    let expected = dump(&store);
    for (dir, from) in dirs[1..].iter().zip([2, 8, 13]) {
        drop(written(dir, &records[..from], Retention::Days(1)));
        assert_eq!(dump(&written(dir, &records[from / 2..], Retention::Days(1))), expected, "stopped after record {from}");
    }
}

#[test]
fn what_is_kept_and_read_of_one_incident_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let trades = (1..=UNHEARD_FILLS_PER_MARKET_MAX as u64 + 1).map(|trade| fill(SPOT, trade, 1, 2)).collect();
    let mut records = vec![record(1, UNHEARD_FILLS_MS, Command::Tick, trades)];
    records.push(entered(2, UNHEARD_FILLS_MS + 1, 1, LossReason::DiskLow, Phase::Open, vec![]));
    for step in 0..INCIDENT_STEPS_MAX as u64 {
        records.push(entered(3 + step, UNHEARD_FILLS_MS + 2 + step, 1, LossReason::DiskLow, Phase::Halted, vec![]));
    }
    let store = written(&dir, &records, Retention::Forever);
    let incident = store.incident(IncidentId(1)).unwrap().unwrap();
    assert_eq!((incident.fills as usize, incident.fills_cut), (UNHEARD_FILLS_PER_MARKET_MAX, true));
    let newest = store.incident_fills(account(1), IncidentId(1), None, 1).unwrap().rows[0].trade;
    assert_eq!(newest, TradeId(UNHEARD_FILLS_PER_MARKET_MAX as u64 + 1), "the newest are kept");
    assert_eq!(incident.steps as usize, INCIDENT_STEPS_MAX + 2);
    let steps = store.incident_steps(IncidentId(1)).unwrap();
    assert_eq!((steps.len(), steps[steps.len() - 1].seq), (INCIDENT_STEPS_MAX, Seq(2 + INCIDENT_STEPS_MAX as u64)));
}
