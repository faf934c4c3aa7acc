//! Parses the text of `lab.toml` into a [`Lab`], or into the list of its problems.

use serde::Deserialize;
use toml::de::{DeTable, DeValue, Deserializer};

use super::check::Document;
use super::keys::Tables;
use super::problem::{ConfigProblem, ConfigProblemKind, ConfigProblems};
use super::rules;
use super::text::Text;
use super::values::join;
use super::{App, Lab, Node};

impl Lab {
    /// Parses the text of a `lab.toml`; `profile` replaces its time limits.
    ///
    /// # Errors
    /// All problems, including those of profiles that were not requested. For a text that is not
    /// TOML, only its syntax errors: its meaning could only be guessed.
    pub fn parse(text: &str, profile: Option<&str>) -> Result<Lab, ConfigProblems> {
        let lines = Text::new(text);
        let (mut document, errors) = DeTable::parse_recoverable(text);
        let syntax = errors.iter().map(|error| {
            let message = error.message().escape_debug().to_string();
            lines.problem(error, ConfigProblemKind::Syntax { message })
        });
        if let Some(problems) = ConfigProblems::of(syntax.collect()) {
            return Err(problems);
        }

        let checked = Document::check(&lines, document.get_ref());
        let mut found = rules::broken(&checked);
        found.splice(..0, checked.problems);
        found.extend(profile.and_then(|name| unknown_profile(document.get_ref(), name)));
        if let Some(problems) = ConfigProblems::of(found) {
            return Err(problems);
        }

        inherit(document.get_mut());
        let tables = Tables::deserialize(Deserializer::from(document)).map_err(|error| {
            let message = error.message().escape_debug().to_string();
            ConfigProblems::from(lines.problem(&error, ConfigProblemKind::Unreadable { message }))
        })?;
        Ok(tables.into_lab(profile))
    }

    /// The names of the profiles in the text of a `lab.toml`, in alphabetical order.
    ///
    /// For messages and completion, so it ignores problems in the rest of the text.
    pub fn profiles(text: &str) -> Vec<String> {
        profiles(DeTable::parse_recoverable(text).0.get_ref())
    }
}

impl Tables {
    fn into_lab(mut self, profile: Option<&str>) -> Lab {
        let profile = profile.and_then(|name| self.profiles.remove(name));
        Lab {
            name: self.lab.name,
            primary_name: self.lab.primary_name,
            quorum: self.lab.quorum,
            seed_primary: self.lab.seed_primary,
            data_nodes: self.data_node.into_iter().map(Node::from).collect(),
            sentinels: self.sentinel.into_iter().map(Node::from).collect(),
            timing: profile.unwrap_or(self.timing),
            writer: self.writer,
            monitoring: self.monitoring,
            security: self.security,
            proxy: self.proxy,
            apps: self.app.into_iter().map(App::from).collect(),
            forwarded: None,
        }
    }
}

/// Keys that a profile leaves out are inherited from `[timing]`.
fn inherit(root: &mut DeTable<'_>) {
    let timing = table(root, "timing").cloned().unwrap_or_default();
    let Some(profiles) = root.get_mut("profiles") else {
        return;
    };
    let DeValue::Table(profiles) = profiles.get_mut() else {
        return;
    };
    for (_, profile) in profiles.iter_mut() {
        if let DeValue::Table(profile) = profile.get_mut() {
            for (key, value) in &timing {
                profile.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

fn unknown_profile(root: &DeTable<'_>, name: &str) -> Option<ConfigProblem> {
    let profiles = profiles(root);
    (!profiles.iter().any(|profile| profile == name)).then(|| ConfigProblem {
        key: join("profiles", name),
        position: None,
        kind: ConfigProblemKind::UnknownProfile { profiles },
    })
}

fn profiles(root: &DeTable<'_>) -> Vec<String> {
    let names = table(root, "profiles").into_iter().flat_map(|t| t.keys());
    names.map(|name| name.get_ref().to_string()).collect()
}

fn table<'a, 't>(root: &'a DeTable<'t>, key: &str) -> Option<&'a DeTable<'t>> {
    root.get(key)?.get_ref().as_table()
}
