//! Deterministic mutations of corpus entries: what the short form runs where no coverage guides it.

/// SplitMix64: a stream from a seed, the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is above 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next_u64() % n as u64) as usize
    }
}

/// Longest input that mutations make: the largest snapshots of the corpus fit.
const LEN_MAX: usize = 16_384;
/// Numbers that code gets wrong, little endian, as many bytes as fit.
const INTERESTING: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, i64::MAX as u64, 1 << 63, u64::MAX];

/// One to four changes of an entry of a corpus, which is not empty: bits, bytes and numbers overwritten, pieces cut, doubled, inserted, and
/// spliced from another entry.
pub fn mutation(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut data = corpus[random.below(corpus.len())].clone();
    for _ in 0..1 + random.below(4) {
        change(&mut data, corpus, random);
    }
    data.truncate(LEN_MAX);
    data
}

fn change(data: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    if data.is_empty() {
        return data.push(random.next_u64() as u8);
    }
    let at = random.below(data.len());
    let span = 1 + random.below(32.min(data.len() - at));
    match random.below(9) {
        0 => data[at] ^= 1 << random.below(8),
        1 => data[at] = random.next_u64() as u8,
        2 => data[at] = data[at].wrapping_add([1, 255][random.below(2)]),
        3 => {
            let number = INTERESTING[random.below(INTERESTING.len())].to_le_bytes();
            for (byte, new) in data[at..].iter_mut().zip(&number[..[1, 2, 4, 8][random.below(4)]]) {
                *byte = *new;
            }
        }
        4 => drop(data.drain(at..at + span)),
        5 => {
            let piece = data[at..at + span].to_vec();
            insert(data, random, &piece);
        }
        6 => data.truncate(at),
        7 => {
            let bytes: Vec<u8> = (0..span).map(|_| random.next_u64() as u8).collect();
            insert(data, random, &bytes);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            data.truncate(at);
            data.extend_from_slice(&other[from..]);
        }
    }
}

fn insert(data: &mut Vec<u8>, random: &mut Random, piece: &[u8]) {
    let at = random.below(data.len() + 1);
    data.splice(at..at, piece.iter().copied());
}
