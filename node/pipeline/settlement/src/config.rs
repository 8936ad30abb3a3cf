use crate::attestation::AttestorKey;
use crate::{ethereum, starknet};
use keel_batches::BatchLimits;
use std::time::Duration;

/// What the operator sets.
#[derive(Clone, Debug)]
pub struct SettlementConfig {
    /// JSON-RPC of the settlement layer, `http://` or `https://`.
    pub endpoints: Vec<String>,
    /// How many of them must say the same; 0 = a majority, and less is refused.
    pub quorum: usize,
    /// Between two looks at it.
    pub poll_ms: u64,
    pub keys: SettlementKeys,
    /// When a batch closes.
    pub limits: BatchLimits,
    /// First block of the settlement layer that can hold an event of our contracts: that of their deployment, or 0.
    pub scan_from: u64,
    /// A transaction in no block for this long is sent again: on Ethereum with a higher fee, on Starknet if no node knows it any more.
    pub replace_after: Duration,
}

impl SettlementConfig {
    /// With the defaults: a majority of the endpoints, batches as [`BatchLimits::default`], scan from block 0, replacement after 60 s (five blocks).
    pub fn new(endpoints: Vec<String>, poll_ms: u64, keys: SettlementKeys) -> SettlementConfig {
        let replace_after = Duration::from_secs(60);
        let limits = BatchLimits::default();
        SettlementConfig { endpoints, quorum: 0, poll_ms, keys, limits, scan_from: 0, replace_after }
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms.max(10))
    }
}

/// Keys of the node on its settlement layer.
#[expect(clippy::large_enum_variant, reason = "one value for the life of a process")]
#[derive(Clone, Debug)]
pub enum SettlementKeys {
    Ethereum(ethereum::Keys),
    Starknet(starknet::Keys),
}

impl SettlementKeys {
    /// The attestor's.
    pub(crate) fn attestor(&self) -> AttestorKey {
        match self {
            SettlementKeys::Ethereum(keys) => AttestorKey::Ethereum(keys.attestor.clone()),
            SettlementKeys::Starknet(keys) => {
                AttestorKey::Starknet { secret: keys.attestor.secret_scalar(), public: keys.attestor_key() }
            }
        }
    }
}

/// Which key cannot be used. The text does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the {0} key is not one of the settlement layer, in hex with 0x in front")]
pub struct KeyError(pub &'static str);
