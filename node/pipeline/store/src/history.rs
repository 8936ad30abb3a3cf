//! Orders, trades, withdrawals and deposits as users ask for them later.
//!
//! | table | key | value |
//! |---|---|---|
//! | `orders` | order | [`OrderRow`] at its opening, replaced at its end |
//! | `account_orders` | account, seq of the end, order | |
//! | `trades` | market, trade | [`TradeRow`] |
//! | `order_fills` | order, market, trade | |
//! | `account_fills` | account, seq, market, trade | |
//! | `withdrawals` | id | [`WithdrawalRow`] |
//! | `account_withdrawals` | account, id | |
//! | `deposits` | message nonce | [`DepositRow`] |

use crate::error::StoreError;
use crate::keys::{
    ACCOUNT_FILLS, ACCOUNT_ORDERS, ACCOUNT_WITHDRAWALS, DEPOSITS, Key, META, ORDER_FILLS, ORDERS, TRADES, WITHDRAWALS,
};
use crate::store::{Batch, KEY_HISTORY_SEQ, Store, borsh_vec, corrupt, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{
    Address, Amount, AssetId, Command, Deposit, Event, Executed, Fill, FillSide, MarketId, MessageHash, OrderUpdate, Reject,
    Released, Seq, Side, TradeId, Ts, Withdrawal,
};
use std::collections::BTreeMap;

/// Rows in one page of any history query.
pub const HISTORY_PAGE_MAX: usize = 1_000;

/// An order's opening and, once it is over, its end.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct OrderRow {
    /// Its last transition if that was terminal, else its first: what happens between is in the published view.
    pub update: OrderUpdate,
    /// Of `update`.
    pub seq: Seq,
    pub ts: Ts,
    /// Of the first transition.
    pub opened_seq: Seq,
    pub opened_ts: Ts,
}

/// A trade.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct TradeRow {
    pub fill: Fill,
    pub seq: Seq,
    pub ts: Ts,
}

/// One party's side of a trade.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FillRow {
    pub market: MarketId,
    pub trade: TradeId,
    /// Of the order this row is about.
    pub side: Side,
    pub maker: bool,
    /// Account, order, fee and realised profit of that side.
    pub party: FillSide,
    pub price: keel_types::Price,
    pub size: keel_types::Qty,
    pub seq: Seq,
    pub ts: Ts,
}

/// A withdrawal. Its block is [`Store::height_of_seq`] of `seq`, its batch that block's.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct WithdrawalRow {
    pub withdrawal: Withdrawal,
    pub seq: Seq,
    pub ts: Ts,
}

/// What became of a deposit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum DepositResult {
    Credited { asset: AssetId, amount: Amount },
    Refused(Reject),
}

/// A deposit that was journaled.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct DepositRow {
    pub deposit: Deposit,
    pub result: DepositResult,
    pub seq: Seq,
    pub ts: Ts,
}

/// Rows, newest first. `next`: pass it back for the page after this one; opaque, safe to take from a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryPage<T> {
    pub rows: Vec<T>,
    pub next: Option<Vec<u8>>,
}

/// Writes history. One per store: it is the only writer of these tables.
pub struct HistoryWriter {
    store: Store,
    /// Last command whose rows are written.
    seq: Seq,
}

impl HistoryWriter {
    /// Goes on where the store ends.
    ///
    /// # Errors
    /// The database.
    pub fn new(store: Store) -> Result<HistoryWriter, StoreError> {
        let seq = store.history_seq()?;
        Ok(HistoryWriter { store, seq })
    }

    /// Writes the rows of a released record, and that it did, at once. Commands already written are skipped, so replay
    /// may begin anywhere at or before the end.
    ///
    /// # Errors
    /// A gap before the record; the database. Nothing is written then.
    pub fn apply(&mut self, released: &Released) -> Result<(), StoreError> {
        let mut rows =
            Rows { batch: self.store.batch(), store: &self.store, orders: BTreeMap::new(), deposits: BTreeMap::new() };
        let mut seq = self.seq;
        for executed in released.executed.iter().filter(|executed| executed.seq > self.seq) {
            if executed.seq != seq.next() {
                let (expected, found) = (seq.0 + 1, executed.seq.0);
                return Err(StoreError::NotNext { what: "command for history", expected, found });
            }
            seq = executed.seq;
            rows.add(executed, released.ts)?;
        }
        if seq == self.seq {
            return Ok(());
        }
        let mut batch = rows.finish();
        batch.put(META, KEY_HISTORY_SEQ, borsh_vec(&seq));
        batch.write()?;
        self.seq = seq;
        Ok(())
    }
}

