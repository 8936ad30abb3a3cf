use super::signed::{Scope, Terms};
use crate::Engine;
use keel_types::*;

/// A dead man's switch is set at least this far ahead. [spec exchange, Orders: at least 1 s ahead]
const SCHEDULE_AHEAD_MS_MIN: u64 = 1_000;

impl Engine {
    /// Sets, moves or takes back the account's one dead man's switch. In every phase; an incident clears it.
    pub(crate) fn schedule_cancel(&mut self, c: &ScheduleCancel) {
        self.signed(&c.signed, Terms::CANCEL, |engine, account| {
            engine.session_allows(&c.signed, account, Scope::AllMarkets)?;
            if c.at != Ts(0) && c.at < engine.now.ts.plus_ms(SCHEDULE_AHEAD_MS_MIN) {
                return Err(Reject::ScheduleTooSoon);
            }
            engine.set_switch(account, c.at);
            Ok(OutcomeResult::Scheduled { at: c.at })
        });
    }

    /// Stages it and says so; 0: none from now on.
    pub(super) fn set_switch(&mut self, account: u32, at: Ts) {
        self.plan.switch = Some((account, at));
        self.plan.events.push(Event::CancelScheduled { account: self.address(account), at });
    }
}
