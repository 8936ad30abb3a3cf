//! What a liquidation decides, as functions of a receipt's inputs alone: the engine and `keel receipt recompute` call the same code.
//! [spec exchange, Liquidation]

use crate::MarketHolding;
use crate::margin::{Margin, MarginTerms, MarketMargin, market_margin, notional_ceil};
use crate::position::{funding_payment, trade_value};
use crate::wide::{mul_div_floor, mul_div_rem};
use keel_types::*;
use std::cmp::Reverse;

/// Equal parts in which positions are closed: multiples of 20%.
const FIFTHS: u8 = 5;
/// Weights of a profit ratio and of leverage are parts per this, at most [WEIGHT_RATIO_MAX].
const WEIGHT_SCALE: i128 = 1_000_000;
/// A ratio above a thousand counts as a thousand (cost or value next to nothing): sums of 10^5 weights of the largest positions fit.
const WEIGHT_RATIO_MAX: i128 = WEIGHT_SCALE * 1_000;

/// A closing order of step 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closing {
    pub market: MarketId,
    pub side: Side,
    pub size: Qty,
    /// Bankruptcy price, to the tick.
    pub limit: Price,
}

/// The side that closes a position of `size`, signed.
pub fn closing_side(size: i128) -> Side {
    if size > 0 { Side::Sell } else { Side::Buy }
}

/// One market's part, without open orders.
fn part_margin(market: &MarketInputs) -> MarketMargin {
    let terms = MarginTerms {
        mark: market.mark,
        imf_ppm: market.imf_ppm,
        mmf_ppm: market.mmf_ppm,
        fee_ppm: market.fee_ppm,
        funding_index: market.funding_index.0,
    };
    market_margin(&terms, &MarketHolding::of_position(position_of(market)), 0)
}

fn position_of(market: &MarketInputs) -> PositionValue {
    PositionValue { size: market.size.0, cost: market.cost.0, funding_index: market.entry_index.0 }
}

/// The margin of an account without open orders.
pub fn margin_of(inputs: &MarginInputs) -> Margin {
    let mut margin = Margin::of_collateral(inputs.collateral.0);
    inputs.markets.iter().for_each(|market| margin.add(part_margin(market)));
    margin
}

/// `AV < MMR`.
pub fn is_liquidatable(margin: &Margin) -> bool {
    margin.value < margin.maintenance
}

/// `AV < 2/3 MMR`: step 3 and 4 may follow.
pub fn is_near_bankruptcy(margin: &Margin) -> bool {
    3 * margin.value < 2 * margin.maintenance
}

/// Maintenance margin of one market.
fn maintenance_of(market: &MarketInputs) -> i128 {
    part_margin(market).maintenance
}

/// `M - sign(pos) x AV x (MMR_i / MMR) / |pos|`, to the tick, rounded so that a fill at it leaves the account at zero or above: a
/// long sells at the next tick above, a short buys at the next below. Within the market's price range.
pub fn bankruptcy_price(inputs: &MarginInputs, market: &MarketInputs) -> Price {
    let margin = margin_of(inputs);
    let share = mul_div_floor(margin.value, maintenance_of(market), margin.maintenance.max(1));
    let per_unit = mul_div_floor(share, i128::from(QUANTUMS_PER_UNIT), market.size.0.abs());
    let (mark, tick) = (i128::from(market.mark.0), i128::from(market.tick_size.0));
    let price = match market.size.0 > 0 {
        true => div_ceil(mark - per_unit, tick) * tick,
        false => (mark + per_unit).div_euclid(tick) * tick,
    };
    let bounded = price.clamp(tick, i128::from(market.price_max.0));
    Price(u64::try_from(bounded).expect("a price within the market's range"))
}

/// `fifths` of a position, up to the next lot.
fn part_of(market: &MarketInputs, fifths: u8) -> Qty {
    let (size, lot) = (market.size.0.abs(), i128::from(market.lot_size.0));
    let part = div_ceil(size * i128::from(fifths), i128::from(FIFTHS) * lot) * lot;
    Qty(u64::try_from(part.min(size)).expect("a part of a position"))
}