/// Rows of one record; those that a later command of the same record may change are held back.
struct Rows<'a> {
    store: &'a Store,
    batch: Batch<'a>,
    orders: BTreeMap<MessageHash, OrderRow>,
    deposits: BTreeMap<u64, DepositRow>,
}

impl<'a> Rows<'a> {
    fn add(&mut self, executed: &Executed, ts: Ts) -> Result<(), StoreError> {
        let seq = executed.seq;
        for event in &executed.events {
            match event {
                Event::Order(update) => self.order(update, seq, ts)?,
                Event::Fill(fill) => self.trade(fill, seq, ts),
                Event::Withdrawn(withdrawal) => self.withdrawal(withdrawal, seq, ts),
                Event::Deposited { asset, amount, .. } => {
                    let result = DepositResult::Credited { asset: *asset, amount: *amount };
                    self.deposit(&executed.command, result, seq, ts)?;
                }
                Event::DepositRefused { reject, .. } => {
                    self.deposit(&executed.command, DepositResult::Refused(*reject), seq, ts)?;
                }
                Event::Registered { .. }
                | Event::Rejected { .. }
                | Event::Replayed { .. }
                | Event::Cancelled { .. }
                | Event::Price { .. }
                | Event::ReportDiscarded { .. }
                | Event::PriceHeld { .. }
                | Event::BlockSealed { .. }
                | Event::BatchConfirmed { .. }
                | Event::SafeModeEntered { .. }
                | Event::PhaseChanged { .. }
                | Event::Resumed { .. }
                | Event::SystemRejected { .. }
                | Event::SessionKeySet { .. }
                | Event::SessionKeyRevoked { .. }
                | Event::SessionOpened { .. }
                | Event::CancelScheduled { .. }
                | Event::Transferred { .. }
                | Event::TriggerRefused { .. }
                | Event::Funding { .. }
                | Event::Liquidation(_) => {}
            }
        }
        Ok(())
    }

    fn order(&mut self, update: &OrderUpdate, seq: Seq, ts: Ts) -> Result<(), StoreError> {
        let before = match self.orders.get(&update.order) {
            Some(row) => Some((row.opened_seq, row.opened_ts)),
            None => self.store.order(update.order)?.map(|row| (row.opened_seq, row.opened_ts)),
        };
        if before.is_some() && !update.state.is_terminal() {
            return Ok(());
        }
        let (opened_seq, opened_ts) = before.unwrap_or((seq, ts));
        self.orders.insert(update.order, OrderRow { update: *update, seq, ts, opened_seq, opened_ts });
        if update.state.is_terminal() {
            self.batch.put(ACCOUNT_ORDERS, by_account(update.account, seq).felt(&update.order.0), []);
        }
        Ok(())
    }

    fn trade(&mut self, fill: &Fill, seq: Seq, ts: Ts) {
        let place = |key: Key| key.u16(fill.market.0).u64(fill.trade.0);
        self.batch.put(TRADES, place(Key::new()), borsh_vec(&TradeRow { fill: *fill, seq, ts }));
        for party in [&fill.maker, &fill.taker] {
            self.batch.put(ORDER_FILLS, place(Key::new().felt(&party.order.0)), []);
            self.batch.put(ACCOUNT_FILLS, place(by_account(party.account, seq)), []);
        }
    }

    fn withdrawal(&mut self, withdrawal: &Withdrawal, seq: Seq, ts: Ts) {
        let row = WithdrawalRow { withdrawal: *withdrawal, seq, ts };
        self.batch.put(WITHDRAWALS, Key::new().u64(withdrawal.id), borsh_vec(&row));
        self.batch.put(ACCOUNT_WITHDRAWALS, Key::new().felt(&withdrawal.account.0).u64(withdrawal.id), []);
    }

