use super::cancel::Ending;
use crate::Engine;
use crate::cancelled::ORDERS_PER_PAGE;
use crate::engine::Grace;
use keel_ledger::Holdings;
use keel_types::*;

/// The grace after an incident is as long as the downtime, and at least this. [spec safe-mode, Reopening]
const GRACE_MS_MIN: u64 = 120_000;
/// Most grace in [GRACE_PERIOD_MS], but for the least that follows every incident. The rule is for each account; counted for all of them
/// at once, no account has more. [spec safe-mode, Reopening]
const GRACE_MS_MAX: u64 = 1_800_000;
const GRACE_PERIOD_MS: u64 = 24 * 3_600_000;
/// Distinct operators that must resume an incident with INVARIANT_BROKEN. [spec safe-mode, What can lose sync]
const OPERATORS_INVARIANT_BROKEN: usize = 2;

impl Engine {
    /// Cancels every open order, resting or conditional, clears every dead man's switch, and halts. [spec safe-mode, What it does, in order]
    ///
    /// Never refused: a loss was detected, and whatever the sender believed about incidents, stopping is right. The incident is the
    /// running one, and outside an incident the next; the number in the command is only what the sender expected.
    pub(crate) fn enter_safe_mode(&mut self, c: &EnterSafeMode) {
        let phase = self.now.phase;
        let running = phase.phase != Phase::Open;
        let incident = if running { phase.incident } else { IncidentId(phase.incident.0 + 1) };
        let ending = Ending { reason: Reason::SafeMode, initiator: Initiator::SafeMode, incident };
        let cancelled = self.cancel_everything(ending);
        self.plan.switches_cleared = true;

        self.now.phase.phase = Phase::Halted;
        self.now.phase.incident = incident;
        self.now.phase.reasons = if running { phase.reasons.with(c.reasons) } else { c.reasons };
        self.now.phase.post_only_until = Ts(0);
        if phase.phase != Phase::Halted {
            self.now.phase.since = self.now.ts;
        }
        if !running {
            self.now.phase.halted_since = self.now.ts;
            self.end_grace();
            self.note_marks();
        }
        // A new loss takes an operator's word back: it was given without knowing of this.
        self.now.phase.resumed = false;
        self.now.operators.clear();

        let first = self.incidents.last().filter(|last| running && last.incident == incident);
        self.plan.incident = Some(IncidentValue {
            incident,
            reasons: self.now.phase.reasons,
            observed_ts: first.map_or(c.observed_ts, |first| first.observed_ts),
            seq: first.map_or(self.now.seq, |first| first.seq),
            cancelled: first.map_or(0, |first| first.cancelled) + cancelled,
            integrity_report: Bytes32::default(),
        });
        self.plan.events.push(Event::SafeModeEntered { incident, reasons: self.now.phase.reasons, cancelled });
        if phase.phase != Phase::Halted {
            self.plan.events.push(Event::PhaseChanged { incident, from: phase.phase, to: Phase::Halted });
        }
    }

    /// In (market, side, price, time) order: market by number, buys before sells, rising price, then the queue. An untriggered order
    /// stands at its limit price, a market type without a worst price at 0.
    ///
    /// Staged is what every order says as it goes, and every account without orders; that none is left is one word of the plan
    /// ([crate::engine::Plan::orders_cleared]), not an entry for each: a hundred thousand of them end within the time of a loss.
    fn cancel_everything(&mut self, ending: Ending) -> u32 {
        let slots = self.orders_in_order();
        assert_eq!(self.orders.touched_len(), 0, "an order is staged while all are cancelled");
        self.plan.orders_cleared = true;
        self.plan.events.reserve(slots.len() + 2);
        for page in slots.chunks(ORDERS_PER_PAGE) {
            self.keep_cancelled(page, ending.incident);
            for slot in page {
                self.checkpoint();
                let order = self.orders.get(*slot);
                assert!(order.is_open(), "safe mode cancels an order that is not open");
                let account = order.account;
                if self.holdings.get(account).has_orders() {
                    self.holdings.edit(account).clear_orders();
                }
                self.order_event(*slot, OrderState::Cancelled, ending);
            }
        }
        let held = |(_, before, _): (u32, Option<&Holdings>, &Holdings)| before.map_or(0, Holdings::open_orders);
        let held: usize = self.holdings.changes().map(held).sum();
        assert_eq!(held, slots.len(), "accounts count other orders than there are");
        slots.len() as u32
    }

