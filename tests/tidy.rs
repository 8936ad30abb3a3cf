//! The house rules as ordinary tests: dependency direction, purity of core, a map that matches the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("read {path}: {e}"))
}

/// Folder -> package name, as the workspace lists them.
fn members() -> BTreeMap<String, toml::Table> {
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|m| {
            let folder = m.as_str().unwrap();
            (folder.to_owned(), read(&format!("{folder}/Cargo.toml")).parse().unwrap())
        })
        .collect()
}

fn dependencies(manifest: &toml::Table, section: &str) -> BTreeSet<String> {
    manifest.get(section).and_then(|d| d.as_table()).map(|t| t.keys().cloned().collect()).unwrap_or_default()
}

fn sources(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![root().join(folder)];
    while let Some(dir) = folders.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "node_modules" | "target" | ".git" | ".keel") {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What each crate may use of ours, beside what stands above it in its own column. Written out, so that a new edge is a decision.
const ALLOWED_EDGES: &[(&str, &[&str])] = &[
    ("keel-types", &[]),
    ("keel-book", &["keel-types"]),
    ("keel-ledger", &["keel-types"]),
    ("keel-engine", &["keel-types", "keel-book", "keel-ledger"]),
    ("keel-commitment", &[]),
    ("keel-contracts", &["keel-types"]),
    ("keel-ingress", &["keel-types"]),
    ("keel-journal", &["keel-types"]),
    ("keel-store", &["keel-types", "keel-commitment"]),
    ("keel-blocks", &["keel-types", "keel-commitment", "keel-contracts", "keel-store"]),
    ("keel-sequencer", &["keel-types", "keel-engine", "keel-ingress", "keel-journal", "keel-blocks"]),
    ("keel-batches", &["keel-types", "keel-commitment", "keel-contracts", "keel-store"]),
    ("keel-settlement", &["keel-types", "keel-batches", "keel-store", "keel-contracts", "keel-ingress"]),
    ("keel-guard", &["keel-types"]),
    (
        "keel-attestor",
        &[
            "keel-types",
            "keel-engine",
            "keel-journal",
            "keel-sequencer",
            "keel-store",
            "keel-blocks",
            "keel-batches",
            "keel-settlement",
        ],
    ),
    ("keel-feeds", &["keel-types", "keel-ledger", "keel-engine", "keel-ingress", "keel-store"]),
    (
        "keel-rpc",
        &[
            "keel-types",
            "keel-commitment",
            "keel-ingress",
            "keel-journal",
            "keel-feeds",
            "keel-store",
            // The tree over what an incident cancelled.
            "keel-blocks",
            "keel-batches",
            "keel-contracts",
        ],
    ),
    ("keel-fuzz", &["keel-types", "keel-ledger", "keel-engine", "keel-contracts", "keel-ingress"]),
];

#[test]
fn dependencies_run_one_way() {
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED_EDGES.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    for (folder, manifest) in members() {
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        if folder == "node/bin" || folder == "tests" {
            continue; // the top: may use everything
        }
        let edges = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in ALLOWED_EDGES"));
        for used in dependencies(&manifest, "dependencies").iter().filter(|d| d.starts_with("keel-")) {
            assert!(edges.contains(used.as_str()), "{name} may not depend on {used}");
        }
    }
}

#[test]
fn every_layer_only_knows_the_layers_below() {
    let layer = |folder: &str| match folder {
        f if f.starts_with("node/core/") => 0,
        "contracts-abi" => 1,
        f if f.starts_with("node/pipeline/") => 2,
        f if f.starts_with("node/edge/") => 3,
        _ => 4,
    };
    let members = members();
    let layer_of: BTreeMap<String, u8> =
        members.iter().map(|(folder, m)| (m["package"]["name"].as_str().unwrap().to_owned(), layer(folder))).collect();
    for (folder, manifest) in &members {
        for used in dependencies(manifest, "dependencies").iter().filter_map(|d| layer_of.get(d).map(|l| (d, l))) {
            assert!(*used.1 <= layer(folder), "{folder} depends upwards on {}", used.0);
        }
    }
}

/// What core may use from outside. At most ten, each pure.
const CORE_DEPENDENCIES: &[&str] =
    &["blake3", "borsh", "serde", "sha3", "starknet-crypto", "starknet-types-core", "thiserror"];

/// Words that have no place in core, with the rule they break.
const CORE_BANNED: &[(&str, &str)] = &[
    ("std::fs", "no I/O"),
    ("std::net", "no I/O"),
    ("std::env", "no environment"),
    ("println!", "no I/O"),
    ("std::time", "no clock"),
    ("Instant", "no clock"),
    ("SystemTime", "no clock"),
    ("std::thread", "no threads"),
    ("async fn", "no async"),
    ("tokio", "no async"),
    ("f32", "no floats"),
    ("f64", "no floats"),
    ("HashMap", "no hash-order iteration"),
    ("HashSet", "no hash-order iteration"),
    ("unsafe", "no unsafe"),
    ("rand::", "no randomness"),
];

/// The product part of a source file: what stands before its test module, without comments.
fn product_code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

fn has_word(line: &str, word: &str) -> bool {
    let boundary = |c: Option<char>| c.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
    line.match_indices(word)
        .any(|(at, _)| boundary(line[..at].chars().next_back()) && boundary(line[at + word.len()..].chars().next()))
}

#[test]
fn core_is_pure() {
    for path in sources("node/core", ".rs") {
        let relative = path.strip_prefix(root()).unwrap().display().to_string();
        if relative.contains("/tests/") || relative.contains("/benches/") || relative.ends_with("/tests.rs") {
            continue;
        }
        for line in product_code(&path).lines() {
            for (word, rule) in CORE_BANNED {
                // The attribute that forbids it is the one place where the word may stand.
                assert!(!has_word(line, word) || line.contains("forbid(unsafe_code)"), "{relative}: {rule}: {line}");
            }
        }
    }
    for (folder, manifest) in members().into_iter().filter(|(f, _)| f.starts_with("node/core/")) {
        let lib = read(&format!("{folder}/src/lib.rs"));
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{folder} must forbid unsafe code");
        for used in dependencies(&manifest, "dependencies").iter().filter(|d| !d.starts_with("keel-")) {
            assert!(CORE_DEPENDENCIES.contains(&used.as_str()), "{folder} may not use {used}");
        }
    }
}

#[test]
fn unsafe_code_stands_beside_a_reason() {
    for path in sources(".", ".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            if ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|u| line.contains(u)) && !path.ends_with("tidy.rs") {
                assert!(
                    i > 0 && lines[i - 1].contains("// SAFETY:"),
                    "{}:{}: unsafe without a reason",
                    path.display(),
                    i + 1
                );
            }
        }
    }
}

