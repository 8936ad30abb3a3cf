//! Classes of a Keel chain.

mod account;
mod collateral_token;
mod exchange;
mod interface;
mod layout;
