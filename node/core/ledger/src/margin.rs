use crate::wide::compare_products;
use crate::{MarketHolding, funding_payment};
use keel_types::{PPM, PerpetualSpec, Price, QUANTUMS_PER_UNIT, Qty, Side, div_ceil};
use std::cmp::Ordering;

/// What margin needs to know of a perpetual at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MarginTerms {
    pub mark: Price,
    /// Initial margin fraction in use: [imf_scaled_ppm].
    pub imf_ppm: u32,
    /// Maintenance margin fraction: the base imf x its factor. Open interest of others does not raise it. [dYdX]
    pub mmf_ppm: u32,
    /// The provision for the fee of closing: the taker rate.
    pub fee_ppm: i32,
    pub funding_index: i128,
}

/// One market's part in an account's margin, quote quantums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MarketMargin {
    /// `pos x M - cost` with unrealised funding.
    pub unrealized: i128,
    /// IMR.
    pub initial: i128,
    /// MMR.
    pub maintenance: i128,
}

/// An account's margin, quote quantums. [spec exchange, Perpetuals: cross margin]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Margin {
    /// Quote balance less spot reservations.
    pub collateral: i128,
    /// AV.
    pub value: i128,
    /// IMR.
    pub initial: i128,
    /// MMR.
    pub maintenance: i128,
    /// Sum of the unrealised results of the markets that are in profit.
    pub profit: i128,
}

impl Margin {
    /// An account's margin before any market is added.
    pub fn of_collateral(collateral: i128) -> Margin {
        Margin { collateral, value: collateral, ..Margin::default() }
    }

    /// Adds one market.
    pub fn add(&mut self, market: MarketMargin) {
        self.value += market.unrealized;
        self.initial += market.initial;
        self.maintenance += market.maintenance;
        self.profit += market.unrealized.max(0);
    }

    /// `AV >= IMR`.
    pub fn covers_initial(&self) -> bool {
        self.value >= self.initial
    }

    /// The same without what is only profit on paper: the rule for new risk during a grace. [spec safe-mode, Reopening]
    pub fn without_profit(mut self) -> Margin {
        self.value -= self.profit;
        self.profit = 0;
        self
    }
}

/// Initial margin fraction at an open interest (quote quantums): rises in a straight line from the base at the lower bound to 1 at
/// the upper. [dYdX, open-interest margin fraction]
pub fn imf_scaled_ppm(spec: &PerpetualSpec, open_interest: i128) -> u32 {
    let base = i128::from(spec.imf_ppm);
    let (lower, upper) = (spec.open_interest_lower.0, spec.open_interest_upper.0);
    let over = (open_interest - lower).clamp(0, upper - lower);
    let scaled = base + div_ceil((PPM - base) * over, upper - lower);
    u32::try_from(scaled.min(PPM)).expect("a fraction between 0 and 1")
}

/// Open loss of `qty` at `price`, in quote quantums x 1e8: exact, so that a sum over orders is rounded once.
pub fn open_loss(side: Side, price: Price, qty: Qty, mark: Price) -> i128 {
    let gap = side.sign() * (i128::from(price.0) - i128::from(mark.0));
    gap.max(0) * i128::from(qty.0)
}

/// One market's part: `open_loss` is the sum of [open_loss] over the account's orders there.
///
/// Value is rounded down, each requirement up. [spec exchange, Perpetuals]
pub fn market_margin(terms: &MarginTerms, holding: &MarketHolding, open_loss: i128) -> MarketMargin {
    let position = &holding.position;
    let unrealized = terms.mark.value_floor(position.size) - position.cost + funding_payment(position, terms.funding_index);
    let open = (holding.open_buy + position.size).max(holding.open_sell - position.size).max(0);
    let open_notional = notional_ceil(open, terms.mark);
    let held_notional = notional_ceil(position.size.abs(), terms.mark);
    let fee_ppm = i128::from(terms.fee_ppm);
    MarketMargin {
        unrealized,
        initial: div_ceil(open_notional * (i128::from(terms.imf_ppm) + fee_ppm), PPM)
            + div_ceil(open_loss, i128::from(QUANTUMS_PER_UNIT)),
        maintenance: div_ceil(held_notional * (i128::from(terms.mmf_ppm) + fee_ppm), PPM),
    }
}

