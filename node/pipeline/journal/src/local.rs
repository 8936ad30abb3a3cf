use crate::{Journal, JournalError, Replay, Tail, check_continues};
use keel_types::{Bytes32, Record, Seq, Ts};
use rocksdb::{DB, Direction, IteratorMode, WriteBatch, WriteOptions};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memtable of the journal's own RocksDB. 64 MiB: about a minute of full load per flush, and a flush is the only compaction work.
const WRITE_BUFFER_BYTES: usize = 64 << 20;

/// How a [LocalJournal] is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sync every append. `false` exists to show that the crash test notices; it loses acknowledged orders.
    pub sync: bool,
    /// Note the synced length of the write-ahead log beside the journal, so that a crash test can cut it back there.
    pub note_synced_length: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { sync: true, note_synced_length: false }
    }
}

/// A journal in a RocksDB of its own: key = first sequence number (8 bytes, big endian), value = the encoded record.
/// One value per batch of commands, so that an append costs one synced write.
pub struct LocalJournal {
    db: Arc<DB>,
    write: WriteOptions,
    tail: Option<Tail>,
    /// Set by a failed append and never cleared.
    broken: bool,
    /// Last command of the last record whose append has returned; readers see no further.
    durable: Arc<AtomicU64>,
    synced: Option<SyncedLength>,
}

impl LocalJournal {
    /// Opens or creates the journal in `path` and reads its last record.
    pub fn open(path: &Path, options: Options) -> Result<LocalJournal, JournalError> {
        let open_error = |why: String| JournalError::Open { path: path.to_owned(), why };
        let mut db_options = rocksdb::Options::default();
        db_options.create_if_missing(true);
        db_options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        db_options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        // A torn record at the very end was never acknowledged and is dropped; damage anywhere else refuses to open.
        db_options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords);
        db_options.set_paranoid_checks(true);
        let db = DB::open(&db_options, path).map_err(|e| open_error(e.to_string()))?;
        let tail = match db.iterator(IteratorMode::End).next() {
            None => None,
            Some(Err(e)) => return Err(open_error(e.to_string())),
            Some(Ok((key, value))) => Some(Tail::of(&decode(&key, &value)?)),
        };
        let mut write = WriteOptions::default();
        write.set_sync(options.sync);
        let synced = options.note_synced_length.then(|| SyncedLength::create(path)).transpose();
        let synced = synced.map_err(|e| open_error(e.to_string()))?.filter(|_| options.sync);
        // What an unclean stop left in the log was written to a synced file by the opening.
        let durable = Arc::new(AtomicU64::new(tail.map_or(0, |tail| tail.last_seq.0)));
        Ok(LocalJournal { db: Arc::new(db), write, tail, broken: false, durable, synced })
    }

    /// A reader over the same open database, for another thread.
    pub fn reader(&self) -> JournalReader {
        JournalReader { db: self.db.clone(), durable: self.durable.clone() }
    }

    /// Appends records that follow each other, all of them or none, with one sync: what a follower is given at once.
    ///
    /// # Errors
    /// As [Journal::append]. A record that does not continue the chain is refused with all the others, and the journal stays usable.
    pub fn append_all(&mut self, records: &[Record]) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Sticky);
        }
        let (mut tail, mut batch) = (self.tail, WriteBatch::default());
        for record in records {
            check_continues(tail.as_ref(), record)?;
            tail = Some(Tail::of(record));
            batch.put(record.first_seq.0.to_be_bytes(), record.encode());
        }
        let Some(first) = records.first() else { return Ok(()) };
        self.db.write_opt(batch, &self.write).map_err(|e| {
            self.broken = true;
            JournalError::Append { first_seq: first.first_seq, why: e.to_string() }
        })?;
        if let Some(synced) = &mut self.synced {
            synced.note();
        }
        self.durable.store(tail.map_or(0, |tail| tail.last_seq.0), Ordering::Release);
        self.tail = tail;
        Ok(())
    }
}

impl Journal for LocalJournal {
    fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        self.append_all(std::slice::from_ref(record))
    }

    fn tail(&self) -> Option<Tail> {
        self.tail
    }
}

impl Replay for LocalJournal {
    fn replay(&self, from: Seq, link: Bytes32, visit: &mut dyn FnMut(Record) -> bool) -> Result<(), JournalError> {
        self.reader().replay(from, link, visit)
    }
}

/// Reads a [LocalJournal] that is open in this process.
#[derive(Clone)]
pub struct JournalReader {
    db: Arc<DB>,
    durable: Arc<AtomicU64>,
}

/// A record as it stands in the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord {
    pub first_seq: Seq,
    /// [Record::encode].
    pub bytes: Vec<u8>,
}

impl JournalReader {
    /// Opens the journal of a node that is not running, read-only.
    pub fn open_read_only(path: &Path) -> Result<JournalReader, JournalError> {
        let open_error = |why: String| JournalError::Open { path: path.to_owned(), why };
        let db = DB::open_for_read_only(&rocksdb::Options::default(), path, false).map_err(|e| open_error(e.to_string()))?;
        let reader = JournalReader { db: Arc::new(db), durable: Arc::default() };
        reader.durable.store(reader.tail()?.map_or(0, |tail| tail.last_seq.0), Ordering::Release);
        Ok(reader)
    }

