//! Money: balances, reservations, positions, fees and margin. Every change here conserves value.
//!
//! Invariant: values in, values out. The ledger holds no accounts, finds nothing, and knows no order book; it changes the
//! [Holdings] it is given and returns, as a `must_use` value, what belongs to somebody else. All amounts are `i128` quantums.
//!
//! Rounding, all of it ([spec exchange, Units]): against the account, the remainder to the insurance fund, once.
//!
//! | where | account | others |
//! |---|---|---|
//! | fee of a fill ([fee_split]) | charged `ceil` | fee account `floor`, insurance fund the difference |
//! | fee of a spot buy, when `ceil` exceeds what was reserved for it ([buy_fill]) | charged `floor` | fee account `floor` |
//! | cost of a part-closed position ([trade]) | both parts `ceil` | insurance fund the difference |
//! | a position taken over at mark ([liquidation::value_at_mark]) | value `floor` | the insurance fund takes it at the same value |
//! | liquidation fee ([liquidation::liquidation_fee]) | `ceil`, at most the equity left | insurance fund |
//! | funding payment ([funding_payment]) | `floor` | the market's pool keeps the difference |
//! | margin ([market_margin]) | value `floor`, requirements `ceil` | nothing moves |
#![forbid(unsafe_code)]

mod conservation;
mod fees;
mod holdings;
pub mod liquidation;
mod margin;
mod position;
mod spot;
mod wide;

pub use conservation::{Sums, Totals};
pub use fees::{FeeSplit, fee_split};
pub use holdings::{Balance, Holdings, MarketHolding, OpenOrder};
pub use margin::{
    Margin, MarginTerms, MarketMargin, Reduction, accepts, imf_scaled_ppm, market_margin, open_loss, withdrawable,
};
pub use position::{PositionChange, funding_payment, trade, trade_value};
pub use spot::{OpenBuy, buy_fill, buy_release, buy_reservation, buy_reserve, sell_fill, sell_release, sell_reserve};
pub use wide::{mul_div_floor, mul_div_rem};
