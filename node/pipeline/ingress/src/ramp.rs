//! Orders come back slowly after an incident: everybody's first order in one second would be the next one. [spec safe-mode, Reopening]
//!
//! Pure: phase and time are parameters. Cancels are exempt. As with budgets, what an order costs is taken after its signature was found
//! valid, so that nobody uses up the rate with orders that are none.

use keel_types::{Phase, Ts};

/// Share of the rate that is admitted in SPOT and REDUCE_ONLY, and at the instant of OPEN.
const SHARE_FIRST_PERCENT: u64 = 10;
/// What was not used of this much time may be used at once.
const BURST_MS: u64 = 100;
/// What the bucket counts of one order: orders per second, times percent, times milliseconds is exact in it.
const ORDER: i64 = 100 * 1_000;

/// Rate of admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RampConfig {
    /// Messages that bring orders, of all accounts together, per second; at least 1.
    pub orders_per_second: u64,
    /// From the first share to all of it, after OPEN.
    pub ramp_ms: u64,
}

impl Default for RampConfig {
    /// 10,000 orders/s: more than two cores check signatures of. A minute, as the specification has it.
    fn default() -> RampConfig {
        RampConfig { orders_per_second: 10_000, ramp_ms: 60_000 }
    }
}

/// Where reopening stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    pub phase: Phase,
    /// When the phase began; genesis, when there was no incident yet.
    pub since: Ts,
}

/// One bucket for all orders.
pub(crate) struct Ramp {
    config: RampConfig,
    /// In parts of [ORDER]; below zero after a message that brought more orders than there was room for.
    level: i64,
    at_ms: u64,
}

impl Ramp {
    pub fn new(config: RampConfig) -> Ramp {
        Ramp { level: 0, at_ms: 0, config }
    }

    /// Whether an order would be admitted now.
    pub fn admits(&mut self, opening: Opening, now_ms: u64) -> bool {
        match self.share_percent(opening, now_ms) {
            Some(share) => {
                self.refill(share, now_ms);
                self.level >= ORDER
            }
            None => true,
        }
    }

    /// Admits the orders of one message if there is room for one; all of them are counted.
    pub fn take(&mut self, orders: usize, opening: Opening, now_ms: u64) -> bool {
        let admitted = self.admits(opening, now_ms);
        if admitted {
            self.level = self.level.saturating_sub(ORDER.saturating_mul(i64::try_from(orders).unwrap_or(i64::MAX)));
        }
        admitted
    }

    /// `None`: in a phase that forbids orders, which is what they should be told.
    fn share_percent(&self, opening: Opening, now_ms: u64) -> Option<u64> {
        match opening.phase {
            Phase::Halted | Phase::ReadOnly => None,
            Phase::Spot | Phase::ReduceOnly => Some(SHARE_FIRST_PERCENT),
            Phase::Open => {
                let passed = now_ms.saturating_sub(opening.since.ms()).min(self.config.ramp_ms);
                let rest = (100 - SHARE_FIRST_PERCENT) * passed;
                Some(SHARE_FIRST_PERCENT + rest.checked_div(self.config.ramp_ms).unwrap_or(100 - SHARE_FIRST_PERCENT))
            }
        }
    }

    /// A clock that went back gives nothing.
    fn refill(&mut self, share_percent: u64, now_ms: u64) {
        let parts = |ms: u64| self.config.orders_per_second.saturating_mul(share_percent).saturating_mul(ms);
        let of = |ms: u64| i64::try_from(parts(ms)).unwrap_or(i64::MAX);
        let full = of(BURST_MS).max(ORDER);
        self.level = self.level.saturating_add(of(now_ms.saturating_sub(self.at_ms))).min(full);
        self.at_ms = self.at_ms.max(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: RampConfig = RampConfig { orders_per_second: 1_000, ramp_ms: 60_000 };

    /// Orders admitted in each second, of ten times the rate that are sent, 1 s after `since` and so on.
    fn admitted(config: RampConfig, phase: Phase, since_ms: u64, seconds: std::ops::Range<u64>) -> Vec<usize> {
        let mut ramp = Ramp::new(config);
        let opening = Opening { phase, since: Ts::from_ms(since_ms) };
        let second = |second: u64| {
            let sent = (0..10_000).map(|i| since_ms + second * 1_000 + i / 10);
            sent.filter(|now_ms| ramp.take(1, opening, *now_ms)).count()
        };
        seconds.map(second).collect()
    }

    #[test]
    fn a_flood_of_ten_times_the_rate_gets_a_tenth_of_it_and_a_minute_later_all_of_it() {
        assert_eq!(admitted(CONFIG, Phase::Spot, 7_000_000, 5..8), [109, 100, 100]);
        assert_eq!(admitted(CONFIG, Phase::ReduceOnly, 7_000_000, 5..7), [109, 100]);
        let opened = admitted(CONFIG, Phase::Open, 7_000_000, 0..90);
        assert!((100..=130).contains(&opened[0]) && (530..=570).contains(&opened[30]), "{opened:?}");
        assert!(opened[1..60].is_sorted(), "{opened:?}");
        assert!(opened[61..].iter().all(|orders| *orders == 1_000), "{opened:?}");
    }

    #[test]
    fn what_no_phase_allows_is_let_through_to_be_told_so() {
        for phase in [Phase::Halted, Phase::ReadOnly] {
            assert_eq!(admitted(CONFIG, phase, 7_000_000, 0..2), [10_000, 10_000]);
        }
    }

    #[test]
    fn a_rate_too_small_for_its_burst_and_a_ramp_of_no_time_work() {
        let config = RampConfig { orders_per_second: 1, ramp_ms: 0 };
        assert_eq!(admitted(config, Phase::Open, 0, 5..9), [1, 1, 1, 1]);
        // One in ten seconds.
        assert_eq!(admitted(config, Phase::Spot, 0, 5..31).iter().sum::<usize>(), 3);
    }

    #[test]
    fn a_message_of_many_orders_is_paid_for_by_those_after_it() {
        let mut ramp = Ramp::new(RampConfig { orders_per_second: 10, ramp_ms: 0 });
        let opening = Opening { phase: Phase::Open, since: Ts(0) };
        assert!(ramp.take(100, opening, 5_000));
        assert!(!ramp.take(1, opening, 14_900));
        assert!(ramp.take(1, opening, 15_000));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut ramp = Ramp::new(RampConfig { orders_per_second: 1, ramp_ms: 0 });
        let opening = Opening { phase: Phase::Open, since: Ts(0) };
        assert!(ramp.take(1, opening, 5_000));
        assert!(!ramp.take(1, opening, 1_000) && !ramp.take(1, opening, 5_999));
        assert!(ramp.take(1, opening, 6_000));
    }
}
