//! The kinds of configuration problems, each with its text and remedy.

use crate::config::nearest::nearest;
use crate::config::values;

/// A kind of problem. Its text states the problem, [`ConfigProblemKind::remedy`] the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblemKind {
    /// The text is not TOML.
    #[error("not TOML: {message}")]
    Syntax {
        /// The message of the TOML parser.
        message: String,
    },
    /// A value that passes the check but that serde rejects.
    #[error("{message}")]
    Unreadable {
        /// The message of serde.
        message: String,
    },
    /// A key or a table that `lab.toml` does not have.
    #[error("unknown key")]
    UnknownKey {
        /// What may have been meant, and where it belongs.
        hint: Hint,
    },
    /// A required key is absent.
    #[error("missing")]
    Missing {
        /// The header of its table, if that is absent too.
        header: Option<String>,
        /// The key with a valid value, as written in the file.
        example: String,
    },
    /// A value of another TOML type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// The type of the key.
        expected: &'static str,
        /// The type in the file.
        found: &'static str,
        /// The correct notation.
        example: String,
    },
    /// A number outside the range of the key.
    #[error("{} is out of range", with_unit(value, unit))]
    OutOfRange {
        /// The number as in the file.
        value: String,
        /// The unit; empty if it has none.
        unit: &'static str,
        /// The valid range, in words.
        range: String,
    },
    /// Not one of the valid words.
    #[error("{word:?} is not a valid value")]
    UnknownWord {
        /// The value in the file.
        word: String,
        /// The valid words.
        words: &'static [String],
    },
    /// A name that is not valid as a folder, unit, host name or label.
    #[error("{name:?} is not a valid name")]
    BadName {
        /// The name.
        name: String,
    },
    /// The name of a folder or process that is not a node.
    #[error("{name:?} is a reserved name")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// The name of an earlier node.
    #[error("{name:?} is already the name of {earlier}")]
    DuplicateName {
        /// The name.
        name: String,
        /// The path of the earlier node.
        earlier: String,
    },
    /// The name of one of the lab's own users.
    #[error("{name:?} is a reserved user name")]
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
    /// Applications in a lab without users.
    #[error("applications require security.acl = true")]
    AppWithoutAcl,
    /// A pattern that an ACL rule cannot contain.
    #[error("{pattern:?} is not a valid ACL pattern")]
    BadPattern {
        /// The pattern.
        pattern: String,
    },
    /// A pattern that matches the lab's own keys or channels.
    #[error("{pattern:?} matches {what} reserved for the lab ({prefix}...)")]
    PatternOfLab {
        /// The pattern.
        pattern: String,
        /// Keys or channels.
        what: &'static str,
        /// The prefix of the lab's own ones.
        prefix: &'static str,
    },
    /// Not an ACL rule for a command or a category.
    #[error("{rule:?} is not a valid ACL rule for commands")]
    BadRule {
        /// The value in the file.
        rule: String,
    },
    /// An unknown command category.
    #[error("{rule:?} names an unknown command category")]
    UnknownCategory {
        /// The rule.
        rule: String,
        /// The closest known category.
        near: Option<&'static str>,
    },
    /// Commands with which an application could change the lab.
    #[error("{rule:?} is not allowed for applications: it changes servers, users or all keys")]
    RuleOfLab {
        /// The rule.
        rule: String,
    },
    /// Not an IPv4 address.
    #[error("{text:?} is not an IPv4 address")]
    NotIpv4 {
        /// The value in the file.
        text: String,
    },
    /// An IPv4 address that is not a host address.
    #[error("{address} is {what}, not a host address")]
    UnusableAddress {
        /// The address.
        address: std::net::Ipv4Addr,
        /// What it is instead.
        what: &'static str,
    },
    /// The address of an earlier node.
    #[error("{address} is already the address of {earlier}")]
    DuplicateAddress {
        /// The address.
        address: std::net::Ipv4Addr,
        /// The path of the earlier node.
        earlier: String,
    },
    /// The port of an earlier listener on the same address.
    #[error("{port} is already the port of {earlier}")]
    DuplicatePort {
        /// The port.
        port: u16,
        /// The key of the earlier port.
        earlier: String,
    },
    /// Some nodes are in the loopback network and some are not.
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
    #[error("{count} found, at least {least} required")]
    TooFew {
        /// The number found.
        count: usize,
        /// The number required.
        least: usize,
        /// The header of an additional one.
        header: String,
        /// Why that many.
        why: &'static str,
    },
    /// More nodes than a /24 network has addresses.
    #[error("{count} nodes exceed the {most} that fit into one /24 network")]
    TooManyNodes {
        /// The number found.
        count: usize,
        /// The maximum.
        most: usize,
    },
    /// An even number of Sentinels.
    #[error("{count} Sentinels tolerate no more failures than {}", count - 1)]
    EvenSentinels {
        /// The number found.
        count: usize,
    },
    /// A quorum above the number of Sentinels.
    #[error("a quorum of {quorum} exceeds the number of Sentinels, {sentinels}")]
    QuorumOverSentinels {
        /// The quorum.
        quorum: usize,
        /// The number of Sentinels.
        sentinels: usize,
    },
    /// A quorum below a majority of the Sentinels.
    #[error(
        "a quorum of {quorum} lets a minority of {sentinels} Sentinels fail over a healthy primary"
    )]
    QuorumBelowMajority {
        /// The quorum.
        quorum: usize,
        /// The number of Sentinels.
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
    /// A hang timeout that is not below `down_after_ms`.
    #[error("a hang timeout of {hang_ms} ms is not below down_after_ms, {down_ms} ms")]
    HangTimeoutNotBelowDownAfter {
        /// The hang timeout in milliseconds.
        hang_ms: u64,
        /// The down-after time in milliseconds.
        down_ms: u64,
    },
    /// Client certificates without TLS.
    #[error("mutual_tls requires tls")]
    MutualWithoutTls,
    /// TLS for clients of the proxy in a lab without certificates.
    #[error("proxy.tls requires security.tls")]
    ProxyTlsWithoutTls,
    /// The requested profile is not in the file.
    #[error("no such profile")]
    UnknownProfile {
        /// The names of the existing profiles.
        profiles: Vec<String>,
    },
}

