use crate::config::KeyError;
use alloy::signers::local::PrivateKeySigner;
use std::fmt;
use std::str::FromStr;

/// The node's keys on Ethereum. Never printed.
#[derive(Clone)]
pub struct Keys {
    /// Sends transactions; an operator of the core contract. Nobody else may send from this account.
    pub submitter: PrivateKeySigner,
    /// Signs facts of batches that this node executed.
    pub attestor: PrivateKeySigner,
}

impl Keys {
    /// From 0x and 64 hex digits each.
    ///
    /// # Errors
    /// Either is no private key.
    pub fn parse(submitter: &str, attestor: &str) -> Result<Keys, KeyError> {
        let key = |name, text| PrivateKeySigner::from_str(text).map_err(|_| KeyError(name));
        Ok(Keys { submitter: key("submitter", submitter)?, attestor: key("attestor", attestor)? })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, {})", self.submitter.address(), self.attestor.address())
    }
}
