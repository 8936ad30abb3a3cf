//! The settlement layer behind one face: what the loops ask of it and have it do, whichever layer it is. [spec settlement]
//!
//! Everything here is in neutral words: blocks are numbers and 32-byte hashes, addresses and field elements are felts, and a
//! word of an event is 32 bytes, since on Ethereum it need not be a felt.

use crate::attestation::Attestors;
use crate::config::{SettlementConfig, SettlementKeys};
use crate::error::{CheckError, L1Error, SendError};
use crate::{ethereum, starknet};
use alloy::signers::local::PrivateKeySigner;
use keel_batches::Batch;
use keel_types::{Bytes32, Felt, Genesis, Height, L1Address, SettlementLayer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which block is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockTag {
    Number(u64),
    Latest,
    /// The newest that the layer will never take back: the `finalized` tag on Ethereum, ACCEPTED_ON_L1 on Starknet.
    Final,
}

/// Where the settlement contract is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// Block of the settlement layer at which it was read, and its hash.
    pub at: u64,
    pub at_hash: Bytes32,
    /// Last settled block; `None` before the first batch.
    pub height: Option<Height>,
    pub root: Felt,
    pub hash: Felt,
}

/// The transaction that settled a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inclusion {
    pub block: u64,
    pub block_hash: Bytes32,
    pub tx: Bytes32,
}

/// A message that waits, or waited, for our chain; as its event says. Words are big-endian.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DepositLog {
    pub from: L1Address,
    pub to: Bytes32,
    pub selector: Bytes32,
    pub payload: Vec<Bytes32>,
    pub nonce: Bytes32,
    pub block: u64,
    pub block_hash: Bytes32,
    pub tx: Bytes32,
}

/// What the core contract says of a message for our chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageState {
    /// It was neither taken by a state update nor cancelled.
    pub waits: bool,
    /// Its cancellation, once that was started.
    pub cancellation: Option<CancellationTimes>,
}

/// When a cancellation was last started, and from when it may end, in Unix seconds of the settlement layer; the largest number: never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CancellationTimes {
    pub started: u64,
    /// Fixed at the start: the contract's delay may change, this does not.
    pub allowed_at: u64,
}

impl CancellationTimes {
    /// As the contracts have it: started at 0 is not started.
    pub(crate) fn of(started: u64, allowed_at: u64) -> Option<CancellationTimes> {
        (started > 0).then_some(CancellationTimes { started, allowed_at })
    }
}

/// Something the bridge did with money. Amounts in units of the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BridgeEvent {
    Sent { nonce: u64, token: L1Address, amount: u128 },
    Refunded { nonce: u64, token: L1Address },
    Paid { withdrawal: u64, token: L1Address, amount: u128 },
}

/// Readers of one chain's contracts. Cheap to clone.
#[derive(Clone)]
pub enum L1 {
    Ethereum(ethereum::Reader),
    Starknet(starknet::Reader),
}

macro_rules! on_layer {
    ($this:expr, $of:ident, $reader:ident => $call:expr) => {
        match $this {
            $of::Ethereum($reader) => $call,
            $of::Starknet($reader) => $call,
        }
    };
}

impl L1 {
    /// Connects to `endpoints`, which need not answer yet. What they say counts when `quorum` of them say it; 0 is a majority.
    ///
    /// # Errors
    /// An address cannot be parsed; the quorum is no majority.
    pub fn connect(endpoints: &[String], quorum: usize, genesis: Arc<Genesis>) -> Result<L1, L1Error> {
        match genesis.settlement.layer {
            SettlementLayer::Ethereum { chain_id, .. } => {
                Ok(L1::Ethereum(ethereum::Reader::connect(endpoints, quorum, genesis, chain_id)?))
            }
            SettlementLayer::Starknet { chain_id } => {
                Ok(L1::Starknet(starknet::Reader::connect(endpoints, quorum, genesis, chain_id.0)?))
            }
        }
    }

    pub(crate) fn genesis(&self) -> &Arc<Genesis> {
        on_layer!(self, L1, reader => &reader.genesis)
    }

    /// Compares everything both ends must agree on.
    ///
    /// # Errors
    /// The first difference, by name; or nobody answered.
    pub async fn check(&self) -> Result<(), CheckError> {
        on_layer!(self, L1, reader => reader.check().await)
    }

    /// Whether these accounts may submit and attest.
    ///
    /// # Errors
    /// They may not; or nobody answered.
    pub async fn check_roles(&self, keys: &SettlementKeys) -> Result<(), CheckError> {
        match (self, keys) {
            (L1::Ethereum(reader), SettlementKeys::Ethereum(keys)) => reader.check_roles(keys).await,
            (L1::Starknet(reader), SettlementKeys::Starknet(keys)) => reader.check_roles(keys).await,
            _ => Err(L1Error::OtherLayer(self.genesis().settlement.layer).into()),
        }
    }

    /// Number of the newest block that a quorum of the endpoints has, by hash: two chains have no head between them.
    pub async fn head(&self) -> Result<u64, L1Error> {
        Ok(self.newest().await?.0)
    }

    /// Number and hash of a block; `None` if there is none.
    pub async fn block(&self, which: BlockTag) -> Result<Option<(u64, Bytes32)>, L1Error> {
        on_layer!(self, L1, reader => reader.block(which).await)
    }

    /// Number and hash of the newest block.
    pub async fn newest(&self) -> Result<(u64, Bytes32), L1Error> {
        let newest = self.block(BlockTag::Latest).await?;
        newest.ok_or_else(|| L1Error::Contradiction("there is no newest block".into()))
    }

