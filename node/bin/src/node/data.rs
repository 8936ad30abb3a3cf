use anyhow::{Context, Result, bail};
use keel_journal::Tail;
use keel_types::{LossReason, Seq, Ts, Void};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The folder of one node or attestor: `journal/`, `snapshots/`, `store/`, `incidents/`, `signatures/`, `jwt.hex`, `follower.hex`, `clean`,
/// `released`.
/// Locked while it is in use.
pub struct DataDir {
    path: PathBuf,
    /// Held for as long as the process lives.
    _lock: File,
}

impl DataDir {
    /// Makes the folder if missing and takes its lock.
    pub fn lock(path: &Path) -> Result<DataDir> {
        std::fs::create_dir_all(path).with_context(|| format!("make data folder {}", path.display()))?;
        let lock = File::create(path.join("lock")).with_context(|| format!("lock data folder {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!("data folder {}: another node is using it", path.display()),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock data folder {}", path.display())),
        }
    }
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The authority.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }
    /// Never authoritative.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }
    /// Encoded engines.
    pub fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }
    /// Integrity reports, and what else is known of incidents besides the journal.
    pub fn incidents(&self) -> PathBuf {
        self.path.join("incidents")
    }

    /// The note of what was released: the last command whose results may have left the process. `None`: there is no good one, so that
    /// anything may have.
    pub fn released(&self) -> Option<Seq> {
        let bytes = std::fs::read(self.path.join("released")).ok()?;
        bytes.try_into().ok().map(|bytes| Seq(u64::from_le_bytes(bytes)))
    }

    /// Opens that note, which from now on says at least `seq`.
    pub fn note_released(&self, seq: Seq) -> Result<ReleasedNote> {
        let options = || OpenOptions::new().create(true).truncate(false).write(true).open(self.path.join("released"));
        let note = ReleasedNote { file: options().context("note what is released")? };
        note.write(seq).and_then(|()| note.file.sync_all()).context("note what is released")?;
        self.sync()?;
        Ok(note)
    }

    /// Why the journal must go on with `EnterSafeMode`: it ends with a Void, no clean stop, too long a downtime, or a chain that never
    /// ran. Consumes the note of a clean stop, so that a crash from here on is seen as one.
    pub fn needs_safe_mode(
        &self,
        tail: Option<Tail>,
        void: Option<&Void>,
        now: Ts,
        downtime_ms_max: u64,
    ) -> Result<Option<(LossReason, String)>> {
        let note = self.path.join("clean");
        let noted = std::fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok()).map(Seq);
        if noted.is_some() {
            std::fs::remove_file(&note).context("remove the note of the last clean stop")?;
            self.sync()?;
        }
        let broken = |why: String| Ok(Some((LossReason::InvariantBroken, why)));
        if let Some(Void { seq, reason }) = void {
            return broken(format!(
                "the record of command {seq} broke the engine and was voided by two operators: {reason}"
            ));
        }
        if self.path.join("engine-broken").exists() {
            return broken("a command broke the engine before the last stop".into());
        }
        let restart = |why: &str| Some((LossReason::Restart, why.to_owned()));
        Ok(match tail {
            None => restart("a new chain"),
            Some(tail) if noted != Some(tail.last_seq) => restart("the last stop was not clean"),
            Some(tail) if now.ms().saturating_sub(tail.ts.ms()) > downtime_ms_max => {
                restart("the node was down for too long")
            }
            Some(_) => None,
        })
    }

    /// Notes that a command broke the engine. The note stays until an operator removes the file: every start until then begins with
    /// `EnterSafeMode{INVARIANT_BROKEN}`.
    pub fn note_engine_broken(&self, seq: Seq) -> Result<()> {
        let mut file = File::create(self.path.join("engine-broken")).context("note the broken engine")?;
        writeln!(file, "{seq}").and_then(|()| file.sync_all()).context("note the broken engine")?;
        self.sync()
    }

    /// Notes that everything up to `seq` was finished.
    pub fn note_clean_stop(&self, seq: Seq) -> Result<()> {
        let mut file = File::create(self.path.join("clean")).context("note the clean stop")?;
        writeln!(file, "{seq}").and_then(|()| file.sync_all()).context("note the clean stop")?;
        self.sync()
    }

    /// What the attestor's key has signed. Never rebuilt.
    pub fn signatures(&self) -> PathBuf {
        self.path.join("signatures")
    }

    /// A secret of the admin port: the configured file, or one of our own by this name, made when missing.
    pub fn secret(&self, configured: Option<&Path>, name: &str) -> Result<PathBuf> {
        use std::os::unix::fs::OpenOptionsExt;
        if let Some(path) = configured {
            return Ok(path.to_owned());
        }
        let path = self.path.join(name);
        if !path.exists() {
            let hex = new_secret()?;
            // Whole or not there: half a secret would stop every later start.
            let beside = path.with_extension("tmp");
            let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            writeln!(file, "{hex}").and_then(|()| file.sync_all()).context("write the admin secret")?;
            std::fs::rename(&beside, &path).context("write the admin secret")?;
            self.sync()?;
        }
        Ok(path)
    }

    fn sync(&self) -> Result<()> {
        File::open(&self.path).and_then(|dir| dir.sync_all()).context("sync the data folder")
    }
}

/// 32 random bytes in hex, as the secrets of the admin port are.
pub fn new_secret() -> Result<String> {
    let mut secret = [0u8; 32];
    File::open("/dev/urandom").and_then(|mut random| std::io::Read::read_exact(&mut random, &mut secret))?;
    Ok(hex::encode(secret))
}

/// Eight bytes, written in place before the results of a record leave the process, and not synced: they survive the process however it
/// ends. A machine that loses power may lose the last of them; what the store and the snapshots have still speaks then.
pub struct ReleasedNote {
    file: File,
}

impl ReleasedNote {
    /// Results up to `seq` may leave now.
    ///
    /// # Errors
    /// The disk: then nothing may leave.
    pub fn write(&self, seq: Seq) -> std::io::Result<()> {
        self.file.write_all_at(&seq.0.to_le_bytes(), 0)
    }
}
