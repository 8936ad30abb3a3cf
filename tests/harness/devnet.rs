//! starknet-devnet as a settlement layer: the process, the genesis and keys of a chain that settles there, and its accounts.

use crate::process::{Child, root};
use crate::trader::{Ack, call};
use crate::wait_for;
use keel_commitment::transaction_hash::{CommonV3, InvokeV3, Purpose, ResourceBound, ResourceBounds};
use keel_contracts::starknet::settlement::ContractCall;
use keel_contracts::starknet::{config_hash, exchange_address, fee_token_address, short_string};
use keel_ingress::verify::sign;
use keel_settlement::starknet::Keys;
use keel_settlement::starknet::dev::{DevAccount, DevKeys, place};
use keel_types::{Felt, FeltBytes, Genesis, L1Address, MessageHash, SettlementLayer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest wait for an answer, or for a transaction to be in a block.
const PATIENCE: Duration = Duration::from_secs(60);
/// What devnet calls `TESTNET`.
const CHAIN_ID: &str = "SN_SEPOLIA";
/// Accounts with money: deployer, submitter, depositor and guardian of the chain, and six more.
const ACCOUNTS: usize = 10;
/// Events in one answer.
const EVENTS_MAX: u64 = 1_000;
/// Bounds of a test's own transactions, far above what any uses, so that none needs an estimate.
const BOUND: ResourceBound = ResourceBound { max_amount: 500_000_000, max_price_per_unit: 10_000_000_000 };

/// An account that devnet made.
#[derive(Clone)]
pub struct DevnetAccount {
    pub address: L1Address,
    secret: Felt,
}

/// A devnet that runs: a block every second, whatever is in it.
#[derive(Clone)]
pub struct Devnet {
    pub port: u16,
    pub accounts: Vec<DevnetAccount>,
}

/// `KEEL_STARKNET_DEVNET`, or where `scripts/test` keeps it.
fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("KEEL_STARKNET_DEVNET") {
        return Some(path.into());
    }
    let home = PathBuf::from(std::env::var_os("HOME")?);
    Some(home.join(".cache/keel/starknet-devnet-0.10.1/bin/starknet-devnet")).filter(|path| path.is_file())
}

fn felt(value: &Value) -> Felt {
    value.as_str().and_then(|text| Felt::from_hex(text).ok()).unwrap_or_else(|| panic!("{value} is no felt"))
}

fn felts(value: &Value) -> Vec<Felt> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(felt).collect()
}

fn hex(felt: Felt) -> String {
    format!("{felt:#x}")
}

fn hexes(felts: &[Felt]) -> Value {
    felts.iter().copied().map(hex).collect()
}

impl Devnet {
    /// Starts it with its log in `dir`. Nothing where there is none on this machine, which is said.
    pub(crate) fn start(port: u16, dir: &Path) -> Option<(Child, Devnet)> {
        let Some(binary) = binary() else {
            println!("SKIPPED: {}: no starknet-devnet", std::thread::current().name().unwrap_or("a test"));
            return None;
        };
        let mut command = Command::new(binary);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--chain-id", "TESTNET", "--seed", "5"]);
        command.args(["--accounts", &ACCOUNTS.to_string(), "--block-generation-on", "1"]);
        // State of old blocks is read, and blocks are taken back.
        command.args(["--state-archive-capacity", "full"]);
        let process = Child::spawn(&mut command, &dir.join("devnet.log"));
        let accounts = wait_for("starknet-devnet", PATIENCE, || {
            match call(port, "/rpc", None, "devnet_getPredeployedAccounts", &json!({})) {
                Ack::Done(accounts) => Some(accounts),
                _ => None,
            }
        });
        let account = |account: &Value| DevnetAccount {
            address: L1Address(felt(&account["address"])),
            secret: felt(&account["private_key"]),
        };
        let accounts = accounts.as_array().expect("a list of accounts").iter().map(account).collect();
        Some((process, Devnet { port, accounts }))
    }

    /// Writes genesis and keys of a development chain like `genesis/dev.json` that settles here. Gives genesis, and the paths of both.
    pub(crate) fn write_chain(&self, dir: &Path) -> (Genesis, [PathBuf; 2]) {
        let read = |name: &str| -> Value {
            let text = std::fs::read_to_string(root().join("genesis").join(name)).expect("a file of genesis/");
            serde_json::from_str(&text).expect("JSON")
        };
        let mut keys = read("dev-keys.json");
        for (name, account) in ["deployer", "submitter", "depositor", "guardian"].iter().zip(&self.accounts) {
            keys["settlement"][name] =
                json!({ "account": account.address.to_string(), "private_key": format!("{:#066x}", account.secret) });
        }
        let attestor = keys["attestor"]["private_key"].as_str().expect("a key");
        let dev = self.dev_keys(attestor);
        let genesis = derive_genesis(read("dev.json"), &dev);
        let paths = [("genesis.json", &genesis), ("keys.json", &keys)].map(|(name, content)| {
            let path = dir.join(name);
            std::fs::write(&path, format!("{content:#}")).expect("the temporary folder can be written");
            path
        });
        (keel_contracts::genesis::load(&genesis.to_string()).expect("a good genesis"), paths)
    }

    fn dev_keys(&self, attestor: &str) -> DevKeys {
        let [deployer, submitter, _, guardian, ..] = &self.accounts[..] else { panic!("too few accounts") };
        let keys = Keys::parse(&deployer.address.to_string(), &hex(deployer.secret), attestor).expect("good keys");
        DevKeys {
            attestors: vec![keys.attestor_key()],
            threshold: 1,
            deployer: DevAccount { address: deployer.address, key: keys.submitter },
            submitter: submitter.address,
            guardian: guardian.address,
        }
    }