    /// A refusal never covers an earlier credit of the same message.
    fn deposit(&mut self, command: &Command, result: DepositResult, seq: Seq, ts: Ts) -> Result<(), StoreError> {
        let Command::Deposit(deposit) = command else { return Ok(()) };
        let nonce = deposit.message_nonce;
        let known = self.deposits.contains_key(&nonce) || self.store.deposit(nonce)?.is_some();
        if !known || matches!(result, DepositResult::Credited { .. }) {
            self.deposits.insert(nonce, DepositRow { deposit: *deposit, result, seq, ts });
        }
        Ok(())
    }

    fn finish(mut self) -> Batch<'a> {
        for (order, row) in &self.orders {
            self.batch.put(ORDERS, Key::new().felt(&order.0), borsh_vec(row));
        }
        for (nonce, row) in &self.deposits {
            self.batch.put(DEPOSITS, Key::new().u64(*nonce), borsh_vec(row));
        }
        self.batch
    }
}

impl Store {
    /// An order by its hash; its row tells its end if `update.state` is terminal, else ask the published view.
    ///
    /// # Errors
    /// The database.
    pub fn order(&self, order: MessageHash) -> Result<Option<OrderRow>, StoreError> {
        self.get(ORDERS, Key::new().felt(&order.0))
    }

    /// The fills of an order, oldest first, at most [`HISTORY_PAGE_MAX`] after trade `after`.
    ///
    /// # Errors
    /// The database.
    pub fn order_fills(&self, order: MessageHash, after: Option<TradeId>) -> Result<Vec<FillRow>, StoreError> {
        let prefix = Key::new().felt(&order.0);
        let rows = self.scan(ORDER_FILLS, prefix.as_ref(), prefix.as_ref()).map(|row| {
            let (key, _) = row?;
            let (market, trade) = market_and_trade(ORDER_FILLS, &key)?;
            Ok((market, trade))
        });
        // An order lives in one market, so its trades ascend.
        let rows = rows.filter(|row| row.as_ref().map_or(true, |(_, trade)| after.is_none_or(|after| *trade > after)));
        let fill = |(market, trade): (MarketId, TradeId)| {
            let row = self.trade(market, trade)?;
            row.and_then(|row| row.side_of_order(order))
                .ok_or_else(|| corrupt(ORDER_FILLS, prefix.as_ref(), "no such trade"))
        };
        rows.take(HISTORY_PAGE_MAX).map(|row: Result<_, StoreError>| row.and_then(fill)).collect()
    }

    /// A trade by its number.
    ///
    /// # Errors
    /// The database.
    pub fn trade(&self, market: MarketId, trade: TradeId) -> Result<Option<TradeRow>, StoreError> {
        self.get(TRADES, Key::new().u16(market.0).u64(trade.0))
    }

    /// Trades of a market, newest first, below `before` if it is given.
    ///
    /// # Errors
    /// The database.
    pub fn trades(&self, market: MarketId, before: Option<TradeId>, limit: usize) -> Result<Vec<TradeRow>, StoreError> {
        let to = before.map_or(u64::MAX, |trade| trade.0.saturating_sub(1));
        let prefix = Key::new().u16(market.0);
        let rows = self.scan_down(TRADES, prefix.as_ref(), Key::new().u16(market.0).u64(to).as_ref());
        let rows = rows.take(limit.min(HISTORY_PAGE_MAX));
        rows.map(|row| row.and_then(|(key, value)| decode(TRADES, &key, &value))).collect()
    }

