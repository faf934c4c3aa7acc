//! The applications that use the lab, and the check of their patterns and rules.
//!
//! Redis checks an ACL file as a whole, and only when a server starts. So this check refuses
//! everything that would make a server refuse the file, or let an application change the lab.

use super::glob::Glob;
use super::nearest::nearest;
use super::problem::ConfigProblemKind;
use super::values::{RULE_MAX, USERS_OF_LAB};

/// An application, which has its own user on every server.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct App {
    /// Its name, and that of its user.
    pub name: String,
    /// Patterns of the keys that it may read and write.
    pub keys: Vec<String>,
    /// Patterns of its channels.
    pub channels: Vec<String>,
    /// ACL rules of the commands that it may use.
    pub commands: Vec<String>,
}

/// The beginnings of the lab's own keys: records, the mark of a term, the list of members.
const KEYS_OF_LAB: [&str; 2] = ["halab:", "halab-"];
/// The beginnings of the lab's and the Sentinels' channels. A subscription to a channel of the lab
/// states that a server cannot be promoted; on their own channel, the Sentinels announce the
/// primary to each other.
const CHANNELS_OF_LAB: [&str; 3] = ["halab:", "halab-", "__sentinel__:"];

/// Commands that are not allowed for applications, besides the category `admin`: they change the
/// lab's own keys, regardless of a user's patterns.
pub const WHOLE_DATABASE_COMMANDS: [&str; 3] = ["flushall", "flushdb", "swapdb"];

/// Commands of the category `admin`, in any of the supported servers, by their first word.
const ADMIN_COMMANDS: [&str; 23] = [
    "acl",
    "bgrewriteaof",
    "bgsave",
    "cluster",
    "commandlog",
    "config",
    "debug",
    "failover",
    "lastsave",
    "latency",
    "module",
    "monitor",
    "pfdebug",
    "pfselftest",
    "psync",
    "replconf",
    "replicaof",
    "restore-asking",
    "save",
    "shutdown",
    "slaveof",
    "slowlog",
    "sync",
];
/// Likewise, the subcommands of commands that are only partly in that category.
const ADMIN_SUBCOMMANDS: [&str; 6] = [
    "client|kill",
    "client|list",
    "client|no-evict",
    "client|pause",
    "client|unblock",
    "client|unpause",
];

/// The categories of every supported server.
const CATEGORIES: [&str; 22] = [
    "admin",
    "all",
    "bitmap",
    "blocking",
    "connection",
    "dangerous",
    "fast",
    "geo",
    "hash",
    "hyperloglog",
    "keyspace",
    "list",
    "pubsub",
    "read",
    "scripting",
    "set",
    "slow",
    "sortedset",
    "stream",
    "string",
    "transaction",
    "write",
];

/// Whether the name is available for an application.
pub(super) fn is_free_name(name: &str) -> bool {
    !USERS_OF_LAB.contains(&name) && name != "halab" && !name.starts_with("halab-")
}

/// Checks a key pattern.
pub(super) fn judge_keys(pattern: &str) -> Result<(), ConfigProblemKind> {
    judge_pattern(pattern, &KEYS_OF_LAB, "keys")
}

/// Checks a channel pattern.
pub(super) fn judge_channels(pattern: &str) -> Result<(), ConfigProblemKind> {
    judge_pattern(pattern, &CHANNELS_OF_LAB, "channels")
}

fn judge_pattern(
    pattern: &str,
    of_lab: &'static [&'static str],
    what: &'static str,
) -> Result<(), ConfigProblemKind> {
    // A space would end the rule in the ACL file.
    let is_valid = |b: u8| b.is_ascii_graphic();
    if !(1..=RULE_MAX).contains(&pattern.len()) || !pattern.bytes().all(is_valid) {
        return Err(ConfigProblemKind::BadPattern {
            pattern: pattern.into(),
        });
    }
    let glob = Glob::parse(pattern);
    let mut of_lab = of_lab.iter().copied();
    match of_lab.find(|prefix| glob.matches_some_with(prefix)) {
        Some(prefix) => Err(ConfigProblemKind::PatternOfLab {
            pattern: pattern.into(),
            what,
            prefix,
        }),
        None => Ok(()),
    }
}

