//! What history forgets, and when.
//!
//! Every row that may go is listed once in `expiry`, in the order of the journal. A record first deletes what is older than the
//! retention **by the record's own time**, so a rebuilt store forgets the same rows at the same record, and never by the wall clock.
//! Withdrawals, deposits, hour and day candles are kept: bridges and charts go back to the beginning, and there are few.

use crate::candles::{CandleInterval, candle_key};
use crate::error::StoreError;
use crate::history::{LiquidationRow, OrderRow, TradeRow, by_account, liquidation_accounts};
use crate::keys::{
    ACCOUNT_FILLS, ACCOUNT_LIQUIDATIONS, ACCOUNT_ORDERS, CANDLES, EXPIRY, FUNDING, Key, LIQUIDATIONS, META, ORDER_FILLS,
    ORDERS, TRADES, TRANSFERS,
};
use crate::store::{Batch, Store, borsh_vec, decode};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{Address, MarketId, MessageHash, Seq, TradeId, Ts};

/// Entries that one record deletes at least when they are due. Records come 10 times a second or more often, so an idle node still
/// forgets 2,560 a second.
pub const PRUNED_PER_RECORD_MIN: usize = 256;
/// A record deletes up to this many times the entries it added, so that forgetting keeps up with any load.
const PRUNED_PER_ADDED: usize = 2;

const KEY_PRUNED: &[u8] = b"history_pruned";
const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// How long history is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Retention {
    #[default]
    Forever,
    /// Journal time. At least 1.
    Days(u32),
}

impl Retention {
    /// 0 days means forever, as in the configuration.
    pub fn of_days(days: u32) -> Retention {
        if days == 0 { Retention::Forever } else { Retention::Days(days) }
    }

    /// Rows before this moment are forgotten by a record of `now`.
    fn limit(self, now: Ts) -> Option<Ts> {
        match self {
            Retention::Forever => None,
            Retention::Days(days) => now.0.checked_sub(u64::from(days).saturating_mul(DAY_NS)).map(Ts),
        }
    }
}

/// A row that may be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) enum Expiring {
    /// One that is over.
    Order(MessageHash),
    Trade(MarketId, TradeId),
    Candle(MarketId, CandleInterval, u64),
    Funding(MarketId, u64),
    Transfer(Address, Address),
    Liquidation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
struct Entry {
    ts: Ts,
    what: Expiring,
}

/// Place of an entry: command, and position within it.
pub(crate) fn place(seq: Seq, index: u32) -> Key {
    Key::new().u64(seq.0).u32(index)
}

pub(crate) fn list(batch: &mut Batch<'_>, seq: Seq, index: u32, ts: Ts, what: Expiring) {
    batch.put(EXPIRY, place(seq, index), borsh_vec(&Entry { ts, what }));
}

/// Deletes what is due. `added`: entries of this record.
pub(crate) fn prune(
    store: &Store,
    batch: &mut Batch<'_>,
    retention: Retention,
    now: Ts,
    added: usize,
) -> Result<(), StoreError> {
    let Some(limit) = retention.limit(now) else { return Ok(()) };
    // Deleted rows leave marks that a scan would walk over again and again: begin behind them.
    let from: Vec<u8> = store.get_bytes(META, KEY_PRUNED)?.unwrap_or_default();
    let mut last = None;
    for row in store.scan(EXPIRY, &[], &from).take(PRUNED_PER_RECORD_MIN.max(added * PRUNED_PER_ADDED)) {
        let (key, value) = row?;
        let entry: Entry = decode(EXPIRY, &key, &value)?;
        if entry.ts >= limit {
            break;
        }
        forget(store, batch, &key, entry.what)?;
        batch.delete(EXPIRY, &key);
        last = Some(key);
    }
    if let Some(last) = last {
        batch.put(META, KEY_PRUNED, last);
    }
    Ok(())
}

/// `place`: key of the entry, which begins with the seq of what it names.
fn forget(store: &Store, batch: &mut Batch<'_>, place: &[u8], what: Expiring) -> Result<(), StoreError> {
    match what {
        Expiring::Order(order) => {
            let key = Key::new().felt(&order.0);
            if let Some(row) = store.get::<OrderRow>(ORDERS, &key)? {
                batch.delete(ACCOUNT_ORDERS, by_account(row.update.account, row.seq).felt(&order.0));
                batch.delete(ORDERS, key);
            }
        }
        Expiring::Trade(market, trade) => {
            let at = |key: Key| key.u16(market.0).u64(trade.0);
            if let Some(row) = store.get::<TradeRow>(TRADES, at(Key::new()))? {
                for party in [&row.fill.maker, &row.fill.taker] {
                    batch.delete(ORDER_FILLS, at(Key::new().felt(&party.order.0)));
                    batch.delete(ACCOUNT_FILLS, at(by_account(party.account, row.seq)));
                }
                batch.delete(TRADES, at(Key::new()));
            }
        }
        Expiring::Candle(market, interval, start_ms) => batch.delete(CANDLES, candle_key(market, interval, start_ms)),
        Expiring::Funding(market, minute_ms) => batch.delete(FUNDING, Key::new().u16(market.0).u64(minute_ms)),
        Expiring::Transfer(from, to) => {
            for account in [from, to] {
                batch.delete(TRANSFERS, Key::new().felt(&account.0).bytes(&place[..8]));
            }
        }
        Expiring::Liquidation => {
            if let Some(row) = store.get::<LiquidationRow>(LIQUIDATIONS, place)? {
                for account in liquidation_accounts(&row.receipt) {
                    batch.delete(ACCOUNT_LIQUIDATIONS, Key::new().felt(&account.0).bytes(place));
                }
                batch.delete(LIQUIDATIONS, place);
            }
        }
    }
    Ok(())
}
