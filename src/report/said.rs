//! The line of a server's log that says why something is wrong.
//!
//! A known reason is kept until the server says that it is over; any other warning is kept as long as no known reason is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest line that is kept.
const LONGEST: usize = 300;

/// What a line of the log means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The server refuses a line of its config file.
    ConfigRefused,
    /// The server can't read its data.
    DataUnreadable,
    /// Data was written by a newer server than the one that reads it.
    DataTooNew,
    /// The primary refuses the replica's password.
    PasswordRefused,
    /// The disk takes no writes.
    DiskRefuses,
    /// The system gives no memory.
    MemoryShort,
    /// The server can't listen on its address.
    AddressTaken,
    /// The server can't read its file of users.
    UsersRefused,
    /// A warning that is none of these.
    #[default]
    #[serde(other)]
    Other,
}

/// What the log said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// What it means.
    pub cause: Cause,
    /// The line, without process id and time; of a config line, the directive alone.
    pub line: String,
    /// How long ago it was said last, in whole seconds, by the clock of whoever heard it; unknown of an older parent.
    pub ago_s: Option<u64>,
}

impl Said {
    /// The line, behind what introduces it, with its age: `its server says, 12 s ago: ...`.
    pub fn told(&self, introduction: &str) -> String {
        let ago = self.ago_s.map(|seconds| format!(", {}", ago(seconds)));
        format!("{introduction}{}: {}", ago.unwrap_or_default(), self.line)
    }
}

/// A time that has passed, with two digits or more where it has them.
pub fn ago(seconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(24 * 3600, "days"), (3600, "h"), (60, "min")];
    let unit = UNITS.iter().find(|(length, _)| seconds >= 2 * length);
    let (length, unit) = unit.copied().unwrap_or((1, "s"));
    format!("{} {unit} ago", seconds / length)
}

