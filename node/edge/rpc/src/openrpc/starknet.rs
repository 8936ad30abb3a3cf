//! The `starknet_*` methods: which there are on each path, and of what version. What they take and answer is in Starknet's documents.
use crate::starknet::{Dialect, METHODS, Method, V09, V10};
use serde_json::{Value, json};

/// The paths and what they speak.
const PATHS: [(&str, &Dialect); 3] = [("/rpc", V10), ("/rpc/v0_10", V10), ("/rpc/v0_9", V09)];

/// Every method, described in short.
pub fn methods() -> impl Iterator<Item = Value> {
    METHODS.iter().map(describe)
}

fn describe(method: &Method) -> Value {
    let mut described = json!({
        "name": method.name,
        "summary": method.summary,
        "description": "A method of the Starknet JSON-RPC specification, whose documents are named starknet_api_openrpc, \
                        starknet_write_api, starknet_trace_api_openrpc and starknet_executables; they have the schemas.",
        "paramStructure": "either",
        "params": params(method),
        "result": {"name": "result", "schema": {"description": "As the specification has it."}},
        "errors": method.errors.iter().map(|error| {
            let (code, text) = error.parts();
            json!({"code": code, "message": text, "data": error.data()})
        }).collect::<Value>(),
        "x-keel-paths": PATHS.iter().map(|(path, dialect)| ((*path).to_owned(), json!(dialect.spec_version))).collect::<Value>(),
        "x-keel-execution": if method.available { "available" } else { "unavailable" },
    });
    if !method.available {
        described["description"] = json!(
            "A method of the Starknet JSON-RPC specification that needs Cairo to be executed, which this node does not do yet: it \
             checks its parameters and what they name, and then answers with one of the errors listed here."
        );
    }
    described
}

/// The parameters of the newest version, each with the versions that have it.
fn params(method: &Method) -> Value {
    let has = |dialect: &Dialect, name: &str| method.params(dialect).any(|param| param.name == name);
    let describe = |param: &crate::starknet::Param| {
        let versions = [V09, V10].iter().filter(|dialect| has(dialect, param.name)).map(|dialect| dialect.spec_version);
        json!({
            "name": param.name, "required": param.required, "schema": {"description": "As the specification has it."},
            "x-starknet-versions": versions.collect::<Vec<_>>(),
        })
    };
    method.params(V10).map(describe).collect()
}
