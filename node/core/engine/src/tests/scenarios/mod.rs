//! Bad days, each from beginning to end: what happens, and what every party has after it, to the quantum. Above each test stands the
//! arithmetic its last lines must agree with. Perpetuals: imf 10%, mmf 5%, taker 5 bps, maker 2 bps (btc: -1 bps), band 10%.

mod crash;
mod funding;
mod liquidation;
mod nonces;
mod oracle;
mod orders;
mod reopening;

use super::script::{check, check_in};
use super::world::{World, genesis};
