//! The state diff as the settlement layer gets it, and back. [spec starknet (d); OS `output.cairo`, `aliases.cairo`]
//!
//! Words: number of contracts; of each, ascending by address: address, [`ContractWord`], new class hash if the word says
//! so, then key and value of each changed storage entry, ascending by key; number of classes; class hash and compiled
//! class hash of each, ascending. Addresses above 15 and the keys of those contracts stand as aliases from 128 on; the order is
//! that of the original addresses and keys, as in the OS.

use keel_commitment::aliases::{ADDRESS_NOT_COMPRESSED_MAX, ALIAS_FIRST};
use keel_commitment::{Felt, StateDiff};
use std::collections::BTreeMap;

/// Header word of one contract, from Starknet 0.13.3 on: `((nonce * B + updates) * 2 + is_small) * 2 + class_changed`, where
/// `B` is 2^8 if there are fewer than 256 updates (then `is_small` is 1), else 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContractWord {
    /// The new nonce; 0: unchanged.
    pub nonce: u64,
    /// Storage entries that follow.
    pub updates: u64,
    /// A class hash follows.
    pub class_changed: bool,
}

const UPDATES_SMALL_LIMIT: u64 = 256;

impl ContractWord {
    /// The word.
    pub fn encode(&self) -> Felt {
        let small = self.updates < UPDATES_SMALL_LIMIT;
        let bound = if small { Felt::from(UPDATES_SMALL_LIMIT) } else { Felt::from(1u128 << 64) };
        let counts = Felt::from(self.nonce) * bound + Felt::from(self.updates);
        (counts * Felt::TWO + Felt::from(small)) * Felt::TWO + Felt::from(self.class_changed)
    }

    /// Back; `None` if no contract encodes to this word.
    pub fn decode(word: &Felt) -> Option<ContractWord> {
        let bytes = word.to_bytes_be();
        // 64 bits of nonce, 64 of count, 2 flags: at most 130 bits, so the sixteenth byte from the end holds two.
        if bytes[..15].iter().any(|byte| *byte != 0) || bytes[15] > 0b11 {
            return None;
        }
        let low = u128::from_be_bytes(bytes[16..].try_into().expect("16 of 32 bytes"));
        let counts = (u128::from(bytes[15]) << 126) | (low >> 2);
        let shift = if low & 0b10 != 0 { 8 } else { 64 };
        let nonce = u64::try_from(counts >> shift).ok()?;
        let updates = (counts & ((1u128 << shift) - 1)) as u64;
        let word_back = ContractWord { nonce, updates, class_changed: low & 1 != 0 };
        // One value, one encoding: a small count in the long form is refused.
        (word_back.encode() == *word).then_some(word_back)
    }
}

/// Changes of one contract, under the names the settlement layer sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContractUpdate {
    /// Address or its alias.
    pub address: Felt,
    /// The new nonce; 0: unchanged.
    pub nonce: u64,
    /// The new class, if it changed.
    pub class_hash: Option<Felt>,
    /// Key or its alias, and the new value.
    pub storage: Vec<(Felt, Felt)>,
}

/// A packed state diff, taken apart but not yet unaliased.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PackedDiff {
    pub contracts: Vec<ContractUpdate>,
    /// Class hash and compiled class hash.
    pub classes: Vec<(Felt, Felt)>,
}

/// Why a state diff cannot be packed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PackError {
    /// The block that changed it did not allocate one.
    #[error("address or key {0:#x} has no alias")]
    NoAlias(Felt),
    /// Nonces have 64 bits, and 0 means unchanged.
    #[error("nonce {nonce:#x} of contract {address:#x} is not between 1 and 2^64 - 1")]
    Nonce { address: Felt, nonce: Felt },
    #[error("class {0:#x} is of Cairo 0, whose declaration the format cannot carry")]
    DeprecatedClass(Felt),
}

/// Why words are not a packed state diff.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the words end at {0}, inside the state diff")]
    TooShort(usize),
    #[error("{0} words are left over after the state diff")]
    TooLong(usize),
    #[error("word {0} is not a count of what follows")]
    BadCount(usize),
    #[error("word {0} is not the header of a contract")]
    BadContractWord(usize),
    #[error("contract {0:#x} has no change")]
    Empty(Felt),
    #[error("{0:#x} is an alias that was never allocated")]
    UnknownAlias(Felt),
    #[error("{0:#x} is not above the address, key or class before it")]
    NotAscending(Felt),
}