    /// Last command whose record is durable; 0 when there is none. Only grows.
    pub fn durable(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    /// Whether a durable record begins with `seq`, or the next one will.
    ///
    /// # Errors
    /// The database.
    pub fn begins_at(&self, seq: Seq) -> Result<bool, JournalError> {
        let durable = self.durable();
        if seq.0 > durable.0 {
            return Ok(seq == durable.next());
        }
        let found = self.db.get_pinned(seq.0.to_be_bytes());
        Ok(found.map_err(|e| JournalError::Corrupt { seq, why: e.to_string() })?.is_some())
    }

    /// The durable records that begin at or after `from`, as they are stored, in order: as many as fit `bytes_max`, at least one if
    /// there is one. Not decoded: whoever gets them checks the chain.
    ///
    /// # Errors
    /// The database.
    pub fn page(&self, from: Seq, bytes_max: usize) -> Result<Vec<StoredRecord>, JournalError> {
        let (start, durable) = (from.0.to_be_bytes(), self.durable());
        let (mut page, mut size) = (Vec::new(), 0);
        for item in self.db.iterator(IteratorMode::From(&start, Direction::Forward)) {
            let (key, value) = item.map_err(|e| JournalError::Corrupt { seq: from, why: e.to_string() })?;
            let first_seq = first_seq(&key)?;
            if first_seq > durable || (!page.is_empty() && size + value.len() > bytes_max) {
                break;
            }
            size += value.len();
            page.push(StoredRecord { first_seq, bytes: value.into_vec() });
        }
        Ok(page)
    }

    /// The last record's place in the chain.
    pub fn tail(&self) -> Result<Option<Tail>, JournalError> {
        Ok(self.last()?.as_ref().map(Tail::of))
    }

    /// The last record.
    pub fn last(&self) -> Result<Option<Record>, JournalError> {
        match self.db.iterator(IteratorMode::End).next() {
            None => Ok(None),
            Some(Err(e)) => Err(JournalError::Corrupt { seq: Seq(0), why: e.to_string() }),
            Some(Ok((key, value))) => Ok(Some(decode(&key, &value)?)),
        }
    }
}

impl Replay for JournalReader {
    fn replay(&self, from: Seq, link: Bytes32, visit: &mut dyn FnMut(Record) -> bool) -> Result<(), JournalError> {
        let start = from.0.to_be_bytes();
        let mut tail = (from.0 > 1).then_some(Tail { last_seq: Seq(from.0 - 1), ts: Ts(0), hash: link });
        for item in self.db.iterator(IteratorMode::From(&start, Direction::Forward)) {
            let (key, value) = item.map_err(|e| JournalError::Corrupt { seq: from, why: e.to_string() })?;
            let record = decode(&key, &value)?;
            check_continues(tail.as_ref(), &record)?;
            tail = Some(Tail::of(&record));
            if !visit(record) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn first_seq(key: &[u8]) -> Result<Seq, JournalError> {
    let key = key.try_into().map_err(|_| JournalError::Corrupt { seq: Seq(0), why: "a key is not 8 bytes".into() })?;
    Ok(Seq(u64::from_be_bytes(key)))
}

fn decode(key: &[u8], value: &[u8]) -> Result<Record, JournalError> {
    let seq = first_seq(key)?;
    let corrupt = |why: String| JournalError::Corrupt { seq, why };
    let record = Record::decode(value).map_err(|e| corrupt(e.to_string()))?;
    if record.first_seq != seq {
        return Err(corrupt(format!("the record says it begins at {}", record.first_seq)));
    }
    Ok(record)
}

/// The name and synced length of the write-ahead log, noted in the file `synced` beside it after every synced append.
///
/// Only for tests of durability: bytes past this length are what a power failure may take, and cutting them is how such a
/// failure is simulated after a `kill -9` (the page cache survives that).
pub struct SyncedLength {
    dir: PathBuf,
    file: File,
}

impl SyncedLength {
    fn create(dir: &Path) -> std::io::Result<SyncedLength> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("synced"))?;
        Ok(SyncedLength { dir: dir.to_owned(), file })
    }

    fn note(&mut self) {
        let Some((name, length)) = newest_log(&self.dir) else { return };
        // Fixed width: one write replaces the whole note, so a kill cannot leave half of it.
        let line = format!("{name:>24} {length:>20}\n");
        let written = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(line.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(%error, "failed to note the synced length of the journal");
        }
    }

    /// Cuts the newest log in `dir` back to its noted length, as a power failure may. Returns how many bytes were lost.
    /// A log newer than the note was never synced and is cut to nothing.
    pub fn cut_back(dir: &Path) -> std::io::Result<u64> {
        let noted = std::fs::read_to_string(dir.join("synced")).unwrap_or_default();
        let mut words = noted.split_whitespace();
        let (name, length) = (words.next().unwrap_or_default(), words.next().and_then(|w| w.parse().ok()).unwrap_or(0u64));
        let mut lost = 0;
        for (log, size) in logs(dir) {
            let keep = match log.as_str().cmp(name) {
                std::cmp::Ordering::Less => size,
                std::cmp::Ordering::Equal => length.min(size),
                std::cmp::Ordering::Greater => 0,
            };
            lost += size - keep;
            let file = OpenOptions::new().write(true).open(dir.join(&log))?;
            file.set_len(keep)?;
            file.sync_all()?;
        }
        Ok(lost)
    }
}

fn logs(dir: &Path) -> Vec<(String, u64)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return vec![] };
    let named = entries.flatten().filter_map(|e| Some((e.file_name().into_string().ok()?, e.metadata().ok()?.len())));
    let mut logs: Vec<_> = named.filter(|(name, _)| name.ends_with(".log")).collect();
    logs.sort();
    logs
}

fn newest_log(dir: &Path) -> Option<(String, u64)> {
    logs(dir).pop()
}
