//! The short form of every target: its corpus, then a fixed number of mutations of it, and what the corpus must still come to.
//! `KEEL_FUZZ_MUTATIONS` asks for more.
#![allow(unsafe_code)]

use keel_fuzz::mutate::{Random, mutation};
use keel_fuzz::{Reached, TARGETS, Target, codec_seeds};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};

thread_local! {
    /// Largest single allocation of this thread since it was last set to 0, bytes.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, noting the largest allocation: a length read from an input must not be believed before the bytes are there.
struct Noting;

fn note(bytes: usize) {
    LARGEST.with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: every call goes to the system's allocator unchanged; noting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Noting {
    // SAFETY: the caller keeps the contract of [GlobalAlloc::alloc], which is passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }
    // SAFETY: the caller keeps the contract of [GlobalAlloc::dealloc], which is passed on.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
    // SAFETY: the caller keeps the contract of [GlobalAlloc::realloc], which is passed on.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// One allocation for an input may be this large, and for each byte of the input so much larger.
const ALLOCATION_MAX: usize = 1 << 20;
const ALLOCATION_PER_BYTE_MAX: usize = 64;

fn run(target: Target, input: &[u8], reached: &mut Reached) {
    LARGEST.set(0);
    target(input, reached);
    let largest = LARGEST.get();
    assert!(
        largest <= ALLOCATION_MAX + ALLOCATION_PER_BYTE_MAX * input.len(),
        "{} bytes of input made an allocation of {largest} bytes",
        input.len()
    );
}

/// Inputs by file name, so that the order is the same everywhere.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).expect("a corpus").map(|e| e.expect("a file").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("an input"))).collect()
}

/// Says which input it was, when a target panics on it.
struct Blame<'a>(&'a dyn std::fmt::Debug);

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was {:?}", self.0);
        }
    }
}

fn short(name: &str, mutations: usize, more: Vec<Vec<u8>>, needed: &[&str]) {
    let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).expect("a target");
    let corpus = corpus(name);
    assert!(!corpus.is_empty());
    let mut reached = Reached::noted();
    for (path, input) in &corpus {
        let _blame = Blame(path);
        run(target, input, &mut reached);
    }
    let mut inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    for input in &more {
        let _blame = Blame(input);
        run(target, input, &mut reached);
    }
    inputs.extend(more);

    let all: Vec<&str> = reached.all().collect();
    println!("{} inputs reach {all:#?}", inputs.len());
    for needed in needed {
        assert!(all.contains(needed), "no input reaches {needed:?} any more");
    }

    let mutations = match std::env::var("KEEL_FUZZ_MUTATIONS") {
        Ok(text) => text.parse().expect("KEEL_FUZZ_MUTATIONS is a number of mutations"),
        Err(_) => mutations,
    };
    let mut random = Random(1);
    for _ in 0..mutations {
        let input = mutation(&inputs, &mut random);
        let _blame = Blame(&input);
        run(target, &input, &mut Reached::unnoted());
    }
}

#[test]
fn any_rpc_parameters_are_refused_or_read_back_alike() {
    let needed = [
        "message Register",
        "message SessionKey",
        "message RevokeSessionKey",
        "message Session",
        "message Order",
        "message ModifyOrder",
        "message CancelOrder",
        "message CancelAll",
        "message ScheduleCancel",
        "message RestoreOrders",
        "message Transfer",
        "message Withdraw",
        "command Register",
        "command Place",
        "command Cancel",
        "command CancelAll",
        "command Withdraw",
        "price reports",
        "typed data request",
        "typed data",
        "decimal",
        "integer",
        "felt",
        "refused DUPLICATE_FIELD",
        "refused UNKNOWN_FIELD",
        "refused TOO_MANY_DECIMALS",
    ];
    short("rpc_params", 150_000, vec![], &needed);
}

#[test]
fn any_bytes_are_refused_or_the_one_encoding_of_a_value() {
    // Made anew from the engine's corpus, so that a new version of a format finds its own seeds.
    let seeds = corpus("engine").iter().flat_map(|(_, script)| codec_seeds(script)).collect();
    let needed =
        ["command Place", "command Deposit", "command SealBlock", "record", "released", "executed Fill", "snapshot"];
    short("command_codec", 80_000, seeds, &needed);
}

#[test]
fn no_script_of_commands_breaks_the_engine() {
    let needed = [
        "Fill",
        "Withdrawn",
        "Transferred",
        "Replayed",
        "PriceHeld",
        "SafeModeEntered",
        "PhaseChanged",
        "BlockSealed",
        "BatchConfirmed",
        "Funding",
        "SessionKeySet",
        "SessionKeyRevoked",
        "SessionOpened",
        "liquidation Close",
        "liquidation TakeOver",
        "order TRIGGERED TRIGGERED",
        "order OPEN MODIFIED",
        "order EXPIRED GOOD_TIL",
        "order CANCELLED SCHEDULED_CANCEL",
        "order CANCELLED SELF_TRADE",
        "order CANCELLED PRICE_BAND",
        "order CANCELLED SAFE_MODE",
        "order CANCELLED REDUCE_ONLY",
        "order CANCELLED FILL_OR_KILL",
        "order CANCELLED DISCONNECTED",
        "OrderRestored",
        "RestoreRefused",
    ];
    short("engine", 8_000, vec![], &needed);
}
