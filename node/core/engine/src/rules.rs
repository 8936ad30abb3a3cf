use keel_types::*;

/// Genesis, with what is looked up often.
#[derive(Debug)]
pub(crate) struct Rules {
    pub genesis: Genesis,
    pub hash: Bytes32,
    /// Markets that take part in margin.
    pub perpetuals: Vec<MarketId>,
}

impl Rules {
    /// Panics when the rules do not pass [Genesis::check]: the binary refuses them before.
    pub fn new(genesis: &Genesis) -> Rules {
        if let Err(why) = genesis.check() {
            panic!("genesis was not checked: {why}");
        }
        let is_perpetual = |spec: &MarketSpec| matches!(spec.kind, MarketKind::Perpetual(_));
        let perpetuals =
            (0..genesis.markets.len()).filter(|i| is_perpetual(&genesis.markets[*i])).map(|i| MarketId(i as u16)).collect();
        Rules { genesis: genesis.clone(), hash: genesis.hash(), perpetuals }
    }

    /// A market that exists.
    pub fn market(&self, market: MarketId) -> &MarketSpec {
        &self.genesis.markets[usize::from(market.0)]
    }

    /// The perpetual of a market in [Rules::perpetuals].
    pub fn perpetual(&self, market: MarketId) -> &PerpetualSpec {
        match &self.market(market).kind {
            MarketKind::Perpetual(spec) => spec,
            MarketKind::Spot { .. } => panic!("market {market} is not a perpetual"),
        }
    }
}

/// Rate at which a spot buy reserves its fee: the higher of both, so that neither role costs more than was reserved.
pub(crate) fn reserve_ppm(spec: &MarketSpec) -> i32 {
    spec.fee_taker_ppm.max(spec.fee_maker_ppm)
}

/// The worst price at which an order may trade, on tick: a buy never above mark x (1 + band), a sell never below mark x (1 - band).
/// [spec exchange, Orders: price band]
pub(crate) fn band_edge(spec: &MarketSpec, mark: Price, side: Side) -> Price {
    edge(spec, mark, i128::from(spec.band_ppm), side)
}

/// `reach_ppm` worse than a price for an order of `side`, on tick on the near side, at most `price_max`.
pub(crate) fn edge(spec: &MarketSpec, from: Price, reach_ppm: i128, side: Side) -> Price {
    let (from, tick) = (i128::from(from.0), i128::from(spec.tick_size.0));
    let edge = match side {
        Side::Buy => (from * (PPM + reach_ppm)).div_euclid(PPM * tick) * tick,
        Side::Sell => div_ceil(from * (PPM - reach_ppm), PPM * tick) * tick,
    };
    Price(u64::try_from(edge.min(i128::from(spec.price_max.0))).expect("an edge is not negative"))
}

/// The nearer of two limits of an order.
pub(crate) fn tighter(side: Side, a: Price, b: Price) -> Price {
    match side {
        Side::Buy => a.min(b),
        Side::Sell => a.max(b),
    }
}
