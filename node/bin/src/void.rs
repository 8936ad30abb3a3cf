//! `keel void`: two operators take back the last record of a stopped node. [spec safe-mode, A command that breaks the engine]

use crate::config::Config;
use crate::node::data::DataDir;
use crate::node::{operators, start_of};
use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use keel_journal::{Journal, JournalReader, LocalJournal, Options};
use keel_rpc::jwt::TokenError;
use keel_rpc::{JwtSecret, OperatorSecrets};
use keel_sequencer::{RecoverError, Recovered, Start, recover};
use keel_store::Store;
use keel_store::snapshots::Snapshots;
use keel_types::*;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long an operator's word is good: long enough to reach the other operator and the node.
const WORD_LIFETIME: Duration = Duration::from_secs(3_600);
/// Longest wait for the store to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A record that breaks the engine, and was acknowledged to nobody.
#[derive(Subcommand)]
pub enum VoidCommand {
    /// Prints an operator's word that a record is taken back, good for an hour. `keel run` names the record when it stops at it; nothing
    /// else of the node is needed.
    Sign {
        /// First command of the record.
        #[arg(long)]
        seq: u64,
        /// Hash of the record.
        #[arg(long)]
        record: Bytes32,
        /// Why, for the journal: at most 200 bytes. Both operators say the same.
        #[arg(long)]
        reason: String,
        /// The operator's secret, as for the admin port.
        #[arg(long)]
        secret: PathBuf,
    },
    /// Appends the Void to the journal of a stopped node, on the words of two operators.
    Append {
        /// What `keel void sign` printed; once for each of the two.
        #[arg(long = "word", value_name = "WORD", required = true)]
        words: Vec<String>,
    },
}

/// Why a record is not taken back. Nothing was changed.
#[derive(Debug, PartialEq, thiserror::Error)]
enum Refused {
    #[error("a reason has 1 to {VOID_REASON_BYTES_MAX} bytes and no control characters")]
    Reason,
    #[error("it takes the words of two operators, not {0}")]
    WordCount(usize),
    #[error("word {number}: {why}")]
    Word { number: usize, why: TokenError },
    #[error("word {0} is not one of `keel void sign`")]
    NotOfVoid(usize),
    #[error("both words are of operator {0}: it takes two")]
    OneOperator(u8),
    #[error("the words differ: both must name the same record, and the same reason")]
    WordsDiffer,
    #[error("the journal is empty")]
    Empty,
    #[error("the last record of the journal begins with command {last}, not with {seq}")]
    NotTheLast { seq: Seq, last: Seq },
    #[error("the record of command {seq} has the hash {journal}, the words are about {word}")]
    OtherRecord { seq: Seq, journal: Bytes32, word: Bytes32 },
    #[error("the record of command {0} is a Void, and is not taken back")]
    OfAVoid(Seq),
    #[error("the record of command {seq} was acknowledged ({how}): it is not voided, it waits for a fixed binary")]
    Acknowledged { seq: Seq, how: String },
    #[error("the record of command {0} replays well here: there is nothing to take back")]
    ReplaysWell(Seq),
    #[error(
        "the record of command {0} closes a block of another state than the journal makes here: what was acknowledged before it is in doubt, and no Void mends that; it waits for a fixed binary"
    )]
    StateDiverged(Seq),
}

/// What two operators said.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Agreed {
    void: Void,
    /// Hash of the voided record.
    record: Bytes32,
    operators: [u8; 2],
}

/// How far a folder shows results to have left the process.
pub struct Shown {
    /// See [DataDir::released].
    note: Option<Seq>,
    store: Seq,
    snapshots: Seq,
}

impl Shown {
    /// As of the last stop, when called before anything is recovered.
    pub fn read(data: &DataDir, store: &Store, snapshots: &Snapshots) -> Result<Shown> {
        Ok(Shown {
            note: data.released(),
            store: store.blocks_seq()?.max(store.history_seq()?),
            snapshots: snapshots.list()?.last().copied().unwrap_or_default(),
        })
    }

