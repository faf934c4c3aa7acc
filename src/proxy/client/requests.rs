//! What a client has sent: bytes to commands, each with what the proxy has to know of it.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::proxy::command::{BadCommand, CommandReader};
use crate::proxy::kind::{Kind, Refused, kind_of};
use crate::proxy::login;
use crate::proxy::sent::ClientRequest;

/// Words of a command that decide about its kind.
const WORDS_SEEN: usize = 16;
/// Characters of a command's name that are shown.
const NAME_SHOWN: usize = 32;

/// The bytes that were received from a client and are not split into commands yet.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) bytes: BytesMut,
    reader: CommandReader,
}

impl Requests {
    /// The next command, which is received `now`; `None` if the rest is incomplete. A login of one
    /// of the `applications` is one by the proxy.
    ///
    /// # Errors
    /// If the bytes are not a command, or it is longer than `longest`.
    pub(super) fn next(
        &mut self,
        now: Instant,
        longest: usize,
        applications: &BTreeSet<String>,
    ) -> Result<Option<ClientRequest>, BadCommand> {
        while let Some(command) = self.reader.read(&self.bytes, longest)? {
            let count = command.words.len();
            let mut words: [&[u8]; WORDS_SEEN] = [&[]; WORDS_SEEN];
            for (seen, word) in words.iter_mut().zip(command.words) {
                *seen = &self.bytes[word.clone()];
            }
            let words = &words[..count.min(WORDS_SEEN)];
            let has_quotes = |first: usize| {
                let mut words = words.iter().take(first);
                command.is_inline && words.any(|w| w.contains(&b'"') || w.contains(&b'\''))
            };
            let is_quoted = has_quotes(2);
            let kind = match is_quoted {
                true => Err(Refused("write the command without quotes")),
                false => kind_of(words),
            };
            let refusal = kind.err().map(|refused| refusal(words, refused));
            let frames = match kind {
                Ok(Kind::Subscribe(_)) => count.saturating_sub(1).max(1),
                // Without names: as many as there are subscriptions when it is sent.
                Ok(Kind::Unsubscribe(_)) => count.saturating_sub(1),
                _ => 1,
            };
            // With quotes, the words are not those that the server would read.
            let login = (kind == Ok(Kind::Login) && words.len() == count && !has_quotes(count))
                .then(|| login::by_proxy(words, applications))
                .flatten();
            let length = command.length;
            let received = self.bytes.split_to(length).freeze();
            let command = login.unwrap_or(received);
            if count == 0 {
                continue;
            }
            return Ok(Some(ClientRequest {
                frames,
                refusal,
                ..ClientRequest::new(command, kind.unwrap_or(Kind::Read), now)
            }));
        }
        Ok(None)
    }
}

/// The answer to a command that is not sent.
fn refusal(words: &[&[u8]], Refused(why): Refused) -> Bytes {
    let name = String::from_utf8_lossy(words.first().copied().unwrap_or_default());
    let name: String = name.chars().take(NAME_SHOWN).collect();
    format!("-ERR {name} is not available through halab proxy: {why}\r\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::kind::Topic;

    fn all(text: &str) -> Vec<ClientRequest> {
        let mut requests = Requests::default();
        requests.bytes.extend_from_slice(text.as_bytes());
        let mut found = Vec::new();
        let applications = BTreeSet::from(["shop".to_owned()]);
        while let Some(request) = requests
            .next(Instant::now(), 1 << 20, &applications)
            .unwrap()
        {
            found.push(request);
        }
        found
    }

    #[test]
    fn a_command_has_as_many_answers_as_the_server_gives() {
        let found = all("GET k\r\n\r\nSUBSCRIBE a b\r\nUNSUBSCRIBE a b c\r\nUNSUBSCRIBE\r\nSET k");
        let frames: Vec<_> = found.iter().map(|r| (r.kind, r.frames)).collect();
        let topic = Topic::Channel;
        assert_eq!(
            frames,
            [
                (Kind::Read, 1),
                (Kind::Subscribe(topic), 2),
                (Kind::Unsubscribe(topic), 3),
                (Kind::Unsubscribe(topic), 0),
            ]
        );
        assert_eq!(&found[0].command[..], b"GET k\r\n");
    }

    #[test]
    fn an_application_is_logged_in_by_its_second_name() {
        let found = all("AUTH shop pw\r\nAUTH operator pw\r\nAUTH shop \"pw\"\r\n");
        let login = b"*3\r\n$4\r\nAUTH\r\n$10\r\nshop@proxy\r\n$2\r\npw\r\n";
        assert_eq!(&found[0].command[..], login);
        assert_eq!(&found[1].command[..], b"AUTH operator pw\r\n");
        assert_eq!(&found[2].command[..], b"AUTH shop \"pw\"\r\n");
    }

    #[test]
    fn what_is_not_passed_on_is_answered_with_the_reason() {
        let found = all("MONITOR\r\n\"GET\" k\r\n");
        let refusals: Vec<_> = found.iter().filter_map(|r| r.refusal.as_deref()).collect();
        assert_eq!(refusals.len(), 2);
        assert!(refusals[0].starts_with(b"-ERR MONITOR is not available"));
        assert!(refusals[1].ends_with(b": write the command without quotes\r\n"));
    }
}
