//! The compiled classes, as committed in `artifacts/starknet` by `build-starknet.py`.

use starknet_types_core::felt::Felt;
use std::sync::LazyLock;

/// A class of ours: its artifacts and hashes.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// `account`, `collateral_token` or `exchange`.
    pub name: &'static str,
    /// Hash of the Sierra class.
    pub class_hash: Felt,
    /// Blake2s hash of the CASM class (v2): what the class trie holds since Starknet 0.14.1.
    pub compiled_class_hash_blake: Felt,
    /// Poseidon hash of the CASM class, which older tools expect.
    pub compiled_class_hash_poseidon: Felt,
    /// The Sierra class as the compiler writes it, JSON.
    pub sierra: &'static str,
    /// The CASM class, JSON.
    pub casm: &'static str,
    /// The ABI of the class to the byte that is hashed, and that `starknet_getClass` returns as a string.
    pub abi: &'static str,
}

macro_rules! artifacts {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../artifacts/starknet/", $name, ".contract_class.json")),
            include_str!(concat!("../../artifacts/starknet/", $name, ".casm.json")),
            include_str!(concat!("../../artifacts/starknet/", $name, ".abi.json")),
        )
    };
}

static CLASSES: LazyLock<[Class; 3]> = LazyLock::new(|| {
    let listed: serde_json::Value =
        serde_json::from_str(include_str!("../../artifacts/starknet/classes.json")).expect("classes.json is committed JSON");
    let listed = listed.as_array().expect("classes.json is a list");
    [artifacts!("account"), artifacts!("collateral_token"), artifacts!("exchange")].map(|(name, sierra, casm, abi)| {
        let entry = listed.iter().find(|entry| entry["name"] == name).expect("classes.json lists every class");
        let hash = |field: &str| Felt::from_hex_unchecked(entry[field].as_str().expect("classes.json has every hash"));
        Class {
            name,
            class_hash: hash("class_hash"),
            compiled_class_hash_blake: hash("compiled_class_hash_blake"),
            compiled_class_hash_poseidon: hash("compiled_class_hash_poseidon"),
            sierra,
            casm,
            abi,
        }
    })
});

/// All our classes.
pub fn classes() -> &'static [Class] {
    CLASSES.as_slice()
}

/// The class of the exchange contract.
pub fn exchange_class() -> &'static Class {
    &CLASSES[2]
}

/// The class of the operator's account, and of the first account template.
pub fn account_class() -> &'static Class {
    &CLASSES[0]
}

/// The class of the fee token.
pub fn collateral_token_class() -> &'static Class {
    &CLASSES[1]
}

#[cfg(test)]
mod tests {
    use super::super::{short_string, starknet_keccak};
    use super::*;
    use serde_json::Value;
    use starknet_types_core::hash::{Poseidon, StarkHash};

    fn felt(value: &Value) -> Felt {
        Felt::from_hex_unchecked(value.as_str().unwrap())
    }

    fn entry_points(class: &Value, kind: &str) -> Felt {
        let points = class["entry_points_by_type"][kind].as_array().unwrap();
        let flat: Vec<Felt> = points
            .iter()
            .flat_map(|point| [felt(&point["selector"]), point["function_idx"].as_u64().unwrap().into()])
            .collect();
        Poseidon::hash_array(&flat)
    }

    #[test]
    fn committed_class_hashes_are_those_of_the_committed_artifacts() {
        for class in classes() {
            let sierra: Value = serde_json::from_str(class.sierra).unwrap();
            let program: Vec<Felt> = sierra["sierra_program"].as_array().unwrap().iter().map(felt).collect();
            let hash = Poseidon::hash_array(&[
                short_string("CONTRACT_CLASS_V0.1.0"),
                entry_points(&sierra, "EXTERNAL"),
                entry_points(&sierra, "L1_HANDLER"),
                entry_points(&sierra, "CONSTRUCTOR"),
                starknet_keccak(class.abi),
                Poseidon::hash_array(&program),
            ]);
            assert_eq!(hash, class.class_hash, "{}", class.name);
        }
    }
}
