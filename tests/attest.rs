//! A node and two attestors on a registry that asks for two of three: who may be missing, who may be killed, who may lie.

use keel_settlement::attestation::{AttestorKey, Scheme};
use keel_tests::{Ack, Child, Load, Node, NodeOptions, TlsFront, Trader, World, call, wait_for};
use keel_types::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(120);
/// Anvil's public test keys 7 and 8.
const KEYS: [&str; 2] = [
    "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
];
/// Of `genesis/dev-keys.json`: the node's own.
const OWN: &str = "0x7d987c53b64042e1dedf9a2252d87728db2c03e9";

/// `keel attest` on a folder of its own.
struct Attestor {
    process: Child,
    data: PathBuf,
    log: PathBuf,
}

fn key(world: &World, index: usize) -> AttestorKey {
    AttestorKey::parse(&Scheme::of(&world.genesis), KEYS[index]).expect("a key")
}

fn start_world() -> World {
    let genesis = World::genesis();
    let scheme = Scheme::of(&genesis);
    let mut args = vec!["--threshold".to_owned(), "2".into(), "--attestor".into(), OWN.into()];
    for key in KEYS {
        let id = AttestorKey::parse(&scheme, key).expect("a key").id();
        args.extend(["--attestor".into(), format!("{:#042x}", id.0)]);
    }
    World::start_with(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

impl Attestor {
    fn start(world: &World, node: &Node, index: usize) -> Attestor {
        Attestor::start_at(world, node, index, &format!("http://127.0.0.1:{}", node.admin_port))
    }

    fn start_at(world: &World, node: &Node, index: usize, url: &str) -> Attestor {
        let data = world.dir.path().join(format!("attestor-{index}"));
        let (log, key) = (data.with_extension("log"), data.with_extension("key"));
        std::fs::write(&key, KEYS[index]).expect("the key is written");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("its mode is set");
        let mut command = world.command();
        command.arg("attest");
        if !data.join("signatures/signed").exists() {
            command.args(["--signed-up-to", "none"]);
        }
        for set in [
            format!("data_dir={}", data.display()),
            format!("attestor.node={url}"),
            format!("attestor.secret={}", node.data.join("follower.hex").display()),
            format!("attestor.key={}", key.display()),
            "sequencer.snapshot_interval_ms=3000".into(),
        ] {
            command.args(["--set", &set]);
        }
        Attestor { process: Child::spawn(&mut command, &log), data, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// What a key has signed, from its file: batch -> (block, fact).
fn signed(folder: &Path) -> BTreeMap<u64, (u64, String)> {
    let text = std::fs::read_to_string(folder.join("signatures/signed")).expect("a file of signatures");
    let mut blocks = BTreeMap::new();
    let mut batches = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("batch ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let (batch, block): (u64, u64) = (words[1].parse().expect("a batch"), words[3].parse().expect("a block"));
        assert!(batches.insert(batch, (block, words[7].to_owned())).is_none(), "two facts for batch {batch}: {text}");
        assert!(blocks.insert(block, batch).is_none(), "two facts for block {block}: {text}");
    }
    batches
}

/// How often the contract took a batch, and with how many signatures each fact was attested.
fn on_the_contract(world: &World) -> (usize, Vec<u64>) {
    let logs = |address: L1Address, event: &str| {
        let filter = json!([{"fromBlock": "0x0", "toBlock": "latest", "address": address.to_string()}]);
        let logs = world.l1_call("eth_getLogs", filter).done();
        let topic = Bytes32(keel_commitment::hash::keccak256(event.as_bytes())).to_string();
        logs.as_array().expect("logs").iter().filter(|log| log["topics"][0] == topic.as_str()).cloned().collect::<Vec<_>>()
    };
    let updates = logs(world.genesis.settlement.core, "LogStateUpdate(uint256,int256,uint256)").len();
    let attested = logs(world.genesis.settlement.registry, "FactAttested(bytes32,uint256)");
    let count = |log: &Value| {
        let data = log["data"].as_str().expect("data").trim_start_matches("0x").to_owned();
        u64::from_str_radix(data.trim_start_matches('0'), 16).expect("a count")
    };
    (updates, attested.iter().map(count).collect())
}

fn confirmed(node: &Node) -> Option<u64> {
    let Ack::Done(status) = node.call("node_status", json!({})) else { return None };
    status["settlement"]["confirmed"]["batch"].as_str()?.parse().ok()
}

fn follower_call(node: &Node, method: &str, params: &Value) -> Ack {
    let secret = std::fs::read_to_string(node.data.join("follower.hex")).expect("the followers' secret");
    let secret = keel_rpc::JwtSecret::from_hex(secret.trim()).expect("a secret");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    call(node.admin_port, "/", Some(&secret.sign(now)), method, params)
}

fn report(world: &World, node: &Node, index: usize) -> Ack {
    let (key, scheme) = (key(world, index), Scheme::of(&world.genesis));
    let (announced, computed) = (Bytes32([1; 32]), Bytes32([2; 32]));
    let divergence = Divergence { what: Diverged::EngineDigest, batch: None, height: Height(3), announced, computed };
    let signature: String =
        key.sign_divergence(&scheme, &divergence).expect("signed").iter().map(|byte| format!("{byte:02x}")).collect();
    let params = json!({
        "what": "ENGINE_DIGEST", "height": "3", "announced": announced.to_string(), "computed": computed.to_string(),
        "attestor": key.id().to_string(), "signature": format!("0x{signature}"),
    });
    follower_call(node, "admin_reportDivergence", &params)
}

#[test]
fn two_of_three_settle_whoever_is_killed_and_a_lone_liar_changes_nothing() {
    let mut world = start_world();
    let options = NodeOptions { name: "node".into(), sets: vec![] };
    let mut node = world.node(&options);
    world.publish_to(&node);

    // The node's own signature is one of two: nothing is submitted, and the state says why.
    wait_for("one of two attestations", PATIENCE, || {
        (node.status()["settlement"]["submitter"] == "1 of 2 attestations for batch 0").then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(on_the_contract(&world), (0, vec![]));

    let mut first = Attestor::start(&world, &node, 0);
    wait_for("batches with two signatures", PATIENCE, || confirmed(&node).filter(|batch| *batch >= 1));
    // It goes down without a word; the other one begins with the first record and takes over.
    first.process.kill();
    let second = Attestor::start(&world, &node, 1);
    node.wait_for_phase("OPEN", PATIENCE);
    let traders: Vec<Trader> = (0..2).map(|i| Trader::new(0xa77e5 + i, &world.genesis)).collect();
    world.fund(&node, &traders, &[("USDC", "100000"), ("ETH", "50")]);

    let (mut processes, mut kills) = ([Some(first), Some(second)], 0);
    for round in 0..4u64 {
        let load = Load::start(&node, &traders, "ETH-USDC", 3_000, "0.01", 1_000_000 * (round + 1));
        std::thread::sleep(Duration::from_millis(900 + 377 * round));
        let index = (round % 2) as usize;
        // Anywhere between two lines of it; in every other round the node as well.
        processes[index] = None;
        kills += 1;
        if round % 2 == 1 {
            node.process.kill();
            load.finish();
            node = world.node(&options);
            world.publish_to(&node);
            kills += 1;
            // Ports are new: everybody follows the new one.
            processes = [None, Some(Attestor::start(&world, &node, 1))];
        } else {
            load.finish();
        }
        processes[0] = Some(Attestor::start(&world, &node, 0));
        if processes[1].is_none() {
            processes[1] = Some(Attestor::start(&world, &node, 1));
        }
        let before = confirmed(&node).unwrap_or_default();
        wait_for("further batches", PATIENCE, || confirmed(&node).filter(|batch| *batch > before));
    }
    let (updates, signatures) = on_the_contract(&world);
    assert!(updates >= 4 && signatures.len() >= updates, "{updates} updates, {signatures:?}");
    assert!(signatures.iter().all(|count| *count == 2), "exactly as many as the registry asks for: {signatures:?}");
    let data = |index: usize| processes[index].as_ref().expect("runs").data.clone();
    let of = [signed(&data(0)), signed(&data(1))];
    for batch in 0..updates as u64 {
        let said: Vec<_> = of.iter().filter_map(|signed| signed.get(&batch)).collect();
        assert!(!said.is_empty() && said.iter().all(|fact| *fact == said[0]), "batch {batch}: {said:?}");
    }
    println!("{kills} kills, {updates} batches on the contract, each with two signatures");

    // A lone signed report, even against the truth, halts nothing and stops no settlement.
    node.wait_for_phase("OPEN", PATIENCE);
    assert_eq!(report(&world, &node, 0), Ack::Done(json!(true)));
    let before = confirmed(&node).expect("a batch");
    wait_for("further batches beside a liar", PATIENCE, || confirmed(&node).filter(|batch| *batch > before));
    assert_eq!(node.status()["phase"], "OPEN");
    // The honest process of that key attested a later batch by then: said twice, it is said anew.
    processes[0] = None;
    processes[1] = None;
    report(&world, &node, 0).done();
    report(&world, &node, 1).done();
    let status = wait_for("safe mode", PATIENCE, || Some(node.status()).filter(|status| status["phase"] == "HALTED"));
    assert!(status["reasons"].to_string().contains("STATE_DIVERGED"), "{status}");
}

#[test]
fn an_attestor_with_another_journal_or_without_its_memory_refuses() {
    let world = start_world();
    let mut node = world.node(&NodeOptions { name: "node".into(), sets: vec![] });
    let mut attestor = Attestor::start(&world, &node, 0);
    wait_for("a signature", PATIENCE, || attestor.data.join("signatures/signed").exists().then_some(()));
    wait_for("a batch", PATIENCE, || confirmed(&node));
    attestor.process.signal("TERM");
    let ended = wait_for("a clean stop", PATIENCE, || attestor.process.ended());
    assert!(ended.success(), "{ended}: {}", attestor.log());

    // The file of what was signed is lost: no signature without an operator's word.
    let file = attestor.data.join("signatures/signed");
    let kept = std::fs::read(&file).expect("the file");
    let mut half = kept.clone();
    half.truncate(kept.len() / 2);
    std::fs::write(&file, half).expect("written");
    let mut refused = Attestor::start(&world, &node, 0);
    let ended = wait_for("a refusal", PATIENCE, || refused.process.ended());
    assert!(!ended.success() && refused.log().contains("--signed-up-to"), "{ended}: {}", refused.log());
    std::fs::write(&file, kept).expect("written");

    // One record in its journal has another time, with a chain that holds: the node's next record does not continue it.
    let journal = attestor.data.join("journal");
    let reader = keel_journal::JournalReader::open_read_only(&journal).expect("a journal");
    let mut records: Vec<Record> = reader
        .page(Seq(1), usize::MAX)
        .expect("records")
        .iter()
        .map(|r| Record::decode(&r.bytes).expect("a record"))
        .collect();
    drop(reader);
    // One that closes no block, so that what is wrong is the chain and nothing else; what the rest is made of may be deleted.
    let seals = |record: &Record| record.commands.iter().any(|command| matches!(command, Command::SealBlock(_)));
    while records.last().is_some_and(seals) {
        records.pop();
    }
    for rebuilt in ["store", "snapshots"] {
        std::fs::remove_dir_all(attestor.data.join(rebuilt)).expect("removed");
    }
    let last = records.last_mut().expect("a record");
    last.ts = Ts(last.ts.0 + 1);
    std::fs::remove_dir_all(&journal).expect("removed");
    let mut forged = keel_journal::LocalJournal::open(&journal, keel_journal::Options::default()).expect("a new one");
    forged.append_all(&records).expect("a chain");
    drop(forged);
    let mut refused = Attestor::start(&world, &node, 0);
    let ended = wait_for("a refusal", PATIENCE, || refused.process.ended());
    assert!(!ended.success(), "{ended}");
    assert!(refused.log().contains("does not link to the one before"), "{}", refused.log());
    assert!(node.process.ended().is_none());
}

#[test]
fn a_settlement_layer_and_a_node_behind_tls_serve_whoever_trusts_their_certificate_and_nobody_else() {
    let mut world = start_world();
    let l1 = TlsFront::start(world.l1_port(), world.dir.path());
    let sync = |world: &World| {
        let mut command = world.command();
        let data = world.dir.path().join("settled");
        command.args(["sync", "--from-settlement", "--endpoint", &l1.url(), "--depth", "0", "--data"]).arg(data);
        command.output().expect("keel runs")
    };
    let refused = sync(&world);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("certificate"), "{why}");

    world.trust(&l1.certificate);
    let told = sync(&world);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let sets = vec![format!("settlement.endpoint={}", l1.url())];
    let node = world.node(&NodeOptions { name: "node".into(), sets });
    world.publish_to(&node);
    wait_for("one of two attestations", PATIENCE, || {
        (node.status()["settlement"]["submitter"] == "1 of 2 attestations for batch 0").then_some(())
    });
    let admin = TlsFront::start(node.admin_port, world.dir.path());
    world.trust(&admin.certificate);
    let attestor = Attestor::start_at(&world, &node, 0, &admin.url());
    wait_for("batches that two have attested, all of it over TLS", PATIENCE, || confirmed(&node));
    assert_eq!(on_the_contract(&world).1[0], 2, "{}", attestor.log());
}