    fn orders_in_order(&self) -> Vec<u32> {
        let mut slots = Vec::with_capacity(self.open_orders());
        for (i, book) in self.books.iter().enumerate() {
            let from = slots.len();
            for side in [Side::Buy, Side::Sell] {
                slots.extend(book.orders_by_price(side).map(|order| order.key as u32));
            }
            let resting = slots.len();
            slots.extend(self.due.untriggered_of(MarketId(i as u16)));
            if slots.len() > resting {
                let orders = slots.drain(from..).map(|slot| (slot, self.orders.get(slot)));
                let mut keyed: Vec<_> = orders.map(|(slot, o)| (o.side, o.price, o.turn, slot)).collect();
                // Not the unstable sort: this one finds that those of the book stand in order already.
                keyed.sort();
                slots.extend(keyed.into_iter().map(|(.., slot)| slot));
            }
        }
        slots
    }

    fn note_marks(&mut self) {
        for market in 0..self.markets.len() as u32 {
            let market = self.markets.edit(market);
            market.mark_before_incident = market.mark;
        }
    }

    /// One step of reopening: the next phase of the running incident, nothing else. [spec safe-mode, Reopening]
    pub(crate) fn set_phase(&mut self, c: &SetPhase) {
        let from = self.now.phase.phase;
        if c.incident != self.now.phase.incident || from == Phase::Open {
            return self.refuse_system(Reject::WrongIncident);
        }
        let waits = from == Phase::Halted && self.now.phase.reasons.needs_operator() && !self.now.phase.resumed;
        // SPOT opens on a passed integrity report; it is named, and its hash goes into chain state.
        let unreported = c.phase == Phase::Spot && c.integrity_report == Bytes32::default();
        if Some(c.phase) != next_phase(from) || waits || unreported {
            return self.refuse_system(Reject::WrongPhase);
        }
        self.now.phase.phase = c.phase;
        self.now.phase.since = self.now.ts;
        match c.phase {
            Phase::Spot => {
                self.now.phase.post_only_until = c.post_only_until;
                let last = *self.incidents.last().expect("an incident is running");
                self.plan.incident = Some(IncidentValue { integrity_report: c.integrity_report, ..last });
            }
            Phase::Open => {
                self.now.phase.grace_until = self.begin_grace();
                self.restart_funding();
            }
            Phase::Halted | Phase::ReadOnly | Phase::ReduceOnly => {}
        }
        self.plan.events.push(Event::PhaseChanged { incident: c.incident, from, to: c.phase });
    }

    /// Begins the grace of the incident that ends now; until when it lasts.
    fn begin_grace(&mut self) -> Ts {
        let now = self.now.ts;
        let period = Ts::from_ms(now.ms().saturating_sub(GRACE_PERIOD_MS));
        self.now.graces.retain(|grace| grace.until > period);
        let spent_ms: u64 = self.now.graces.iter().map(|grace| grace.until.ms() - grace.from.max(period).ms()).sum();
        let down_ms = now.ms() - self.now.phase.halted_since.ms();
        let until = now.plus_ms(down_ms.min(GRACE_MS_MAX.saturating_sub(spent_ms)).max(GRACE_MS_MIN));
        self.now.graces.push(Grace { from: now, until });
        until
    }

    /// What is left of a grace that a new incident ends was not had.
    fn end_grace(&mut self) {
        if let Some(last) = self.now.graces.last_mut() {
            last.until = last.until.min(self.now.ts);
        }
    }

    /// An operator's word. INVARIANT_BROKEN needs that of two.
    pub(crate) fn resume(&mut self, c: &Resume) {
        if c.incident != self.now.phase.incident || self.now.phase.phase == Phase::Open {
            return self.refuse_system(Reject::WrongIncident);
        }
        if self.now.phase.phase != Phase::Halted {
            return self.refuse_system(Reject::WrongPhase);
        }
        if !self.now.operators.contains(&c.operator) {
            self.now.operators.push(c.operator);
        }
        let two = self.now.phase.reasons.contains(LossReason::InvariantBroken);
        let needed = if two { OPERATORS_INVARIANT_BROKEN } else { 1 };
        self.now.phase.resumed = self.now.operators.len() >= needed;
        self.plan.events.push(Event::Resumed { incident: c.incident, operator: c.operator });
    }
}

fn next_phase(phase: Phase) -> Option<Phase> {
    match phase {
        Phase::Halted => Some(Phase::ReadOnly),
        Phase::ReadOnly => Some(Phase::Spot),
        Phase::Spot => Some(Phase::ReduceOnly),
        Phase::ReduceOnly => Some(Phase::Open),
        Phase::Open => None,
    }
}
