use crate::batches::ChangeLog;
use crate::chain::Header;
use crate::error::StoreError;
use crate::keys::{HEADERS, Key, META, TABLES, prefix_end};
use crate::open::Open;
use crate::pruning::StateRetention;
use borsh::BorshDeserialize;
use keel_types::{Bytes32, Height, Seq, Ts};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, Direction, IteratorMode, Options, ReadOptions,
    Snapshot,
};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Version of the tables and their encodings. A store of another version is refused: delete it, it is rebuilt.
const FORMAT: u32 = 6;

/// Cache of uncompressed blocks for all tables: the upper levels of a trie of some million leaves.
const BLOCK_CACHE_BYTES: usize = 128 << 20;
/// One table's memtable. A sealed block is under 1 MB; this bounds what 40 tables can hold before they are flushed.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// All memtables together.
const WRITE_BUFFERS_BYTES: usize = 128 << 20;
/// RocksDB's log may grow to this before rarely written tables are flushed to release it: bounds recovery time.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// Open files; the default of "all" runs into the usual limit of 1,024 descriptors.
const OPEN_FILES_MAX: i32 = 512;
/// Bits per key of the filters: 1% false positives.
const FILTER_BITS: f64 = 10.0;

const KEY_FORMAT: &[u8] = b"format";
const KEY_GENESIS: &[u8] = b"genesis";
/// There in a replica of the settled state, see `replica`.
const KEY_REPLICA: &[u8] = b"replica";
pub(crate) const KEY_BLOCKS_HEIGHT: &[u8] = b"blocks_height";
pub(crate) const KEY_BLOCKS_SEQ: &[u8] = b"blocks_seq";
pub(crate) const KEY_HISTORY_SEQ: &[u8] = b"history_seq";
/// Time of the last record whose history is here.
pub(crate) const KEY_HISTORY_TS: &[u8] = b"history_ts";

/// What a store is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Node,
    Replica,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Node => "the store of a node",
            Kind::Replica => "a replica of the settled state, without blocks",
        }
    }
}

/// Key and value.
pub(crate) type Row = (Box<[u8]>, Box<[u8]>);

/// The database. Cheap to clone; clones are one database.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: DB,
    /// Committed blocks: height + 1; 0 before genesis. Read by RPC threads without touching the database.
    blocks: AtomicU64,
    /// Of all batches since the store was opened.
    bytes_written: AtomicU64,
    open: Open,
    batch_changes: ChangeLog,
    /// What the commits from now on prune.
    retention: RwLock<StateRetention>,
}

impl Store {
    /// Opens the store in `path` for the chain named by `genesis` ([`keel_types::Genesis::hash`]); makes it if there is none.
    ///
    /// # Errors
    /// The directory cannot be opened, belongs to another genesis, or has another format.
    pub fn open(path: &Path, genesis: Bytes32) -> Result<Store, StoreError> {
        Store::open_kind(path, genesis, Kind::Node)
    }