impl PackedDiff {
    /// Names everything in `diff` by alias. `alias` gives the alias of an address or key of at least 128, as contract 0x2
    /// holds it after the last block of the diff. `diff` must hold real changes only.
    ///
    /// # Errors
    /// See [`PackError`].
    pub fn of(diff: &StateDiff, alias: impl Fn(&Felt) -> Option<Felt>) -> Result<PackedDiff, PackError> {
        if let Some(class) = diff.deprecated_declared_classes.first() {
            return Err(PackError::DeprecatedClass(*class));
        }
        let named = |name: &Felt, address: &Felt| {
            if *name < Felt::from(ALIAS_FIRST) || !is_compressed(address) {
                return Ok(*name);
            }
            alias(name).ok_or(PackError::NoAlias(*name))
        };
        let mut contracts = Vec::new();
        for address in diff.contracts() {
            let storage = diff.storage_changes(&address);
            let storage = storage.iter().map(|(key, value)| Ok((named(key, &address)?, *value)));
            let nonce = match diff.nonces.get(&address) {
                None => 0,
                Some(nonce) => u64::try_from(*nonce)
                    .ok()
                    .filter(|nonce| *nonce != 0)
                    .ok_or(PackError::Nonce { address, nonce: *nonce })?,
            };
            contracts.push(ContractUpdate {
                address: named(&address, &address)?,
                nonce,
                class_hash: diff.class_hash_at(&address),
                storage: storage.collect::<Result<_, _>>()?,
            });
        }
        Ok(PackedDiff { contracts, classes: diff.compiled_classes().into_iter().collect() })
    }

    /// The words. Not compressed further.
    pub fn encode(&self) -> Vec<Felt> {
        self.encode_with(ContractWord::encode)
    }

    /// With the contract word given: blocks of before 0.13.3, which tests read, have another.
    pub(crate) fn encode_with(&self, encode: impl Fn(&ContractWord) -> Felt) -> Vec<Felt> {
        let mut words = vec![Felt::from(self.contracts.len())];
        for contract in &self.contracts {
            let word = ContractWord {
                nonce: contract.nonce,
                updates: contract.storage.len() as u64,
                class_changed: contract.class_hash.is_some(),
            };
            words.extend([contract.address, encode(&word)]);
            words.extend(contract.class_hash);
            words.extend(contract.storage.iter().flat_map(|(key, value)| [*key, *value]));
        }
        words.push(Felt::from(self.classes.len()));
        words.extend(self.classes.iter().flat_map(|(class, compiled)| [*class, *compiled]));
        words
    }

    /// The words that stay the same when other entries are left out, and the number of the others: counts and contract words.
    pub(crate) fn fixed_words(&self) -> (Vec<Felt>, usize) {
        let entries = |pairs: &[(Felt, Felt)]| pairs.iter().flat_map(|(key, value)| [*key, *value]).collect::<Vec<_>>();
        let contracts = self.contracts.iter().flat_map(|contract| {
            [contract.address].into_iter().chain(contract.class_hash).chain(entries(&contract.storage))
        });
        (contracts.chain(entries(&self.classes)).collect(), 2 + self.contracts.len())
    }

    /// From exactly the words that [`PackedDiff::encode`] gives.
    ///
    /// # Errors
    /// Anything else: see [`UnpackError`].
    pub fn decode(words: &[Felt]) -> Result<PackedDiff, UnpackError> {
        PackedDiff::decode_with(words, ContractWord::decode)
    }

    /// See [`PackedDiff::encode_with`].
    pub(crate) fn decode_with(
        words: &[Felt],
        decode: impl Fn(&Felt) -> Option<ContractWord>,
    ) -> Result<PackedDiff, UnpackError> {
        let mut reader = Reader { words, at: 0 };
        let mut contracts = Vec::new();
        for _ in 0..reader.count(2)? {
            let address = reader.word()?;
            let at = reader.at;
            let word = decode(&reader.word()?).ok_or(UnpackError::BadContractWord(at))?;
            let class_hash = if word.class_changed { Some(reader.word()?) } else { None };
            let updates = usize::try_from(word.updates).map_err(|_| UnpackError::BadCount(at))?;
            let storage = reader.pairs(updates, at)?;
            if word.nonce == 0 && class_hash.is_none() && storage.is_empty() {
                return Err(UnpackError::Empty(address));
            }
            contracts.push(ContractUpdate { address, nonce: word.nonce, class_hash, storage });
        }
        let (at, classes) = (reader.at, reader.count(2)?);
        let classes = reader.pairs(classes, at)?;
        match words.len() - reader.at {
            0 => Ok(PackedDiff { contracts, classes }),
            left => Err(UnpackError::TooLong(left)),
        }
    }