    /// Refuses a journal that ends before what was released: it lost something.
    pub fn ensure_within(&self, journal_end: Seq) -> Result<()> {
        let released = self.note.unwrap_or_default();
        ensure!(
            released <= journal_end,
            "recover: results up to {released} were released, the journal ends at {journal_end}: it lost what was acknowledged, or the note \
             `released` is of another journal"
        );
        Ok(())
    }

    /// How the record that begins with `seq` was acknowledged; `None`: to nobody, by all that is known.
    fn acknowledged(&self, seq: Seq) -> Option<String> {
        match self.note {
            None => return Some("the note `released` is missing or damaged: anything may have been".into()),
            Some(note) if note >= seq => return Some(format!("results up to {note} were released")),
            // The note of a record is written before the next one is journaled.
            Some(note) if note.next() < seq => {
                return Some(format!("the note `released` is old, it ends at {note}: anything may have been"));
            }
            Some(_) => {}
        }
        (self.store >= seq)
            .then(|| format!("the store reaches to {}", self.store))
            .or_else(|| (self.snapshots >= seq).then(|| format!("there is a snapshot of {}", self.snapshots)))
    }
}

/// A failure to recover, with what an operator can do about a record that breaks the engine. `end`: the journal's last command.
pub fn explain(error: RecoverError, end: Seq, shown: &Shown) -> anyhow::Error {
    let RecoverError::Command { command, first_seq, record, .. } = &error else { return error.into() };
    let (last, hash) = (record.last_seq, record.hash);
    let advice = if last < end {
        format!(
            "commands {first_seq} to {last} are not the last record: they were acknowledged, and wait for a fixed binary"
        )
    } else if let Some(how) = shown.acknowledged(*first_seq) {
        Refused::Acknowledged { seq: *first_seq, how }.to_string()
    } else if matches!(**command, Command::SealBlock(_)) {
        Refused::StateDiverged(*first_seq).to_string()
    } else {
        format!(
            "commands {first_seq} to {last} are the last record, and nobody was told of them: with a fixed binary they are executed; or two operators take them back, each with `keel void sign --seq {first_seq} --record {hash} --reason WHY --secret FILE`, and then `keel void append --word WORD --word WORD`"
        )
    };
    anyhow::Error::new(error).context(advice)
}

