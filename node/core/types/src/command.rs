use crate::*;
use borsh::{BorshDeserialize, BorshSerialize};
use starknet_types_core::hash::{Poseidon, StarkHash};

/// What every signed message carries beside its body.
///
/// `hash` is the SNIP-12 hash that the signature covers; ingress computed it from the fields, so it binds all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Signed {
    pub account: Address,
    /// Used once per account; unordered. [spec exchange, Signing]
    pub nonce: u64,
    /// Until when the message may be admitted.
    pub valid_until: Ts,
    pub hash: MessageHash,
    /// The session key that signed; zero: the account's main key did. Whether it may is the engine's question, so that a revocation
    /// takes effect at a sequence number.
    pub session_key: StarkKey,
}

/// One entry of the journal: everything that can change the engine. Closed; borsh tags are the declaration order and final.
/// New commands are appended at the end.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum Command {
    /// Time passes. At least every 100 ms.
    Tick,
    Register(Register),
    Place(PlaceOrder),
    Cancel(CancelOrder),
    CancelAll(CancelAll),
    Withdraw(Withdraw),
    /// Prices of publishers; signatures were checked at ingress.
    Prices(Vec<PriceReport>),
    Deposit(Deposit),
    SealBlock(SealBlock),
    BatchConfirmed(BatchConfirmed),
    EnterSafeMode(EnterSafeMode),
    SetPhase(SetPhase),
    /// An operator lets an incident go on that waits for one.
    Resume(Resume),
    SessionKey(GrantSessionKey),
    RevokeSessionKey(RevokeSessionKey),
    /// Logs a WebSocket in.
    Session(OpenSession),
    Modify(ModifyOrder),
    ScheduleCancel(ScheduleCancel),
    Transfer(Transfer),
    /// An unsigned cancel on a logged-in WebSocket.
    SessionCancel(SessionCancel),
    /// The same for all orders; also what the node does when such a WebSocket is lost.
    SessionCancelAll(SessionCancelAll),
    /// Places again what an incident cancelled.
    RestoreOrders(RestoreOrders),
    /// The record before this one is not executed, by anybody.
    Void(Void),
}

/// Binds an account address to a Stark key. The address was derived from a genesis template at ingress.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Register {
    pub signed: Signed,
    pub key: StarkKey,
    /// Index of the account template in genesis.
    pub template: u8,
}

/// A new order. Every field is inside the signature. [spec exchange, Signing]
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct PlaceOrder {
    pub signed: Signed,
    pub market: MarketId,
    pub side: Side,
    pub order_type: OrderType,
    pub size: Qty,
    /// Limit price; for MARKET the worst price, 0 = the band edge.
    pub price: Price,
    /// 0 unless a trigger type.
    pub trigger_price: Price,
    pub time_in_force: TimeInForce,
    /// End of the order itself; 0 = none. Only for GTT.
    pub good_til: Ts,
    pub reduce_only: bool,
    pub self_trade: SelfTradeMode,
    /// The client's own id, unique among its live orders; 0 = none.
    pub client_id: u128,
}

/// Cancels one order, named by its hash or by the client's id (exactly one is non-zero).
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct CancelOrder {
    pub signed: Signed,
    pub order: MessageHash,
    pub client_id: u128,
}

/// Cancels all orders of the account, in one market or in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct CancelAll {
    pub signed: Signed,
    pub market: Option<MarketId>,
}

/// Takes an amount out to the settlement layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Withdraw {
    pub signed: Signed,
    pub asset: AssetId,
    /// Quantums; a multiple of one unit of the token on the settlement layer.
    pub amount: Amount,
    /// Who may claim it on the settlement layer.
    pub recipient: L1Address,
}

/// One price of one publisher. Signed: Poseidon('KEEL_PRICE', chain id, market, price, ts in ms).
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct PriceReport {
    /// Index of the publisher in genesis.
    pub publisher: u8,
    pub market: MarketId,
    /// As reported; a price that is not positive is discarded by the engine, and that is recorded.
    pub price: Price,
    /// When the publisher saw it.
    pub ts: Ts,
}

/// A final message of the genesis bridge on the settlement layer, checked as spec settlement, Messages and money says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Deposit {
    /// Nonce of the message on the settlement contract.
    pub message_nonce: u64,
    pub token: L1Address,
    pub recipient: Address,
    /// In units of the token on the settlement layer (USDC: 1e-6).
    pub amount: u128,
    /// Keccak hash of the message, its key on the settlement contract.
    pub message_hash: Bytes32,
    pub l1_block: u64,
    pub l1_block_hash: Bytes32,
    /// How deep the block was when it was read.
    pub depth: u64,
    pub l1_tx_hash: Bytes32,
}

/// Closes a block: it holds every command since the previous one, this included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SealBlock {
    pub height: Height,
    /// `engine_digest` before this command; compared wherever it is executed.
    pub engine_digest: Bytes32,
}

/// The settlement contract shows our root for this batch, deep enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct BatchConfirmed {
    pub batch: BatchId,
    pub last_block: Height,
    pub root: FeltBytes,
    pub l1_block: u64,
    pub l1_tx_hash: Bytes32,
}

/// Stops everything and cancels every open order. Alone in its record. [spec safe-mode]
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct EnterSafeMode {
    pub incident: IncidentId,
    pub reasons: LossReasons,
    /// When the loss was observed, in journal time.
    pub observed_ts: Ts,
}

