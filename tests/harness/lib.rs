//! Real parts for tests of the whole product: an L1 (anvil or starknet-devnet), a price publisher, a node that can be killed, traders that sign.
//!
//! Every process is ended by its own id when its guard is dropped; every wait is bounded.

mod devnet;
mod load;
mod process;
mod route;
mod tls;
mod trader;
mod world;

pub use devnet::{Devnet, DevnetAccount};
pub use load::{Load, Sent};
pub use process::{Child, free_port, keel_binary, root, run_keel};
pub use route::Route;
pub use tls::TlsFront;
pub use trader::{Ack, Trader, call};
pub use world::{Fork, Node, NodeOptions, World, anvil_binary};

use std::time::{Duration, Instant};

/// Polls until `ready` gives something, at most `timeout`; panics with `what` otherwise.
pub fn wait_for<T>(what: &str, timeout: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {timeout:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
