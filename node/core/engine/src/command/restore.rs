use super::place::{Origin, check_form};
use super::signed::{Scope, Terms};
use crate::Engine;
use crate::cancelled::CancelledOrder;
use crate::market::MarketState;
use crate::order::{Order, is_trigger, reaches};
use crate::stage::Saved;
use keel_ledger::Holdings;
use keel_types::*;

/// What was staged before an order that may be refused alone.
struct Staged {
    holdings: Saved<Holdings>,
    orders: Saved<Order>,
    markets: Saved<MarketState>,
    events: usize,
    orders_new: usize,
    restored: usize,
    ungraced: Option<u32>,
}

impl Engine {
    /// Places again what is left of orders that an incident cancelled, each as a new order under the rules of now: placed, or refused and
    /// as it was. [spec safe-mode, Restoring orders]
    pub(crate) fn restore_cancelled(&mut self, c: &RestoreOrders) {
        self.signed(&c.signed, Terms::RESTORE, |engine, account| {
            if engine.now.phase.phase < Phase::Spot {
                return Err(Reject::PhaseForbids);
            }
            // Ingress asks for their number first.
            if c.orders.is_empty() || c.orders.len() > RESTORE_ORDERS_MAX {
                return Err(Reject::NotRestorable);
            }
            if !engine.incidents.iter().any(|known| known.incident == c.incident) {
                return Err(Reject::UnknownIncident);
            }
            let mut refused = 0;
            for order in &c.orders {
                engine.checkpoint();
                let before = engine.save();
                if let Err(reject) = engine.restore_order(c, account, order) {
                    engine.back_to(before);
                    refused += 1;
                    let Signed { account, hash, .. } = c.signed;
                    engine.plan.events.push(Event::RestoreRefused { account, hash, order: *order, reject });
                }
            }
            Ok(OutcomeResult::Restored { restored: c.orders.len() as u32 - refused, refused })
        });
    }

    /// One of them. A refusal leaves things staged that the caller drops.
    fn restore_order(&mut self, c: &RestoreOrders, account: u32, order: &MessageHash) -> Result<(), Reject> {
        let found = self.cancelled.find(c.incident, account, order);
        let (place, cancelled) =
            found.filter(|(place, _)| !self.plan.restored.contains(place)).ok_or(Reject::NotRestorable)?;
        let new = as_new(c, &cancelled)?;
        check_form(&new, self.rules.market(new.market), self.now.ts)?;
        self.session_allows(&c.signed, account, Scope::Order(new.market, self.order_notional(&new)))?;
        self.plan.restored.push(place);
        self.plan.events.push(Event::OrderRestored {
            account: c.signed.account,
            hash: c.signed.hash,
            incident: c.incident,
            order: *order,
            restored: new.signed.hash,
        });
        if is_trigger(new.order_type) {
            return self.place_untriggered(&new, account).map(|_| ());
        }
        let taker = self.check_order(&new, account, Origin::New)?;
        if self.meets_new_order(&new) {
            return Err(Reject::RestoreSeparately);
        }
        self.plan.holdings_before = Some((account, self.holdings.get(account).clone()));
        let (spent, traded_in) = self.fills();
        self.plan.fills_spent = spent;
        let outcome = self.execute(&taker, None)?;
        let short_of_fills = spent > 0 && matches!(outcome, OutcomeResult::Order { reason: Reason::FillLimit, .. });
        // What one command may change of chain state is counted on fills of one market: `blocks`, counter.
        let elsewhere = traded_in.is_some_and(|market| market != new.market) && self.fills().0 > spent;
        if short_of_fills || elsewhere { Err(Reject::RestoreSeparately) } else { Ok(()) }
    }

    /// Fills of this command, and the market of the first.
    fn fills(&self) -> (u32, Option<MarketId>) {
        let fill = |event: &Event| if let Event::Fill(fill) = event { Some(fill.market) } else { None };
        let mut markets = self.plan.events.iter().filter_map(fill);
        let first = markets.next();
        (u32::from(first.is_some()) + markets.count() as u32, first)
    }

    /// Whether an order would trade with one that this command put in the market, which the book does not show yet.
    fn meets_new_order(&self, c: &PlaceOrder) -> bool {
        self.plan.orders_new.iter().map(|slot| self.orders.get(*slot)).any(|order| {
            order.live && order.market == c.market && order.side != c.side && reaches(c.side, c.price, order.price)
        })
    }

    fn save(&self) -> Staged {
        Staged {
            holdings: self.holdings.save(),
            orders: self.orders.save(),
            markets: self.markets.save(),
            events: self.plan.events.len(),
            orders_new: self.plan.orders_new.len(),
            restored: self.plan.restored.len(),
            ungraced: self.plan.ungraced,
        }
    }

    /// Placing an order stages nothing else.
    fn back_to(&mut self, before: Staged) {
        self.holdings.back_to(before.holdings);
        self.orders.back_to(before.orders);
        self.markets.back_to(before.markets);
        self.plan.events.truncate(before.events);
        self.plan.orders_new.truncate(before.orders_new);
        self.plan.restored.truncate(before.restored);
        self.plan.ungraced = before.ungraced;
    }
}

/// The order that takes the place of a cancelled one, as its owner would place it now.
fn as_new(c: &RestoreOrders, cancelled: &CancelledOrder) -> Result<PlaceOrder, Reject> {
    let (time_in_force, good_til) = match (c.good_til, cancelled.time_in_force) {
        (Ts(0), time_in_force) => (time_in_force, cancelled.good_til),
        (good_til, TimeInForce::Gtc | TimeInForce::Gtt) => (TimeInForce::Gtt, good_til),
        (_, TimeInForce::PostOnly | TimeInForce::Ioc | TimeInForce::Fok) => return Err(Reject::InconsistentFields),
    };
    Ok(PlaceOrder {
        signed: Signed { hash: c.order_restored(&cancelled.hash), ..c.signed },
        market: cancelled.market,
        side: cancelled.side,
        order_type: cancelled.order_type,
        size: cancelled.size,
        price: cancelled.price,
        trigger_price: cancelled.trigger_price,
        time_in_force,
        good_til,
        reduce_only: cancelled.reduce_only,
        self_trade: cancelled.self_trade,
        client_id: cancelled.client_id,
    })
}
