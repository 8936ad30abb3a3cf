//! What attestors sign, and the gathering of k of n. [spec settlement, Trust, said plainly]
//!
//! A signature counts for a batch when its signer is in the registry's set, it is good, and the fact is ours. What is gathered is kept in
//! the store; what is lost with it is sent again. Reports of a difference are signed too, over something that no registry takes for a fact.

use crate::error::L1Error;
use alloy::primitives::{Address, B256, Signature as EthSignature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolStruct, eip712_domain};
use keel_batches::{Batch, BatchError};
use keel_contracts::ethereum::attestation_digest;
use keel_contracts::starknet::{settlement, short_string};
use keel_ingress::verify::{self, Signature as StarkSignature, Verifier};
use keel_store::{BatchStatus, Store, StoreError};
use keel_types::*;
use starknet_types_core::hash::{Poseidon, StarkHash};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard};

mod report {
    alloy::sol! {
        /// A report of a difference (EIP-712), in the domain of the registry, which knows no such type.
        struct DivergenceReport {
            bytes32 divergence;
        }
    }
}

/// How the registry of a chain's settlement layer wants things signed; bound to that layer and that registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// secp256k1 over an EIP-712 digest, as `AttestationRegistry.sol`.
    Ethereum { chain_id: u64, registry: Address },
    /// The Stark curve over a Poseidon hash, as the `attestation_registry` in Cairo.
    Starknet { chain_id: Felt, registry: Felt },
}

/// An attestor's private key. Never printed.
#[derive(Clone)]
pub enum AttestorKey {
    Ethereum(PrivateKeySigner),
    Starknet { secret: Felt, public: Felt },
}

/// Why a key cannot be used or does not sign. The text shows no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureError {
    #[error("the attestor's key is no private key of the settlement layer's curve, in 0x and hex digits")]
    BadKey,
    #[error("the attestor's key is one of another settlement layer")]
    OtherLayer,
    #[error("the fact cannot be signed: it is out of the curve's range")]
    OutOfRange,
}

impl AttestorKey {
    /// From 0x and hex digits, for the layer of `scheme`.
    ///
    /// # Errors
    /// [SignatureError::BadKey].
    pub fn parse(scheme: &Scheme, text: &str) -> Result<AttestorKey, SignatureError> {
        match scheme {
            Scheme::Ethereum { .. } => {
                PrivateKeySigner::from_str(text).map(AttestorKey::Ethereum).map_err(|_| SignatureError::BadKey)
            }
            Scheme::Starknet { .. } => {
                let secret = text.starts_with("0x").then(|| Felt::from_hex(text).ok()).flatten();
                let secret = secret.ok_or(SignatureError::BadKey)?;
                let public = verify::public_key(&secret).map_err(|_| SignatureError::BadKey)?.0;
                Ok(AttestorKey::Starknet { secret, public })
            }
        }
    }

    /// The attestor as the registry names it.
    pub fn id(&self) -> AttestorId {
        match self {
            AttestorKey::Ethereum(signer) => attestor_of(signer.address()),
            AttestorKey::Starknet { public, .. } => AttestorId(*public),
        }
    }

    /// Signs a fact. **Only after it was remembered**: see `keel-attestor`.
    ///
    /// # Errors
    /// See [SignatureError].
    pub fn sign_fact(&self, scheme: &Scheme, fact: Bytes32) -> Result<Vec<u8>, SignatureError> {
        self.sign(scheme, Subject::Fact(fact))
    }

    /// Signs a report of a difference.
    ///
    /// # Errors
    /// See [SignatureError].
    pub fn sign_divergence(&self, scheme: &Scheme, divergence: &Divergence) -> Result<Vec<u8>, SignatureError> {
        self.sign(scheme, Subject::Divergence(divergence.hash()))
    }

    fn sign(&self, scheme: &Scheme, subject: Subject) -> Result<Vec<u8>, SignatureError> {
        match (self, scheme.digest(subject)) {
            (AttestorKey::Ethereum(signer), Digest::Ethereum(digest)) => {
                let signature = signer.sign_hash_sync(&digest).map_err(|_| SignatureError::OutOfRange)?;
                Ok(signature.normalized_s().as_bytes().to_vec())
            }
            (AttestorKey::Starknet { secret, .. }, Digest::Starknet(digest)) => {
                let signature = verify::sign(secret, &MessageHash(digest)).map_err(|_| SignatureError::OutOfRange)?;
                Ok([signature.r.to_bytes_be(), signature.s.to_bytes_be()].concat())
            }
            _ => Err(SignatureError::OtherLayer),
        }
    }
}

impl fmt::Debug for AttestorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttestorKey({})", self.id())
    }
}

