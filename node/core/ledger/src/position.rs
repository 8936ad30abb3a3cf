use keel_types::{PositionValue, Price, QUANTUMS_PER_UNIT, Qty, Side};

/// What a trade does to one position. The account's quote balance gains `realized + funding`, the insurance fund `rounding`,
/// the market's funding pool loses `funding`.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PositionChange {
    pub after: PositionValue,
    /// Quote quantums; zero when the trade only adds.
    pub realized: i128,
    /// 0 or 1.
    pub rounding: i128,
    /// Funding realised by the change.
    pub funding: i128,
}

/// Quote quantums a position receives for the funding index having moved from its entry to `index`: `-pos x (index - entry)`,
/// per base unit, rounded down. [spec exchange, Oracle, mark, funding]
pub fn funding_payment(position: &PositionValue, index: i128) -> i128 {
    (-position.size * (index - position.funding_index)).div_euclid(i128::from(QUANTUMS_PER_UNIT))
}

/// A trade of `qty` at `price` on a position, with the market's funding index.
///
/// Opening adds size and cost. Closing moves `cost x closed / |pos|` into collateral with the proceeds; of a part-closed position
/// both the moved and the kept cost are rounded up, and the extra quantum goes to the insurance fund. [spec exchange, Perpetuals]
pub fn trade(position: PositionValue, index: i128, side: Side, qty: Qty, price: Price) -> PositionChange {
    trade_value(position, index, side.sign() * i128::from(qty.0), side.sign() * price.notional(qty))
}

/// The same for `size` (signed base quantums, not zero) at `value` in all (signed quote quantums, of the sign of `size`): for
/// transfers at mark, which is not on tick. The part of `value` that closes is rounded down; both parts together are exact.
pub fn trade_value(position: PositionValue, index: i128, size: i128, value: i128) -> PositionChange {
    let funding = funding_payment(&position, index);
    let closes = position.size.signum() == -size.signum();
    let closed = if closes { size.abs().min(position.size.abs()) } else { 0 };
    let value_closed = value - part_ceil(value, size.abs() - closed, size.abs());

    let (cost_moved, cost_kept) = split_cost(position.cost, position.size.abs(), closed);
    let realized = if closed == 0 { 0 } else { -value_closed - cost_moved };
    let after = PositionValue {
        size: position.size + size,
        cost: cost_kept + if closed == 0 { value } else { value - value_closed },
        funding_index: index,
    };
    PositionChange { after, realized, rounding: cost_moved + cost_kept - position.cost, funding }
}

/// The cost of `closed` out of `size`, and of the rest, each rounded up.
fn split_cost(cost: i128, size: i128, closed: i128) -> (i128, i128) {
    if closed == 0 {
        return (0, cost);
    }
    (part_ceil(cost, closed, size), part_ceil(cost, size - closed, size))
}

