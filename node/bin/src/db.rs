//! `keel db`: what the store is made of.

use crate::config::Config;
use anyhow::{Context, Result};
use clap::Subcommand;
use keel_store::{Retained, Store, TableStats};
use keel_types::Height;
use serde_json::{Value, json};

/// Looks at the store of a node, running or stopped.
#[derive(Subcommand)]
pub enum Db {
    /// Rows, files and bytes of every table, and how far the chain and its history go. Beside a running node it shows the moment it looked.
    Stats {
        /// Counts rows by reading all of them, instead of RocksDB's estimate.
        #[arg(long)]
        exact: bool,
        /// JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
}

impl Db {
    /// Runs the command on the configured data folder.
    pub fn run(&self, config: &Config) -> Result<()> {
        let Db::Stats { exact, json } = *self;
        let genesis = crate::genesis(&config.genesis)?;
        let store = Store::open_read_only(&config.data_dir.join("store"), genesis.hash()).context("look at the store")?;
        let stats = Stats { height: store.height(), retained: store.retained()?, exact, tables: store.table_stats(exact)? };
        match json {
            true => println!("{}", serde_json::to_string_pretty(&stats.json())?),
            false => print!("{}", stats.text()),
        }
        Ok(())
    }
}

struct Stats {
    height: Option<Height>,
    retained: Retained,
    exact: bool,
    tables: Vec<TableStats>,
}

impl Stats {
    fn blocks(&self) -> u64 {
        self.height.map_or(0, |height| height.0 + 1)
    }

    fn sum(&self, of: fn(&TableStats) -> u64) -> u64 {
        self.tables.iter().map(of).sum()
    }

    fn json(&self) -> Value {
        let table = |table: &TableStats| {
            json!({
                "table": table.table,
                "rows": table.rows,
                "files": table.files,
                "diskBytes": table.disk_bytes,
                "memtableBytes": table.memtable_bytes,
            })
        };
        json!({
            "height": self.height.map(|height| height.0.to_string()),
            "blocks": self.blocks().to_string(),
            "firstProofHeight": self.retained.proofs.0.to_string(),
            "firstStateHeight": self.retained.state.0.to_string(),
            "rowsExact": self.exact,
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
            "rows": self.sum(|table| table.rows),
            "files": self.sum(|table| table.files),
            "diskBytes": self.sum(|table| table.disk_bytes),
            "memtableBytes": self.sum(|table| table.memtable_bytes),
        })
    }

    /// Largest tables first.
    fn text(&self) -> String {
        let rows_name = if self.exact { "rows" } else { "rows, about" };
        let line = |name: &str, rows: u64, files: u64, disk: u64, memory: u64| {
            format!("{name:>20} {rows:>14} {files:>7} {:>12} {:>14}\n", kib(disk), kib(memory))
        };
        let mut tables: Vec<&TableStats> = self.tables.iter().collect();
        tables.sort_by_key(|table| std::cmp::Reverse((table.disk_bytes, table.rows)));
        let height = self.height.map_or("none".to_owned(), |height| height.0.to_string());
        let mut text = format!("{:>20} {height}\n{:>20} {}\n", "height", "blocks", self.blocks());
        text +=
            &format!("{:>20} {}\n{:>20} {}\n\n", "proofs from", self.retained.proofs.0, "state from", self.retained.state.0);
        text += &format!("{:>20} {rows_name:>14} {:>7} {:>12} {:>14}\n", "table", "files", "disk KiB", "memtable KiB");
        for table in tables {
            text += &line(table.table, table.rows, table.files, table.disk_bytes, table.memtable_bytes);
        }
        let (rows, files) = (self.sum(|table| table.rows), self.sum(|table| table.files));
        text + &line("total", rows, files, self.sum(|table| table.disk_bytes), self.sum(|table| table.memtable_bytes))
    }
}

fn kib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0)
}
