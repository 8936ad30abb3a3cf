//! What goes wrong in each drill, and how it is put right.

use super::network::{Network, PATIENCE, Setup, now_ms, signal};
use super::traders::Traders;
use crate::dev;
use crate::publish::Steer;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use keel_settlement::attestation::{AttestorKey, Scheme};
use keel_types::{Bytes32, Diverged, Divergence, DivergenceReport, Felt, Genesis, Height, IncidentId, LossReason};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a process stands still: more than the engine may.
const STANDSTILL: Duration = Duration::from_secs(7);
/// How long one append hangs: more than it may.
const SLOW_SYNC_US: u64 = 4_000_000;
/// Size of the small file system, and what is left of it when the disk is low: less than the development profile wants.
const DISK_MIB: usize = 512;
const DISK_LEFT_MIB: usize = 32;
/// Delay of a cancellation on the settlement layer.
const CANCELLATION_S: u64 = 16;
/// Age at which a backlog is a loss in the drill of it.
const BACKLOG_MS: u64 = 10_000;
/// How long something is seen not to happen.
const STILL: Duration = Duration::from_secs(2);
/// Accounts of the development layer, which signs for them: who owns the contracts, who submits, who deposits; and a stranger.
const OWNER: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
const SUBMITTER: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";
const DEPOSITOR: &str = "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc";
const STRANGER: u64 = 0x7411_ef00;
/// What an account of it has at most here, and what a poor one gets back.
const ETHER_100: &str = "0x56bc75e2d63100000";
/// Words of a contract's storage that are looked through.
const SLOTS_MAX: u64 = 64;

/// A loss to be trained for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Drill {
    /// The settlement layer stands still.
    SettlementDown,
    /// The settlement layer undoes a final deposit that was credited.
    Reorg,
    /// The contract on the settlement layer has another root than ours.
    SettlementMismatch,
    /// The submitter has no money: batches are not settled.
    SettlementBacklog,
    /// A sender takes back a credited deposit that is not settled yet.
    SettlementCancellation,
    /// Publishers say nothing.
    OracleStale,
    /// Publishers say that every price is zero.
    OracleZero,
    /// Prices leap to and fro.
    OracleLeap,
    /// A stranger's file takes nearly all room of the disk.
    DiskLow,
    /// A stranger's file takes all room of the disk at once.
    DiskFull,
    /// An append to the journal hangs.
    SlowDisk,
    /// The disk refuses to make an append durable.
    DiskError,
    /// The wall clock steps by ten seconds.
    ClockStep,
    /// Two enrolled attestors report another state; one alone only alerts.
    DivergingReplica,
    /// Money leaves the escrow, and the integrity gate finds it missing.
    InvariantBroken,
    /// The node's process stands still.
    EngineStalled,
    /// The node is killed.
    Kill,
    /// An operator closes the venue.
    Operator,
}

/// What a drill keeps from its beginning to its end.
#[derive(Default)]
pub struct Props {
    attestors: Vec<String>,
    disk: Option<SmallDisk>,
    clock: PathBuf,
}

/// A fault that was made.
pub struct Fault {
    /// When, milliseconds since the Unix epoch.
    pub at: u64,
    /// What an operator would see or do, for the protocol.
    pub note: String,
}

