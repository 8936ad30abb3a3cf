//! Health signals in, `EnterSafeMode` and `SetPhase` out. [spec safe-mode]
//!
//! Invariant: nothing here reads a clock, a socket or the engine. A sample goes in, decisions come out; the binary does the rest.
#![forbid(unsafe_code)]

mod config;
mod decide;

pub use config::{Config, PhaseTimings, Thresholds};
pub use decide::{Action, DiskSpace, Divergence, Gate, Guard, Sample, Vitals};
