//! Crashes of the store: SIGKILL while blocks are sealed, committed and pruned. At every start tries, flat state and block index agree.
//!
//! One test kills a process that does nothing but commit blocks, at moments picked inside a commit; one kills a whole node under load.
//! `KEEL_CRASH_ROUNDS` changes the number of rounds of the node; the other test has three times as many.

use keel_blocks::{BlockBuilder, SealedBlock, check_chain, genesis_block};
use keel_store::{BatchHeader, BatchStatus, Retained, StateRetention, Store};
use keel_tests::{Ack, Load, Node, NodeOptions, Trader, World, root, run_keel, wait_for};
use keel_types::*;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(60);
/// Set: this process is the one that is killed, and commits blocks to the store in this folder.
const CHILD_FOLDER: &str = "KEEL_CRASH_STORE_FOLDER";
/// What the child writes right before a commit, and right after it.
const BEGUN: u8 = 1;
const COMMITTED: u8 = 2;

fn rounds(default: u64) -> u64 {
    std::env::var("KEEL_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Moments that differ between rounds and are the same in every run (splitmix64).
struct Moments(u64);

impl Moments {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// A chain of registrations: block n is a function of n.
struct Chain {
    genesis: Arc<Genesis>,
    store: Store,
    builder: BlockBuilder,
}

impl Chain {
    /// Accounts; each is registered again and again under other keys, so that tries grow first and then change.
    const ACCOUNTS: u64 = 60;
    const PER_BLOCK: u64 = 7;

    fn open(dir: &Path) -> Chain {
        let text = std::fs::read_to_string(root().join("genesis/dev.json")).expect("genesis/dev.json");
        let genesis = Arc::new(keel_contracts::genesis::load(&text).expect("genesis/dev.json is good"));
        let store = Store::open(dir, genesis.hash()).expect("the store opens");
        let store = store.with_state_retention(StateRetention { proof_blocks: 3, state_blocks: 3 });
        if store.height().is_none() {
            let sealed = genesis_block(&genesis, &[], &store, None).expect("block 0");
            store.commit_block(&sealed.block, &sealed.tries).expect("block 0 is committed");
        }
        let builder = BlockBuilder::new(genesis.clone(), store.clone(), None).expect("blocks can go on");
        Chain { genesis, store, builder }
    }

    fn height(&self) -> u64 {
        self.store.height().expect("block 0 is there").0
    }

    fn next(&mut self) -> SealedBlock {
        let height = Height(self.height() + 1);
        let (n, ts) = (height.0, self.genesis.ts.plus_ms(height.0 * 100));
        let first = self.store.blocks_seq().expect("a marker").next();
        for i in 0..Self::PER_BLOCK {
            let account = Address(Felt::from(0x1_0000 + (n * Self::PER_BLOCK + i) % Self::ACCOUNTS));
            let (seq, key) = (Seq(first.0 + i), StarkKey(Felt::from(n * 1_000 + i)));
            let signed = Signed {
                account,
                nonce: seq.0,
                valid_until: ts,
                hash: MessageHash(Felt::from(seq.0)),
                session_key: StarkKey::default(),
            };
            let executed = Executed {
                seq,
                command: Command::Register(Register { signed, key, template: 0 }),
                events: vec![Event::Registered { account, key, template: 0 }],
                writes: vec![StateWrite::Account { account, key, template: 0 }],
            };
            assert!(self.builder.add(&executed, ts).expect("a registration").is_none());
        }
        self.builder.publish().expect("the open block");
        let seal = Executed {
            seq: Seq(first.0 + Self::PER_BLOCK),
            command: Command::SealBlock(SealBlock { height, engine_digest: Bytes32::default() }),
            events: vec![Event::BlockSealed { height }],
            writes: vec![],
        };
        self.builder.add(&seal, ts).expect("a seal").expect("a block")
    }

    fn commit(&self, sealed: &SealedBlock) {
        self.store.commit_block(&sealed.block, &sealed.tries).expect("a block is committed");
        self.batch();
        // Now and then the memtables too: a kill may fall into the making of files.
        if self.height().is_multiple_of(5) {
            self.store.flush().expect("a flush");
        }
    }

    /// A batch of every two blocks: flat state is forgotten no further than the last one.
    fn batch(&self) {
        loop {
            let latest = self.store.latest_batch().expect("batches can be read");
            let (batch, first) = latest.map_or((0, 0), |latest| (latest.batch.0 + 1, latest.last_block.0 + 1));
            if self.height() <= first {
                return;
            }
            let (first_block, last_block) = (Height(first), Height(first + 1));
            let status = BatchStatus::Built;
            let header = BatchHeader { batch: BatchId(batch), first_block, last_block, status, note: vec![] };
            self.store.put_batch(&header, b"words").expect("a batch is written");
        }
    }

    fn assert_agrees(&self) {
        if self.height() > 10 {
            let Retained { proofs, state } = self.store.retained().expect("markers");
            assert!(state > Height(0) && proofs > Height(0), "both kinds of history are forgotten");
        }
        assert_eq!(self.store.check_roots().unwrap(), None, "flat state and header");
        assert_eq!(self.store.check_tries().unwrap().fault, None, "stored tries");
        assert_eq!(self.store.check_index(1).unwrap().fault, None, "block index");
        let chain = check_chain(&self.genesis, &self.store, Height(0), Height(self.height()));
        assert_eq!(chain.unwrap(), Ok(()), "hashes of blocks");
    }

    fn close(self) {
        let Chain { store, builder, .. } = self;
        drop(builder);
        assert!(store.close(TIMEOUT), "nobody else holds the store");
    }
}

/// Commits blocks until it is killed.
fn commit_for_ever(dir: &Path) -> ! {
    let mut chain = Chain::open(dir);
    let mut told = std::io::stdout();
    let mut tell = |what| told.write_all(&[what]).and_then(|()| told.flush()).expect("somebody listens");
    loop {
        let sealed = chain.next();
        tell(BEGUN);
        chain.commit(&sealed);
        tell(COMMITTED);
    }
}

/// Runs a child and kills it; what it told in all.
fn killed_child(dir: &Path, test: &str, moments: &mut Moments) -> Vec<u8> {
    let mut command = Process::new(std::env::current_exe().expect("the test binary has a path"));
    command.args([test, "--exact", "--nocapture"]).env(CHILD_FOLDER, dir);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a child process");
    let mut pipe = child.stdout.take().expect("piped");
    let (mut told, mut byte) = (vec![], [0]);
    // One in six is killed while it opens the store, the others up to 2 ms into a commit.
    let wait = match moments.below(6) {
        0 => Duration::from_millis(moments.below(80)),
        _ => {
            let commits = 1 + moments.below(9) as usize;
            while told.iter().filter(|&&what| what == BEGUN).count() < commits {
                assert_eq!(pipe.read(&mut byte).expect("a pipe"), 1, "the child ended by itself");
                told.push(byte[0]);
            }
            Duration::from_micros(moments.below(2_000))
        }
    };
    // Not a sleep: its shortest is too long.
    let from = Instant::now();
    while from.elapsed() < wait {
        std::hint::spin_loop();
    }
    child.kill().expect("the child is killed");
    pipe.read_to_end(&mut told).expect("the rest");
    child.wait().expect("the child is gone");
    told.retain(|what| [BEGUN, COMMITTED].contains(what));
    told
}

#[test]
fn a_store_killed_within_a_commit_has_the_block_whole_or_not_at_all() {
    if let Some(dir) = std::env::var_os(CHILD_FOLDER) {
        commit_for_ever(Path::new(&dir));
    }
    let test = "a_store_killed_within_a_commit_has_the_block_whole_or_not_at_all";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join("killed");
    let (rounds, mut moments) = (3 * rounds(20), Moments(4));
    let (mut height, mut interrupted, mut whole) = (0, 0, 0);
    for round in 0..rounds {
        let told = killed_child(&dir, test, &mut moments);
        let committed = told.iter().filter(|&&what| what == COMMITTED).count() as u64;
        let open = told.last() == Some(&BEGUN);
        let chain = Chain::open(&dir);
        let found = chain.height();
        let acknowledged = height + committed;
        assert!(
            (acknowledged..=acknowledged + u64::from(open)).contains(&found),
            "round {round}: {acknowledged}, found {found}"
        );
        chain.assert_agrees();
        chain.close();
        interrupted += u64::from(open);
        whole += found - acknowledged;
        height = found;
    }
    println!(
        "{rounds} kills to height {height}: {interrupted} within a commit, of which {whole} blocks were whole, the others not there"
    );
    assert!(interrupted * 4 >= rounds, "only {interrupted} of {rounds} kills hit a commit");

    // As if nothing had happened, a few blocks later: a batch that a kill prevented is made with the next block, and forgetting follows.
    let mut killed = Chain::open(&dir);
    let mut other = Chain::open(&folder.path().join("undisturbed"));
    for chain in [&mut killed, &mut other] {
        while chain.height() < height + 6 {
            let sealed = chain.next();
            chain.commit(&sealed);
        }
    }
    assert_eq!(killed.store.retained().unwrap(), other.store.retained().unwrap());
    assert!(killed.store.retained().unwrap().proofs > Height(0), "nothing was pruned");
    assert_eq!(killed.store.fingerprint().unwrap(), other.store.fingerprint().unwrap());
    killed.close();
    other.close();
}

/// Blocks of history that the node keeps: less than a round makes.
const HISTORY: [&str; 2] = ["history.proof_blocks=8", "history.state_blocks=8"];

#[test]
fn a_node_killed_while_it_seals_and_prunes_agrees_with_itself_and_its_journal() {
    let (rounds, mut moments) = (rounds(20), Moments(7));
    let mut world = World::start();
    let sets = ["sequencer.block_interval_ms=100", "sequencer.snapshot_interval_ms=1000", "ingress.budget_factor=100"];
    let options =
        NodeOptions { name: "node".into(), sets: sets.iter().chain(&HISTORY).map(|set| (*set).to_owned()).collect() };
    let mut node = world.node(&options);
    world.publish_to(&node);
    let traders: Vec<Trader> = (0..4).map(|i| Trader::new(0x5ea1 + i, &world.genesis)).collect();
    node.wait_for_phase("OPEN", TIMEOUT);
    world.fund(&node, &traders, &[("USDC", "1000000"), ("ETH", "500")]);

    let (mut behind, mut orders) = (0, 0);
    for round in 0..rounds {
        // After a crash nothing trades for seconds; prices go into blocks in every phase.
        if round % 7 == 0 {
            node.wait_for_phase("OPEN", TIMEOUT);
        }
        let load = Load::start(&node, &traders, "ETH-USDC", 3_000, "0.01", 1_000_000 * (round + 1));
        let first = block_number(&node);
        wait_for("blocks", TIMEOUT, || (block_number(&node) >= first + 3).then_some(()));
        wait_for_moment(&node, &mut moments);
        node.process.kill();
        orders += load.finish().iter().filter(|sent| matches!(sent.ack, Ack::Done(_))).count();
        let report = verify(&node);
        behind += u64::from(report["storeBehind"] != "0");
        node = world.node(&options);
        world.publish_to(&node);
    }
    node.wait_for_phase("OPEN", TIMEOUT);
    node.process.signal("TERM");
    let status = wait_for("a clean stop", TIMEOUT, || node.process.ended());
    assert!(status.success(), "the node stopped with {status}: {}", node.log_tail());
    let report = verify(&node);
    assert_eq!(report["storeBehind"], "0", "{report}");
    let trades = report["tables"].as_array().unwrap().iter().find(|table| table["table"] == "trades").unwrap();
    println!(
        "{rounds} kills to height {}: {behind} left the store behind its journal; {orders} orders, {} trades, {} trie nodes",
        report["height"], trades["rows"], report["tries"]["nodes"]
    );
    assert_ne!(trades["rows"], 0, "nothing was traded");
    assert_ne!(report["retainedFrom"]["proofs"], "0", "nothing was pruned");
}

fn block_number(node: &Node) -> u64 {
    node.call("starknet_blockNumber", json!([])).done().as_u64().expect("a number")
}

/// Any moment; or the one at which a block became visible, or the next is about to.
fn wait_for_moment(node: &Node, moments: &mut Moments) {
    let kind = moments.below(3);
    if kind == 0 {
        return std::thread::sleep(Duration::from_millis(moments.below(200)));
    }
    let before = block_number(node);
    while block_number(node) == before {
        std::thread::yield_now();
    }
    if kind == 1 {
        std::thread::sleep(Duration::from_millis(85 + moments.below(40)));
    }
}

/// The stopped node's data: its store with itself, and with a second node's, made from the journal as far as the store came.
fn verify(node: &Node) -> Value {
    let data = format!("data_dir={}", node.data.display());
    let mut args = vec!["--set", &data];
    HISTORY.iter().for_each(|set| args.extend(["--set", set]));
    args.extend(["verify", "--full"]);
    let report: Value = serde_json::from_str(&run_keel(&args)).expect("a JSON report");
    assert_eq!(report["equal"], true, "{report}");
    report
}
