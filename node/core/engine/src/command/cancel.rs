use super::signed::{Scope, Terms};
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
            let slot = engine.order_to_cancel(account, &c.order, c.client_id)?;
            let market = engine.orders.get(slot).market;
            engine.session_allows(&c.signed, account, Scope::Market(market))?;
            engine.cancel_order(slot, Ending::new(Reason::UserCancel, Initiator::User));
            Ok(engine.cancelled(c.signed.account, c.signed.hash, 1))
        });
    }

    /// Cancels all orders of an account. In every phase.
    pub(crate) fn cancel_all(&mut self, c: &CancelAll) {
        self.signed(&c.signed, Terms::CANCEL, |engine, account| {
            let scope = c.market.map_or(Scope::AllMarkets, Scope::Market);
            engine.known_market(c.market)?;
            engine.session_allows(&c.signed, account, scope)?;
            let ending = Ending::new(Reason::UserCancelAll, Initiator::User);
            let count = engine.cancel_orders_of(account, c.market, ending);
            Ok(engine.cancelled(c.signed.account, c.signed.hash, count))
        });
    }

    /// A cancel on a logged-in WebSocket: no signature, so no nonce; its events bear the hash zero. In every phase.
    pub(crate) fn session_cancel(&mut self, c: &SessionCancel) {
        self.unsigned(c.account, |engine, account| {
            let slot = engine.order_to_cancel(account, &c.order, c.client_id)?;
            engine.cancel_order(slot, Ending::new(Reason::UserCancel, Initiator::User));
            Ok(1)
        });
    }

    /// The same for all orders of the account.
    pub(crate) fn session_cancel_all(&mut self, c: &SessionCancelAll) {
        let reason = if c.disconnected { Reason::Disconnected } else { Reason::UserCancelAll };
        self.unsigned(c.account, |engine, account| {
            engine.known_market(c.market)?;
            Ok(engine.cancel_orders_of(account, c.market, Ending::new(reason, Initiator::User)))
        });
    }

    fn unsigned(&mut self, address: Address, body: impl FnOnce(&mut Engine, u32) -> Result<u32, Reject>) {
        let hash = MessageHash::default();
        match self.accounts.registered(&address).ok_or(Reject::UnknownAccount).and_then(|account| body(self, account)) {
            Ok(count) => {
                self.cancelled(address, hash, count);
            }
            Err(reject) => {
                self.plan.events.push(Event::Rejected { account: address, hash, reject, nonce_consumed: false });
            }
        }
    }

    fn known_market(&self, market: Option<MarketId>) -> Result<(), Reject> {
        match market.is_some_and(|market| self.rules.genesis.market(market).is_none()) {
            true => Err(Reject::UnknownMarket),
            false => Ok(()),
        }
    }

    /// The order a cancel names, by hash or by the client's id: exactly one.
    fn order_to_cancel(&self, account: u32, order: &MessageHash, client_id: u128) -> Result<u32, Reject> {
        match (*order != MessageHash::default(), client_id != 0) {
            (true, false) => self.open_order(account, order),
            (false, true) => self.accounts.get(account).order_of_client(client_id).ok_or(Reject::UnknownOrder),
            _ => Err(Reject::InconsistentFields),
        }
    }

    /// An open order of the account. One that ended is told from one that never was as long as its nonce is remembered.
    pub(super) fn open_order(&self, account: u32, order: &MessageHash) -> Result<u32, Reject> {
        let owner = self.accounts.get(account);
        let open = owner.orders_like(order).find(|slot| self.orders.get(*slot).hash == *order);
        open.ok_or(if owner.nonces.knows_order(order) { Reject::OrderNotOpen } else { Reject::UnknownOrder })
    }

    /// Cancels an account's orders, untriggered ones too, in one market or in all, in (market, side, price, time) order. How many.
    pub(crate) fn cancel_orders_of(&mut self, account: u32, market: Option<MarketId>, ending: Ending) -> u32 {
        let orders = self.accounts.get(account).orders().map(|slot| (slot, self.orders.get(slot)));
        let wanted = orders.filter(|(_, order)| market.is_none_or(|market| market == order.market));
        let mut slots: Vec<_> = wanted.map(|(slot, o)| (o.market, o.side, o.price, o.turn, slot)).collect();
        slots.sort_unstable();
        for (.., slot) in &slots {
            self.cancel_order(*slot, ending);
        }
        slots.len() as u32
    }

    fn cancelled(&mut self, account: Address, hash: MessageHash, count: u32) -> OutcomeResult {
        self.plan.events.push(Event::Cancelled { account, hash, count });
        OutcomeResult::Cancelled { count }
    }

    /// Ends an open order: what it reserved is released, what it had open is closed, and it says so.
    pub(crate) fn cancel_order(&mut self, slot: u32, ending: Ending) {
        self.take_out(slot);
        self.order_event(slot, OrderState::Cancelled, ending);
    }

    /// Ends an order whose time has come.
    pub(super) fn expire(&mut self, slot: u32) {
        self.take_out(slot);
        self.order_event(slot, OrderState::Expired, Ending::new(Reason::GoodTil, Initiator::Engine));
    }

    /// Stages an open order out of the book, or out of those that wait, with all it reserves and has open. Says nothing.
    pub(super) fn take_out(&mut self, slot: u32) {
        self.checkpoint();
        let order = self.orders.edit(slot);
        assert!(order.is_open(), "took out an order that is not open");
        let was_live = std::mem::take(&mut order.live);
        order.untriggered = false;
        let order = *order;
        if was_live {
            self.release(order.account, order.market, order.open_order(), order.remaining());
        }
        self.holdings.edit(order.account).market_mut(order.market).orders -= 1;
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