/// `ceil(cost x part / size)` for `0 <= part <= size < 2^64`, without overflow for any cost.
fn part_ceil(cost: i128, part: i128, size: i128) -> i128 {
    let (quotient, rest) = (cost.div_euclid(size), cost.rem_euclid(size));
    let product = u128::try_from(rest).expect("a Euclidean remainder is not negative")
        * u128::try_from(part).expect("a part of a position is not negative");
    let whole = product.div_ceil(size as u128);
    quotient * part + i128::try_from(whole).expect("below 2^64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNIT: i128 = QUANTUMS_PER_UNIT as i128;

    fn at(size: i128, cost: i128) -> PositionValue {
        PositionValue { size: size * UNIT, cost: cost * UNIT, funding_index: 0 }
    }

    /// Hand-worked: (position, side, qty, price) -> (position, realised).
    #[test]
    fn reductions_move_cost_into_collateral() {
        for (before, side, qty, price, after, realized) in [
            (at(0, 0), Side::Buy, 10, 100, at(10, 1_000), 0),
            (at(10, 1_000), Side::Buy, 5, 130, at(15, 1_650), 0),
            (at(10, 1_000), Side::Sell, 4, 120, at(6, 600), 80),
            (at(10, 1_000), Side::Sell, 10, 90, at(0, 0), -100),
            (at(10, 1_000), Side::Sell, 15, 120, at(-5, -600), 200),
            (at(-10, -1_000), Side::Buy, 4, 90, at(-6, -600), 40),
            (at(-10, -1_000), Side::Buy, 12, 110, at(2, 220), -100),
        ] {
            let change = trade(before, 0, side, Qty(qty * QUANTUMS_PER_UNIT), Price(price * QUANTUMS_PER_UNIT));
            assert_eq!(
                (change.after, change.realized, change.rounding),
                (after, realized * UNIT, 0),
                "{before:?} {side} {qty}"
            );
        }
    }

    #[test]
    fn a_part_closed_cost_rounds_against_the_account_once() {
        // 3 lots that cost 10: one closed at 0 takes 4 (not 3.33), two keep 7 (not 6.67); the extra quantum is the fund's.
        let position = PositionValue { size: 3 * UNIT, cost: 10, funding_index: 0 };
        let change = trade(position, 0, Side::Sell, Qty(QUANTUMS_PER_UNIT), Price(0));
        assert_eq!((change.realized, change.after.cost, change.rounding), (-4, 7, 1));
    }

    #[test]
    fn funding_is_paid_by_longs_when_the_index_rises() {
        let long = PositionValue { size: 2 * UNIT, cost: 0, funding_index: 5 };
        assert_eq!(funding_payment(&long, 15), -20);
        assert_eq!(funding_payment(&PositionValue { size: -2 * UNIT, ..long }, 15), 20);
        // Half a quantum: paid in full, received not at all.
        assert_eq!(funding_payment(&PositionValue { size: UNIT / 2, ..long }, 6), -1);
        assert_eq!(funding_payment(&PositionValue { size: -UNIT / 2, ..long }, 6), 0);
    }

    #[test]
    fn a_transfer_at_a_value_off_the_grid_loses_nothing() {
        // 3 units for 10 quantums in all, against a long of 1: a third closes (3, rounded down), the rest opens at 7.
        let change = trade_value(PositionValue { size: UNIT, cost: 5, funding_index: 0 }, 0, -3 * UNIT, -10);
        assert_eq!((change.after.size, change.after.cost, change.realized, change.rounding), (-2 * UNIT, -6, -1, 0));
    }

    proptest! {
        #[test]
        fn a_transfer_conserves_value(size in -(1i128 << 60)..(1i128 << 60), cost in -(1i128 << 80)..(1i128 << 80), moved in 1i128..(1i128 << 60), value in 0i128..(1i128 << 80), buy: bool) {
            let position = PositionValue { size, cost: if size == 0 { 0 } else { cost }, funding_index: 0 };
            let sign = if buy { 1 } else { -1 };
            let change = trade_value(position, 0, sign * moved, sign * value);
            prop_assert_eq!(change.realized - change.after.cost + change.rounding, -position.cost - sign * value);
            prop_assert_eq!(change.after.size, position.size + sign * moved);
            prop_assert!(change.after.size != 0 || change.after.cost == 0);
        }

        #[test]
        fn a_trade_conserves_value(size in -(1i128 << 60)..(1i128 << 60), cost in -(1i128 << 80)..(1i128 << 80), lots in 1u64..1_000_000, price in 0u64..1_000_000_000, buy: bool) {
            let position = PositionValue { size, cost: if size == 0 { 0 } else { cost }, funding_index: 0 };
            let side = if buy { Side::Buy } else { Side::Sell };
            let (qty, price) = (Qty(lots * 1_000_000), Price(price * 100));
            let change = trade(position, 0, side, qty, price);
            // What the account gives up in cost it gains in balance, after paying for the trade.
            let paid = side.sign() * price.notional(qty);
            prop_assert_eq!(change.realized - change.after.cost + change.rounding, -position.cost - paid);
            prop_assert_eq!(change.after.size, position.size + side.sign() * i128::from(qty.0));
            prop_assert!((0..=1).contains(&change.rounding));
            prop_assert!(change.after.size != 0 || change.after.cost == 0);
        }
    }
}
