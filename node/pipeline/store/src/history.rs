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
//! | `l1_messages` | transaction of the settlement layer, message nonce | |
//! | `candles` | market, interval, start in ms | [`Candle`] |
//! | `funding` | market, minute in ms | [`FundingRow`], the last of that minute |
//! | `transfers` | account (either side), seq | [`TransferRow`] |
//! | `liquidations` | seq, index | [`LiquidationRow`] |
//! | `account_liquidations` | account, seq, index | |
//!
//! What is forgotten after a time is in `retention`.

use crate::cancelled;
use crate::candles::{Candle, CandleInterval, candle_key};
use crate::error::StoreError;
use crate::incidents;
use crate::keys::{
    ACCOUNT_FILLS, ACCOUNT_LIQUIDATIONS, ACCOUNT_ORDERS, ACCOUNT_WITHDRAWALS, CANDLES, DEPOSITS, FUNDING, Key, L1_MESSAGES,
    LIQUIDATIONS, META, ORDER_FILLS, ORDERS, TRADES, TRANSFERS, WITHDRAWALS,
};
use crate::retention::{self, Expiring, Retention};
use crate::store::{Batch, KEY_HISTORY_SEQ, KEY_HISTORY_TS, Store, borsh_vec, corrupt, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{
    Address, Amount, AssetId, Bytes32, Command, Deposit, Event, Executed, Fill, FillSide, LiquidationDecision,
    LiquidationReceipt, MarketId, MessageHash, OrderUpdate, Reject, Released, Seq, Side, TradeId, Ts, Withdrawal,
};
use std::collections::{BTreeMap, BTreeSet};

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

/// Funding of a market at the end of a minute in which it accrued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct FundingRow {
    /// Rate per 8 hours, 1e-8.
    pub rate: i64,
    /// Quote quantums per base unit since genesis.
    pub index: Amount,
    /// Accrued up to then.
    pub accrued: Ts,
    pub seq: Seq,
    pub ts: Ts,
}

/// A transfer between two accounts of the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct TransferRow {
    pub account: Address,
    pub recipient: Address,
    pub asset: AssetId,
    /// Quantums.
    pub amount: Amount,
    pub hash: MessageHash,
    pub seq: Seq,
    pub ts: Ts,
}

/// One step of a liquidation. Found by the account that was liquidated and by those that an auto-deleveraging closed against it.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct LiquidationRow {
    pub receipt: LiquidationReceipt,
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
    /// Last command whose rows are written, and time of its record.
    seq: Seq,
    ts: Ts,
    retention: Retention,
}

impl HistoryWriter {
    /// Goes on where the store ends, and keeps everything.
    ///
    /// # Errors
    /// The database.
    pub fn new(store: Store) -> Result<HistoryWriter, StoreError> {
        let (seq, ts) = (store.history_seq()?, store.marker(KEY_HISTORY_TS)?.unwrap_or_default());
        Ok(HistoryWriter { store, seq, ts, retention: Retention::Forever })
    }

    /// Forgets rows older than this. A second node has equal tables only with the same retention.
    pub fn with_retention(mut self, retention: Retention) -> HistoryWriter {
        self.retention = retention;
        self
    }

    /// Writes the rows of a released record, and that it did, at once. Commands already written are skipped, so replay
    /// may begin anywhere at or before the end.
    ///
    /// # Errors
    /// A gap before the record; the database. Nothing is written then.
    pub fn apply(&mut self, released: &Released) -> Result<(), StoreError> {
        let mut rows = Rows {
            batch: self.store.batch(),
            store: &self.store,
            orders: BTreeMap::new(),
            deposits: BTreeMap::new(),
            candles: BTreeMap::new(),
            funding: BTreeMap::new(),
            incidents: incidents::Pending::default(),
            before: self.ts,
            listed: (Seq(0), 0),
            listed_in_all: 0,
        };
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
        let listed = rows.listed_in_all;
        let mut batch = rows.finish();
        retention::prune(&self.store, &mut batch, self.retention, released.ts, listed)?;
        batch.put(META, KEY_HISTORY_SEQ, borsh_vec(&seq));
        batch.put(META, KEY_HISTORY_TS, borsh_vec(&released.ts));
        batch.write()?;
        (self.seq, self.ts) = (seq, released.ts);
        Ok(())
    }
}

