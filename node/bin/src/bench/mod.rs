//! `keel bench`: figures as they are on this machine. Medians of several runs; nothing here gates a test.

mod batches;
mod book;
mod chain;
mod crypto;
mod engine;
mod events;
mod hash;
mod marks;
mod mwl;
pub mod rpc;
mod safe_mode;
mod trie;
mod tries;

use crate::config::Config;
use anyhow::Result;
use clap::Subcommand;
use keel_types::Felt;
use std::path::PathBuf;
use std::time::Instant;

/// What to measure.
#[derive(Subcommand)]
pub enum Bench {
    /// Order book on a workload in the MWL1 format: commands per second, and the hash of its trades.
    Book {
        #[arg(long)]
        workload: PathBuf,
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// Writes a workload in the MWL1 format.
    MakeWorkload {
        #[arg(long)]
        out: PathBuf,
        #[arg(long, default_value_t = 1_000_000)]
        commands: u64,
        #[arg(long, default_value_t = 10_000)]
        resting: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// A large squashed batch: its size before and after compression and in blobs, and what each step takes.
    Batches {
        /// Storage changes of the exchange.
        #[arg(long, default_value_t = 100_000)]
        changes: usize,
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// The whole engine (spot and perpetual flow, margin, fees, staged writes): commands per second.
    Engine {
        #[arg(long, default_value_t = 200_000)]
        commands: u64,
    },
    /// Mark updates with many open positions: time, and how many accounts each visits.
    Marks {
        #[arg(long, default_value_t = 100_000)]
        positions: u64,
    },
    /// Hash functions of the tries: time of one, by batch size, beside the library's.
    Hash,
    /// Signature checks per second on one core, through the one wrapper.
    Signatures,
    /// Root of a trie after random changed leaves.
    Trie {
        #[arg(long, default_value_t = 1_000_000)]
        leaves: usize,
        #[arg(long, default_value_t = 1_000)]
        changes: usize,
    },
    /// Changed leaves in stored tries of growing size: time, reads, bytes written; and storage proofs per second.
    Tries(tries::Options),
    /// From a detected loss to every open order cancelled, durable and announced.
    SafeMode(safe_mode::Options),
    /// `starknet_getEvents` over a long chain: events per second by filter, and the time of a page.
    Events(events::Options),
    /// Signed orders through a running development node's RPC to the durable acknowledgement: orders per second, p50 and p99.
    Rpc {
        #[arg(long, default_value = "http://127.0.0.1:9944/rpc")]
        rpc: String,
        #[arg(long, default_value_t = 5_000)]
        orders: usize,
        #[arg(long, default_value_t = 32)]
        connections: usize,
    },
}

/// Runs one benchmark and prints its figures.
pub fn run(bench: Bench, config: &Config) -> Result<()> {
    match bench {
        Bench::Book { workload, runs } => book::run(&workload, runs),
        Bench::MakeWorkload { out, commands, resting, seed } => mwl::make(&out, commands, resting, seed),
        Bench::Batches { changes, runs } => batches::run(&crate::genesis(&config.genesis)?, changes, runs),
        Bench::Engine { commands } => engine::run(commands),
        Bench::Marks { positions } => marks::run(positions),
        Bench::Hash => hash::run(),
        Bench::Signatures => crypto::run(),
        Bench::Trie { leaves, changes } => trie::run(leaves, changes),
        Bench::Tries(options) => tries::run(&options),
        Bench::SafeMode(options) => safe_mode::run(&options),
        Bench::Events(options) => events::run(&options),
        Bench::Rpc { rpc, orders, connections } => {
            let genesis = crate::genesis(&config.genesis)?;
            let options = rpc::Options { rpc, orders, connections };
            let fund = async |account: &str| crate::dev::fund(config, account, "USDC", "100000").await.map(drop);
            crate::runtime()?.block_on(rpc::run(&genesis, &options, fund))
        }
    }
}

/// The middle value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A clock that also tells how long this thread had a processor: on a shared machine the two differ.
struct Stopwatch {
    wall: Instant,
    processor_ns: Option<u64>,
}

impl Stopwatch {
    fn start() -> Stopwatch {
        Stopwatch { wall: Instant::now(), processor_ns: Stopwatch::processor_ns() }
    }
    fn wall_ms(&self) -> f64 {
        self.wall.elapsed().as_secs_f64() * 1e3
    }
    /// On a processor; the wall time where the system does not tell.
    fn processor_ms(&self) -> f64 {
        match (self.processor_ns, Stopwatch::processor_ns()) {
            (Some(start), Some(now)) => now.saturating_sub(start) as f64 / 1e6,
            _ => self.wall_ms(),
        }
    }
    /// Linux: nanoseconds on a processor are the first number of a thread's `schedstat`.
    fn processor_ns() -> Option<u64> {
        std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
    }
}

/// xorshift64*: workloads have to be the same for the same seed, nothing more.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    /// Uniform enough below 2^250, as storage slots are.
    fn felt(&mut self) -> Felt {
        let mut bytes = [0u8; 32];
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&self.next().to_be_bytes());
        }
        bytes[0] &= 0x03;
        Felt::from_bytes_be(&bytes)
    }
    /// Uniform enough in `0..bound`.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
