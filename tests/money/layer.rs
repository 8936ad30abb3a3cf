use keel_tests::Node;
use keel_types::Felt;
use serde_json::Value;

/// Tokens of the test, by their place here.
pub const ASSETS: [&str; 2] = ["USDC", "ETH"];
/// Longer than the test, so that no message can be taken back that a batch is about to consume; ended by moving the clock.
pub const CANCELLATION_DELAY_S: u64 = 86_400;
/// The account that owns a bridge of its own.
pub const FORGER: usize = 9;

/// What somebody does on the settlement layer. Amounts are units of the token.
#[derive(Clone)]
pub enum Act {
    Deposit {
        asset: usize,
        amount: u128,
        recipient: Felt,
    },
    /// At a bridge of somebody else's, over our core contract and for our exchange. Of [`FORGER`] only.
    DepositElsewhere {
        asset: usize,
        amount: u128,
        recipient: Felt,
    },
    /// A message to the exchange, past every bridge.
    Message {
        selector: Felt,
        payload: Vec<Felt>,
    },
    /// A transfer of tokens to the bridge.
    Dust {
        asset: usize,
        amount: u128,
    },
    StartCancellation {
        nonce: u64,
    },
    Cancel {
        nonce: u64,
    },
    /// What `bridge_getWithdrawal` says is the call.
    Claim(Value),
}

/// A deposit as the bridge tells of it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub nonce: u64,
    pub asset: usize,
    /// The account that pays.
    pub from: usize,
    pub amount: u128,
    pub recipient: Felt,
}

/// What the bridge tells.
#[derive(Clone, Debug)]
pub enum BridgeEvent {
    Sent(Sent),
    CancellationStarted { nonce: u64 },
    Refunded { nonce: u64 },
    Paid { withdrawal: u64, asset: usize, amount: u128 },
}

/// The settlement layer as the people on it use it; everybody has tokens and has approved the bridge. People are numbers: 0 to 3 have
/// a part in the chain, 4 to 8 are depositors, and there is [`FORGER`].
pub trait Layer {
    /// Somebody's address.
    fn account(&self, account: usize) -> String;
    /// A token as messages name it.
    fn token(&self, asset: usize) -> Felt;
    /// Sends what everybody does and waits for nothing. What one account does may go together, and then fails together.
    fn send(&mut self, acts: Vec<(usize, Act)>);
    /// Sends each by itself and waits until all are in blocks. Whether each succeeded.
    fn tried(&mut self, acts: Vec<(usize, Act)>) -> Vec<bool>;
    /// Every event of the bridge on the chain as it is now.
    fn bridge_events(&self) -> Vec<BridgeEvent>;
    /// Last block of each state update on the core contract.
    fn updates(&self) -> Vec<u64>;
    /// Units of a token: the bridge's counter, and what it holds.
    fn escrow(&self, asset: usize) -> (u128, u128);
    /// Everything is read at the newest block there is now, until it is let go.
    fn hold(&mut self);
    fn let_go(&mut self);
    /// The newest blocks, so many of them, are replaced by empty ones.
    fn reorganise(&mut self, blocks: u64, node: &Node);
    /// Everything that waits for a block is lost.
    fn lose_waiting(&mut self);
    /// The layer's clock moves on.
    fn pass(&mut self, seconds: u64);
}
