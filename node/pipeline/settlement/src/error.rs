use alloy::contract::Error as ContractError;
use alloy::primitives::Bytes;
use alloy::sol_types::{SolInterface, decode_revert_reason};
use alloy::transports::{RpcError, TransportError};
use keel_contracts::ethereum::{AttestationRegistry, Bridge};
use keel_types::SettlementLayer;

/// What went wrong between us and the settlement layer.
#[derive(Debug, thiserror::Error)]
pub enum L1Error {
    /// No answer, or none that can be read. Try again later.
    #[error("the settlement layer does not answer: {0}")]
    Unreachable(String),
    /// The node answered with an error of its own.
    #[error("the settlement layer answered error {code}: {message}")]
    Rpc { code: i64, message: String },
    /// A contract refused.
    #[error("refused by the contract: {0}")]
    Refused(Refusal),
    /// No contract where genesis says one is, or one of another shape.
    #[error("no contract of ours at its address: {0}")]
    NotOurs(String),
    /// The chain settles somewhere else.
    #[error("the chain settles on {0}")]
    OtherLayer(SettlementLayer),
    /// An answer that the rules of the settlement layer do not allow.
    #[error("the settlement layer contradicts itself: {0}")]
    Contradiction(String),
}

/// Why a contract of ours refused a transaction. The core contract's reasons are its own error strings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("INVALID_PREV_BLOCK_NUMBER: the contract is at another block")]
    PrevBlockNumber,
    #[error("INVALID_PREVIOUS_ROOT: the contract is at another state root")]
    PrevRoot,
    #[error("INVALID_PREV_BLOCK_HASH: the contract is at another block hash")]
    PrevBlockHash,
    #[error("INVALID_CONFIG_HASH: the contract is of another chain")]
    ConfigHash,
    #[error("NO_STATE_TRANSITION_PROOF: the fact registry does not hold the fact")]
    NotAttested,
    #[error("INVALID_MESSAGE_TO_CONSUME: a message does not wait on the contract")]
    Message,
    #[error("ONLY_OPERATOR: the submitter is not an operator of the contract")]
    NotOperator,
    /// The signer is not in the registry's set.
    #[error("{0} is not an attestor")]
    NotAttestor(String),
    /// Any other reason, as the contract gave it.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    /// From revert data.
    pub(crate) fn of(data: &[u8]) -> Refusal {
        if let Ok(error) = AttestationRegistry::AttestationRegistryErrors::abi_decode(data) {
            return match error {
                AttestationRegistry::AttestationRegistryErrors::NotAnAttestor(error) => {
                    Refusal::NotAttestor(error.signer.to_string())
                }
                other => Refusal::Other(format!("{other:?}")),
            };
        }
        if let Ok(error) = Bridge::BridgeErrors::abi_decode(data) {
            return Refusal::Other(format!("{error:?}"));
        }
        let text = decode_revert_reason(data).unwrap_or_else(|| format!("revert data {}", Bytes::copy_from_slice(data)));
        Refusal::of_text(&text)
    }

    fn of_text(text: &str) -> Refusal {
        let known = [
            ("INVALID_PREV_BLOCK_NUMBER", Refusal::PrevBlockNumber),
            ("INVALID_PREVIOUS_ROOT", Refusal::PrevRoot),
            ("INVALID_PREV_BLOCK_HASH", Refusal::PrevBlockHash),
            ("INVALID_CONFIG_HASH", Refusal::ConfigHash),
            ("NO_STATE_TRANSITION_PROOF", Refusal::NotAttested),
            ("INVALID_MESSAGE_TO_CONSUME", Refusal::Message),
            ("ONLY_OPERATOR", Refusal::NotOperator),
        ];
        let found = known.into_iter().find(|(name, _)| text.contains(name));
        found.map_or_else(|| Refusal::Other(text.to_owned()), |(_, refusal)| refusal)
    }
}

impl From<TransportError> for L1Error {
    fn from(error: TransportError) -> Self {
        match &error {
            RpcError::ErrorResp(payload) => match payload.as_revert_data() {
                Some(data) => L1Error::Refused(Refusal::of(&data)),
                None if payload.message.contains("revert") => L1Error::Refused(Refusal::of_text(&payload.message)),
                None => L1Error::Rpc { code: payload.code, message: payload.message.to_string() },
            },
            _ => L1Error::Unreachable(error.to_string()),
        }
    }
}

impl From<ContractError> for L1Error {
    fn from(error: ContractError) -> Self {
        match error {
            ContractError::TransportError(error) => error.into(),
            other => L1Error::NotOurs(other.to_string()),
        }
    }
}

/// Why a node must not settle on the layer it was given. [spec settlement, Chain constants: a difference refuses to start]
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Not a difference: nobody could be asked. The loops ask again.
    #[error("settlement check: {0}")]
    Unavailable(#[from] L1Error),
    #[error("settlement check: {what} is {found} on the settlement layer, {expected} by genesis")]
    Differs { what: &'static str, expected: String, found: String },
    #[error("settlement check: {role} {account} may not act: {why}")]
    NotAllowed { role: &'static str, account: String, why: &'static str },
}

impl CheckError {
    /// Whether asking again may help: nobody answered.
    pub fn is_transient(&self) -> bool {
        matches!(self, CheckError::Unavailable(L1Error::Unreachable(_) | L1Error::Rpc { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::Address;
    use alloy::sol_types::{Revert, SolError};

    #[test]
    fn reasons_of_the_contracts_are_told_apart() {
        let core = |text: &str| Refusal::of(&Revert::from(text).abi_encode());
        assert_eq!(core("INVALID_PREVIOUS_ROOT"), Refusal::PrevRoot);
        assert_eq!(core("INVALID_PREV_BLOCK_NUMBER"), Refusal::PrevBlockNumber);
        assert_eq!(core("NO_STATE_TRANSITION_PROOF"), Refusal::NotAttested);
        assert!(matches!(core("STARKNET_OUTPUT_TOO_LONG"), Refusal::Other(text) if text.contains("TOO_LONG")));
        let signer = Address::repeat_byte(7);
        let registry = AttestationRegistry::NotAnAttestor { signer }.abi_encode();
        assert_eq!(Refusal::of(&registry), Refusal::NotAttestor(signer.to_string()));
        assert!(matches!(Refusal::of(&[0xde, 0xad, 0xbe, 0xef]), Refusal::Other(text) if text.contains("0xdeadbeef")));
    }
}
