use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};

/// Errors of the Starknet specification that this node answers with, by its codes and texts. [spec starknet (g); OpenRPC errors]
///
/// Those that carry a text tell in their data why, in the shape that the specification gives the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StarknetError {
    NoTraceAvailable(&'static str),
    ContractNotFound,
    EntryPointNotFound,
    /// The same as 0.9 writes it.
    EntryPointNotFoundV09,
    BlockNotFound,
    /// The block is there, and nothing can be said of its execution: the one error that the specification has for it.
    BlockNotTraced(&'static str),
    InvalidTxnIndex,
    ClassHashNotFound,
    TxnHashNotFound,
    PageSizeTooBig,
    NoBlocks,
    InvalidContinuationToken,
    TooManyKeysInFilter,
    ContractError(&'static str),
    TransactionExecutionError(&'static str),
    StorageProofNotSupported,
    UnsupportedTxVersion,
    UnexpectedError(&'static str),
    InvalidSubscriptionId,
    TooManyAddressesInFilter,
    TooManyBlocksBack,
}

impl StarknetError {
    /// Code and text, to the letter.
    pub fn parts(self) -> (i32, &'static str) {
        match self {
            StarknetError::NoTraceAvailable(_) => (10, "No trace available for transaction"),
            StarknetError::ContractNotFound => (20, "Contract not found"),
            StarknetError::EntryPointNotFound => (21, "Requested entry point does not exist in the contract"),
            StarknetError::EntryPointNotFoundV09 => (21, "Requested entrypoint does not exist in the contract"),
            StarknetError::BlockNotFound | StarknetError::BlockNotTraced(_) => (24, "Block not found"),
            StarknetError::InvalidTxnIndex => (27, "Invalid transaction index in a block"),
            StarknetError::ClassHashNotFound => (28, "Class hash not found"),
            StarknetError::TxnHashNotFound => (29, "Transaction hash not found"),
            StarknetError::PageSizeTooBig => (31, "Requested page size is too big"),
            StarknetError::NoBlocks => (32, "There are no blocks"),
            StarknetError::InvalidContinuationToken => (33, "The supplied continuation token is invalid or unknown"),
            StarknetError::TooManyKeysInFilter => (34, "Too many keys provided in a filter"),
            StarknetError::ContractError(_) => (40, "Contract error"),
            StarknetError::TransactionExecutionError(_) => (41, "Transaction execution error"),
            StarknetError::StorageProofNotSupported => {
                (42, "the node doesn't support storage proofs for blocks that are too far in the past")
            }
            StarknetError::UnsupportedTxVersion => (61, "the transaction version is not supported"),
            StarknetError::UnexpectedError(_) => (63, "An unexpected error occurred"),
            StarknetError::InvalidSubscriptionId => (66, "Invalid subscription id"),
            StarknetError::TooManyAddressesInFilter => (67, "Too many addresses in filter sender_address filter"),
            StarknetError::TooManyBlocksBack => (68, "Cannot go back more than 1024 blocks"),
        }
    }

    /// What the specification wants in `data`; `None` where it has nothing.
    pub fn data(self) -> Option<Value> {
        match self {
            // The specification knows two statuses: not executed, and failed.
            StarknetError::NoTraceAvailable(why) => Some(json!({"status": "RECEIVED", "reason": why})),
            StarknetError::ContractError(why) => Some(json!({"revert_error": why})),
            StarknetError::TransactionExecutionError(why) => Some(json!({"transaction_index": 0, "execution_error": why})),
            StarknetError::UnexpectedError(why) | StarknetError::BlockNotTraced(why) => Some(json!(why)),
            StarknetError::ContractNotFound
            | StarknetError::EntryPointNotFound
            | StarknetError::EntryPointNotFoundV09
            | StarknetError::BlockNotFound
            | StarknetError::InvalidTxnIndex
            | StarknetError::ClassHashNotFound
            | StarknetError::TxnHashNotFound
            | StarknetError::PageSizeTooBig
            | StarknetError::NoBlocks
            | StarknetError::InvalidContinuationToken
            | StarknetError::TooManyKeysInFilter
            | StarknetError::StorageProofNotSupported
            | StarknetError::UnsupportedTxVersion
            | StarknetError::InvalidSubscriptionId
            | StarknetError::TooManyAddressesInFilter
            | StarknetError::TooManyBlocksBack => None,
        }
    }
}

impl From<StarknetError> for ErrorObjectOwned {
    fn from(error: StarknetError) -> Self {
        let (code, text) = error.parts();
        ErrorObjectOwned::owned(code, text, error.data())
    }
}