    /// The contract's state at the newest block. Pinned by the block's hash: three answers from two forks would look like a
    /// mismatch.
    pub async fn cursor(&self) -> Result<Cursor, L1Error> {
        let (at, hash) = self.newest().await?;
        on_layer!(self, L1, reader => reader.cursor_at(at, hash).await)
    }

    /// Every state update in blocks `from..=to`: last block of our chain -> its transaction.
    pub async fn state_updates(&self, from: u64, to: u64) -> Result<BTreeMap<Height, Inclusion>, L1Error> {
        on_layer!(self, L1, reader => reader.state_updates(from, to).await)
    }

    /// Messages of the genesis bridge to the exchange for `handle_deposit` in blocks `from..=to`, in order.
    pub async fn deposits(&self, from: u64, to: u64) -> Result<Vec<DepositLog>, L1Error> {
        on_layer!(self, L1, reader => reader.deposits(from, to).await)
    }

    /// What the bridge did in blocks `from..=to`, in order.
    pub(crate) async fn bridge_events(&self, from: u64, to: u64) -> Result<Vec<BridgeEvent>, L1Error> {
        on_layer!(self, L1, reader => reader.bridge_events(from, to).await)
    }

    /// Messages of the genesis bridge to the exchange whose cancellation was started in blocks `from..=to`, in order.
    pub(crate) async fn cancellations(&self, from: u64, to: u64) -> Result<Vec<DepositLog>, L1Error> {
        on_layer!(self, L1, reader => reader.cancellations(from, to).await)
    }

    /// What became of a message for our chain, at the block with hash `at`.
    pub async fn message(&self, hash: Bytes32, at: Bytes32) -> Result<MessageState, L1Error> {
        on_layer!(self, L1, reader => reader.message(hash, at).await)
    }

    /// Whether a message of ours can be consumed on the settlement layer now.
    pub async fn claimable(&self, message_hash: Bytes32) -> Result<bool, L1Error> {
        on_layer!(self, L1, reader => reader.claimable(message_hash).await)
    }

    /// Whether the registry holds the fact valid.
    pub async fn is_attested(&self, fact: Bytes32) -> Result<bool, L1Error> {
        on_layer!(self, L1, reader => reader.is_attested(fact).await)
    }

    /// Who may attest, and how many it takes.
    pub(crate) async fn attestors(&self) -> Result<Attestors, L1Error> {
        on_layer!(self, L1, reader => reader.attestors().await)
    }

    /// The bridge's counter and its balance of a token, at one block. Units of the token; a balance beyond 128 bits is the
    /// largest that fits.
    pub(crate) async fn escrow_at(&self, token: L1Address, block: Bytes32) -> Result<(u128, u128), L1Error> {
        on_layer!(self, L1, reader => reader.escrow_at(token, block).await)
    }
}

/// An attestor's signature of a fact, as the layer's registry takes it: r, s, v (65 bytes) on Ethereum, r, s (64) on Starknet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FactSignature {
    /// The signer: an Ethereum address, or a Stark public key.
    pub attestor: Felt,
    pub bytes: Vec<u8>,
}

/// Keeps the hash of a transaction before it is sent, or says why it must not be sent.
pub(crate) type NoteTx<'a> = &'a mut (dyn FnMut(Bytes32) -> Result<(), SendError> + Send);

/// Acts on the contracts, one transaction at a time, from accounts that nobody else uses. Every call may be cut off
/// anywhere and made again, by this process or another.
pub(crate) enum Sender {
    Ethereum(Box<ethereum::Senders>),
    Starknet(Box<starknet::Sender>),
}

impl Sender {
    /// As the operator set.
    ///
    /// # Errors
    /// The keys are of another layer.
    pub(crate) fn new(l1: &L1, config: &SettlementConfig) -> Result<Sender, L1Error> {
        let (poll, replace_after, fee_max) = (config.poll(), config.replace_after, config.fee_max);
        match (l1, &config.keys) {
            (L1::Ethereum(reader), SettlementKeys::Ethereum(keys)) => {
                let sender = |key: &PrivateKeySigner| {
                    ethereum::Sender::new(reader.clone(), key.clone(), poll, replace_after).with_fee_max(fee_max)
                };
                let (attestor, submitter) = (sender(&keys.attestor), sender(&keys.submitter));
                Ok(Sender::Ethereum(Box::new(ethereum::Senders { attestor, submitter })))
            }
            (L1::Starknet(reader), SettlementKeys::Starknet(keys)) => {
                let (account, key) = (keys.account, keys.submitter.clone());
                let sender = starknet::Sender::new(reader.clone(), account, key, poll, replace_after);
                Ok(Sender::Starknet(Box::new(sender.with_fee_max(fee_max))))
            }
            _ => Err(L1Error::OtherLayer(l1.genesis().settlement.layer)),
        }
    }

    /// Brings the signatures of a fact to the registry, if it does not hold it valid by then.
    pub(crate) async fn attest(
        &self,
        fact: Bytes32,
        signatures: &[FactSignature],
        note: NoteTx<'_>,
    ) -> Result<(), SendError> {
        on_layer!(self, Sender, sender => sender.attest(fact, signatures, note).await)
    }

    /// Gets a batch onto the core contract: its data where that goes apart, then the state update, whose hash is noted before
    /// it is sent. `before` is an earlier try at the update, perhaps of an earlier process. Gives the transaction.
    pub(crate) async fn submit(
        &self,
        batch: &Batch,
        before: Option<Bytes32>,
        note: NoteTx<'_>,
    ) -> Result<Bytes32, SendError> {
        on_layer!(self, Sender, sender => sender.submit(batch, before, note).await)
    }
}
