//! `starknet_*`: the chain as wallets, explorers and bridges read it. Two versions of the specification over one set of objects.
//!
//! There is no consensus to wait for: what is sequenced and durable is executed, and stands in the block `pre_confirmed` until that is
//! sealed. A sealed block is ACCEPTED_ON_L2, and ACCEPTED_ON_L1 once its batch is CONFIRMED.
//!
//! Invariant: **the open block is looked at before the store.** Committing a block moves what was open into the store at once, so what is
//! not in the open block any more is found in the store; the other way round it could be missed in both.
mod blocks;
mod broadcasted;
mod dto;
mod error;
mod events;
mod methods;
mod params;
mod proof;
mod state;
pub mod subscriptions;
mod transactions;
mod unexecuted;
mod v09;
mod v10;

pub use error::StarknetError;
pub use methods::{METHODS, Method, Param};

use crate::context::{Methods, Shared};
use crate::error::RpcError;
use dto::{EventPlace, Finality};
use jsonrpsee::RpcModule;
use keel_commitment::StateDiff;
use keel_commitment::commitments::Event;
use keel_store::Header;
use keel_types::Height;
use params::{Arguments, BlockId};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What one version of the specification does differently.
pub struct Dialect {
    /// What `starknet_specVersion` says. SDKs choose the CASM hash by it, so it must agree with the protocol version of the blocks.
    pub spec_version: &'static str,
    pub header: fn(&Header) -> Map<String, Value>,
    pub state_diff: fn(&StateDiff) -> Value,
    pub emitted_event: fn(&Event, &EventPlace) -> Value,
    /// Transactions and storage may be asked for with `response_flags`.
    pub response_flags: bool,
    /// `getStateUpdate` may be asked for some contracts only.
    pub contract_filter: bool,
    /// An event filter may have several addresses.
    pub address_lists: bool,
    /// Simulations and traces may be asked for with RETURN_INITIAL_READS.
    pub initial_reads: bool,
    /// An INVOKE may carry a proof.
    pub proofs: bool,
    /// An estimate for a contract that is not there is CONTRACT_NOT_FOUND, and no failed execution.
    pub estimates_need_the_sender: bool,
    /// The text of error 21 changed.
    pub entry_point_not_found: StarknetError,
}

/// Versions served, each on its own path.
pub const V09: &Dialect = &v09::DIALECT;
/// See [V09].
pub const V10: &Dialect = &v10::DIALECT;

/// Flags of transactions.
const TRANSACTION_FLAGS: [&str; 1] = ["INCLUDE_PROOF_FACTS"];

type Answer = Result<Value, RpcError>;

/// Adds every `starknet_*` method of `dialect`.
pub fn register(module: &mut RpcModule<Arc<Shared>>, dialect: &'static Dialect) {
    let methods = &mut Methods(module);
    for method in METHODS {
        let names: Arc<[&'static str]> = method.params(dialect).map(|param| param.name).collect();
        methods
            .store(method.name, move |shared, params| (method.call)(shared, dialect, &mut Arguments::read(params, &names)?));
    }
}

/// The header a block id names; `None` for the block being built.
fn sealed(shared: &Shared, id: BlockId) -> Result<Option<Header>, RpcError> {
    let height = match id {
        BlockId::PreConfirmed => return Ok(None),
        BlockId::Latest => shared.store.height(),
        BlockId::L1Accepted => shared.height_on_l1()?,
        BlockId::Number(number) => Some(Height(number)),
        BlockId::Hash(hash) => shared.store.height_of_hash(&hash)?,
    };
    // A block above the published height is being committed; it is no answer yet.
    let height = height.filter(|height| Some(*height) <= shared.store.height());
    let header = height.map_or(Ok(None), |height| shared.store.header(height))?;
    Ok(Some(header.ok_or(StarknetError::BlockNotFound)?))
}

fn finality(shared: &Shared, height: Height) -> Result<Finality, RpcError> {
    Ok(match shared.height_on_l1()? {
        Some(confirmed) if height <= confirmed => Finality::AcceptedOnL1,
        _ => Finality::AcceptedOnL2,
    })
}
