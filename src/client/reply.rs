//! A parser of server replies.
//!
//! RESP2 as in <https://redis.io/docs/latest/develop/reference/protocol-spec/>. The parser of the
//! crate `redis` accepts any reply, and takes some microseconds for one with ten values. This one
//! rejects replies that are longer or more deeply nested than those that the lab asks for, so that
//! a peer with an endless reply can't fill the memory.

use redis::Value;

/// Maximum bytes of one reply, and maximum values. The longest one, that of a primary to `ROLE`,
/// has about 60 bytes a replica.
const MAX_BYTES: usize = 1 << 16;
/// Maximum digits of a length; leading zeros would otherwise make it arbitrarily long.
const MAX_DIGITS: usize = 20;
/// Maximum nesting of arrays; `ROLE` has two.
const MAX_DEPTH: usize = 4;

/// The bytes are not RESP2, or beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a reply of a Redis server")]
pub struct NotResp;

/// The first reply in `bytes` and its length; `None` while it is incomplete.
///
/// # Errors
/// If it is not RESP2, or beyond a limit.
pub fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, NotResp> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value(0)? {
        Some(value) => Ok(Some((value, reader.at))),
        None if bytes.len() > MAX_BYTES => Err(NotResp),
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
            // Error replies are parsed by the crate: they are rare.
            b'-' => {
                let whole = [line, b"\r\n"].concat();
                Some(redis::parse_redis_value(&whole).map_err(|_| NotResp)?)
            }
            b'$' => match count(text)? {
                None => Some(Value::Nil),
                Some(length) => self.bulk(length)?.map(|b| Value::BulkString(b.to_vec())),
            },
            b'*' if depth < MAX_DEPTH => match count(text)? {
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
        // A line contains neither of the two.
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

/// A length or a number of values; `None` for -1, which is *null*.
fn count(text: &[u8]) -> Result<Option<usize>, NotResp> {
    match utf8(text)? {
        "-1" => Ok(None),
        number => match number.parse() {
            Ok(n) if n <= MAX_BYTES && number.len() <= MAX_DIGITS => Ok(Some(n)),
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
    fn replies_are_parsed_as_by_the_crate_redis_once_complete() {
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
    fn malformed_and_endless_replies_are_rejected() {
        let deep = b"*1\r\n".repeat(MAX_DEPTH + 1);
        let endless = vec![b'+'; MAX_BYTES + 1];
        let many = [b"*60000\r\n".as_slice(), &b":1\r\n".repeat(MAX_BYTES / 4)].concat();
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
        fn any_bytes_are_parsed_rejected_or_incomplete(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(Some((_, length))) = read(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn bytes_like_resp_are_parsed_rejected_or_incomplete(text in "[+:$*\\-0-9a\r\n]{0,60}") {
            if let Ok(Some((value, length))) = read(text.as_bytes()) {
                let expected = redis::parse_redis_value(&text.as_bytes()[..length]).ok();
                prop_assert_eq!(expected, Some(value));
            }
        }
    }
}
