//! Fuzz targets: functions from any bytes to nothing, that panic when a claim of Keel does not hold.
//!
//! The short form, `short.rs`, replays the corpus and mutations of it with every run of the tests. The long form, `libfuzzer/` (a workspace
//! of its own, started by `scripts/fuzz`), lets coverage guide the search and adds what it finds to `corpus/`.
#![forbid(unsafe_code)]

mod codec;
mod engine;
pub mod mutate;
mod rpc;
mod rules;
mod script;

pub use codec::command_codec;
pub use engine::{codec_seeds, engine};
pub use rpc::rpc_params;

use std::collections::BTreeSet;

/// A target: any input, and what it notes on the way.
pub type Target = fn(&[u8], &mut Reached);

/// Every target by its name, which is also that of its corpus folder and of its libFuzzer binary.
pub const TARGETS: [(&str, Target); 3] = [("rpc_params", rpc_params), ("command_codec", command_codec), ("engine", engine)];

/// What inputs have come to: kinds decoded, events seen. A corpus that no longer gets anywhere must not pass for one that found nothing.
#[derive(Debug, Default)]
pub struct Reached(Option<BTreeSet<String>>);

impl Reached {
    /// Notes nothing: for speed.
    pub fn unnoted() -> Reached {
        Reached(None)
    }

    /// Notes everything.
    pub fn noted() -> Reached {
        Reached(Some(BTreeSet::new()))
    }

    /// Everything noted.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(String::as_str)
    }

    /// How many different things were noted.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(0, BTreeSet::len)
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(all) = &mut self.0 {
            all.insert(what());
        }
    }
}

/// `Name` of a variant, from its Debug form.
fn variant(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").split([' ', '(', '{']).next().unwrap_or_default().to_string()
}
