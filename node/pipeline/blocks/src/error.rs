use keel_store::StoreError;
use keel_types::{Height, Seq, StarkKey, StateWrite};

/// Why no block can be built any more. Final for the process: a block left out can never be made up for.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    #[error("build block: {0}")]
    Store(#[from] StoreError),
    /// Commands must arrive as the journal has them.
    #[error("build block: expected command {expected} next, got {found}")]
    NotNext { expected: Seq, found: Seq },
    /// The journal seals another height than the store is at.
    #[error("build block: command {seq} seals block {sealed}, the next block is {next}")]
    OtherHeight { seq: Seq, sealed: Height, next: Height },
    /// A change of chain state that no call of the exchange contract accounts for: engine and contract disagree.
    #[error("build block: command {seq} wrote {write:?}, which its transaction does not explain")]
    Unexplained { seq: Seq, write: Box<StateWrite> },
    /// An event is missing that the command's writes call for, or the other way round.
    #[error("build block: command {seq} {why}")]
    Incoherent { seq: Seq, why: &'static str },
    /// For the operator: the configured key is not the one genesis names.
    #[error("block key: its public key is {found}, genesis names {expected}")]
    OtherKey { expected: StarkKey, found: StarkKey },
    /// The thread ended by a panic.
    #[error("build block: {0}")]
    Panicked(String),
}
