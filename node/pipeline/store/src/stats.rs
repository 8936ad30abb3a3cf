//! What the database is made of, and what a piece of work reads of it. For operators and benchmarks.

use crate::error::StoreError;
use crate::keys::TABLES;
use crate::store::Store;
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};

/// One table in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableStats {
    pub table: &'static str,
    /// Rows: an estimate of RocksDB (overwritten and deleted rows may count until they are compacted), or counted.
    pub rows: u64,
    /// Files, and their bytes on disk.
    pub files: u64,
    pub disk_bytes: u64,
    /// Of rows that are only in memory and in RocksDB's log yet; some of it is reserved.
    pub memtable_bytes: u64,
}

/// What one thread read of the database during some work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadCounts {
    /// Bytes of the values that were asked for by key.
    pub value_bytes: u64,
    /// Blocks of files (4 KB of rows, or an index or filter) found in the cache of uncompressed blocks.
    pub blocks_cached: u64,
    /// Blocks read from files, which the operating system may have in its cache, and their bytes as stored.
    pub blocks_read: u64,
    pub block_bytes: u64,
}

/// Does `work` and counts what it reads of any database on this thread.
pub fn counting_reads<T>(work: impl FnOnce() -> T) -> (T, ReadCounts) {
    set_perf_stats(PerfStatsLevel::EnableCount);
    let mut context = PerfContext::default();
    context.reset();
    let result = work();
    let counts = ReadCounts {
        value_bytes: context.metric(PerfMetric::GetReadBytes),
        blocks_cached: context.metric(PerfMetric::BlockCacheHitCount),
        blocks_read: context.metric(PerfMetric::BlockReadCount),
        block_bytes: context.metric(PerfMetric::BlockReadByte),
    };
    set_perf_stats(PerfStatsLevel::Disable);
    (result, counts)
}

impl Store {
    /// Every table. `exact` counts rows by reading all of them.
    ///
    /// # Errors
    /// The database.
    pub fn table_stats(&self, exact: bool) -> Result<Vec<TableStats>, StoreError> {
        let files = self.database().live_files()?;
        TABLES
            .iter()
            .map(|table| {
                let of_table = files.iter().filter(|file| file.column_family_name == *table);
                let rows = match exact {
                    true => self.scan(table, &[], &[]).try_fold(0, |rows, row| row.map(|_| rows + 1))?,
                    false => self.table_property(table, rocksdb::properties::ESTIMATE_NUM_KEYS)?,
                };
                Ok(TableStats {
                    table,
                    rows,
                    files: of_table.clone().count() as u64,
                    disk_bytes: of_table.map(|file| file.size as u64).sum(),
                    memtable_bytes: self.table_property(table, rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES)?,
                })
            })
            .collect()
    }
}
