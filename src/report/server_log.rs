//! Finds the line of a server's log that explains a problem.
//!
//! A known cause is kept until the log shows that it is over. Any other warning is kept while there
//! is no known cause.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest line that is kept.
const MAX_LINE: usize = 300;

/// The meaning of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The server rejects a line of its config file.
    ConfigRefused,
    /// The server cannot read its data.
    DataUnreadable,
    /// The data was written by a newer server.
    DataTooNew,
    /// The server cannot execute a command that its primary has executed.
    CommandRefused,
    /// The primary refuses the replica's password.
    PasswordRefused,
    /// The disk accepts no writes.
    DiskRefuses,
    /// The system has no memory left.
    MemoryShort,
    /// The server cannot listen on its address.
    AddressTaken,
    /// The server cannot read its ACL file.
    UsersRefused,
    /// Any other warning.
    #[default]
    #[serde(other)]
    Other,
}

/// A problem found in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogProblem {
    /// Its cause.
    pub cause: Cause,
    /// The line without process id and time; of a config line, only the directive.
    pub line: String,
    /// Its age in whole seconds; `None` if an earlier version reported it.
    pub ago_s: Option<u64>,
}

impl LogProblem {
    /// The line with an introduction and its age: `its server says, 12 s ago: ...`.
    pub fn describe(&self, introduction: &str) -> String {
        let ago = self.ago_s.map(|seconds| format!(", {}", ago(seconds)));
        format!("{introduction}{}: {}", ago.unwrap_or_default(), self.line)
    }
}

/// A duration as text, with at least two digits where possible.
pub fn ago(seconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(24 * 3600, "days"), (3600, "h"), (60, "min")];
    let unit = UNITS.iter().find(|(length, _)| seconds >= 2 * length);
    let (length, unit) = unit.copied().unwrap_or((1, "s"));
    format!("{} {unit} ago", seconds / length)
}

/// Parts of lines with a known cause; the first match counts.
const KNOWN_CAUSES: [(&str, Cause); 22] = [
    (
        "is sending an error to its AOF-loading-client",
        Cause::DataUnreadable,
    ),
    (
        "This replica is sending an error to its",
        Cause::CommandRefused,
    ),
    ("Can't handle RDB format version", Cause::DataTooNew),
    ("Unable to AUTH to MASTER", Cause::PasswordRefused),
    ("WRONGPASS", Cause::PasswordRefused),
    ("NOAUTH", Cause::PasswordRefused),
    ("No space left on device", Cause::DiskRefuses),
    ("Read-only file system", Cause::DiskRefuses),
    ("Error writing to the AOF file", Cause::DiskRefuses),
    ("Cannot allocate memory", Cause::MemoryShort),
    ("Can't allocate memory", Cause::MemoryShort),
    ("Out Of Memory", Cause::MemoryShort),
    ("Address already in use", Cause::AddressTaken),
    ("because of ACL errors", Cause::UsersRefused),
    ("Bad file format reading", Cause::DataUnreadable),
    (
        "Unrecoverable error reading the append",
        Cause::DataUnreadable,
    ),
    ("Unexpected end of file reading", Cause::DataUnreadable),
    ("Error reading the RDB preamble", Cause::DataUnreadable),
    ("Fatal error loading the DB", Cause::DataUnreadable),
    ("Wrong signature trying to load", Cause::DataUnreadable),
    ("The AOF manifest file", Cause::DataUnreadable),
    ("AOF file doesn't exist", Cause::DataUnreadable),
];

/// Parts of lines which show that the problem is over.
const RESOLVED: [&str; 7] = [
    "Background AOF rewrite finished successfully",
    "Background saving terminated with success",
    "DB saved on disk",
    "eady to accept connections",
    "sync: Finished with success",
    "Successful partial resynchronization",
    "AOF write error looks solved",
];

/// Beginnings of warnings that do not indicate a problem.
const USUAL_PREFIXES: [&str; 14] = [
    "WARNING",
    "oO0OoO0OoO0Oo",
    "Redis version",
    "Valkey version",
    "Configuration loaded",
    "Server initialized",
    "User requested",
    "Redis is now ready",
    "Valkey is now ready",
    "Received SIG",
    "Sentinel ID is",
    "Sentinel new configuration",
    "+",
    "-",
];

/// Follows a server's log.
#[derive(Debug, Clone, Default)]
pub struct LogReader {
    problem: Option<LogProblem>,
    /// When the line was written.
    at: Duration,
    /// The lines read so far of a rejection of the config file.
    rejection: Option<Vec<String>>,
}

