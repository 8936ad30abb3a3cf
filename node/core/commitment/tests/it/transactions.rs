//! Real transactions and their hashes.

use keel_commitment::Felt;
use keel_commitment::hash::ascii;
use keel_commitment::transaction_hash::legacy::{self, Account, Form};
use keel_commitment::transaction_hash::{
    CommonV3, DaMode, DeclareV3, DeployAccountV3, InvokeV3, L1Handler, Purpose, ResourceBound, ResourceBounds,
};
use serde_json::Value;

use crate::fixtures::{self, felt, felts, u64_of, u128_of};

fn da_mode(value: &Value) -> DaMode {
    match value {
        Value::String(text) if text == "L1" => DaMode::L1,
        Value::Number(number) if number.as_u64() == Some(0) => DaMode::L1,
        _ => DaMode::L2,
    }
}

fn resource_bounds(value: &Value) -> ResourceBounds {
    let bound = |name: &str| {
        let bound = value.get(name).or_else(|| value.get(name.to_lowercase()))?;
        let max_amount = u64_of(&bound["max_amount"]);
        Some(ResourceBound { max_amount, max_price_per_unit: u128_of(&bound["max_price_per_unit"]) })
    };
    let (l1_gas, l2_gas) = (bound("L1_GAS").unwrap(), bound("L2_GAS").unwrap());
    match bound("L1_DATA_GAS") {
        Some(l1_data_gas) => ResourceBounds::All { l1_gas, l2_gas, l1_data_gas },
        None => ResourceBounds::L1AndL2 { l1_gas, l2_gas },
    }
}

fn common(tx: &Value) -> CommonV3 {
    CommonV3 {
        nonce: felt(&tx["nonce"]),
        tip: u64_of(&tx["tip"]),
        resource_bounds: resource_bounds(&tx["resource_bounds"]),
        paymaster_data: felts(&tx["paymaster_data"]),
        nonce_da_mode: da_mode(&tx["nonce_data_availability_mode"]),
        fee_da_mode: da_mode(&tx["fee_data_availability_mode"]),
    }
}

fn invoke_v3(tx: &Value) -> InvokeV3 {
    InvokeV3 {
        common: common(tx),
        sender_address: felt(&tx["sender_address"]),
        calldata: felts(&tx["calldata"]),
        account_deployment_data: felts(&tx["account_deployment_data"]),
        proof_facts: tx.get("proof_facts").map(felts).unwrap_or_default(),
    }
}

fn declare_v3(tx: &Value) -> DeclareV3 {
    DeclareV3 {
        common: common(tx),
        sender_address: felt(&tx["sender_address"]),
        class_hash: felt(&tx["class_hash"]),
        compiled_class_hash: felt(&tx["compiled_class_hash"]),
        account_deployment_data: felts(&tx["account_deployment_data"]),
    }
}

fn deploy_account_v3(tx: &Value) -> DeployAccountV3 {
    DeployAccountV3 {
        common: common(tx),
        class_hash: felt(&tx["class_hash"]),
        contract_address_salt: felt(&tx["contract_address_salt"]),
        constructor_calldata: felts(&tx["constructor_calldata"]),
    }
}

fn l1_handler(tx: &Value) -> L1Handler {
    L1Handler {
        contract_address: felt(&tx["contract_address"]),
        selector: felt(&tx["entry_point_selector"]),
        calldata: felts(&tx["calldata"]),
        nonce: felt(&tx["nonce"]),
    }
}

