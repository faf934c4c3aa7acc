//! What can be wrong with a lab: one code each, for scripts, and a section of `docs/runbook.md` each, for people.
//!
//! A new problem is a line of [`codes!`] and its section; a test holds the two to each other.

use std::fmt;

use serde::Serialize;

use crate::report::LogProblem;

/// Whether the lab is healthy all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The lab is not healthy.
    Fault,
    /// Something is lost, or goes wrong, later: the lab may lose any one node as it is.
    Warning,
}

/// The enum [`Code`]: name, severity and remedy of each. `{node}` in a remedy stands for the node's name.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $severity:ident, $remedy:literal;)*) => {
        /// A kind of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl Code {
            /// All of them, in the order of the runbook.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The code as it is printed; it does not change.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)* }
            }

            /// What helps, as a rule.
            pub(super) fn remedy(self) -> &'static str {
                match self { $(Code::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    /// No majority of the Sentinels names one primary.
    NoMajority = "no-majority", Fault,
        "start the Sentinels that do not answer; those that disagree agree within seconds once they reach each other";
    /// The primary is no node of the lab.
    ForeignPrimary = "foreign-primary", Fault,
        "see that this command has the lab's current lab.toml; if so, end the server at that address";
    /// No Sentinel knows a replica.
    NobodyPromotable = "nobody-promotable", Fault,
        "start the named primary, from which the Sentinels learn the others; see the runbook first";
    /// A Sentinel knows somebody that is not of the lab.
    Stranger = "stranger", Fault,
        "see that this command has the lab's current lab.toml; if so, end the server at that address if it answers, then: halab forget";
    /// Neither the server nor its node answers.
    NodeDown = "node-down", Fault,
        "start the node {node}, or mend the network to it";
    /// The node runs, its server does not.
    ServerEnded = "server-ended", Fault,
        "mend what the server's log says; the node starts the server again by itself";
    /// The server does not answer.
    Unreachable = "unreachable", Fault,
        "see the log of {node}; check the network between here and its address";
    /// The parent does not answer.
    ParentSilent = "parent-silent", Warning,
        "start the node {node} again if its process is gone or stopped; otherwise open the port of its metrics (node_port) to this host";
    /// A line of a config file is refused.
    ConfigRefused = "config-refused", Fault,
        "correct or remove that line, then start {node} again; its data is not touched";
    /// The data can't be read.
    DataUnreadable = "data-unreadable", Fault,
        "start the other data nodes: one that has the data takes over; remove nothing, this may be the only copy";
    /// The data is of a newer server.
    DataTooNew = "data-too-new", Fault,
        "install on {node} the server version that the data was written with, or a newer one; repair nothing";
    /// The disk takes no writes.
    DiskRefuses = "disk-refuses", Fault,
        "free space there, or make it writable; {node} goes on by itself";
    /// A password is refused or missing.
    PasswordRefused = "password-refused", Fault,
        "make the files of passwords (the secrets folder) of {node} the same as those of the other hosts, then restart {node}";
    /// The primary refuses the replica's password.
    ReplicaPasswordRefused = "replica-password-refused", Fault,
        "make the file `replication` in the secrets folders of both hosts the same, then restart {node}";
    /// This command's own password is refused everywhere.
    OwnPasswordRefused = "own-password-refused", Fault,
        "give this command the secrets folder of the lab: --secrets or HALAB_SECRETS";
    /// Data is loaded.
    Loading = "loading", Fault,
        "wait until it is done";
    /// No role is decided.
    NoRole = "no-role", Fault,
        "start what it waits for";
    /// Only an operator can decide.
    NeedsChoice = "needs-choice", Fault,
        "see what the data nodes hold, then choose the copy to go on with: halab choose NODE";
    /// The named primary is none.
    NotPrimary = "not-primary", Fault,
        "wait for the failover that is under way; if it lasts, see the log of {node}";
    /// A second primary.
    SecondPrimary = "second-primary", Fault,
        "its node turns it into a replica within seconds; if it lasts, end the node {node} and start it again";
    /// A replica of another than the primary.
    WrongPrimary = "wrong-primary", Fault,
        "its node corrects that within seconds; if it lasts, see the log of {node}";
    /// A replica without link.
    NotInSync = "not-in-sync", Fault,
        "wait while it copies; if it lasts, see the log of {node} and check the network to the primary";
    /// A replica that is not promotable.
    NotPromotable = "not-promotable", Fault,
        "wait a moment; if it lasts, the log of {node} says why";
    /// Closed for a stop.
    Closed = "closed", Fault,
        "stop all nodes, or have it take writes again: halab close --reopen";
    /// The primary's list of members can't be used.
    MembersUnusable = "members-unusable", Fault,
        "wait a second, in which its node may mend it; if it lasts, see docs/runbook.md, members-unusable";
    /// The primary is at its maxmemory.
    MemoryFull = "memory-full", Fault,
        "raise maxmemory on every data node (halab cli NODE CONFIG SET maxmemory ..., and in each redis.conf), or delete keys";
    /// A Sentinel names another primary.
    SentinelDisagrees = "sentinel-disagrees", Fault,
        "wait a moment; if it lasts, restart {node}; never edit its state";
    /// A Sentinel calls the primary down.
    PrimaryDown = "primary-down", Fault,
        "mend what is said of the primary; if only {node} says so, check the network between the two";
    /// A failover is under way.
    FailoverUnderWay = "failover-under-way", Fault,
        "wait until it is over";
    /// A Sentinel lacks a node of the lab.
    MemberUnknown = "member-unknown", Fault,
        "wait a moment; if it lasts, see whether {node} reaches the primary";
    /// A Sentinel could not promote a replica.
    NotSeenPromotable = "not-seen-promotable", Fault,
        "mend what is said of that replica; if nothing is, check the network between it and {node}";
    /// CKQUORUM fails.
    QuorumLost = "quorum-lost", Fault,
        "start the Sentinels that do not answer";
    /// A Sentinel monitors something else too.
    SecondName = "second-name", Fault,
        "see docs/runbook.md, A second name";
    /// TILT.
    Tilt = "tilt", Fault,
        "nothing: it ends by itself 30 s after the last sign of it; find out what stopped the machine, or stepped its clock";
    /// A member runs with another lab.toml.
    OtherLabToml = "other-lab-toml", Fault,
        "give {node} and this command the same lab.toml (and the same --subnet), then restart {node}, one at a time, the primary's last";
    /// A node of lab.toml that may not be promoted, or lead a failover, for it is not a full member.
    NotFullMember = "not-full-member", Warning,
        "halab member list shows the members; make it one with halab member add {node}, or stop it";
    /// A member of the lab that lab.toml does not state.
    MemberUnstated = "member-unstated", Warning,
        "state {node} in lab.toml, or have it go: halab member remove {node}";
    /// A replica has not caught up since the last failure.
    NotRecovered = "not-recovered", Fault,
        "wait";
    /// Users that will be gone.
    UsersAdded = "users-added", Warning,
        "expect them to be gone at the next start of {node}, and keep how they are made; they are on no other node";
    /// Users that are gone.
    UsersRemoved = "users-removed", Warning,
        "add them again on every data node (their lines are in users.removed.acl in the state folder of {node}), or remove that file";
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The node that it is about; none: the lab as a whole.
    pub node: Option<String>,
    /// What is seen, in a sentence.
    pub what: String,
    /// Why, as far as it is known.
    pub cause: Option<String>,
    /// Where the cause quotes a server's log: how long ago that was said, in whole seconds.
    pub said_ago_s: Option<u64>,
    /// What helps.
    pub remedy: String,
}

impl Problem {
    /// A problem of the lab as a whole.
    pub fn of_lab(code: Code, what: impl Into<String>) -> Self {
        Problem {
            code,
            severity: code.severity(),
            node: None,
            what: what.into(),
            cause: None,
            said_ago_s: None,
            remedy: code.remedy().to_owned(),
        }
    }

    /// A problem of one node.
    pub fn of_node(code: Code, node: &str, what: impl Into<String>) -> Self {
        Problem {
            node: Some(node.to_owned()),
            remedy: code.remedy().replace("{node}", node),
            ..Problem::of_lab(code, what)
        }
    }

    /// The same, with its cause.
    #[must_use]
    pub fn because(self, cause: Option<String>) -> Self {
        Problem {
            cause,
            said_ago_s: None,
            ..self
        }
    }

    /// The same, with what its server's log says as the cause, behind what introduces that.
    #[must_use]
    pub(super) fn because_said(self, introduction: &str, said: &LogProblem) -> Self {
        Problem {
            said_ago_s: said.ago_s,
            ..self.because(Some(said.describe(introduction)))
        }
    }

    /// The lab is not healthy with it.
    pub fn is_fault(&self) -> bool {
        self.severity == Severity::Fault
    }
}

/// What and why, in one line.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes that have a section in the runbook: headings of the form `### code: ...`, between two marks.
    fn sections() -> Vec<String> {
        let runbook = include_str!("../../docs/runbook.md");
        let parts: Vec<&str> = runbook.split("<!-- codes -->").collect();
        let [_, part, _] = parts[..] else {
            panic!("docs/runbook.md: two marks <!-- codes -->");
        };
        let headings = part.lines().filter_map(|line| line.strip_prefix("### "));
        headings.map(str::to_owned).collect()
    }

    #[test]
    fn each_code_has_its_section_in_the_runbook_and_each_section_its_code() {
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(
            sections(),
            codes,
            "headings of docs/runbook.md against the codes"
        );
    }

    #[test]
    fn a_section_says_what_how_to_see_what_to_do_and_what_not() {
        let runbook = include_str!("../../docs/runbook.md");
        for code in Code::ALL {
            let (_, rest) = runbook
                .split_once(&format!("### {}\n", code.as_str()))
                .unwrap();
            let section = rest.split("\n### ").next().unwrap();
            let section = section.split("<!-- codes -->").next().unwrap();
            for part in ["**See:**", "**Do:**", "**Do not:**"] {
                assert!(section.contains(part), "{part} of {}", code.as_str());
            }
        }
    }

    #[test]
    fn codes_are_kebab_case_and_each_is_there_once() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(
                text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{text}"
            );
            assert!(seen.insert(text), "{text} twice");
            assert_eq!(serde_json::to_value(code).unwrap(), text);
        }
    }

    #[test]
    fn a_problem_names_its_node_in_the_remedy() {
        let problem = Problem::of_node(Code::Tilt, "sentinel-1", "sentinel-1 is in TILT");
        assert!(problem.is_fault() && !problem.remedy.contains("{node}"));
        let warning = Problem::of_node(Code::UsersAdded, "redis-a", "x").because(Some("y".into()));
        assert!(!warning.is_fault() && warning.remedy.contains("redis-a"));
        assert_eq!(warning.to_string(), "x: y");
    }
}
