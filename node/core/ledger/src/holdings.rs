use keel_types::{AssetId, MarketId, PositionValue, Price, Qty, Side};

/// One asset of one account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Balance {
    /// Quantums held, reservations included. Only the quote balance can be negative: a loss not yet covered by a position's profit.
    pub total: i128,
    /// Quantums set aside for open spot orders; a function of those orders, exact at any time.
    pub reserved: i128,
    /// Whether the chain knows this balance: from the first movement on, for good. Zero is a stored value, absent is not zero.
    pub listed: bool,
}

impl Balance {
    /// What is not reserved.
    pub fn available(&self) -> i128 {
        self.total - self.reserved
    }
}

/// One market of one account: the position, and sums over its open orders there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MarketHolding {
    pub position: PositionValue,
    /// As [Balance::listed], for the position.
    pub listed: bool,
    /// Open orders, spot markets too.
    pub orders: u32,
    /// Open buy size `B`, base quantums. Perpetuals only, as all below.
    pub open_buy: i128,
    /// Open sell size `S`.
    pub open_sell: i128,
    /// The part of both that is reduce-only.
    pub open_reduce_only: i128,
    /// No open buy is dearer than this: spares the walk over orders when none can have an open loss. A bound, not exact.
    buy_price_max: Price,
    /// No open sell is cheaper than this.
    sell_price_min: Price,
}

/// What [MarketHolding] needs to know of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenOrder {
    pub side: Side,
    pub price: Price,
    pub reduce_only: bool,
}

impl Default for MarketHolding {
    fn default() -> MarketHolding {
        MarketHolding {
            position: PositionValue::default(),
            listed: false,
            orders: 0,
            open_buy: 0,
            open_sell: 0,
            open_reduce_only: 0,
            buy_price_max: Price(0),
            sell_price_min: Price(u64::MAX),
        }
    }
}

impl MarketHolding {
    /// A position with nothing open.
    pub fn of_position(position: PositionValue) -> MarketHolding {
        MarketHolding { position, listed: true, ..MarketHolding::default() }
    }

    /// Counts `qty` of a perpetual order as open.
    pub fn open(&mut self, order: OpenOrder, qty: Qty) {
        let qty = i128::from(qty.0);
        match order.side {
            Side::Buy => {
                self.open_buy += qty;
                self.buy_price_max = self.buy_price_max.max(order.price);
            }
            Side::Sell => {
                self.open_sell += qty;
                self.sell_price_min = self.sell_price_min.min(order.price);
            }
        }
        if order.reduce_only {
            self.open_reduce_only += qty;
        }
    }

    /// Counts `qty` of it as no longer open: filled or cancelled.
    pub fn close(&mut self, order: OpenOrder, qty: Qty) {
        let qty = i128::from(qty.0);
        match order.side {
            Side::Buy => {
                self.open_buy -= qty;
                if self.open_buy == 0 {
                    self.buy_price_max = Price(0);
                }
            }
            Side::Sell => {
                self.open_sell -= qty;
                if self.open_sell == 0 {
                    self.sell_price_min = Price(u64::MAX);
                }
            }
        }
        if order.reduce_only {
            self.open_reduce_only -= qty;
        }
        assert!(self.open_buy >= 0 && self.open_sell >= 0 && self.open_reduce_only >= 0, "closed more than was open");
    }

    /// Whether an open order may have an open loss at `mark`; when not, its sum is zero.
    pub fn may_have_open_loss(&self, mark: Price) -> bool {
        (self.open_buy > 0 && self.buy_price_max > mark) || (self.open_sell > 0 && self.sell_price_min < mark)
    }

    /// The same without any open order.
    pub fn without_orders(&self) -> MarketHolding {
        MarketHolding { position: self.position, listed: self.listed, ..MarketHolding::default() }
    }

    /// Nothing held, nothing open: no part in margin.
    pub fn is_idle(&self) -> bool {
        self.position.size == 0 && self.open_buy == 0 && self.open_sell == 0
    }

    /// Base quantums by which an order of `side` can reduce the position.
    pub fn reducible(&self, side: Side) -> i128 {
        (-side.sign() * self.position.size).max(0)
    }
}

/// Everything one account holds. Both lists are as long as the chain's lists of assets and markets.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Holdings {
    pub balances: Vec<Balance>,
    pub markets: Vec<MarketHolding>,
}

impl Clone for Holdings {
    fn clone(&self) -> Holdings {
        Holdings { balances: self.balances.clone(), markets: self.markets.clone() }
    }
    /// Reuses both allocations: the engine stages a copy of every account a command touches.
    fn clone_from(&mut self, source: &Holdings) {
        self.balances.clone_from(&source.balances);
        self.markets.clone_from(&source.markets);
    }
}

impl Holdings {
    /// A new account: nothing. A balance is listed, and so on chain, from its first credit on.
    pub fn new(assets: usize, markets: usize) -> Holdings {
        Holdings { balances: vec![Balance::default(); assets], markets: vec![MarketHolding::default(); markets] }
    }

    /// The balance of an asset.
    pub fn balance(&self, asset: AssetId) -> &Balance {
        &self.balances[usize::from(asset.0)]
    }

    /// The holding in a market.
    pub fn market(&self, market: MarketId) -> &MarketHolding {
        &self.markets[usize::from(market.0)]
    }

    /// As [Holdings::market].
    pub fn market_mut(&mut self, market: MarketId) -> &mut MarketHolding {
        &mut self.markets[usize::from(market.0)]
    }

    /// Whether an order is open, in any market.
    pub fn has_orders(&self) -> bool {
        self.open_orders() > 0
    }

    /// How many there are, in all markets.
    pub fn open_orders(&self) -> usize {
        self.markets.iter().map(|market| market.orders as usize).sum()
    }

    /// The account has no open order any more, in any market: nothing is set aside, nothing is open.
    pub fn clear_orders(&mut self) {
        self.balances.iter_mut().for_each(|balance| balance.reserved = 0);
        self.markets.iter_mut().for_each(|market| *market = market.without_orders());
    }

    /// Adds to a balance; negative takes away.
    pub fn credit(&mut self, asset: AssetId, amount: i128) {
        let balance = &mut self.balances[usize::from(asset.0)];
        balance.total += amount;
        balance.listed = true;
    }

    /// Sets aside; negative gives back. More than was set aside can never be given back.
    pub fn reserve(&mut self, asset: AssetId, amount: i128) {
        let balance = &mut self.balances[usize::from(asset.0)];
        balance.reserved += amount;
        assert!(balance.reserved >= 0, "released more than was reserved");
    }
}