/// Rows of one record; those that a later command of the same record may change are held back.
struct Rows<'a> {
    store: &'a Store,
    batch: Batch<'a>,
    orders: BTreeMap<MessageHash, OrderRow>,
    deposits: BTreeMap<u64, DepositRow>,
    candles: BTreeMap<(MarketId, CandleInterval, u64), Candle>,
    /// By minute.
    funding: BTreeMap<(MarketId, u64), FundingRow>,
    incidents: incidents::Pending,
    /// Time of the record before.
    before: Ts,
    /// Entries of this command that retention knows, and of the whole record.
    listed: (Seq, u32),
    listed_in_all: usize,
}

impl<'a> Rows<'a> {
    fn add(&mut self, executed: &Executed, ts: Ts) -> Result<(), StoreError> {
        let seq = executed.seq;
        cancelled::put(&mut self.batch, executed);
        self.incidents.add(self.store, &mut self.batch, executed, ts, self.before)?;
        for event in &executed.events {
            match event {
                Event::Order(update) => self.order(update, seq, ts)?,
                Event::Fill(fill) => self.trade(fill, seq, ts)?,
                Event::Withdrawn(withdrawal) => self.withdrawal(withdrawal, seq, ts),
                Event::Deposited { asset, amount, .. } => {
                    let result = DepositResult::Credited { asset: *asset, amount: *amount };
                    self.deposit(&executed.command, result, seq, ts)?;
                }
                Event::DepositRefused { reject, .. } => {
                    self.deposit(&executed.command, DepositResult::Refused(*reject), seq, ts)?;
                }
                Event::Transferred { account, recipient, asset, amount, hash } => {
                    let (account, recipient, asset, amount, hash) = (*account, *recipient, *asset, *amount, *hash);
                    self.transfer(&TransferRow { account, recipient, asset, amount, hash, seq, ts });
                }
                Event::Funding { market, rate, index, ts: accrued } => {
                    let row = FundingRow { rate: *rate, index: *index, accrued: *accrued, seq, ts };
                    self.funding(*market, row)?;
                }
                Event::Liquidation(receipt) => self.liquidation(receipt, seq, ts),
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
                | Event::TriggerRefused { .. }
                // What was restored is kept with what was cancelled.
                | Event::OrderRestored { .. }
                | Event::RestoreRefused { .. } => {}
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
            self.expires(seq, ts, Expiring::Order(update.order));
        }
        Ok(())
    }

    /// Lists a new row for retention, and says where in its command.
    fn expires(&mut self, seq: Seq, ts: Ts, what: Expiring) -> u32 {
        let index = if self.listed.0 == seq { self.listed.1 + 1 } else { 0 };
        self.listed = (seq, index);
        self.listed_in_all += 1;
        retention::list(&mut self.batch, seq, index, ts, what);
        index
    }

    fn trade(&mut self, fill: &Fill, seq: Seq, ts: Ts) -> Result<(), StoreError> {
        let place = |key: Key| key.u16(fill.market.0).u64(fill.trade.0);
        self.batch.put(TRADES, place(Key::new()), borsh_vec(&TradeRow { fill: *fill, seq, ts }));
        for party in [&fill.maker, &fill.taker] {
            self.batch.put(ORDER_FILLS, place(Key::new().felt(&party.order.0)), []);
            self.batch.put(ACCOUNT_FILLS, place(by_account(party.account, seq)), []);
        }
        self.expires(seq, ts, Expiring::Trade(fill.market, fill.trade));
        CandleInterval::ALL.into_iter().try_for_each(|interval| self.candle(interval, fill, seq, ts))
    }

    fn candle(&mut self, interval: CandleInterval, fill: &Fill, seq: Seq, ts: Ts) -> Result<(), StoreError> {
        let start_ms = interval.start_ms(ts);
        let place = (fill.market, interval, start_ms);
        let before = match self.candles.get(&place) {
            Some(candle) => Some(*candle),
            None => self.store.candle(fill.market, interval, start_ms)?,
        };
        let candle = match before {
            Some(mut candle) => {
                candle.add(fill.price, fill.size);
                candle
            }
            None => {
                if interval.expires() {
                    self.expires(seq, ts, Expiring::Candle(fill.market, interval, start_ms));
                }
                Candle::first(start_ms, fill.price, fill.size)
            }
        };
        self.candles.insert(place, candle);
        Ok(())
    }

    fn funding(&mut self, market: MarketId, row: FundingRow) -> Result<(), StoreError> {
        let minute_ms = CandleInterval::Minute.start_ms(row.ts);
        let place = (market, minute_ms);
        if !self.funding.contains_key(&place)
            && self.store.get_bytes(FUNDING, Key::new().u16(market.0).u64(minute_ms))?.is_none()
        {
            self.expires(row.seq, row.ts, Expiring::Funding(market, minute_ms));
        }
        self.funding.insert(place, row);
        Ok(())
    }

    fn transfer(&mut self, row: &TransferRow) {
        for account in [row.account, row.recipient] {
            self.batch.put(TRANSFERS, by_account(account, row.seq), borsh_vec(row));
        }
        self.expires(row.seq, row.ts, Expiring::Transfer(row.account, row.recipient));
    }

    fn liquidation(&mut self, receipt: &LiquidationReceipt, seq: Seq, ts: Ts) {
        let place = retention::place(seq, self.expires(seq, ts, Expiring::Liquidation));
        for account in liquidation_accounts(receipt) {
            self.batch.put(ACCOUNT_LIQUIDATIONS, Key::new().felt(&account.0).bytes(place.as_ref()), []);
        }
        self.batch.put(LIQUIDATIONS, place, borsh_vec(&LiquidationRow { receipt: receipt.clone(), seq, ts }));
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
            self.batch.put(L1_MESSAGES, Key::new().bytes(&row.deposit.l1_tx_hash.0).u64(*nonce), []);
        }
        for ((market, interval, start_ms), candle) in &self.candles {
            self.batch.put(CANDLES, candle_key(*market, *interval, *start_ms), borsh_vec(candle));
        }
        for ((market, minute_ms), row) in &self.funding {
            self.batch.put(FUNDING, Key::new().u16(market.0).u64(*minute_ms), borsh_vec(row));
        }
        self.incidents.finish(&mut self.batch);
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
            // Forgotten since its index was read.
            let Some(row) = self.trade(market, trade)? else { return Ok(None) };
            let side = row.side_of_order(order);
            side.map(Some).ok_or_else(|| corrupt(ORDER_FILLS, prefix.as_ref(), "a trade of other orders"))
        };
        let rows = rows.take(HISTORY_PAGE_MAX).map(|row: Result<_, StoreError>| row.and_then(fill));
        rows.filter_map(Result::transpose).collect()
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
        self.page(ACCOUNT_ORDERS, Key::new().felt(&account.0), next, limit, |key, _| {
            let order = MessageHash(crate::state::felt(ACCOUNT_ORDERS, &key[key.len().saturating_sub(32)..])?);
            self.order(order)
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
        self.page(ACCOUNT_FILLS, Key::new().felt(&account.0), next, limit, |key, _| {
            let (market, trade) = market_and_trade(ACCOUNT_FILLS, key)?;
            let Some(row) = self.trade(market, trade)? else { return Ok(None) };
            let side = row.side_of_account(account);
            side.map(Some).ok_or_else(|| corrupt(ACCOUNT_FILLS, key, "a trade of others"))
        })
    }

    /// Transfers of an account, sent and received, newest first.
    ///
    /// # Errors
    /// The database.
    pub fn account_transfers(
        &self,
        account: Address,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<TransferRow>, StoreError> {
        self.page(TRANSFERS, Key::new().felt(&account.0), next, limit, |key, value| decode(TRANSFERS, key, value).map(Some))
    }

    /// Steps of liquidations that an account was part of, newest first.
    ///
    /// # Errors
    /// The database.
    pub fn account_liquidations(
        &self,
        account: Address,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<LiquidationRow>, StoreError> {
        self.page(ACCOUNT_LIQUIDATIONS, Key::new().felt(&account.0), next, limit, |key, _| {
            self.get(LIQUIDATIONS, key.get(32..).unwrap_or_default())
        })
    }

    /// Funding of a market, one row for each minute in which it accrued, newest first.
    ///
    /// # Errors
    /// The database.
    pub fn funding(
        &self,
        market: MarketId,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<FundingRow>, StoreError> {
        self.page(FUNDING, Key::new().u16(market.0), next, limit, |key, value| decode(FUNDING, key, value).map(Some))
    }

    /// Trades of a market, newest first, page by page.
    ///
    /// # Errors
    /// The database.
    pub fn trade_page(
        &self,
        market: MarketId,
        next: Option<&[u8]>,
        limit: usize,
    ) -> Result<HistoryPage<TradeRow>, StoreError> {
        self.page(TRADES, Key::new().u16(market.0), next, limit, |key, value| decode(TRADES, key, value).map(Some))
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
        self.page(ACCOUNT_WITHDRAWALS, Key::new().felt(&account.0), next, limit, |key, _| {
            let id = key.last_chunk().map(|id| u64::from_be_bytes(*id));
            id.map_or(Ok(None), |id| self.withdrawal(id))
        })
    }

    /// A deposit by the nonce of its message.
    ///
    /// # Errors
    /// The database.
    pub fn deposit(&self, message_nonce: u64) -> Result<Option<DepositRow>, StoreError> {
        self.get(DEPOSITS, Key::new().u64(message_nonce))
    }

    /// The deposits that a transaction of the settlement layer sent, in the order of sending, as far as they were journaled.
    ///
    /// # Errors
    /// The database.
    pub fn deposits_of_l1_transaction(&self, l1_tx_hash: &Bytes32) -> Result<Vec<DepositRow>, StoreError> {
        let mut deposits = Vec::new();
        for row in self.scan(L1_MESSAGES, &l1_tx_hash.0, &l1_tx_hash.0) {
            let (key, _) = row?;
            let nonce = key.last_chunk().ok_or_else(|| corrupt(L1_MESSAGES, &key, "key without a message nonce"))?;
            let deposit = self.deposit(u64::from_be_bytes(*nonce))?;
            // Journaled again as of another transaction: it is listed there.
            deposits.extend(deposit.filter(|row| row.deposit.l1_tx_hash == *l1_tx_hash));
        }
        Ok(deposits)
    }

    /// A page of the rows under `prefix`, descending, from below the key that `next` names. What an index names and is no longer there was
    /// forgotten between the two reads: it is passed over.
    pub(crate) fn page<T>(
        &self,
        table: &'static str,
        prefix: Key,
        next: Option<&[u8]>,
        limit: usize,
        mut row: impl FnMut(&[u8], &[u8]) -> Result<Option<T>, StoreError>,
    ) -> Result<HistoryPage<T>, StoreError> {
        let prefix = prefix.as_ref();
        // Longer than the rest of any key.
        let to = [prefix, next.unwrap_or(&[0xff; 48])].concat();
        let limit = limit.clamp(1, HISTORY_PAGE_MAX);
        let mut page = HistoryPage { rows: Vec::new(), next: None };
        for found in self.scan_down(table, prefix, &to) {
            let (key, value) = found?;
            if page.rows.len() == limit {
                page.next = Some(key[prefix.len()..].to_vec());
                break;
            }
            page.rows.extend(row(&key, &value)?);
        }
        Ok(page)
    }
}

impl TradeRow {
    fn side_of_order(&self, order: MessageHash) -> Option<FillRow> {
        self.side_where(|party| party.order == order)
    }
    pub(crate) fn side_of_account(&self, account: Address) -> Option<FillRow> {
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

pub(crate) fn by_account(account: Address, seq: Seq) -> Key {
    Key::new().felt(&account.0).u64(seq.0)
}

/// Whom a step of a liquidation is shown to, each once: the account, and whoever was closed against it.
pub(crate) fn liquidation_accounts(receipt: &LiquidationReceipt) -> BTreeSet<Address> {
    let shares = match &receipt.decision {
        LiquidationDecision::Deleverage { shares, .. } => shares.as_slice(),
        LiquidationDecision::Cancel { .. } | LiquidationDecision::Close { .. } | LiquidationDecision::TakeOver { .. } => &[],
    };
    shares.iter().map(|share| share.account).chain([receipt.account]).collect()
}

fn market_and_trade(table: &'static str, key: &[u8]) -> Result<(MarketId, TradeId), StoreError> {
    let tail: Option<&[u8; 10]> = key.last_chunk();
    let [a, b, trade @ ..] = tail.ok_or_else(|| corrupt(table, key, "key without market and trade"))?;
    Ok((MarketId(u16::from_be_bytes([*a, *b])), TradeId(u64::from_be_bytes(*trade))))
}
