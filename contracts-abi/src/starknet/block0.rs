//! Block 0: the contracts that stand on the chain from its first block, their addresses, and their storage.

use super::{
    Layout, account_class, classes, collateral_token_class, contract_address, encode_word, exchange_class, short_string,
    starknet_keccak,
};
use keel_types::{AccountTemplate, Address, FeltBytes, Genesis, QUOTE, StarkKey, StateWrite, TemplateWord};
use starknet_types_core::felt::Felt;

/// Name of the fee token.
pub const FEE_TOKEN_NAME: &str = "Keel Collateral";
/// Decimals of the fee token: those of quantums.
pub const FEE_TOKEN_DECIMALS: u8 = 8;

/// What block 0 declares, deploys and stores, apart from the exchange's storage that comes from the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenesisState {
    /// (class hash, Blake compiled class hash), ascending.
    pub declared: Vec<(Felt, Felt)>,
    /// (contract, class hash), ascending.
    pub deployed: Vec<(Address, Felt)>,
    /// Storage of each contract; no value is zero.
    pub storage: Vec<(Address, Vec<(Felt, Felt)>)>,
}

/// Block 0 of a genesis. The caller adds the exchange's storage: [Layout::storage] of every write of the new engine.
/// What of it does not come from the engine (the record of rules with publishers and counts) is here already.
pub fn genesis_state(genesis: &Genesis, layout: &mut Layout) -> GenesisState {
    let mut declared: Vec<(Felt, Felt)> =
        classes().iter().map(|class| (class.class_hash, class.compiled_class_hash_blake)).collect();
    declared.sort();
    let mut deployed = vec![
        (genesis.exchange, exchange_class().class_hash),
        (genesis.operator, account_class().class_hash),
        (genesis.fee_token, collateral_token_class().class_hash),
    ];
    deployed.sort();
    let storage = vec![
        (genesis.exchange, layout.storage(genesis, &StateWrite::Rules)),
        (genesis.operator, vec![(starknet_keccak("Account_public_key"), encode_word(genesis.block_key.0, "block key"))]),
        (genesis.fee_token, fee_token_storage(genesis)),
    ];
    GenesisState { declared, deployed, storage }
}

/// Address of the exchange: its constructor takes the rules, so the address commits to them.
pub fn exchange_address(genesis: &Genesis) -> Address {
    contract_address(exchange_class().class_hash, Felt::ZERO, &exchange_constructor(genesis))
}

/// Address of the operator's account, which has the key that signs block hashes.
pub fn operator_address(block_key: StarkKey) -> Address {
    contract_address(account_class().class_hash, block_key.0, &[block_key.0])
}

/// Address of the fee token; the exchange is its minter.
pub fn fee_token_address(genesis: &Genesis) -> Address {
    contract_address(collateral_token_class().class_hash, Felt::ZERO, &fee_token_constructor(genesis))
}

/// Address of the account that a template makes of a key. [spec exchange, Accounts and keys]
pub fn template_address(template: &AccountTemplate, key: StarkKey) -> Address {
    let word = |word: &TemplateWord| match word {
        TemplateWord::Key => key.0,
        TemplateWord::Const(FeltBytes(felt)) => *felt,
    };
    let calldata: Vec<Felt> = template.constructor_calldata.iter().map(word).collect();
    contract_address(template.class_hash.0, word(&template.salt), &calldata)
}

fn exchange_constructor(genesis: &Genesis) -> Vec<Felt> {
    let mut calldata = vec![
        genesis.rules_version.into(),
        genesis.settlement.layer.chain_id(),
        genesis.operator.0,
        genesis.settlement.bridge.0,
        genesis.fee_account.0,
        genesis.insurance_account.0,
        genesis.oracle.quorum.into(),
        genesis.oracle.report_age_max_ms.into(),
        genesis.oracle.stale_ms.into(),
        genesis.oracle.publishers.len().into(),
    ];
    calldata.extend(genesis.oracle.publishers.iter().map(|key| key.0));
    calldata
}

fn fee_token_constructor(genesis: &Genesis) -> Vec<Felt> {
    vec![short_string(FEE_TOKEN_NAME), fee_token_symbol(genesis), FEE_TOKEN_DECIMALS.into(), genesis.exchange.0]
}

fn fee_token_symbol(genesis: &Genesis) -> Felt {
    short_string(&genesis.asset(QUOTE).expect("a genesis has a quote asset").symbol)
}

/// What its constructor would have written.
fn fee_token_storage(genesis: &Genesis) -> Vec<(Felt, Felt)> {
    vec![
        (starknet_keccak("ERC20_name"), short_string(FEE_TOKEN_NAME)),
        (starknet_keccak("ERC20_symbol"), fee_token_symbol(genesis)),
        (starknet_keccak("ERC20_decimals"), FEE_TOKEN_DECIMALS.into()),
        (starknet_keccak("permitted_minter"), genesis.exchange.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::tests::dev_genesis;
    use std::collections::BTreeSet;

    #[test]
    fn every_deployed_class_is_declared_and_no_word_is_zero() {
        let genesis = dev_genesis();
        let state = genesis_state(&genesis, &mut Layout::new());
        let declared: BTreeSet<Felt> = state.declared.iter().map(|(class, _)| *class).collect();
        assert_eq!((declared.len(), state.deployed.len()), (3, 3));
        assert!(state.deployed.iter().all(|(_, class)| declared.contains(class)));
        let contracts: BTreeSet<Address> = state.deployed.iter().map(|(contract, _)| *contract).collect();
        assert_eq!(contracts, state.storage.iter().map(|(contract, _)| *contract).collect());
        assert!(state.storage.iter().flat_map(|(_, slots)| slots).all(|(_, value)| *value != Felt::ZERO));
    }

    #[test]
    fn the_variables_of_account_and_token_are_in_their_sources() {
        let sources = concat!(
            include_str!("../../starknet/src/account.cairo"),
            include_str!("../../starknet/src/collateral_token.cairo")
        );
        for declaration in [
            "Account_public_key: felt252",
            "ERC20_name: felt252",
            "ERC20_symbol: felt252",
            "ERC20_decimals: u8",
            "permitted_minter: ContractAddress",
        ] {
            assert!(sources.contains(declaration), "{declaration}");
        }
    }

    #[test]
    fn an_account_address_is_the_one_starknet_js_computes() {
        // starknet.js 10.8.0: hash.calculateContractAddressFromHash(key, class, [key] or [0, key, 1], 0), key of the operator.
        let genesis = dev_genesis();
        let expected = [
            ("keel", "0x16f1204fcfae64d29bce2a63b56846e69bf698bb3d32529b7a5b038aa1d8514"),
            ("ready", "0x75c6c1f0e33288dc7e4379656a21b2913dc628c5803910ca25b6cb5f7c63c7b"),
            ("openzeppelin", "0x11674eee42dfa041779c5c6c57acc5b90de8cef32a5f978dfbc3351fb497d1c"),
        ];
        for (template, (name, address)) in genesis.account_templates.iter().zip(expected) {
            assert_eq!(template.name, name);
            assert_eq!(template_address(template, genesis.block_key).to_string(), address, "{name}");
        }
    }
}
