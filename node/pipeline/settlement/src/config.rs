use crate::attestation::AttestorKey;
use crate::protection::{ProtectionError, SignatureFile, Statement};
use crate::{ethereum, starknet};
use keel_batches::BatchLimits;
use keel_types::Genesis;
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
    /// What the attestor's key has signed.
    pub signatures: SignatureFile,
    /// When a batch closes.
    pub limits: BatchLimits,
    /// First block of the settlement layer that can hold an event of our contracts: that of their deployment, or 0.
    pub scan_from: u64,
    /// A transaction in no block for this long is sent again, with a higher fee if the market asks more than it offers.
    pub replace_after: Duration,
    /// Most that one transaction may cost, in wei or fri: dearer ones wait, and the submitter's state says so.
    pub fee_max: u128,
}

/// 0.5 ether, in wei: many times what a batch costs when gas is dear.
const FEE_MAX_ETHEREUM: u128 = 500_000_000_000_000_000;
/// 500 STRK, in fri: the same on Starknet.
const FEE_MAX_STARKNET: u128 = 500_000_000_000_000_000_000;

impl SettlementConfig {
    /// With the defaults: a majority of the endpoints, batches as [`BatchLimits::default`], scan from block 0, replacement after 60 s (five blocks),
    /// at most 0.5 ether or 500 STRK for a transaction.
    pub fn new(endpoints: Vec<String>, poll_ms: u64, keys: SettlementKeys, signatures: SignatureFile) -> SettlementConfig {
        let replace_after = Duration::from_secs(60);
        let limits = BatchLimits::default();
        let fee_max = match keys {
            SettlementKeys::Ethereum(_) => FEE_MAX_ETHEREUM,
            SettlementKeys::Starknet(_) => FEE_MAX_STARKNET,
        };
        SettlementConfig { endpoints, quorum: 0, poll_ms, keys, signatures, limits, scan_from: 0, replace_after, fee_max }
    }

    /// On a chain that begins, before its first record: the attestor's key has signed nothing, which its file says from now on.
    ///
    /// # Errors
    /// The file cannot be written, or is of another chain or key.
    pub fn begin_signatures(&self, genesis: &Genesis) -> Result<(), ProtectionError> {
        let file = SignatureFile { statement: Some(Statement(None)), ..self.signatures.clone() };
        file.open(genesis.hash(), self.keys.attestor().id()).map(drop)
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
