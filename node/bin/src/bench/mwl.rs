//! MWL1: an engine-neutral file of order commands, little endian. A header of 64 bytes, then records of 32.

use super::Random;
use anyhow::{Context, Result, ensure};
use std::path::Path;

const MAGIC: &[u8; 8] = b"MWLOAD1\0";
const RECORD_BYTES: usize = 32;
const HEADER_BYTES: usize = 64;

/// What a record asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Match at the maker's price, rest the remainder.
    Gtc,
    /// Match, drop the remainder.
    Ioc,
    /// Remove if resting.
    Cancel,
    /// Remove and insert again at (price, qty) with new time priority.
    Modify,
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub op: Op,
    pub sell: bool,
    pub order_id: u64,
    /// Ticks.
    pub price: i64,
    pub qty: u32,
}

/// A parsed file.
pub struct Workload {
    pub prefill: usize,
    pub order_id_max: u64,
    pub price_min: i64,
    pub commands: Vec<Command>,
}

/// Reads and checks a file.
pub fn read(path: &Path) -> Result<Workload> {
    let bytes = std::fs::read(path).with_context(|| format!("read workload {}", path.display()))?;
    ensure!(bytes.len() >= HEADER_BYTES && &bytes[..8] == MAGIC, "read workload: not an MWL1 file");
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let u64_at = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    ensure!(u32_at(&bytes, 8) == 1 && u32_at(&bytes, 12) == RECORD_BYTES as u32, "read workload: version or record size");
    let (prefill, timed) = (u64_at(&bytes, 16), u64_at(&bytes, 24));
    let body = &bytes[HEADER_BYTES..];
    ensure!(body.len() as u64 == (prefill + timed) * RECORD_BYTES as u64, "read workload: wrong length");
    let record = |r: &[u8]| {
        let op = match r[0] {
            0 => Op::Gtc,
            1 => Op::Ioc,
            2 => Op::Cancel,
            3 => Op::Modify,
            other => anyhow::bail!("read workload: unknown operation {other}"),
        };
        Ok(Command { op, sell: r[1] == 1, order_id: u64_at(r, 8), price: u64_at(r, 16) as i64, qty: u32_at(r, 24) })
    };
    Ok(Workload {
        prefill: prefill as usize,
        price_min: u64_at(&bytes, 32) as i64,
        order_id_max: u64_at(&bytes, 48),
        commands: body.chunks_exact(RECORD_BYTES).map(record).collect::<Result<_>>()?,
    })
}

/// Prices a generated workload moves in.
const PRICE_RANGE: std::ops::Range<i64> = 90_000..110_000;

/// Writes mixed flow around a drifting middle: 45% new limits, 10% takers, 35% cancels, 10% modifies.
pub fn make(path: &Path, commands: u64, resting: u64, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let mut live: Vec<u64> = vec![];
    let (mut next_id, mut middle) = (0u64, (PRICE_RANGE.start + PRICE_RANGE.end) / 2);
    let mut records = Vec::with_capacity((commands + resting) as usize * RECORD_BYTES);
    for n in 0..resting + commands {
        middle = (middle + random.below(3) as i64 - 1).clamp(PRICE_RANGE.start + 2_000, PRICE_RANGE.end - 2_000);
        let sell = random.below(2) == 1;
        let distance = 1 + (random.below(40) * random.below(40)) as i64;
        let passive = if sell { middle + distance } else { middle - distance };
        let pick = if n < resting { 0 } else { random.below(100) };
        let qty = 1 + random.below(100) as u32;
        let (op, id, price) = match pick {
            0..45 => (0, None, passive),
            45..55 => (1, None, if sell { middle - 30 } else { middle + 30 }),
            55..90 => (2, take(&mut live, &mut random, true), 0),
            _ => (3, take(&mut live, &mut random, false), passive),
        };
        // Nothing to cancel or modify: place instead.
        let (op, id, price) = match (op, id) {
            (0 | 1, _) | (_, None) => {
                next_id += 1;
                if op != 1 {
                    live.push(next_id - 1);
                }
                (if op == 1 { 1 } else { 0 }, next_id - 1, if op == 1 { price } else { passive })
            }
            (op, Some(id)) => (op, id, price),
        };
        let mut record = [0u8; RECORD_BYTES];
        record[0] = op;
        record[1] = u8::from(sell);
        record[4..8].copy_from_slice(&(random.below(1_000) as u32).to_le_bytes());
        record[8..16].copy_from_slice(&id.to_le_bytes());
        record[16..24].copy_from_slice(&price.to_le_bytes());
        record[24..28].copy_from_slice(&qty.to_le_bytes());
        records.extend_from_slice(&record);
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&(RECORD_BYTES as u32).to_le_bytes());
    for word in [resting, commands, PRICE_RANGE.start as u64, PRICE_RANGE.end as u64, next_id, seed] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&records);
    std::fs::write(path, bytes).with_context(|| format!("write workload {}", path.display()))
}

fn take(live: &mut Vec<u64>, random: &mut Random, remove: bool) -> Option<u64> {
    if live.is_empty() {
        return None;
    }
    let at = random.below(live.len() as u64) as usize;
    Some(if remove { live.swap_remove(at) } else { live[at] })
}