/// The likely meaning of an unknown key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A similar known key of the same table.
    DidYouMean(&'static str),
    /// A key of that name belongs under this header.
    BelongsTo(String),
    /// No similar key; these are the keys of the table.
    OneOf(Vec<&'static str>),
}

impl ConfigProblemKind {
    /// The remedy: one sentence without a full stop, in the imperative.
    #[allow(clippy::too_many_lines, reason = "a table: one line a problem")]
    pub fn remedy(&self) -> String {
        match self {
            ConfigProblemKind::Syntax { .. } => "correct the TOML syntax".into(),
            ConfigProblemKind::Unreadable { .. } => {
                "write it as described in docs/configuration.md".into()
            }
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
            ConfigProblemKind::UnknownWord { word, words } => choose(word, words),
            ConfigProblemKind::BadName { .. } => format!(
                "use 1 to {} lower-case letters, digits and '-', with no '-' at either end",
                values::NAME_MAX
            ),
            ConfigProblemKind::ReservedName { .. } => format!(
                "choose a name other than {}",
                values::RESERVED_NAMES.join(", ")
            ),
            ConfigProblemKind::DuplicateName { .. } => "give every node a unique name".into(),
            ConfigProblemKind::UserOfLab { .. } => format!(
                "choose a name other than {}, halab, and those that begin with halab-",
                values::USERS_OF_LAB.join(", ")
            ),
            ConfigProblemKind::DuplicateApp { .. } => "give every application a unique name".into(),
            ConfigProblemKind::AppWithoutAcl => {
                "set security.acl = true, or remove the application".into()
            }
            ConfigProblemKind::BadPattern { .. } => format!(
                "use 1 to {} printable ASCII characters without spaces, for example \"shop:*\"",
                values::RULE_MAX
            ),
            ConfigProblemKind::PatternOfLab { .. } => {
                "begin it with a prefix of the application, for example \"shop:*\"".into()
            }
            ConfigProblemKind::BadRule { .. } => {
                "write it in lower case like \"+get\", \"-client|kill\" or \"-@dangerous\"".into()
            }
            ConfigProblemKind::UnknownCategory {
                near: Some(near), ..
            } => format!("did you mean @{near}?"),
            ConfigProblemKind::UnknownCategory { near: None, .. } => {
                "use a category that ACL CAT lists".into()
            }
            ConfigProblemKind::RuleOfLab { .. } => "remove it".into(),
            ConfigProblemKind::NotIpv4 { .. } => {
                "write four numbers from 0 to 255, for example \"127.0.0.11\"".into()
            }
            ConfigProblemKind::UnusableAddress { .. }
            | ConfigProblemKind::DuplicateAddress { .. } => {
                "use a unique host address, for example in 127.0.0.0/8".into()
            }
            ConfigProblemKind::DuplicatePort { .. } => "give each listener a unique port".into(),
            ConfigProblemKind::MixedLoopback { .. } => {
                "use addresses in 127.0.0.0/8 for all nodes or for none".into()
            }
            ConfigProblemKind::TooFew { header, why, .. } => format!("add a `{header}`: {why}"),
            ConfigProblemKind::TooManyNodes { most, .. } => format!("use at most {most} nodes"),
            ConfigProblemKind::EvenSentinels { .. } => {
                "use an odd number: add or remove a `[[sentinel]]`".into()
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
            ConfigProblemKind::ProxyTlsWithoutTls => {
                "set security.tls = true as well, or remove this".into()
            }
            ConfigProblemKind::UnknownProfile { profiles } if profiles.is_empty() => {
                "omit the profile: the file defines none".into()
            }
            ConfigProblemKind::UnknownProfile { profiles } => {
                format!("use one of: {}", quoted(profiles))
            }
        }
    }
}

fn with_unit(number: &str, unit: &str) -> String {
    format!("{number} {unit}").trim_end().to_owned()
}

/// The names, escaped, because names of profiles may be invalid.
fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The remedy for a name that should be one of `names`.
fn choose(name: &str, names: &[String]) -> String {
    match (nearest(name, names.iter().map(String::as_str)), names) {
        (Some(near), _) => format!("did you mean {near:?}?"),
        (None, []) => "use the name of a data node".into(),
        (None, names) => format!("use one of: {}", quoted(names)),
    }
}
