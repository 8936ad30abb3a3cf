//! What a machine does to a venue that is open: a process that stands still, a disk that fills. Each is a loss, and ends by itself.

use keel_ingress::MessageKind;
use keel_tests::{Node, NodeOptions, Trader, World, wait_for};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);

fn reasons(node: &Node) -> Vec<String> {
    let status = node.status();
    let reasons = status["reasons"].as_array().cloned().unwrap_or_default();
    reasons.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// One resting order of a new trader.
fn rest_an_order(world: &World, node: &Node) {
    let trader = Trader::new(0x0606_0000, &world.genesis);
    world.fund(node, std::slice::from_ref(&trader), &[("USDC", "10000")]);
    let fields = json!({ "market": "ETH-USDC", "side": "BUY", "type": "LIMIT", "size": "0.01", "price": "2990" });
    let (order, _) = trader.sign(MessageKind::Order, 2, fields);
    node.call("trade_placeOrder", order).done();
    assert_eq!(node.status()["openOrders"], "1");
}

fn closes_and_reopens(node: &Node, reason: &str, over: impl FnOnce()) {
    wait_for(&format!("{reason}: {}", node.log_tail()), PATIENCE, || (node.status()["phase"] != "OPEN").then_some(()));
    wait_for(&format!("{reason} among the reasons"), PATIENCE, || reasons(node).iter().any(|r| r == reason).then_some(()));
    assert_eq!(node.status()["openOrders"], "0");
    over();
    node.wait_for_phase("OPEN", PATIENCE);
}

#[test]
fn a_process_that_stood_still_cancels_everything_before_it_goes_on() {
    let mut world = World::start();
    let node = world.node(&NodeOptions { name: "node".into(), sets: vec![] });
    world.publish_to(&node);
    node.wait_for_phase("OPEN", PATIENCE);
    rest_an_order(&world, &node);
    node.process.signal("STOP");
    std::thread::sleep(Duration::from_secs(7));
    node.process.signal("CONT");
    closes_and_reopens(&node, "ENGINE_STALLED", || {});
}

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn mount(at: &Path, mebibytes: u32) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).expect("a folder to mount on");
        let options = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|done| done.status.success()).then(|| SmallDisk(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_closes_the_venue_while_it_can_still_write_and_room_opens_it_again() {
    let mut world = World::start();
    let data = world.dir.path().join("node");
    let Some(disk) = SmallDisk::mount(&data, 512) else {
        return println!("SKIPPED: no file system can be mounted here");
    };
    let node = world.node(&NodeOptions { name: "node".into(), sets: vec![] });
    world.publish_to(&node);
    node.wait_for_phase("OPEN", PATIENCE);
    rest_an_order(&world, &node);
    // A stranger's file takes all but 32 MiB.
    let ballast = disk.0.join("ballast");
    let free = free_mebibytes(&disk.0);
    std::fs::write(&ballast, vec![1; (free - 32) << 20]).expect("the disk takes it");
    closes_and_reopens(&node, "DISK_LOW", || std::fs::remove_file(&ballast).expect("the ballast is there"));
    assert_eq!(node.status()["failingMonitors"], json!([]));
    drop(node);
}

fn free_mebibytes(folder: &Path) -> usize {
    let told = Command::new("df").args(["--output=avail", "-m"]).arg(folder).output().expect("df runs");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    text.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number")
}
