//! The Pedersen hash of Starknet, by tables.
//!
//! H(a, b) = [S + a_low * P1 + a_high * P2 + b_low * P3 + b_high * P4].x, where `low` is the lower 248 bits of a number
//! and `high` the upper 4. Each number is cut into windows of [`WINDOW_BITS`] bits; a table holds the sum of points that
//! every value of a window stands for, so that a hash is the sum of one entry of each table.
//! [docs.starknet.io, cryptography: Pedersen hash; starkware-libs/cairo-lang: fast_pedersen_hash.py]

use std::sync::OnceLock;

use starknet_types_core::felt::Felt;

use super::curve::{Accumulator, Point, add_pairs};
use super::field::Element;

/// Tables of 1 MB. Of 6 to 10 bits, 8 and 9 were the fastest in most runs: wider windows add fewer points, but their tables leave the
/// cache (4 MB with 10 bits).
const WINDOW_BITS: usize = 8;
const WINDOW_VALUES: usize = 1 << WINDOW_BITS;
/// A felt has 252 bits.
const FELT_BITS: usize = 252;
const LOW_BITS: usize = 248;
/// Windows of one number.
const WINDOWS: usize = FELT_BITS.div_ceil(WINDOW_BITS);
/// Entries that make up a hash: one of each window of both numbers. The shift point is part of the first table.
const TERMS: usize = 2 * WINDOWS;

/// Hashes computed together: their points (4 KB each) stay near a core, and six inversions shared by 64 hashes cost less
/// than a tenth of them.
const BATCH: usize = 64;
/// From here on a batch is faster than one hash after the other.
const BATCH_MIN: usize = 4;

/// A constant point of the hash. [starkware-libs/cairo-lang: nothing_up_my_sleeve, constant_points]
pub(super) struct Constant(&'static str, &'static str);

pub(super) const SHIFT: Constant = Constant(
    "0x49ee3eba8c1600700ee1b87eb599f16716b0b1022947733551fde4050ca6804",
    "0x3ca0cfe4b3bc6ddf346d49d06ea0ed34e621062c0e056c1d0405d266e10268a",
);
/// P1 to P4.
const GENERATORS: [Constant; 4] = [
    Constant(
        "0x234287dcbaffe7f969c748655fca9e58fa8120b6d56eb0c1080d17957ebe47b",
        "0x3b056f100f96fb21e889527d41f4e39940135dd7a6c94cc6ed0268ee89e5615",
    ),
    Constant(
        "0x4fa56f376c83db33f9dab2656558f3399099ec1de5e3018b7a6932dba8aa378",
        "0x3fa0984c931c9e38113e0c0e47e4401562761f92a7a23b45168f4e80ff5b54d",
    ),
    Constant(
        "0x4ba4cc166be8dec764910f75b45f74b40c690c74709e90f3aa372f0bd2d6997",
        "0x40301cf5c1751f4b971e46c4ede85fcac5c59a5ce5ae7c48151f27b24b219c",
    ),
    Constant(
        "0x54302dcb0e6cc1c6e44cca8f61a63bb2ca65048d53fb325d36ff12c49a58202",
        "0x1b77b3e37d13504b348046268d8ae25ce98ad783c25561a879dcc77e99c2426",
    ),
];

impl Constant {
    pub(super) fn point(&self) -> Point {
        let coordinate = |hex| Element::of(&Felt::from_hex_unchecked(hex));
        Point { x: coordinate(self.0), y: coordinate(self.1) }
    }
}

/// For every term the sums of points its window's values stand for, one table after the other: 1 MB.
static TABLES: OnceLock<Vec<Point>> = OnceLock::new();

/// The tables; built by the first hash of the process, in some milliseconds.
fn tables() -> &'static [Point] {
    TABLES.get_or_init(build_tables)
}