/// Step 2: the smallest multiple of 20% of all positions which, closed at mark with its fee, restores `AV >= MMR / 0.9`; all of them when
/// none does. Orders in market order.
pub fn close_plan(inputs: &MarginInputs) -> (u8, Vec<Closing>) {
    let restores = |fifths: &u8| {
        let mut rest = inputs.clone();
        let mut fee = 0;
        for market in &mut rest.markets {
            let closed = i128::from(part_of(market, *fifths).0);
            fee += liquidation_fee(notional_ceil(closed, market.mark), market.liquidation_fee_ppm);
            market.size = Amount(market.size.0 - market.size.0.signum() * closed);
        }
        let maintenance: i128 = rest.markets.iter().map(maintenance_of).sum();
        9 * (margin_of(inputs).value - fee) >= 10 * maintenance
    };
    let fifths = (1..FIFTHS).find(restores).unwrap_or(FIFTHS);
    let closing = inputs.markets.iter().map(|market| Closing {
        market: market.market,
        side: closing_side(market.size.0),
        size: part_of(market, fifths),
        limit: bankruptcy_price(inputs, market),
    });
    (fifths, closing.collect())
}

/// Fee of what was closed, quote quantums; the caller caps the sum by the equity left.
pub fn liquidation_fee(notional: i128, liquidation_fee_ppm: u32) -> i128 {
    div_ceil(notional * i128::from(liquidation_fee_ppm), PPM)
}

/// Value of a position at mark, signed, rounded down: what a transfer at mark is booked at.
pub fn value_at_mark(market: &MarketInputs) -> i128 {
    market.mark.value_floor(market.size.0)
}

/// Fee of a take-over: on everything at mark, capped by the equity.
pub fn take_over_fee(inputs: &MarginInputs) -> i128 {
    let fee_of =
        |market: &MarketInputs| liquidation_fee(notional_ceil(market.size.0.abs(), market.mark), market.liquidation_fee_ppm);
    let fees: i128 = inputs.markets.iter().map(fee_of).sum();
    fees.min(equity_at_mark(inputs).max(0))
}

/// What the account has once all its positions are booked out at mark: negative is what it owes.
pub fn equity_at_mark(inputs: &MarginInputs) -> i128 {
    let realized = inputs.markets.iter().map(|market| {
        let position = position_of(market);
        value_at_mark(market) - position.cost + funding_payment(&position, market.funding_index.0)
    });
    inputs.collateral.0 + realized.sum::<i128>()
}

/// The fund after taking the account over at mark, its fee and deficit included.
pub fn fund_after(fund: &MarginInputs, account: &MarginInputs) -> MarginInputs {
    let mut after = fund.clone();
    for taken in account.markets.iter().filter(|market| market.size.0 != 0) {
        let index = taken.funding_index.0;
        let mine = after.markets.iter_mut().find(|market| market.market == taken.market);
        let before =
            mine.as_ref().map_or(PositionValue { funding_index: index, ..PositionValue::default() }, |m| position_of(m));
        let change = trade_value(before, index, taken.size.0, value_at_mark(taken));
        after.collateral.0 += change.realized + change.funding + change.rounding;
        let market = MarketInputs {
            size: Amount(change.after.size),
            cost: Amount(change.after.cost),
            entry_index: Amount(index),
            ..*taken
        };
        match mine {
            Some(mine) => *mine = market,
            None => after.markets.push(market),
        }
    }
    after.markets.retain(|market| market.size.0 != 0);
    after.markets.sort_unstable_by_key(|market| market.market);
    after.collateral.0 += take_over_fee(account) + equity_at_mark(account).min(0);
    after
}

/// Whether the fund can take the account over: its AV stays at or above its own IMR.
pub fn fund_can_take(fund: &MarginInputs, account: &MarginInputs) -> bool {
    margin_of(&fund_after(fund, account)).covers_initial()
}

