use super::*;
use crate::{
    BatchHeader, BatchStatus, CancelledPlace, CandleInterval, DepositResult, HistoryWriter, PRUNED_PER_RECORD_MIN,
    Retention, StoreError,
};
use keel_types::*;

const MARKET: MarketId = MarketId(1);

fn account(n: u64) -> Address {
    Address(felt(n))
}
fn order(n: u64) -> MessageHash {
    MessageHash(felt(1_000 + n))
}

fn update(n: u64, owner: u64, state: OrderState) -> Event {
    Event::Order(OrderUpdate {
        order: order(n),
        account: account(owner),
        market: MARKET,
        side: Side::Sell,
        price: Price(5),
        client_id: 0,
        state,
        reason: Reason::None,
        initiator: Initiator::User,
        size: Qty(10),
        filled: Qty(0),
        incident: IncidentId(0),
    })
}

fn fill(trade: u64, maker: (u64, u64), taker: (u64, u64)) -> Event {
    let side = |(owner, n): (u64, u64)| FillSide {
        account: account(owner),
        order: order(n),
        fee: Amount(n as i128),
        realized_pnl: Amount(0),
    };
    Event::Fill(Fill {
        market: MARKET,
        trade: TradeId(trade),
        price: Price(5),
        size: Qty(QUANTUMS_PER_UNIT),
        taker_side: Side::Buy,
        maker: side(maker),
        taker: side(taker),
    })
}

fn deposit(message_nonce: u64) -> Command {
    Command::Deposit(Deposit {
        message_nonce,
        token: L1Address::ethereum([1; 20]),
        recipient: account(1),
        amount: 5,
        message_hash: Bytes32([4; 32]),
        l1_block: 3,
        l1_block_hash: Bytes32([5; 32]),
        depth: 2,
        l1_tx_hash: Bytes32([6; 32]),
    })
}

fn withdrawn(id: u64, owner: u64) -> Event {
    Event::Withdrawn(Withdrawal {
        id,
        account: account(owner),
        asset: QUOTE,
        amount: Amount(100),
        l1_amount: 1,
        token: L1Address::ethereum([1; 20]),
        recipient: L1Address::ethereum([2; 20]),
        hash: order(id),
    })
}

/// One record; its commands are numbered from `first`.
fn record(first: u64, commands: Vec<(Command, Vec<Event>)>) -> Released {
    let executed = (first..).zip(commands);
    let executed = executed.map(|(seq, (command, events))| Executed { seq: Seq(seq), command, events, writes: vec![] });
    Released { record_hash: Bytes32([0; 32]), ts: Ts(first * 100), executed: executed.collect() }
}

/// Orders 1 (account 1) and 2 (account 2); 3 (account 3) takes both and ends; 1 ends with it, 2 is cancelled later.
fn story() -> Vec<Released> {
    let credited =
        |message_nonce| Event::Deposited { account: account(1), asset: QUOTE, amount: Amount(500), message_nonce };
    let refused = |message_nonce, reject| Event::DepositRefused { message_nonce, reject };
    vec![
        record(
            1,
            vec![
                (Command::Tick, vec![update(1, 1, OrderState::Open)]),
                (Command::Tick, vec![update(2, 2, OrderState::Open)]),
            ],
        ),
        record(
            3,
            vec![(
                Command::Tick,
                vec![
                    fill(1, (1, 1), (3, 3)),
                    update(1, 1, OrderState::Filled),
                    fill(2, (2, 2), (3, 3)),
                    update(2, 2, OrderState::PartiallyFilled),
                    update(3, 3, OrderState::Filled),
                ],
            )],
        ),
        record(
            4,
            vec![
                (Command::Tick, vec![update(2, 2, OrderState::Cancelled)]),
                (Command::Tick, vec![withdrawn(1, 1)]),
                (deposit(7), vec![credited(7)]),
                (deposit(7), vec![refused(7, Reject::DepositAlreadyConsumed)]),
                (deposit(8), vec![refused(8, Reject::UnknownAsset)]),
                (Command::Tick, vec![withdrawn(2, 1)]),
            ],
        ),
    ]
}