fn build_tables() -> Vec<Point> {
    let shift = SHIFT.point();
    let bits = [[0, 1], [2, 3]].map(|[low, high]| bit_points(&GENERATORS[low], &GENERATORS[high]));
    let mut tables = vec![Point::INFINITY; TERMS * WINDOW_VALUES];
    // Without a bit set a window stands for nothing; the first table has the shift in all of its entries.
    tables[0] = shift;
    for bit in 0..WINDOW_BITS {
        // The values with `bit` as their top bit: the values below, and the point of the bit.
        let values = 1 << bit;
        let below = tables.chunks_exact(WINDOW_VALUES).flat_map(|table| &table[..values]);
        let mut sums: Vec<Point> = below.copied().collect();
        let point = |window: usize, number: usize| bits[number].get(window * WINDOW_BITS + bit).copied();
        let added: Vec<Point> = (0..TERMS)
            .map(|term| point(term % WINDOWS, term / WINDOWS).unwrap_or(Point::INFINITY))
            .flat_map(|point| std::iter::repeat_n(point, values))
            .collect();
        add_pairs(&mut sums, &added, &mut Vec::new());
        for (table, sums) in tables.chunks_exact_mut(WINDOW_VALUES).zip(sums.chunks_exact(values)) {
            table[values..2 * values].copy_from_slice(sums);
        }
    }
    tables
}

/// The point that each bit of a number stands for.
fn bit_points(low: &Constant, high: &Constant) -> Vec<Point> {
    let twice = |point: &Point| {
        let mut sum = [*point];
        add_pairs(&mut sum, &[*point], &mut Vec::new());
        Some(sum[0])
    };
    let doublings = |from: &Constant, count| std::iter::successors(Some(from.point()), twice).take(count);
    doublings(low, LOW_BITS).chain(doublings(high, FELT_BITS - LOW_BITS)).collect()
}

/// Places in the tables of the terms of a hash.
fn terms(left: &Felt, right: &Felt) -> [u32; TERMS] {
    let numbers = [left.to_le_digits(), right.to_le_digits()];
    std::array::from_fn(|term| {
        let (limbs, bit) = (&numbers[term / WINDOWS], term % WINDOWS * WINDOW_BITS);
        let low = limbs[bit / 64] >> (bit % 64);
        // A window may reach into the next limb.
        let high = if bit % 64 + WINDOW_BITS > 64 && bit / 64 < 3 { limbs[bit / 64 + 1] << (64 - bit % 64) } else { 0 };
        let value = (low | high) as usize % WINDOW_VALUES;
        (term * WINDOW_VALUES + value) as u32
    })
}

/// The hash of one pair.
pub(super) fn hash(left: &Felt, right: &Felt) -> Felt {
    let tables = tables();
    let [first, rest @ ..] = terms(left, right);
    let mut sum = Accumulator::new(&tables[first as usize]);
    rest.iter().for_each(|place| sum.add(&tables[*place as usize]));
    sum.affine_x().to_felt()
}

/// The hashes of many pairs.
pub(super) fn hash_many(pairs: &[(Felt, Felt)]) -> Vec<Felt> {
    let mut hashes = Vec::with_capacity(pairs.len());
    let mut work = Work::default();
    for batch in pairs.chunks(BATCH) {
        if batch.len() < BATCH_MIN {
            hashes.extend(batch.iter().map(|(left, right)| hash(left, right)));
        } else {
            work.hash_batch(batch, &mut hashes);
        }
    }
    hashes
}

/// Memory of a batch, used again by the next.
#[derive(Default)]
struct Work {
    places: Vec<[u32; TERMS]>,
    /// Points still to be added: of one term all hashes, then of the next term.
    points: Vec<Point>,
    scratch: Vec<(Element, Element)>,
}

impl Work {
    /// Adds the terms of all pairs in rounds: each halves the number of points, for all pairs with one inversion.
    fn hash_batch(&mut self, batch: &[(Felt, Felt)], hashes: &mut Vec<Felt>) {
        let Work { places, points, scratch } = self;
        let tables = tables();
        places.clear();
        places.extend(batch.iter().map(|(left, right)| terms(left, right)));
        points.clear();
        for term in 0..TERMS {
            points.extend(places.iter().map(|places| tables[places[term] as usize]));
        }
        let mut left = TERMS;
        while left > 1 {
            // The second half is added to the first; of an odd number the middle one waits for the next round.
            let kept = left.div_ceil(2);
            let (first, second) = points.split_at_mut(kept * batch.len());
            add_pairs(&mut first[..second.len()], second, scratch);
            points.truncate(kept * batch.len());
            left = kept;
        }
        hashes.extend(points.iter().map(|sum| sum.x.to_felt()));
    }
}