    pub(crate) fn open_kind(path: &Path, genesis: Bytes32, kind: Kind) -> Result<Store, StoreError> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let tables = TABLES.iter().map(|name| ColumnFamilyDescriptor::new(*name, table_options(&cache)));
        let db = DB::open_cf_descriptors(&database_options(), path, tables)
            .map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        Store::over(db, path, genesis, kind, false)
    }

    /// Opens the store in `path` to look at it, also beside the node that writes it: what is read is a moment at or before the opening.
    /// No row is changed, everything that writes fails; RocksDB does begin a new text log (`LOG`) in the folder.
    ///
    /// # Errors
    /// The directory cannot be opened (while a node runs, files may vanish during the attempt: try again), has no store in it, belongs to
    /// another genesis, or has another format.
    pub fn open_read_only(path: &Path, genesis: Bytes32) -> Result<Store, StoreError> {
        Store::open_kind_read_only(path, genesis, Kind::Node)
    }

    pub(crate) fn open_kind_read_only(path: &Path, genesis: Bytes32, kind: Kind) -> Result<Store, StoreError> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let tables = TABLES.iter().map(|name| ColumnFamilyDescriptor::new(*name, table_options(&cache)));
        let mut options = database_options();
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        // Opening makes the folder and a text log even where there is no database: ask for its tables first.
        DB::list_cf(&options, path).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        let db = DB::open_cf_descriptors_read_only(&options, path, tables, false)
            .map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        Store::over(db, path, genesis, kind, true)
    }

    fn over(db: DB, path: &Path, genesis: Bytes32, kind: Kind, read_only: bool) -> Result<Store, StoreError> {
        let inner = Inner {
            db,
            blocks: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            open: Open::default(),
            batch_changes: ChangeLog::default(),
            retention: RwLock::default(),
        };
        let store = Store { inner: Arc::new(inner) };
        store.check_identity(genesis, kind, read_only)?;
        let found = if store.marker::<()>(KEY_REPLICA)?.is_some() { Kind::Replica } else { Kind::Node };
        if found != kind {
            return Err(StoreError::OtherKind { path: path.to_owned(), expected: kind.as_str(), found: found.as_str() });
        }
        if let Some(height) = store.marker(KEY_BLOCKS_HEIGHT)?.map(Height) {
            let missing = || corrupt(HEADERS, Key::new().height(height).as_ref(), "the last block has no header");
            store.publish(&store.header(height)?.ok_or_else(missing)?);
        }
        Ok(store)
    }

    fn check_identity(&self, genesis: Bytes32, kind: Kind, read_only: bool) -> Result<(), StoreError> {
        match self.marker::<u32>(KEY_FORMAT)? {
            None if read_only => Err(StoreError::OtherFormat { expected: FORMAT, found: 0 }),
            None => {
                let mut batch = self.batch();
                batch.put(META, KEY_FORMAT, borsh_vec(&FORMAT));
                batch.put(META, KEY_GENESIS, borsh_vec(&genesis));
                if kind == Kind::Replica {
                    batch.put(META, KEY_REPLICA, borsh_vec(&()));
                }
                batch.write()
            }
            Some(found) if found != FORMAT => Err(StoreError::OtherFormat { expected: FORMAT, found }),
            Some(_) => match self.marker::<Bytes32>(KEY_GENESIS)? {
                Some(found) if found == genesis => Ok(()),
                found => Err(StoreError::OtherGenesis { expected: genesis, found: found.unwrap_or_default() }),
            },
        }
    }

    /// Height of the last committed block; `None` before genesis. Everything up to it can be read, by any thread.
    pub fn height(&self) -> Option<Height> {
        self.inner.blocks.load(Ordering::Acquire).checked_sub(1).map(Height)
    }

    /// The block of `header` is committed: readers may have it, and what was open is in it.
    pub(crate) fn publish(&self, header: &Header) {
        self.inner.open.commit(header, || self.inner.blocks.store(header.block.number + 1, Ordering::Release));
    }

    pub(crate) fn change_log(&self) -> &ChangeLog {
        &self.inner.batch_changes
    }

    pub(crate) fn tip_state(&self) -> &Open {
        &self.inner.open
    }

    /// Sets what commits from now on forget of proofs and state at old heights; without it nothing. For all clones.
    #[must_use]
    pub fn with_state_retention(self, retention: StateRetention) -> Store {
        *self.inner.retention.write().unwrap_or_else(PoisonError::into_inner) = retention;
        self
    }

    pub(crate) fn state_retention(&self) -> StateRetention {
        *self.inner.retention.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole database as it is now, whatever is committed or pruned after.
    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        self.inner.db.snapshot()
    }

    /// Sequence number of the last command that is in a committed block.
    ///
    /// # Errors
    /// The database.
    pub fn blocks_seq(&self) -> Result<Seq, StoreError> {
        Ok(self.marker(KEY_BLOCKS_SEQ)?.unwrap_or_default())
    }

    /// Sequence number of the last command whose history rows are here.
    ///
    /// # Errors
    /// The database.
    pub fn history_seq(&self) -> Result<Seq, StoreError> {
        Ok(self.marker(KEY_HISTORY_SEQ)?.unwrap_or_default())
    }

    /// Time of the record of [`Store::history_seq`].
    ///
    /// # Errors
    /// The database.
    pub fn history_ts(&self) -> Result<Ts, StoreError> {
        Ok(self.marker(KEY_HISTORY_TS)?.unwrap_or_default())
    }

    /// The journal must be replayed into this store from the command right after this one: start from a snapshot with
    /// `seq` not above it, or from nothing. What was already here is skipped.
    ///
    /// # Errors
    /// The database.
    pub fn resume_after(&self) -> Result<Seq, StoreError> {
        Ok(self.blocks_seq()?.min(self.history_seq()?))
    }

    /// Bytes of rows given to the database since the store was opened, before compression; it writes them to its log, and again when it
    /// sorts them into files.
    pub fn bytes_written(&self) -> u64 {
        self.inner.bytes_written.load(Ordering::Relaxed)
    }

    pub(crate) fn database(&self) -> &DB {
        &self.inner.db
    }

    pub(crate) fn table_property(&self, table: &str, property: &rocksdb::properties::PropName) -> Result<u64, StoreError> {
        Ok(self.inner.db.property_int_value_cf(self.table(table), property)?.unwrap_or_default())
    }

    /// Waits until every other clone is gone, then closes the database on this thread. A process must do this before it ends: RocksDB that is
    /// still open, or being closed by a thread that nobody joined, while C++ destroys its statics aborts the process. False when clones
    /// remained after `timeout`.
    #[must_use]
    pub fn close(self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut inner = self.inner;
        loop {
            match Arc::try_unwrap(inner) {
                Ok(last) => {
                    drop(last);
                    return true;
                }
                Err(_) if Instant::now() >= until => return false,
                Err(shared) => inner = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Writes memtables to disk. For a graceful stop; nothing depends on it.
    ///
    /// # Errors
    /// The database.
    pub fn flush(&self) -> Result<(), StoreError> {
        for name in TABLES {
            self.inner.db.flush_cf(self.table(name))?;
        }
        Ok(())
    }

    pub(crate) fn marker<T: BorshDeserialize>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(META, key)
    }

    pub(crate) fn table(&self, name: &str) -> &ColumnFamily {
        self.inner.db.cf_handle(name).expect("every table in TABLES was opened")
    }

    pub(crate) fn get_bytes(&self, table: &str, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner.db.get_cf(self.table(table), key)?)
    }

    pub(crate) fn get<T: BorshDeserialize>(
        &self,
        table: &'static str,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.get_bytes(table, key.as_ref())? else { return Ok(None) };
        decode(table, key.as_ref(), &bytes).map(Some)
    }

    /// Rows from `from` on (included), ascending, as long as keys start with `prefix`.
    pub(crate) fn scan<'a>(
        &'a self,
        table: &str,
        prefix: &[u8],
        from: &[u8],
    ) -> impl Iterator<Item = Result<Row, StoreError>> + use<'a> {
        let mode = IteratorMode::From(from, Direction::Forward);
        let rows = self.inner.db.iterator_cf_opt(self.table(table), below_end_of(prefix), mode);
        rows.map(|row| row.map_err(StoreError::from))
    }

    /// Rows up to `to` (included), descending, as long as keys start with `prefix`.
    pub(crate) fn scan_down<'a>(
        &'a self,
        table: &str,
        prefix: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = Result<Row, StoreError>> + use<'a> {
        let mode = IteratorMode::From(to, Direction::Reverse);
        let rows = self.inner.db.iterator_cf_opt(self.table(table), from_start_of(prefix), mode);
        rows.map(|row| row.map_err(StoreError::from))
    }

    /// The row with the greatest key not above `to`, if it starts with `prefix`.
    pub(crate) fn last_at(&self, table: &str, prefix: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError> {
        self.scan_down(table, prefix, to).next().transpose()
    }

    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { store: self, rows: rocksdb::WriteBatch::default() }
    }
}

