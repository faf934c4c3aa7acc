//! Replies of a server, out of the bytes that have come in.
//!
//! RESP2 as in <https://redis.io/docs/latest/develop/reference/protocol-spec/>. The parser of the crate `redis`
//! takes any reply and some microseconds for one with ten parts; this one takes only what the lab
//! asks for: what is longer or deeper is refused, so that a peer which never stops can't fill the
//! memory.

use redis::Value;

/// Most bytes of one reply, and most parts. The longest that is read here, `ROLE` of a primary, has
/// about 60 bytes a replica.
const LONGEST: usize = 1 << 16;
/// Most digits of a length, so that zeros before it don't make it a line of any length.
const DIGITS: usize = 20;
/// Most arrays in each other; `ROLE` has two.
const DEEPEST: usize = 4;

/// What came in is no RESP2, or longer or deeper than any answer that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a reply of a Redis server")]
pub struct NotResp;

/// The first reply in `bytes` and its length; `None` while it is not complete.
///
/// # Errors
/// When it is not a reply that can be expected.
pub fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, NotResp> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value(0)? {
        Some(value) => Ok(Some((value, reader.at))),
        None if bytes.len() > LONGEST => Err(NotResp),
        None => Ok(None),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Option<Value>, NotResp> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let (kind, text) = line.split_first().ok_or(NotResp)?;
        Ok(match kind {
            b'+' if text == b"OK" => Some(Value::Okay),
            b'+' => Some(Value::SimpleString(utf8(text)?.to_owned())),
            b':' => Some(Value::Int(utf8(text)?.parse().map_err(|_| NotResp)?)),
            // The crate's own reading of error replies, which nobody waits for.
            b'-' => {
                let whole = [line, b"\r\n"].concat();
                Some(redis::parse_redis_value(&whole).map_err(|_| NotResp)?)
            }
            b'$' => match count(text)? {
                None => Some(Value::Nil),
                Some(length) => self.bulk(length)?.map(|b| Value::BulkString(b.to_vec())),
            },
            b'*' if depth < DEEPEST => match count(text)? {
                None => Some(Value::Nil),
                Some(parts) => self.array(parts, depth + 1)?,
            },
            _ => return Err(NotResp),
        })
    }

    fn array(&mut self, parts: usize, depth: usize) -> Result<Option<Value>, NotResp> {
        let mut values = Vec::new();
        for _ in 0..parts {
            match self.value(depth)? {
                Some(value) => values.push(value),
                None => return Ok(None),
            }
        }
        Ok(Some(Value::Array(values)))
    }

    /// The next line, without its CR LF.
    fn line(&mut self) -> Result<Option<&'a [u8]>, NotResp> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        // Neither of the two may be in a line.
        let Some(end) = rest.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
            return Ok(None);
        };
        match rest.get(end..end + 2) {
            Some(b"\r\n") => {
                self.at += end + 2;
                Ok(Some(&rest[..end]))
            }
            None if rest[end] == b'\r' => Ok(None),
            _ => Err(NotResp),
        }
    }

    fn bulk(&mut self, length: usize) -> Result<Option<&'a [u8]>, NotResp> {
        let end = self.at + length;
        match self.bytes.get(end..end + 2) {
            Some(b"\r\n") => {
                let bulk = &self.bytes[self.at..end];
                self.at = end + 2;
                Ok(Some(bulk))
            }
            Some(_) => Err(NotResp),
            None => Ok(None),
        }
    }
}

/// A length or a number of parts; -1 stands for *null*.
fn count(text: &[u8]) -> Result<Option<usize>, NotResp> {
    match utf8(text)? {
        "-1" => Ok(None),
        number => match number.parse() {
            Ok(n) if n <= LONGEST && number.len() <= DIGITS => Ok(Some(n)),
            _ => Err(NotResp),
        },
    }
}

fn utf8(text: &[u8]) -> Result<&str, NotResp> {
    std::str::from_utf8(text).map_err(|_| NotResp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPLIES: [&[u8]; 8] = [
        b"+OK\r\n",
        b"+PONG\r\n",
        b":-7\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"*0\r\n",
        b"*3\r\n$6\r\nmaster\r\n:42\r\n*1\r\n*3\r\n$10\r\n127.0.0.12\r\n$4\r\n6379\r\n$2\r\n42\r\n",
    ];

    #[test]
    fn a_reply_is_read_as_the_crate_reads_it_however_it_is_cut() {
        for reply in REPLIES {
            let expected = redis::parse_redis_value(reply).unwrap();
            let two = [reply, reply].concat();
            assert_eq!(read(&two), Ok(Some((expected, reply.len()))));
            for end in 0..reply.len() {
                assert_eq!(read(&reply[..end]), Ok(None), "{end} of {reply:?}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_or_has_no_end_is_refused() {
        let deep = b"*1\r\n".repeat(DEEPEST + 1);
        let endless = vec![b'+'; LONGEST + 1];
        let many = [b"*60000\r\n".as_slice(), &b":1\r\n".repeat(LONGEST / 4)].concat();
        for bytes in [
            b"HTTP/1.1 400 Bad Request\r\n".as_slice(),
            b"\r\n",
            b"+OK\rX",
            b"+OK\nX\r\n",
            b"$-01\r\n",
            b"$0000000000000000000000\r\n\r\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"$2\r\nabc\r\n",
            b"*99999999\r\n",
            b"$99999999999999999999\r\n",
            b"%1\r\n",
            &deep,
            &endless,
            &many,
        ] {
            assert_eq!(
                read(bytes),
                Err(NotResp),
                "{:?}",
                &bytes[..bytes.len().min(40)]
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_refused_or_awaited(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, length))) = read(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn bytes_like_resp_are_read_refused_or_awaited(text in "[+:$*\\-0-9a\r\n]{0,60}") {
            if let Ok(Some((value, length))) = read(text.as_bytes()) {
                prop_assert_eq!(redis::parse_redis_value(&text.as_bytes()[..length]).ok(), Some(value));
            }
        }
    }
}