impl Drill {
    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().expect("none is skipped").get_name().to_owned()
    }

    /// The reason that it must end in.
    pub fn reason(self) -> LossReason {
        match self {
            Drill::SettlementDown => LossReason::SettlementHeadStale,
            Drill::Reorg => LossReason::SettlementReorg,
            Drill::SettlementMismatch => LossReason::SettlementMismatch,
            Drill::SettlementBacklog => LossReason::SettlementBacklog,
            Drill::SettlementCancellation => LossReason::SettlementCancellation,
            // A price of zero is no price.
            Drill::OracleStale | Drill::OracleZero => LossReason::OracleStale,
            Drill::OracleLeap => LossReason::OracleImplausible,
            Drill::DiskLow | Drill::DiskFull => LossReason::DiskLow,
            Drill::SlowDisk => LossReason::JournalStalled,
            Drill::ClockStep => LossReason::ClockStep,
            Drill::DivergingReplica => LossReason::StateDiverged,
            Drill::InvariantBroken => LossReason::InvariantBroken,
            Drill::EngineStalled => LossReason::EngineStalled,
            // Nothing could be written any more: the record is the next start's.
            Drill::DiskError | Drill::Kill => LossReason::Restart,
            Drill::Operator => LossReason::Operator,
        }
    }

    /// Whether the venue opens again once the fault is put right. A settlement layer that has undone or changed what was final is for people
    /// to look at.
    pub fn opens(self) -> bool {
        !matches!(self, Drill::Reorg | Drill::SettlementMismatch)
    }

    /// Longest from the detection until it is cancelled and durable, with this few orders and an idle disk; a machine that builds beside it is
    /// slow. Where the append hangs, its end is waited for.
    pub fn durable_ms_max(self) -> u64 {
        match self {
            Drill::SlowDisk => SLOW_SYNC_US / 1_000 + 1_000,
            _ => 1_000,
        }
    }

    /// Prepares what must stand before the network does.
    ///
    /// # Errors
    /// The system lacks what it takes; the text says what.
    pub fn prepare(self, genesis: &Genesis, folder: &Path) -> Result<(Props, Setup)> {
        let (mut props, mut setup) = (Props::default(), Setup::default());
        match self {
            Drill::DiskLow | Drill::DiskFull => props.disk = Some(SmallDisk::mount(&folder.join("node"))?),
            Drill::ClockStep => {
                props.clock = folder.join("clock");
                std::fs::write(&props.clock, "+0")?;
                let clock = props.clock.display().to_string();
                let env = |name: &str, value: &str| (name.to_owned(), value.to_owned());
                setup.envs = vec![
                    env("LD_PRELOAD", &fake_time()?),
                    env("FAKETIME_TIMESTAMP_FILE", &clock),
                    env("FAKETIME_CACHE_DURATION", "1"),
                    env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                ];
            }
            Drill::DivergingReplica => {
                for _ in 0..2 {
                    let secret = starknet::signers::SigningKey::from_random().secret_scalar();
                    let secret = format!("{secret:#066x}");
                    let id = AttestorKey::parse(&Scheme::of(genesis), &secret)?.id();
                    setup.attestors.push(format!("{:#042x}", id.0));
                    props.attestors.push(secret);
                }
            }
            Drill::SettlementBacklog => {
                let mut config = keel_guard::Config::short();
                config.thresholds.settlement_backlog_ms = BACKLOG_MS;
                setup.sets = custom(&config)?;
            }
            Drill::SlowDisk | Drill::DiskError => strace_is_there()?,
            _ => {}
        }
        Ok((props, setup))
    }

    /// Makes the fault. Where the node's process ends by it, the node is started again.
    pub async fn strike(self, network: &mut Network, traders: &Traders, props: &Props) -> Result<Fault> {
        let mut note = String::new();
        let mut at = now_ms();
        match self {
            Drill::SettlementDown => signal(network.l1_id()?, "STOP").await?,
            Drill::Reorg => {
                let (nonce, block) = dev::fund(&network.config, &traders.maker(), "USDC", "1").await?;
                deposit_credited(network, nonce).await?;
                let head = number(&network.l1("eth_blockNumber", &[]).await?)?;
                at = now_ms();
                network.l1("anvil_reorg", &[json!(head - block + 1), json!([])]).await?;
                note = format!("the last {} blocks are other blocks now", head - block + 1);
            }
            Drill::SettlementMismatch => {
                network.until("a settled batch", |status| status["settlement"]["confirmed"].is_object()).await?;
                let slot = slot_of(network, &network.genesis.settlement.core.to_string(), "stateRoot()").await?;
                at = now_ms();
                let word = format!("{:#066x}", Felt::from(STRANGER));
                network
                    .l1("anvil_setStorageAt", &[json!(network.genesis.settlement.core.to_string()), slot, json!(word)])
                    .await?;
            }
            Drill::SettlementBacklog => {
                network.l1("anvil_setBalance", &[json!(SUBMITTER), json!("0x0")]).await?;
            }
            Drill::SettlementCancellation => {
                let [core, bridge] =
                    [network.genesis.settlement.core, network.genesis.settlement.bridge].map(|at| at.to_string());
                let delay = [Felt::from(CANCELLATION_S)];
                network.transact(OWNER, &core, "setMessageCancellationDelay(uint256)", &delay).await?;
                network.l1("anvil_setBalance", &[json!(SUBMITTER), json!("0x0")]).await?;
                let out_of_funds = |status: &Value| status["settlement"]["submitter"] == "out of funds";
                network.until("the submitter to have no money", out_of_funds).await?;
                let (nonce, _) = dev::fund(&network.config, &traders.maker(), "USDC", "1").await?;
                deposit_credited(network, nonce).await?;
                at = now_ms();
                network.transact(DEPOSITOR, &bridge, "startDepositCancellation(uint256)", &[Felt::from(nonce)]).await?;
                note = format!("it may be taken back {CANCELLATION_S} s later; half of that is the limit");
            }
            Drill::OracleStale => network.publish(Steer::Nothing),
            Drill::OracleZero => network.publish(Steer::Zero),
            Drill::OracleLeap => network.publish(Steer::Leap),
            Drill::DiskLow => props.disk()?.fill(DISK_LEFT_MIB)?,
            Drill::DiskFull => {
                props.disk()?.fill(0)?;
                note = "its journal has room of its own, so that the record can be written".into();
            }
            Drill::SlowDisk => {
                let tracer = Tracer::attach(network.node_id()?, &format!("delay_enter={SLOW_SYNC_US}:when=1")).await?;
                at = now_ms();
                tokio::time::sleep(Duration::from_micros(SLOW_SYNC_US) + STILL).await;
                tracer.detach().await?;
            }
            Drill::DiskError => {
                let tracer = Tracer::attach(network.node_id()?, "error=EIO").await?;
                at = now_ms();
                let ended = network.await_node_end().await?;
                note = format!("the node ended with {ended} and was started again");
                tracer.detach().await?;
                network.start_node().await?;
            }
            Drill::ClockStep => std::fs::write(&props.clock, "+10s")?,
            Drill::DivergingReplica => {
                props.report(network, 0).await?;
                tokio::time::sleep(STILL).await;
                let status = network.status().await.context("the node does not answer")?;
                ensure!(status["phase"] == "OPEN", "one report alone closed the venue: {status}");
                at = now_ms();
                props.report(network, 1).await?;
                note = "one report alone closed nothing".into();
            }
            Drill::InvariantBroken => {
                let bridge = network.genesis.settlement.bridge.to_string();
                network.l1("anvil_impersonateAccount", &[json!(bridge)]).await?;
                network.l1("anvil_setBalance", &[json!(bridge), json!(ETHER_100)]).await?;
                at = now_ms();
                move_token(network, &bridge, Felt::from(STRANGER)).await?;
                network.operate(0, "admin_enterSafeMode", json!({ "reason": "drill" })).await?;
                note = "nothing reopens without the gate".into();
            }
            Drill::EngineStalled => {
                let node = network.node_id()?;
                signal(node, "STOP").await?;
                tokio::time::sleep(STANDSTILL).await;
                signal(node, "CONT").await?;
                note = format!("it stood still for {} s", STANDSTILL.as_secs());
            }
            Drill::Kill => {
                network.kill_node().await?;
                network.start_node().await?;
                note = "started again at once".into();
            }
            Drill::Operator => {
                network.operate(0, "admin_enterSafeMode", json!({ "reason": "drill" })).await?;
            }
        }
        Ok(Fault { at, note })
    }

    /// Puts it right, and gives the word of operators where it is waited for.
    pub async fn repair(self, network: &Network, props: &Props, incident: IncidentId) -> Result<()> {
        let resume =
            async |operator| network.operate(operator, "admin_resume", json!({ "incident": incident.to_string() })).await;
        match self {
            Drill::SettlementDown => signal(network.l1_id()?, "CONT").await?,
            Drill::SettlementBacklog | Drill::SettlementCancellation => {
                network.l1("anvil_setBalance", &[json!(SUBMITTER), json!(ETHER_100)]).await?;
            }
            Drill::OracleStale | Drill::OracleZero | Drill::OracleLeap => network.publish(Steer::Walk),
            Drill::DiskLow | Drill::DiskFull => props.disk()?.clear()?,
            Drill::DivergingReplica => {
                resume(0).await?;
            }
            Drill::InvariantBroken => {
                let stranger = format!("{STRANGER:#042x}");
                network.l1("anvil_impersonateAccount", &[json!(stranger)]).await?;
                network.l1("anvil_setBalance", &[json!(stranger), json!(ETHER_100)]).await?;
                move_token(network, &stranger, network.genesis.settlement.bridge.0).await?;
                resume(0).await?;
                tokio::time::sleep(STILL).await;
                let status = network.status().await.context("the node does not answer")?;
                ensure!(status["phase"] == "HALTED", "one operator's word was enough: {status}");
                resume(1).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Props {
    fn disk(&self) -> Result<&SmallDisk> {
        self.disk.as_ref().context("there is no small disk")
    }

    /// A signed report of an attestor that the state is another.
    async fn report(&self, network: &Network, attestor: usize) -> Result<()> {
        let scheme = Scheme::of(&network.genesis);
        let key = AttestorKey::parse(&scheme, &self.attestors[attestor])?;
        let (announced, computed) = (Bytes32([1; 32]), Bytes32([2; 32]));
        let divergence = Divergence { what: Diverged::EngineDigest, batch: None, height: Height(3), announced, computed };
        let signature = key.sign_divergence(&scheme, &divergence)?;
        let report = DivergenceReport { divergence, attestor: key.id(), signature };
        Ok(network.follower()?.diverged(&report).await?)
    }
}

async fn deposit_credited(network: &Network, nonce: u64) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        // Not known at all before its block is read.
        let found = network.call("bridge_getDeposit", json!({ "messageNonce": nonce.to_string() })).await;
        if found.as_ref().is_ok_and(|found| found["status"] == "CREDITED") {
            return Ok(());
        }
        ensure!(Instant::now() < end, "deposit {nonce} is not credited: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One unit of the first asset's token.
async fn move_token(network: &Network, from: &str, to: Felt) -> Result<()> {
    let token = network.genesis.assets[0].token.to_string();
    network.transact(from, &token, "transfer(address,uint256)", &[to, Felt::ONE]).await
}

/// Where a contract stores what one of its views says.
async fn slot_of(network: &Network, contract: &str, view: &str) -> Result<Value> {
    let call = json!({ "to": contract, "data": super::network::call_data(view, &[]) });
    let value = network.l1("eth_call", &[call, json!("latest")]).await?;
    for slot in 0..SLOTS_MAX {
        let slot = json!(format!("{slot:#x}"));
        if network.l1("eth_getStorageAt", &[json!(contract), slot.clone(), json!("latest")]).await? == value {
            return Ok(slot);
        }
    }
    anyhow::bail!("{view} of {contract} is {value}, which it does not store")
}

fn number(value: &Value) -> Result<u64> {
    let text = value.as_str().context("a number in hex")?;
    Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
}

/// `--set` pairs of the whole.
fn custom(config: &keel_guard::Config) -> Result<Vec<String>> {
    let Value::Object(groups) = serde_json::to_value(config)? else {
        anyhow::bail!("the guard's configuration is an object")
    };
    let fields = groups.iter().flat_map(|(group, fields)| {
        let fields = fields.as_object().into_iter().flatten();
        fields.map(move |(field, value)| format!("guard.custom.{group}.{field}={value}"))
    });
    Ok(fields.collect())
}

/// The library that lets one process see another time.
fn fake_time() -> Result<String> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let candidates = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let found = candidates.into_iter().find(|path| path.is_file());
    Ok(found.context("this drill needs libfaketime (Debian: faketime)")?.display().to_string())
}

fn strace_is_there() -> Result<()> {
    let told = std::process::Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(told.is_ok_and(|status| status.success()), "this drill needs strace (Debian: strace)");
    Ok(())
}

/// Stands between a process and its disk.
struct Tracer(Child);

impl Tracer {
    /// From now on every call that makes a file durable fares as `injected`.
    async fn attach(process: u32, injected: &str) -> Result<Tracer> {
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &process.to_string(), "-e", "trace=fdatasync,fsync"]);
        command.args(["-e", &format!("inject=fdatasync,fsync:{injected}"), "-o", "/dev/null"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut tracer = command.spawn().context("start strace")?;
        let mut said = BufReader::new(tracer.stderr.take().context("strace has an error output")?).lines();
        let first = tokio::time::timeout(PATIENCE, said.next_line()).await.context("strace says nothing")??;
        let first = first.unwrap_or_default();
        ensure!(first.contains("attached"), "strace may not look at the node: {first}");
        // Its words must find a reader.
        tokio::spawn(async move { while said.next_line().await.is_ok_and(|line| line.is_some()) {} });
        Ok(Tracer(tracer))
    }

    /// The process goes on by itself.
    async fn detach(mut self) -> Result<()> {
        if let Some(id) = self.0.id() {
            // It may have ended with the process.
            let _ = signal(id, "INT").await;
        }
        self.0.wait().await?;
        Ok(())
    }
}

/// A file system of its own in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<SmallDisk> {
        std::fs::create_dir_all(at)?;
        let options = format!("size={DISK_MIB}m");
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        ensure!(
            mounted.is_ok_and(|done| done.status.success()),
            "this drill needs the right to mount a small file system: run it as root"
        );
        Ok(SmallDisk(at.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves some room, or none.
    fn fill(&self, left_mib: usize) -> Result<()> {
        let free = crate::node::disk_space(&self.0)?.free as usize;
        let mut ballast = File::create(self.ballast())?;
        match left_mib {
            0 => while ballast.write_all(&[1; 4096]).is_ok() {},
            left => {
                let room = free.checked_sub(left << 20).context("the small disk is full already")?;
                let piece = vec![1; 1 << 20];
                for _ in 0..room >> 20 {
                    ballast.write_all(&piece)?;
                }
            }
        }
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        std::fs::remove_file(self.ballast()).context("remove the ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// What a drill that was killed may have left mounted.
pub fn unmount(at: &Path) {
    // Nothing is mounted there, as a rule.
    let _ = std::process::Command::new("umount").arg("-l").arg(at).stderr(Stdio::null()).status();
}
