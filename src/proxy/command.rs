//! Commands as clients send them: where one ends, and which words it has.
//!
//! The bytes of a command are forwarded as they came, so nothing is decoded beyond the frame. A
//! command is an array of bulk strings, or a line of words (an *inline command*). See
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::ops::Range;

/// Longest line: an inline command, or the beginning of an array or of a bulk string.
const LINE_MAX: usize = 64 * 1024;
/// Maximum number of words of a command, as in Redis.
const WORDS_MAX: usize = 1024 * 1024;

/// Why the bytes are not a command. The texts are those of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// The number of words is not a number, or too large.
    #[error("invalid multibulk length")]
    WordCount,
    /// A word does not begin with `$`.
    #[error("expected '$'")]
    NotBulk,
    /// The length of a word is not a number.
    #[error("invalid bulk length")]
    WordLength,
    /// A line does not end.
    #[error("too big inline request")]
    LongLine,
    /// A quoted word of an inline command is not closed.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// The command is longer than the proxy accepts.
    #[error("the command is longer than the proxy accepts")]
    TooLong,
}

/// Finds commands in bytes that arrive in pieces. What was read of an incomplete command is not
/// read again.
#[derive(Debug, Default)]
pub struct CommandReader {
    /// Where to go on in the current command.
    at: usize,
    /// Words still missing; `None` before the first line.
    missing: Option<usize>,
    words: Vec<Range<usize>>,
}

/// A complete command, at the beginning of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCommand<'w> {
    /// Its length in bytes.
    pub length: usize,
    /// Where its words are; empty for an empty line or array, which has no answer.
    pub words: &'w [Range<usize>],
    /// It is an inline command. Its words may contain quotes and escapes.
    pub is_inline: bool,
}

impl CommandReader {
    /// Reads on. `bytes` begins with the current command; `None` if it is incomplete. After a
    /// complete command the next one begins: remove its bytes before the next call.
    ///
    /// # Errors
    /// If the bytes are not a command, or it is longer than `longest`.
    pub fn read(
        &mut self,
        bytes: &[u8],
        longest: usize,
    ) -> Result<Option<ClientCommand<'_>>, BadCommand> {
        let read = self.go_on(bytes, longest)?;
        if read.is_none() && bytes.len() > longest {
            return Err(BadCommand::TooLong);
        }
        let Some(is_inline) = read else {
            return Ok(None);
        };
        let length = std::mem::take(&mut self.at);
        self.missing = None;
        Ok(Some(ClientCommand {
            length,
            words: &self.words,
            is_inline,
        }))
    }

    /// Whether the current command is complete, and then whether it is an inline command.
    fn go_on(&mut self, bytes: &[u8], longest: usize) -> Result<Option<bool>, BadCommand> {
        if self.missing.is_none() {
            match bytes.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.inline(bytes),
            }
            let Some(line) = line_at(bytes, 0)? else {
                return Ok(None);
            };
            let count = number(&bytes[1..line.end]).ok_or(BadCommand::WordCount)?;
            // A negative number counts as zero, as in Redis.
            let count = usize::try_from(count).unwrap_or(0);
            if count > WORDS_MAX {
                return Err(BadCommand::WordCount);
            }
            self.words.clear();
            self.missing = Some(count);
            self.at = line.next;
        }
        while let Some(missing @ 1..) = self.missing {
            let Some(line) = line_at(bytes, self.at)? else {
                return Ok(None);
            };
            let length = match bytes.get(self.at..line.end) {
                Some([b'$', digits @ ..]) => number(digits).ok_or(BadCommand::WordLength)?,
                _ => return Err(BadCommand::NotBulk),
            };
            let length = usize::try_from(length).map_err(|_| BadCommand::WordLength)?;
            if length > longest {
                return Err(BadCommand::TooLong);
            }
            let end = line.next + length;
            match bytes.get(end..end + 2) {
                None => return Ok(None),
                Some(b"\r\n") => {}
                Some(_) => return Err(BadCommand::WordLength),
            }
            self.words.push(line.next..end);
            self.missing = Some(missing - 1);
            self.at = end + 2;
        }
        Ok(Some(false))
    }

    fn inline(&mut self, bytes: &[u8]) -> Result<Option<bool>, BadCommand> {
        let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(LINE_MAX)]) else {
            return match bytes.len() {
                LINE_MAX.. => Err(BadCommand::LongLine),
                _ => Ok(None),
            };
        };
        let line = &bytes[..end];
        self.words.clear();
        let mut at = 0;
        while let Some(begin) = line[at..].iter().position(|b| !b.is_ascii_whitespace()) {
            let begin = at + begin;
            let word = inline_word(&line[begin..]).ok_or(BadCommand::Quotes)?;
            self.words.push(begin..begin + word);
            at = begin + word;
        }
        self.at = end + 1;
        Ok(Some(true))
    }
}

