//! Token buckets: how much one connection and one account may ask for. [spec exchange, Admission and ordering]
//!
//! Pure: time is a parameter. A connection pays before anything is looked at. An account is *asked* before its signature is checked
//! and *pays* after it was found valid, since until then anybody could be spending in its name. What a wrong signature costs, the
//! connection pays.

use crate::message::MessageKind;
use std::collections::HashMap;
use std::hash::Hash;

/// Points of one request. A cancel is the cheapest: it must be possible to cancel all that one could place.
pub const COST_CANCEL: u64 = 1;
/// Orders, and reads that are as cheap.
pub const COST_ORDER: u64 = 4;
/// Up to a hundred orders under one signature, which may all be refused and asked for again.
pub const COST_RESTORE: u64 = 300;
/// Rare messages: registrations (hashing an address), withdrawals.
pub const COST_RARE: u64 = 20;
/// A price report; as an order, it is one signature.
pub const COST_PRICE_REPORT: u64 = 4;
/// A signature that does not verify: it costs a check and is never an accident of a working client.
pub const COST_BAD_SIGNATURE: u64 = 400;
/// A full map is swept for idle entries at most this often, so that a flood of new keys does not buy a sweep each.
const SWEEP_INTERVAL_MS: u64 = 1_000;
/// Buckets count in thousandths, so that a refill of one millisecond is exact.
const MILLI: u64 = 1_000;

/// Points of one message.
pub fn cost_of(kind: MessageKind) -> u64 {
    match kind {
        MessageKind::CancelOrder | MessageKind::CancelAll | MessageKind::ScheduleCancel => COST_CANCEL,
        MessageKind::Order | MessageKind::ModifyOrder => COST_ORDER,
        MessageKind::RestoreOrders => COST_RESTORE,
        MessageKind::Register
        | MessageKind::SessionKey
        | MessageKind::RevokeSessionKey
        | MessageKind::Session
        | MessageKind::Transfer
        | MessageKind::Withdraw => COST_RARE,
    }
}

/// One kind of bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BudgetConfig {
    /// Points in a full bucket, and the deepest debt.
    pub burst: u64,
    /// Points that come back per second.
    pub per_second: u64,
    /// Most keys that are tracked; beyond it, keys without a bucket are refused until others are idle.
    pub keys_max: usize,
}

impl BudgetConfig {
    /// 2,500 orders/s or 25 wrong signatures/s for good, twice that for a moment; one machine verifies a few thousand per second.
    pub const CONNECTION: BudgetConfig = BudgetConfig { burst: 20_000, per_second: 10_000, keys_max: 65_536 };
    /// 1,000 orders/s: a market maker quoting 50 levels 20 times a second.
    pub const ACCOUNT: BudgetConfig = BudgetConfig { burst: 8_000, per_second: 4_000, keys_max: 65_536 };
}

/// Buckets of many keys, bounded.
pub struct Budgets<K> {
    config: BudgetConfig,
    buckets: HashMap<K, Bucket>,
    swept_ms: Option<u64>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Thousandths of points; negative is a debt.
    level: i64,
    at_ms: u64,
}

impl<K: Eq + Hash + Copy> Budgets<K> {
    /// Every key starts with a full bucket.
    pub fn new(config: BudgetConfig) -> Budgets<K> {
        Budgets { config, buckets: HashMap::new(), swept_ms: None }
    }

    /// Takes `cost` points if the bucket holds them.
    pub fn spend(&mut self, key: K, cost: u64, now_ms: u64) -> bool {
        let affordable = self.can_spend(key, cost, now_ms);
        if affordable {
            self.charge(key, cost, now_ms);
        }
        affordable
    }

    /// Whether the bucket holds `cost` points.
    pub fn can_spend(&mut self, key: K, cost: u64, now_ms: u64) -> bool {
        if !self.buckets.contains_key(&key) && !self.has_room(now_ms) {
            return false;
        }
        self.level(key, now_ms) >= milli(cost)
    }

    /// Takes `cost` points even if that makes a debt, at most one burst deep.
    pub fn charge(&mut self, key: K, cost: u64, now_ms: u64) {
        if !self.buckets.contains_key(&key) && !self.has_room(now_ms) {
            return;
        }
        let level = (self.level(key, now_ms) - milli(cost)).max(-self.full());
        let at_ms = self.buckets.get(&key).map_or(now_ms, |bucket| bucket.at_ms.max(now_ms));
        self.buckets.insert(key, Bucket { level, at_ms });
    }