fn written(dir: &tempfile::TempDir, records: &[Released]) -> Store {
    let store = open(dir);
    let mut writer = HistoryWriter::new(store.clone()).unwrap();
    records.iter().for_each(|released| writer.apply(released).unwrap());
    store
}

#[test]
fn history_is_found_by_every_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = written(&dir, &story());
    let row = store.order(order(2)).unwrap().unwrap();
    assert_eq!((row.update.state, row.seq, row.opened_seq, row.opened_ts), (OrderState::Cancelled, Seq(4), Seq(2), Ts(100)));
    let row = store.order(order(3)).unwrap().unwrap();
    assert_eq!((row.seq, row.opened_seq, row.ts), (Seq(3), Seq(3), Ts(300)));

    let trades = |before, limit| {
        let rows = store.trades(MARKET, before, limit).unwrap();
        rows.iter().map(|row| row.fill.trade.0).collect::<Vec<_>>()
    };
    assert_eq!(trades(None, 9), [2, 1]);
    assert_eq!(trades(None, 1), [2]);
    assert_eq!(trades(Some(TradeId(2)), 9), [1]);
    assert!(store.trades(MarketId(0), None, 9).unwrap().is_empty());

    let fills = store.order_fills(order(3), None).unwrap();
    assert_eq!(
        fills.iter().map(|f| (f.trade.0, f.side, f.maker)).collect::<Vec<_>>(),
        [(1, Side::Buy, false), (2, Side::Buy, false)]
    );
    assert_eq!(store.order_fills(order(3), Some(TradeId(1))).unwrap().len(), 1);
    let fills = store.account_fills(account(2), None, 9).unwrap().rows;
    assert_eq!(
        fills.iter().map(|f| (f.trade.0, f.side, f.maker, f.party.fee.0)).collect::<Vec<_>>(),
        [(2, Side::Sell, true, 2)]
    );

    let ended =
        |n| store.account_orders(account(n), None, 9).unwrap().rows.iter().map(|row| row.update.order).collect::<Vec<_>>();
    assert_eq!([ended(1), ended(2), ended(3)], [vec![order(1)], vec![order(2)], vec![order(3)]]);

    let first = store.account_withdrawals(account(1), None, 1).unwrap();
    let second = store.account_withdrawals(account(1), first.next.as_deref(), 1).unwrap();
    assert_eq!([first.rows[0].withdrawal.id, second.rows[0].withdrawal.id], [2, 1]);
    assert_eq!(second.next, None);
    assert_eq!(store.withdrawal(1).unwrap().unwrap().seq, Seq(5));
    let result = |nonce| store.deposit(nonce).unwrap().map(|row| row.result);
    assert_eq!(result(7), Some(DepositResult::Credited { asset: QUOTE, amount: Amount(500) }));
    assert_eq!(result(8), Some(DepositResult::Refused(Reject::UnknownAsset)));
    assert_eq!(result(9), None);
    let sent = store.deposits_of_l1_transaction(&Bytes32([6; 32])).unwrap();
    assert_eq!(sent.iter().map(|row| row.deposit.message_nonce).collect::<Vec<_>>(), [7, 8]);
    assert!(store.deposits_of_l1_transaction(&Bytes32([7; 32])).unwrap().is_empty());
}

#[test]
fn replaying_from_anywhere_gives_the_same_history_once() {
    let records = story();
    let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let expected = dump(&written(&dirs[0], &records));
    for (from, dir) in dirs[1..].iter().enumerate() {
        drop(written(dir, &records[..2]));
        let store = written(dir, &records[from..]);
        assert_eq!(store.history_seq().unwrap(), Seq(9));
        assert_eq!(dump(&store), expected, "replayed from record {from}");
    }
}

/// Every row of the history tables.
pub(super) fn dump(store: &Store) -> Vec<(&'static str, crate::store::Row)> {
    use crate::keys::*;
    let tables = [
        META,
        ORDERS,
        ACCOUNT_ORDERS,
        TRADES,
        ORDER_FILLS,
        ACCOUNT_FILLS,
        WITHDRAWALS,
        ACCOUNT_WITHDRAWALS,
        DEPOSITS,
        L1_MESSAGES,
        CANDLES,
        FUNDING,
        TRANSFERS,
        LIQUIDATIONS,
        ACCOUNT_LIQUIDATIONS,
        INCIDENTS,
        INCIDENT_STEPS,
        INCIDENT_ACCOUNTS,
        INCIDENT_FILLS,
        EXPIRY,
    ];
    tables.iter().flat_map(|table| store.scan(table, &[], &[]).map(move |row| (*table, row.unwrap()))).collect()
}

