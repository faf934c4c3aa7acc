//! What can be wrong with a `lab.toml`: each problem with its key, its place and its remedy.
//!
//! A problem is one line of text. What it repeats from the file is quoted and escaped, so that no
//! content of the file can break that line.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Everything that is wrong with a `lab.toml`: one problem or more, in the order of the file.
///
/// Displayed, it is one problem a line without a newline at the end; serialized, it is a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct ConfigProblems(Vec<ConfigProblem>);

impl ConfigProblems {
    /// The problems in the order of the file, or nothing when there are none.
    ///
    /// Those without a place, such as an absent table, come last.
    pub(super) fn of(mut found: Vec<ConfigProblem>) -> Option<ConfigProblems> {
        // Stable: problems of one place stay in the order in which they were found.
        found.sort_by_key(|p| {
            p.position
                .map_or((true, 0, 0), |p| (false, p.line, p.column))
        });
        (!found.is_empty()).then_some(ConfigProblems(found))
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigProblem> {
        self.0.iter()
    }

    /// How many problems there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<ConfigProblem> for ConfigProblems {
    fn from(problem: ConfigProblem) -> Self {
        ConfigProblems(vec![problem])
    }
}

impl<'a> IntoIterator for &'a ConfigProblems {
    type Item = &'a ConfigProblem;
    type IntoIter = std::slice::Iter<'a, ConfigProblem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}

/// A place in the text of `lab.toml`, both counted from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column in that line.
    pub column: usize,
}

/// One thing that is wrong with a `lab.toml`.
///
/// Displayed: `line 9: sentinel[2].address: what is wrong; what to do`. Serialized: an object of
/// `key`, `line`, `column` (each may be null), `problem` and `remedy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The path of the key, elements counted from 0; empty where the text is not TOML.
    pub key: String,
    /// Where it is; nothing for what is absent.
    pub position: Option<Position>,
    /// What is wrong.
    pub kind: ConfigProblemKind,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}")?;
            // A key says where in the line it is; a syntax error has only the column.
            if self.key.is_empty() {
                write!(f, ", column {column}")?;
            }
            write!(f, ": ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.kind, self.kind.remedy())
    }
}

impl Serialize for ConfigProblem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("ConfigProblem", 5)?;
        object.serialize_field("key", &(!self.key.is_empty()).then_some(&self.key))?;
        object.serialize_field("line", &self.position.map(|p| p.line))?;
        object.serialize_field("column", &self.position.map(|p| p.column))?;
        object.serialize_field("problem", &self.kind.to_string())?;
        object.serialize_field("remedy", &self.kind.remedy())?;
        object.end()
    }
}

