//! Starknet's OpenRPC documents, from the fixtures, as a check of what the node is asked and answers.
//!
//! The documents are read strictly: an answer may have no field that they do not name, although JSON schema would let it pass.
use crate::http::Error;
use jsonschema::{Registry, Validator};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;

/// Where the documents stand for each other: they name `./api/starknet_api_openrpc.json`.
const BASE: &str = "spec:///";
const API: &str = "api/starknet_api_openrpc.json";
/// The documents: the file, and the name by which it is known.
const DOCUMENTS: [(&str, &str); 5] = [
    ("starknet_api_openrpc.json", API),
    ("starknet_write_api.json", "write.json"),
    ("starknet_trace_api_openrpc.json", "trace.json"),
    ("starknet_executables.json", "executables.json"),
    ("starknet_ws_api.json", "ws.json"),
];

/// The documents of one version, and what was checked against them.
pub struct Spec {
    registry: Registry<'static>,
    documents: BTreeMap<&'static str, Value>,
    /// Compiled once: they are large.
    validators: Mutex<BTreeMap<String, Validator>>,
    pub checked: Mutex<Checked>,
}

/// What a test has seen of the documents.
#[derive(Default)]
pub struct Checked {
    pub responses: BTreeMap<String, usize>,
    /// By method and code.
    pub errors: BTreeMap<(String, i64), usize>,
}

impl Spec {
    /// `None`, said loudly, when the fixtures are not there. `version`: `v0.9.0`.
    pub fn open(version: &str, test: &str) -> Option<Spec> {
        let Ok(root) = std::env::var("KEEL_FIXTURES") else {
            println!("SKIPPED: {test}: KEEL_FIXTURES is not set");
            return None;
        };
        let mut documents = BTreeMap::new();
        for (file, name) in DOCUMENTS {
            let path = PathBuf::from(&root).join("openrpc").join(version).join(file);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let mut document: Value = serde_json::from_str(&text).expect("the fixture is JSON");
            repair(&mut document);
            if name == "ws.json" {
                // Written as a parameter is, where a schema must stand.
                let id = &mut document["components"]["schemas"]["SUBSCRIPTION_ID"];
                *id = id["schema"].take();
            }
            if name == "executables.json" {
                allow_negative_offsets(&mut document);
            }
            close_all(&mut document);
            documents.insert(name, document);
        }
        let resources = documents.iter().map(|(name, document)| (format!("{BASE}{name}"), document.clone()));
        let registry =
            Registry::new().extend(resources).and_then(|builder| builder.prepare()).expect("documents fit together");
        Some(Spec { registry, documents, validators: Mutex::default(), checked: Mutex::default() })
    }

