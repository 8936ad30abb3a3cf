use super::signed::Terms;
use crate::Engine;
use keel_types::*;

/// Why an order ended, as its last event says.
#[derive(Clone, Copy)]
pub(crate) struct Ending {
    pub reason: Reason,
    pub initiator: Initiator,
    /// 0 unless the initiator is SAFE_MODE.
    pub incident: IncidentId,
}

impl Ending {
    pub fn new(reason: Reason, initiator: Initiator) -> Ending {
        Ending { reason, initiator, incident: IncidentId(0) }
    }
}

impl Engine {
    /// Cancels one order. In every phase.
    pub(crate) fn cancel(&mut self, c: &CancelOrder) {
        self.signed(&c.signed, Terms::CANCEL, |engine, account| {
            let slot = engine.order_to_cancel(c, account)?;
            engine.cancel_order(slot, Ending::new(Reason::UserCancel, Initiator::User));
            Ok(engine.cancelled(&c.signed, 1))
        });
    }

    /// The order a cancel names. An order that ended is told from one that never was as long as its nonce is remembered.
    fn order_to_cancel(&self, c: &CancelOrder, account: u32) -> Result<u32, Reject> {
        let owner = self.accounts.get(account);
        let by_hash = c.order != MessageHash::default();
        match (by_hash, c.client_id != 0) {
            (true, false) => {
                let live = owner.orders_like(&c.order).find(|slot| self.orders.get(*slot).hash == c.order);
                live.ok_or(if owner.nonces.knows_order(&c.order) { Reject::OrderNotOpen } else { Reject::UnknownOrder })
            }
            (false, true) => owner.order_of_client(c.client_id).ok_or(Reject::UnknownOrder),
            _ => Err(Reject::InconsistentFields),
        }
    }

    /// Cancels all orders of an account, in (market, side, price, time) order. In every phase.
    pub(crate) fn cancel_all(&mut self, c: &CancelAll) {
        self.signed(&c.signed, Terms::CANCEL, |engine, account| {
            if c.market.is_some_and(|market| engine.rules.genesis.market(market).is_none()) {
                return Err(Reject::UnknownMarket);
            }
            let orders = engine.accounts.get(account).orders().map(|slot| (slot, engine.orders.get(slot)));
            let wanted = orders.filter(|(_, order)| c.market.is_none_or(|market| market == order.market));
            let mut slots: Vec<_> = wanted.map(|(slot, o)| (o.market, o.side, o.price, o.seq, slot)).collect();
            slots.sort_unstable();
            for (.., slot) in &slots {
                engine.cancel_order(*slot, Ending::new(Reason::UserCancelAll, Initiator::User));
            }
            Ok(engine.cancelled(&c.signed, slots.len() as u32))
        });
    }

    fn cancelled(&mut self, signed: &Signed, count: u32) -> OutcomeResult {
        self.plan.events.push(Event::Cancelled { account: signed.account, hash: signed.hash, count });
        OutcomeResult::Cancelled { count }
    }

    /// Ends a live order unfilled: what it reserved is released, what it had open is closed, and it says so.
    pub(crate) fn cancel_order(&mut self, slot: u32, ending: Ending) {
        self.checkpoint();
        let order = self.orders.edit(slot);
        assert!(order.live, "cancelled an order that is not open");
        order.live = false;
        let order = *order;
        self.release(order.account, order.market, order.open_order(), order.remaining());
        self.holdings.edit(order.account).market_mut(order.market).orders -= 1;
        self.order_event(slot, OrderState::Cancelled, ending);
    }

    /// The event of an order's transition.
    pub(crate) fn order_event(&mut self, slot: u32, state: OrderState, ending: Ending) {
        let order = self.orders.get(slot);
        let update = OrderUpdate {
            order: order.hash,
            account: self.address(order.account),
            market: order.market,
            side: order.side,
            price: order.price,
            client_id: order.client_id,
            state,
            reason: ending.reason,
            initiator: ending.initiator,
            size: order.size,
            filled: order.filled,
            incident: ending.incident,
        };
        self.plan.events.push(Event::Order(update));
    }

    /// The address of an account that is not new.
    pub(crate) fn address(&self, account: u32) -> Address {
        self.accounts.get(account).address
    }
}