    /// Keys that are tracked.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether no key is tracked.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    fn full(&self) -> i64 {
        milli(self.config.burst)
    }

    /// Level after what came back since the bucket was last touched; a clock that went back gives nothing.
    fn level(&self, key: K, now_ms: u64) -> i64 {
        self.buckets.get(&key).map_or(self.full(), |bucket| self.refilled(bucket, now_ms))
    }

    fn refilled(&self, bucket: &Bucket, now_ms: u64) -> i64 {
        // Points per second are thousandths per millisecond.
        let refill = now_ms.saturating_sub(bucket.at_ms).saturating_mul(self.config.per_second);
        bucket.level.saturating_add(i64::try_from(refill).unwrap_or(i64::MAX)).min(self.full())
    }

    /// Whether one more key fits; forgets full buckets, which are worth no more than absent ones.
    fn has_room(&mut self, now_ms: u64) -> bool {
        let due = self.swept_ms.is_none_or(|swept| now_ms >= swept.saturating_add(SWEEP_INTERVAL_MS));
        if self.buckets.len() >= self.config.keys_max && due {
            self.swept_ms = Some(now_ms);
            let mut buckets = std::mem::take(&mut self.buckets);
            buckets.retain(|_, bucket| self.refilled(bucket, now_ms) < self.full());
            self.buckets = buckets;
        }
        self.buckets.len() < self.config.keys_max
    }
}

fn milli(points: u64) -> i64 {
    i64::try_from(points.saturating_mul(MILLI)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIG: BudgetConfig = BudgetConfig { burst: 100, per_second: 10, keys_max: 2 };

    #[test]
    fn a_bucket_empties_refuses_and_refills() {
        let mut budgets = Budgets::new(CONFIG);
        assert!(budgets.spend('a', 100, 0));
        assert!(!budgets.spend('a', 1, 0));
        assert!(!budgets.spend('a', 1, 99));
        assert!(budgets.spend('a', 1, 100));
        assert!(!budgets.spend('a', 101, 1_000_000));
        assert!(budgets.spend('a', 100, 1_000_000));
    }

    #[test]
    fn buckets_are_apart() {
        let mut budgets = Budgets::new(CONFIG);
        assert!(budgets.spend('a', 100, 0));
        assert!(budgets.spend('b', 100, 0));
    }

    #[test]
    fn a_debt_is_at_most_one_burst_deep_and_blocks_until_paid() {
        let mut budgets = Budgets::new(CONFIG);
        (0..50).for_each(|_| budgets.charge('a', 100, 0));
        assert!(!budgets.can_spend('a', 1, 10_000));
        assert!(budgets.can_spend('a', 1, 10_100));
    }

    #[test]
    fn a_full_map_refuses_new_keys_until_a_bucket_is_idle() {
        let mut budgets = Budgets::new(CONFIG);
        assert!(budgets.spend('a', 100, 0) && budgets.spend('b', 50, 0));
        assert!(!budgets.spend('c', 1, 0));
        assert!(budgets.spend('a', 0, 10), "known keys go on");
        assert!(!budgets.spend('c', 1, 4_999));
        // b is full again after 5 s; the sweep of 4.999 s is then not yet due.
        assert!(!budgets.spend('c', 1, 5_500));
        assert!(budgets.spend('c', 1, 6_000));
        assert_eq!(budgets.len(), 2);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut budgets = Budgets::new(CONFIG);
        assert!(budgets.spend('a', 100, 5_000));
        budgets.charge('a', 0, 1_000);
        assert!(!budgets.spend('a', 1, 5_000));
    }

    #[test]
    fn wrong_signatures_cost_most_and_cancels_least() {
        for kind in MessageKind::ALL {
            assert!(cost_of(*kind) < COST_BAD_SIGNATURE);
            assert_eq!(cost_of(*kind) == COST_CANCEL, kind.is_cancel());
            assert!(cost_of(*kind) >= COST_CANCEL);
        }
    }

    proptest! {
        #[test]
        fn nobody_spends_more_than_burst_plus_refill(steps in prop::collection::vec((0u64..50, 0u64..500), 1..100)) {
            let mut budgets = Budgets::new(CONFIG);
            let (mut now, mut spent) = (0, 0);
            for (cost, wait) in steps {
                now += wait;
                if budgets.spend('a', cost, now) {
                    spent += cost;
                }
            }
            prop_assert!(spent <= CONFIG.burst + now * CONFIG.per_second / 1_000);
        }
    }
}