impl LogReader {
    /// Adds the next line, written at `now` (on any clock).
    pub fn line(&mut self, line: &str, now: Duration) {
        let line = printable(line);
        if line.contains("FATAL CONFIG FILE ERROR") {
            self.rejection = Some(Vec::new());
            return;
        }
        if let Some(rejection) = &mut self.rejection {
            rejection.push(line);
            // Three lines: the place, the line, the reason.
            if rejection.len() == 3 {
                let line = config_rejection(rejection);
                self.rejection = None;
                self.set_problem(Cause::ConfigRefused, line, now);
            }
            return;
        }
        let Some((level, message)) = message(&line) else {
            return;
        };
        if RESOLVED.iter().any(|over| message.contains(over)) {
            self.problem = None;
            return;
        }
        let known = KNOWN_CAUSES.iter().find(|(part, _)| message.contains(part));
        let cause = match known {
            Some((_, cause)) => *cause,
            None if level == "#"
                && !USUAL_PREFIXES
                    .iter()
                    .any(|usual| message.starts_with(usual)) =>
            {
                Cause::Other
            }
            None => return,
        };
        if self
            .problem
            .as_ref()
            .is_none_or(|problem| replaces(cause, problem.cause))
        {
            self.set_problem(cause, message.to_owned(), now);
        }
    }

    fn set_problem(&mut self, cause: Cause, line: String, now: Duration) {
        let ago_s = None;
        self.problem = Some(LogProblem { cause, line, ago_s });
        self.at = now;
    }

    /// The current problem, with its age at `now`.
    pub fn problem(&self, now: Duration) -> Option<LogProblem> {
        let problem = self.problem.as_ref()?;
        Some(LogProblem {
            ago_s: Some(now.saturating_sub(self.at).as_secs()),
            ..problem.clone()
        })
    }
}

/// Whether a new problem replaces an old one: a consequence does not replace its cause.
fn replaces(new: Cause, old: Cause) -> bool {
    match (new, old) {
        (Cause::Other, old) => old == Cause::Other,
        (Cause::DataUnreadable, Cause::DataTooNew | Cause::MemoryShort) => false,
        _ => true,
    }
}

