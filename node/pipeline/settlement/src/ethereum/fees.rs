//! What a transaction offers per gas, and how much more a replacement must offer.
//!
//! Every sum saturates: what an endpoint says is a number that anybody may have chosen.

/// Never more than this per gas, in wei: 1,000 gwei. Above it waiting is better than paying.
pub(crate) const FEE_MAX_WEI: u128 = 1_000_000_000_000;
/// Never more than this per gas of blobs, in wei: at 1,000 gwei one blob costs 0.13 ether.
pub(crate) const BLOB_FEE_MAX_WEI: u128 = 1_000_000_000_000;
/// Gas of one blob. [EIP-4844]
pub(crate) const GAS_PER_BLOB: u64 = 131_072;
/// Most gas of one transaction. [EIP-7825]
pub(crate) const GAS_MAX: u64 = 16_777_216;

/// Gas above the estimate, in percent: the state may move between the estimate and the block.
const GAS_MARGIN_PERCENT: u64 = 25;

/// What the market asks now, in wei per gas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Market {
    /// Of the newest block.
    pub(crate) base: u128,
    pub(crate) tip: u128,
    /// Base fee of blob gas; only of a transaction with blobs.
    pub(crate) blob_base: Option<u128>,
}

impl Market {
    /// Whether the next block can be had for what we ever offer.
    pub(crate) fn within_limits(self) -> bool {
        self.base.saturating_add(self.tip) <= FEE_MAX_WEI && self.blob_base.unwrap_or_default() <= BLOB_FEE_MAX_WEI
    }

    /// An offer with room for the base fees to double while it waits, up to our limits.
    pub(crate) fn offer(self) -> Fees {
        self.with_room(2)
    }

    /// An offer that the next block takes, and perhaps none after it.
    pub(crate) fn bare_offer(self) -> Fees {
        self.with_room(1)
    }

    fn with_room(self, times: u128) -> Fees {
        let max = self.base.saturating_mul(times).saturating_add(self.tip).clamp(1, FEE_MAX_WEI);
        let blob = self.blob_base.map(|base| base.saturating_mul(times).clamp(1, BLOB_FEE_MAX_WEI));
        Fees { max, tip: self.tip.min(max), blob }
    }
}

/// Wei per gas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fees {
    /// Base fee and tip together.
    pub(crate) max: u128,
    pub(crate) tip: u128,
    /// Per gas of blobs; only of a transaction with blobs.
    pub(crate) blob: Option<u128>,
}

impl Fees {
    /// Whether the market asks no more than this: waiting, and not paying more, is what helps.
    pub(crate) fn meets(self, market: Market) -> bool {
        let blob = self.blob.unwrap_or(u128::MAX) >= market.blob_base.unwrap_or_default();
        self.max >= market.base.saturating_add(market.tip) && self.tip >= market.tip && blob
    }

    /// What a transaction with the same nonce must offer to take the place of one that offers this: nodes ask for a tenth more of
    /// each fee (a quarter here, to be done with it), of blobs for twice each; or `offer`, where that is more.
    /// `None`: that is over our limits, and waiting is all that is left.
    pub(crate) fn replacing(self, offer: Fees) -> Option<Fees> {
        let least = |before: u128| match self.blob {
            None => before.saturating_add(before.div_ceil(4)).max(1),
            Some(_) => before.saturating_mul(2).max(1),
        };
        let raise = |before, now: u128, limit: u128| (least(before) <= limit).then(|| least(before).max(now.min(limit)));
        let max = raise(self.max, offer.max, FEE_MAX_WEI)?;
        let blob = match self.blob {
            None => None,
            Some(before) => Some(raise(before, offer.blob.unwrap_or_default(), BLOB_FEE_MAX_WEI)?),
        };
        Some(Fees { max, tip: raise(self.tip, offer.tip, max)?, blob })
    }

    /// The most that a transaction can cost, without what it sends. Wei.
    pub(crate) fn cost(&self, gas: u64, blobs: usize) -> u128 {
        let blob_gas = (blobs as u128).saturating_mul(GAS_PER_BLOB.into());
        let blob_cost = blob_gas.saturating_mul(self.blob.unwrap_or_default());
        u128::from(gas).saturating_mul(self.max).saturating_add(blob_cost)
    }
}

