use crate::Engine;
use keel_types::*;

impl Engine {
    /// Whether a tick now would do a piece of due work.
    pub fn due(&self, now: Ts) -> bool {
        self.funding_is_due(now) || self.liquidation_is_due(now) || self.upkeep_is_due() || self.unwind_is_due(now)
    }

    /// Time passes. Does at most one piece of due work, so that each is a transaction of its own; the sequencer ticks again while there is more.
    pub(crate) fn tick(&mut self) {
        let now = self.now.ts;
        if self.funding_is_due(now) {
            self.accrue_funding();
        } else if self.liquidation_is_due(now) {
            self.liquidate();
        } else if self.upkeep_is_due() {
            self.keep_margin();
        } else if self.unwind_is_due(now) {
            self.unwind_fund();
        }
        self.plan.forget_nonces = true;
    }
}