const DAY_MS: u64 = 86_400_000;

/// A record of one command at a time in milliseconds.
fn at(seq: u64, ms: u64, events: Vec<Event>) -> Released {
    Released { ts: Ts::from_ms(ms), ..record(seq, vec![(Command::Tick, events)]) }
}

fn funding(rate: i64) -> Event {
    Event::Funding { market: MARKET, rate, index: Amount(7), ts: Ts(1) }
}

fn transferred(from: u64, to: u64) -> Event {
    let (account, recipient) = (account(from), account(to));
    Event::Transferred { account, recipient, asset: QUOTE, amount: Amount(9), hash: order(77) }
}

/// Account 1 is closed against 2 and 3, who get one share each, 3 two.
fn deleveraged() -> Event {
    let share = |n| DeleverageShare { account: account(n), size: Qty(1) };
    Event::Liquidation(Box::new(LiquidationReceipt {
        account: account(1),
        attempts: 3,
        inputs: MarginInputs { collateral: Amount(-5), markets: vec![] },
        fund: None,
        decision: LiquidationDecision::Deleverage {
            market: MARKET,
            side: Side::Sell,
            price: Price(5),
            size: Qty(3),
            shares: vec![share(2), share(3), share(3)],
            candidates: vec![],
        },
    }))
}

#[test]
fn candles_hold_the_trades_of_their_interval_over_records_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let priced = |trade, price| match fill(trade, (1, 1), (3, 3)) {
        Event::Fill(fill) => Event::Fill(Fill { price: Price(price), ..fill }),
        _ => unreachable!("a fill"),
    };
    let noon = DAY_MS + DAY_MS / 2;
    let records = [
        at(1, noon, vec![priced(1, 5), priced(2, 9)]),
        at(2, noon + 59_999, vec![priced(3, 2)]),
        at(3, noon + 60_000, vec![priced(4, 6)]),
    ];
    drop(written(&dir, &records[..1]));
    let store = written(&dir, &records);
    let candles = |interval| {
        let page = store.candles(MARKET, interval, None, 9).unwrap();
        let show = |c: &crate::Candle| {
            (
                c.start_ms - noon / interval.ms() * interval.ms(),
                [c.open.0, c.high.0, c.low.0, c.close.0],
                c.quote_volume,
                c.trades,
            )
        };
        page.rows.iter().map(show).collect::<Vec<_>>()
    };
    assert_eq!(candles(CandleInterval::Minute), [(60_000, [6, 6, 6, 6], 6, 1), (0, [5, 9, 2, 2], 16, 3)]);
    for interval in [CandleInterval::FiveMinutes, CandleInterval::Hour, CandleInterval::Day] {
        assert_eq!(candles(interval), [(0, [5, 9, 2, 6], 22, 4)], "{}", interval.as_str());
    }
    let page = store.candles(MARKET, CandleInterval::Minute, None, 1).unwrap();
    let second = store.candles(MARKET, CandleInterval::Minute, page.next.as_deref(), 1).unwrap();
    assert_eq!((second.rows[0].trades, second.next), (3, None));
    assert!(store.candles(MarketId(0), CandleInterval::Minute, None, 9).unwrap().rows.is_empty());
}