/// Mark is not on tick, so this one is not exact.
pub(crate) fn notional_ceil(size: i128, mark: Price) -> i128 {
    div_ceil(size * i128::from(mark.0), i128::from(QUANTUMS_PER_UNIT))
}

/// An order that only reduces |pos|, judged as if filled at its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reduction {
    /// The account as it would be.
    pub filled: Margin,
    /// Whether nothing of the position is left.
    pub full_close: bool,
}

/// Whether an order may stand, given the account's margin before and after it. [spec exchange, Perpetuals]
///
/// `AV >= IMR` after it; or it does not raise IMR; or it only reduces |pos| and, filled at its limit, leaves AV >= 0 and AV/MMR not
/// lower (a full close: AV >= 0).
///
/// `traded`: whether part of it was filled already. Then "does not raise IMR" says nothing: what it lost by its price is no longer
/// open loss, which IMR counts, but gone from AV, which that rule does not look at.
pub fn accepts(before: &Margin, after: &Margin, traded: bool, reduction: Option<Reduction>) -> bool {
    if after.covers_initial() || (!traded && after.initial <= before.initial) {
        return true;
    }
    let Some(Reduction { filled, full_close }) = reduction else { return false };
    // An account below zero that a reduction brings to zero or more has a better ratio by any reading.
    filled.value >= 0
        && (full_close
            || before.value < 0
            || compare_products(filled.value, before.maintenance, before.value, filled.maintenance) != Ordering::Less)
}

