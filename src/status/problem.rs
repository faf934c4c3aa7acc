//! The kinds of problems of a lab. Each has a code, for scripts, and a section in
//! `docs/runbook.md`.
//!
//! A new kind needs a line in [`codes!`] and a section; a test compares the two.

use std::fmt;

use serde::Serialize;

use crate::report::LogProblem;

/// Severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemSeverity {
    /// The lab is not healthy.
    Fault,
    /// The lab is healthy now, but something will be lost or fail later.
    Warning,
}

/// Defines the enum [`ProblemCode`]: name, code, severity and remedy of each kind. `{node}` in a
/// remedy stands for the name of the node.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $severity:ident, $remedy:literal;)*) => {
        /// A kind of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        pub enum ProblemCode {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl ProblemCode {
            /// All codes, in the order of the runbook.
            pub const ALL: &[ProblemCode] = &[$(ProblemCode::$name,)*];

            /// The code as printed. It never changes.
            pub fn as_str(self) -> &'static str {
                match self { $(ProblemCode::$name => $code,)* }
            }

            /// The severity.
            pub fn severity(self) -> ProblemSeverity {
                match self { $(ProblemCode::$name => ProblemSeverity::$severity,)* }
            }

            /// The usual remedy.
            pub(super) fn remedy(self) -> &'static str {
                match self { $(ProblemCode::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    /// No majority of the Sentinels names one primary.
    NoMajority = "no-majority", Fault,
        "start the Sentinels that do not answer; those that disagree agree within seconds once they reach each other";
    /// The primary is not a node of the lab.
    ForeignPrimary = "foreign-primary", Fault,
        "check that this command uses the lab's current lab.toml; if so, stop the server at that address";
    /// No Sentinel knows a replica.
    NobodyPromotable = "nobody-promotable", Fault,
        "read the runbook first; then start the named primary, from which the Sentinels learn the replicas";
    /// A Sentinel knows a server that is not in the lab.
    Stranger = "stranger", Fault,
        "check that this command uses the lab's current lab.toml; if so, stop the server at that address if it answers, then run halab forget";
    /// Neither the server nor its supervisor answers.
    NodeDown = "node-down", Fault,
        "start the node {node}, or fix the network to it";
    /// The supervisor runs and its server does not.
    ServerEnded = "server-ended", Fault,
        "fix the cause; the node then restarts the server by itself";
    /// The server does not answer.
    Unreachable = "unreachable", Fault,
        "check the log of {node} and the network between this host and its address";
    /// The supervisor does not answer.
    SupervisorSilent = "supervisor-silent", Warning,
        "start the node {node} again if its process is gone or stopped; otherwise open its metrics port (node_port) to this host";
    /// The server refuses a line of its config file.
    ConfigRefused = "config-refused", Fault,
        "correct or remove that line, then start {node} again; its data is not affected";
    /// The server cannot read its data.
    DataUnreadable = "data-unreadable", Fault,
        "start the other data nodes: one that has the data takes over; remove nothing, because this may be the only copy";
    /// The data was written by a newer server.
    DataTooNew = "data-too-new", Fault,
        "install on {node} the server version that wrote the data, or a newer one; do not repair the data";
    /// A replica cannot execute a command of its primary.
    CommandRefused = "command-refused", Fault,
        "install the server version of the primary on {node}, if it is newer; {node} then copies the data anew by itself";
    /// The disk refuses writes.
    DiskRefuses = "disk-refuses", Fault,
        "free space on it, or make it writable; {node} then continues by itself";
    /// A password is refused or missing.
    PasswordRefused = "password-refused", Fault,
        "make the secrets folder of {node} the same as on the other hosts, then restart {node}";
    /// The primary refuses the replica's password.
    ReplicaPasswordRefused = "replica-password-refused", Fault,
        "make the file `replication` in the secrets folders of both hosts the same, then restart {node}";
    /// Every node refuses the password of this command.
    OwnPasswordRefused = "own-password-refused", Fault,
        "set --secrets or HALAB_SECRETS to the secrets folder of the lab";
    /// The server is loading its data.
    Loading = "loading", Fault,
        "wait until it is done";
    /// The node has no role yet.
    NoRole = "no-role", Fault,
        "start the node that it waits for";
    /// Only an operator can decide between the copies.
    NeedsChoice = "needs-choice", Fault,
        "compare what the data nodes hold, then choose the copy to continue with: halab choose NODE";
    /// The named primary is a replica.
    NotPrimary = "not-primary", Fault,
        "wait until the failover is over; if it lasts, check the log of {node}";
    /// A second primary.
    SecondPrimary = "second-primary", Fault,
        "wait some seconds until its supervisor makes it a replica; if it lasts, stop the node {node} and start it again";
    /// A replica follows a node that is not the primary.
    WrongPrimary = "wrong-primary", Fault,
        "wait some seconds until its supervisor corrects it; if it lasts, check the log of {node}";
    /// The link of a replica is down.
    NotInSync = "not-in-sync", Fault,
        "wait while it copies; if it lasts, check the log of {node} and the network to the primary";
    /// A replica in sync is not promotable.
    NotPromotable = "not-promotable", Fault,
        "wait a moment; if it lasts, check the log of {node}";
    /// The lab is closed for a stop.
    Closed = "closed", Fault,
        "stop all nodes, or accept writes again: halab close --reopen";
    /// The list of members on the primary cannot be used.
    MembersUnusable = "members-unusable", Fault,
        "wait a second, its node may correct it; if it lasts, see docs/runbook.md, members-unusable";
    /// The primary is at its maxmemory.
    MemoryFull = "memory-full", Fault,
        "raise maxmemory on every data node (halab cli NODE CONFIG SET maxmemory ..., and in each redis.conf), or delete keys";
    /// A Sentinel names another primary.
    SentinelDisagrees = "sentinel-disagrees", Fault,
        "wait a moment; if it lasts, restart {node}; never edit its state";
    /// A Sentinel considers the primary down.
    PrimaryDown = "primary-down", Fault,
        "fix the problems of the primary; if only {node} considers it down, check the network between the two";
    /// A failover is in progress.
    FailoverUnderWay = "failover-under-way", Fault,
        "wait until it is over";
    /// A Sentinel does not know a node of the lab.
    MemberUnknown = "member-unknown", Fault,
        "wait a moment; if it lasts, check whether {node} reaches the primary";
    /// A Sentinel could not promote a replica.
    NotSeenPromotable = "not-seen-promotable", Fault,
        "fix the problems of that replica; if it has none, check the network between it and {node}";
    /// `SENTINEL CKQUORUM` fails.
    QuorumLost = "quorum-lost", Fault,
        "start the Sentinels that do not answer";
    /// A Sentinel monitors a second name.
    SecondName = "second-name", Fault,
        "see docs/runbook.md, A second name";
    /// A Sentinel is in TILT.
    Tilt = "tilt", Fault,
        "none: TILT ends by itself 30 s after its last cause; find out what stopped the machine or changed its clock";
    /// A node runs with another lab.toml.
    OtherLabToml = "other-lab-toml", Fault,
        "give {node} and this command the same lab.toml (and --subnet), then restart {node}, one at a time, the primary last";
    /// A node of lab.toml is not a full member: it is not promotable, or leads no failover.
    NotFullMember = "not-full-member", Warning,
        "check halab member list; make it a member with halab member add {node}, or stop it";
    /// A member of the lab is not in lab.toml.
    MemberUnstated = "member-unstated", Warning,
        "add {node} to lab.toml, or remove it from the lab: halab member remove {node}";
    /// A replica has not caught up since the last failure.
    NotRecovered = "not-recovered", Fault,
        "wait";
    /// The server has users that the next start removes.
    UsersAdded = "users-added", Warning,
        "define the user of an application by [[app]] in lab.toml; for any other user, keep the commands that create it: it exists on no other node, and is lost at the next start of {node}";
    /// The server has lost users at its last start.
    UsersRemoved = "users-removed", Warning,
        "add them again on every data node (their lines are in users.removed.acl in the state folder of {node}), or remove that file";
}

/// One problem of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The kind of problem.
    pub code: ProblemCode,
    /// The severity of its code.
    pub severity: ProblemSeverity,
    /// The node, or `None` for a problem of the lab as a whole.
    pub node: Option<String>,
    /// The observation, in one sentence.
    pub what: String,
    /// The cause, if known.
    pub cause: Option<String>,
    /// If the cause quotes a server's log: the age of the line in seconds.
    pub log_line_ago_s: Option<u64>,
    /// The remedy.
    pub remedy: String,
}