/// What is wrong; its text says it, [`ConfigProblemKind::remedy`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblemKind {
    /// The text is not TOML.
    #[error("not TOML: {message}")]
    Syntax {
        /// What the TOML parser says.
        message: String,
    },
    /// A value that passes the check and that serde does not take.
    #[error("{message}")]
    Unreadable {
        /// What serde says.
        message: String,
    },
    /// A key or a table that `lab.toml` does not have.
    #[error("unknown key")]
    UnknownKey {
        /// What the writer of the file may have meant, and where that belongs.
        hint: Hint,
    },
    /// A key that must be there is absent.
    #[error("missing")]
    Missing {
        /// The header of its table, when that is absent too.
        header: Option<String>,
        /// The key with a value that would be right, as written in the file.
        example: String,
    },
    /// A value of another TOML type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// The type that the key takes.
        expected: &'static str,
        /// The type that the file has there.
        found: &'static str,
        /// How it is written right.
        example: String,
    },
    /// A number outside of what the key takes.
    #[error("{} is out of range", with_unit(value, unit))]
    OutOfRange {
        /// The number as the file has it.
        value: String,
        /// The unit, empty when it has none.
        unit: &'static str,
        /// The numbers that the key takes, in words.
        range: String,
    },
    /// A name that is no good as a folder, unit, host name or label.
    #[error("{name:?} is not a name that works everywhere")]
    BadName {
        /// The name.
        name: String,
    },
    /// The name of a folder beside those of the nodes.
    #[error("{name:?} is the name of a folder that is not a node's")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A name that an earlier node has.
    #[error("{name:?} is already the name of {earlier}")]
    DuplicateName {
        /// The name.
        name: String,
        /// The path of the earlier node.
        earlier: String,
    },
    /// The name of an application that a user of the lab has.
    #[error("{name:?} is the name of a user of the lab itself")]
    UserOfLab {
        /// The name.
        name: String,
    },
    /// The name of an earlier application.
    #[error("{name:?} is already the name of {earlier}")]
    DuplicateApp {
        /// The name.
        name: String,
        /// The path of the earlier application.
        earlier: String,
    },
    /// Applications of a lab without users.
    #[error("an application is a user, and with acl = false there are none")]
    AppWithoutAcl,
    /// A pattern that no ACL rule can state.
    #[error("{pattern:?} is not a pattern that an ACL can have")]
    BadPattern {
        /// The pattern.
        pattern: String,
    },
    /// A pattern of keys or channels of the lab itself.
    #[error("{pattern:?} matches {what} that begin with {prefix}, which are the lab's")]
    PatternOfLab {
        /// The pattern.
        pattern: String,
        /// Keys or channels.
        what: &'static str,
        /// The beginning of those of the lab.
        prefix: &'static str,
    },
    /// Not an ACL rule of a command or a category.
    #[error("{rule:?} is not an ACL rule of a command")]
    BadRule {
        /// What the file has.
        rule: String,
    },
    /// A category that servers do not have.
    #[error("{rule:?} names a category that Redis does not have")]
    UnknownCategory {
        /// The rule.
        rule: String,
        /// The category that is written nearly so.
        near: Option<&'static str>,
    },
    /// Commands that would give an application a part of the lab.
    #[error("{rule:?} allows what no application may do: it changes servers, users or all keys")]
    RuleOfLab {
        /// The rule.
        rule: String,
    },
    /// Not an IPv4 address.
    #[error("{text:?} is not an IPv4 address")]
    NotIpv4 {
        /// What the file has.
        text: String,
    },
    /// An IPv4 address that no single host can have.
    #[error("{address} is {what}, not the address of one node")]
    UnusableAddress {
        /// The address.
        address: std::net::Ipv4Addr,
        /// What it is instead.
        what: &'static str,
    },
    /// An address that an earlier node has.
    #[error("{address} is already the address of {earlier}")]
    DuplicateAddress {
        /// The address.
        address: std::net::Ipv4Addr,
        /// The path of the earlier node.
        earlier: String,
    },
    /// A port that an earlier listener on the same address has.
    #[error("{port} is already the port of {earlier}")]
    DuplicatePort {
        /// The port.
        port: u16,
        /// The key of the earlier port.
        earlier: String,
    },
    /// Some nodes are on the loopback network and some are not.
    #[error("{address} and {other} of {earlier} cannot reach each other")]
    MixedLoopback {
        /// The address.
        address: std::net::Ipv4Addr,
        /// The address of the first node.
        other: std::net::Ipv4Addr,
        /// The path of the first node.
        earlier: String,
    },
    /// Too few nodes of a kind.
    #[error("{count} of at least {least}")]
    TooFew {
        /// How many there are.
        count: usize,
        /// How many there must be.
        least: usize,
        /// The header of one more.
        header: String,
        /// Why that many.
        why: &'static str,
    },
    /// More nodes than a /24 has addresses for.
    #[error("{count} nodes are more than the {most} that fit into one /24 network")]
    TooManyNodes {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// An even number of Sentinels.
    #[error("{count} Sentinels survive no more losses than {}", count - 1)]
    EvenSentinels {
        /// How many there are.
        count: usize,
    },
    /// A quorum that the Sentinels can never reach.
    #[error("a quorum of {quorum} is over the number of Sentinels, {sentinels}")]
    QuorumOverSentinels {
        /// The quorum.
        quorum: usize,
        /// How many Sentinels there are.
        sentinels: usize,
    },
    /// A quorum that a minority of the Sentinels can reach.
    #[error(
        "a quorum of {quorum} lets a minority of {sentinels} Sentinels fail over a healthy primary"
    )]
    QuorumBelowMajority {
        /// The quorum.
        quorum: usize,
        /// How many Sentinels there are.
        sentinels: usize,
    },
    /// The seed primary is not one of the data nodes.
    #[error("{name:?} is not a data node")]
    UnknownSeedPrimary {
        /// The name.
        name: String,
        /// The names of the data nodes.
        data_nodes: Vec<String>,
    },
    /// A hang timeout that the Sentinels' own would overtake.
    #[error("a hang timeout of {hang_ms} ms is not below down_after_ms, {down_ms} ms")]
    HangTimeoutNotBelowDownAfter {
        /// The hang timeout in milliseconds.
        hang_ms: u64,
        /// The down-after time in milliseconds.
        down_ms: u64,
    },
    /// Certificates of clients, and nobody to show them to.
    #[error("without TLS nobody shows a certificate")]
    MutualWithoutTls,
    /// The profile asked for is not in the file.
    #[error("no such profile")]
    UnknownProfile {
        /// The names of the profiles that there are.
        profiles: Vec<String>,
    },
}