/// The account with `size` of one of its positions closed at `price` without a fee.
pub fn closed_at(inputs: &MarginInputs, market: MarketId, size: Qty, price: Price) -> MarginInputs {
    let mut after = inputs.clone();
    let Some(at) = after.markets.iter_mut().find(|m| m.market == market) else { return after };
    let side = closing_side(at.size.0);
    if size.is_zero() {
        return after;
    }
    let change = crate::trade(position_of(at), at.funding_index.0, side, size, price);
    (at.size, at.cost, at.entry_index) =
        (Amount(change.after.size), Amount(change.after.cost), Amount(change.after.funding_index));
    after.collateral.0 += change.realized + change.funding;
    after.markets.retain(|m| m.size.0 != 0);
    after
}

/// Step 4: the market to deleverage next, the largest maintenance first (of equals the first), and the price.
pub fn deleverage_market(inputs: &MarginInputs) -> Option<(MarketId, Side, Price)> {
    let largest = inputs.markets.iter().max_by_key(|market| (maintenance_of(market), Reverse(market.market)))?;
    Some((largest.market, closing_side(largest.size.0), bankruptcy_price(inputs, largest)))
}

/// Step 4: the fewest lots of `market` to close at `price` so that the rest needs no deleveraging: the account is healthy again, or the fund can
/// take it over. All of the position when no part of it is enough. "Never more than the deficit needs."
pub fn deleverage_size(inputs: &MarginInputs, fund: &MarginInputs, market: MarketId, price: Price) -> Qty {
    let Some(at) = inputs.markets.iter().find(|m| m.market == market) else { return Qty(0) };
    let lot = i128::from(at.lot_size.0);
    let lots = at.size.0.abs() / lot;
    let enough = |lots: i128| {
        let size = Qty(u64::try_from(lots * lot).expect("a part of a position"));
        let rest = closed_at(inputs, market, size, price);
        !is_liquidatable(&margin_of(&rest)) || fund_can_take(fund, &rest)
    };
    // The more is closed, the less the fund must carry: a binary search finds where it becomes enough.
    let (mut low, mut high) = (0, lots);
    while low < high {
        let middle = (low + high) / 2;
        if enough(middle) { high = middle } else { low = middle + 1 }
    }
    Qty(u64::try_from(high * lot).expect("a part of a position"))
}

/// `|pos| x profit ratio x leverage` of a candidate at mark; zero when it is not in profit.
pub fn weight(candidate: &DeleverageCandidate, mark: Price) -> i128 {
    if candidate.profit.0 <= 0 {
        return 0;
    }
    let ratio = |part: i128, whole: i128| match whole > 0 {
        true => mul_div_floor(part, WEIGHT_SCALE, whole).min(WEIGHT_RATIO_MAX),
        false => WEIGHT_RATIO_MAX,
    };
    let size = candidate.size.0.abs();
    let notional = mark.value_floor(size);
    // At least 1: a profit too small to measure still shares, by its size.
    let gain = ratio(candidate.profit.0, candidate.cost.0.abs()).max(1);
    let leverage = ratio(notional, candidate.value.0).max(1);
    mul_div_floor(size, gain * leverage, WEIGHT_SCALE).max(1)
}

/// Step 4: what each candidate gives of `size`: in proportion to its weight, capped at its position, in lots by largest remainder, ties by address.
/// Nobody gives more than leaves it at zero or above at the deleveraging price, and nobody gives who is not in profit; so the shares may
/// add up to less than `size`. `mark` values the candidates, `price` is what they are closed at.
pub fn deleverage_shares(
    size: Qty,
    lot: Qty,
    (mark, price): (Price, Price),
    candidates: &[DeleverageCandidate],
) -> Vec<DeleverageShare> {
    let lot = i128::from(lot.0);
    let capacity: Vec<i128> = candidates.iter().map(|c| capacity(c, lot, mark, price)).collect();
    let weights: Vec<i128> = candidates.iter().map(|c| weight(c, mark)).collect();
    let mut given = vec![0i128; candidates.len()];
    share_out(i128::from(size.0) / lot, &weights, &capacity, candidates, &mut given);
    let shares = candidates.iter().zip(given).filter(|(_, lots)| *lots > 0);
    shares
        .map(|(c, lots)| DeleverageShare {
            account: c.account,
            size: Qty(u64::try_from(lots * lot).expect("a part of a position")),
        })
        .collect()
}

