//! What becomes part of the program, and what is downloaded to build and test it, against
//! `deny.toml` and the pins.
//!
//! cargo-deny reads the same file in the hosted workflow, and the advisories. It takes minutes to
//! build on a new machine; what it says of licences, sources and duplicates is a few lines over
//! what cargo itself tells.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The part of `deny.toml` that is held here.
#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    sources: Sources,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

fn deny() -> Deny {
    toml::from_str(&fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

fn locked() -> Vec<Locked> {
    let read = |path| fs::read_to_string(root().join(path)).unwrap();
    let parse = |path| toml::from_str::<Lock>(&read(path)).unwrap().package;
    let locks = ["Cargo.lock", "fuzz/Cargo.lock", "examples/rust/Cargo.lock"];
    locks.into_iter().flat_map(parse).collect()
}

/// Every crate that is compiled on this machine, tests included: `name`, `version`, licence.
fn compiled() -> BTreeSet<(String, String, String)> {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree", "--locked", "--prefix", "none", "--format", "{p}|{l}",
        ])
        .args(["--edges", "normal,build,dev"])
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "cargo tree: {errors}");
    let text = String::from_utf8(tree.stdout).unwrap();
    text.lines()
        .map(|line| {
            let (package, license) = line.split_once('|').unwrap();
            let mut words = package.split(' ');
            let name = words.next().unwrap().to_owned();
            let version = words.next().unwrap().trim_start_matches('v').to_owned();
            let license = license.trim_end_matches(" (*)").to_owned();
            (name, version, license)
        })
        .collect()
}

fn permitted(license: &str, allow: &BTreeSet<String>) -> bool {
    spdx::Expression::parse_mode(license, spdx::ParseMode::LAX)
        .is_ok_and(|e| e.evaluate(|part| allow.contains(&part.to_string())))
}

#[test]
fn every_crate_has_a_licence_that_deny_toml_allows() {
    let allow = deny().licenses.allow;
    let wrong: Vec<_> = compiled()
        .into_iter()
        .filter(|(_, _, license)| !permitted(license, &allow))
        .collect();
    assert!(
        wrong.is_empty(),
        "not among [licenses] allow of deny.toml: {wrong:#?}"
    );
}

#[test]
fn a_licence_counts_only_as_a_whole() {
    let allow = BTreeSet::from(["MIT".to_owned(), "Unicode-3.0".to_owned()]);
    for (license, fine) in [
        ("MIT", true),
        ("GPL-3.0-only OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND Unicode-3.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("GPL-3.0-only", false),
        ("", false),
    ] {
        assert_eq!(permitted(license, &allow), fine, "{license:?}");
    }
}

#[test]
fn every_crate_comes_from_a_registry_of_deny_toml_with_its_hash() {
    let registries = deny().sources.allow_registry;
    for package in locked() {
        let who = format!("{} {}", package.name, package.version);
        let Some(source) = package.source else {
            assert!(package.name.starts_with("redis-ha-lab"), "{who}: a path");
            continue;
        };
        let registry = source.strip_prefix("registry+").unwrap_or(&source);
        assert!(registries.contains(registry), "{who} is from {source}");
        let hash = package.checksum.unwrap_or_default();
        assert_eq!(hash.len(), 64, "{who} has no hash in Cargo.lock");
    }
}

#[test]
fn no_crate_is_there_in_two_versions_but_those_that_deny_toml_names() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, version, _) in compiled() {
        versions.entry(name).or_default().insert(version);
    }
    let skip = deny().bans.skip;
    for (name, versions) in versions {
        let left: Vec<_> = versions
            .iter()
            .filter(|version| !skip.contains(&format!("{name}@{version}")))
            .collect();
        assert!(
            left.len() <= 1,
            "{name} is there as {versions:?}: unify them, or name the older under [bans] skip of deny.toml"
        );
    }
    let there: BTreeSet<String> = locked()
        .iter()
        .map(|p| format!("{}@{}", p.name, p.version))
        .collect();
    let gone: Vec<_> = skip.difference(&there).collect();
    assert!(gone.is_empty(), "deny.toml skips what is gone: {gone:?}");
}

fn files(folder: &str, ending: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let found: Vec<_> = paths
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    assert!(!found.is_empty(), "no {ending} in {folder}");
    found
}

#[test]
fn every_action_of_the_workflows_is_pinned_by_its_commit() {
    for (path, text) in files(".github/workflows", ".yml") {
        // A workflow of this project is of the same commit.
        let others = |line: &&str| line.contains("uses:") && !line.contains("uses: ./");
        for line in text.lines().filter(others) {
            let (_, pin) = line.split_once('@').unwrap_or_default();
            let (commit, release) = pin.split_once(' ').unwrap_or_default();
            let is_commit = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(
                is_commit && release.starts_with("# v"),
                "{}: \"{}\" is not ACTION@COMMIT # vRELEASE",
                path.display(),
                line.trim()
            );
        }
    }
}

/// A script that is run as it comes in is neither a version nor a hash.
#[test]
fn nothing_downloaded_is_run_unseen() {
    for (path, text) in files("scripts", ".sh") {
        let whole = text.replace("|\n", "| ").replace("\\\n", " ");
        for line in whole.lines().filter(|line| line.contains("curl ")) {
            let unseen = line.split('|').skip(1).any(|to| {
                to.trim_start().starts_with("sh ") || to.trim_start().starts_with("bash")
            });
            assert!(!unseen, "{}: \"{}\"", path.display(), line.trim());
        }
    }
}
