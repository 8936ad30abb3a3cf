use crate::Holdings;
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{AssetId, MarketId};

/// Everything ever deposited and withdrawn of one asset, quantums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Totals {
    pub deposited: i128,
    pub withdrawn: i128,
}

impl Totals {
    /// What the exchange owes to all accounts together.
    pub fn liabilities(&self) -> i128 {
        self.deposited - self.withdrawn
    }
}

/// Sums over all accounts, for the conservation rules. [spec exchange, Units]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sums {
    balances: Vec<i128>,
    positions: Vec<i128>,
    cost: i128,
    funding_pools: i128,
    open_interest: Vec<i128>,
}

impl Sums {
    /// Nothing yet.
    pub fn new(assets: usize, markets: usize) -> Sums {
        Sums {
            balances: vec![0; assets],
            positions: vec![0; markets],
            cost: 0,
            funding_pools: 0,
            open_interest: vec![0; markets],
        }
    }

    /// Adds one account.
    pub fn add(&mut self, holdings: &Holdings) {
        for (sum, balance) in self.balances.iter_mut().zip(&holdings.balances) {
            *sum += balance.total;
        }
        for (i, holding) in holdings.markets.iter().enumerate() {
            self.positions[i] += holding.position.size;
            self.open_interest[i] += holding.position.size.max(0);
            self.cost += holding.position.cost;
        }
    }

    /// Adds one market's funding pool F.
    pub fn add_funding_pool(&mut self, pool: i128) {
        self.funding_pools += pool;
    }

    /// What is held of an asset: for the quote asset balances + funding pools - position costs. Equal to
    /// [Totals::liabilities], or value was made or lost.
    pub fn held(&self, asset: AssetId) -> i128 {
        let balances = self.balances[usize::from(asset.0)];
        if asset == keel_types::QUOTE { balances + self.funding_pools - self.cost } else { balances }
    }

    /// Sum of signed positions in a market; must be zero.
    pub fn position(&self, market: MarketId) -> i128 {
        self.positions[usize::from(market.0)]
    }

    /// Sum of long positions in a market.
    pub fn open_interest(&self, market: MarketId) -> i128 {
        self.open_interest[usize::from(market.0)]
    }
}