#[test]
fn funding_transfers_and_liquidations_are_found_by_whom_they_concern() {
    let dir = tempfile::tempdir().unwrap();
    let store = written(
        &dir,
        &[
            at(1, 100, vec![funding(1), transferred(1, 2), deleveraged()]),
            at(2, 200, vec![funding(2), transferred(2, 1)]),
            at(3, 60_000, vec![funding(3), deleveraged()]),
        ],
    );
    let rates = store.funding(MARKET, None, 9).unwrap().rows.iter().map(|row| row.rate).collect::<Vec<_>>();
    assert_eq!(rates, [3, 2], "the last of each minute");
    let transfers =
        |n| store.account_transfers(account(n), None, 9).unwrap().rows.iter().map(|row| row.seq.0).collect::<Vec<_>>();
    assert_eq!([transfers(1), transfers(2), transfers(3)], [vec![2, 1], vec![2, 1], vec![]]);
    let steps =
        |n| store.account_liquidations(account(n), None, 9).unwrap().rows.iter().map(|row| row.seq.0).collect::<Vec<_>>();
    assert_eq!([steps(1), steps(2), steps(3), steps(4)], [vec![3, 1], vec![3, 1], vec![3, 1], vec![]]);
    let first = store.account_liquidations(account(3), None, 1).unwrap();
    let second = store.account_liquidations(account(3), first.next.as_deref(), 1).unwrap();
    assert_eq!((first.rows[0].seq, second.rows[0].seq, second.next), (Seq(3), Seq(1), None));
}

/// A day of everything that can be forgotten, then an order that rests for long.
fn a_busy_day() -> Vec<Released> {
    let mut records: Vec<Released> =
        story().into_iter().zip([0, 10, 20]).map(|(r, ms)| Released { ts: Ts::from_ms(ms), ..r }).collect();
    records.push(at(10, 30, vec![funding(1), transferred(1, 2), deleveraged(), update(5, 1, OrderState::Open)]));
    records
}

fn kept_for_a_day(dir: &tempfile::TempDir, records: &[Released]) -> Store {
    let store = open(dir);
    let mut writer = HistoryWriter::new(store.clone()).unwrap().with_retention(Retention::Days(1));
    records.iter().for_each(|released| writer.apply(released).unwrap());
    store
}

#[test]
fn what_is_older_than_the_retention_is_forgotten_by_journal_time() {
    let mut records = a_busy_day();
    records.push(at(11, DAY_MS + 30, vec![]));
    let dir = tempfile::tempdir().unwrap();
    let store = kept_for_a_day(&dir, &records);
    assert!(store.order(order(1)).unwrap().is_none() && store.order(order(2)).unwrap().is_none());
    assert!(store.order(order(5)).unwrap().is_some(), "an order that is open is not history");
    assert!(store.trades(MARKET, None, 9).unwrap().is_empty() && store.order_fills(order(3), None).unwrap().is_empty());
    for n in 1..=3 {
        assert!(store.account_orders(account(n), None, 9).unwrap().rows.is_empty());
        assert!(store.account_fills(account(n), None, 9).unwrap().rows.is_empty());
    }
    assert_eq!(store.account_withdrawals(account(1), None, 9).unwrap().rows.len(), 2, "what bridges read is kept");
    assert!(store.candles(MARKET, CandleInterval::Minute, None, 9).unwrap().rows.is_empty());
    assert_eq!(store.candles(MARKET, CandleInterval::Day, None, 9).unwrap().rows.len(), 1);
    // Of the record exactly a day before, nothing: it is not older than a day.
    assert_eq!(store.account_liquidations(account(2), None, 9).unwrap().rows.len(), 1);
    let store_later = {
        drop(store);
        records.push(at(12, DAY_MS + 31, vec![]));
        kept_for_a_day(&dir, &records)
    };
    assert!(store_later.account_liquidations(account(2), None, 9).unwrap().rows.is_empty());
    assert!(store_later.account_transfers(account(2), None, 9).unwrap().rows.is_empty());
    assert!(store_later.funding(MARKET, None, 9).unwrap().rows.is_empty());
    use crate::keys::*;
    for table in
        [TRADES, ORDER_FILLS, ACCOUNT_FILLS, ACCOUNT_ORDERS, TRANSFERS, LIQUIDATIONS, ACCOUNT_LIQUIDATIONS, FUNDING, EXPIRY]
    {
        assert_eq!(store_later.scan(table, &[], &[]).count(), 0, "{table}");
    }
}

#[test]
fn a_rebuilt_history_forgot_the_same_rows() {
    let mut records = a_busy_day();
    records.extend(
        (0..20).map(|i| {
            at(11 + i, DAY_MS - 5 + i * 3, vec![fill(3 + i, (1, 1), (3, 3)), update(10 + i, 2, OrderState::Filled)])
        }),
    );
    let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let expected = dump(&kept_for_a_day(&dirs[0], &records));
    for (stop, dir) in [2, 9, 20].into_iter().zip(&dirs[1..]) {
        drop(kept_for_a_day(dir, &records[..stop]));
        assert_eq!(dump(&kept_for_a_day(dir, &records[stop / 2..])), expected, "stopped after {stop}");
    }
}

