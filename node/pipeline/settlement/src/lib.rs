//! Batches to the settlement layer, deposits from it. [spec settlement]
//!
//! Loops on the async runtime: the head watcher and the watch for cancellations (what the guard looks at), the deposit watcher
//! (final messages of our bridge become `Deposit` commands) and the submitter (attest, submit, follow, confirm; one transaction
//! at a time). Another makes batches of sealed blocks.
//!
//! Invariant: **the cursor is read from the contract, never from our own database.** What the store keeps beside a batch
//! is a convenience: lost, it is found again on the chain. Nothing here touches the engine but through the [`Inbox`],
//! and nothing here can slow it: settlement may be slow, wrong or absent.
//!
//! The loops know no layer: all that is of one stands in [`ethereum`] or [`starknet`], behind [`L1`] and its sender.
//!
//! What is deliberately absent: any decision about safe mode (that is `keel-guard`).
//!
//! [`Inbox`]: keel_ingress::Inbox
#![forbid(unsafe_code)]

pub mod attestation;
mod backlog;
mod backoff;
mod cancellations;
mod config;
mod deposits;
mod error;
mod escrow;
pub mod ethereum;
mod head;
mod history;
mod http;
mod layer;
mod note;
pub mod protection;
mod quorum;
pub mod starknet;
mod start;
mod submit;
mod view;
mod withdrawals;

pub use backlog::Backlog;
pub use cancellations::Cancellation;
pub use config::{KeyError, SettlementConfig, SettlementKeys};
pub use deposits::{DepositError, read_deposit};
pub use error::{CheckError, L1Error, Refusal};
pub use escrow::{EscrowClaim, EscrowDeposit, EscrowFigures, EscrowOwed, EscrowSum, TokenFigures};
pub use history::{
    Accepted, AcceptedData, BLOB_FOLDER, CHUNK_FOLDER, DataError, DataSource, History, HistoryError, Reached, SettledState,
    Sync, SyncError, Update, blob_path, chunk_path,
};
pub use layer::{BlockTag, CancellationTimes, Cursor, DepositLog, FactSignature, Inclusion, L1, MessageState};
pub use note::Note;
pub use start::{EngineFacts, Handle, OnLoss, Parts, check, start};
pub use view::{DepositState, PendingDeposit, SettlementHealth, SettlementStatus, Submission, SubmitterState};
pub use withdrawals::{ClaimCall, WithdrawalClaim, withdrawal_claim};