/// What an unknown key may have been meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A known key of the same table that is written nearly so.
    DidYouMean(&'static str),
    /// A key of that name belongs under this header.
    BelongsTo(String),
    /// Nothing is near: these are the keys that the table takes.
    OneOf(Vec<&'static str>),
}

impl ConfigProblemKind {
    /// What to do about it: one sentence without a full stop, as an order.
    pub fn remedy(&self) -> String {
        match self {
            ConfigProblemKind::Syntax { .. } => "correct it to TOML 1.0".into(),
            ConfigProblemKind::Unreadable { .. } => "write it as docs/configuration.md says".into(),
            ConfigProblemKind::UnknownKey {
                hint: Hint::DidYouMean(key),
            } => format!("did you mean `{key}`?"),
            ConfigProblemKind::UnknownKey {
                hint: Hint::BelongsTo(header),
            } => format!("move it to `{header}`"),
            ConfigProblemKind::UnknownKey {
                hint: Hint::OneOf(keys),
            } => {
                format!("remove it, or use one of: {}", keys.join(", "))
            }
            ConfigProblemKind::Missing {
                header: None,
                example,
            } => {
                format!("add it, for example `{example}`")
            }
            ConfigProblemKind::Missing {
                header: Some(header),
                example,
            } => {
                format!("add it under `{header}`, for example `{example}`")
            }
            ConfigProblemKind::WrongType { example, .. } => format!("write it like `{example}`"),
            ConfigProblemKind::OutOfRange { range, unit, .. } => {
                format!("use {}", with_unit(range, unit))
            }
            ConfigProblemKind::BadName { .. } => format!(
                "use 1 to {} lower-case letters, digits and '-', with no '-' at either end",
                super::values::NAME_MAX
            ),
            ConfigProblemKind::ReservedName { .. } => format!(
                "choose another name than {}",
                super::values::RESERVED_NAMES.join(", ")
            ),
            ConfigProblemKind::DuplicateName { .. } => "give every node a name of its own".into(),
            ConfigProblemKind::UserOfLab { .. } => format!(
                "choose another name than {}, halab, and those that begin with halab-",
                super::values::USERS_OF_LAB.join(", ")
            ),
            ConfigProblemKind::DuplicateApp { .. } => {
                "give every application a name of its own".into()
            }
            ConfigProblemKind::AppWithoutAcl => {
                "set security.acl = true, or remove the application".into()
            }
            ConfigProblemKind::BadPattern { .. } => format!(
                "use 1 to {} ASCII characters without blanks, for example \"shop:*\"",
                super::values::RULE_MAX
            ),
            ConfigProblemKind::PatternOfLab { .. } => {
                "begin it with what is the application's own, for example \"shop:*\"".into()
            }
            ConfigProblemKind::BadRule { .. } => {
                "write it in lower case like \"+get\", \"-client|kill\" or \"-@dangerous\"".into()
            }
            ConfigProblemKind::UnknownCategory {
                near: Some(near), ..
            } => format!("did you mean @{near}?"),
            ConfigProblemKind::UnknownCategory { near: None, .. } => {
                "use one that ACL CAT lists".into()
            }
            ConfigProblemKind::RuleOfLab { .. } => "remove it".into(),
            ConfigProblemKind::NotIpv4 { .. } => {
                "write four numbers from 0 to 255, for example \"127.0.0.11\"".into()
            }
            ConfigProblemKind::UnusableAddress { .. }
            | ConfigProblemKind::DuplicateAddress { .. } => {
                "give every node an address of its own, for example out of 127.0.0.0/8".into()
            }
            ConfigProblemKind::DuplicatePort { .. } => {
                "give each listener a port of its own".into()
            }
            ConfigProblemKind::MixedLoopback { .. } => {
                "put all nodes into 127.0.0.0/8, or none of them".into()
            }
            ConfigProblemKind::TooFew { header, why, .. } => format!("add a `{header}`: {why}"),
            ConfigProblemKind::TooManyNodes { most, .. } => format!("keep to {most} nodes"),
            ConfigProblemKind::EvenSentinels { .. } => {
                "make it an odd number: add a `[[sentinel]]` or remove one".into()
            }
            ConfigProblemKind::QuorumOverSentinels { sentinels, .. }
            | ConfigProblemKind::QuorumBelowMajority { sentinels, .. } => {
                let majority = sentinels / 2 + 1;
                if majority == *sentinels {
                    format!("use {majority}")
                } else {
                    format!("use {majority}, the majority (at most {sentinels})")
                }
            }
            ConfigProblemKind::UnknownSeedPrimary { name, data_nodes } => choose(name, data_nodes),
            ConfigProblemKind::HangTimeoutNotBelowDownAfter { down_ms, .. } => format!(
                "set hang_timeout_ms well below {down_ms}, for example {}, or raise down_after_ms",
                (down_ms / 5).max(1)
            ),
            ConfigProblemKind::MutualWithoutTls => "set tls = true as well, or remove this".into(),
            ConfigProblemKind::UnknownProfile { profiles } if profiles.is_empty() => {
                "ask for none: the file has no profiles".into()
            }
            ConfigProblemKind::UnknownProfile { profiles } => {
                format!("ask for one of: {}", quoted(profiles))
            }
        }
    }
}

fn with_unit(number: &str, unit: &str) -> String {
    format!("{number} {unit}").trim_end().to_owned()
}

/// The names, escaped, since those of profiles may be no good.
fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The remedy for a name that should be one of `names`.
fn choose(name: &str, names: &[String]) -> String {
    match (
        super::nearest::nearest(name, names.iter().map(String::as_str)),
        names,
    ) {
        (Some(near), _) => format!("did you mean {near:?}?"),
        (None, []) => "name one of the data nodes".into(),
        (None, names) => format!("name one of: {}", quoted(names)),
    }
}