/// Lots a candidate can give: its position, and no more than its account value can lose by the price being worse than mark.
fn capacity(candidate: &DeleverageCandidate, lot: i128, mark: Price, price: Price) -> i128 {
    let held = candidate.size.0.abs() / lot;
    // A long is closed by selling at `price`, a short by buying.
    let worse = candidate.size.0.signum() * (i128::from(mark.0) - i128::from(price.0));
    if worse <= 0 {
        return held;
    }
    // Each lot rounds by less than a quantum.
    let cost = div_ceil(worse * lot, i128::from(QUANTUMS_PER_UNIT)) + 1;
    held.min(candidate.value.0.max(0) / cost)
}

/// Shares out `lots` by weight: whoever is owed as much as it has gives all of it and the rest is shared again; then the whole parts,
/// then single lots by largest remainder.
fn share_out(lots: i128, weights: &[i128], capacity: &[i128], candidates: &[DeleverageCandidate], given: &mut [i128]) {
    let mut left = lots;
    let mut open: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] > 0 && capacity[*i] > 0).collect();
    loop {
        let total: i128 = open.iter().map(|i| weights[*i]).sum();
        if left == 0 || open.is_empty() {
            return;
        }
        let quota = |i: usize| mul_div_rem(left, weights[i], total);
        let (full, rest): (Vec<usize>, Vec<usize>) = open.iter().partition(|i| quota(**i).0 >= capacity[**i]);
        if full.is_empty() {
            let mut quotas: Vec<(i128, i128, usize)> = open.iter().map(|i| (quota(*i).1, quota(*i).0, *i)).collect();
            quotas.sort_unstable_by_key(|(remainder, _, i)| (Reverse(*remainder), candidates[*i].account));
            quotas.iter().for_each(|(_, whole, i)| given[*i] += whole);
            left -= quotas.iter().map(|(_, whole, _)| whole).sum::<i128>();
            // Fewer are left than there are remainders, and nobody is full.
            quotas.iter().take(usize::try_from(left).expect("few")).for_each(|(.., i)| given[*i] += 1);
            return;
        }
        for i in full {
            given[i] += capacity[i];
            left -= capacity[i];
        }
        open = rest;
    }
}

/// How a receipt differs from what its inputs give.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The field of the decision, or the rule.
    pub what: &'static str,
    pub stated: String,
    pub recomputed: String,
}

/// Derives every decision of a receipt from its inputs and compares; empty when all agree. What the book did (sizes filled) is an input.
pub fn recompute(receipt: &LiquidationReceipt) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let margin = margin_of(&receipt.inputs);
    compare(&mut found, "AV < MMR", true, is_liquidatable(&margin));
    match &receipt.decision {
        LiquidationDecision::Cancel { count } => compare(&mut found, "orders to cancel", true, *count > 0),
        LiquidationDecision::Close { fifths, orders, equity_left, fee } => {
            let (expected, closing) = close_plan(&receipt.inputs);
            compare(&mut found, "fifths", *fifths, expected);
            let stated: Vec<Closing> =
                orders.iter().map(|o| Closing { market: o.market, side: o.side, size: o.size, limit: o.limit }).collect();
            compare(&mut found, "orders", stated, closing);
            let within = orders.iter().all(|order| order.filled <= order.size);
            compare(&mut found, "filled no more than ordered", true, within);
            let rate = |market| receipt.inputs.markets.iter().find(|m| m.market == market).map(|m| m.liquidation_fee_ppm);
            let fees = orders.iter().map(|o| liquidation_fee(o.quote.0, rate(o.market).unwrap_or(0)));
            compare(&mut found, "fee", fee.0, fees.sum::<i128>().min(equity_left.0));
            let no_worse = orders.iter().all(|order| {
                let at_limit = order.limit.value_floor(i128::from(order.filled.0));
                if order.side == Side::Sell { order.quote.0 >= at_limit } else { order.quote.0 <= at_limit }
            });
            compare(&mut found, "filled no worse than the limit", true, no_worse);
        }
        LiquidationDecision::TakeOver { left, fee, deficit } => {
            compare(&mut found, "AV < 2/3 MMR", true, is_near_bankruptcy(&margin));
            let equity = equity_at_mark(&receipt.inputs);
            let expected = take_over_fee(&receipt.inputs);
            compare(&mut found, "fee", fee.0, expected);
            compare(&mut found, "left", left.0, equity.max(0) - expected);
            compare(&mut found, "deficit", deficit.0, (-equity).max(0));
            let able = receipt.fund.as_ref().is_some_and(|fund| fund_can_take(fund, &receipt.inputs));
            compare(&mut found, "the fund can take it over", true, able);
        }
        LiquidationDecision::Deleverage { market, side, price, size, shares, candidates } => {
            compare(&mut found, "AV < 2/3 MMR", true, is_near_bankruptcy(&margin));
            compare(
                &mut found,
                "market, side and price",
                Some((*market, *side, *price)),
                deleverage_market(&receipt.inputs),
            );
            let Some(fund) = &receipt.fund else {
                compare(&mut found, "the fund's inputs", "present", "absent");
                return found;
            };
            compare(&mut found, "the fund can take it over", false, fund_can_take(fund, &receipt.inputs));
            let needed = deleverage_size(&receipt.inputs, fund, *market, *price);
            let terms = receipt.inputs.markets.iter().find(|m| m.market == *market);
            let expected =
                terms.map(|m| deleverage_shares(needed, m.lot_size, (m.mark, *price), candidates)).unwrap_or_default();
            compare(&mut found, "shares", shares.clone(), expected);
            compare(&mut found, "size", u128::from(size.0), shares.iter().map(|share| u128::from(share.size.0)).sum());
        }
    }
    found
}

