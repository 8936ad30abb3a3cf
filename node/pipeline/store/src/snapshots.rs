//! Snapshots of the engine: files that let a start skip most of the journal.
//!
//! One file per snapshot, `snapshot-<seq, 20 digits>.keel`, little-endian as borsh writes:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | `KEELSNAP` |
//! | 4 | version, 1 |
//! | 32 | genesis hash |
//! | 8, 8, 8 | seq, ts, height: the last command in the snapshot, its time, the last sealed block |
//! | 32 | hash of the journal record that ends with `seq` |
//! | 32 | engine digest |
//! | 8 | length n |
//! | n | the engine, as `Engine::snapshot` wrote it |
//! | 32 | BLAKE3 of everything above |
//!
//! A file appears by rename after it was synced, and the directory is synced after the rename, so a crash leaves either
//! no file or a whole one. Whatever fails its checks is passed over: an older snapshot and a longer replay do as well.

use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::{Bytes32, Height, Seq, Ts};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"KEELSNAP";
const VERSION: u32 = 1;
const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".keel";
const TEMPORARY: &str = "snapshot.tmp";
const CHECKSUM_BYTES: usize = 32;

/// What a snapshot is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct SnapshotHeader {
    pub genesis: Bytes32,
    /// Last command executed.
    pub seq: Seq,
    pub ts: Ts,
    /// Last block sealed.
    pub height: Height,
    /// Of the record that ends with `seq`: replay checks that the journal goes on from it.
    pub record_hash: Bytes32,
    pub engine_digest: Bytes32,
}

/// A snapshot with its engine bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    pub header: SnapshotHeader,
    pub bytes: Vec<u8>,
}

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot {path:?}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// Torn, changed, or of another version.
    #[error("snapshot {path:?} is refused: {why}")]
    Refused { path: PathBuf, why: &'static str },
}

/// The directory of snapshots of one chain.
pub struct Snapshots {
    directory: PathBuf,
    genesis: Bytes32,
    keep: usize,
}

impl Snapshots {
    /// Uses `directory`, made if missing; keeps the newest `keep` (at least 1) snapshots.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: &Path, genesis: Bytes32, keep: usize) -> Result<Snapshots, SnapshotError> {
        fs::create_dir_all(directory).map_err(|source| SnapshotError::Io { path: directory.to_owned(), source })?;
        Ok(Snapshots { directory: directory.to_owned(), genesis, keep: keep.max(1) })
    }

    /// Writes a snapshot durably, then removes those that are older than the newest `keep`.
    ///
    /// # Errors
    /// The disk; a temporary file may stay and is overwritten next time.
    ///
    /// # Panics
    /// When `header.genesis` is another chain's: the caller's bug.
    pub fn write(&self, header: &SnapshotHeader, bytes: &[u8]) -> Result<PathBuf, SnapshotError> {
        assert_eq!(header.genesis, self.genesis, "a snapshot goes to the directory of its chain");
        let path = self.path(header.seq);
        let temporary = self.directory.join(TEMPORARY);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| SnapshotError::Io { path, source }
        };
        write_synced(&temporary, header, bytes).map_err(at(&temporary))?;
        fs::rename(&temporary, &path).map_err(at(&path))?;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(at(&self.directory))?;
        for seq in self.list()?.into_iter().rev().skip(self.keep) {
            let path = self.path(seq);
            fs::remove_file(&path).map_err(at(&path))?;
        }
        Ok(path)
    }

    /// The sequence numbers of the files that are there, ascending; none is opened.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Seq>, SnapshotError> {
        let at = |source| SnapshotError::Io { path: self.directory.clone(), source };
        let mut seqs = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(at)? {
            let name = entry.map_err(at)?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
            seqs.extend(digits.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok()).map(Seq));
        }
        seqs.sort_unstable();
        Ok(seqs)
    }

    /// The newest snapshot that is whole, of this chain, and `wanted`; and why newer ones were passed over.
    ///
    /// # Errors
    /// The directory cannot be read. A file that cannot be is passed over.
    pub fn newest(
        &self,
        wanted: impl Fn(&SnapshotHeader) -> bool,
    ) -> Result<(Option<Snapshot>, Vec<SnapshotError>), SnapshotError> {
        let mut passed = Vec::new();
        for seq in self.list()?.into_iter().rev() {
            match self.read(seq) {
                Ok(snapshot) if wanted(&snapshot.header) => return Ok((Some(snapshot), passed)),
                Ok(_) => passed.push(SnapshotError::Refused { path: self.path(seq), why: "not one that can be used here" }),
                Err(error) => passed.push(error),
            }
        }
        Ok((None, passed))
    }

    /// Reads and checks one snapshot.
    ///
    /// # Errors
    /// It is torn, changed, of another version or chain, or cannot be read.
    pub fn read(&self, seq: Seq) -> Result<Snapshot, SnapshotError> {
        let path = self.path(seq);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(|source| SnapshotError::Io { path: path.clone(), source })?;
        let refused = |why| SnapshotError::Refused { path: path.clone(), why };
        let snapshot = decode(bytes).map_err(refused)?;
        match snapshot.header {
            header if header.genesis != self.genesis => Err(refused("it is of another chain")),
            header if header.seq != seq => Err(refused("its name says another sequence number")),
            _ => Ok(snapshot),
        }
    }

    fn path(&self, seq: Seq) -> PathBuf {
        self.directory.join(format!("{PREFIX}{:020}{SUFFIX}", seq.0))
    }
}

