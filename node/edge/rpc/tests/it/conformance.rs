//! Every method of Starknet's documents over HTTP, in both versions: what is sent, every answer and every error, to the letter.
use crate::chain::{Story, order};
use crate::http::call;
use crate::node::L1_TX_HASH;
use crate::schema::Spec;
use keel_contracts::starknet::{classes, exchange_class, starknet_keccak};
use keel_ingress::MessageKind;
use keel_types::*;
use serde_json::{Value, json};

/// The path, the documents, and how many methods, responses and errors are checked at least.
const VERSIONS: [(&str, &str, usize, usize, usize); 2] =
    [("/rpc/v0_9", "v0.9.0", 31, 100, 50), ("/rpc/v0_10", "v0.10.2", 31, 110, 50)];

/// Errors that a document lists for a method, and that this node cannot answer with.
const CANNOT_HAPPEN: [(&str, i64, &str); 4] = [
    ("starknet_blockNumber", 32, "the genesis block is committed before the server starts"),
    ("starknet_blockHashAndNumber", 32, "the genesis block is committed before the server starts"),
    ("starknet_getCompiledCasm", 100, "classes are compiled when the program is built, never on request"),
    ("starknet_getStorageProof", 42, "every block of this short chain is retained; tested where history is pruned"),
];

/// Methods that do nothing here but say so: they never answer with a result.
const NO_RESULT: [&str; 6] = [
    "starknet_call",
    "starknet_estimateMessageFee",
    "starknet_traceTransaction",
    "starknet_addInvokeTransaction",
    "starknet_addDeclareTransaction",
    "starknet_addDeployAccountTransaction",
];

/// Not on this branch of the work yet.
const NOT_YET: [&str; 1] = ["starknet_getStorageProof"];

fn hex(felt: Felt) -> Value {
    json!(format!("{felt:#x}"))
}

#[test]
fn every_method_answers_by_the_documents_of_its_version() {
    let story = Story::tell();
    story.settle();
    let (node, taker) = (&story.node, &story.taker);
    // The open block: a deposit, a trade and a withdrawal.
    node.system(node.deposit(5, node.genesis.assets[0].token, taker.account, 1_000_000));
    let buy = node.sign(taker, MessageKind::Order, order("ETH-USDC", "BUY", "0.25", "3000"));
    node.call("trade_placeOrder", buy).expect("placed");
    let fields = json!({"asset": "USDC", "amount": "2.5", "recipient": format!("0x{}", "cd".repeat(20))});
    node.call("trade_withdraw", node.sign(taker, MessageKind::Withdraw, fields)).expect("withdrawn");
    node.open();
    for (path, version, methods, responses, errors) in VERSIONS {
        let Some(spec) = Spec::open(version, "every_method_answers_by_the_documents_of_its_version") else { return };
        Check { story: &story, path, spec: &spec, later: version == "v0.10.2" }.all();
        let seen = spec.checked.lock().expect("no assertion holds it");
        let (answered, failed) = (seen.responses.values().sum::<usize>(), seen.errors.values().sum::<usize>());
        let was_called =
            |method: &String| seen.responses.contains_key(method) || seen.errors.keys().any(|(of, _)| of == method);
        let called = spec.methods().iter().filter(|method| was_called(method)).count();
        println!("starknet {version}: {called} methods, {answered} responses, {failed} errors checked");
        assert!(called >= methods && answered >= responses && failed >= errors, "{called} {answered} {failed}");
        for method in spec.methods().iter().filter(|method| !NOT_YET.contains(&method.as_str())) {
            assert!(seen.responses.contains_key(method) || NO_RESULT.contains(&method.as_str()), "{method} never answered");
            // What else could be wrong with a transaction is found by executing it.
            let adds = method.starts_with("starknet_add");
            for code in spec.codes(method).into_iter().filter(|_| !adds) {
                let excused = CANNOT_HAPPEN.iter().any(|(of, excused, _)| (*of, *excused) == (method, code));
                let happened = seen.errors.contains_key(&(method.clone(), code));
                assert!(happened != excused, "{method}: error {code}");
            }
        }
        for method in NO_RESULT {
            assert!(!seen.responses.contains_key(method), "{method} does answer");
        }
    }
}

