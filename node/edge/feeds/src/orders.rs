use crate::book::Book;
use keel_types::*;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Orders that ended and are still answered from memory; older ones are in the store's history. 100,000 x about 250 bytes.
pub const ENDED_ORDERS_MAX: usize = 100_000;
/// Safe-mode records whose orders are answered from memory: an incident may be entered again while it reopens.
const SWEEPS_MAX: usize = 4;

/// An order as it was last heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderView {
    pub update: OrderUpdate,
    /// When `update` happened; `None` for an order that was open when this process started and has not changed since.
    pub at: Option<(Seq, Ts)>,
}

impl OrderView {
    /// Whether it stands in the book: an order that waits for its trigger is open, but nobody can trade with it.
    pub fn rests(&self) -> bool {
        matches!(self.update.state, OrderState::Open | OrderState::PartiallyFilled)
    }
}

/// Open orders, the books they make, and the orders that ended lately.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    open: HashMap<MessageHash, OrderView>,
    by_account: HashMap<Address, BTreeSet<MessageHash>>,
    by_client_id: HashMap<(Address, u128), MessageHash>,
    books: Vec<Book>,
    ended: HashMap<MessageHash, OrderView>,
    ended_by_client_id: HashMap<(Address, u128), MessageHash>,
    /// Oldest first; the same orders as `ended`.
    ended_order: VecDeque<MessageHash>,
    /// What safe mode ended, oldest first: at most [SWEEPS_MAX], and [ENDED_ORDERS_MAX] orders or the newest alone.
    sweeps: VecDeque<Sweep>,
    /// When the last sweep was that is no longer remembered.
    swept_until: Option<(Seq, Ts)>,
}

/// What was open when a safe-mode record ended all of it, as it was then.
#[derive(Clone, Debug)]
struct Sweep {
    orders: HashMap<MessageHash, OrderView>,
    by_client_id: HashMap<(Address, u128), MessageHash>,
    incident: IncidentId,
    at: (Seq, Ts),
}

impl Sweep {
    /// As its last event has it.
    fn get(&self, order: MessageHash) -> Option<OrderView> {
        let update = self.orders.get(&order)?.update;
        let (state, reason, initiator) = (OrderState::Cancelled, Reason::SafeMode, Initiator::SafeMode);
        let update = OrderUpdate { state, reason, initiator, incident: self.incident, ..update };
        Some(OrderView { update, at: Some(self.at) })
    }
}

impl Orders {
    pub(crate) fn new(markets: usize) -> Orders {
        Orders { books: vec![Book::default(); markets], ..Orders::default() }
    }

    /// Open, or ended lately.
    pub fn get(&self, order: MessageHash) -> Option<OrderView> {
        let kept = self.open.get(&order).or_else(|| self.ended.get(&order)).copied();
        kept.or_else(|| self.sweeps.iter().find_map(|sweep| sweep.get(order)))
    }

    /// By the client's own id: the live order that bears it, else the last one that did.
    pub fn by_client_id(&self, account: Address, client_id: u128) -> Option<OrderView> {
        let key = (account, client_id);
        if let Some(hash) = self.by_client_id.get(&key) {
            return self.get(*hash);
        }
        let ended = self.ended_by_client_id.get(&key).and_then(|hash| self.ended.get(hash)).copied();
        let swept = self.sweeps.iter().filter_map(|sweep| sweep.get(*sweep.by_client_id.get(&key)?));
        let last = ended.into_iter().chain(swept).max_by_key(|order| order.at);
        // One of a sweep that is forgotten may have borne it after that.
        last.filter(|order| order.at >= self.swept_until)
    }

    /// The account's open orders, by hash.
    pub fn open_of(&self, account: Address) -> impl Iterator<Item = &OrderView> {
        self.by_account.get(&account).into_iter().flatten().map(|hash| &self.open[hash])
    }

    /// Number of open orders, all markets and accounts.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Every open order, in no order.
    pub fn open(&self) -> impl Iterator<Item = &OrderView> {
        self.open.values()
    }

    /// The level-2 book; `None` for a market that genesis does not list.
    pub fn book(&self, market: MarketId) -> Option<&Book> {
        self.books.get(usize::from(market.0))
    }

    pub(crate) fn apply(&mut self, update: OrderUpdate, at: Option<(Seq, Ts)>) {
        let view = OrderView { update, at };
        match update.state {
            // On its way in: what it comes to follows in the same command.
            OrderState::Received => {}
            OrderState::Filled | OrderState::Cancelled | OrderState::Expired | OrderState::Rejected => {
                self.forget_open(update.order);
                self.remember_ended(view);
            }
            OrderState::Open | OrderState::PartiallyFilled | OrderState::Untriggered | OrderState::Triggered => {
                self.forget_open(update.order);
                self.insert_open(view);
            }
        }
    }