fn compare<T: PartialEq + std::fmt::Debug>(found: &mut Vec<Mismatch>, what: &'static str, stated: T, recomputed: T) {
    if stated != recomputed {
        found.push(Mismatch { what, stated: format!("{stated:?}"), recomputed: format!("{recomputed:?}") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: i128 = QUANTUMS_PER_UNIT as i128;

    /// A long of `size` bought at `entry`, with an account value, at a mark of 100.
    fn long(account: u64, size: i128, entry: i128, value: i128) -> DeleverageCandidate {
        DeleverageCandidate {
            account: Address(Felt::from(account)),
            size: Amount(size * UNIT),
            cost: Amount(size * entry * UNIT),
            profit: Amount(size * (100 - entry) * UNIT),
            value: Amount(value * UNIT),
        }
    }

    fn shares(size: i128, price: u64, candidates: &[DeleverageCandidate]) -> Vec<(u64, i128)> {
        let units = |n: u64| Price(n * QUANTUMS_PER_UNIT);
        let shares =
            deleverage_shares(Qty((size * UNIT) as u64), Qty(QUANTUMS_PER_UNIT), (units(100), units(price)), candidates);
        shares.iter().map(|s| (u64::try_from(s.account.0).unwrap(), i128::from(s.size.0) / UNIT)).collect()
    }

    #[test]
    fn equal_weights_share_equally_and_the_odd_lot_goes_to_the_lower_address() {
        let two = [long(1, 10, 90, 100), long(2, 10, 90, 100)];
        assert_eq!(shares(7, 100, &two), [(1, 4), (2, 3)]);
    }

    #[test]
    fn nobody_gives_more_than_it_has_and_the_rest_shares_again() {
        let of = [long(1, 2, 50, 100), long(2, 20, 90, 2_000), long(3, 20, 90, 2_000)];
        assert_eq!(shares(12, 100, &of), [(1, 2), (2, 5), (3, 5)]);
        assert_eq!(shares(100, 100, &of), [(1, 2), (2, 20), (3, 20)]);
    }

    #[test]
    fn nobody_is_closed_below_zero_and_nobody_without_profit_is_closed() {
        // At 90 a long loses 10 a unit against mark: 35 of account value carry three (each lot counts a quantum more).
        let of = [long(1, 10, 95, 35), long(2, 10, 95, 1_000), long(3, 10, 101, 1_000)];
        assert_eq!(shares(100, 90, &of), [(1, 3), (2, 10)]);
    }
}