/// The words of a complete command; none if it is not one.
pub fn words_of(command: &[u8]) -> Vec<&[u8]> {
    let mut reader = CommandReader::default();
    let Ok(Some(read)) = reader.read(command, usize::MAX) else {
        return Vec::new();
    };
    let words = read.words.iter();
    words.map(|word| &command[word.clone()]).collect()
}

/// The length of the first word of an inline command; `None` if its quotes are not closed.
fn inline_word(line: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(*byte),
            (None, byte) if byte.is_ascii_whitespace() => return Some(at),
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
        at += 1;
    }
    quote.is_none().then_some(line.len())
}

struct Line {
    end: usize,
    next: usize,
}

/// The line that begins at `at`: where its CR is, and what follows its LF.
fn line_at(bytes: &[u8], at: usize) -> Result<Option<Line>, BadCommand> {
    let rest = bytes.get(at..).unwrap_or_default();
    match memchr::memchr(b'\r', &rest[..rest.len().min(LINE_MAX)]) {
        Some(length) => match rest.get(length + 1) {
            None => Ok(None),
            Some(b'\n') => Ok(Some(Line {
                end: at + length,
                next: at + length + 2,
            })),
            Some(_) => Err(BadCommand::WordLength),
        },
        None if rest.len() >= LINE_MAX => Err(BadCommand::LongLine),
        None => Ok(None),
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: usize = 1 << 20;

    /// All commands in `bytes`, as words.
    fn all(mut bytes: &[u8]) -> Result<Vec<Vec<String>>, BadCommand> {
        let mut reader = CommandReader::default();
        let mut found = Vec::new();
        while let Some(command) = reader.read(bytes, LONGEST)? {
            let words = command.words.iter();
            let text =
                |word: &Range<usize>| String::from_utf8_lossy(&bytes[word.clone()]).into_owned();
            found.push(words.map(text).collect());
            bytes = &bytes[command.length..];
        }
        Ok(found)
    }

    #[test]
    fn arrays_and_lines_are_commands() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n\r\n*0\r\n*-1\r\n SET  k \"a b\" 'c\\'d'\n*1\r\n$0\r\n\r\n";
        let found = all(bytes).unwrap();
        let expected: &[&[&str]] = &[
            &["GET", "k"],
            &["PING"],
            &[],
            &[],
            &[],
            &["SET", "k", "\"a b\"", "'c\\'d'"],
            &[""],
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_command_is_refused_with_the_words_of_redis() {
        for (bytes, error) in [
            (&b"*x\r\n"[..], BadCommand::WordCount),
            (b"*1048577\r\n", BadCommand::WordCount),
            (b"*1\r\nGET\r\n", BadCommand::NotBulk),
            (b"*1\r\n$x\r\n", BadCommand::WordLength),
            (b"*1\r\n$-1\r\n", BadCommand::WordLength),
            (b"*1\r\n$3\r\nGETxx", BadCommand::WordLength),
            (b"*1\r\n$2000000\r\n", BadCommand::TooLong),
            (b"SET k \"a\r\n", BadCommand::Quotes),
        ] {
            assert_eq!(all(bytes), Err(error), "{bytes:?}");
        }
        let line = vec![b'a'; LINE_MAX];
        assert_eq!(all(&line), Err(BadCommand::LongLine));
        let many = [b"*1000000\r\n".as_slice(), &b"$1\r\na\r\n".repeat(200_000)].concat();
        assert_eq!(all(&many), Err(BadCommand::TooLong));
    }

    proptest! {
        #[test]
        fn a_command_in_pieces_is_that_of_the_whole(
            words in proptest::collection::vec(".{0,40}", 1..6),
            cut in 1usize..12,
        ) {
            let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
            for word in &words {
                bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
            }
            let mut reader = CommandReader::default();
            let mut upto = 0;
            loop {
                upto = (upto + cut).min(bytes.len());
                match reader.read(&bytes[..upto], LONGEST).unwrap() {
                    Some(command) => {
                        prop_assert_eq!(upto, bytes.len());
                        prop_assert_eq!(command.length, bytes.len());
                        let read: Vec<&[u8]> = command.words.iter().map(|w| &bytes[w.clone()]).collect();
                        let sent: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
                        prop_assert_eq!(read, sent);
                        break;
                    }
                    None => prop_assert!(upto < bytes.len()),
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = all(&bytes);
        }
    }
}
