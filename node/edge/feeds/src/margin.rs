//! An account as its owner sees it: the ledger's own rules, applied to published state.
use crate::view::{Account, View};
use keel_ledger::{
    Margin, MarginTerms, MarketHolding, OpenOrder, buy_reservation, imf_scaled_ppm, market_margin, open_loss, withdrawable,
};
use keel_types::*;
use std::collections::{BTreeMap, BTreeSet};

/// One asset of an account, quantums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BalanceSummary {
    pub asset: AssetId,
    pub total: i128,
    /// Set aside for open spot orders.
    pub reserved: i128,
}

/// One perpetual in which an account has a position or open orders, quantums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PositionSummary {
    pub market: MarketId,
    pub position: PositionValue,
    pub mark: Price,
    /// `pos x M - cost` with unrealised funding.
    pub unrealized: i128,
    /// IMR and MMR of this market.
    pub initial: i128,
    pub maintenance: i128,
}

/// An account with what follows from its state. Quote quantums where nothing else is said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountSummary {
    pub account: Address,
    /// `None`: never registered.
    pub key: Option<(StarkKey, u8)>,
    pub balances: Vec<BalanceSummary>,
    pub positions: Vec<PositionSummary>,
    /// AV, IMR, MMR, collateral.
    pub margin: Margin,
    /// What `trade_withdraw` allows in OPEN at the marks in use; before that, and in a grace, the engine may allow less.
    pub withdrawable: i128,
    pub open_orders: usize,
}

impl View {
    /// An account's summary; `None` for an address that is not registered and holds nothing.
    pub fn summary(&self, address: Address) -> Option<AccountSummary> {
        let account = self.account(address)?;
        let balances = self.balances(address);
        let quote = balances.iter().find(|balance| balance.asset == QUOTE);
        let mut margin = Margin::of_collateral(quote.map_or(0, |quote| quote.total - quote.reserved));
        let positions = self.positions(address, account);
        for position in &positions {
            let PositionSummary { unrealized, initial, maintenance, .. } = *position;
            margin.add(keel_ledger::MarketMargin { unrealized, initial, maintenance });
        }
        Some(AccountSummary {
            account: address,
            key: account.key,
            balances,
            positions,
            withdrawable: withdrawable(&margin, false),
            margin,
            open_orders: self.orders.open_of(address).count(),
        })
    }

    /// Every asset that an account holds or has set aside, by number; empty for an address that holds nothing.
    pub fn balances(&self, address: Address) -> Vec<BalanceSummary> {
        let reserved = self.reserved(address);
        let held = self.account(address).map(|account| &account.balances);
        let assets: BTreeSet<AssetId> = held.into_iter().flat_map(BTreeMap::keys).chain(reserved.keys()).copied().collect();
        let balance = |asset| BalanceSummary {
            asset,
            total: held.and_then(|held| held.get(&asset)).map_or(0, |amount| amount.0),
            reserved: reserved.get(&asset).copied().unwrap_or(0),
        };
        assets.into_iter().map(balance).collect()
    }

    /// What open spot orders set aside, per asset.
    fn reserved(&self, address: Address) -> BTreeMap<AssetId, i128> {
        let mut reserved = BTreeMap::new();
        for order in self.orders.open_of(address).filter(|order| order.rests()) {
            let update = &order.update;
            let Some(spec) = self.genesis().market(update.market) else { continue };
            let MarketKind::Spot { base } = spec.kind else { continue };
            let rate = spec.fee_maker_ppm.max(spec.fee_taker_ppm).max(0);
            let (asset, amount) = match update.side {
                Side::Buy => (QUOTE, buy_reservation(update.price, update.remaining(), rate)),
                Side::Sell => (base, i128::from(update.remaining().0)),
            };
            *reserved.entry(asset).or_insert(0) += amount;
        }
        reserved
    }

    /// Every perpetual the account has a part in, with its margin.
    fn positions(&self, address: Address, account: &Account) -> Vec<PositionSummary> {
        let mut parts: BTreeMap<MarketId, (MarketHolding, i128)> = BTreeMap::new();
        for (market, position) in &account.positions {
            parts.insert(*market, (MarketHolding::of_position(*position), 0));
        }
        for order in self.orders.open_of(address).filter(|order| order.rests()) {
            let update = &order.update;
            let Some(MarketSpec { kind: MarketKind::Perpetual(_), .. }) = self.genesis().market(update.market) else {
                continue;
            };
            let Some(state) = self.market(update.market) else { continue };
            let (holding, loss) = parts.entry(update.market).or_default();
            // Reduce-only does not enter margin.
            holding.open(OpenOrder { side: update.side, price: update.price, reduce_only: false }, update.remaining());
            *loss += open_loss(update.side, update.price, update.remaining(), state.mark);
        }
        let summary = |(market, (holding, loss)): (MarketId, (MarketHolding, i128))| {
            let terms = self.margin_terms(market)?;
            let part = market_margin(&terms, &holding, loss);
            Some(PositionSummary {
                market,
                position: holding.position,
                mark: terms.mark,
                unrealized: part.unrealized,
                initial: part.initial,
                maintenance: part.maintenance,
            })
        };
        parts.into_iter().filter_map(summary).collect()
    }

    /// `None` for a spot market.
    fn margin_terms(&self, market: MarketId) -> Option<MarginTerms> {
        let (spec, state) = (self.genesis().market(market)?, self.market(market)?);
        let MarketKind::Perpetual(perpetual) = &spec.kind else { return None };
        let mmf = div_ceil(i128::from(perpetual.imf_ppm) * i128::from(perpetual.mmf_factor_ppm), PPM);
        Some(MarginTerms {
            mark: state.mark,
            imf_ppm: imf_scaled_ppm(perpetual, state.mark.value_floor(state.open_interest)),
            mmf_ppm: u32::try_from(mmf).expect("a fraction of a fraction"),
            fee_ppm: spec.fee_taker_ppm,
            funding_index: state.funding_index.0,
        })
    }
}
