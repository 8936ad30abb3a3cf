use super::cancel::Ending;
use crate::Engine;
use keel_ledger::liquidation::Closing;
use keel_types::*;

/// Orders one Tick ends because their time has come: each is a few words of events, and a Tick must not hold up a batch.
const EXPIRIES_PER_TICK_MAX: usize = 100;

/// A piece of work that a time or a mark has made due. One Tick does one: each is a transaction of its own, so that a command that breaks
/// takes nothing else with it, and the sequencer goes on with Ticks as long as [Engine::due].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    Expiries,
    /// The dead man's switch of an account.
    Switch(u32),
    /// Funding of every perpetual, and its next premium sample.
    Funding,
    /// A step of the liquidation of an account.
    Liquidation(u32),
    /// An account below initial margin has orders to lose.
    Upkeep(u32),
    /// The insurance fund can close some of what it holds.
    Unwinding(Closing),
    /// The order in this slot was reached by the mark.
    Trigger(u32),
}

impl Engine {
    /// Whether a Tick at this time would do more than pass time. Looks at the front of a few lists.
    pub fn due(&self, now: Ts) -> bool {
        self.due_work(now).is_some()
    }

    /// Time passes: what is too old is forgotten, and the first piece of due work is done.
    pub(crate) fn tick(&mut self) {
        self.plan.forget = true;
        match self.due_work(self.now.ts) {
            Some(Work::Expiries) => self.expire_orders(),
            Some(Work::Switch(account)) => self.throw_switch(account),
            Some(Work::Funding) => self.accrue_funding(),
            Some(Work::Liquidation(account)) => self.liquidate(account),
            Some(Work::Upkeep(account)) => self.keep_margin(account),
            Some(Work::Unwinding(close)) => self.unwind_fund(&close),
            Some(Work::Trigger(slot)) => self.trigger(slot),
            None => {}
        }
    }

    /// Drops what a Tick's work has staged.
    pub(super) fn begin_tick(&mut self) {
        self.begin(self.now.seq, self.now.ts);
        self.plan.forget = true;
    }

    /// The first piece of due work, in the order in which kinds come first.
    fn due_work(&self, now: Ts) -> Option<Work> {
        let expiries = self.due.expired(now).next().map(|_| Work::Expiries);
        let switch = || self.due.switch(now).map(Work::Switch);
        let funding = || self.funding_is_due(now).then_some(Work::Funding);
        let liquidation = || self.first_to_liquidate(now).map(Work::Liquidation);
        let upkeep = || self.watch.first_short().map(Work::Upkeep);
        let unwinding = || self.due_unwinding(now).map(Work::Unwinding);
        let trigger = || self.due_trigger(now).map(Work::Trigger);
        expiries.or_else(switch).or_else(funding).or_else(liquidation).or_else(upkeep).or_else(unwinding).or_else(trigger)
    }

    fn expire_orders(&mut self) {
        let slots: Vec<u32> = self.due.expired(self.now.ts).take(EXPIRIES_PER_TICK_MAX).collect();
        for slot in slots {
            self.expire(slot);
        }
    }

    /// The account has not been heard of in time. [spec exchange, Orders: dead man's switch]
    fn throw_switch(&mut self, account: u32) {
        self.cancel_orders_of(account, None, Ending::new(Reason::ScheduledCancel, Initiator::Engine));
        self.set_switch(account, Ts(0));
    }

    /// The oldest order that the mark has reached and that may be placed: in OPEN, after the grace, in a market with a price to trust.
    /// [spec safe-mode, Reopening]
    fn due_trigger(&self, now: Ts) -> Option<u32> {
        let phase = self.globals.phase;
        if phase.phase != Phase::Open || now < phase.grace_until {
            return None;
        }
        let markets = self.markets.all_installed().iter().enumerate();
        let trusted = markets.filter(|(_, market)| !market.is_restricted(&self.rules.genesis.oracle, now));
        let fired = trusted.filter_map(|(i, _)| self.due.fired(MarketId(i as u16)));
        fired.min().map(|(_, slot)| slot)
    }
}