/// The line without control characters, and truncated.
fn printable(line: &str) -> String {
    let plain = line.trim_end().chars().take(MAX_LINE);
    plain
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Level and message of a line such as `7:M 28 Nov 2026 16:00:00.000 # message`.
fn message(line: &str) -> Option<(&str, &str)> {
    let mut words = line.splitn(7, ' ');
    let who = words.next()?;
    let (pid, role) = who.split_once(':')?;
    if role.len() != 1 || !pid.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let level = words.nth(4)?;
    Some((level, words.next()?))
}

/// Joins `Reading the configuration file, at line 5`, `>>> 'foo 1'` and `Bad directive` into one
/// sentence with only the directive. Its arguments may be a password, whatever the directive, since
/// it may be misspelt.
fn config_rejection(lines: &[String]) -> String {
    let [place, line, why] = lines else {
        return "an unknown line".to_owned();
    };
    let number = place.rsplit(' ').next().unwrap_or_default();
    let line = line.trim_start_matches("> ").trim_start_matches('>').trim();
    let mut words = line.trim_matches('\'').split_whitespace();
    let first = words.next().unwrap_or_default();
    // In a Sentinel's file the second word is part of the directive.
    let second = words.next().filter(|_| first == "sentinel");
    let directive: Vec<&str> = [Some(first), second].into_iter().flatten().collect();
    format!("line {number}, \"{} ...\": {why}", directive.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(lines: &[&str]) -> Option<LogProblem> {
        let mut reader = LogReader::default();
        for line in lines {
            reader.line(line, Duration::ZERO);
        }
        reader.problem(Duration::ZERO)
    }

    fn log(level: char, message: &str) -> String {
        format!("7:S 28 Nov 2026 16:00:00.000 {level} {message}")
    }

    #[test]
    fn a_rejected_config_line_is_reported_with_its_place_and_reason() {
        let problem = problem(&[
            "",
            "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***",
            "Reading the configuration file, at line 5",
            ">>> 'foo 1'",
            "Bad directive or wrong number of arguments",
        ])
        .unwrap();
        assert_eq!(problem.cause, Cause::ConfigRefused);
        assert_eq!(
            problem.line,
            "line 5, \"foo ...\": Bad directive or wrong number of arguments"
        );
    }

    #[test]
    fn the_age_restarts_when_the_line_appears_again() {
        let refused = log('#', "Unable to AUTH to MASTER: -WRONGPASS invalid");
        let mut reader = LogReader::default();
        let age = |reader: &LogReader, now| reader.problem(Duration::from_secs(now)).unwrap().ago_s;
        reader.line(&refused, Duration::from_secs(100));
        assert_eq!(age(&reader, 100), Some(0));
        assert_eq!(age(&reader, 112), Some(12));
        // Neither a consequence nor a usual line replaces it.
        reader.line(&log('#', "Something new"), Duration::from_secs(120));
        reader.line(&log('*', "Connecting to MASTER"), Duration::from_secs(120));
        assert_eq!(age(&reader, 130), Some(30));
        reader.line(&refused, Duration::from_secs(131));
        assert_eq!(age(&reader, 132), Some(1));
        let problem = reader.problem(Duration::from_secs(143)).unwrap();
        assert_eq!(
            problem.describe("its server says"),
            "its server says, 12 s ago: Unable to AUTH to MASTER: -WRONGPASS invalid"
        );
        let unknown = LogProblem {
            ago_s: None,
            ..problem
        };
        assert!(unknown.describe("it says").starts_with("it says: Unable"));
    }

    #[test]
    fn an_age_has_a_suitable_unit() {
        for (seconds, text) in [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7199, "119 min ago"),
            (7200, "2 h ago"),
            (2 * 24 * 3600 - 1, "47 h ago"),
            (2 * 24 * 3600, "2 days ago"),
        ] {
            assert_eq!(ago(seconds), text);
        }
    }

    #[test]
    fn a_rejected_config_line_shows_no_password() {
        for (line, shown) in [
            ("masterauth s3cret x", "masterauth ..."),
            ("sentinel auth-pass halab s3cret", "sentinel auth-pass ..."),
            ("user bob on >s3cret", "user ..."),
            ("requirepas s3cret", "requirepas ..."),
            ("masteraut s3cret", "masteraut ..."),
            ("rename-command CONFIG s3cret", "rename-command ..."),
        ] {
            let quoted = format!(">>> '{line}'");
            let problem = problem(&[
                "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***",
                "Reading the configuration file, at line 5",
                &quoted,
                "wrong number of arguments",
            ]);
            let shown_line = problem.unwrap().line;
            assert!(
                shown_line.contains(shown) && !shown_line.contains("s3cret"),
                "{shown_line}"
            );
        }
    }

    #[test]
    fn the_cause_outweighs_its_consequence() {
        let lines = [
            log('#', "Can't handle RDB format version 12"),
            log(
                '#',
                "Error reading the RDB preamble of the AOF file a, AOF loading aborted",
            ),
            log(
                '#',
                "Failed trying to load the MASTER synchronization DB from disk",
            ),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let problem = problem(&lines).unwrap();
        assert_eq!(problem.cause, Cause::DataTooNew);
        assert_eq!(problem.line, "Can't handle RDB format version 12");
    }

    #[test]
    fn each_known_line_has_its_cause() {
        for (message, cause) in [
            (
                "Unable to AUTH to MASTER: -WRONGPASS invalid",
                Cause::PasswordRefused,
            ),
            (
                "Error writing to the AOF file: No space left on device",
                Cause::DiskRefuses,
            ),
            (
                "Bad file format reading the append only file a",
                Cause::DataUnreadable,
            ),
            (
                "== CRITICAL == This server is sending an error to its AOF-loading-client: '-NOPERM no' after processing the command 'exec'",
                Cause::DataUnreadable,
            ),
            (
                "== CRITICAL == This replica is sending an error to its primary: '-WRONGTYPE no' after processing the command 'lpush'",
                Cause::CommandRefused,
            ),
            (
                "Aborting Redis startup because of ACL errors: users.acl:1",
                Cause::UsersRefused,
            ),
            (
                "Warning: Could not create server TCP listening socket 1:1: bind: Address already in use",
                Cause::AddressTaken,
            ),
            (
                "Can't save in background: fork: Cannot allocate memory",
                Cause::MemoryShort,
            ),
            ("Something new", Cause::Other),
        ] {
            assert_eq!(
                problem(&[&log('#', message)]).unwrap().cause,
                cause,
                "{message}"
            );
        }
    }

    #[test]
    fn resolved_problems_and_usual_lines_are_not_reported() {
        let refused = log('#', "Unable to AUTH to MASTER: -WRONGPASS invalid");
        let done = log('*', "MASTER <-> REPLICA sync: Finished with success");
        assert!(problem(&[&refused]).is_some());
        assert_eq!(problem(&[&refused, &done]), None);
        for usual in [
            "WARNING Memory overcommit must be enabled!",
            "+sdown master halab 1 2",
        ] {
            assert_eq!(problem(&[&log('#', usual)]), None, "{usual}");
        }
        assert_eq!(problem(&["no line of a log"]), None);
    }
}