/// Checks an ACL rule for commands.
pub(super) fn judge_rule(rule: &str) -> Result<(), ConfigProblemKind> {
    let bad = || ConfigProblemKind::BadRule { rule: rule.into() };
    let (allows, what) = match rule.split_at_checked(1) {
        Some(("+", what)) => (true, what),
        Some(("-", what)) => (false, what),
        _ => return Err(bad()),
    };
    if rule.len() > RULE_MAX {
        return Err(bad());
    }
    if let Some(category) = what.strip_prefix('@') {
        return judge_category(rule, category, allows);
    }
    let is_valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    let mut words = what.split('|');
    let (first, second, more) = (words.next(), words.next(), words.next());
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_valid);
    if !first.is_some_and(is_word) || second.is_some_and(|w| !is_word(w)) || more.is_some() {
        return Err(bad());
    }
    let of_lab = ADMIN_COMMANDS
        .iter()
        .chain(&WHOLE_DATABASE_COMMANDS)
        .any(|command| first == Some(*command))
        || ADMIN_SUBCOMMANDS.contains(&what);
    match allows && of_lab {
        true => Err(ConfigProblemKind::RuleOfLab { rule: rule.into() }),
        false => Ok(()),
    }
}

fn judge_category(rule: &str, category: &str, allows: bool) -> Result<(), ConfigProblemKind> {
    if !CATEGORIES.contains(&category) {
        return Err(ConfigProblemKind::UnknownCategory {
            rule: rule.into(),
            near: nearest(category, CATEGORIES),
        });
    }
    match allows && category == "admin" {
        true => Err(ConfigProblemKind::RuleOfLab { rule: rule.into() }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::DEFAULT_COMMANDS;
    use super::*;

    #[test]
    fn patterns_that_reach_what_is_the_lab_s_are_refused() {
        for pattern in [
            "*",
            "h*",
            "halab:*",
            "halab-mark",
            "halab-members",
            "?alab-m*",
        ] {
            assert!(judge_keys(pattern).is_err(), "{pattern}");
            assert!(judge_channels(pattern).is_err(), "{pattern}");
        }
        for pattern in ["shop:*", "__keyspace@0__:shop:*", "~x", "[^_h]*"] {
            assert_eq!(judge_keys(pattern), Ok(()), "{pattern}");
            assert_eq!(judge_channels(pattern), Ok(()), "{pattern}");
        }
        for pattern in ["__sentinel__:hello", "_*", "[_]*"] {
            assert_eq!(judge_keys(pattern), Ok(()), "{pattern}");
            assert!(judge_channels(pattern).is_err(), "{pattern}");
        }
        for pattern in ["", "a b", "a\nb", "a\0", "ä*", &"x".repeat(201)] {
            let refused = judge_keys(pattern);
            assert!(
                matches!(refused, Err(ConfigProblemKind::BadPattern { .. })),
                "{pattern}"
            );
        }
    }

    #[test]
    fn rules_that_are_no_rules_of_commands_are_refused() {
        for rule in DEFAULT_COMMANDS {
            assert_eq!(judge_rule(rule), Ok(()), "{rule}");
        }
        for rule in [
            "get",
            "",
            "+",
            "+@",
            "+@everything",
            "nopass",
            "allkeys",
            ">password",
            "<password",
            "#hash",
            "~*",
            "%R~*",
            "&*",
            "(+get ~x)",
            "resetpass",
            "+get ~*",
            "+get\n",
            "+a|b|c",
            "+|get",
            "+get|",
            "+GET",
            "on",
        ] {
            assert!(judge_rule(rule).is_err(), "{rule:?}");
        }
    }

    #[test]
    fn commands_that_change_the_lab_are_refused_and_may_be_taken_away() {
        for what in [
            "@admin",
            "config",
            "config|set",
            "flushall",
            "swapdb",
            "acl|setuser",
            "replicaof",
            "client|kill",
        ] {
            let refused = judge_rule(&format!("+{what}"));
            assert!(
                matches!(refused, Err(ConfigProblemKind::RuleOfLab { .. })),
                "{what}"
            );
            assert_eq!(judge_rule(&format!("-{what}")), Ok(()), "{what}");
        }
        for what in [
            "client|setname",
            "@dangerous",
            "keys",
            "sort_ro",
            "json.get",
        ] {
            assert_eq!(judge_rule(&format!("+{what}")), Ok(()), "{what}");
        }
    }
}