/// Reads no key above those that start with `prefix`.
pub(crate) fn below_end_of(prefix: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(end) = prefix_end(prefix) {
        options.set_iterate_upper_bound(end);
    }
    options
}

/// Reads no key below those that start with `prefix`.
pub(crate) fn from_start_of(prefix: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(prefix.to_vec());
    options
}

/// Rows that are written together or not at all.
pub(crate) struct Batch<'a> {
    store: &'a Store,
    rows: rocksdb::WriteBatch,
}

impl Batch<'_> {
    pub(crate) fn put(&mut self, table: &str, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.rows.put_cf(self.store.table(table), key, value);
    }
    pub(crate) fn delete(&mut self, table: &str, key: impl AsRef<[u8]>) {
        self.rows.delete_cf(self.store.table(table), key);
    }
    /// One write, in RocksDB's log, not synced (see the crate's invariant).
    pub(crate) fn write(self) -> Result<(), StoreError> {
        self.store.inner.bytes_written.fetch_add(self.rows.size_in_bytes() as u64, Ordering::Relaxed);
        Ok(self.store.inner.db.write(self.rows)?)
    }
}

pub(crate) fn borsh_vec(value: &impl borsh::BorshSerialize) -> Vec<u8> {
    borsh::to_vec(value).expect("writing to a Vec cannot fail")
}