/// The hash of a transaction of any kind and version.
fn hash(kind: &str, version: u64, tx: &Value, chain_id: Felt, form: Form) -> Felt {
    let of = |name: &str| tx.get(name).map_or(Felt::ZERO, felt);
    let Form::Versioned(purpose) = form else {
        return unversioned(kind, tx, chain_id);
    };
    let sender_address = tx.get("sender_address").or_else(|| tx.get("contract_address")).map_or(Felt::ZERO, felt);
    let account = Account { sender_address, max_fee: of("max_fee"), nonce: of("nonce"), chain_id };
    let (class, compiled, salt) = (of("class_hash"), of("compiled_class_hash"), of("contract_address_salt"));
    match (kind, version) {
        ("Invoke", 0) => legacy::invoke_v0(
            form,
            sender_address,
            of("entry_point_selector"),
            &felts(&tx["calldata"]),
            account.max_fee,
            chain_id,
        ),
        ("Invoke", 1) => account.invoke_v1(purpose, &felts(&tx["calldata"])),
        ("Invoke", 3) => invoke_v3(tx).hash(&chain_id, purpose),
        ("Declare", 0) => account.declare_v0(purpose, class),
        ("Declare", 1) => account.declare_v1(purpose, class),
        ("Declare", 2) => account.declare_v2(purpose, class, compiled),
        ("Declare", 3) => declare_v3(tx).hash(&chain_id, purpose),
        ("DeployAccount", 1) => {
            let constructor_calldata = felts(&tx["constructor_calldata"]);
            let address =
                keel_commitment::transaction_hash::contract_address(&Felt::ZERO, &salt, &class, &constructor_calldata);
            Account { sender_address: address, ..account }.deploy_account_v1(purpose, class, salt, &constructor_calldata)
        }
        ("DeployAccount", 3) => deploy_account_v3(tx).hash(&chain_id, purpose),
        ("Deploy", 0) => legacy::deploy(form, class, salt, &felts(&tx["constructor_calldata"]), chain_id),
        ("L1Handler", 0) => l1_handler(tx).hash(&chain_id, purpose),
        other => panic!("unknown transaction {other:?}"),
    }
}

fn unversioned(kind: &str, tx: &Value, chain_id: Felt) -> Felt {
    let of = |name: &str| felt(&tx[name]);
    match kind {
        "Invoke" => {
            let contract = of("contract_address");
            legacy::invoke_v0(
                Form::Unversioned,
                contract,
                of("entry_point_selector"),
                &felts(&tx["calldata"]),
                Felt::ZERO,
                chain_id,
            )
        }
        "Deploy" => {
            let constructor_calldata = felts(&tx["constructor_calldata"]);
            legacy::deploy(Form::Unversioned, of("class_hash"), of("contract_address_salt"), &constructor_calldata, chain_id)
        }
        "L1Handler" => legacy::l1_handler_unversioned(&l1_handler(tx), chain_id),
        other => panic!("no unversioned {other}"),
    }
}

/// `{"Invoke": {"V3": {..}}}` or `{"L1Handler": {..}}`: kind, version, fields.
fn unwrap_kind(transaction: &Value) -> (&str, u64, &Value) {
    let (kind, inner) = transaction.as_object().unwrap().iter().next().unwrap();
    match inner.as_object().unwrap().iter().next().unwrap() {
        (version, fields) if version.starts_with('V') => (kind, version[1..].parse().unwrap(), fields),
        _ => (kind, 0, inner),
    }
}

#[test]
fn transaction_hash_vectors_of_the_sequencer_and_madara() {
    let Some(folder) = fixtures::folder("transaction_hash_vectors_of_the_sequencer_and_madara") else { return };
    let files = [
        ("tx_hashes/apollo_transaction_hash.json", false, 12),
        ("tx_hashes/apollo_deprecated_transaction_hash.json", true, 3),
        ("tx_hashes/madara_sequencer_transaction_hash_vectors.json", false, 12),
    ];
    for (name, older, count) in files {
        let vectors = fixtures::read(&folder, name);
        let vectors = vectors.as_array().unwrap();
        assert_eq!(vectors.len(), count, "{name}");
        let mut queries = 0;
        for vector in vectors {
            let chain_id = ascii(vector["chain_id"].as_str().unwrap());
            let (kind, version, tx) = unwrap_kind(&vector["transaction"]);
            let expected = felt(&vector["transaction_hash"]);
            // The early L1 handler is the one vector older than hashed versions.
            let form = if older && kind == "L1Handler" { Form::Unversioned } else { Form::Versioned(Purpose::Execute) };
            assert_eq!(hash(kind, version, tx, chain_id, form), expected, "{name}: {kind} v{version}");
            if let Some(query @ Value::String(_)) = vector.get("only_query_transaction_hash") {
                let form = Form::Versioned(Purpose::Query);
                assert_eq!(hash(kind, version, tx, chain_id, form), felt(query), "{name}: query {kind} v{version}");
                queries += 1;
            }
        }
        println!("{name}: {count} hashes and {queries} query hashes agree");
    }
}

