//! Every way to lose sync, by a real fault where the machine allows it: what safe mode promises is kept, and the times are shown.

use keel_tests::{anvil_binary, keel_binary, root};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Said by a drill that lacks a tool of the system or a right.
const LACKS: &str = "this drill needs";

fn drill(name: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(keel_binary());
    command.args(["--set", "log.filter=error", "drill", name, "--format", "json", "--anvil"]).arg(anvil_binary());
    command.arg("--folder").arg(folder.path().join("network")).current_dir(root()).stdin(Stdio::null());
    let output = command.output().expect("keel runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if err.contains(LACKS) {
        return println!("SKIPPED: {name}: {err}");
    }
    let log = std::fs::read_to_string(folder.path().join("network/node.log")).unwrap_or_default();
    let end = log.len().saturating_sub(4_000);
    let end = (end..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or_default();
    assert!(output.status.success(), "{name}: {err}\n{out}\n{}", &log[end..]);
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let outcome = &told["outcome"];
    println!(
        "{name}: {} detected {} ms after the fault; {} orders cancelled and durable {} ms, announced {} ms after the detection; open {} ms \
         after the fault; {} orders without an answer, {} durable, {} of them filled",
        outcome["reason"],
        outcome["detectedMs"],
        outcome["ordersCancelled"],
        outcome["durableMs"],
        outcome["announcedMs"],
        outcome["openMs"],
        outcome["unanswered"],
        outcome["unansweredDurable"],
        outcome["unansweredFills"]
    );
}

macro_rules! drills {
    ($($test:ident $name:literal)+) => {
        $(#[test] fn $test() { drill($name); })+

        /// Of every drill there is a test.
        #[test]
        fn none_is_left_out() {
            let help = Command::new(keel_binary()).args(["drill", "--help"]).current_dir(root()).output().expect("keel runs");
            let help = String::from_utf8_lossy(&help.stdout).into_owned();
            let listed: Vec<&str> = help.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split(':').next()).collect();
            let drilled = [$($name),+];
            let missing: Vec<&&str> = listed.iter().filter(|name| !drilled.contains(name) && !["markdown", "json"].contains(name)).collect();
            assert!(listed.len() >= drilled.len() && missing.is_empty(), "{missing:?} of {listed:?}");
        }
    };
}

drills! {
    a_settlement_layer_that_stands_still "settlement-down"
    a_final_deposit_that_is_undone "reorg"
    a_contract_with_another_root "settlement-mismatch"
    batches_that_are_not_settled "settlement-backlog"
    a_credited_deposit_that_is_taken_back "settlement-cancellation"
    publishers_that_say_nothing "oracle-stale"
    publishers_that_say_zero "oracle-zero"
    prices_that_leap "oracle-leap"
    a_disk_that_is_low "disk-low"
    a_disk_that_is_full "disk-full"
    an_append_that_hangs "slow-disk"
    an_append_that_fails "disk-error"
    a_clock_that_steps "clock-step"
    replicas_that_diverge "diverging-replica"
    an_escrow_that_lacks_money "invariant-broken"
    an_engine_that_stands_still "engine-stalled"
    a_node_that_is_killed "kill"
    an_operator_that_closes "operator"
}
