use crate::http::{Error, post, read};
use crate::node::{FOLLOWER_SECRET, Node, SECRET, now_ms};
use crate::ws::Ws;
use keel_journal::Journal;
use keel_rpc::JwtSecret;
use keel_types::*;
use serde_json::{Value, json};

fn token(secret: &str) -> String {
    format!("Bearer {}", JwtSecret::from_hex(secret).expect("a good secret").sign(now_ms() / 1_000))
}

fn call(node: &Node, secret: &str, method: &str, params: Value) -> Result<Value, Error> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let (status, answer) = post(node.admin, "/", &[("Authorization", &token(secret))], &body);
    assert_eq!(status, 200, "{answer}");
    read(&answer)
}

/// Appends records of so many ticks each to the node's journal; those of a thousand and more are one command of about that many bytes.
fn append(node: &Node, commands: impl IntoIterator<Item = usize>) -> Vec<Record> {
    let report = PriceReport { publisher: 0, market: MarketId(1), price: Price(7), ts: Ts(9) };
    let mut journal = node.journal.lock().expect("no test panics while holding it");
    let mut written = vec![];
    for commands in commands {
        let tail = journal.tail();
        let (prev, first_seq, ts) = tail.map_or((Bytes32::default(), Seq(1), Ts(0)), |t| (t.hash, t.last_seq.next(), t.ts));
        let commands = match commands {
            large @ 1_000.. => vec![Command::Prices(vec![report; large / 20])],
            ticks => vec![Command::Tick; ticks],
        };
        let record = Record { prev, first_seq, ts: Ts(ts.0 + 1), commands };
        journal.append(&record).expect("appended");
        written.push(record);
    }
    written
}

/// A follower's WebSocket with its stream from `from`.
fn follow(node: &Node, secret: &str, from: u64) -> Result<Ws, Error> {
    let mut ws = Ws::open_with(node.admin, "/", &[("Authorization", &token(secret))]);
    ws.call("admin_subscribeJournal", json!({"fromSeq": from.to_string()})).map(|_| ws)
}

/// Reads until `count` records came, checking what a follower checks.
fn take(ws: &mut Ws, count: usize) -> Vec<Record> {
    let mut records: Vec<Record> = vec![];
    while records.len() < count {
        let message = ws.notification();
        assert_eq!(message["method"], "admin_journal");
        let page = &message["params"]["result"];
        for sent in page["records"].as_array().expect("records") {
            let bytes = hex::decode(sent["record"].as_str().expect("hex")).expect("hex");
            let record = Record::decode(&bytes).expect("a record");
            assert_eq!(sent["firstSeq"], record.first_seq.to_string());
            assert_eq!(sent["hash"], record.hash().to_string());
            let durable: u64 = page["durable"].as_str().and_then(|text| text.parse().ok()).expect("a number");
            assert!(durable >= record.last_seq().0, "only what is durable is sent");
            records.push(record);
        }
    }
    records
}

#[test]
fn a_follower_gets_every_record_as_it_was_written_from_any_record_on() {
    let node = Node::start();
    // Two are larger than a page.
    let mut written = append(&node, (0..400).map(|i| if i % 150 == 70 { 300_000 } else { 1 + i % 7 }));
    let mut from_first = follow(&node, FOLLOWER_SECRET, 1).expect("followed");
    assert_eq!(take(&mut from_first, 400), written);

    for i in [1, 71, 399] {
        let mut later = follow(&node, FOLLOWER_SECRET, written[i].first_seq.0).expect("followed");
        assert_eq!(take(&mut later, 400 - i), written[i..], "from record {i}");
    }
    let end = written[399].last_seq().0;
    let mut at_end = follow(&node, FOLLOWER_SECRET, end + 1).expect("followed");
    written.extend(append(&node, [3, 1]));
    assert_eq!(take(&mut at_end, 2), written[400..]);
    assert_eq!(take(&mut from_first, 2), written[400..]);

    // Inside a record, and behind the end: whoever asks has another journal.
    for from in [written[6].first_seq.0 + 1, 0, end + 99] {
        let error = follow(&node, FOLLOWER_SECRET, from).err().expect("refused");
        assert_eq!((error.code, &error.data["reason"]), (-32062, &json!("NO_RECORD_THERE")), "{from}");
    }
}

