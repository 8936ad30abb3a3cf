//! The `starknet_*` methods: which there are on each path, and of what version. What they take and answer is in Starknet's documents.
use crate::starknet::subscriptions::{self, SocketMethod};
use crate::starknet::{Dialect, METHODS, Method, Param, StarknetError, V09, V10};
use serde_json::{Value, json};

/// The paths and what they speak.
const PATHS: [(&str, &Dialect); 3] = [("/rpc", V10), ("/rpc/v0_10", V10), ("/rpc/v0_9", V09)];

const EXECUTED: &str = "A method of the Starknet JSON-RPC specification, whose documents are named starknet_api_openrpc, \
                        starknet_write_api, starknet_trace_api_openrpc and starknet_executables; they have the schemas.";
/// See [Method::available].
const NOT_EXECUTED: &str = "A method of the Starknet JSON-RPC specification that needs Cairo to be executed, which this node does not do \
                            yet: it checks its parameters and what they name, and then answers with one of the errors listed here. Where \
                            there is nothing to execute, no transactions in the request or none in the block, it answers that there are \
                            no results.";
const ON_A_SOCKET: &str = "A method of Starknet's WebSocket API, whose document is named starknet_ws_api; it has the schemas, and those of \
                           the notifications that follow.";

/// Every method, described in short.
pub fn methods() -> impl Iterator<Item = Value> {
    METHODS.iter().map(method).chain(subscriptions::methods().map(socket_method))
}

fn method(method: &Method) -> Value {
    let description = if method.available { EXECUTED } else { NOT_EXECUTED };
    let mut described = describe(method.name, method.summary, description, method.params, method.errors);
    described["x-keel-execution"] = json!(if method.available { "available" } else { "unavailable" });
    described
}

/// A subscription's method; it has errors of this server's besides the document's.
fn socket_method(method: &SocketMethod) -> Value {
    let mut described = describe(method.name, method.summary, ON_A_SOCKET, method.params, method.errors);
    let own: &[&str] = match subscriptions::opens(method.name) {
        true => &["TOO_MANY_SUBSCRIPTIONS", "SUBSCRIPTION_IN_BATCH", "WEB_SOCKET_ONLY"],
        false => &["WEB_SOCKET_ONLY"],
    };
    let own = own.iter().map(|reason| json!({"$ref": format!("#/components/errors/{reason}")}));
    described["errors"] = method.errors.iter().map(error).chain(own).collect();
    described["x-keel-transport"] = json!("websocket");
    described
}

fn describe(name: &str, summary: &str, description: &str, params: &[Param], errors: &[StarknetError]) -> Value {
    json!({
        "name": name,
        "summary": summary,
        "description": description,
        "paramStructure": "either",
        // Those of the newest version, each with the versions that have it.
        "params": params.iter().filter(|has| has.is_in(V10)).map(param).collect::<Value>(),
        "result": {"name": "result", "schema": {"description": "As the specification has it."}},
        "errors": errors.iter().map(error).collect::<Value>(),
        "x-keel-paths": PATHS.iter().map(|(path, dialect)| ((*path).to_owned(), json!(dialect.spec_version))).collect::<Value>(),
    })
}

fn param(param: &Param) -> Value {
    let versions = [V09, V10].iter().filter(|dialect| param.is_in(dialect)).map(|dialect| dialect.spec_version);
    json!({
        "name": param.name, "required": param.required, "schema": {"description": "As the specification has it."},
        "x-starknet-versions": versions.collect::<Vec<_>>(),
    })
}

/// An error of the newest version, with every version's text where they differ.
fn error(error: &StarknetError) -> Value {
    let (code, text) = error.parts();
    let mut described = json!({"code": code, "message": text, "data": error.data()});
    if *error == V10.entry_point_not_found {
        let texts = [V09, V10]
            .iter()
            .map(|dialect| (dialect.spec_version.to_owned(), json!(dialect.entry_point_not_found.parts().1)));
        described["x-starknet-messages"] = texts.collect();
    }
    described
}
