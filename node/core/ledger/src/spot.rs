use crate::{FeeSplit, Holdings, fee_split};
use keel_types::{AssetId, Price, QUOTE, Qty, fee};

/// Quote quantums an open spot buy sets aside: what it can cost at its limit, with the fee. `rate_ppm` is the higher of the
/// market's two fees, at least 0. A function of what is left, so that releases are exact. [spec exchange, Spot]
pub fn buy_reservation(limit: Price, remaining: Qty, rate_ppm: i32) -> i128 {
    let notional = limit.notional(remaining);
    notional + fee(notional, rate_ppm.max(0))
}

/// Sets aside for a new buy.
pub fn buy_reserve(buyer: &mut Holdings, limit: Price, size: Qty, rate_ppm: i32) {
    buyer.reserve(QUOTE, buy_reservation(limit, size, rate_ppm));
}

/// Gives back what a buy that ends with `remaining` still has set aside.
pub fn buy_release(buyer: &mut Holdings, limit: Price, remaining: Qty, rate_ppm: i32) {
    buyer.reserve(QUOTE, -buy_reservation(limit, remaining, rate_ppm));
}

/// An open spot buy, as its fills see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenBuy {
    pub base: AssetId,
    pub limit: Price,
    /// What was left before the fill.
    pub remaining: Qty,
    /// The rate of [buy_reservation].
    pub reserve_ppm: i32,
}

/// What a fill does to the buyer of a spot order: `qty` of what remains at `price`, not above its limit; `fee_ppm`, the rate that is
/// charged, is not above the one reserved.
///
/// The fee is charged from what the order set aside, so that no sequence of fills, each rounded up, costs more than was reserved:
/// over the life of an order the rounding is below one quantum, against the account.
pub fn buy_fill(buyer: &mut Holdings, order: &OpenBuy, qty: Qty, price: Price, fee_ppm: i32) -> FeeSplit {
    let reserved = |remaining| buy_reservation(order.limit, remaining, order.reserve_ppm);
    let released = reserved(order.remaining) - reserved(Qty(order.remaining.0 - qty.0));
    let paid = price.notional(qty);
    let split = fee_split(paid, fee_ppm).capped(released - paid);
    buyer.reserve(QUOTE, -released);
    buyer.credit(QUOTE, -paid - split.charged);
    buyer.credit(order.base, i128::from(qty.0));
    split
}

/// Sets aside for a new sell.
pub fn sell_reserve(seller: &mut Holdings, base: AssetId, size: Qty) {
    seller.reserve(base, i128::from(size.0));
}

/// Gives back what a sell that ends with `remaining` still has set aside.
pub fn sell_release(seller: &mut Holdings, base: AssetId, remaining: Qty) {
    seller.reserve(base, -i128::from(remaining.0));
}

/// What a fill does to the seller of a spot order.
pub fn sell_fill(seller: &mut Holdings, base: AssetId, qty: Qty, price: Price, fee_ppm: i32) -> FeeSplit {
    let received = price.notional(qty);
    let split = fee_split(received, fee_ppm);
    seller.reserve(base, -i128::from(qty.0));
    seller.credit(base, -i128::from(qty.0));
    seller.credit(QUOTE, received - split.charged);
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: AssetId = AssetId(1);

    proptest! {
        /// However a buy is cut into fills, it pays no more than it reserved, and ends with nothing reserved.
        #[test]
        fn fills_never_cost_more_than_was_reserved(
            limit in 1u64..2_000,
            cuts in proptest::collection::vec((1u64..60, 0u64..2_000, any::<bool>()), 1..12),
            taker in 0i32..5_000,
            maker in -2_000i32..5_000,
        ) {
            let maker = maker.max(-taker);
            let reserve = taker.max(maker);
            let unit = |n: u64| Qty(n * 100_000_000);
            let size: u64 = cuts.iter().map(|cut| cut.0).sum();
            let mut buyer = Holdings::new(2, 0);
            let whole = buy_reservation(Price(limit), unit(size), reserve);
            buyer.credit(QUOTE, whole);
            buy_reserve(&mut buyer, Price(limit), unit(size), reserve);
            let (mut left, mut collected, mut rounding, mut paid) = (size, 0, 0, 0);
            for (qty, discount, takes) in cuts {
                let price = Price(limit.saturating_sub(discount).max(1));
                let rate = if takes { taker } else { maker };
                let order = OpenBuy { base: BASE, limit: Price(limit), remaining: unit(left), reserve_ppm: reserve };
                let split = buy_fill(&mut buyer, &order, unit(qty), price, rate);
                left -= qty;
                prop_assert!((0..=1).contains(&split.rounding));
                collected += split.collected;
                rounding += split.rounding;
                paid += price.notional(unit(qty));
                prop_assert!(buyer.balance(QUOTE).available() >= 0);
            }
            prop_assert_eq!(buyer.balance(QUOTE).reserved, 0);
            prop_assert_eq!(buyer.balance(QUOTE).total, whole - paid - collected - rounding);
            prop_assert_eq!(buyer.balance(BASE).total, i128::from(unit(size).0));
        }
    }
}
