//! The limit of a server's output buffer for replicas (`client-output-buffer-limit`), which its
//! node enlarges during a full copy. Pure, but for the note.
//!
//! A `CONFIG REWRITE` during that time, by an operator or a Sentinel, writes the enlarged limit
//! into the server's config file. So the old limit and each enlarged one are noted in the state
//! folder before the server is changed, and the next start of the server restores the old limit.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use super::conf::{Change, Conf};

/// The directive.
pub(super) const DIRECTIVE: &str = "client-output-buffer-limit";
/// In the node's state folder.
const NOTE: &str = "buffer-limit";
/// Both names of the class.
const CLASSES: [&str; 2] = ["replica", "slave"];

/// The limit; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutputBufferLimit {
    /// Bytes at which the server drops the replica.
    pub(super) hard: u64,
    /// Bytes at which it does so after a while.
    pub(super) soft: u64,
    /// That while, in seconds.
    pub(super) seconds: u64,
}

impl OutputBufferLimit {
    /// From the answer to `CONFIG GET`, or the arguments in a file: four words for each class.
    pub(super) fn of(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let classes = words.chunks_exact(4);
        // The last one counts.
        let class = classes.rev().find(|class| CLASSES.contains(&class[0]))?;
        Some(OutputBufferLimit {
            hard: bytes(class[1])?,
            soft: bytes(class[2])?,
            seconds: class[3].parse().ok()?,
        })
    }

    /// The bytes that may wait for as long as it takes.
    pub(super) fn for_long(self) -> u64 {
        match (self.hard, self.soft) {
            (hard, 0) => hard,
            (0, soft) => soft,
            (hard, soft) => hard.min(soft),
        }
    }

    /// The hard limit alone, enlarged by so much.
    pub(super) fn enlarged(self, by: u64) -> Self {
        OutputBufferLimit {
            hard: self.hard.saturating_add(by),
            soft: 0,
            seconds: 0,
        }
    }
}

/// As an argument of `CONFIG SET`.
impl fmt::Display for OutputBufferLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutputBufferLimit {
            hard,
            soft,
            seconds,
        } = self;
        write!(f, "replica {hard} {soft} {seconds}")
    }
}