fn write_synced(path: &Path, header: &SnapshotHeader, bytes: &[u8]) -> io::Result<()> {
    let head = borsh::to_vec(&(MAGIC, VERSION, header, bytes.len() as u64))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head).update(bytes);
    let mut file = File::create(path)?;
    file.write_all(&head)?;
    file.write_all(bytes)?;
    file.write_all(hasher.finalize().as_bytes())?;
    file.sync_all()
}

fn decode(mut file: Vec<u8>) -> Result<Snapshot, &'static str> {
    let (content, checksum) = file.split_last_chunk::<CHECKSUM_BYTES>().ok_or("it is torn")?;
    if blake3::hash(content).as_bytes() != checksum {
        return Err("its checksum is wrong: torn or changed");
    }
    let mut rest = content;
    let head = <([u8; 8], u32, SnapshotHeader, u64)>::deserialize(&mut rest).map_err(|_| "its header is cut")?;
    let (magic, version, header, length) = head;
    if magic != MAGIC || version != VERSION {
        return Err("it is not a snapshot of this version");
    }
    if rest.len() as u64 != length {
        return Err("its length is wrong");
    }
    let start = content.len() - rest.len();
    file.truncate(file.len() - CHECKSUM_BYTES);
    file.drain(..start);
    Ok(Snapshot { header, bytes: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENESIS: Bytes32 = Bytes32([3; 32]);

    fn header(seq: u64) -> SnapshotHeader {
        let (record_hash, engine_digest) = (Bytes32([1; 32]), Bytes32([2; 32]));
        SnapshotHeader {
            genesis: GENESIS,
            seq: Seq(seq),
            ts: Ts(seq * 10),
            height: Height(seq / 5),
            record_hash,
            engine_digest,
        }
    }

    fn with(seqs: &[u64], keep: usize) -> (tempfile::TempDir, Snapshots) {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path(), GENESIS, keep).unwrap();
        seqs.iter().for_each(|seq| drop(snapshots.write(&header(*seq), &vec![*seq as u8; 1000]).unwrap()));
        (dir, snapshots)
    }

    fn newest_seq(snapshots: &Snapshots, max: u64) -> Option<u64> {
        let (snapshot, _) = snapshots.newest(|header| header.seq.0 <= max).unwrap();
        snapshot.map(|snapshot| snapshot.header.seq.0)
    }

    #[test]
    fn the_newest_wanted_snapshot_comes_back_whole() {
        let (_dir, snapshots) = with(&[5, 10, 100], 3);
        let (snapshot, passed) = snapshots.newest(|header| header.seq.0 <= 10).unwrap();
        assert_eq!(snapshot, Some(Snapshot { header: header(10), bytes: vec![10; 1000] }));
        assert_eq!(passed.len(), 1);
        assert_eq!(newest_seq(&snapshots, 4), None);
        assert_eq!(with(&[], 1).1.list().unwrap(), []);
    }

    #[test]
    fn only_the_last_few_are_kept() {
        let (_dir, snapshots) = with(&[5, 10, 100, 20], 2);
        assert_eq!(snapshots.list().unwrap(), [Seq(20), Seq(100)]);
    }

    #[test]
    fn a_torn_or_changed_file_is_passed_over() {
        let whole = {
            let (_dir, snapshots) = with(&[10], 1);
            fs::read(snapshots.path(Seq(10))).unwrap()
        };
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("empty", vec![]),
            ("cut in the header", whole[..40].to_vec()),
            ("cut in the bytes", whole[..whole.len() - 100].to_vec()),
            ("cut by one byte", whole[..whole.len() - 1].to_vec()),
            ("longer by one byte", [&whole[..], &[0]].concat()),
            ("magic", flipped(0)),
            ("version", flipped(8)),
            ("genesis", flipped(12)),
            ("seq", flipped(44)),
            ("bytes", flipped(500)),
            ("checksum", flipped(whole.len() - 1)),
        ];
        for (name, bytes) in cases {
            let (_dir, snapshots) = with(&[5, 10], 2);
            fs::write(snapshots.path(Seq(10)), bytes).unwrap();
            assert_eq!(newest_seq(&snapshots, 100), Some(5), "{name}");
        }
    }

    #[test]
    fn a_snapshot_of_another_chain_or_under_another_name_is_refused() {
        let (dir, snapshots) = with(&[10], 2);
        let other = Snapshots::open(dir.path(), Bytes32([9; 32]), 2).unwrap();
        assert_eq!(newest_seq(&other, 100), None);
        fs::rename(snapshots.path(Seq(10)), snapshots.path(Seq(11))).unwrap();
        assert_eq!(newest_seq(&snapshots, 100), None);
    }

    #[test]
    fn a_crash_before_the_rename_leaves_nothing() {
        let (dir, snapshots) = with(&[10], 2);
        fs::write(dir.path().join(TEMPORARY), b"half a file").unwrap();
        assert_eq!(snapshots.list().unwrap(), [Seq(10)]);
        snapshots.write(&header(20), &[]).unwrap();
        assert_eq!(newest_seq(&snapshots, 100), Some(20));
    }
}
