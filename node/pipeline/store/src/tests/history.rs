use super::*;
use crate::{BatchHeader, BatchStatus, DepositResult, HistoryWriter, StoreError};
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
        size: Qty(1),
        taker_side: Side::Buy,
        maker: side(maker),
        taker: side(taker),
    })
}

fn deposit(message_nonce: u64) -> Command {
    Command::Deposit(Deposit {
        message_nonce,
        token: EthAddress([1; 20]),
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
        token: EthAddress([1; 20]),
        recipient: EthAddress([2; 20]),
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
fn dump(store: &Store) -> Vec<crate::store::Row> {
    use crate::keys::*;
    let tables = [ORDERS, ACCOUNT_ORDERS, TRADES, ORDER_FILLS, ACCOUNT_FILLS, WITHDRAWALS, ACCOUNT_WITHDRAWALS, DEPOSITS];
    tables.iter().flat_map(|table| store.scan(table, &[], &[])).map(|row| row.unwrap()).collect()
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