    /// Names of the methods that are called and answered over HTTP.
    pub fn methods(&self) -> BTreeSet<String> {
        let of_http = self.documents.iter().filter(|(name, _)| **name != "ws.json");
        let methods = of_http.flat_map(|(_, document)| document["methods"].as_array().expect("a list"));
        methods.map(|method| method["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// Panics with every difference when `value` is not a `schema` of the components of the API.
    pub fn assert_is(&self, schema: &str, value: &Value) {
        self.assert(schema, &format!("{BASE}{API}#/components/schemas/{schema}"), value);
    }

    /// Parameters by position or by name are what a method takes.
    pub fn assert_params(&self, method: &str, params: &Value) {
        let (document, at) = self.method(method);
        let known = self.documents[document]["methods"][at]["params"].as_array().expect("a list");
        for (i, param) in known.iter().enumerate() {
            let name = param["name"].as_str().expect("a name");
            let sent = match params {
                Value::Array(sent) => sent.get(i),
                sent => sent.get(name),
            };
            match sent {
                Some(value) => {
                    self.assert(name, &format!("{BASE}{document}#/methods/{at}/params/{i}/schema"), value);
                }
                None => assert!(param["required"] != true, "{method}: {name} is missing in {params}"),
            }
        }
        let sent = params.as_array().map_or_else(|| params.as_object().map_or(0, Map::len), Vec::len);
        assert!(sent <= known.len(), "{method} takes no {params}");
    }

    /// The result of a method.
    pub fn assert_result(&self, method: &str, value: &Value) {
        let (document, at) = self.method(method);
        self.assert(method, &format!("{BASE}{document}#/methods/{at}/result/schema"), value);
        *self.seen().responses.entry(method.to_owned()).or_default() += 1;
    }

    /// An error that a method may answer with, to the letter: code, text, and data of its schema.
    pub fn assert_error(&self, method: &str, error: &Error) {
        let listed = self.errors(method);
        let known = listed.iter().find(|(_, known)| known["code"] == error.code);
        let (pointer, known) = known.unwrap_or_else(|| panic!("{method} may not answer {error:?}"));
        assert_eq!(known["message"], error.message.as_str(), "{method}");
        match known.get("data") {
            Some(_) => self.assert(method, &format!("{pointer}/data"), &error.data),
            // A text that says why does no harm where the document has nothing.
            None => assert!(error.data.is_null() || error.data.is_string(), "{method}: {error:?}"),
        }
        *self.seen().errors.entry((method.to_owned(), error.code)).or_default() += 1;
    }

    /// Codes of the errors that the document lists for a method.
    pub fn codes(&self, method: &str) -> BTreeSet<i64> {
        self.errors(method).iter().map(|(_, error)| error["code"].as_i64().expect("a code")).collect()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The document of a method, and its place in there.
    fn method(&self, name: &str) -> (&'static str, usize) {
        let place = |methods: &Value| methods.as_array().expect("a list").iter().position(|method| method["name"] == name);
        let mut found = self.documents.iter().filter_map(|(document, value)| Some((*document, place(&value["methods"])?)));
        found.next().unwrap_or_else(|| panic!("no document has a method {name}"))
    }

    /// The errors that are listed for a method, each with its address.
    fn errors(&self, method: &str) -> Vec<(String, &Value)> {
        let (document, at) = self.method(method);
        let listed = self.documents[document]["methods"][at]["errors"].as_array().map_or(&[][..], Vec::as_slice);
        let found = listed.iter().map(|error| {
            let reference = error["$ref"].as_str().expect("errors are referred to");
            let (file, pointer) = reference.split_once('#').expect("a pointer");
            let document = if file.is_empty() { document } else { file.trim_start_matches("./") };
            let error = self.documents.get(document).and_then(|document| document.pointer(pointer));
            (format!("{BASE}{document}#{pointer}"), error.unwrap_or_else(|| panic!("{reference} leads nowhere")))
        });
        found.collect()
    }

    fn assert(&self, name: &str, address: &str, value: &Value) {
        let mut validators = self.validators.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let validator = validators.entry(address.to_owned()).or_insert_with(|| {
            let options = jsonschema::options().with_registry(&self.registry);
            options.build(&json!({"$ref": address})).unwrap_or_else(|error| panic!("schema {address}: {error}"))
        });
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if !errors.is_empty() {
            let shown: String = value.to_string().chars().take(4_000).collect();
            let errors: String = errors.join("\n").chars().take(4_000).collect();
            // A panic must not leave the validators locked for the next assertion.
            drop(validators);
            panic!("{name}: {errors}\n{shown}");
        }
    }
}

/// Puts right what is no JSON schema in the documents and would be passed over or refused: `{"schema": {...}}` where a schema must stand,
/// one name where a list must (`required`), and the name of a type where a schema must (`data` of errors).
fn repair(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(repair),
        Value::Object(fields) => {
            let wrapped = fields.keys().all(|key| ["schema", "title", "description"].contains(&key.as_str()));
            let is_content = fields.contains_key("name");
            if let (true, false, Some(inner)) = (wrapped, is_content, fields.get("schema")) {
                *value = inner.clone();
                return repair(value);
            }
            if let Some(name @ Value::String(_)) = fields.get("required") {
                let list = json!([name]);
                fields.insert("required".into(), list);
            }
            if fields.contains_key("code")
                && let Some(Value::String(of)) = fields.get("data")
            {
                let schema = json!({"type": of});
                fields.insert("data".into(), schema);
            }
            fields.values_mut().for_each(repair);
        }
        _ => {}
    }
}

/// The document of compiled classes says that offsets of cells are not negative. Every compiled class there is has negative ones: an
/// argument stands before the frame pointer. Everything else of a hint is held to the document.
fn allow_negative_offsets(executables: &mut Value) {
    for cell in ["/CellRef/properties/offset", "/DoubleDeref/properties/DoubleDeref/items/oneOf/1"] {
        let offset = executables.pointer_mut(&format!("/components/schemas{cell}")).expect("the document has cells");
        let minimum = offset.as_object_mut().and_then(|offset| offset.remove("minimum"));
        assert_eq!(minimum, Some(json!(0)), "the document was put right: this is not needed any more");
    }
}

/// Schemas that hold themselves: the validator would follow them for ever to find every field that they name.
const RECURSIVE: [&str; 4] =
    ["CONTRACT_EXECUTION_ERROR", "CONTRACT_EXECUTION_ERROR_INNER", "FUNCTION_INVOCATION", "NESTED_CALL"];

/// Closes every schema that describes a value as a whole: results, parameters, list items and fields.
fn close_all(document: &mut Value) {
    for method in document["methods"].as_array_mut().expect("a list") {
        close(&mut method["result"]["schema"]);
        for param in method["params"].as_array_mut().into_iter().flatten() {
            close(&mut param["schema"]);
        }
    }
    for schema in document["components"]["schemas"].as_object_mut().expect("components").values_mut() {
        close_inner(schema);
    }
}

/// Closes a schema of a whole value: no field but those that it or its parts name.
fn close(schema: &mut Value) {
    close_inner(schema);
    let Value::Object(fields) = schema else { return };
    let refers = fields.get("$ref").and_then(Value::as_str).and_then(|to| to.rsplit('/').next());
    if refers.is_some_and(|to| RECURSIVE.contains(&to)) {
        return;
    }
    match fields.get_mut("oneOf") {
        // Each alternative is one of a whole value: closed, a sealed block is no pre-confirmed one with more fields.
        Some(Value::Array(alternatives)) => alternatives.iter_mut().for_each(close),
        _ => {
            fields.insert("unevaluatedProperties".into(), json!(false));
        }
    }
}

/// Closes what is inside a schema, and leaves the schema itself open: others may be put together with it.
fn close_inner(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(close);
    }
    if let Some(items) = fields.get_mut("items") {
        close(items);
    }
    for parts in ["allOf", "oneOf", "anyOf"] {
        for part in fields.get_mut(parts).and_then(Value::as_array_mut).into_iter().flatten() {
            close_inner(part);
        }
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let Some(spec) = Spec::open("v0.10.2", "the_check_finds_what_is_wrong") else { return };
    let fails = |check: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err();
    let is_no = |schema: &str, value: Value| fails(&|| spec.assert_is(schema, &value));
    assert!(!is_no("FELT", json!("0x1")));
    assert!(is_no("FELT", json!("0x01")) && is_no("FELT", json!(1)));
    assert!(is_no("BLOCK_HEADER", json!({})));
    assert!(is_no("BLOCK_WITH_TXS", json!({"transactions": [{}]})));

    let answers_no = |method: &str, value: Value| fails(&|| spec.assert_result(method, &value));
    let diff = json!({
        "storage_diffs": [], "deprecated_declared_classes": [], "declared_classes": [], "deployed_contracts": [],
        "replaced_classes": [], "nonces": [], "migrated_compiled_classes": [],
    });
    assert!(!answers_no("starknet_getStateUpdate", json!({"old_root": "0x1", "state_diff": diff})));
    // A field that the document does not name, outside and inside.
    assert!(answers_no("starknet_getStateUpdate", json!({"old_root": "0x1", "root": "0x1", "state_diff": diff})));
    let mut more = diff.clone();
    more["nonces"] = json!([{"contract_address": "0x1", "nonce": "0x1", "more": 1}]);
    assert!(answers_no("starknet_getStateUpdate", json!({"state_diff": more})));

    let error = |code, message: &str, data: Value| Error { code, message: message.into(), data };
    let errs_no = |method: &str, error: Error| fails(&|| spec.assert_error(method, &error));
    let good = json!({"revert_error": "why"});
    assert!(!errs_no("starknet_call", error(40, "Contract error", good.clone())));
    assert!(errs_no("starknet_call", error(40, "contract error", good.clone())));
    assert!(errs_no("starknet_call", error(40, "Contract error", json!({}))));
    assert!(errs_no("starknet_call", error(40, "Contract error", json!({"revert_error": 1}))));
    assert!(errs_no("starknet_getNonce", error(40, "Contract error", good)));
    assert!(errs_no("starknet_addInvokeTransaction", error(63, "An unexpected error occurred", Value::Null)));
    assert!(!errs_no("starknet_addInvokeTransaction", error(63, "An unexpected error occurred", json!("why"))));

    let takes_no = |method: &str, params: Value| fails(&|| spec.assert_params(method, &params));
    assert!(!takes_no("starknet_getNonce", json!(["latest", "0x1"])));
    assert!(takes_no("starknet_getNonce", json!(["latest"])));
    assert!(takes_no("starknet_getNonce", json!({"block_id": "latest", "contract_address": 1})));
    assert!(takes_no("starknet_getNonce", json!(["latest", "0x1", "0x2"])));
}
