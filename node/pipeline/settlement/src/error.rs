use keel_store::StoreError;
use keel_types::{BatchId, Bytes32, L1Address, SettlementLayer};

/// What went wrong between us and the settlement layer.
#[derive(Debug, thiserror::Error)]
pub enum L1Error {
    /// No answer, or none that can be read. Try again later.
    #[error("the settlement layer does not answer: {0}")]
    Unreachable(String),
    /// Several endpoints answer, and too few of them the same. Try again later.
    #[error("the endpoints of the settlement layer differ: {0}")]
    NoQuorum(String),
    /// The node answered with an error of its own.
    #[error("the settlement layer answered error {code}: {message}")]
    Rpc { code: i64, message: String },
    /// The node answered that it will not, in its own words.
    #[error("the settlement layer answered: {0}")]
    Node(String),
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

/// The role of a key that attests, in [`CheckError::NotAllowed`].
pub const ATTESTOR: &str = "attestor";

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
    #[error("DATA_CHUNK_NOT_REGISTERED: a chunk of the data was not sent before the update")]
    DataNotRegistered,
    #[error("TOO_FEW_SIGNATURES: fewer attestors signed than the registry asks for")]
    TooFewSignatures,
    /// The signer is not in the registry's set.
    #[error("{0} is not an attestor")]
    NotAttestor(String),
    /// Any other reason, as the contract gave it.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    /// From the contract's error string.
    pub(crate) fn of_text(text: &str) -> Refusal {
        let known = [
            ("INVALID_PREV_BLOCK_NUMBER", Refusal::PrevBlockNumber),
            ("INVALID_PREVIOUS_ROOT", Refusal::PrevRoot),
            ("INVALID_PREV_BLOCK_HASH", Refusal::PrevBlockHash),
            ("INVALID_CONFIG_HASH", Refusal::ConfigHash),
            ("NO_STATE_TRANSITION_PROOF", Refusal::NotAttested),
            ("INVALID_MESSAGE_TO_CONSUME", Refusal::Message),
            ("ONLY_OPERATOR", Refusal::NotOperator),
            ("DATA_CHUNK_NOT_REGISTERED", Refusal::DataNotRegistered),
            ("TOO_FEW_SIGNATURES", Refusal::TooFewSignatures),
            ("NOT_AN_ATTESTOR", Refusal::NotAttestor("a signer".into())),
        ];
        // Nodes of Starknet may show a short string only as the hexadecimal number it is.
        let hex = |name: &str| name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        let found = known.into_iter().find(|(name, _)| text.contains(name) || text.contains(&hex(name)));
        found.map_or_else(|| Refusal::Other(text.to_owned()), |(_, refusal)| refusal)
    }
}

/// Why a transaction did not go through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("{0}")]
    L1(#[from] L1Error),
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Another loop saw something final undone.
    #[error("{0}")]
    Refused(String),
    /// In wei, or fri.
    #[error("out of funds: account {account} needs {needed}, has {have}")]
    OutOfFunds { account: String, needed: u128, have: u128 },
    #[error("needs {0} gas, more than a transaction may use")]
    TooMuchGas(u64),
    /// In wei, or fri. Passes when the market comes down, or the operator raises the limit.
    #[error("a transaction may cost {needed}, more than the {max} of settlement.fee_max_gwei")]
    FeeMax { needed: u128, max: u128 },
    /// Wei per gas. Passes when the market comes down.
    #[error("gas costs {0} wei, more than is ever offered for it")]
    Price(u128),
    /// Nobody else should have the key. It passes when that one is in a block, or forgotten.
    #[error("a transaction of the account that waits with nonce {0} offers more than we may")]
    Outbid(u64),
    /// In a block, without effect.
    #[error("transaction {0} was reverted")]
    Reverted(Bytes32),
    /// Another transaction used our nonce: ask the chain what is there now.
    #[error("another transaction of the account took nonce {0}")]
    NonceTaken(u64),
    /// The transaction before ours is not on the chain any more: ask the chain what is to be done first.
    #[error("the transaction before nonce {0} is gone")]
    NonceGap(u64),
    /// Sent, and not known to the node any more.
    #[error("transaction {0} was forgotten")]
    Forgotten(Bytes32),
    #[error("sign a transaction: {0}")]
    Sign(String),
    /// The store is damaged.
    #[error("the data of the batch: {0}")]
    Data(String),
    /// Genesis names another form than the batch has.
    #[error("the data of batch {0} is not in a form that can be sent to this layer")]
    Form(BatchId),
}

/// Why a node must not settle on the layer it was given. [spec settlement, Chain constants: a difference refuses to start]
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Not a difference: nobody could be asked. The loops ask again.
    #[error("settlement check: {0}")]
    Unavailable(#[from] L1Error),
    /// On the right chain: a node that is still catching up shows that too.
    #[error("settlement check: no contract at {address}, which is {what} by genesis")]
    Missing { what: &'static str, address: L1Address },
    #[error("settlement check: {what} is {found} on the settlement layer, {expected} by genesis")]
    Differs { what: &'static str, expected: String, found: String },
    #[error("settlement check: {role} {account} may not act: {why}")]
    NotAllowed { role: &'static str, account: String, why: &'static str },
}

impl CheckError {
    /// Whether asking again may help: nobody answered.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            CheckError::Unavailable(L1Error::Unreachable(_) | L1Error::NoQuorum(_) | L1Error::Rpc { .. } | L1Error::Node(_))
        )
    }
}
