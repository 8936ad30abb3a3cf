use crate::error::{L1Error, Refusal};
use crate::quorum::AskError;
use alloy::contract::Error as ContractError;
use alloy::primitives::Bytes;
use alloy::sol_types::{SolInterface, decode_revert_reason};
use alloy::transports::{RpcError, TransportError, TransportErrorKind};
use keel_contracts::ethereum::{AttestationRegistry, Bridge};

/// From revert data.
fn refusal(data: &[u8]) -> Refusal {
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

impl From<TransportError> for L1Error {
    fn from(error: TransportError) -> Self {
        match &error {
            RpcError::ErrorResp(payload) => match payload.as_revert_data() {
                Some(data) => L1Error::Refused(refusal(&data)),
                None if payload.message.contains("revert") => L1Error::Refused(Refusal::of_text(&payload.message)),
                None => L1Error::Rpc { code: payload.code, message: payload.message.to_string() },
            },
            RpcError::Transport(TransportErrorKind::Custom(why)) if why.is::<AskError>() => {
                why.downcast_ref::<AskError>().cloned().map_or_else(|| L1Error::Unreachable(why.to_string()), L1Error::from)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::Address;
    use alloy::sol_types::{Revert, SolError};

    #[test]
    fn reasons_of_the_contracts_are_told_apart() {
        let core = |text: &str| refusal(&Revert::from(text).abi_encode());
        assert_eq!(core("INVALID_PREVIOUS_ROOT"), Refusal::PrevRoot);
        assert_eq!(core("INVALID_PREV_BLOCK_NUMBER"), Refusal::PrevBlockNumber);
        assert_eq!(core("NO_STATE_TRANSITION_PROOF"), Refusal::NotAttested);
        assert!(matches!(core("STARKNET_OUTPUT_TOO_LONG"), Refusal::Other(text) if text.contains("TOO_LONG")));
        let signer = Address::repeat_byte(7);
        let registry = AttestationRegistry::NotAnAttestor { signer }.abi_encode();
        assert_eq!(refusal(&registry), Refusal::NotAttestor(signer.to_string()));
        assert!(matches!(refusal(&[0xde, 0xad, 0xbe, 0xef]), Refusal::Other(text) if text.contains("0xdeadbeef")));
    }
}