/// A size as servers write it: `512mb`, `1g`, `1000`.
fn bytes(size: &str) -> Option<u64> {
    let size = size.to_ascii_lowercase();
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &size[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Notes that the server with the limit `before` is about to be given `enlarged`.
///
/// # Errors
/// When it can't be written.
pub(super) fn note(
    folder: &Path,
    before: OutputBufferLimit,
    enlarged: OutputBufferLimit,
) -> io::Result<()> {
    let file = folder.join(NOTE);
    let noted = fs::read_to_string(&file).unwrap_or_default();
    let mut lines: Vec<String> = noted.lines().map(str::to_owned).collect();
    // The first one is the limit that was there before any was enlarged. Another that is new is an
    // operator's.
    if !lines.contains(&before.to_string()) {
        lines = vec![before.to_string()];
    }
    if !lines.contains(&enlarged.to_string()) {
        lines.push(enlarged.to_string());
    }
    // Not synced: without it, after a power cut, the next start may have an enlarged limit.
    fs::write(&file, format!("{}\n", lines.join("\n")))
}

/// Restores the limit before in the server's file, where it is an enlarged one. Before a start of
/// the server.
pub(super) fn put_back(folder: &Path, conf: &mut Conf) {
    let file = folder.join(NOTE);
    let noted = fs::read_to_string(&file).unwrap_or_default();
    let mut limits = noted.lines().map(OutputBufferLimit::of);
    let Some(Some(before)) = limits.next() else {
        return;
    };
    let stated = OutputBufferLimit::of(&conf.get_all(&[DIRECTIVE]).concat().join(" "));
    if stated.is_some() && limits.any(|enlarged| enlarged == stated) {
        conf.rewrite(without_replicas);
        let text = before.to_string();
        let words: Vec<&str> = text.split(' ').collect();
        conf.set(&[DIRECTIVE, words[0]], &words[1..]);
    }
    // The server that is started has none of them; one that stays is compared again.
    let _ = fs::remove_file(&file);
}

/// A line of the file without the class of replicas.
fn without_replicas(words: &[&str]) -> Change {
    let Some((_, classes)) = words
        .split_first()
        .filter(|(word, _)| word.eq_ignore_ascii_case(DIRECTIVE))
    else {
        return Change::Keep;
    };
    let others = classes
        .chunks(4)
        .filter(|class| !CLASSES.contains(&class[0]));
    let others: Vec<String> = others.flatten().map(|word| (*word).to_owned()).collect();
    if others.is_empty() {
        return Change::Remove;
    }
    Change::To([vec![DIRECTIVE.to_owned()], others].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: OutputBufferLimit = OutputBufferLimit {
        hard: 512 << 20,
        soft: 1 << 20,
        seconds: 60,
    };

    #[test]
    fn a_limit_is_read_however_servers_and_operators_write_it() {
        let slave = "normal 0 0 0 slave 536870912 1048576 60 pubsub 33554432 8388608 60";
        assert_eq!(OutputBufferLimit::of(slave), Some(BEFORE));
        assert_eq!(OutputBufferLimit::of("replica 512mb 1mb 60"), Some(BEFORE));
        assert_eq!(OutputBufferLimit::of(&BEFORE.to_string()), Some(BEFORE));
        assert_eq!(
            OutputBufferLimit::of("replica 1 0 0 slave 2k 0 0")
                .unwrap()
                .hard,
            2000
        );
        for none in ["", "normal 0 0 0", "replica", "replica x 0 0"] {
            assert_eq!(OutputBufferLimit::of(none), None, "{none}");
        }
    }

    #[test]
    fn what_may_wait_for_long_is_the_lower_limit_of_those_there_are() {
        let of = |hard, soft| {
            OutputBufferLimit {
                hard,
                soft,
                seconds: 9,
            }
            .for_long()
        };
        assert_eq!((of(5, 3), of(5, 0), of(0, 3), of(0, 0)), (3, 5, 3, 0));
        let enlarged = BEFORE.enlarged(1);
        assert_eq!((enlarged.for_long(), enlarged.soft), ((512 << 20) + 1, 0));
    }

    /// The lines of the file after the next start.
    fn started_with(folder: &Path, text: &str) -> String {
        let mut conf = Conf::parse(text);
        put_back(folder, &mut conf);
        conf.text()
    }

    #[test]
    fn an_enlarged_limit_in_the_file_is_taken_back_at_the_next_start_and_an_operators_stays() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let file = "port 1\nclient-output-buffer-limit normal 0 0 0 slave 600mb 0 0\n";
        assert_eq!(started_with(folder, file), file, "nothing was enlarged");
        note(folder, BEFORE, BEFORE.enlarged(1)).unwrap();
        note(folder, BEFORE, BEFORE.enlarged(88 << 20)).unwrap();
        // Not put back yet, when it is enlarged again.
        note(folder, BEFORE.enlarged(1), BEFORE.enlarged(2)).unwrap();
        let started = started_with(folder, file);
        assert_eq!(
            started,
            "port 1\nclient-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 536870912 1048576 60\n"
        );
        assert_eq!(started_with(folder, &started), started, "once");

        note(folder, BEFORE, BEFORE.enlarged(1)).unwrap();
        let operators = "client-output-buffer-limit replica 700mb 0 0\n";
        assert_eq!(started_with(folder, operators), operators);
        note(folder, BEFORE, BEFORE.enlarged(1)).unwrap();
        note(folder, BEFORE.enlarged(7), BEFORE.enlarged(8)).unwrap();
        let noted = fs::read_to_string(folder.join(NOTE)).unwrap();
        assert_eq!(
            noted.lines().count(),
            2,
            "an operator's is the new first one: {noted}"
        );
    }
}