    /// One call of its JSON-RPC; panics with its refusal.
    pub fn request(&self, method: &str, params: Value) -> Value {
        match call(self.port, "/rpc", None, method, &params) {
            Ack::Done(answer) => answer,
            other => panic!("{method} {params}: {other:?}"),
        }
    }

    /// Number of the newest block.
    pub fn head(&self) -> u64 {
        self.request("starknet_blockNumber", json!([])).as_u64().expect("a number")
    }

    /// What a contract answers at a block, which is a block id.
    pub fn view(&self, call: &ContractCall, at: &Value) -> Vec<Felt> {
        let request = json!({
            "contract_address": call.to.to_string(), "entry_point_selector": hex(call.selector), "calldata": hexes(&call.calldata),
        });
        felts(&self.request("starknet_call", json!({ "request": request, "block_id": at })))
    }

    /// Keys and data of every event of a contract up to a block.
    pub fn events(&self, contract: L1Address, to: &Value) -> Vec<(Vec<Felt>, Vec<Felt>)> {
        let mut filter = json!({
            "address": contract.to_string(), "from_block": { "block_number": 0 }, "to_block": to, "chunk_size": EVENTS_MAX,
        });
        let mut events = vec![];
        loop {
            let page = self.request("starknet_getEvents", json!({ "filter": filter }));
            let listed = page["events"].as_array().expect("events").iter();
            events.extend(listed.map(|event| (felts(&event["keys"]), felts(&event["data"]))));
            match page["continuation_token"].as_str() {
                Some(token) => filter["continuation_token"] = token.into(),
                None => return events,
            }
        }
    }

    /// Sends calls in one transaction, which is executed at once and in a block within a second, unless that block is taken back.
    /// Its hash.
    pub fn send(&self, from: &DevnetAccount, calls: &[ContractCall]) -> Felt {
        let sender = from.address.to_string();
        let nonce =
            felt(&self.request("starknet_getNonce", json!({ "block_id": "pre_confirmed", "contract_address": sender })));
        let mut calldata = vec![Felt::from(calls.len())];
        for call in calls {
            calldata.extend([call.to.0, call.selector, Felt::from(call.calldata.len())]);
            calldata.extend(&call.calldata);
        }
        let resource_bounds = ResourceBounds::All { l1_gas: BOUND, l2_gas: BOUND, l1_data_gas: BOUND };
        let common = CommonV3 { nonce, resource_bounds, ..Default::default() };
        let invoke = InvokeV3 { common, sender_address: from.address.0, calldata, ..Default::default() };
        let hash = MessageHash(invoke.hash(&short_string(CHAIN_ID), Purpose::Execute));
        let signature = sign(&from.secret, &hash).expect("a key that signs");
        let bound = json!({
            "max_amount": format!("{:#x}", BOUND.max_amount), "max_price_per_unit": format!("{:#x}", BOUND.max_price_per_unit),
        });
        let transaction = json!({
            "type": "INVOKE", "version": "0x3", "sender_address": sender, "calldata": hexes(&invoke.calldata),
            "signature": hexes(&[signature.r, signature.s]), "nonce": hex(nonce), "tip": "0x0",
            "resource_bounds": { "l1_gas": bound, "l2_gas": bound, "l1_data_gas": bound },
            "paymaster_data": [], "account_deployment_data": [],
            "nonce_data_availability_mode": "L1", "fee_data_availability_mode": "L1",
        });
        felt(
            &self.request("starknet_addInvokeTransaction", json!({ "invoke_transaction": transaction }))["transaction_hash"],
        )
    }

    /// Waits until a transaction is in a closed block. Whether it did what it was sent for.
    pub fn succeeded(&self, transaction: Felt) -> bool {
        let params = json!({ "transaction_hash": hex(transaction) });
        let receipt = wait_for("a receipt", PATIENCE, || {
            let receipt = self.request("starknet_getTransactionReceipt", params.clone());
            (receipt["finality_status"] == "ACCEPTED_ON_L2").then_some(receipt)
        });
        receipt["execution_status"] == "SUCCEEDED"
    }
}

/// The contracts of `dev` on Starknet, and what follows from their addresses.
fn derive_genesis(mut document: Value, keys: &DevKeys) -> Value {
    let mut genesis = keel_contracts::genesis::load(&document.to_string()).expect("genesis/dev.json is good");
    genesis.settlement.layer = SettlementLayer::Starknet { chain_id: FeltBytes(short_string(CHAIN_ID)) };
    place(&mut genesis, keys, |genesis| {
        genesis.exchange = exchange_address(genesis);
        genesis.fee_token = fee_token_address(genesis);
    });
    let at = &genesis.settlement;
    document["settlement"] = json!({
        "layer": "starknet", "chain_id": hex(short_string(CHAIN_ID)),
        "core": at.core.to_string(), "bridge": at.bridge.to_string(), "registry": at.registry.to_string(),
        "deposit_depth": at.deposit_depth, "confirm_depth": at.confirm_depth,
    });
    document["exchange"] = json!(hex(genesis.exchange.0));
    document["fee_token"] = json!(hex(genesis.fee_token.0));
    document["config_hash"] = json!(hex(config_hash(genesis.chain_id.0, genesis.fee_token)));
    for (asset, spec) in document["assets"].as_array_mut().expect("assets").iter_mut().zip(&genesis.assets) {
        asset["token"] = json!(spec.token.to_string());
    }
    document
}