impl Problem {
    /// A problem of the lab as a whole.
    pub fn of_lab(code: ProblemCode, what: impl Into<String>) -> Self {
        Problem {
            code,
            severity: code.severity(),
            node: None,
            what: what.into(),
            cause: None,
            log_line_ago_s: None,
            remedy: code.remedy().to_owned(),
        }
    }

    /// A problem of one node.
    pub fn of_node(code: ProblemCode, node: &str, what: impl Into<String>) -> Self {
        Problem {
            node: Some(node.to_owned()),
            remedy: code.remedy().replace("{node}", node),
            ..Problem::of_lab(code, what)
        }
    }

    /// The same problem with this cause.
    #[must_use]
    pub fn because(self, cause: Option<String>) -> Self {
        Problem {
            cause,
            log_line_ago_s: None,
            ..self
        }
    }

    /// The same problem with a line of its server's log as the cause, after `introduction`.
    #[must_use]
    pub(super) fn because_of_log(self, introduction: &str, line: &LogProblem) -> Self {
        Problem {
            log_line_ago_s: line.ago_s,
            ..self.because(Some(line.describe(introduction)))
        }
    }

    /// Whether the lab is not healthy because of it.
    pub fn is_fault(&self) -> bool {
        self.severity == ProblemSeverity::Fault
    }
}

/// The problem and its cause in one line.
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

    /// The codes with a section in the runbook: headings `### code` between two marks.
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
        let codes: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(
            sections(),
            codes,
            "headings of docs/runbook.md against the codes"
        );
    }

    #[test]
    fn a_section_says_what_how_to_see_what_to_do_and_what_not() {
        let runbook = include_str!("../../docs/runbook.md");
        for code in ProblemCode::ALL {
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
        for code in ProblemCode::ALL {
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
        let problem = Problem::of_node(ProblemCode::Tilt, "sentinel-1", "sentinel-1 is in TILT");
        assert!(problem.is_fault() && !problem.remedy.contains("{node}"));
        let warning =
            Problem::of_node(ProblemCode::UsersAdded, "redis-a", "x").because(Some("y".into()));
        assert!(!warning.is_fault() && warning.remedy.contains("redis-a"));
        assert_eq!(warning.to_string(), "x: y");
    }
}
