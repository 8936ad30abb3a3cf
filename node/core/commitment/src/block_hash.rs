//! The hash of a block, from Starknet 0.13.2 on. [spec/starknet.md (b); sequencer `block_hash_calculator.rs`]

use starknet_types_core::felt::Felt;

use crate::hash::{PoseidonList, ascii};

/// Which of the two formulas a protocol version uses. This chain uses [`HashRule::V1`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashRule {
    /// 0.13.2 and 0.13.3: four gas prices, `STARKNET_BLOCK_HASH0`.
    V0,
    /// From 0.13.4: one hash of six gas prices, `STARKNET_BLOCK_HASH1`.
    V1,
}

/// The version string of a block whose hash this crate cannot compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no block hash rule for Starknet version {0:?}: expected 0.13.2 or later")]
pub struct VersionError(pub String);

impl HashRule {
    /// The rule of a protocol version such as "0.14.2".
    ///
    /// # Errors
    /// [`VersionError`] below 0.13.2, or if it is not three or four numbers with dots between in at most 31 bytes.
    pub fn of_version(version: &str) -> Result<HashRule, VersionError> {
        let error = || VersionError(version.to_owned());
        let parts: Vec<u32> = version.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| error())?;
        if version.len() > 31 {
            return Err(error());
        }
        match parts[..] {
            [major, minor, patch] | [major, minor, patch, _] => match (major, minor, patch) {
                (0, 13, 2..=3) => Ok(HashRule::V0),
                v if v >= (0, 13, 4) => Ok(HashRule::V1),
                _ => Err(error()),
            },
            _ => Err(error()),
        }
    }
}

/// How a block's state diff is made available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L1DaMode {
    Calldata,
    Blob,
}

/// Price of one unit of gas in both units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasPrice {
    pub wei: u128,
    pub fri: u128,
}

/// The gas prices of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasPrices {
    pub l1_gas: GasPrice,
    pub l1_data_gas: GasPrice,
    /// Not covered by [`HashRule::V0`].
    pub l2_gas: GasPrice,
}

impl GasPrices {
    /// `Poseidon("STARKNET_GAS_PRICES0", l1_wei, l1_fri, l1_data_wei, l1_data_fri, l2_wei, l2_fri)`.
    pub fn hash(&self) -> Felt {
        let prices = [self.l1_gas, self.l1_data_gas, self.l2_gas].map(|price| [price.wei, price.fri]);
        let mut list = PoseidonList::default();
        list.put(ascii("STARKNET_GAS_PRICES0"));
        prices.iter().flatten().for_each(|price| list.put(*price));
        list.finish()
    }
}

/// What a header says about the content of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContent {
    pub transaction_count: u64,
    pub event_count: u64,
    pub state_diff_length: u64,
    pub transaction_commitment: Felt,
    pub event_commitment: Felt,
    pub receipt_commitment: Felt,
    pub state_diff_commitment: Felt,
}

/// Everything a block hash covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    pub number: u64,
    pub parent_hash: Felt,
    pub state_root: Felt,
    pub sequencer_address: Felt,
    /// Seconds since 1970.
    pub timestamp: u64,
    pub l1_da_mode: L1DaMode,
    pub gas_prices: GasPrices,
    /// Protocol version, such as "0.14.2". It is hashed: an upgrade changes hashes.
    pub starknet_version: String,
    pub content: BlockContent,
}

impl BlockHeader {
    /// The block hash, by the rule of `starknet_version`.
    ///
    /// # Errors
    /// [`VersionError`] for versions before 0.13.2, whose formula is another.
    pub fn hash(&self) -> Result<Felt, VersionError> {
        let rule = HashRule::of_version(&self.starknet_version)?;
        let GasPrices { l1_gas, l1_data_gas, .. } = self.gas_prices;
        let mut list = PoseidonList::default();
        list.put(match rule {
            HashRule::V0 => ascii("STARKNET_BLOCK_HASH0"),
            HashRule::V1 => ascii("STARKNET_BLOCK_HASH1"),
        });
        list.put(self.number);
        list.put(self.state_root);
        list.put(self.sequencer_address);
        list.put(self.timestamp);
        list.put(concat_counts(&self.content, self.l1_da_mode));
        list.put(self.content.state_diff_commitment);
        list.put(self.content.transaction_commitment);
        list.put(self.content.event_commitment);
        list.put(self.content.receipt_commitment);
        match rule {
            HashRule::V0 => {
                [l1_gas.wei, l1_gas.fri, l1_data_gas.wei, l1_data_gas.fri].iter().for_each(|price| list.put(*price));
            }
            HashRule::V1 => list.put(self.gas_prices.hash()),
        }
        list.put(ascii(&self.starknet_version));
        list.put(Felt::ZERO);
        list.put(self.parent_hash);
        Ok(list.finish())
    }
}

/// Counts of a block in one felt: transactions, events, state-diff length as 64 bits each, then the data
/// availability mode as one bit (1: blob) at the top of the last 64.
pub fn concat_counts(content: &BlockContent, l1_da_mode: L1DaMode) -> Felt {
    let da_bit = match l1_da_mode {
        L1DaMode::Calldata => 0,
        L1DaMode::Blob => 1u64 << 63,
    };
    let words = [content.transaction_count, content.event_count, content.state_diff_length, da_bit];
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    Felt::from_bytes_be(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_rule_of_their_time() {
        let cases = [
            ("0.13.2", Some(HashRule::V0)),
            ("0.13.2.1", Some(HashRule::V0)),
            ("0.13.3", Some(HashRule::V0)),
            ("0.13.4", Some(HashRule::V1)),
            ("0.14.0", Some(HashRule::V1)),
            ("0.14.2", Some(HashRule::V1)),
            ("1.0.0", Some(HashRule::V1)),
            ("0.13.1.1", None),
            ("0.12.3", None),
            ("", None),
            ("0.14", None),
            ("0.14.x", None),
            ("0.14.1.2.3", None),
            ("0.14.000000000000000000000000002", None),
        ];
        for (version, rule) in cases {
            assert_eq!(HashRule::of_version(version).ok(), rule, "{version:?}");
        }
    }
}
