use crate::config::KeyError;
use crate::error::SendError;
use crate::layer::FactSignature;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use keel_contracts::ethereum::attestation_digest;
use keel_types::{Bytes32, Felt, L1Address};
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

/// The attestor's signature of a fact, for the registry at `registry` on chain `chain_id`.
pub(crate) fn sign(
    key: &PrivateKeySigner,
    chain_id: u64,
    registry: L1Address,
    fact: Bytes32,
) -> Result<FactSignature, SendError> {
    let digest = attestation_digest(chain_id, super::reader::eth(registry), fact.0.into());
    let signature = key.sign_hash_sync(&digest).map_err(|error| SendError::Sign(error.to_string()))?;
    let attestor = Felt::from_bytes_be_slice(key.address().as_slice());
    Ok(FactSignature { attestor, bytes: signature.as_bytes().to_vec() })
}