/// The gas limit for an estimate; `None` if no transaction may use so much.
pub(crate) fn gas_limit(estimate: u64) -> Option<u64> {
    (estimate <= GAS_MAX).then(|| (estimate + estimate * GAS_MARGIN_PERCENT / 100).min(GAS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_pays_a_quarter_more_or_the_market_but_never_above_the_limit() {
        let fees = |max, tip| Fees { max, tip, blob: None };
        for (name, before, market, expected) in [
            ("a quarter", fees(100, 8), fees(90, 1), Some(fees(125, 10))),
            ("the market", fees(100, 8), fees(400, 30), Some(fees(400, 30))),
            ("rounded up", fees(1, 0), fees(1, 0), Some(fees(2, 1))),
            ("up to the limit", fees(FEE_MAX_WEI * 4 / 5, 1), fees(1, 1), Some(fees(FEE_MAX_WEI, 2))),
            ("the market over the limit", fees(100, 1), fees(2 * FEE_MAX_WEI, 1), Some(fees(FEE_MAX_WEI, 2))),
            ("over the limit", fees(FEE_MAX_WEI * 4 / 5 + 1, 1), fees(1, 1), None),
        ] {
            assert_eq!(before.replacing(market), expected, "{name}");
        }
    }

    #[test]
    fn a_replacement_with_blobs_at_least_doubles_all_three_fees() {
        let fees = |max, tip, blob| Fees { max, tip, blob: Some(blob) };
        for (name, before, market, expected) in [
            ("double", fees(100, 8, 3), fees(90, 1, 1), Some(fees(200, 16, 6))),
            ("one by the market", fees(100, 8, 3), fees(90, 1, 50), Some(fees(200, 16, 50))),
            ("from nothing", fees(1, 0, 1), fees(1, 0, 1), Some(fees(2, 1, 2))),
            ("blob gas over the limit", fees(100, 8, BLOB_FEE_MAX_WEI / 2 + 1), fees(1, 1, 1), None),
            ("gas over the limit", fees(FEE_MAX_WEI / 2 + 1, 8, 3), fees(1, 1, 1), None),
        ] {
            assert_eq!(before.replacing(market), expected, "{name}");
        }
    }

    #[test]
    fn the_market_is_taken_up_to_our_limits_with_room_to_double() {
        let market = |base, tip, blob_base| Market { base, tip, blob_base };
        assert_eq!(market(7, 2, Some(3)).offer(), Fees { max: 16, tip: 2, blob: Some(6) });
        assert_eq!(market(7, 2, Some(3)).bare_offer(), Fees { max: 9, tip: 2, blob: Some(3) });
        assert_eq!(market(0, 0, Some(0)).offer(), Fees { max: 1, tip: 0, blob: Some(1) });
    }

    /// Whatever an endpoint says, there is an offer, and no more than our limits.
    #[test]
    fn no_number_of_an_endpoint_is_too_large() {
        let most = u128::MAX;
        let market = Market { base: most, tip: most, blob_base: Some(most) };
        let offer = Fees { max: FEE_MAX_WEI, tip: FEE_MAX_WEI, blob: Some(BLOB_FEE_MAX_WEI) };
        assert_eq!((market.offer(), market.bare_offer()), (offer, offer));
        assert!(!offer.meets(market) && !market.within_limits());
        for blob in [None, Some(most)] {
            let found = Fees { max: most, tip: most, blob };
            assert_eq!(found.replacing(offer), None);
            assert_eq!(found.cost(GAS_MAX, 6), most);
        }
    }

    #[test]
    fn an_offer_meets_the_market_until_the_market_asks_more_of_any_fee() {
        let before = Market { base: 100, tip: 5, blob_base: Some(10) };
        let offer = before.offer();
        for (name, now, meets) in [
            ("the same", before, true),
            ("the room that was left", Market { base: 200, blob_base: Some(20), ..before }, true),
            ("a higher base fee", Market { base: 201, ..before }, false),
            ("a higher tip", Market { tip: 6, ..before }, false),
            ("a higher fee of blobs", Market { blob_base: Some(21), ..before }, false),
        ] {
            assert_eq!(offer.meets(now), meets, "{name}");
        }
    }

    #[test]
    fn the_cost_counts_blobs_and_the_gas_limit_has_a_margin_within_the_protocols() {
        let fees = Fees { max: 10, tip: 1, blob: Some(3) };
        assert_eq!(fees.cost(1_000, 2), 10_000 + 2 * 131_072 * 3);
        assert_eq!(
            [gas_limit(1_000), gas_limit(GAS_MAX - 1), gas_limit(GAS_MAX)],
            [Some(1_250), Some(GAS_MAX), Some(GAS_MAX)]
        );
        assert_eq!(gas_limit(GAS_MAX + 1), None);
    }
}
