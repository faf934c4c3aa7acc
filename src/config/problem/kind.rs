//! What can be wrong, one by one: the text of each problem, and its remedy.

use crate::config::nearest::nearest;
use crate::config::values;

/// What is wrong; its text says it, [`ConfigProblemKind::remedy`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblemKind {
    /// The text is not TOML.
    #[error("not TOML: {message}")]
    Syntax {
        /// The message of the TOML parser.
        message: String,
    },
    /// A value that passes the check and that serde does not take.
    #[error("{message}")]
    Unreadable {
        /// The message of serde.
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
    /// Not one of the words that the key takes.
    #[error("{word:?} is no value of this key")]
    UnknownWord {
        /// What the file has.
        word: String,
        /// The words that it takes.
        words: &'static [String],
    },
    /// A name that is no good as a folder, unit, host name or label.
    #[error("{name:?} is not a name that works everywhere")]
    BadName {
        /// The name.
        name: String,
    },
    /// The name of a folder or a process beside the nodes.
    #[error("{name:?} is the name of a folder or process that is not a node's")]
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
    /// TLS towards clients of a lab without certificates.
    #[error("a lab without TLS has no certificate that the proxy could show")]
    ProxyTlsWithoutTls,
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
    /// The remedy: one sentence without a full stop, in the imperative.
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
            ConfigProblemKind::UnknownWord { word, words } => choose(word, words),
            ConfigProblemKind::BadName { .. } => format!(
                "use 1 to {} lower-case letters, digits and '-', with no '-' at either end",
                values::NAME_MAX
            ),
            ConfigProblemKind::ReservedName { .. } => format!(
                "choose another name than {}",
                values::RESERVED_NAMES.join(", ")
            ),
            ConfigProblemKind::DuplicateName { .. } => "give every node a name of its own".into(),
            ConfigProblemKind::UserOfLab { .. } => format!(
                "choose another name than {}, halab, and those that begin with halab-",
                values::USERS_OF_LAB.join(", ")
            ),
            ConfigProblemKind::DuplicateApp { .. } => {
                "give every application a name of its own".into()
            }
            ConfigProblemKind::AppWithoutAcl => {
                "set security.acl = true, or remove the application".into()
            }
            ConfigProblemKind::BadPattern { .. } => format!(
                "use 1 to {} ASCII characters without blanks, for example \"shop:*\"",
                values::RULE_MAX
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
            ConfigProblemKind::ProxyTlsWithoutTls => {
                "set security.tls = true as well, or remove this".into()
            }
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
    match (nearest(name, names.iter().map(String::as_str)), names) {
        (Some(near), _) => format!("did you mean {near:?}?"),
        (None, []) => "name one of the data nodes".into(),
        (None, names) => format!("name one of: {}", quoted(names)),
    }
}
