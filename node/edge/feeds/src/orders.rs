use crate::book::Book;
use keel_types::*;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Orders that ended and are still answered from memory; older ones are in the store's history. 100,000 x about 250 bytes.
pub const ENDED_ORDERS_MAX: usize = 100_000;

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
}

impl Orders {
    pub(crate) fn new(markets: usize) -> Orders {
        Orders {
            books: vec![Book::default(); markets],
            // Growing under a mass cancel would take longer than the cancels.
            ended: HashMap::with_capacity(ENDED_ORDERS_MAX),
            ended_order: VecDeque::with_capacity(ENDED_ORDERS_MAX),
            ..Orders::default()
        }
    }

    /// Open, or ended lately.
    pub fn get(&self, order: MessageHash) -> Option<&OrderView> {
        self.open.get(&order).or_else(|| self.ended.get(&order))
    }

    /// By the client's own id: the live order that bears it, else the last one that did.
    pub fn by_client_id(&self, account: Address, client_id: u128) -> Option<&OrderView> {
        let key = (account, client_id);
        let hash = self.by_client_id.get(&key).or_else(|| self.ended_by_client_id.get(&key))?;
        self.get(*hash)
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

    /// Every open order ends, as safe mode has it: what a hundred thousand of them leave is not taken apart one by one. Panics if they are
    /// not exactly those that are open.
    pub(crate) fn end_all(&mut self, updates: impl Iterator<Item = OrderUpdate>, at: (Seq, Ts)) {
        let mut ended = 0;
        for update in updates {
            assert!(self.open.contains_key(&update.order), "safe mode ended an order that was not open");
            self.remember_ended(OrderView { update, at: Some(at) });
            ended += 1;
        }
        assert_eq!(ended, self.open.len(), "safe mode left an order open");
        self.open.clear();
        self.by_account.clear();
        self.by_client_id.clear();
        self.books.iter_mut().for_each(|book| *book = Book::default());
    }

    fn insert_open(&mut self, view: OrderView) {
        let update = view.update;
        if view.rests() {
            self.books[usize::from(update.market.0)].add(update.side, update.price, update.remaining());
        }
        self.by_account.entry(update.account).or_default().insert(update.order);
        if update.client_id != 0 {
            self.by_client_id.insert((update.account, update.client_id), update.order);
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