#[test]
fn one_record_forgets_a_bounded_number_of_rows_and_the_next_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let ended = PRUNED_PER_RECORD_MIN as u64 + 10;
    let events = (0..ended).map(|n| update(n, 1, OrderState::Cancelled)).collect();
    let mut records = vec![at(1, 0, events)];
    let left = |records: &[Released]| {
        let store = kept_for_a_day(&dir, records);
        store.account_orders(account(1), None, 1_000).unwrap().rows.len()
    };
    assert_eq!(left(&records), ended as usize);
    records.push(at(2, 2 * DAY_MS, vec![]));
    assert_eq!(left(&records), 10);
    records.push(at(3, 2 * DAY_MS + 1, vec![]));
    assert_eq!(left(&records), 0);
}

#[test]
fn what_incidents_cancelled_is_found_by_record_by_account_and_by_order_and_never_forgotten() {
    let cancelled = |n: u64, owner: u64, incident: u32| match update(n, owner, OrderState::Cancelled) {
        Event::Order(update) => {
            let incident = IncidentId(incident);
            Event::Order(OrderUpdate { initiator: Initiator::SafeMode, reason: Reason::SafeMode, incident, ..update })
        }
        other => other,
    };
    let by_user = update(9, 1, OrderState::Cancelled);
    let records = [
        at(1, 1_000, vec![cancelled(1, 1, 1), by_user, cancelled(2, 2, 1), cancelled(3, 1, 1)]),
        at(2, 2_000, vec![cancelled(4, 1, 1)]),
        at(3, 3_000, vec![cancelled(5, 1, 2)]),
        at(
            4,
            4_000,
            vec![
                Event::OrderRestored {
                    account: account(1),
                    hash: order(70),
                    incident: IncidentId(1),
                    order: order(3),
                    restored: order(71),
                },
                update(71, 1, OrderState::Open),
                Event::RestoreRefused {
                    account: account(1),
                    hash: order(70),
                    order: order(4),
                    reject: Reject::PhaseForbids,
                },
            ],
        ),
        at(5, 9 * 86_400_000, vec![]),
    ];
    let dir = tempfile::tempdir().unwrap();
    let store = kept_for_a_day(&dir, &records);
    assert_eq!(store.order(order(1)).unwrap(), None, "history forgot it");
    let place = |incident, seq, index| CancelledPlace { incident: IncidentId(incident), seq: Seq(seq), index };
    for (n, expected) in [(1, Some(place(1, 1, 0))), (3, Some(place(1, 1, 2))), (4, Some(place(1, 2, 0))), (9, None)] {
        assert_eq!(store.cancelled_place(order(n)).unwrap(), expected, "order {n}");
    }
    let orders = |updates: Vec<OrderUpdate>| updates.into_iter().map(|update| update.order).collect::<Vec<_>>();
    assert_eq!(store.cancelling_records(IncidentId(1)).unwrap(), [Seq(1), Seq(2)]);
    assert_eq!(store.cancelling_records(IncidentId(2)).unwrap(), [Seq(3)]);
    assert_eq!(store.cancelling_records(IncidentId(3)).unwrap(), []);
    assert_eq!(orders(store.cancelled_by(IncidentId(1), Seq(1)).unwrap()), [1, 2, 3].map(order));
    assert_eq!(store.cancelled_at(place(1, 2, 0)).unwrap().unwrap().order, order(4));
    let (mut found, mut next) = (vec![], None);
    loop {
        let page = store.account_cancelled(account(1), IncidentId(1), next.as_deref(), 2).unwrap();
        found.extend(page.rows.into_iter().map(|row| (row.update.order, row.place, row.restored)));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(
        found,
        [(order(4), place(1, 2, 0), None), (order(3), place(1, 1, 2), Some(order(71))), (order(1), place(1, 1, 0), None)]
    );
}

#[test]
fn a_gap_in_history_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut writer = HistoryWriter::new(store.clone()).unwrap();
    let gap = writer.apply(&story()[1]);
    assert!(matches!(gap, Err(StoreError::NotNext { expected: 1, found: 3, .. })), "{gap:?}");
    assert_eq!((store.history_seq().unwrap(), store.trades(MARKET, None, 9).unwrap().len()), (Seq(0), 0));
}

