use keel_contracts::starknet::Key;
use keel_types::{Event, SettlementLayer, StateWrite};
use std::collections::HashSet;

/// State-diff entries, aliases included, at which a block closes. [spec settlement, Blocks: it always fits the blobs of one transaction uncompressed]
///
/// The arithmetic. A transaction carries 6 blobs of 4,096 words = 24,576. An entry takes 2 words (key, value); a contract
/// takes 3 more (address, header word, class), and a block touches 4 contracts besides genesis: exchange, operator, 0x1,
/// 0x2. So 12,280 entries always fit. The check comes after each command, so a block has at most 4,000 + what its last
/// command adds. A fill touches one new maker: at worst a position (4 slots, each with a new alias) and a balance of
/// collateral (1 slot; its alias is there since the deposit, or was counted in this block): 9 entries; the taker, the fee
/// account and the market's funding add under 40 once. `fills_per_command` up to 900 therefore fits: 4,000 + 8,100 + 40.
///
/// On Starknet such a block goes in six chunks, uncompressed; nothing there bounds their number.
pub const BLOCK_ENTRIES_MAX: u64 = 4_000;
/// Words of data and messages at which a block closes while its data goes to Ethereum as calldata: 2 for each entry and those of
/// its messages. Ethereum nodes take 128 KiB = 4,096 words in one transaction; the rest is for what the last
/// command adds (`fills_per_command` is at most 50 there: 50 x 9 entries x 2 words = 900) and for the header.
pub const BLOCK_WORDS_MAX: u64 = 2_900;
/// Words of messages, both ways, at which a block closes: a batch takes 3,000, of which one transaction's gas and, on
/// Starknet, its calldata and events are the reason.
pub const BLOCK_MESSAGE_WORDS_MAX: u64 = 2_900;
/// Words of a withdrawal in the program output: from, to, length and four of payload.
const WITHDRAWAL_WORDS: u64 = 7;
/// Words of a deposit in the program output: from, to, nonce, selector, length and three of payload.
const DEPOSIT_WORDS: u64 = 8;
/// Withdrawals in one block. Each costs the core contract about 28,000 gas, and one transaction may use 16.7 million (EIP-7825).
pub const BLOCK_WITHDRAWALS_MAX: u64 = 300;
/// Commands with transactions of their own in one block: bounds receipts and hashing to some 100 ms.
pub const BLOCK_TRANSACTIONS_MAX: u64 = 2_000;

/// Fills in one block. Each is some 40 words of calldata and an event, 2 KB of JSON: a whole block with its receipts stays far below the 8 MiB
/// that a node answers at most, or indexers could never pass it.
pub const BLOCK_FILLS_MAX: u64 = 1_500;

/// Entries a block may have besides those of records: the operator's nonce, the hash of block n-10, the alias counter,
/// and aliases of the exchange's and the operator's address.
const ENTRIES_FIXED: u64 = 5;
/// Records remembered as having their aliases; 64 bytes each. When full, all are forgotten and counted at worst again.
const KNOWN_MAX: usize = 1 << 18;

/// Counts, on the sequencing thread, how large the state diff of the open block can become at worst.
///
/// Never too low: a record counts all its slots though only changed ones are written, and an alias for each slot unless
/// this counter saw the record in an earlier block. It only ever decides when to seal, and a seal is journaled, so it
/// need not agree between nodes.
#[derive(Debug)]
pub struct DiffCounter {
    /// Data and messages are calldata of one transaction.
    calldata: bool,
    /// Records written since the last seal.
    open: HashSet<Key>,
    /// Records written in blocks sealed before: their slots have aliases.
    known: HashSet<Key>,
    entries: u64,
    transactions: u64,
    withdrawals: u64,
    message_words: u64,
    fills: u64,
}

impl DiffCounter {
    /// An empty block of a chain that settles on `layer`.
    pub fn new(layer: SettlementLayer) -> DiffCounter {
        DiffCounter {
            calldata: layer.is_calldata(),
            open: HashSet::new(),
            known: HashSet::new(),
            entries: 0,
            transactions: 0,
            withdrawals: 0,
            message_words: 0,
            fills: 0,
        }
    }

    /// What one command did.
    pub fn add(&mut self, events: &[Event], writes: &[StateWrite]) {
        self.fills += events.iter().filter(|event| matches!(event, Event::Fill(_))).count() as u64;
        self.transactions += u64::from(!writes.is_empty());
        for write in writes {
            match write {
                StateWrite::WithdrawalCount { .. } => {
                    self.withdrawals += 1;
                    self.message_words += WITHDRAWAL_WORDS;
                }
                StateWrite::MessageConsumed { .. } => self.message_words += DEPOSIT_WORDS,
                _ => {}
            }
            let key = Key::of(write);
            if self.open.insert(key) {
                let aliases = if self.known.contains(&key) { 0 } else { 1 };
                self.entries += key.variable().slots() * (1 + aliases);
            }
        }
    }

    /// Whether the block must close before another command runs.
    pub fn is_full(&self) -> bool {
        self.entries() >= BLOCK_ENTRIES_MAX
            || self.transactions >= BLOCK_TRANSACTIONS_MAX
            || self.withdrawals >= BLOCK_WITHDRAWALS_MAX
            || self.fills >= BLOCK_FILLS_MAX
            || self.message_words >= BLOCK_MESSAGE_WORDS_MAX
            || (self.calldata && 2 * self.entries() + self.message_words >= BLOCK_WORDS_MAX)
    }

    /// The most entries the block's diff can have.
    pub fn entries(&self) -> u64 {
        self.entries + ENTRIES_FIXED
    }

    /// The block was sealed: what comes belongs to the next.
    pub fn reset(&mut self) {
        if self.known.len() + self.open.len() > KNOWN_MAX {
            self.known.clear();
        }
        self.known.extend(self.open.drain());
        (self.entries, self.transactions, self.withdrawals, self.message_words, self.fills) = (0, 0, 0, 0, 0);
    }
}