#[test]
fn the_map_in_architecture_matches_the_tree() {
    let text = read("ARCHITECTURE.md");
    let map = text.split("## The map").nth(1).expect("ARCHITECTURE.md has a map").split("\n## ").next().unwrap();
    let mapped: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .map(|p| p.trim_end_matches('/').to_owned())
        .collect();
    for folder in members().keys() {
        assert!(mapped.contains(folder), "{folder} is missing in the map of ARCHITECTURE.md");
    }
    for path in &mapped {
        assert!(root().join(path).exists(), "the map of ARCHITECTURE.md names {path}, which does not exist");
    }
}

#[test]
fn every_dependency_has_its_reason_in_architecture() {
    let text = read("ARCHITECTURE.md");
    let section = text.split("## Dependencies").nth(1).expect("ARCHITECTURE.md lists dependencies");
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let used: BTreeSet<String> = members()
        .values()
        .flat_map(|m| dependencies(m, "dependencies").into_iter().chain(dependencies(m, "dev-dependencies")))
        .collect();
    for (name, _) in workspace["workspace"]["dependencies"].as_table().unwrap() {
        assert!(used.contains(name), "{name} is a workspace dependency that nobody uses");
        if !name.starts_with("keel-") {
            assert!(section.contains(&format!("`{name}`")), "{name} has no reason in ARCHITECTURE.md");
        }
    }
}

/// Fixed by the owner of the product; what may stand beside them is listed too.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "node",
    "contracts-abi",
    "genesis",
    "scripts",
    "tests",
    "docker-compose.yml",
    "README.md",
    "ARCHITECTURE.md",
    "LICENSE",
    ".ci",
    "Cargo.lock",
    ".gitignore",
    ".git",
    "deny.toml",
    "rustfmt.toml",
    ".config",
    ".dockerignore",
    "docs",
    "rust-toolchain.toml",
    "target",
    ".keel",
];

#[test]
fn top_level_entries_are_the_agreed_ones() {
    for entry in std::fs::read_dir(root()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(TOP_LEVEL.contains(&name.as_str()), "{name} does not belong at the top level");
    }
}

#[test]
fn no_file_outgrows_a_reader() {
    for path in sources("node", ".rs").into_iter().chain(sources("contracts-abi", ".rs")) {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 900, "{} has {lines} lines: split it", path.display());
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimple", "mented!("), concat!("to", "do!(")];
    for path in sources("node", ".rs").into_iter().chain(sources("contracts-abi", ".sol")).chain(sources("tests", ".mjs")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for mark in marks {
            assert!(!text.contains(mark), "{}: {mark}", path.display());
        }
    }
}
