//! The memory of what was signed, as validators keep one: written and synced before a signature leaves, never rebuilt from anything.
//!
//! One text file, `signed`, replaced whole: written beside, synced, renamed, the folder synced. So it is never torn, and anything but
//! what was written last is noticed:
//!
//! ```text
//! keel attestor signatures 1
//! genesis 0x…
//! attestor 0x…
//! nothing up to 1200            (or: nothing up to none)
//! batch 41 block 1230 root 0x… fact 0x…
//! blake3 0x…                    (of everything above)
//! ```
//!
//! The rules: a batch or a height that stands in the file is signed again only with the same fact; anything else only above everything in
//! the file. At or below `nothing up to`, what does not stand in the file is never signed.

use keel_types::{AttestorId, BatchClaim, BatchId, Bytes32, FeltBytes, Height};
use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Confirmed batches whose signatures stay in the file, 200 bytes each. Of those that are not confirmed all stay: they may be asked for again.
pub const SIGNED_KEPT: usize = 1_024;
const FILE: &str = "signed";
const TEMPORARY: &str = "signed.tmp";
const LOCK: &str = "signed.lock";
const TITLE: &str = "keel attestor signatures 1";

/// A fact that may have been signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed {
    pub batch: BatchId,
    /// Last block of the batch.
    pub block: Height,
    pub root: FeltBytes,
    pub fact: Bytes32,
}

impl Signed {
    /// Of a batch's figures.
    pub fn of(claim: &BatchClaim) -> Signed {
        Signed { batch: claim.batch, block: claim.last_block, root: claim.root, fact: claim.fact }
    }
}

/// What an operator states about a key for which there is no (whole) file: **this key has signed nothing above this block, anywhere.**
/// `None`: it has never signed. A false statement can make the key sign two facts for one height.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statement(pub Option<Height>);

/// Where the file of a key is, and what an operator states if it is not there.
#[derive(Clone, Debug)]
pub struct SignatureFile {
    /// Folder of its own.
    pub folder: PathBuf,
    pub statement: Option<Statement>,
}

impl SignatureFile {
    /// See [Protection::open]. A statement that is not needed, since the file is there, is left aside: it was made for a start before.
    ///
    /// # Errors
    /// See [ProtectionError].
    pub fn open(&self, genesis: Bytes32, attestor: AttestorId) -> Result<Protection, ProtectionError> {
        match Protection::open(&self.folder, genesis, attestor, None) {
            Err(ProtectionError::Missing(_) | ProtectionError::Corrupt { .. }) => {
                Protection::open(&self.folder, genesis, attestor, self.statement)
            }
            opened => opened,
        }
    }
}

