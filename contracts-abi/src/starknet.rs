//! The Starknet side: the Cairo classes, the storage of the exchange, its calls and events, and the contracts of block 0.
//!
//! Normative source: `starknet/src/*.cairo`. Everything here restates it in Rust and is tested against it.

mod abi;
mod block0;
mod classes;
#[cfg(test)]
mod execution_tests;
mod layout;
pub mod settlement;
mod words;

pub use abi::*;
pub use block0::*;
pub use classes::*;
pub use layout::*;
pub use words::*;

use keel_types::{Address, address_bound};
use sha3::{Digest, Keccak256};
use starknet_types_core::felt::Felt;
use starknet_types_core::hash::{Pedersen, Poseidon, StarkHash};

/// Keccak-256 with its top six bits cleared: selectors of entry points and events, bases of storage variables.
pub fn starknet_keccak(text: &str) -> Felt {
    let mut digest: [u8; 32] = Keccak256::digest(text.as_bytes()).into();
    digest[0] &= 0b0000_0011;
    Felt::from_bytes_be(&digest)
}

/// A short string: the big-endian integer of its bytes. Panics beyond 31 bytes.
pub fn short_string(text: &str) -> Felt {
    assert!(text.len() <= 31 && text.is_ascii(), "{text:?} is not a short string");
    Felt::from_bytes_be_slice(text.as_bytes())
}

/// Address of a contract deployed by nobody (deployer 0). [spec starknet (c)]
pub fn contract_address(class_hash: Felt, salt: Felt, constructor_calldata: &[Felt]) -> Address {
    let hash = Pedersen::hash_array(&[
        short_string("STARKNET_CONTRACT_ADDRESS"),
        Felt::ZERO,
        salt,
        class_hash,
        Pedersen::hash_array(constructor_calldata),
    ]);
    Address(below_address_bound(hash))
}

/// Hash of the Starknet OS configuration, which the settlement contract is initialised with. [spec settlement, Chain constants]
pub fn config_hash(chain_id: Felt, fee_token: Address) -> Felt {
    Pedersen::hash_array(&[short_string("StarknetOsConfig3"), chain_id, fee_token.0])
}

/// Names the rules of the chain on the settlement layer; it is not a proof program. [spec settlement, Chain constants]
pub fn program_hash(rules_version: u32) -> Felt {
    Poseidon::hash_array(&[short_string("KEEL_RULES"), Felt::from(rules_version)])
}

/// A felt modulo 2^251 - 256: one subtraction is enough for any felt.
fn below_address_bound(felt: Felt) -> Felt {
    let bound = address_bound();
    if felt >= bound { felt - bound } else { felt }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_hash_of_starknet_mainnet_and_sepolia_are_the_published_ones() {
        // cairo-lang src/starkware/starknet/core/os/os_config/os_config_hash.json (abridged in spec starknet (d)); fee token STRK.
        let strk = Address(Felt::from_hex_unchecked("0x4718f5a0fc34cc1af16a1cdee98ffb20c31f5cd61d6ab07201858f4287c938d"));
        for (chain, start, end) in [("SN_MAIN", "0x70c7b342", "dfb"), ("SN_SEPOLIA", "0x1b9900f7", "8c5")] {
            let hash = format!("{:#x}", config_hash(short_string(chain), strk));
            assert!(hash.starts_with(start) && hash.ends_with(end), "{chain}: {hash}");
        }
    }
}