    /// Orders of an account that are over, the last to end first.
    ///
    /// # Errors
    /// The database.
    pub fn account_orders(
        &self,
        account: Address,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<OrderRow>, StoreError> {
        self.page(ACCOUNT_ORDERS, account, next, limit, |key| {
            let order = MessageHash(crate::state::felt(ACCOUNT_ORDERS, &key[key.len().saturating_sub(32)..])?);
            self.order(order)?.ok_or_else(|| corrupt(ACCOUNT_ORDERS, key, "no such order"))
        })
    }

    /// Fills of an account, newest first.
    ///
    /// # Errors
    /// The database.
    pub fn account_fills(
        &self,
        account: Address,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<FillRow>, StoreError> {
        self.page(ACCOUNT_FILLS, account, next, limit, |key| {
            let (market, trade) = market_and_trade(ACCOUNT_FILLS, key)?;
            let row = self.trade(market, trade)?;
            row.and_then(|row| row.side_of_account(account)).ok_or_else(|| corrupt(ACCOUNT_FILLS, key, "no such trade"))
        })
    }

    /// A withdrawal by its id.
    ///
    /// # Errors
    /// The database.
    pub fn withdrawal(&self, id: u64) -> Result<Option<WithdrawalRow>, StoreError> {
        self.get(WITHDRAWALS, Key::new().u64(id))
    }

    /// Withdrawals of an account, newest first.
    ///
    /// # Errors
    /// The database.
    pub fn account_withdrawals(
        &self,
        account: Address,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<WithdrawalRow>, StoreError> {
        self.page(ACCOUNT_WITHDRAWALS, account, next, limit, |key| {
            let id = key.last_chunk().map(|id| u64::from_be_bytes(*id));
            let row = id.map_or(Ok(None), |id| self.withdrawal(id))?;
            row.ok_or_else(|| corrupt(ACCOUNT_WITHDRAWALS, key, "no such withdrawal"))
        })
    }

    /// A deposit by the nonce of its message.
    ///
    /// # Errors
    /// The database.
    pub fn deposit(&self, message_nonce: u64) -> Result<Option<DepositRow>, StoreError> {
        self.get(DEPOSITS, Key::new().u64(message_nonce))
    }

    /// A page of an index by account, descending from below the key `next` names.
    fn page<T>(
        &self,
        table: &'static str,
        account: Address,
        next: Option<&[u8]>,
        limit: usize,
        mut row: impl FnMut(&[u8]) -> Result<T, StoreError>,
    ) -> Result<HistoryPage<T>, StoreError> {
        let prefix = Key::new().felt(&account.0);
        let to = match next {
            Some(next) => Key::new().felt(&account.0).bytes(next),
            None => Key::new().felt(&account.0).bytes(&[0xff; 48]),
        };
        let limit = limit.clamp(1, HISTORY_PAGE_MAX);
        let mut page = HistoryPage { rows: Vec::new(), next: None };
        for found in self.scan_down(table, prefix.as_ref(), to.as_ref()) {
            let (key, _) = found?;
            if page.rows.len() == limit {
                page.next = Some(key[32..].to_vec());
                break;
            }
            page.rows.push(row(&key)?);
        }
        Ok(page)
    }
}

impl TradeRow {
    fn side_of_order(&self, order: MessageHash) -> Option<FillRow> {
        self.side_where(|party| party.order == order)
    }
    fn side_of_account(&self, account: Address) -> Option<FillRow> {
        self.side_where(|party| party.account == account)
    }
    /// An account never trades with itself, so at most one side is meant.
    fn side_where(&self, is_meant: impl Fn(&FillSide) -> bool) -> Option<FillRow> {
        let Fill { market, trade, price, size, taker_side, maker, taker } = self.fill;
        let (party, side, is_maker) = match (is_meant(&maker), is_meant(&taker)) {
            (true, _) => (maker, taker_side.opposite(), true),
            (false, true) => (taker, taker_side, false),
            (false, false) => return None,
        };
        Some(FillRow { market, trade, side, maker: is_maker, party, price, size, seq: self.seq, ts: self.ts })
    }
}

fn by_account(account: Address, seq: Seq) -> Key {
    Key::new().felt(&account.0).u64(seq.0)
}

fn market_and_trade(table: &'static str, key: &[u8]) -> Result<(MarketId, TradeId), StoreError> {
    let tail: Option<&[u8; 10]> = key.last_chunk();
    let [a, b, trade @ ..] = tail.ok_or_else(|| corrupt(table, key, "key without market and trade"))?;
    Ok((MarketId(u16::from_be_bytes([*a, *b])), TradeId(u64::from_be_bytes(*trade))))
}
