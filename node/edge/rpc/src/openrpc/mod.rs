//! `rpc.discover`: an OpenRPC document of every method of Keel's own, made from the tables that register them, from the closed enums
//! that the code uses, and from the message definitions of ingress; and a list of the `starknet_*` methods, which Starknet's own documents
//! describe.
//!
//! Types are written as text: `uint`, `decimal`, `ms`, `felt`, `l1`, `hash`, `bool`, `text`; `?x` may be null, `[x]` is a list,
//! `a|b` one of two, and anything that begins with a capital letter is one of [types].

mod starknet;
mod types;

use crate::context::Shared;
use crate::error::{self, RpcError};
use crate::fields::Fields;
use crate::method::{self, Call, Method, Param};
use jsonrpsee::types::Params;
use keel_ingress::{IngressError, MessageKind};
use keel_types::Reject;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// Version of the OpenRPC specification.
const OPENRPC_VERSION: &str = "1.3.2";

/// The method.
pub(crate) const METHODS: &[Method] = &[Method {
    name: "rpc.discover",
    summary: "This document.",
    params: &[],
    result: "OpenRpcDocument",
    errors: &[],
    call: Call::View(discover),
}];

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

fn discover(_: &Shared, params: &Params<'_>) -> Result<Value, RpcError> {
    Fields::read(params)?.finish()?;
    Ok(DOCUMENT.clone())
}

fn document() -> Value {
    json!({
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "Keel",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0"},
            "description": "Trading on Keel: trade_* and market_*, bridges: bridge_*, the node: node_*. Parameters are one object, by name; \
                            unknown fields are refused. Every number in and out is a decimal string. The starknet_* methods on the same \
                            paths are those of Starknet's own documents, 0.9.0 on /rpc/v0_9 and 0.10.2 on /rpc and /rpc/v0_10: they are \
                            listed here by name; x-keel-execution says which of them this node cannot carry out, and x-keel-transport \
                            which are called on a WebSocket only. Messages are signed as SNIP-12 typed data, revision 1; \
                            trade_typedData gives the JSON to sign.",
        },
        "methods": method::all().map(describe).chain(starknet::methods()).collect::<Vec<_>>(),
        "components": {"schemas": types::schemas(), "errors": errors()},
    })
}

fn describe(method: &Method) -> Value {
    let params: Vec<Value> = match method.call {
        Call::Signed(kind) => signed_params(kind),
        _ => method.params.iter().map(param).collect(),
    };
    let errors: Vec<Value> =
        errors_of(method).map(|reason| json!({"$ref": format!("#/components/errors/{reason}")})).collect();
    json!({
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": params,
        "result": {"name": "result", "schema": types::schema(method.result)},
        "errors": errors,
    })
}

fn param(param: &Param) -> Value {
    json!({
        "name": param.name, "description": param.description, "required": param.required, "schema": types::schema(param.of),
    })
}

fn signed_params(kind: MessageKind) -> Vec<Value> {
    let mut message = json!({
        "name": "message", "required": true, "description": "The message that is signed; `account` is whose it is.",
        "schema": {"$ref": format!("#/components/schemas/{}Message", kind.as_str())},
    });
    if kind == MessageKind::Register {
        message["description"] =
            json!("The message that is signed. Without `template` it is the first template of genesis.");
    }
    let mut params = vec![
        message,
        param(&Param::required("signature", "Signature", "[r, s] over the message's SNIP-12 hash.")),
        param(&Param::optional(
            "key",
            "felt",
            "The key that signed, for an error of its own when it is not the one that must have.",
        )),
    ];
    if kind.session_key_may_sign() {
        let text = "The session key that signed; without it the account's main key did. Not part of the signed message: the signature \
                    verifies under this key alone, and the key must be a live one of the account.";
        params.push(param(&Param::optional("sessionKey", "felt", text)));
    }
    params
}

/// Reasons by which any request may fail before it is looked at in detail.
const EVERYWHERE: [&str; 7] =
    ["JSON_MALFORMED", "OVERLOADED", "SHUTTING_DOWN", "REQUEST_TOO_BIG", "BATCH_TOO_LONG", "RESPONSE_TOO_BIG", "INTERNAL"];

/// Reasons by which a method may fail. A write may fail by everything that ingress and the engine know.
fn errors_of(method: &Method) -> impl Iterator<Item = &'static str> {
    let write = method.call.is_write();
    let shape = IngressError::FIELD_TABLE.iter().map(|row| row.1);
    let others = IngressError::TABLE.iter().map(|row| row.1).filter(move |_| write);
    let engine = Reject::ALL.iter().map(|reject| reject.as_str()).filter(move |_| write);
    let batch = write.then_some("WRITE_IN_BATCH");
    let all =
        EVERYWHERE.into_iter().chain(shape).chain(others).chain(engine).chain(batch).chain(method.errors.iter().copied());
    all.collect::<std::collections::BTreeSet<_>>().into_iter()
}

/// Every error of the public and the admin server by its reason.
fn errors() -> Value {
    let mut errors = Map::new();
    let own = error::TABLE.iter().chain(IngressError::TABLE);
    for (code, reason, text) in own {
        errors.insert((*reason).into(), json!({"code": code, "message": text, "data": {"reason": reason}}));
    }
    for reject in Reject::ALL {
        let text = match reject {
            Reject::PhaseForbids => "the phase of the exchange does not allow this now; data has the phase and its incident",
            _ => "refused by the engine",
        };
        let data = json!({"reason": reject.as_str(), "field": reject.field()});
        errors.insert(reject.as_str().into(), json!({"code": reject.code(), "message": text, "data": data}));
    }
    Value::Object(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_that_a_method_names_is_an_error_of_the_document() {
        let known = errors();
        for method in method::all() {
            for reason in errors_of(method) {
                assert!(known.get(reason).is_some(), "{}: {reason}", method.name);
            }
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        fn check(document: &Value, value: &Value) {
            match value {
                Value::Array(items) => items.iter().for_each(|item| check(document, item)),
                Value::Object(fields) => {
                    if let Some(Value::String(to)) = fields.get("$ref") {
                        assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to}");
                    }
                    fields.values().for_each(|value| check(document, value));
                }
                _ => {}
            }
        }
        check(&DOCUMENT, &DOCUMENT);
    }

    #[test]
    fn no_method_is_in_two_tables_and_every_parameter_says_what_it_is() {
        let mut names = std::collections::BTreeSet::new();
        for method in method::all() {
            assert!(names.insert(method.name), "{}", method.name);
            assert!(
                !method.summary.is_empty() && method.params.iter().all(|p| !p.description.is_empty()),
                "{}",
                method.name
            );
            assert!(method.params.is_empty() || !matches!(method.call, Call::Signed(_)), "{}", method.name);
        }
    }
}
