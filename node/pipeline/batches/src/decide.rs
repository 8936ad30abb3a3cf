//! When a batch closes. [spec settlement, Batches]

use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{Height, Ts};

/// Words of messages in one batch, both ways. A withdrawal has 7 and costs the core contract some 28,000 gas: 12 million of the 16.7
/// million that one transaction may use (EIP-7825). On Starknet they leave room in the 5,000 words and 1,000 events of one.
pub const MESSAGE_WORDS_MAX: usize = 3_000;

/// What bounds a batch, besides [`MESSAGE_WORDS_MAX`]. A batch of a single block is always allowed: a block has limits of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchLimits {
    /// Blocks in one batch, at least 1.
    pub blocks_max: u64,
    /// Milliseconds of chain time between the first block and the last, after which the batch closes.
    pub age_ms: u64,
    /// Words of data in one batch, compressed; with messages where both are calldata of one transaction. What the settlement layer
    /// takes bounds it too: [`crate::data_words_max`].
    pub words_max: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { blocks_max: 30, age_ms: 10_000, words_max: usize::MAX }
    }
}

/// What the decision needs to know of a sealed block that is in no batch yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockSummary {
    pub height: Height,
    /// Of its SealBlock.
    pub ts: Ts,
    /// Most words of data, compressed, that the batch can have were it to end with this block; with messages where both are
    /// calldata of one transaction.
    pub words: usize,
    /// Words of messages, were the batch to end with this block.
    pub message_words: usize,
    /// The block holds the start of an incident.
    pub safe_mode: bool,
}

/// Why a batch ended where it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub enum CloseReason {
    /// `blocks_max`.
    Count,
    /// `age_ms`.
    Age,
    /// `words_max`.
    Size,
    /// Somebody asked.
    OnDemand,
    /// Safe mode was entered in its last block.
    SafeMode,
    /// The settlement contract already has a batch that ends here; ours was lost with the store and is made again.
    Settled,
}

impl CloseReason {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Count => "COUNT",
            CloseReason::Age => "AGE",
            CloseReason::Size => "SIZE",
            CloseReason::OnDemand => "ON_DEMAND",
            CloseReason::SafeMode => "SAFE_MODE",
            CloseReason::Settled => "SETTLED",
        }
    }
}

/// Where a batch ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    pub last: Height,
    pub reason: CloseReason,
}

/// Where the batch that begins with `blocks[0]` ends, if it does within `blocks` (consecutive, ascending).
///
/// `on_demand`: the batch that reaches this height ends with the first block at or above it. More blocks never change an
/// answer that fewer already gave.
pub fn decide(limits: &BatchLimits, blocks: &[BlockSummary], on_demand: Option<Height>) -> Option<Cut> {
    let first = blocks.first()?;
    let fits = |block: &BlockSummary| block.words <= limits.words_max && block.message_words <= MESSAGE_WORDS_MAX;
    let is_full = |block: &BlockSummary| block.words >= limits.words_max || block.message_words >= MESSAGE_WORDS_MAX;
    let mut before: Option<Height> = None;
    for (count, block) in (1u64..).zip(blocks) {
        if let Some(last) = before.filter(|_| !fits(block)) {
            return Some(Cut { last, reason: CloseReason::Size });
        }
        let reason = if block.safe_mode {
            Some(CloseReason::SafeMode)
        } else if on_demand.is_some_and(|height| block.height >= height) {
            Some(CloseReason::OnDemand)
        } else if count >= limits.blocks_max {
            Some(CloseReason::Count)
        } else if is_full(block) {
            Some(CloseReason::Size)
        } else if block.ts >= first.ts.plus_ms(limits.age_ms) {
            Some(CloseReason::Age)
        } else {
            None
        };
        if let Some(reason) = reason {
            return Some(Cut { last: block.height, reason });
        }
        before = Some(block.height);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BatchLimits = BatchLimits { blocks_max: 4, age_ms: 10_000, words_max: 100 };

    /// `seconds:words` or `seconds:words:message words`, with `!` where safe mode is entered; heights from 7.
    fn cut(blocks: &str, on_demand: Option<u64>) -> Option<(u64, CloseReason)> {
        let summary = |(height, text): (u64, &str)| {
            let numbers: Vec<usize> = text.trim_end_matches('!').split(':').map(|n| n.parse().unwrap()).collect();
            let ts = Ts::from_ms(numbers[0] as u64 * 1_000);
            let message_words = numbers.get(2).copied().unwrap_or_default();
            BlockSummary { height: Height(height), ts, words: numbers[1], message_words, safe_mode: text.ends_with('!') }
        };
        let blocks: Vec<_> = (7u64..).zip(blocks.split_whitespace()).map(summary).collect();
        decide(&LIMITS, &blocks, on_demand.map(Height)).map(|cut| (cut.last.0, cut.reason))
    }

    #[test]
    fn a_batch_closes_on_count_age_size_demand_and_safe_mode() {
        use CloseReason::*;
        for (blocks, on_demand, expected) in [
            ("", None, None),
            ("0:5", None, None),
            ("0:5 2:6 4:7", None, None),
            ("0:5 2:6 4:7 6:8", None, Some((10, Count))),
            ("0:5 2:6 10:7", None, Some((9, Age))),
            ("0:5 50:6", None, Some((8, Age))),
            ("0:5 2:100", None, Some((8, Size))),
            // The block that does not fit stays for the next batch.
            ("0:5 2:60 4:101", None, Some((8, Size))),
            // A single block is a batch, however large.
            ("0:5000", None, Some((7, Size))),
            // Messages have a limit of their own.
            ("0:5:100 2:6:3000", None, Some((8, Size))),
            ("0:5:100 2:6:3001", None, Some((7, Size))),
            ("0:5:3001", None, Some((7, Size))),
            ("0:5 2:6 4:7", Some(8), Some((8, OnDemand))),
            ("0:5 2:6", Some(9), None),
            ("0:5", Some(3), Some((7, OnDemand))),
            ("0:5 2:6! 4:7", None, Some((8, SafeMode))),
            ("0:5!", Some(7), Some((7, SafeMode))),
        ] {
            assert_eq!(cut(blocks, on_demand), expected, "{blocks:?} {on_demand:?}");
        }
    }

    #[test]
    fn later_blocks_do_not_move_an_earlier_end() {
        assert_eq!(cut("0:5 2:6 10:7", None), cut("0:5 2:6 10:7 12:8 14:500!", None));
        assert_eq!(cut("0:5 2:60 4:101", None), cut("0:5 2:60 4:101 6:102!", None));
    }
}