/// An Ethereum address as an attestor.
pub fn attestor_of(address: Address) -> AttestorId {
    AttestorId(Felt::from_bytes_be_slice(address.as_slice()))
}

#[derive(Clone, Copy)]
enum Subject {
    Fact(Bytes32),
    Divergence(Bytes32),
}

enum Digest {
    Ethereum(B256),
    Starknet(Felt),
}

impl Scheme {
    /// Of the layer that genesis names.
    pub fn of(genesis: &Genesis) -> Scheme {
        let SettlementSpec { layer, registry, .. } = genesis.settlement;
        match layer {
            SettlementLayer::Ethereum { chain_id, .. } => {
                let address = registry.to_ethereum().expect("genesis checks the addresses of its layer");
                Scheme::Ethereum { chain_id, registry: address.into() }
            }
            SettlementLayer::Starknet { chain_id } => Scheme::Starknet { chain_id: chain_id.0, registry: registry.0 },
        }
    }

    /// Whether an attestation's signature is its attestor's.
    pub fn is_signed(&self, attestation: &Attestation) -> bool {
        self.verify(attestation.attestor, Subject::Fact(attestation.fact), &attestation.signature)
    }

    /// Whether a report's signature is its attestor's.
    pub fn is_reported(&self, report: &DivergenceReport) -> bool {
        self.verify(report.attestor, Subject::Divergence(report.divergence.hash()), &report.signature)
    }

    fn verify(&self, attestor: AttestorId, subject: Subject, signature: &[u8]) -> bool {
        match self.digest(subject) {
            Digest::Ethereum(digest) => {
                let Ok(parsed) = EthSignature::from_raw(signature) else { return false };
                // The registry takes no other form: 65 bytes, v of 27 or 28, the lower s.
                let canonical = parsed.as_bytes()[..] == *signature && parsed.normalized_s() == parsed;
                canonical && parsed.recover_address_from_prehash(&digest).is_ok_and(|signer| attestor_of(signer) == attestor)
            }
            Digest::Starknet(digest) => {
                let Some((r, s)) = signature.split_at_checked(32) else { return false };
                let Some((r, s)) = felt(r).zip(felt(s)) else { return false };
                let signature = StarkSignature { r, s };
                Verifier::new().verify(&StarkKey(attestor.0), &MessageHash(digest), &signature).is_ok()
            }
        }
    }

    fn digest(&self, subject: Subject) -> Digest {
        match (*self, subject) {
            (Scheme::Ethereum { chain_id, registry }, Subject::Fact(fact)) => {
                Digest::Ethereum(attestation_digest(chain_id, registry, fact.0.into()))
            }
            (Scheme::Ethereum { chain_id, registry }, Subject::Divergence(divergence)) => {
                let domain = eip712_domain! {
                    name: "Keel AttestationRegistry",
                    version: "1",
                    chain_id: chain_id,
                    verifying_contract: registry,
                };
                let report = report::DivergenceReport { divergence: divergence.0.into() };
                Digest::Ethereum(report.eip712_signing_hash(&domain))
            }
            (Scheme::Starknet { chain_id, registry }, Subject::Fact(fact)) => {
                Digest::Starknet(settlement::attestation_digest(chain_id, L1Address(registry), Felt::from_bytes_be(&fact.0)))
            }
            (Scheme::Starknet { chain_id, registry }, Subject::Divergence(divergence)) => {
                let (high, low) = divergence.0.split_at(16);
                let [high, low] = [high, low].map(Felt::from_bytes_be_slice);
                let words = [short_string("KEEL_DIVERGENCE"), chain_id, registry, high, low];
                Digest::Starknet(Poseidon::hash_array(&words))
            }
        }
    }
}

/// A canonical field element of 32 bytes.
fn felt(bytes: &[u8]) -> Option<Felt> {
    let bytes: [u8; 32] = bytes.try_into().ok()?;
    let felt = Felt::from_bytes_be(&bytes);
    (felt.to_bytes_be() == bytes).then_some(felt)
}

/// Who may attest, and how many it takes: as the registry has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attestors {
    pub members: BTreeSet<AttestorId>,
    pub threshold: usize,
}

/// How the attestations of a batch stand for the settler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Gathering {
    /// As many as the registry asks for and no more, ascending by attestor: those with the lowest numbers.
    Enough(Vec<Attestation>),
    Missing(Gathered),
}

/// The node's side of attesting. Shared between the settler and whoever serves attestors.
pub struct Desk {
    store: Store,
    scheme: Scheme,
    /// As last read from the registry; `None` until it was.
    attestors: Mutex<Option<Attestors>>,
}

