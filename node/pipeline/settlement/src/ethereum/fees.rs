//! What a transaction offers per gas, and how much more a replacement must offer.

use alloy::primitives::U256;

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
    /// What the market asks now, up to our limits. `blob_base` is the base fee of blob gas, which may double while we wait.
    pub(crate) fn market(max: u128, tip: u128, blob_base: Option<u128>) -> Fees {
        let max = max.clamp(1, FEE_MAX_WEI);
        let blob = blob_base.map(|base| base.saturating_mul(2).clamp(1, BLOB_FEE_MAX_WEI));
        Fees { max, tip: tip.min(max), blob }
    }

    /// What a transaction with the same nonce must offer to take the place of one that offers this: nodes ask for a tenth more of
    /// each fee (a quarter here, to be done with it), of blobs for twice each; or what the market asks, if that is more.
    /// `None`: that is over our limits, and waiting is all that is left.
    pub(crate) fn replacing(self, market: Fees) -> Option<Fees> {
        let least = |before: u128| match self.blob {
            None => (before + before.div_ceil(4)).max(1),
            Some(_) => before.saturating_mul(2).max(1),
        };
        let raise = |before, now: u128, limit: u128| (least(before) <= limit).then(|| least(before).max(now.min(limit)));
        let max = raise(self.max, market.max, FEE_MAX_WEI)?;
        let blob = match self.blob {
            None => None,
            Some(before) => Some(raise(before, market.blob.unwrap_or_default(), BLOB_FEE_MAX_WEI)?),
        };
        Some(Fees { max, tip: raise(self.tip, market.tip, max)?, blob })
    }

    /// The most that a transaction can cost, without what it sends.
    pub(crate) fn cost(&self, gas: u64, blobs: usize) -> U256 {
        let blob_gas = U256::from(blobs) * U256::from(GAS_PER_BLOB);
        U256::from(gas) * U256::from(self.max) + blob_gas * U256::from(self.blob.unwrap_or_default())
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
    fn the_market_is_taken_up_to_our_limits_with_room_for_blobs_to_double() {
        assert_eq!(Fees::market(7, 9, Some(3)), Fees { max: 7, tip: 7, blob: Some(6) });
        assert_eq!(Fees::market(u128::MAX, 1, None), Fees { max: FEE_MAX_WEI, tip: 1, blob: None });
        assert_eq!(Fees::market(0, 0, Some(0)), Fees { max: 1, tip: 0, blob: Some(1) });
        assert_eq!(Fees::market(1, 1, Some(u128::MAX)).blob, Some(BLOB_FEE_MAX_WEI));
    }

    #[test]
    fn the_cost_counts_blobs_and_the_gas_limit_has_a_margin_within_the_protocols() {
        let fees = Fees { max: 10, tip: 1, blob: Some(3) };
        assert_eq!(fees.cost(1_000, 2), U256::from(10_000 + 2 * 131_072 * 3));
        assert_eq!(
            [gas_limit(1_000), gas_limit(GAS_MAX - 1), gas_limit(GAS_MAX)],
            [Some(1_250), Some(GAS_MAX), Some(GAS_MAX)]
        );
        assert_eq!(gas_limit(GAS_MAX + 1), None);
    }
}
