use keel_types::{PPM, fee};

/// The fee of one party of one fill, and where it goes: `charged = collected + rounding`.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeeSplit {
    /// Quote quantums the account pays; negative is a rebate.
    pub charged: i128,
    /// Goes to the fee account, or comes from it when negative.
    pub collected: i128,
    /// Goes to the insurance fund: 0 or 1.
    pub rounding: i128,
}

/// The fee of `notional` quote quantums at `rate_ppm`: the account pays the next whole quantum, the fee account gets the whole
/// quantums, the insurance fund the remainder. [spec exchange, Units]
pub fn fee_split(notional: i128, rate_ppm: i32) -> FeeSplit {
    let charged = fee(notional, rate_ppm);
    let collected = (notional * i128::from(rate_ppm)).div_euclid(PPM);
    FeeSplit { charged, collected, rounding: charged - collected }
}

impl FeeSplit {
    /// The same with no more charged than `at_most`, which is never less than the whole quantums.
    pub fn capped(self, at_most: i128) -> FeeSplit {
        let charged = self.charged.min(at_most);
        assert!(charged >= self.collected, "the reservation of a buy did not cover its fee");
        FeeSplit { charged, collected: self.collected, rounding: charged - self.collected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_pays_the_remainder_and_the_insurance_fund_gets_it() {
        for (notional, rate, charged, collected) in [
            (4_000, 250, 1, 1),
            (4_001, 250, 2, 1),
            (1, 250, 1, 0),
            (4_001, -250, -1, -2),
            (4_000, -250, -1, -1),
            (9, 0, 0, 0),
        ] {
            let split = fee_split(notional, rate);
            assert_eq!(split, FeeSplit { charged, collected, rounding: charged - collected });
            assert!((0..=1).contains(&split.rounding));
        }
    }
}
