//! A node stops at the last record of its journal, which no replay executes and nobody was told of: what it says, what `keel void` takes
//! and refuses, and how the venue comes back once the record is voided.
//!
//! No command is known that makes the engine panic but a seal with another digest. `keel void append` refuses that one, and must: so the
//! Void is appended here as it would have done it, and all that follows is the node's. A command that panics is voided in the tests of
//! `node/bin/src/void.rs`.

use keel_ingress::MessageKind;
use keel_journal::{Journal, LocalJournal, Options};
use keel_rpc::JwtSecret;
use keel_tests::{Ack, Child, Node, NodeOptions, Trader, World, call, keel_binary, root, run_keel, wait_for};
use keel_types::{Bytes32, Command as Journaled, Deposit, Height, Record, SealBlock, Seq, Void};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(90);
const REASON: &str = "KEEL-1: a block of another state";

#[test]
fn a_record_told_to_nobody_stops_the_start_until_two_operators_void_it_and_then_safe_mode_waits_for_both() {
    let mut world = World::start();
    let second = world.dir.path().join("second.hex");
    std::fs::write(&second, "22".repeat(32)).expect("written");
    let further = format!("rpc.further_operator_secrets=[{:?}]", second.display().to_string());
    let options = NodeOptions { name: "node".into(), sets: vec![further.clone()] };
    let mut node = world.node(&options);
    world.publish_to(&node);
    node.wait_for_phase("OPEN", PATIENCE);
    let trader = Trader::new(0x0f01d, &world.genesis);
    world.fund(&node, std::slice::from_ref(&trader), &[("USDC", "10000")]);
    let fields = json!({"market": "ETH-USDC", "side": "BUY", "type": "LIMIT", "size": "1", "price": "2900"});
    let (order, hash) = trader.sign(MessageKind::Order, 2, fields);
    node.call("trade_placeOrder", order).done();
    let balance = total(&node, &trader);
    node.process.kill();

    // Appended before the process died: money that it told nobody of, and a block that no replay makes.
    let credit = Deposit {
        message_nonce: 999,
        token: world.genesis.assets[0].token,
        recipient: trader.account,
        amount: 777_000_000,
        message_hash: Bytes32([1; 32]),
        l1_block: 1,
        l1_block_hash: Bytes32([1; 32]),
        depth: world.genesis.settlement.deposit_depth,
        l1_tx_hash: Bytes32([1; 32]),
    };
    let height = node_height(&node.data);
    let seal = SealBlock { height: Height(height + 1), engine_digest: Bytes32([9; 32]) };
    let record = append(&node.data, vec![Journaled::Deposit(credit), Journaled::SealBlock(seal)]);
    let (seq, record_hash) = (record.first_seq.to_string(), record.hash().to_string());

    let data = format!("data_dir={}", node.data.display());
    let settings: Vec<String> = world.settings().map(str::to_owned).collect();
    let sets = [&data, &further, "rpc.listen=127.0.0.1:0", "rpc.admin_listen=127.0.0.1:0"];
    let log = world.dir.path().join("keel.log");
    let run = |arguments: &[&str]| {
        std::fs::write(&log, "").expect("written");
        let mut command = Command::new(keel_binary());
        command.current_dir(root()).args(&settings).args(sets.iter().flat_map(|set| ["--set", set])).args(arguments);
        let mut process = Child::spawn(&mut command, &log);
        let ended = wait_for(&format!("the end of keel {arguments:?}"), PATIENCE, || process.ended());
        (ended.success(), std::fs::read_to_string(&log).expect("a log"))
    };
    let refused = |arguments: &[&str], expected: &str| {
        let (success, text) = run(arguments);
        assert!(!success && text.contains(expected), "{arguments:?}: {text}");
    };
    refused(&["run"], "no Void mends that");

    let sign = |record: &str, secret: &Path| {
        let secret = secret.display().to_string();
        run(&["void", "sign", "--seq", &seq, "--record", record, "--reason", REASON, "--secret", &secret]).1
    };
    let first = sign(&record_hash, &node.data.join("jwt.hex"));
    let (word, other) = (first.trim(), sign(&record_hash, &second));
    let elsewhere = [node.data.join("jwt.hex"), second.clone()].map(|secret| sign(&Bytes32([7; 32]).to_string(), &secret));
    let both = |words: [&str; 2]| ["void", "append", "--word", words[0], "--word", words[1]].map(str::to_owned);
    for (words, expected) in [
        ([word, word], "both words are of operator 0"),
        ([word, elsewhere[1].trim()], "the words differ"),
        ([elsewhere[0].trim(), elsewhere[1].trim()], "has the hash"),
        ([word, other.trim()], "closes a block of another state"),
    ] {
        refused(&both(words).each_ref().map(String::as_str), expected);
    }

    append(&node.data, vec![Journaled::Void(Void { seq: record.first_seq, reason: REASON.into() })]);
    let mut node = world.node(&options);
    world.publish_to(&node);
    let status = node.status();
    assert_eq!(status["phase"], "HALTED", "{status}");
    assert!(status["reasons"].to_string().contains("INVARIANT_BROKEN"), "{status}");
    refused(&both([word, other.trim()]).each_ref().map(String::as_str), "another node is using it");
    assert_eq!(total(&node, &trader), balance, "what was voided is credited to nobody");
    let placed = node.call("trade_getOrder", json!({"account": trader.account.to_string(), "order": hash})).done();
    assert_eq!((&placed["state"], &placed["reason"]), (&json!("CANCELLED"), &json!("SAFE_MODE")), "{placed}");

    assert!(matches!(resume(&node, &node.data.join("jwt.hex")), Ack::Done(_)));
    for _ in 0..20 {
        assert_eq!(node.status()["phase"], "HALTED", "one operator is not enough");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(matches!(resume(&node, &second), Ack::Done(_)));
    node.wait_for_phase("OPEN", PATIENCE);
    node.process.signal("TERM");
    let status = wait_for("a clean stop", PATIENCE, || node.process.ended());
    assert!(status.success(), "the node stopped with {status}: {}", node.log_tail());
    let verified: Value = serde_json::from_str(&run_keel(&["--set", &data, "verify"])).expect("a JSON report");
    assert_eq!(verified["equal"], true, "{verified}");
}

/// A record behind the last of a stopped node's journal.
fn append(data: &Path, commands: Vec<Journaled>) -> Record {
    let mut journal = LocalJournal::open(&data.join("journal"), Options::default()).expect("the node is stopped");
    let tail = journal.tail().expect("records");
    let first_seq = tail.last_seq.next();
    let record = Record { prev: tail.hash, first_seq, ts: tail.ts.plus_ms(1), commands };
    journal.append(&record).expect("appended");
    record
}

/// The last block that the journal closes.
fn node_height(data: &Path) -> u64 {
    let journal = LocalJournal::open(&data.join("journal"), Options::default()).expect("the node is stopped");
    let mut height = 0;
    keel_journal::Replay::replay(&journal, Seq(1), Bytes32::default(), &mut |record| {
        let seals = record.commands.iter().filter(|command| matches!(command, Journaled::SealBlock(_)));
        height += seals.count() as u64;
        true
    })
    .expect("a good journal");
    height
}

fn total(node: &Node, trader: &Trader) -> Value {
    let account = node.call("trade_account", json!({"account": trader.account.to_string()})).done();
    let balances = account["balances"].as_array().expect("balances");
    balances.iter().find(|balance| balance["asset"] == "USDC").expect("funded")["total"].clone()
}

fn resume(node: &Node, secret: &Path) -> Ack {
    let secret = std::fs::read_to_string(secret).expect("an operator's secret");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let token = JwtSecret::from_hex(secret.trim()).expect("a secret").sign(now);
    call(node.admin_port, "/", Some(&token), "admin_resume", &json!({"incident": node.status()["incident"]}))
}