    /// Every open order ends, as a safe-mode record has it: what a hundred thousand of them leave is set aside whole. Panics if that record
    /// cancelled another number of them.
    pub(crate) fn end_all(&mut self, incident: IncidentId, cancelled: u32, at: (Seq, Ts)) {
        assert_eq!(cancelled as usize, self.open.len(), "safe mode cancels what is open");
        let (orders, by_client_id) = (std::mem::take(&mut self.open), std::mem::take(&mut self.by_client_id));
        self.by_account.clear();
        self.books.iter_mut().for_each(|book| *book = Book::default());
        if orders.is_empty() {
            return;
        }
        self.sweeps.push_back(Sweep { orders, by_client_id, incident, at });
        let kept = |sweeps: &VecDeque<Sweep>| sweeps.iter().map(|sweep| sweep.orders.len()).sum::<usize>();
        while self.sweeps.len() > SWEEPS_MAX || (self.sweeps.len() > 1 && kept(&self.sweeps) > ENDED_ORDERS_MAX) {
            self.swept_until = self.sweeps.pop_front().map(|sweep| sweep.at);
        }
    }

    fn insert_open(&mut self, view: OrderView) {
        let update = view.update;
        if view.rests() {
            self.books[usize::from(update.market.0)].add(update.side, update.price, update.remaining());
        }
        self.by_account.entry(update.account).or_default().insert(update.order);
        if update.client_id != 0 {
            let key = (update.account, update.client_id);
            self.by_client_id.insert(key, update.order);
            // Theirs is no longer the last one that bore it, also when this one is forgotten before them.
            for sweep in &mut self.sweeps {
                sweep.by_client_id.remove(&key);
            }
        }
        self.open.insert(update.order, view);
    }

    fn forget_open(&mut self, order: MessageHash) {
        let Some(view) = self.open.remove(&order) else { return };
        let update = view.update;
        if view.rests() {
            self.books[usize::from(update.market.0)].remove(update.side, update.price, update.remaining());
        }
        if let Some(own) = self.by_account.get_mut(&update.account) {
            own.remove(&order);
            if own.is_empty() {
                self.by_account.remove(&update.account);
            }
        }
        if update.client_id != 0 {
            self.by_client_id.remove(&(update.account, update.client_id));
        }
    }

    fn remember_ended(&mut self, view: OrderView) {
        let update = view.update;
        if self.ended_order.len() >= ENDED_ORDERS_MAX
            && let Some(oldest) = self.ended_order.pop_front()
            && let Some(old) = self.ended.remove(&oldest)
        {
            let key = (old.update.account, old.update.client_id);
            if self.ended_by_client_id.get(&key) == Some(&oldest) {
                self.ended_by_client_id.remove(&key);
            }
        }
        if update.client_id != 0 {
            self.ended_by_client_id.insert((update.account, update.client_id), update.order);
        }
        if self.ended.insert(update.order, view).is_none() {
            self.ended_order.push_back(update.order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Address = Address(Felt::ONE);

    fn update(order: u64, client_id: u128, state: OrderState) -> OrderUpdate {
        OrderUpdate {
            order: MessageHash(Felt::from(order)),
            account: MINE,
            market: MarketId(0),
            side: Side::Buy,
            price: Price(5),
            client_id,
            state,
            reason: Reason::None,
            initiator: Initiator::User,
            size: Qty(2),
            filled: Qty(0),
            incident: IncidentId(0),
        }
    }

    /// Each step at a time of its own.
    struct Told(Orders, u64);

    impl Told {
        fn at(&mut self) -> (Seq, Ts) {
            self.1 += 1;
            (Seq(self.1), Ts(self.1))
        }
        fn tell(&mut self, order: u64, client_id: u128, state: OrderState) {
            let at = self.at();
            self.0.apply(update(order, client_id, state), Some(at));
        }
        fn sweep(&mut self) {
            let (at, open) = (self.at(), self.0.open_count() as u32);
            self.0.end_all(IncidentId(1), open, at);
        }
        fn named(&self, client_id: u128) -> Option<u64> {
            let order = self.0.by_client_id(MINE, client_id)?.update.order.0;
            (0..1_000_000u64).find(|n| Felt::from(*n) == order)
        }
    }

    #[test]
    fn a_client_id_never_names_an_order_that_another_bore_it_after() {
        let mut told = Told(Orders::new(1), 0);
        told.tell(1, 7, OrderState::Open);
        told.tell(2, 9, OrderState::Open);
        told.tell(2, 9, OrderState::Filled);
        told.tell(3, 9, OrderState::Open);
        told.sweep();
        assert_eq!((told.named(7), told.named(9)), (Some(1), Some(3)));

        // The later order of 7 is filled, and forgotten before the one that safe mode cancelled.
        told.tell(4, 7, OrderState::Open);
        told.tell(4, 7, OrderState::Filled);
        assert_eq!(told.named(7), Some(4));
        for n in 0..ENDED_ORDERS_MAX as u64 - 1 {
            told.tell(1_000 + n, 0, OrderState::Rejected);
        }
        assert_eq!((told.named(7), told.named(9)), (Some(4), Some(3)));
        told.tell(5, 0, OrderState::Rejected);
        assert_eq!((told.named(7), told.named(9)), (None, Some(3)));

        // The later order of 9 is forgotten with its sweep, before the one that was filled.
        let mut told = Told(Orders::new(1), 0);
        told.tell(2, 9, OrderState::Open);
        told.tell(2, 9, OrderState::Filled);
        told.tell(3, 9, OrderState::Open);
        for n in 0..=SWEEPS_MAX as u64 {
            assert_eq!(told.named(9), Some(3), "{n}");
            told.sweep();
            told.tell(10 + n, 0, OrderState::Open);
        }
        assert_eq!(told.named(9), None);
    }
}