/// Most quote quantums an account may take out: `min(collateral, AV - IMR)`, floor 0; during a grace less its unrealised profit.
pub fn withdrawable(margin: &Margin, grace: bool) -> i128 {
    let margin = if grace { margin.without_profit() } else { *margin };
    margin.collateral.min(margin.value - margin.initial).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenOrder;
    use keel_types::{Amount, PositionValue};

    const UNIT: i128 = QUANTUMS_PER_UNIT as i128;

    /// Mark 100, imf 10%, mmf 5%, fee 0.1%.
    const TERMS: MarginTerms = MarginTerms {
        mark: Price(100 * QUANTUMS_PER_UNIT),
        imf_ppm: 100_000,
        mmf_ppm: 50_000,
        fee_ppm: 1_000,
        funding_index: 0,
    };

    fn holding(size: i128, cost: i128, buys: &[(u64, u64)], sells: &[(u64, u64)]) -> (MarketHolding, i128) {
        let position = PositionValue { size: size * UNIT, cost: cost * UNIT, funding_index: 0 };
        let mut holding = MarketHolding::of_position(position);
        let mut loss = 0;
        for (side, orders) in [(Side::Buy, buys), (Side::Sell, sells)] {
            for (price, qty) in orders {
                let (price, qty) = (Price(price * QUANTUMS_PER_UNIT), Qty(qty * QUANTUMS_PER_UNIT));
                holding.open(OpenOrder { side, price, reduce_only: false }, qty);
                loss += open_loss(side, price, qty, TERMS.mark);
            }
        }
        (holding, loss)
    }

    /// By hand: open = max(B + pos, S - pos, 0), IMR = open x 100 x 10.1% + open loss, MMR = |pos| x 100 x 5.1%, in millionths.
    #[test]
    fn requirements_match_the_formulas() {
        for (size, cost, buys, sells, unrealized, initial, maintenance) in [
            (0, 0, &[][..], &[][..], 0, 0, 0),
            (10, 900, &[], &[], 100, 101_000_000, 51_000_000),
            (-10, -900, &[], &[], -100, 101_000_000, 51_000_000),
            (0, 0, &[(99, 5)], &[], 0, 50_500_000, 0),
            // Only the larger side counts: 5 against 3.
            (0, 0, &[(99, 5)], &[(101, 3)], 0, 50_500_000, 0),
            // A buy above mark loses 2 x 5 when filled.
            (0, 0, &[(102, 5)], &[], 0, 60_500_000, 0),
            (0, 0, &[], &[(97, 5)], 0, 65_500_000, 0),
            // Orders that close do not add.
            (10, 1_000, &[], &[(101, 10)], 0, 101_000_000, 51_000_000),
            (10, 1_000, &[], &[(101, 25)], 0, 151_500_000, 51_000_000),
        ] {
            let (holding, loss) = holding(size, cost, buys, sells);
            assert_eq!(holding.may_have_open_loss(TERMS.mark), loss > 0);
            let part = market_margin(&TERMS, &holding, loss);
            let expected = MarketMargin {
                unrealized: unrealized * UNIT,
                initial: initial * UNIT / 1_000_000,
                maintenance: maintenance * UNIT / 1_000_000,
            };
            assert_eq!(part, expected, "pos {size} cost {cost} buys {buys:?} sells {sells:?}");
        }
    }

    #[test]
    fn requirements_round_up_and_value_down() {
        let mark = MarginTerms { mark: Price(33), ..TERMS };
        let held = MarketHolding::of_position(PositionValue { size: 7, cost: 0, funding_index: 0 });
        assert_eq!(market_margin(&mark, &held, 1), MarketMargin { unrealized: 0, initial: 2, maintenance: 1 });
        let short = MarketHolding::of_position(PositionValue { size: -7, cost: 0, funding_index: 0 });
        assert_eq!(market_margin(&mark, &short, 0).unrealized, -1);
    }

    #[test]
    fn an_order_stands_by_any_of_the_three_rules() {
        let margin = |value, initial, maintenance| Margin { collateral: 0, value, initial, maintenance, profit: 0 };
        let (before, poorer) = (margin(50, 100, 40), margin(50, 101, 40));
        assert!(accepts(&before, &margin(120, 120, 60), true, None), "covered");
        assert!(accepts(&before, &margin(10, 100, 40), false, None), "does not raise IMR");
        assert!(!accepts(&before, &margin(10, 100, 40), true, None), "does not raise IMR, but traded its value away");
        assert!(!accepts(&before, &poorer, false, None), "raises IMR, not covered");
        let reduction = |filled, full_close| Some(Reduction { filled, full_close });
        assert!(accepts(&before, &poorer, true, reduction(margin(40, 0, 32), false)), "same ratio");
        assert!(!accepts(&before, &poorer, true, reduction(margin(39, 0, 32), false)), "ratio lower");
        assert!(!accepts(&before, &poorer, true, reduction(margin(-1, 0, 1), true)), "below zero");
        assert!(accepts(&before, &poorer, true, reduction(margin(0, 0, 0), true)), "full close at zero");
    }

    #[test]
    fn withdrawals_leave_initial_margin_and_in_a_grace_ignore_paper_profit() {
        let margin = Margin { collateral: 100, value: 180, initial: 50, maintenance: 25, profit: 80 };
        assert_eq!((withdrawable(&margin, false), withdrawable(&margin, true)), (100, 50));
        assert_eq!(withdrawable(&Margin { value: 40, ..margin }, false), 0);
    }

    #[test]
    fn initial_margin_rises_with_open_interest() {
        let spec = PerpetualSpec {
            imf_ppm: 100_000,
            mmf_factor_ppm: 500_000,
            open_interest_lower: Amount(1_000),
            open_interest_upper: Amount(2_000),
            open_interest_max: Qty(1),
            position_max: Qty(1),
            funding_rate_max_ppm: 0,
            liquidation_fee_ppm: 0,
            impact_notional: Amount(1),
        };
        for (open_interest, imf_ppm) in
            [(0, 100_000), (1_000, 100_000), (1_001, 100_900), (1_500, 550_000), (2_000, 1_000_000), (9_999, 1_000_000)]
        {
            assert_eq!(imf_scaled_ppm(&spec, open_interest), imf_ppm);
        }
    }
}