impl FromStr for Statement {
    type Err = String;
    fn from_str(text: &str) -> Result<Statement, String> {
        match text {
            "none" => Ok(Statement(None)),
            number => {
                number.parse().map(|block| Statement(Some(Height(block)))).map_err(|_| "a block number, or none".into())
            }
        }
    }
}

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum ProtectionError {
    #[error("{0:?}: another process signs with it")]
    Locked(PathBuf),
    #[error(
        "{0:?} is missing: what this key has signed is not known. Bring the file back; or, if it is certain, state the last block it may \
         have signed with --signed-up-to BLOCK (none: it has never signed anywhere)"
    )]
    Missing(PathBuf),
    #[error(
        "{path:?} is damaged ({why}): what this key has signed is not known. Bring a good file back; or, if it is certain, state the last \
         block it may have signed with --signed-up-to BLOCK"
    )]
    Corrupt { path: PathBuf, why: &'static str },
    #[error("{path:?} is of another {what}: {found}, not {expected}")]
    OtherIdentity { path: PathBuf, what: &'static str, expected: String, found: String },
    #[error("{0:?} is whole: leave --signed-up-to away, the file knows better")]
    StatementNotNeeded(PathBuf),
    #[error("refused to sign {asked:?}: signed before: {before:?}")]
    OtherFact { asked: Box<Signed>, before: Box<Signed> },
    #[error("refused to sign {asked:?}: batches up to {batch:?} and blocks up to {block:?} are signed or given up")]
    NotAbove { asked: Box<Signed>, batch: Option<BatchId>, block: Option<Height> },
    #[error("write {path:?}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    /// The file may be the old one or the new one.
    #[error("an earlier write of the file of signatures failed: its outcome is not known; a restart reads it again")]
    Sticky,
}

/// The file, held by one process.
#[derive(Debug)]
pub struct Protection {
    folder: PathBuf,
    genesis: Bytes32,
    attestor: AttestorId,
    /// Nothing at or below it is signed unless it stands in `signed`.
    floor: Option<Height>,
    /// Ascending by batch and by block.
    signed: VecDeque<Signed>,
    /// Set when it is not known which file is there, and never cleared.
    broken: bool,
    /// Held for as long as this lives.
    _lock: File,
}

impl Protection {
    /// Takes the file in `folder`, which is made if missing. Without a whole file only an operator's statement opens it; a damaged one is
    /// then kept as `signed.damaged`.
    ///
    /// # Errors
    /// See [ProtectionError].
    pub fn open(
        folder: &Path,
        genesis: Bytes32,
        attestor: AttestorId,
        statement: Option<Statement>,
    ) -> Result<Protection, ProtectionError> {
        let path = folder.join(FILE);
        let io = |source| ProtectionError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        let lock = File::create(folder.join(LOCK)).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ProtectionError::Locked(path)),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut protection = Protection {
            folder: folder.to_owned(),
            genesis,
            attestor,
            floor: None,
            signed: VecDeque::new(),
            broken: false,
            _lock: lock,
        };
        let read = match std::fs::read(&path) {
            Ok(bytes) => protection.read(&path, &bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ProtectionError::Missing(path.clone())),
            Err(source) => return Err(io(source)),
        };
        match (read, statement) {
            (Ok(()), None) => {
                // It may be of a write whose end nobody saw: what is signed by it must not be gone after a loss of power.
                File::open(&path).and_then(|file| file.sync_all()).map_err(io)?;
                File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
                Ok(protection)
            }
            (Ok(()), Some(_)) => Err(ProtectionError::StatementNotNeeded(path)),
            (Err(error @ (ProtectionError::Missing(_) | ProtectionError::Corrupt { .. })), Some(Statement(floor))) => {
                tracing::warn!(%error, ?floor, "an operator states what this key has signed");
                if path.exists() {
                    std::fs::rename(&path, folder.join("signed.damaged")).map_err(io)?;
                }
                (protection.floor, protection.signed) = (floor, VecDeque::new());
                protection.write()?;
                Ok(protection)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Last blocks of the batches after `batch` that may have been signed (all, without one), ascending: where batches must end that are
    /// made again.
    pub fn ends_after(&self, batch: Option<BatchId>) -> impl Iterator<Item = Height> {
        self.signed.iter().filter(move |signed| batch.is_none_or(|batch| signed.batch > batch)).map(|signed| signed.block)
    }

    /// What was signed last.
    pub fn last(&self) -> Option<Signed> {
        self.signed.back().copied()
    }

    /// Remembers that `asked` may be signed from now on; durable when this returns `Ok`. The same again changes nothing. Batches before
    /// `unconfirmed_from` are confirmed: the oldest of them leave the file.
    ///
    /// # Errors
    /// [ProtectionError::OtherFact], [ProtectionError::NotAbove]: must not be signed, nothing changed. [ProtectionError::Io]: not written, as
    /// on a full disk; may be asked again, until the file itself could not be replaced, which is final.
    pub fn allow(&mut self, asked: Signed, unconfirmed_from: BatchId) -> Result<(), ProtectionError> {
        if self.broken {
            return Err(ProtectionError::Sticky);
        }
        if let Some(before) = self.signed.iter().find(|before| before.batch == asked.batch || before.block == asked.block) {
            return if *before == asked {
                Ok(())
            } else {
                Err(ProtectionError::OtherFact { asked: Box::new(asked), before: Box::new(*before) })
            };
        }
        let last = self.last();
        let (batch, block) = (last.map(|last| last.batch), last.map(|last| last.block).max(self.floor));
        if batch.is_some_and(|batch| asked.batch <= batch) || block.is_some_and(|block| asked.block <= block) {
            return Err(ProtectionError::NotAbove { asked: Box::new(asked), batch, block });
        }
        let before = (self.floor, self.signed.clone());
        self.signed.push_back(asked);
        while self.signed.len() > SIGNED_KEPT && self.signed[0].batch < unconfirmed_from {
            self.floor = self.floor.max(self.signed.pop_front().map(|oldest| oldest.block));
        }
        let written = self.write();
        if written.is_err() && !self.broken {
            (self.floor, self.signed) = before;
        }
        written
    }

    fn write(&mut self) -> Result<(), ProtectionError> {
        let (path, temporary) = (self.folder.join(FILE), self.folder.join(TEMPORARY));
        let text = self.text();
        let beside = (|| {
            // A file of its own each time: one whose writing failed is not trusted again.
            match std::fs::remove_file(&temporary) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })();
        beside.map_err(|source| ProtectionError::Io { path: temporary.clone(), source })?;
        let replaced =
            std::fs::rename(&temporary, &path).and_then(|()| File::open(&self.folder)).and_then(|folder| folder.sync_all());
        replaced.map_err(|source| {
            self.broken = true;
            ProtectionError::Io { path, source }
        })
    }

    fn text(&self) -> String {
        let floor = self.floor.map_or_else(|| "none".to_owned(), |floor| floor.to_string());
        let (genesis, attestor) = (self.genesis, self.attestor);
        let mut text = format!("{TITLE}\ngenesis {genesis}\nattestor {attestor}\nnothing up to {floor}\n");
        for Signed { batch, block, root, fact } in &self.signed {
            text += &format!("batch {batch} block {block} root {root} fact {fact}\n");
        }
        let check = Bytes32(*blake3::hash(text.as_bytes()).as_bytes());
        text + &format!("blake3 {check}\n")
    }

    fn read(&mut self, path: &Path, bytes: &[u8]) -> Result<(), ProtectionError> {
        let corrupt = |why| ProtectionError::Corrupt { path: path.to_owned(), why };
        let text = std::str::from_utf8(bytes).map_err(|_| corrupt("it is not text"))?;
        let body = text.rfind("blake3 ").map(|at| &text[..at]).ok_or(corrupt("it has no checksum"))?;
        let check = Bytes32(*blake3::hash(body.as_bytes()).as_bytes());
        if text[body.len()..] != format!("blake3 {check}\n") {
            return Err(corrupt("its checksum is wrong"));
        }
        let mut lines = body.lines();
        if lines.next() != Some(TITLE) {
            return Err(corrupt("it is of another version"));
        }
        for (what, expected) in [("genesis", self.genesis.to_string()), ("attestor", self.attestor.to_string())] {
            let found = lines.next().and_then(|line| line.strip_prefix(what)).ok_or(corrupt("a line is missing"))?.trim();
            if found != expected {
                let (path, found) = (path.to_owned(), found.to_owned());
                return Err(ProtectionError::OtherIdentity { path, what, expected, found });
            }
        }
        let floor = lines.next().and_then(|line| line.strip_prefix("nothing up to ")).ok_or(corrupt("a line is missing"))?;
        self.floor = Statement::from_str(floor).map_err(|_| corrupt("a line is no number"))?.0;
        let signed: Option<VecDeque<Signed>> = lines.map(read_line).collect();
        self.signed = signed.ok_or(corrupt("a line is no signature"))?;
        Ok(())
    }
}

fn read_line(line: &str) -> Option<Signed> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["batch", batch, "block", block, "root", root, "fact", fact] = words[..] else { return None };
    let root = keel_types::Felt::from_hex(root).ok()?;
    Some(Signed {
        batch: BatchId(batch.parse().ok()?),
        block: Height(block.parse().ok()?),
        root: FeltBytes(root),
        fact: fact.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is signed in a test is confirmed.
    const LATER: BatchId = BatchId(u64::MAX);
    const GENESIS: Bytes32 = Bytes32([7; 32]);

    fn attestor() -> AttestorId {
        AttestorId(0xa77e5_u64.into())
    }
    fn open(folder: &Path, statement: Option<Statement>) -> Result<Protection, ProtectionError> {
        Protection::open(folder, GENESIS, attestor(), statement)
    }
    fn entry(batch: u64, block: u64, fact: u8) -> Signed {
        let root = FeltBytes(block.into());
        Signed { batch: BatchId(batch), block: Height(block), root, fact: Bytes32([fact; 32]) }
    }

    #[test]
    fn one_fact_for_a_batch_and_for_a_height_and_never_a_lower_one_also_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let mut protection = open(dir.path(), Some(Statement(None))).unwrap();
        protection.allow(entry(0, 9, 1), LATER).unwrap();
        protection.allow(entry(1, 19, 2), LATER).unwrap();
        protection.allow(entry(3, 39, 3), LATER).unwrap();
        for reopened in [false, true] {
            if reopened {
                drop(protection);
                protection = open(dir.path(), None).unwrap();
            }
            let before = std::fs::read(dir.path().join(FILE)).unwrap();
            for again in [entry(0, 9, 1), entry(1, 19, 2), entry(3, 39, 3)] {
                protection.allow(again, LATER).unwrap();
            }
            for (asked, what) in [
                (entry(3, 39, 9), "another fact for a batch"),
                (Signed { root: FeltBytes(5_u64.into()), ..entry(3, 39, 3) }, "another root"),
                (entry(3, 49, 3), "another end for a batch"),
                (entry(4, 39, 9), "another batch for a height"),
                (entry(1, 19, 3), "another fact for an earlier batch"),
            ] {
                assert!(matches!(protection.allow(asked, LATER), Err(ProtectionError::OtherFact { .. })), "{what}");
            }
            for (asked, what) in
                [(entry(2, 29, 9), "between two"), (entry(4, 38, 9), "a lower height"), (entry(2, 49, 9), "a lower batch")]
            {
                assert!(matches!(protection.allow(asked, LATER), Err(ProtectionError::NotAbove { .. })), "{what}");
            }
            assert_eq!(std::fs::read(dir.path().join(FILE)).unwrap(), before);
        }
        protection.allow(entry(4, 40, 9), LATER).unwrap();
    }

    #[test]
    fn a_lost_or_damaged_file_opens_only_with_a_statement_and_nothing_below_it_is_signed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(open(dir.path(), None), Err(ProtectionError::Missing(_))));
        let mut protection = open(dir.path(), Some(Statement(None))).unwrap();
        protection.allow(entry(0, 9, 1), LATER).unwrap();
        drop(protection);
        assert!(matches!(open(dir.path(), Some(Statement(None))), Err(ProtectionError::StatementNotNeeded(_))));

        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        // Cut anywhere, or any byte changed.
        for at in 0..whole.len() {
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(matches!(open(dir.path(), None), Err(ProtectionError::Corrupt { .. })), "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert!(matches!(open(dir.path(), None), Err(ProtectionError::Corrupt { .. })), "changed at {at}");
        }
        let mut protection = open(dir.path(), Some(Statement(Some(Height(9))))).unwrap();
        assert!(matches!(protection.allow(entry(0, 9, 1), LATER), Err(ProtectionError::NotAbove { .. })));
        protection.allow(entry(1, 10, 2), LATER).unwrap();
        assert!(dir.path().join("signed.damaged").exists());
    }

    #[test]
    fn a_file_is_of_one_key_and_one_chain_and_held_by_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let held = open(dir.path(), Some(Statement(None))).unwrap();
        assert!(matches!(open(dir.path(), None), Err(ProtectionError::Locked(_))));
        drop(held);
        let other = AttestorId(0xbad_u64.into());
        for (genesis, attestor) in [(GENESIS, other), (Bytes32([8; 32]), attestor())] {
            for statement in [None, Some(Statement(None))] {
                let opened = Protection::open(dir.path(), genesis, attestor, statement);
                assert!(matches!(opened, Err(ProtectionError::OtherIdentity { .. })));
            }
        }
    }

    #[test]
    fn the_file_does_not_grow_and_what_left_it_is_never_signed() {
        let dir = tempfile::tempdir().unwrap();
        let mut protection = open(dir.path(), Some(Statement(None))).unwrap();
        let count = SIGNED_KEPT as u64 + 3;
        for batch in 0..count {
            protection.signed.push_back(entry(batch, batch * 10, 1));
            if protection.signed.len() > SIGNED_KEPT {
                protection.signed.pop_front();
            }
        }
        protection.signed.pop_back();
        protection.allow(entry(count - 1, (count - 1) * 10, 1), LATER).unwrap();
        // What is not confirmed may have to be signed again: it stays.
        protection.allow(entry(count, count * 10, 1), BatchId(3)).unwrap();
        assert_eq!(protection.signed.len(), SIGNED_KEPT + 1);
        protection.allow(entry(3, 30, 1), BatchId(3)).unwrap();
        protection.allow(entry(count + 1, (count + 1) * 10, 1), BatchId(5)).unwrap();
        drop(protection);
        let mut protection = open(dir.path(), None).unwrap();
        assert_eq!(protection.signed.len(), SIGNED_KEPT);
        assert_eq!(protection.floor, Some(Height(40)));
        assert!(matches!(protection.allow(entry(3, 30, 1), LATER), Err(ProtectionError::NotAbove { .. })));
    }

    #[test]
    fn a_full_disk_changes_nothing_and_room_lets_it_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut protection = open(dir.path(), Some(Statement(None))).unwrap();
        // A folder stands where the file is written.
        std::fs::create_dir(dir.path().join(TEMPORARY)).unwrap();
        for _ in 0..2 {
            assert!(matches!(protection.allow(entry(0, 9, 1), LATER), Err(ProtectionError::Io { .. })));
        }
        assert_eq!(protection.last(), None, "what is not in the file is not signed");
        std::fs::remove_dir(dir.path().join(TEMPORARY)).unwrap();
        protection.allow(entry(0, 9, 1), LATER).unwrap();
        drop(protection);
        assert_eq!(open(dir.path(), None).unwrap().last(), Some(entry(0, 9, 1)));
    }

    #[test]
    fn where_it_is_not_known_which_file_is_there_nothing_is_signed_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut protection = open(dir.path(), Some(Statement(None))).unwrap();
        // A folder stands where the file goes.
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        std::fs::create_dir(dir.path().join(FILE)).unwrap();
        assert!(matches!(protection.allow(entry(0, 9, 1), LATER), Err(ProtectionError::Io { .. })));
        assert!(matches!(protection.allow(entry(0, 9, 1), LATER), Err(ProtectionError::Sticky)));
    }
}