pub(crate) fn decode<T: BorshDeserialize>(table: &'static str, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(bytes).map_err(|error| corrupt(table, key, &error.to_string()))
}

pub(crate) fn corrupt(table: &'static str, key: &[u8], why: &str) -> StoreError {
    let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
    StoreError::Corrupt { table, key, why: why.to_owned() }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(LOG_BYTES_MAX);
    options.set_keep_log_file_num(4);
    // After a power loss keep the longest prefix of the log that is whole: any prefix is a moment of the store.
    options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::PointInTime);
    options
}

fn table_options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(FILTER_BITS, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENESIS: Bytes32 = Bytes32([7; 32]);

    #[test]
    fn a_store_of_another_chain_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), GENESIS).unwrap());
        assert!(Store::open(dir.path(), GENESIS).is_ok());
        let other = Store::open(dir.path(), Bytes32([8; 32])).map(drop);
        assert!(matches!(other, Err(StoreError::OtherGenesis { .. })), "{other:?}");
    }

    #[test]
    fn a_store_can_be_looked_at_while_it_is_open_elsewhere_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Store::open_read_only(&dir.path().join("nothing"), GENESIS).map(drop);
        assert!(matches!(missing, Err(StoreError::Open { .. })), "{missing:?}");
        assert!(!dir.path().join("nothing").exists(), "looking makes nothing");
        let store = Store::open(dir.path(), GENESIS).unwrap();
        let put = |store: &Store, key: &[u8]| {
            let mut batch = store.batch();
            batch.put(META, key, [1]);
            batch.write()
        };
        put(&store, b"flushed").unwrap();
        store.flush().unwrap();
        put(&store, b"in the log only").unwrap();
        let look = Store::open_read_only(dir.path(), GENESIS).unwrap();
        for key in [&b"flushed"[..], b"in the log only"] {
            assert_eq!(look.get_bytes(META, key).unwrap(), Some(vec![1]));
        }
        assert!(matches!(put(&look, b"no"), Err(StoreError::Database(_))));
        let other = Store::open_read_only(dir.path(), Bytes32([8; 32])).map(drop);
        assert!(matches!(other, Err(StoreError::OtherGenesis { .. })), "{other:?}");
        let meta = |exact| look.table_stats(exact).unwrap().into_iter().find(|stats| stats.table == META).unwrap();
        assert_eq!((meta(true).rows, meta(true).files), (4, 1), "format, genesis and two of ours");
        assert!(meta(false).disk_bytes > 0);
        put(&store, b"the writer goes on").unwrap();
    }

    #[test]
    fn scans_stay_inside_their_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), GENESIS).unwrap();
        let mut batch = store.batch();
        let keys = [&[1, 0xff, 1][..], &[1, 0xff, 2], &[1, 0xff, 0xff, 9], &[2, 0, 0], &[0xff, 0xff]];
        keys.iter().for_each(|key| batch.put(META, key, [1]));
        batch.write().unwrap();
        let up = |prefix: &[u8], from: &[u8]| {
            store.scan(META, prefix, from).map(|row| row.unwrap().0.to_vec()).collect::<Vec<_>>()
        };
        let down = |prefix: &[u8], to: &[u8]| {
            store.scan_down(META, prefix, to).map(|row| row.unwrap().0.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(up(&[1, 0xff], &[1, 0xff, 2]), [keys[1], keys[2]]);
        assert_eq!(up(&[0xff, 0xff], &[0xff, 0xff]), [keys[4]]);
        assert_eq!(down(&[1, 0xff], &[1, 0xff, 2]), [keys[1], keys[0]]);
        assert!(down(&[2], &[1, 0xff, 0xff]).is_empty());
        assert_eq!(Key::new().u16(1).u8(2).as_ref(), [0, 1, 2]);
    }
}