/// Parts of lines that say a known reason; the first one that is found counts.
const KNOWN: [(&str, Cause); 20] = [
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

/// Parts of lines that say that what was wrong is over.
const OVER: [&str; 7] = [
    "Background AOF rewrite finished successfully",
    "Background saving terminated with success",
    "DB saved on disk",
    "eady to accept connections",
    "sync: Finished with success",
    "Successful partial resynchronization",
    "AOF write error looks solved",
];

/// How warnings begin that say nothing about a failure.
const USUAL: [&str; 14] = [
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
pub struct Reading {
    said: Option<Said>,
    /// When that was said.
    at: Duration,
    /// A refusal of the config file, of which this much has been read.
    refusal: Option<Vec<String>>,
}

impl Reading {
    /// Takes the next line, which is said at that time, counted from anywhere.
    pub fn line(&mut self, line: &str, now: Duration) {
        let line = printable(line);
        if line.contains("FATAL CONFIG FILE ERROR") {
            self.refusal = Some(Vec::new());
            return;
        }
        if let Some(refusal) = &mut self.refusal {
            refusal.push(line);
            // Where, which line, why.
            if refusal.len() == 3 {
                let line = config_refusal(refusal);
                self.refusal = None;
                self.keep(Cause::ConfigRefused, line, now);
            }
            return;
        }
        let Some((level, message)) = message(&line) else {
            return;
        };
        if OVER.iter().any(|over| message.contains(over)) {
            self.said = None;
            return;
        }
        let known = KNOWN.iter().find(|(part, _)| message.contains(part));
        let cause = match known {
            Some((_, cause)) => *cause,
            None if level == "#" && !USUAL.iter().any(|usual| message.starts_with(usual)) => {
                Cause::Other
            }
            None => return,
        };
        if self
            .said
            .as_ref()
            .is_none_or(|said| replaces(cause, said.cause))
        {
            self.keep(cause, message.to_owned(), now);
        }
    }

    fn keep(&mut self, cause: Cause, line: String, now: Duration) {
        let ago_s = None;
        self.said = Some(Said { cause, line, ago_s });
        self.at = now;
    }

    /// What was said last about something that is wrong, as it is told at that time.
    pub fn said(&self, now: Duration) -> Option<Said> {
        let said = self.said.as_ref()?;
        Some(Said {
            ago_s: Some(now.saturating_sub(self.at).as_secs()),
            ..said.clone()
        })
    }
}

/// A consequence does not replace its cause.
fn replaces(new: Cause, old: Cause) -> bool {
    match (new, old) {
        (Cause::Other, old) => old == Cause::Other,
        (Cause::DataUnreadable, Cause::DataTooNew | Cause::MemoryShort) => false,
        _ => true,
    }
}

/// One line, of a length that can be read.
fn printable(line: &str) -> String {
    let plain = line.trim_end().chars().take(LONGEST);
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

/// `Reading the configuration file, at line 5`, `>>> 'foo 1'`, `Bad directive`, as one sentence with the directive alone: what
/// stands behind it may be a password, whatever the directive is called, for it may be misspelt.
fn config_refusal(lines: &[String]) -> String {
    let [place, line, why] = lines else {
        return "a line of it".to_owned();
    };
    let number = place.rsplit(' ').next().unwrap_or_default();
    let line = line.trim_start_matches("> ").trim_start_matches('>').trim();
    let mut words = line.trim_matches('\'').split_whitespace();
    let first = words.next().unwrap_or_default();
    // Of a Sentinel's, the second word is a part of the directive.
    let second = words.next().filter(|_| first == "sentinel");
    let directive: Vec<&str> = [Some(first), second].into_iter().flatten().collect();
    format!("line {number}, \"{} ...\": {why}", directive.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> Option<Said> {
        let mut reading = Reading::default();
        for line in lines {
            reading.line(line, Duration::ZERO);
        }
        reading.said(Duration::ZERO)
    }

    fn log(level: char, message: &str) -> String {
        format!("7:S 28 Nov 2026 16:00:00.000 {level} {message}")
    }

    #[test]
    fn a_refused_config_line_is_told_with_its_place_and_reason() {
        let said = said(&[
            "",
            "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***",
            "Reading the configuration file, at line 5",
            ">>> 'foo 1'",
            "Bad directive or wrong number of arguments",
        ])
        .unwrap();
        assert_eq!(said.cause, Cause::ConfigRefused);
        assert_eq!(
            said.line,
            "line 5, \"foo ...\": Bad directive or wrong number of arguments"
        );
    }

    #[test]
    fn the_age_is_that_of_the_line_and_begins_anew_when_it_is_said_again() {
        let refused = log('#', "Unable to AUTH to MASTER: -WRONGPASS invalid");
        let mut reading = Reading::default();
        let age = |reading: &Reading, now| reading.said(Duration::from_secs(now)).unwrap().ago_s;
        reading.line(&refused, Duration::from_secs(100));
        assert_eq!(age(&reading, 100), Some(0));
        assert_eq!(age(&reading, 112), Some(12));
        // What follows from it, and what is usual, is not it.
        reading.line(&log('#', "Something new"), Duration::from_secs(120));
        reading.line(&log('*', "Connecting to MASTER"), Duration::from_secs(120));
        assert_eq!(age(&reading, 130), Some(30));
        reading.line(&refused, Duration::from_secs(131));
        assert_eq!(age(&reading, 132), Some(1));
        let said = reading.said(Duration::from_secs(143)).unwrap();
        assert_eq!(
            said.told("its server says"),
            "its server says, 12 s ago: Unable to AUTH to MASTER: -WRONGPASS invalid"
        );
        let unknown = Said {
            ago_s: None,
            ..said
        };
        assert!(unknown.told("it says").starts_with("it says: Unable"));
    }

    #[test]
    fn an_age_is_told_in_a_unit_that_fits() {
        for (seconds, told) in [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7199, "119 min ago"),
            (7200, "2 h ago"),
            (2 * 24 * 3600 - 1, "47 h ago"),
            (2 * 24 * 3600, "2 days ago"),
        ] {
            assert_eq!(ago(seconds), told);
        }
    }

    #[test]
    fn a_refused_password_is_not_told() {
        for (line, shown) in [
            ("masterauth s3cret x", "masterauth ..."),
            ("sentinel auth-pass halab s3cret", "sentinel auth-pass ..."),
            ("user bob on >s3cret", "user ..."),
            ("requirepas s3cret", "requirepas ..."),
            ("masteraut s3cret", "masteraut ..."),
            ("rename-command CONFIG s3cret", "rename-command ..."),
        ] {
            let quoted = format!(">>> '{line}'");
            let said = said(&[
                "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***",
                "Reading the configuration file, at line 5",
                &quoted,
                "wrong number of arguments",
            ]);
            let told = said.unwrap().line;
            assert!(told.contains(shown) && !told.contains("s3cret"), "{told}");
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
        let said = said(&lines).unwrap();
        assert_eq!(said.cause, Cause::DataTooNew);
        assert_eq!(said.line, "Can't handle RDB format version 12");
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
                said(&[&log('#', message)]).unwrap().cause,
                cause,
                "{message}"
            );
        }
    }

    #[test]
    fn what_is_over_and_what_is_usual_is_not_told() {
        let refused = log('#', "Unable to AUTH to MASTER: -WRONGPASS invalid");
        let done = log('*', "MASTER <-> REPLICA sync: Finished with success");
        assert!(said(&[&refused]).is_some());
        assert_eq!(said(&[&refused, &done]), None);
        for usual in [
            "WARNING Memory overcommit must be enabled!",
            "+sdown master halab 1 2",
        ] {
            assert_eq!(said(&[&log('#', usual)]), None, "{usual}");
        }
        assert_eq!(said(&["no line of a log"]), None);
    }
}
