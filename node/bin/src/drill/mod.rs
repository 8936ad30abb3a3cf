//! `keel drill`: a loss on a development network of its own, made on purpose, and what came of it: how long each step took, whether what safe
//! mode promises was kept, and the incident's report.
//!
//! The node is this binary, started as any node is. Faults come from outside it, as they would: signals, its disk, its clock, the settlement
//! layer, publishers, attestors, operators. Some need tools of the system and say so.

mod faults;
mod network;
mod outcome;
mod traders;

use crate::config::Config;
use crate::incident::{self, Format, Report};
use anyhow::{Context, Result, ensure};
use clap::Args;
use faults::Drill;
use keel_types::IncidentId;
use network::{Network, now_ms};
use outcome::{Outcome, Promise, Seen};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use traders::Traders;

/// File that says that a folder is a drill's, to be made anew.
const MARK: &str = "drill";
/// How long they trade before the fault.
const WARM_UP: Duration = Duration::from_secs(1);
/// Longest it takes to note when a record was announced.
const NOTED_MAX: Duration = Duration::from_secs(2);
/// How long it is looked at that nothing opens.
const WAITS: Duration = Duration::from_secs(4);

/// See [Drill].
#[derive(Args)]
pub struct DrillCommand {
    #[arg(value_enum)]
    name: Drill,
    /// The settlement layer's binary.
    #[arg(long, default_value = "anvil")]
    anvil: PathBuf,
    /// Where everything is written, made anew; without it `.keel/drill/NAME`.
    #[arg(long)]
    folder: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
}

impl DrillCommand {
    /// Runs it to its end and prints; an error when a promise was broken.
    pub async fn run(self, config: &Config) -> Result<()> {
        let folder = self.folder.clone().unwrap_or_else(|| PathBuf::from(".keel/drill").join(self.name.name()));
        tokio::select! {
            done = self.drill(config, folder) => done,
            // Everything is dropped, and ends with it.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    }

    async fn drill(&self, config: &Config, folder: PathBuf) -> Result<()> {
        make_anew(&folder).with_context(|| format!("make {} anew", folder.display()))?;
        let folder = folder.canonicalize()?;
        let (outcome, report) = self.carry_out(config, folder).await?;
        match self.format {
            Format::Json => println!("{:#}", json!({ "outcome": outcome, "report": report })),
            Format::Markdown => print!("{}\n{}", outcome.markdown(), report.markdown()),
        }
        let broken: Vec<&str> =
            outcome.promises.iter().filter(|promise| !promise.kept).map(|promise| promise.what).collect();
        ensure!(broken.is_empty(), "not so: {}", broken.join("; "));
        Ok(())
    }

    async fn carry_out(&self, config: &Config, folder: PathBuf) -> Result<(Outcome, Report)> {
        let drill = self.name;
        let (props, setup) = drill.prepare(&crate::genesis(&config.genesis)?, &folder)?;
        let mut network = Network::start(config, &self.anvil, folder, setup).await?;
        let traders = Traders::join(&network).await?;
        let resting = traders.rest(&network).await?;
        let load = traders.trade(&network);
        tokio::time::sleep(WARM_UP).await;

        eprintln!("{}: striking", drill.name());
        let fault = drill.strike(&mut network, &traders, &props).await?;
        let reason = json!(drill.reason().as_str());
        let closed = network.until(drill.reason().as_str(), |status| {
            status["phase"] != "OPEN" && status["reasons"].as_array().is_some_and(|reasons| reasons.contains(&reason))
        });
        let status = closed.await?;
        let closed = now_ms();
        let incident = status["incident"].as_str().and_then(|text| text.parse().ok()).map(IncidentId);
        let incident = incident.context("the status has no incident")?;
        let sent = load.finish().await?;
        let seen = Seen { fault: fault.at, closed, status, note: fault.note, resting, sent, incident };
        let report = announced(&network, incident, drill.reason().as_str()).await?;
        let mut outcome = Outcome::read(drill, &network, &traders, &seen, report.detail()).await?;

        eprintln!("{}: repairing", drill.name());
        drill.repair(&network, &props, incident).await?;
        let (what, kept, found) = match drill.opens() {
            true => {
                let open = network.phase("OPEN").await;
                outcome.open_ms = open.is_ok().then(|| now_ms().saturating_sub(seen.fault));
                ("it opens again by itself", open.is_ok(), open.err().map(|error| error.to_string()).unwrap_or_default())
            }
            false => {
                tokio::time::sleep(WAITS).await;
                let status = network.status().await.unwrap_or_default();
                ("it stays HALTED until people have looked", status["phase"] == "HALTED", status["phase"].to_string())
            }
        };
        outcome.promises.push(Promise { what, kept, found });
        // Now with how it ended.
        let report = incident::of_node(network.rpc(), incident).await?;
        Ok((outcome, report))
    }
}

/// The report, once it tells when the record of a reason was announced: that is noted after reads have it.
async fn announced(network: &Network, incident: IncidentId, reason: &str) -> Result<Report> {
    let end = Instant::now() + NOTED_MAX;
    loop {
        let report = incident::of_node(network.rpc(), incident).await?;
        let found = outcome::detection(report.detail(), reason);
        if found.is_some_and(|found| !found["announced"].is_null()) || Instant::now() > end {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Never a folder that is somebody else's.
fn make_anew(folder: &Path) -> Result<()> {
    if folder.exists() {
        let is_empty = std::fs::read_dir(folder)?.next().is_none();
        ensure!(is_empty || folder.join(MARK).is_file(), "it is not empty, and not of a drill: nothing was touched");
        faults::unmount(&folder.join("node"));
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    Ok(std::fs::write(folder.join(MARK), "made anew by each keel drill\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_a_drill_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        make_anew(&folder).unwrap();
        std::fs::write(folder.join("node.log"), "of the last time").unwrap();
        make_anew(&folder).unwrap();
        assert!(!folder.join("node.log").exists());
        std::fs::remove_file(folder.join(MARK)).unwrap();
        std::fs::write(folder.join("journal"), "dear").unwrap();
        make_anew(&folder).unwrap_err();
        assert!(folder.join("journal").exists());
    }
}
