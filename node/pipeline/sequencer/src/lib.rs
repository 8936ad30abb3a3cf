//! The loop: order, execute, make durable, release.
//!
//! Invariant: nothing leaves this crate before the journal's append has returned. It has no network, no locks that a reader
//! could hold, and never retries a failed append.
#![forbid(unsafe_code)]

mod clock;
mod halt;
mod order;
mod recover;
mod replayer;
mod run;
mod vitals;

pub use clock::{Clock, ClockError};
pub use halt::{Halt, Loss};
pub use order::order_batch;
pub use recover::{RecoverError, Recovered, Start, recover, recover_from};
pub use replayer::Replayer;
pub use run::{Config, Control, Outputs, ReleaseSink, Sequencer, SnapshotDue, SnapshotSink, Stop};
pub use vitals::Vitals;