/// One step of reopening.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SetPhase {
    pub incident: IncidentId,
    pub phase: Phase,
    /// SPOT opens post-only until then.
    pub post_only_until: Ts,
    /// Hash of the signed integrity report that opened this phase; zero before SPOT.
    pub integrity_report: Bytes32,
}

/// An operator's word that an incident may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Resume {
    pub incident: IncidentId,
    /// Index of the operator's key.
    pub operator: u8,
}

/// Lets a key trade for the account; granting a key again replaces its terms. [spec exchange, Accounts and keys]
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct GrantSessionKey {
    pub signed: Signed,
    pub key: StarkKey,
    pub terms: SessionTerms,
}

/// Ends a session key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct RevokeSessionKey {
    pub signed: Signed,
    pub key: StarkKey,
}

/// Logs a WebSocket in: from now on it may send cancels unsigned. Uses up its nonce, so that it logs in once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct OpenSession {
    pub signed: Signed,
}

/// New limit price and total size (fills included) of an open or untriggered order. [spec exchange, Orders: modify]
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct ModifyOrder {
    pub signed: Signed,
    pub order: MessageHash,
    pub price: Price,
    pub size: Qty,
}

/// Dead man's switch: cancels all orders of the account at a time; 0 takes it back. [spec exchange, Orders]
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct ScheduleCancel {
    pub signed: Signed,
    pub at: Ts,
}

/// Moves an amount to another account on this exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Transfer {
    pub signed: Signed,
    pub recipient: Address,
    pub asset: AssetId,
    /// Quantums.
    pub amount: Amount,
}

/// See [Command::SessionCancel]. Exactly one of `order` and `client_id` is non-zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SessionCancel {
    pub account: Address,
    pub order: MessageHash,
    pub client_id: u128,
}

/// See [Command::SessionCancelAll].
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SessionCancelAll {
    pub account: Address,
    pub market: Option<MarketId>,
    /// Sent by the node because the connection was lost, with cancel-on-disconnect on.
    pub disconnected: bool,
}

/// Places again what is left of orders that an incident cancelled. [spec safe-mode, Restoring orders]
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct RestoreOrders {
    pub signed: Signed,
    pub incident: IncidentId,
    /// Of the orders as they were cancelled; 1 to [RESTORE_ORDERS_MAX].
    pub orders: Vec<MessageHash>,
    /// The new end of all of them; 0: each keeps its own, or none.
    pub good_til: Ts,
}

/// Takes back a record that breaks the engine and was acknowledged to nobody, on the word of two operators. Alone in its record, directly
/// behind the one it voids: that record's commands keep their numbers and do nothing. [spec safe-mode, A command that breaks the engine]
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct Void {
    /// First command of the voided record.
    pub seq: Seq,
    /// Why, in the operators' words: 1 to [VOID_REASON_BYTES_MAX] bytes, no control characters.
    pub reason: String,
}

/// Bytes of a [Void]'s reason: a sentence and the number of a ticket.
pub const VOID_REASON_BYTES_MAX: usize = 200;

impl Void {
    /// Whether the reason is one.
    pub fn is_reason(reason: &str) -> bool {
        (1..=VOID_REASON_BYTES_MAX).contains(&reason.len()) && !reason.chars().any(char::is_control)
    }
}

/// Orders that one message may restore: a side of a market maker's quotes, and a few milliseconds of the engine's time.
pub const RESTORE_ORDERS_MAX: usize = 100;

impl RestoreOrders {
    /// The identity of the order that takes the place of a cancelled one: Poseidon of the message's hash and the order's. The old one
    /// stays with the order that was cancelled: its end, its receipt and its history are final.
    pub fn order_restored(&self, order: &MessageHash) -> MessageHash {
        MessageHash(Poseidon::hash(&self.signed.hash.0, &order.0))
    }
}

impl Command {
    /// The signed envelope, for commands of users.
    pub fn signed(&self) -> Option<&Signed> {
        match self {
            Command::Register(c) => Some(&c.signed),
            Command::Place(c) => Some(&c.signed),
            Command::Cancel(c) => Some(&c.signed),
            Command::CancelAll(c) => Some(&c.signed),
            Command::Withdraw(c) => Some(&c.signed),
            Command::SessionKey(c) => Some(&c.signed),
            Command::RevokeSessionKey(c) => Some(&c.signed),
            Command::Session(c) => Some(&c.signed),
            Command::Modify(c) => Some(&c.signed),
            Command::ScheduleCancel(c) => Some(&c.signed),
            Command::Transfer(c) => Some(&c.signed),
            Command::RestoreOrders(c) => Some(&c.signed),
            Command::SessionCancel(_)
            | Command::SessionCancelAll(_)
            | Command::Tick
            | Command::Prices(_)
            | Command::Deposit(_)
            | Command::SealBlock(_)
            | Command::BatchConfirmed(_)
            | Command::EnterSafeMode(_)
            | Command::SetPhase(_)
            | Command::Resume(_)
            | Command::Void(_) => None,
        }
    }

    /// The account a user's command is of, signed or not; `None` for commands of the node.
    pub fn account(&self) -> Option<Address> {
        match self {
            Command::SessionCancel(c) => Some(c.account),
            Command::SessionCancelAll(c) => Some(c.account),
            other => other.signed().map(|signed| signed.account),
        }
    }

    /// Whether it can only take orders away: its lane is shed last and drained first.
    pub fn is_cancel(&self) -> bool {
        matches!(
            self,
            Command::Cancel(_)
                | Command::CancelAll(_)
                | Command::SessionCancel(_)
                | Command::SessionCancelAll(_)
                | Command::ScheduleCancel(_)
        )
    }
}