impl Desk {
    pub(crate) fn new(store: Store, genesis: &Genesis) -> Desk {
        Desk { store, scheme: Scheme::of(genesis), attestors: Mutex::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Attestors>> {
        self.attestors.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn know(&self, attestors: Attestors) {
        *self.lock() = Some(attestors);
    }

    /// The set as last read from the registry.
    pub fn attestors(&self) -> Option<Attestors> {
        self.lock().clone()
    }

    /// How things are signed on this chain.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The first batch that is not confirmed on the settlement layer.
    ///
    /// # Errors
    /// The store.
    pub fn unconfirmed_from(&self) -> Result<BatchId, StoreError> {
        let confirmed = self.store.latest_batch_with(BatchStatus::Confirmed)?;
        Ok(BatchId(confirmed.map_or(0, |header| header.batch.0 + 1)))
    }

    /// The batches from `from` on, at most `max`, with whether `attestor` has signed each.
    ///
    /// # Errors
    /// The store, or a batch in it.
    pub fn batches(&self, from: BatchId, attestor: AttestorId, max: usize) -> Result<Vec<(BatchClaim, bool)>, BatchError> {
        let mut batches = Vec::new();
        let end = from.0.saturating_add(u64::try_from(max).unwrap_or(u64::MAX));
        for id in (from.0..end).map(BatchId) {
            let Some((header, batch)) = Batch::load(&self.store, id)? else { break };
            let claim = BatchClaim {
                batch: id,
                first_block: header.first_block,
                last_block: header.last_block,
                root: FeltBytes(batch.content.after.root),
                block_hash: FeltBytes(batch.content.after.hash),
                fact: batch.fact,
            };
            let signed = |attestation: &Attestation| (attestation.attestor, attestation.fact) == (attestor, claim.fact);
            batches.push((claim, self.store.attestations(id)?.iter().any(signed)));
        }
        Ok(batches)
    }

    /// Takes a signed fact, if it is of our batch and by an attestor of the registry.
    ///
    /// # Errors
    /// See [AttestationRefusal].
    pub fn attest(&self, attestation: &Attestation) -> Result<Gathered, AttestationRefusal> {
        self.is_of_member(attestation.attestor, self.scheme.is_signed(attestation))?;
        let (header, batch) =
            Batch::load(&self.store, attestation.batch).map_err(not_stored)?.ok_or(AttestationRefusal::UnknownBatch)?;
        if batch.fact != attestation.fact {
            return Err(AttestationRefusal::FactDiffers);
        }
        self.store.put_attestation(attestation).map_err(not_stored)?;
        let reported = self.store.divergences().map_err(not_stored)?;
        let agrees_again = |report: &DivergenceReport| {
            report.attestor == attestation.attestor && report.divergence.height <= header.last_block
        };
        if reported.iter().any(agrees_again) {
            tracing::warn!(attestor = %attestation.attestor, batch = %attestation.batch, "an attestor that reported a difference agrees again");
            self.store.remove_divergence(attestation.attestor).map_err(not_stored)?;
        }
        match self.gather(attestation.batch, batch.fact).map_err(not_stored)? {
            Some(Gathering::Enough(attestations)) => Ok(Gathered { have: attestations.len(), need: attestations.len() }),
            Some(Gathering::Missing(gathered)) => Ok(gathered),
            None => Err(AttestationRefusal::AttestorsUnknown),
        }
    }

    /// Keeps the node's own signature of a batch it made.
    pub(crate) fn keep_own(&self, attestation: Attestation) -> Result<(), StoreError> {
        self.store.put_attestation(&attestation)
    }

    /// Takes a signed report of a difference by an attestor of the registry.
    ///
    /// # Errors
    /// See [AttestationRefusal].
    pub fn diverged(&self, report: &DivergenceReport) -> Result<(), AttestationRefusal> {
        self.is_of_member(report.attestor, self.scheme.is_reported(report))?;
        let Divergence { what, batch, height, announced, computed } = report.divergence;
        tracing::error!(attestor = %report.attestor, %what, ?batch, %height, %announced, %computed, "an attestor reports a difference");
        self.store.put_divergence(report).map_err(not_stored)
    }

    /// The reports that stand, of attestors that are in the set.
    ///
    /// # Errors
    /// The store.
    pub fn divergences(&self) -> Result<Vec<DivergenceReport>, StoreError> {
        let Some(Attestors { members, .. }) = self.attestors() else { return Ok(vec![]) };
        let mut reports = self.store.divergences()?;
        reports.retain(|report| members.contains(&report.attestor));
        Ok(reports)
    }

    /// `None`: the registry was not read yet.
    pub(crate) fn gather(&self, batch: BatchId, fact: Bytes32) -> Result<Option<Gathering>, StoreError> {
        let Some(Attestors { members, threshold }) = self.attestors() else { return Ok(None) };
        let mut attestations = self.store.attestations(batch)?;
        attestations.retain(|attestation| attestation.fact == fact && members.contains(&attestation.attestor));
        let have = attestations.len();
        if have < threshold {
            return Ok(Some(Gathering::Missing(Gathered { have, need: threshold })));
        }
        attestations.truncate(threshold);
        Ok(Some(Gathering::Enough(attestations)))
    }

    fn is_of_member(&self, attestor: AttestorId, signed: bool) -> Result<(), AttestationRefusal> {
        let attestors = self.attestors().ok_or(AttestationRefusal::AttestorsUnknown)?;
        if !attestors.members.contains(&attestor) {
            return Err(AttestationRefusal::NotAnAttestor);
        }
        if signed { Ok(()) } else { Err(AttestationRefusal::BadSignature) }
    }
}

fn not_stored(error: impl fmt::Display) -> AttestationRefusal {
    tracing::error!(%error, "what an attestor sent was not kept");
    AttestationRefusal::NotStored
}

/// The registry's answer, checked: a set that could attest nothing is a contradiction.
pub(crate) fn attestors(members: BTreeSet<AttestorId>, threshold: usize) -> Result<Attestors, L1Error> {
    match (1..=members.len()).contains(&threshold) {
        true => Ok(Attestors { members, threshold }),
        false => Err(L1Error::Contradiction(format!("{threshold} of {} attestors", members.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACT: Bytes32 = Bytes32([0x03; 32]);

    fn schemes() -> [Scheme; 2] {
        let registry = Address::repeat_byte(7);
        [
            Scheme::Ethereum { chain_id: 31_337, registry },
            Scheme::Starknet { chain_id: Felt::from(0x534e_u64), registry: Felt::from(99_u64) },
        ]
    }

    fn divergence() -> Divergence {
        let (announced, computed) = (Bytes32([1; 32]), Bytes32([2; 32]));
        Divergence { what: Diverged::Fact, batch: Some(BatchId(3)), height: Height(30), announced, computed }
    }

    #[test]
    fn what_a_key_signs_is_its_own_for_that_layer_registry_and_subject_only() {
        for scheme in schemes() {
            let key = |number: u64| AttestorKey::parse(&scheme, &format!("{:#066x}", number)).expect("a key");
            let (one, two) = (key(1_001), key(1_002));
            let signature = one.sign_fact(&scheme, FACT).expect("signed");
            let good = Attestation { batch: BatchId(3), fact: FACT, attestor: one.id(), signature };
            assert!(scheme.is_signed(&good));
            let other_registry = match scheme {
                Scheme::Ethereum { chain_id, .. } => Scheme::Ethereum { chain_id, registry: Address::repeat_byte(8) },
                Scheme::Starknet { chain_id, .. } => Scheme::Starknet { chain_id, registry: Felt::from(98_u64) },
            };
            assert!(!other_registry.is_signed(&good));
            assert!(!scheme.is_signed(&Attestation { attestor: two.id(), ..good.clone() }));
            assert!(!scheme.is_signed(&Attestation { fact: Bytes32([4; 32]), ..good.clone() }));
            for at in 0..good.signature.len() {
                let mut signature = good.signature.clone();
                signature[at] ^= 1;
                assert!(!scheme.is_signed(&Attestation { signature, ..good.clone() }), "{scheme:?}: byte {at}");
                let signature = good.signature[..at].to_vec();
                assert!(!scheme.is_signed(&Attestation { signature, ..good.clone() }), "{scheme:?}: cut at {at}");
            }

            let signature = one.sign_divergence(&scheme, &divergence()).expect("signed");
            let report = DivergenceReport { divergence: divergence(), attestor: one.id(), signature: signature.clone() };
            assert!(scheme.is_reported(&report));
            let other = Divergence { height: Height(31), ..divergence() };
            assert!(!scheme.is_reported(&DivergenceReport { divergence: other, ..report.clone() }));
            assert!(!scheme.is_reported(&DivergenceReport { signature: good.signature.clone(), ..report }));
            // A report's signature is none of a fact, whichever fact that is.
            let fact = divergence().hash();
            assert!(!scheme.is_signed(&Attestation { fact, signature, ..good.clone() }));
        }
    }

    #[test]
    fn a_key_of_another_curve_signs_nothing() {
        let [ethereum, starknet] = schemes();
        let key = AttestorKey::parse(&ethereum, &format!("{:#066x}", 5)).expect("a key");
        assert_eq!(key.sign_fact(&starknet, FACT), Err(SignatureError::OtherLayer));
        for (scheme, text) in [
            (&ethereum, "0x12"),
            (&ethereum, "nothing"),
            (&starknet, "0x0"),
            (&starknet, "12"),
            (&starknet, &format!("0x{}", "f".repeat(64))),
        ] {
            assert_eq!(AttestorKey::parse(scheme, text).err(), Some(SignatureError::BadKey), "{text}");
        }
    }
}
