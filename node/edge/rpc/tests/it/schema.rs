//! Schemas of the specification, from the fixtures.
use serde_json::{Value, json};
use std::path::PathBuf;

/// The OpenRPC document of one version.
pub struct Spec(Value);

impl Spec {
    /// `None`, said loudly, when the fixtures are not there. `version`: `v0.9.0`.
    pub fn open(version: &str, test: &str) -> Option<Spec> {
        let Ok(root) = std::env::var("KEEL_FIXTURES") else {
            println!("SKIPPED: {test}: KEEL_FIXTURES is not set");
            return None;
        };
        let path = PathBuf::from(root).join("openrpc").join(version).join("starknet_api_openrpc.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut document: Value = serde_json::from_str(&text).expect("the fixture is JSON");
        unwrap(&mut document);
        Some(Spec(document))
    }

    /// Panics with every difference when `value` is not a `schema` of the components.
    pub fn assert_is(&self, schema: &str, value: &Value) {
        self.assert(schema, json!({"$ref": format!("#/components/schemas/{schema}")}), value);
    }

    /// The same for the result of a method.
    pub fn assert_result(&self, method: &str, value: &Value) {
        let methods = self.0["methods"].as_array().expect("a list");
        let found = methods.iter().find(|m| m["name"] == method).unwrap_or_else(|| panic!("no method {method}"));
        self.assert(method, found["result"]["schema"].clone(), value);
    }

    /// Code and text of an error that the method may answer with.
    pub fn assert_error(&self, method: &str, error: &crate::http::Error) {
        let methods = self.0["methods"].as_array().expect("a list");
        let found = methods.iter().find(|m| m["name"] == method).unwrap_or_else(|| panic!("no method {method}"));
        let listed = found["errors"].as_array().expect("a list of errors").iter();
        let known =
            listed.filter_map(|e| e["$ref"].as_str()).filter_map(|path| self.0.pointer(path.trim_start_matches('#')));
        let fits = known.clone().any(|known| known["code"] == error.code && known["message"] == error.message.as_str());
        assert!(fits, "{method} may not answer {error:?}, only {:?}", known.collect::<Vec<_>>());
    }

    fn assert(&self, name: &str, mut schema: Value, value: &Value) {
        schema["components"] = json!({"schemas": self.0["components"]["schemas"]});
        let validator = jsonschema::options().build(&schema).unwrap_or_else(|error| panic!("schema {name}: {error}"));
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {}\n{value:#}", errors.join("\n"));
    }
}

/// The document says `{"schema": {...}}` in places where a JSON schema must stand; a validator would pass over it.
fn unwrap(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(unwrap),
        Value::Object(fields) => {
            let wrapped = fields.keys().all(|key| ["schema", "title", "description"].contains(&key.as_str()));
            if let (true, Some(inner)) = (wrapped && fields.contains_key("schema"), fields.get("schema")) {
                *value = inner.clone();
                return unwrap(value);
            }
            fields.values_mut().for_each(unwrap);
        }
        _ => {}
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let Some(spec) = Spec::open("v0.10.2", "the_check_finds_what_is_wrong") else { return };
    let fails = |schema: &str, value: Value| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| spec.assert_is(schema, &value))).is_err()
    };
    assert!(!fails("FELT", json!("0x1")));
    assert!(fails("FELT", json!("0x01")) && fails("FELT", json!(1)));
    assert!(fails("BLOCK_HEADER", json!({})));
    assert!(fails("BLOCK_WITH_TXS", json!({"transactions": [{}]})));
}