#[test]
fn a_follower_at_the_end_waits_for_the_next_record_however_many_commands_the_last_one_had() {
    let node = Node::start();
    let mut follower = follow(&node, FOLLOWER_SECRET, 1).expect("followed");
    for commands in [1, 3, 2, 7, 1, 5] {
        let written = append(&node, [commands]);
        assert_eq!(take(&mut follower, 1), written);
        // Longer than the stream takes to look again.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_follower_that_does_not_read_holds_back_nobody_and_goes_on_where_it_was() {
    let node = Node::start();
    let mut slow = follow(&node, FOLLOWER_SECRET, 1).expect("followed");
    // 12 MB of records, 24 MB on the wire: more than the buffers between the two.
    let written = append(&node, std::iter::repeat_n(300_000, 40));
    let mut other = follow(&node, FOLLOWER_SECRET, 1).expect("followed");
    assert_eq!(take(&mut other, 40), written);
    assert_eq!(take(&mut slow, 40), written);
}

#[test]
fn a_followers_secret_opens_nothing_that_changes_the_venue() {
    let node = Node::start();
    for (method, params) in
        [("admin_enterSafeMode", json!({"reason": "attack"})), ("admin_resume", json!({"incident": "1"}))]
    {
        let error = call(&node, FOLLOWER_SECRET, method, params.clone()).expect_err("forbidden");
        assert_eq!((error.code, &error.data["reason"]), (-32061, &json!("ROLE_FORBIDS")), "{method}");
        let mut ws = Ws::open_with(node.admin, "/", &[("Authorization", &token(FOLLOWER_SECRET))]);
        assert_eq!(ws.call(method, params).expect_err("forbidden").code, -32061, "{method}");
    }
    assert_eq!(node.published.phase().phase, Phase::Open);
    let page = json!({"from": "0", "attestor": "0x7"});
    for secret in [FOLLOWER_SECRET, SECRET] {
        assert_eq!(call(&node, secret, "admin_getBatches", page.clone()).expect("allowed")["unconfirmedFrom"], "3");
        assert!(follow(&node, secret, 1).is_ok());
    }
    // No WebSocket without a token, and none of these methods on the public port.
    for (secret, refused) in [(None, 401), (Some("77".repeat(32)), 401)] {
        let header = secret.map(|secret| token(&secret));
        let headers: Vec<(&str, &str)> = header.iter().map(|value| ("Authorization", value.as_str())).collect();
        assert_eq!(Ws::handshake(node.admin, "/", &headers).1, refused);
    }
    let public = crate::http::call(node.public, "/rpc", "admin_getBatches", page).expect_err("not here");
    assert_eq!(public.code, -32601);
}

#[test]
fn what_attestors_send_arrives_whole_or_is_refused_by_name() {
    let node = Node::start();
    let fact = Bytes32([0xfa; 32]).to_string();
    let good = json!({"batch": "4", "fact": fact, "attestor": "0xa77", "signature": "0x0102ff"});
    assert_eq!(
        call(&node, FOLLOWER_SECRET, "admin_submitAttestation", good.clone()).expect("taken"),
        json!({"have": "1", "need": "2"})
    );
    let report = json!({
        "what": "STATE_ROOT", "batch": "4", "height": "31", "announced": fact, "computed": Bytes32([1; 32]).to_string(),
        "attestor": "0xa77", "signature": "0x03",
    });
    assert_eq!(call(&node, FOLLOWER_SECRET, "admin_reportDivergence", report.clone()).expect("taken"), json!(true));
    let taken = node.desk.taken.lock().expect("no test panics while holding it").clone();
    let attestor = AttestorId(Felt::from(0xa77));
    let attestation = Attestation { batch: BatchId(4), fact: Bytes32([0xfa; 32]), attestor, signature: vec![1, 2, 0xff] };
    let divergence = Divergence {
        what: Diverged::StateRoot,
        batch: Some(BatchId(4)),
        height: Height(31),
        announced: Bytes32([0xfa; 32]),
        computed: Bytes32([1; 32]),
    };
    let report_taken = DivergenceReport { divergence, attestor, signature: vec![3] };
    assert_eq!(taken, (vec![attestation], vec![report_taken]));

    let with = |base: &Value, field: &str, value: Value| {
        let mut params = base.clone();
        params[field] = value;
        params
    };
    for (method, params, reason) in [
        ("admin_submitAttestation", with(&good, "batch", json!("9")), "UNKNOWN_BATCH"),
        ("admin_submitAttestation", with(&good, "batch", json!(4)), "NUMBER_NOT_STRING"),
        ("admin_submitAttestation", with(&good, "fact", json!("0x12")), "FELT_MALFORMED"),
        ("admin_submitAttestation", with(&good, "signature", json!("0x123")), "BAD_SIGNATURE"),
        ("admin_submitAttestation", with(&good, "signature", json!(format!("0x{}", "ab".repeat(97)))), "BAD_SIGNATURE"),
        ("admin_submitAttestation", with(&good, "attestor", json!("0x")), "FELT_MALFORMED"),
        ("admin_submitAttestation", with(&good, "force", json!("yes")), "UNKNOWN_FIELD"),
        ("admin_reportDivergence", with(&report, "what", json!("WEATHER")), "UNKNOWN_VALUE"),
        ("admin_reportDivergence", json!({"what": "FACT"}), "MISSING_FIELD"),
    ] {
        let error = call(&node, FOLLOWER_SECRET, method, params.clone()).expect_err(reason);
        assert_eq!(error.data["reason"], reason, "{method} {params}");
    }
    let unchanged = node.desk.taken.lock().expect("no test panics while holding it").clone();
    assert_eq!(unchanged, taken);
}
