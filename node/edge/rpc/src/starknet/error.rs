use jsonrpsee::types::ErrorObjectOwned;

/// Errors of the Starknet specification that this node answers with, by its codes and texts. [spec starknet (g); OpenRPC errors]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StarknetError {
    ContractNotFound,
    BlockNotFound,
    InvalidTxnIndex,
    TxnHashNotFound,
    PageSizeTooBig,
    NoBlocks,
    InvalidContinuationToken,
    TooManyKeysInFilter,
    StorageProofNotSupported,
}

impl StarknetError {
    /// Code and text, to the letter.
    pub fn parts(self) -> (i32, &'static str) {
        match self {
            StarknetError::ContractNotFound => (20, "Contract not found"),
            StarknetError::BlockNotFound => (24, "Block not found"),
            StarknetError::InvalidTxnIndex => (27, "Invalid transaction index in a block"),
            StarknetError::TxnHashNotFound => (29, "Transaction hash not found"),
            StarknetError::PageSizeTooBig => (31, "Requested page size is too big"),
            StarknetError::NoBlocks => (32, "There are no blocks"),
            StarknetError::InvalidContinuationToken => (33, "The supplied continuation token is invalid or unknown"),
            StarknetError::TooManyKeysInFilter => (34, "Too many keys provided in a filter"),
            StarknetError::StorageProofNotSupported => {
                (42, "the node doesn't support storage proofs for blocks that are too far in the past")
            }
        }
    }
}

impl From<StarknetError> for ErrorObjectOwned {
    fn from(error: StarknetError) -> Self {
        let (code, text) = error.parts();
        ErrorObjectOwned::owned(code, text, None::<()>)
    }
}