#[test]
fn the_replay_starts_where_blocks_and_history_both_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = written(&dir, &story());
    assert_eq!(store.resume_after().unwrap(), Seq(0));
    commit(&store, storage_diff(1, &[(1, 1)]));
    commit(&store, storage_diff(1, &[(1, 2)]));
    assert_eq!(store.resume_after().unwrap(), Seq(2));
}

#[test]
fn batches_are_contiguous_and_their_bytes_final() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let header = |batch, first, last| BatchHeader {
        batch: BatchId(batch),
        first_block: Height(first),
        last_block: Height(last),
        status: BatchStatus::Built,
        note: vec![],
    };
    assert_eq!(store.latest_batch().unwrap(), None);
    store.put_batch(&header(0, 0, 3), b"zero").unwrap();
    store.put_batch(&header(1, 4, 4), b"one").unwrap();
    store.put_batch(&header(1, 4, 4), b"one").unwrap();
    for (name, header, bytes) in [
        ("other bytes", header(1, 4, 4), &b"uno"[..]),
        ("number skipped", header(3, 5, 5), b"x"),
        ("block skipped", header(2, 6, 6), b"x"),
        ("empty range", header(2, 5, 4), b"x"),
    ] {
        assert!(matches!(store.put_batch(&header, bytes), Err(StoreError::NotNext { .. })), "{name}");
    }
    store.set_batch_status(BatchId(0), BatchStatus::Confirmed, b"tx".to_vec()).unwrap();
    assert_eq!(store.get_batch(BatchId(0)).unwrap().unwrap().1, b"zero");
    assert_eq!(store.batch_header(BatchId(0)).unwrap().unwrap().note, b"tx");
    assert_eq!(store.latest_batch().unwrap().unwrap().batch, BatchId(1));
    assert_eq!(store.latest_batch_with(BatchStatus::Submitted).unwrap().unwrap().batch, BatchId(0));
    let of = [0, 3, 4, 5].map(|block| store.batch_of_block(Height(block)).unwrap().map(|id| id.0));
    assert_eq!(of, [Some(0), Some(0), Some(1), None]);
}

#[test]
fn every_change_of_a_batch_is_numbered_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let told = store.batch_changes_told();
    let header = |batch: u64, status, note: &[u8]| BatchHeader {
        batch: BatchId(batch),
        first_block: Height(batch),
        last_block: Height(batch),
        status,
        note: note.to_vec(),
    };
    let built = |batch| header(batch, BatchStatus::Built, b"");
    assert_eq!((store.batch_change_count().unwrap(), store.first_change_of_batch(BatchId(0)).unwrap()), (0, None));
    store.put_batch(&built(0), b"zero").unwrap();
    store.put_batch(&built(0), b"zero").unwrap();
    store.set_batch_status(BatchId(0), BatchStatus::Submitted, b"a".to_vec()).unwrap();
    store.set_batch_status(BatchId(0), BatchStatus::Submitted, b"a".to_vec()).unwrap();
    store.put_batch(&built(1), b"one").unwrap();
    store.set_batch_status(BatchId(0), BatchStatus::Submitted, b"b".to_vec()).unwrap();
    assert!(told.has_changed().unwrap());
    let expected = [built(0), header(0, BatchStatus::Submitted, b"a"), built(1), header(0, BatchStatus::Submitted, b"b")];
    let changes = |from, limit| -> Vec<(u64, BatchHeader)> {
        store.batch_changes(from, limit).unwrap().into_iter().map(|change| (change.number, change.header)).collect()
    };
    let expected: Vec<_> = (0..).zip(expected).collect();
    assert_eq!(changes(0, 10), expected);
    assert_eq!(changes(1, 2), expected[1..3]);
    assert_eq!(changes(4, 2), []);
    assert_eq!(store.first_change_of_batch(BatchId(1)).unwrap(), Some(2));
    assert_eq!(store.batches_down(BatchId(9), 1).unwrap(), [built(1)]);
}