impl VoidCommand {
    pub fn run(self, config: &Config) -> Result<()> {
        match self {
            VoidCommand::Sign { seq, record, reason, secret } => {
                let secret = JwtSecret::from_file(&secret)?;
                println!("{}", sign(&secret, &Void { seq: Seq(seq), reason }, record, unix_seconds())?);
            }
            VoidCommand::Append { words } => {
                ensure!(config.data_dir.join("journal").is_dir(), "void: no journal in {}", config.data_dir.display());
                let data = DataDir::lock(&config.data_dir)?;
                let operators = operators(config, &data)?;
                let genesis = crate::genesis(&config.genesis)?;
                let agreed = agree(&operators, &words, unix_seconds())?;
                let last = append(&data, &genesis, &agreed, &replay)?;
                let Agreed { void: Void { seq, reason }, record, operators: [first, second] } = agreed;
                println!("voided: commands {seq} to {last}, record {record}, by operators {first} and {second}: {reason}");
                println!("The next `keel run` begins with EnterSafeMode INVARIANT_BROKEN, which two operators resume.");
            }
        }
        Ok(())
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn claims(void: &Void, record: Bytes32) -> Value {
    json!({"void": {"seq": void.seq.to_string(), "record": record.to_string(), "reason": void.reason}})
}

fn sign(secret: &JwtSecret, void: &Void, record: Bytes32, now: u64) -> Result<String, Refused> {
    if !Void::is_reason(&void.reason) {
        return Err(Refused::Reason);
    }
    Ok(secret.sign_word(claims(void, record), now + WORD_LIFETIME.as_secs()))
}

/// Two words of two operators that say the same.
fn agree(operators: &OperatorSecrets, words: &[String], now: u64) -> Result<Agreed, Refused> {
    let [first, second] = words else { return Err(Refused::WordCount(words.len())) };
    let open = |number: usize, word: &str| {
        let (operator, claims) = operators.open_word(word, now).map_err(|why| Refused::Word { number, why })?;
        let (void, record) = said(&claims).ok_or(Refused::NotOfVoid(number))?;
        Ok((operator, void, record))
    };
    let (first, second) = (open(1, first)?, open(2, second)?);
    if first.0 == second.0 {
        return Err(Refused::OneOperator(first.0));
    }
    if (&first.1, first.2) != (&second.1, second.2) {
        return Err(Refused::WordsDiffer);
    }
    Ok(Agreed { void: first.1, record: first.2, operators: [first.0, second.0] })
}

/// What a word's claims say; exactly what [sign] puts into them.
fn said(of_word: &Value) -> Option<(Void, Bytes32)> {
    let text = |name: &str| of_word["void"][name].as_str();
    let void = Void { seq: Seq(text("seq")?.parse().ok()?), reason: text("reason")?.to_owned() };
    let record = text("record")?.parse().ok()?;
    let same = of_word["void"] == claims(&void, record)["void"];
    (same && Void::is_reason(&void.reason)).then_some((void, record))
}

/// Executes a journal from a start.
type ReplayWith = dyn Fn(&Genesis, Start, &JournalReader) -> Result<Recovered, RecoverError>;

fn replay(genesis: &Genesis, start: Start, journal: &JournalReader) -> Result<Recovered, RecoverError> {
    recover(genesis, start, journal, None, &mut |_| true)
}

/// Appends the Void, durably, if all that must hold of the record holds; its last command.
fn append(data: &DataDir, genesis: &Genesis, agreed: &Agreed, replay: &ReplayWith) -> Result<Seq> {
    let seq = agreed.void.seq;
    let mut journal = LocalJournal::open(&data.journal(), Options::default())?;
    let last = journal.reader().last()?.ok_or(Refused::Empty)?;
    ensure!(last.first_seq == seq, Refused::NotTheLast { seq, last: last.first_seq });
    ensure!(last.hash() == agreed.record, Refused::OtherRecord { seq, journal: last.hash(), word: agreed.record });
    ensure!(last.void().is_none(), Refused::OfAVoid(seq));
    let snapshots = Snapshots::open(&data.snapshots(), genesis.hash(), usize::MAX)?;
    let store = Store::open(&data.store(), genesis.hash()).context("open the store")?;
    let shown = Shown::read(data, &store, &snapshots);
    ensure!(store.close(CLOSE_TIMEOUT), "void: the store is still read");
    if let Some(how) = shown?.acknowledged(seq) {
        return Err(Refused::Acknowledged { seq, how }.into());
    }
    let (snapshot, _) = snapshots.newest(|_| true)?;
    match replay(genesis, snapshot.map_or(Start::Genesis, start_of), &journal.reader()) {
        Ok(_) => return Err(Refused::ReplaysWell(seq).into()),
        Err(RecoverError::Command { first_seq, command, .. }) if first_seq == seq => {
            ensure!(!matches!(*command, Command::SealBlock(_)), Refused::StateDiverged(seq));
        }
        Err(error) => return Err(error.into()),
    }
    // As if right after it: what its time is measured by, fills that nobody heard of among them, is the time of the fault.
    let ts = Ts(last.ts.0 + 1);
    let commands = vec![Command::Void(agreed.void.clone())];
    journal.append(&Record { prev: last.hash(), first_seq: last.last_seq().next(), ts, commands })?;
    Ok(last.last_seq())
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_engine::Engine;
    use keel_journal::Tail;
    use keel_sequencer::recover_from;
    use keel_store::snapshots::SnapshotHeader;
    use tempfile::TempDir;

    const NOW: u64 = 1_790_000_000;
    const REASON: &str = "KEEL-1: breaks the engine";

    fn genesis() -> Genesis {
        keel_contracts::genesis::load(keel_contracts::genesis::DEV).expect("the development genesis is good")
    }

    fn secrets() -> [JwtSecret; 3] {
        ["11", "22", "33"].map(|digits| JwtSecret::from_hex(&digits.repeat(32)).unwrap())
    }

    /// Operators 0 and 1; the third secret is a stranger's.
    fn operators() -> OperatorSecrets {
        let [first, second, _] = secrets();
        OperatorSecrets::new(vec![first, second]).unwrap()
    }

    /// A stopped node: records of commands 1; 2 and 3; 4 to 6. The last was appended and not released.
    struct Stopped {
        _dir: TempDir,
        data: DataDir,
        genesis: Genesis,
    }

    impl Stopped {
        fn new(last: [Command; 3]) -> Stopped {
            let (dir, genesis) = (tempfile::tempdir().unwrap(), genesis());
            let data = DataDir::lock(dir.path()).unwrap();
            let mut journal = LocalJournal::open(&data.journal(), Options::default()).unwrap();
            for commands in [vec![Command::Tick], vec![Command::Tick; 2], last.to_vec()] {
                let tail = journal.tail();
                let (prev, first_seq) = tail.map_or((Bytes32::default(), Seq(1)), |tail| (tail.hash, tail.last_seq.next()));
                let ts = Ts::from_ms(genesis.ts.ms() + 100 * first_seq.0);
                journal.append(&Record { prev, first_seq, ts, commands }).unwrap();
            }
            data.note_released(Seq(3)).unwrap();
            Stopped { _dir: dir, data, genesis }
        }

        fn last(&self) -> Record {
            let journal = LocalJournal::open(&self.data.journal(), Options::default()).unwrap();
            journal.reader().last().unwrap().unwrap()
        }

        fn agreed(&self, seq: u64, record: Bytes32) -> Agreed {
            Agreed { void: Void { seq: Seq(seq), reason: REASON.into() }, record, operators: [0, 1] }
        }

        fn append(&self, agreed: &Agreed, replay: &ReplayWith) -> Result<Seq> {
            append(&self.data, &self.genesis, agreed, replay)
        }
    }

    /// A binary that command 5 breaks.
    fn breaks(genesis: &Genesis, _: Start, journal: &JournalReader) -> Result<Recovered, RecoverError> {
        let mut engine = Engine::new(genesis).0;
        engine.inject_panic_at(Seq(5));
        recover_from(engine, None, journal, None, &mut |_| true)
    }

    const TICKS: [Command; 3] = [Command::Tick, Command::Tick, Command::Tick];

    #[test]
    fn two_operators_that_say_the_same_within_the_hour_agree_and_nobody_else_does() {
        let [first, second, stranger] = secrets();
        let void = |seq, reason: &str| Void { seq: Seq(seq), reason: reason.into() };
        let (record, other) = (Bytes32([7; 32]), Bytes32([8; 32]));
        let word = |secret: &JwtSecret, seq, record| sign(secret, &void(seq, REASON), record, NOW).unwrap();
        let (one, two) = (word(&first, 4, record), word(&second, 4, record));
        let agreed = Agreed { void: void(4, REASON), record, operators: [1, 0] };
        assert_eq!(agree(&operators(), &[two.clone(), one.clone()], NOW + 3_599), Ok(agreed));
        let refused_word = |number, why| Refused::Word { number, why };
        let expires = NOW + 3_600;
        let long = second
            .sign_word(json!({"void": {"seq": "4", "record": record.to_string(), "reason": "x".repeat(201)}}), expires);
        let more = second.sign_word(json!({"void": {"seq": "04", "record": record.to_string(), "reason": REASON}}), expires);
        let same_reason = sign(&second, &void(4, "another reason"), record, NOW).unwrap();
        for (name, words, now, expected) in [
            ("one operator twice", vec![one.clone(), one.clone()], NOW, Refused::OneOperator(0)),
            ("one word", vec![one.clone()], NOW, Refused::WordCount(1)),
            ("three words", vec![one.clone(), two.clone(), two.clone()], NOW, Refused::WordCount(3)),
            ("expired", vec![one.clone(), two.clone()], expires, refused_word(1, TokenError::Expired)),
            ("a stranger", vec![one.clone(), word(&stranger, 4, record)], NOW, refused_word(2, TokenError::Signature)),
            ("an admin token", vec![one.clone(), second.sign(NOW)], NOW, refused_word(2, TokenError::NotAWord)),
            (
                "a word on something else",
                vec![one.clone(), second.sign_word(json!({"a": 1}), expires)],
                NOW,
                Refused::NotOfVoid(2),
            ),
            ("too long a reason", vec![one.clone(), long], NOW, Refused::NotOfVoid(2)),
            ("a number in another form", vec![one.clone(), more], NOW, Refused::NotOfVoid(2)),
            ("another record", vec![one.clone(), word(&second, 4, other)], NOW, Refused::WordsDiffer),
            ("another number", vec![one.clone(), word(&second, 5, record)], NOW, Refused::WordsDiffer),
            ("another reason", vec![one, same_reason], NOW, Refused::WordsDiffer),
        ] {
            assert_eq!(agree(&operators(), &words, now), Err(expected), "{name}");
        }
        for reason in [String::new(), "x".repeat(201), "two\nlines".into()] {
            assert_eq!(sign(&first, &void(4, &reason), record, NOW), Err(Refused::Reason), "{reason:?}");
        }
    }

    #[test]
    fn a_record_that_breaks_the_engine_and_was_told_to_nobody_is_voided_and_safe_mode_comes_next() {
        let node = Stopped::new(TICKS);
        let broken = breaks(
            &node.genesis,
            Start::Genesis,
            &LocalJournal::open(&node.data.journal(), Options::default()).unwrap().reader(),
        );
        assert!(matches!(broken, Err(RecoverError::Command { seq: Seq(5), .. })));
        let voided = node.last();
        assert_eq!(node.append(&node.agreed(4, voided.hash()), &breaks).unwrap(), Seq(6));
        let last = node.last();
        let void = Void { seq: Seq(4), reason: REASON.into() };
        assert_eq!((last.first_seq, last.prev, &last.commands[..]), (Seq(7), voided.hash(), &[Command::Void(void)][..]));
        let journal = LocalJournal::open(&node.data.journal(), Options::default()).unwrap();
        let recovered = breaks(&node.genesis, Start::Genesis, &journal.reader()).expect("the same binary goes past it");
        let why = node.data.needs_safe_mode(recovered.tail, recovered.void.as_ref(), last.ts, u64::MAX).unwrap();
        let (reason, why) = why.expect("safe mode");
        assert_eq!(reason, LossReason::InvariantBroken);
        assert!(why.contains(REASON), "{why}");
    }

    #[test]
    fn what_is_not_the_last_record_unacknowledged_and_broken_is_refused_and_the_journal_stays() {
        let seal = SealBlock { height: Height(1), engine_digest: Bytes32([9; 32]) };
        let diverged = [Command::Tick, Command::Tick, Command::SealBlock(seal)];
        let of_a_void = |data: &DataDir| {
            let mut journal = LocalJournal::open(&data.journal(), Options::default()).unwrap();
            let Tail { last_seq, ts, hash } = journal.tail().unwrap();
            let commands = vec![Command::Void(Void { seq: Seq(4), reason: REASON.into() })];
            journal.append(&Record { prev: hash, first_seq: last_seq.next(), ts: ts.plus_ms(1), commands }).unwrap();
        };
        let snapshot = |data: &DataDir| {
            let genesis = genesis();
            let header = SnapshotHeader {
                genesis: genesis.hash(),
                seq: Seq(6),
                ts: genesis.ts,
                height: Height(0),
                record_hash: Bytes32::default(),
                engine_digest: Bytes32::default(),
            };
            Snapshots::open(&data.snapshots(), genesis.hash(), 2).unwrap().write(&header, b"any").unwrap();
        };
        let missing = |data: &DataDir| std::fs::remove_file(data.path().join("released")).unwrap();
        let torn = |data: &DataDir| std::fs::write(data.path().join("released"), [3, 0, 0]).unwrap();
        let released = |data: &DataDir| drop(data.note_released(Seq(6)).unwrap());
        type Case<'a> = (&'a str, [Command; 3], u64, &'a dyn Fn(&DataDir), &'a ReplayWith, &'a str);
        let old = |data: &DataDir| drop(data.note_released(Seq(2)).unwrap());
        let cases: [Case<'_>; 11] = [
            ("an old note", TICKS, 4, &old, &breaks, "was acknowledged (the note `released` is old, it ends at 2"),
            ("released", TICKS, 4, &released, &breaks, "was acknowledged (results up to 6 were released)"),
            ("no note", TICKS, 4, &missing, &breaks, "was acknowledged (the note `released` is missing"),
            ("half a note", TICKS, 4, &torn, &breaks, "was acknowledged (the note `released` is missing"),
            ("in a snapshot", TICKS, 4, &snapshot, &breaks, "was acknowledged (there is a snapshot of 6)"),
            ("an earlier record", TICKS, 2, &|_| {}, &breaks, "begins with command 4, not with 2"),
            ("a command within it", TICKS, 5, &|_| {}, &breaks, "begins with command 4, not with 5"),
            ("what is not there", TICKS, 7, &|_| {}, &breaks, "begins with command 4, not with 7"),
            ("a Void", TICKS, 7, &of_a_void, &breaks, "is a Void"),
            ("one that is well", TICKS, 4, &|_| {}, &replay, "replays well here"),
            ("another state", diverged, 4, &|_| {}, &replay, "closes a block of another state"),
        ];
        for (name, last, seq, prepare, replay, expected) in cases {
            let node = Stopped::new(last);
            prepare(&node.data);
            let before = node.last();
            let error = node.append(&node.agreed(seq, before.hash()), replay).expect_err(name);
            assert!(error.is::<Refused>() && error.to_string().contains(expected), "{name}: {error:#}");
            assert_eq!(node.last(), before, "{name}");
        }
        let node = Stopped::new(TICKS);
        let error = node.append(&node.agreed(4, Bytes32([7; 32])), &breaks).unwrap_err();
        assert!(error.to_string().contains("has the hash"), "{error:#}");
        assert!(DataDir::lock(node.data.path()).is_err(), "a running node holds the folder");
    }

    #[test]
    fn a_start_that_stops_says_what_can_be_done_about_the_record() {
        let record = Tail { last_seq: Seq(6), ts: Ts(1), hash: Bytes32([7; 32]) };
        let seal = Command::SealBlock(SealBlock { height: Height(1), engine_digest: Bytes32::default() });
        let told = |note| Shown { note, store: Seq(0), snapshots: Seq(0) };
        let sign = format!("keel void sign --seq 4 --record {}", record.hash);
        for (command, end, note, expected) in [
            (Command::Tick, 6, Some(Seq(3)), sign.as_str()),
            (Command::Tick, 6, Some(Seq(6)), "it waits for a fixed binary"),
            (Command::Tick, 6, None, "it waits for a fixed binary"),
            (Command::Tick, 9, Some(Seq(9)), "not the last record"),
            (seal, 6, Some(Seq(3)), "no Void mends that"),
        ] {
            let (command, why) = (Box::new(command), "a panic".to_owned());
            let error = RecoverError::Command { seq: Seq(5), command, first_seq: Seq(4), record, why };
            let text = format!("{:#}", explain(error, Seq(end), &told(note)));
            assert!(text.contains(expected) && text.contains("a panic"), "{text}");
        }
    }
}
