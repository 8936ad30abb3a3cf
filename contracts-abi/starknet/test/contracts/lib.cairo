//! Contracts that exist for tests alone.

mod odd_token;
