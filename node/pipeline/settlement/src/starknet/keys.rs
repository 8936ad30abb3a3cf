use crate::config::KeyError;
use keel_types::{Felt, L1Address};
use starknet::signers::SigningKey;
use std::fmt;

/// The node's keys on Starknet. Never printed.
#[derive(Clone)]
pub struct Keys {
    /// Account that sends transactions; an operator of the core contract. Nobody else may send from it.
    pub account: L1Address,
    /// Its key.
    pub submitter: SigningKey,
    /// Signs facts of batches that this node executed. The attestor's name is its public key.
    pub attestor: SigningKey,
}

impl Keys {
    /// From hex, 0x in front, each.
    ///
    /// # Errors
    /// The account is no address, or one of the others no private key on the Stark curve.
    pub fn parse(account: &str, submitter: &str, attestor: &str) -> Result<Keys, KeyError> {
        let felt = |name, text: &str| {
            let digits = text.strip_prefix("0x").filter(|digits| !digits.is_empty() && digits.len() <= 64);
            let felt = digits.and_then(|_| Felt::from_hex(text).ok()).filter(|felt| *felt != Felt::ZERO);
            felt.ok_or(KeyError(name))
        };
        Ok(Keys {
            account: L1Address(felt("account", account)?),
            submitter: SigningKey::from_secret_scalar(felt("submitter", submitter)?),
            attestor: SigningKey::from_secret_scalar(felt("attestor", attestor)?),
        })
    }

    /// The attestor's public key.
    pub fn attestor_key(&self) -> Felt {
        self.attestor.verifying_key().scalar()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, {:#x})", self.account, self.attestor_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attestation::Scheme;
    use crate::config::SettlementKeys;
    use keel_contracts::starknet::settlement::attestation_digest;
    use keel_types::Bytes32;
    use starknet::core::crypto::{Signature, ecdsa_verify};

    #[test]
    fn a_signature_is_good_for_its_fact_registry_and_chain_only() {
        let keys = Keys::parse("0x1", "0x2", "0x3").unwrap();
        let (chain, registry, fact) = (Felt::from(5), L1Address(Felt::from(6)), Bytes32([1; 32]));
        let attestor = SettlementKeys::Starknet(keys.clone()).attestor();
        let signed = attestor.sign_fact(&Scheme::Starknet { chain_id: chain, registry: registry.0 }, fact).unwrap();
        let half = |range: std::ops::Range<usize>| Felt::from_bytes_be_slice(&signed[range]);
        let signature = Signature { r: half(0..32), s: half(32..64) };
        let good = |chain: Felt, registry: L1Address, fact: Bytes32| {
            let digest = attestation_digest(chain, registry, Felt::from_bytes_be(&fact.0));
            ecdsa_verify(&attestor.id().0, &digest, &signature).unwrap()
        };
        assert!(good(chain, registry, fact));
        assert!(!good(Felt::from(7), registry, fact));
        assert!(!good(chain, L1Address(Felt::from(7)), fact));
        assert!(!good(chain, registry, Bytes32([2; 32])));
        assert_eq!(attestor.id().0, keys.attestor_key());
    }

    #[test]
    fn what_is_no_key_is_refused_by_name_and_none_is_printed() {
        for (account, submitter, attestor, name) in [
            ("1", "0x2", "0x3", "account"),
            ("0x0", "0x2", "0x3", "account"),
            ("0x1", "0x", "0x3", "submitter"),
            ("0x1", "0xg", "0x3", "submitter"),
            ("0x1", "0x2", "", "attestor"),
        ] {
            assert_eq!(Keys::parse(account, submitter, attestor).unwrap_err(), KeyError(name));
        }
        let text = format!("{:?}", Keys::parse("0x1", "0xabcdef", "0xfedcba").unwrap());
        assert!(!text.contains("abcdef") && !text.contains("fedcba"), "{text}");
    }
}
