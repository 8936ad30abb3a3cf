use crate::error::{L1Error, Refusal, SendError};
use crate::quorum::AskError;
use starknet::accounts::AccountError;
use starknet::core::types::{ContractExecutionError, StarknetError};
use starknet::providers::ProviderError;
use starknet::providers::jsonrpc::{JsonRpcClientError, JsonRpcError};

impl From<ProviderError> for L1Error {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::StarknetError(error) => refused(error),
            ProviderError::Other(error) => match error.as_any().downcast_ref::<JsonRpcClientError<AskError>>() {
                Some(JsonRpcClientError::TransportError(error)) => error.clone().into(),
                Some(JsonRpcClientError::JsonRpcError(JsonRpcError { code, message, .. })) => {
                    L1Error::Rpc { code: *code, message: message.clone() }
                }
                Some(JsonRpcClientError::JsonError(_)) | None => L1Error::Unreachable(error.to_string()),
            },
            other => L1Error::Unreachable(other.to_string()),
        }
    }
}

fn refused(error: StarknetError) -> L1Error {
    match error {
        StarknetError::ContractError(data) => L1Error::Refused(Refusal::of_text(&flat(&data.revert_error))),
        StarknetError::TransactionExecutionError(data) => L1Error::Refused(Refusal::of_text(&flat(&data.execution_error))),
        StarknetError::ContractNotFound | StarknetError::EntrypointNotFound => L1Error::NotOurs(error.to_string()),
        StarknetError::UnexpectedError(text) | StarknetError::ValidationFailure(text) => L1Error::Node(text),
        other => L1Error::Node(other.to_string()),
    }
}

/// The frames of a failed execution, outermost first; the last has the contract's error string.
fn flat(error: &ContractExecutionError) -> String {
    match error {
        ContractExecutionError::Nested(inner) => {
            format!("{:#x}: {}", inner.contract_address, flat(&inner.error))
        }
        ContractExecutionError::Message(text) => text.clone(),
    }
}

impl<E: std::error::Error> From<AccountError<E>> for SendError {
    fn from(error: AccountError<E>) -> Self {
        match error {
            AccountError::Provider(error) => SendError::L1(error.into()),
            AccountError::Signing(error) => SendError::Sign(error.to_string()),
            AccountError::ClassHashCalculation(error) => SendError::Sign(error.to_string()),
            AccountError::FeeOutOfRange => SendError::L1(L1Error::Contradiction("a fee is out of range".into())),
        }
    }
}

impl From<ProviderError> for SendError {
    fn from(error: ProviderError) -> Self {
        SendError::L1(error.into())
    }
}
