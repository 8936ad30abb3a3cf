use alloy::signers::local::PrivateKeySigner;
use keel_batches::BatchLimits;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What the operator sets.
#[derive(Clone, Debug)]
pub struct SettlementConfig {
    /// JSON-RPC of the settlement layer, `http://` or `https://`.
    pub endpoint: String,
    /// Between two looks at it.
    pub poll_ms: u64,
    pub keys: SettlementKeys,
    /// When a batch closes.
    pub limits: BatchLimits,
    /// First block of the settlement layer that can hold an event of our contracts: that of their deployment, or 0.
    pub scan_from: u64,
    /// A transaction in no block for this long is sent again with a higher fee.
    pub replace_after: Duration,
}

impl SettlementConfig {
    /// With the defaults: batches as [`BatchLimits::default`], scan from block 0, replacement after 60 s (five blocks).
    pub fn new(endpoint: String, poll_ms: u64, keys: SettlementKeys) -> SettlementConfig {
        let replace_after = Duration::from_secs(60);
        SettlementConfig { endpoint, poll_ms, keys, limits: BatchLimits::default(), scan_from: 0, replace_after }
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms.max(10))
    }
}

/// Keys of the node on the settlement layer. Never printed.
#[derive(Clone)]
pub struct SettlementKeys {
    /// Sends transactions; an operator of the core contract. Nobody else may send from this account.
    pub submitter: PrivateKeySigner,
    /// Signs facts of batches that this node executed.
    pub attestor: PrivateKeySigner,
}

/// Which key cannot be used. The text does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the {0} key is not a secp256k1 private key in 0x and 64 hex digits")]
pub struct KeyError(pub &'static str);

impl SettlementKeys {
    /// From 0x and 64 hex digits each.
    ///
    /// # Errors
    /// Either is no private key.
    pub fn parse(submitter: &str, attestor: &str) -> Result<SettlementKeys, KeyError> {
        let key = |name, text| PrivateKeySigner::from_str(text).map_err(|_| KeyError(name));
        Ok(SettlementKeys { submitter: key("submitter", submitter)?, attestor: key("attestor", attestor)? })
    }
}

impl fmt::Debug for SettlementKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettlementKeys({}, {})", self.submitter.address(), self.attestor.address())
    }
}