#[test]
fn invoke_with_proof_facts_has_its_hash_on_sepolia() {
    let Some(folder) = fixtures::folder("invoke_with_proof_facts_has_its_hash_on_sepolia") else { return };
    let vectors = fixtures::read(&folder, "tx_hashes/madara_broadcasted_invoke_v3_hash_vectors.json");
    let vectors = vectors.as_array().unwrap();
    assert!(!vectors.is_empty());
    for vector in vectors {
        let invoke = invoke_v3(&vector["transaction"]);
        assert!(!invoke.proof_facts.is_empty());
        let chain_id = ascii(vector["chain_id"].as_str().unwrap());
        assert_eq!(invoke.hash(&chain_id, Purpose::Execute), felt(&vector["transaction_hash"]));
    }
}

#[test]
fn transactions_of_real_blocks_have_the_hashes_we_compute() {
    let Some(folder) = fixtures::folder("transactions_of_real_blocks_have_the_hashes_we_compute") else { return };
    let (main, sepolia) = (ascii("SN_MAIN"), ascii("SN_SEPOLIA"));
    let integration = ascii("SN_INTEGRATION_SEPOLIA");
    let versioned = Form::Versioned(Purpose::Execute);
    let blocks = [
        ("madara_mainnet.block_0", main, Form::Unversioned, 18),
        ("madara_sepolia.block_0", sepolia, versioned, 7),
        ("madara_sepolia.block_1", sepolia, versioned, 1),
        ("madara_sepolia.block_2", sepolia, versioned, 1),
        ("pathfinder_0.13.2_block_sepolia_integration_35748", integration, versioned, 2),
        ("pathfinder_0.13.4_block_sepolia_integration_63881", integration, versioned, 4),
        ("pathfinder_0.14.0_preconfirmed_955821", integration, versioned, 9),
    ];
    for (name, chain_id, form, count) in blocks {
        let file = fixtures::read(&folder, &format!("blocks/{name}.json"));
        let block = file.get("block").unwrap_or(&file);
        let transactions = block["transactions"].as_array().unwrap();
        assert_eq!(transactions.len(), count, "{name}");
        for tx in transactions {
            let kind = match tx["type"].as_str().unwrap() {
                "INVOKE_FUNCTION" => "Invoke",
                "DECLARE" => "Declare",
                "DEPLOY_ACCOUNT" => "DeployAccount",
                "DEPLOY" => "Deploy",
                "L1_HANDLER" => "L1Handler",
                other => panic!("unknown type {other}"),
            };
            let hash = hash(kind, u64_of(&tx["version"]), tx, chain_id, form);
            assert_eq!(hash, felt(&tx["transaction_hash"]), "{name}: {kind} {}", tx["version"]);
        }
        println!("{name}: {count} transaction hashes agree");
    }
}

#[test]
fn deployed_accounts_stand_where_we_compute() {
    let Some(folder) = fixtures::folder("deployed_accounts_stand_where_we_compute") else { return };
    let mut checked = 0;
    for name in ["madara_mainnet.block_0", "madara_sepolia.block_0"] {
        let block = fixtures::read(&folder, &format!("blocks/{name}.json"));
        for tx in block["block"]["transactions"].as_array().unwrap() {
            if tx.get("contract_address_salt").is_some() {
                let address = keel_commitment::transaction_hash::contract_address(
                    &Felt::ZERO,
                    &felt(&tx["contract_address_salt"]),
                    &felt(&tx["class_hash"]),
                    &felts(&tx["constructor_calldata"]),
                );
                assert_eq!(address, felt(&tx["contract_address"]), "{name}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 6);
}