    /// Adds the aliases that this diff itself allocates (contract 0x2) to a table alias -> address or key.
    pub fn learn_aliases(&self, table: &mut BTreeMap<Felt, Felt>) {
        let two = self.contracts.iter().filter(|contract| contract.address == Felt::TWO);
        let entries = two.flat_map(|contract| &contract.storage).filter(|(key, _)| *key >= Felt::from(ALIAS_FIRST));
        table.extend(entries.map(|(key, alias)| (*alias, *key)));
    }

    /// The state diff. `aliases` is the table of [`PackedDiff::learn_aliases`] over every batch up to this one;
    /// `is_deployed` says whether a contract, or a class, was there before: then its class is replaced, or migrated.
    ///
    /// # Errors
    /// An alias is unknown, or addresses, keys or classes do not ascend.
    pub fn to_diff(
        &self,
        aliases: &BTreeMap<Felt, Felt>,
        was_there: impl Fn(&Felt) -> bool,
    ) -> Result<StateDiff, UnpackError> {
        let unnamed = |name: &Felt| {
            if *name < Felt::from(ALIAS_FIRST) {
                return Ok(*name);
            }
            aliases.get(name).copied().ok_or(UnpackError::UnknownAlias(*name))
        };
        let mut diff = StateDiff::default();
        let mut last_address = None;
        for contract in &self.contracts {
            let address = if is_compressed(&contract.address) { unnamed(&contract.address)? } else { contract.address };
            ascending(&mut last_address, address)?;
            if let Some(class) = contract.class_hash {
                let classes = if was_there(&address) { &mut diff.replaced_classes } else { &mut diff.deployed_contracts };
                classes.insert(address, class);
            }
            if contract.nonce != 0 {
                diff.nonces.insert(address, contract.nonce.into());
            }
            let mut last_key = None;
            for (key, value) in &contract.storage {
                let key = if is_compressed(&address) { unnamed(key)? } else { *key };
                ascending(&mut last_key, key)?;
                diff.set_storage(address, key, *value);
            }
        }
        let mut last_class = None;
        for (class, compiled) in &self.classes {
            ascending(&mut last_class, *class)?;
            let classes = if was_there(class) { &mut diff.migrated_compiled_classes } else { &mut diff.declared_classes };
            classes.insert(*class, *compiled);
        }
        Ok(diff)
    }
}

/// Words that packing `diff` gives, entries that are no change included.
pub(crate) fn packed_len(diff: &StateDiff) -> usize {
    let storage: usize = diff.storage.values().map(|entries| 2 * entries.len()).sum();
    2 + 2 * diff.contracts().len() + diff.class_hashes().len() + storage + 2 * diff.compiled_classes().len()
}

fn is_compressed(address: &Felt) -> bool {
    *address > Felt::from(ADDRESS_NOT_COMPRESSED_MAX)
}

fn ascending(last: &mut Option<Felt>, next: Felt) -> Result<(), UnpackError> {
    match last.replace(next) {
        Some(before) if before >= next => Err(UnpackError::NotAscending(next)),
        _ => Ok(()),
    }
}

struct Reader<'a> {
    words: &'a [Felt],
    at: usize,
}

impl Reader<'_> {
    fn word(&mut self) -> Result<Felt, UnpackError> {
        let word = self.words.get(self.at).ok_or(UnpackError::TooShort(self.words.len()))?;
        self.at += 1;
        Ok(*word)
    }

    /// A count of items that take at least `item` words each; so no lie about a length allocates anything.
    fn count(&mut self, item: usize) -> Result<usize, UnpackError> {
        let at = self.at;
        let count = usize::try_from(u64::try_from(self.word()?).unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        if count > (self.words.len() - self.at) / item { Err(UnpackError::BadCount(at)) } else { Ok(count) }
    }

    fn pairs(&mut self, count: usize, counted_at: usize) -> Result<Vec<(Felt, Felt)>, UnpackError> {
        if count > (self.words.len() - self.at) / 2 {
            return Err(UnpackError::BadCount(counted_at));
        }
        (0..count).map(|_| Ok((self.word()?, self.word()?))).collect()
    }
}

#[cfg(test)]
mod tests;