/// One version's methods, called one after the other.
struct Check<'a> {
    story: &'a Story,
    path: &'static str,
    spec: &'a Spec,
    /// 0.10, with the parameters that it added.
    later: bool,
}

impl Check<'_> {
    fn all(&self) {
        self.node();
        self.blocks();
        self.state();
        self.classes();
        self.transactions();
        self.events();
        self.estimates();
        self.traces();
        self.additions();
    }

    /// What is sent fits the documents, and the answer does.
    fn answers(&self, method: &str, params: Value) -> Value {
        self.spec.assert_params(method, &params);
        let answer = call(self.story.node.public, self.path, method, params.clone());
        let answer = answer.unwrap_or_else(|error| panic!("{} {method} {params}: {error:?}", self.path));
        self.spec.assert_result(method, &answer);
        answer
    }

    /// The same for an error. Returns its data.
    fn fails(&self, method: &str, params: Value, code: i64) -> Value {
        self.spec.assert_params(method, &params);
        let answer = call(self.story.node.public, self.path, method, params.clone());
        let error = answer.expect_err(method);
        assert_eq!(error.code, code, "{} {method} {params}: {error:?}", self.path);
        self.spec.assert_error(method, &error);
        error.data
    }

    /// It says that nothing is executed here, and what to do instead.
    fn is_told_that_nothing_is_executed(&self, method: &str, params: Value, code: i64) {
        let data = self.fails(method, params, code).to_string();
        assert!(data.contains("does not execute Cairo yet") && data.contains("trade_placeOrder"), "{method}: {data}");
    }

    /// Ids of every block there is, and of none.
    fn known(&self) -> Vec<Value> {
        let hash = |height| hex(self.story.node.store().header(Height(height)).expect("readable").expect("sealed").hash);
        let numbers = (0..=2).map(|number| json!({"block_number": number}));
        let tags = ["latest", "l1_accepted", "pre_confirmed"].map(|tag| json!(tag));
        numbers.chain([0, 2].map(|height| json!({"block_hash": hash(height)}))).chain(tags).collect()
    }

    fn unknown(&self) -> [Value; 2] {
        [json!({"block_number": 99}), json!({"block_hash": "0x99"})]
    }

    fn exchange(&self) -> Value {
        hex(self.story.node.genesis.exchange.0)
    }

    fn node(&self) {
        for method in ["specVersion", "chainId", "blockNumber", "blockHashAndNumber", "syncing"] {
            self.answers(&format!("starknet_{method}"), json!([]));
        }
    }

    fn blocks(&self) {
        let methods = [
            "getBlockWithTxHashes",
            "getBlockWithTxs",
            "getBlockWithReceipts",
            "getStateUpdate",
            "getBlockTransactionCount",
        ];
        for method in methods.map(|method| format!("starknet_{method}")) {
            self.known().into_iter().for_each(|id| drop(self.answers(&method, json!([id]))));
            self.unknown().into_iter().for_each(|id| drop(self.fails(&method, json!({"block_id": id}), 24)));
        }
        if self.later {
            for id in ["latest", "pre_confirmed"] {
                self.answers("starknet_getStateUpdate", json!([id, [self.exchange()]]));
                let block = self.answers("starknet_getBlockWithTxs", json!([id, ["INCLUDE_PROOF_FACTS"]]));
                let invokes = block["transactions"].as_array().expect("a list").iter().filter(|tx| tx["type"] == "INVOKE");
                assert!(invokes.clone().count() > 0 && invokes.clone().all(|tx| tx["proof_facts"] == json!([])));
                self.answers("starknet_getBlockWithReceipts", json!([id, ["INCLUDE_PROOF_FACTS"]]));
            }
        }
    }

    fn state(&self) {
        let (exchange, operator) = (self.exchange(), hex(self.story.node.genesis.operator.0));
        let diff = self.story.node.store().diff(Height(2)).expect("readable").expect("sealed");
        let slots = &diff.storage[&self.story.node.genesis.exchange.0];
        let slot = hex(*slots.keys().next().expect("a trade changes balances"));
        for id in self.known() {
            for (contract, key) in [(&exchange, &slot), (&exchange, &json!("0x5")), (&json!("0x1"), &json!("0x0"))] {
                self.answers("starknet_getStorageAt", json!([contract, key, id]));
            }
            self.answers("starknet_getNonce", json!([id, operator]));
            self.answers("starknet_getClassHashAt", json!({"block_id": id, "contract_address": exchange}));
            if self.later {
                let params = json!([exchange, slot, id, ["INCLUDE_LAST_UPDATE_BLOCK"]]);
                self.answers("starknet_getStorageAt", params);
            }
        }
        for id in self.unknown() {
            self.fails("starknet_getStorageAt", json!([exchange, "0x5", id]), 24);
            self.fails("starknet_getNonce", json!([id, operator]), 24);
            self.fails("starknet_getClassHashAt", json!([id, exchange]), 24);
        }
        for id in ["latest", "pre_confirmed"] {
            self.fails("starknet_getStorageAt", json!(["0x99", "0x5", id]), 20);
            self.fails("starknet_getNonce", json!([id, "0x99"]), 20);
            self.fails("starknet_getClassHashAt", json!([id, "0x99"]), 20);
        }
    }

    fn classes(&self) {
        for class in classes() {
            for id in ["latest", "pre_confirmed"] {
                self.answers("starknet_getClass", json!([id, hex(class.class_hash)]));
            }
            self.answers("starknet_getCompiledCasm", json!([hex(class.class_hash)]));
        }
        let class = hex(exchange_class().class_hash);
        self.answers("starknet_getClassAt", json!([{"block_number": 0}, self.exchange()]));
        self.fails("starknet_getClass", json!(["latest", "0x99"]), 28);
        self.fails("starknet_getCompiledCasm", json!(["0x99"]), 28);
        self.fails("starknet_getClassAt", json!(["latest", "0x99"]), 20);
        for id in self.unknown() {
            self.fails("starknet_getClass", json!([id, class]), 24);
            self.fails("starknet_getClassAt", json!([id, self.exchange()]), 24);
        }
    }

    /// Of the transactions in both sealed blocks and in the open one.
    fn transactions(&self) {
        for id in [json!({"block_number": 1}), json!({"block_number": 2}), json!("pre_confirmed")] {
            let block = self.answers("starknet_getBlockWithTxHashes", json!([id]));
            for (index, hash) in block["transactions"].as_array().expect("a list").iter().enumerate() {
                let shown = self.answers("starknet_getTransactionByHash", json!([hash]));
                let placed = self.answers("starknet_getTransactionByBlockIdAndIndex", json!([id, index]));
                assert_eq!((&shown, &shown["transaction_hash"]), (&placed, hash));
                self.answers("starknet_getTransactionReceipt", json!([hash]));
                self.answers("starknet_getTransactionStatus", json!({"transaction_hash": hash}));
                if self.later {
                    let params = json!({"transaction_hash": hash, "response_flags": ["INCLUDE_PROOF_FACTS"]});
                    let shown = self.answers("starknet_getTransactionByHash", params);
                    assert_eq!(shown.get("proof_facts").is_some(), shown["type"] == "INVOKE");
                    self.answers("starknet_getTransactionByBlockIdAndIndex", json!([id, index, ["INCLUDE_PROOF_FACTS"]]));
                }
            }
            self.fails("starknet_getTransactionByBlockIdAndIndex", json!([id, 999]), 27);
        }
        for id in self.unknown() {
            self.fails("starknet_getTransactionByBlockIdAndIndex", json!([id, 0]), 24);
        }
        for method in ["getTransactionByHash", "getTransactionReceipt", "getTransactionStatus", "getMessagesStatus"] {
            self.fails(&format!("starknet_{method}"), json!(["0x99"]), 29);
        }
        let statuses = self.answers("starknet_getMessagesStatus", json!({"transaction_hash": L1_TX_HASH.to_string()}));
        assert_eq!(statuses.as_array().map(Vec::len), Some(5));
    }

    fn events(&self) {
        let exchange = self.exchange();
        for filter in [
            json!({"chunk_size": 3}),
            json!({"chunk_size": 1024, "to_block": "pre_confirmed"}),
            json!({"chunk_size": 2, "from_block": {"block_number": 1}, "to_block": {"block_number": 2}, "address": exchange}),
            json!({"chunk_size": 10, "from_block": "l1_accepted", "to_block": "latest", "keys": [[], ["0x1"]]}),
            json!({"chunk_size": 10, "from_block": "pre_confirmed", "continuation_token": "3-0"}),
        ] {
            self.answers("starknet_getEvents", json!({"filter": filter}));
        }
        if self.later {
            self.answers("starknet_getEvents", json!([{"chunk_size": 5, "address": [exchange]}]));
            self.answers("starknet_getEvents", json!([{"chunk_size": 5, "address": [exchange, "0x1"]}]));
        }
        let keys: Vec<Value> = (0..300).map(|_| json!([])).collect();
        for (filter, code) in [
            (json!({"chunk_size": 1025}), 31),
            (json!({"chunk_size": 10, "continuation_token": "soon"}), 33),
            (json!({"chunk_size": 10, "continuation_token": "9-0"}), 33),
            (json!({"chunk_size": 10, "from_block": {"block_hash": "0x99"}}), 24),
            (json!({"chunk_size": 10, "keys": keys}), 34),
        ] {
            self.fails("starknet_getEvents", json!([filter]), code);
        }
    }

    fn estimates(&self) {
        let (exchange, view) = (self.exchange(), hex(starknet_keccak("no_such_view")));
        let entry = exchange_entry_point();
        let request = |contract: &Value, selector: &Value| json!({"contract_address": contract, "entry_point_selector": selector, "calldata": []});
        let call = "starknet_call";
        self.is_told_that_nothing_is_executed(call, json!([request(&exchange, &entry), "latest"]), 40);
        self.is_told_that_nothing_is_executed(call, json!([request(&exchange, &entry), "pre_confirmed"]), 40);
        self.fails(call, json!([request(&exchange, &view), "latest"]), 21);
        self.fails(call, json!([request(&json!("0x99"), &entry), "latest"]), 20);

        let operator = hex(self.story.node.genesis.operator.0);
        let known = [invoke(&operator), declare(&operator), deploy_account()];
        for transaction in &known {
            let estimate = json!([[transaction], ["SKIP_VALIDATE"], "latest"]);
            self.is_told_that_nothing_is_executed("starknet_estimateFee", estimate, 41);
            let simulate = json!(["pre_confirmed", [transaction], ["SKIP_FEE_CHARGE"]]);
            self.is_told_that_nothing_is_executed("starknet_simulateTransactions", simulate, 41);
        }
        let of_nobody = json!([[invoke(&json!("0x99"))], [], "latest"]);
        self.fails("starknet_estimateFee", of_nobody, if self.later { 20 } else { 41 });
        assert_eq!(self.answers("starknet_estimateFee", json!([[], [], "latest"])), json!([]));
        assert_eq!(self.answers("starknet_simulateTransactions", json!(["latest", [], []])), json!([]));
        if self.later {
            let params = json!({
                "block_id": "latest", "transactions": [], "simulation_flags": ["RETURN_INITIAL_READS", "SKIP_VALIDATE"],
            });
            self.answers("starknet_simulateTransactions", params);
        }

        let message = |to: &Value| {
            json!({
                "from_address": self.story.node.genesis.settlement.bridge.to_string(), "to_address": to,
                "entry_point_selector": hex(starknet_keccak("handle_deposit")), "payload": ["0x1", "0x2", "0x3"],
            })
        };
        let estimate = "starknet_estimateMessageFee";
        self.is_told_that_nothing_is_executed(estimate, json!([message(&exchange), "latest"]), 40);
        self.fails(estimate, json!([message(&json!("0x99")), "latest"]), if self.later { 20 } else { 40 });
        for id in self.unknown() {
            self.fails(call, json!([request(&exchange, &entry), id]), 24);
            self.fails("starknet_estimateFee", json!([known, [], id]), 24);
            self.fails("starknet_simulateTransactions", json!([id, known, []]), 24);
            self.fails(estimate, json!([message(&exchange), id]), 24);
        }
    }

    fn traces(&self) {
        let block = self.answers("starknet_getBlockWithTxHashes", json!(["latest"]));
        let open = self.answers("starknet_getBlockWithTxHashes", json!(["pre_confirmed"]));
        for hash in [&block["transactions"][0], &open["transactions"][0]] {
            self.is_told_that_nothing_is_executed("starknet_traceTransaction", json!([hash]), 10);
        }
        self.fails("starknet_traceTransaction", json!(["0x99"]), 29);
        self.is_told_that_nothing_is_executed("starknet_traceBlockTransactions", json!(["latest"]), 24);
        for id in self.unknown() {
            assert_eq!(self.fails("starknet_traceBlockTransactions", json!([id]), 24), Value::Null);
        }
        let genesis = json!({"block_number": 0});
        assert_eq!(self.answers("starknet_traceBlockTransactions", json!([genesis])), json!([]));
        if self.later {
            self.answers("starknet_traceBlockTransactions", json!([genesis, ["RETURN_INITIAL_READS"]]));
        }
    }

    fn additions(&self) {
        let operator = hex(self.story.node.genesis.operator.0);
        let mut unknown_class = deploy_account();
        unknown_class["class_hash"] = json!("0x99");
        for (method, transaction) in [
            ("starknet_addInvokeTransaction", invoke(&operator)),
            ("starknet_addDeclareTransaction", declare(&operator)),
            ("starknet_addDeployAccountTransaction", deploy_account()),
        ] {
            self.is_told_that_nothing_is_executed(method, json!([transaction]), 63);
            let mut simulated = transaction;
            simulated["version"] = json!("0x100000000000000000000000000000003");
            self.fails(method, json!([simulated]), 61);
        }
        self.fails("starknet_addDeployAccountTransaction", json!([unknown_class]), 28);
    }
}

