//! The one table of Keel's own methods: what is registered is what is in it, and what is in it is what `rpc.discover` documents.
use crate::context::{Methods, Shared};
use crate::error::RpcError;
use crate::server::Client;
use crate::streams::{self, session};
use crate::{account, bridge, history, incidents, market, node, openrpc, receipts, trade};
use jsonrpsee::types::Params;
use keel_ingress::MessageKind;
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;

/// A method with its documentation.
pub(crate) struct Method {
    pub name: &'static str,
    /// What a caller gets, in a sentence or two.
    pub summary: &'static str,
    /// Fields of the one object it takes. Those of a [Call::Signed] follow from its message.
    pub params: &'static [Param],
    /// The result's type, as [crate::openrpc] writes types.
    pub result: &'static str,
    /// Reasons of errors beyond those that every method of its [Call] has.
    pub errors: &'static [&'static str],
    pub call: Call,
}

/// A field of a method's parameters.
pub(crate) struct Param {
    pub name: &'static str,
    /// As [crate::openrpc] writes types.
    pub of: &'static str,
    pub required: bool,
    pub description: &'static str,
}

impl Param {
    /// A field that must be there.
    pub const fn required(name: &'static str, of: &'static str, description: &'static str) -> Param {
        Param { name, of, required: true, description }
    }
    /// A field that may be left out.
    pub const fn optional(name: &'static str, of: &'static str, description: &'static str) -> Param {
        Param { name, of, required: false, description }
    }
}

/// What [Call::Write] waits for.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Value, RpcError>> + Send>>;

/// How a method is carried out.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    /// From the published view, at once.
    View(fn(&Shared, &Params<'_>) -> Result<Value, RpcError>),
    /// From the store, on a blocking thread in its turn.
    Store(fn(&Shared, &Params<'_>) -> Result<Value, RpcError>),
    /// One signed message to the engine.
    Signed(MessageKind),
    /// A subscription's method: registered where streams are.
    Stream,
    /// Anything else that waits for the engine.
    Write(fn(Arc<Shared>, Params<'static>, Option<Client>) -> Answering),
}

impl Call {
    /// Whether it changes something.
    pub fn is_write(self) -> bool {
        matches!(self, Call::Signed(_) | Call::Write(_))
    }
}

/// Every table. A new module of methods is added here and nowhere else.
const TABLES: &[&[Method]] = &[
    trade::METHODS,
    session::METHODS,
    account::METHODS,
    history::METHODS,
    market::METHODS,
    streams::METHODS,
    bridge::METHODS,
    node::METHODS,
    incidents::METHODS,
    receipts::METHODS,
    openrpc::METHODS,
];

/// Every method of Keel's own on the public port.
pub(crate) fn all() -> impl Iterator<Item = &'static Method> {
    TABLES.iter().copied().flatten()
}

/// Adds all of them to a module.
pub(crate) fn register(methods: &mut Methods<'_>) {
    for Method { name, call, .. } in all() {
        match *call {
            Call::View(read) => methods.view(name, read),
            Call::Store(read) => methods.store(name, read),
            Call::Signed(kind) => {
                methods.write(name, move |shared, params, client| trade::write(shared, kind, params, client));
            }
            Call::Write(write) => methods.write(name, write),
            Call::Stream => {}
        }
    }
}