/// A selector that the exchange can be called at.
fn exchange_entry_point() -> Value {
    let class: Value = serde_json::from_str(exchange_class().sierra).expect("JSON");
    class["entry_points_by_type"]["EXTERNAL"][0]["selector"].clone()
}

/// A transaction of version 3 with what all kinds share.
fn version_3(kind: &str, own: Value) -> Value {
    let bound = json!({"max_amount": "0x10", "max_price_per_unit": "0x1"});
    let mut transaction = json!({
        "type": kind, "version": "0x3", "signature": ["0x1", "0x2"], "nonce": "0x0", "tip": "0x0", "paymaster_data": [],
        "resource_bounds": {"l1_gas": bound, "l1_data_gas": bound, "l2_gas": bound},
        "nonce_data_availability_mode": "L1", "fee_data_availability_mode": "L1",
    });
    transaction.as_object_mut().expect("an object").extend(own.as_object().expect("an object").clone());
    transaction
}

fn invoke(sender: &Value) -> Value {
    version_3("INVOKE", json!({"sender_address": sender, "calldata": ["0x1"], "account_deployment_data": []}))
}

fn declare(sender: &Value) -> Value {
    let class = json!({
        "sierra_program": ["0x1"], "contract_class_version": "0.1.0", "abi": "[]",
        "entry_points_by_type": {"CONSTRUCTOR": [], "EXTERNAL": [], "L1_HANDLER": []},
    });
    let own = json!({
        "sender_address": sender, "compiled_class_hash": "0x1", "contract_class": class, "account_deployment_data": [],
    });
    version_3("DECLARE", own)
}

fn deploy_account() -> Value {
    let class = hex(classes()[0].class_hash);
    version_3("DEPLOY_ACCOUNT", json!({"contract_address_salt": "0x1", "constructor_calldata": [], "class_hash": class}))
}
