//! What is carried over to the next primary: the state of a client's session, as the client knows
//! it. A command changes it when its answer is passed on.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::command::words_of;
use super::kind::{Kind, Topic};

/// The state of a session.
#[derive(Debug, Default)]
pub struct Carried {
    /// The commands that logged in and chose the protocol, in their order. A later one with the
    /// same effect replaces an earlier one.
    logins: Vec<LoginCommand>,
    select: Option<Bytes>,
    /// `CLIENT` commands, by the words that state what they set.
    settings: BTreeMap<Vec<u8>, Bytes>,
    /// Commands that subscribe, by topic and name.
    subscriptions: BTreeMap<Topic, BTreeSet<Vec<u8>>>,
    /// RESP3.
    is_resp3: bool,
    /// The commands after `MULTI`, which have no effect before `EXEC`.
    queued: Option<Vec<(Kind, Bytes)>>,
    /// Keys are watched.
    is_watching: bool,
    /// Keys were watched on an earlier primary: the next `EXEC` answers nil, as if one of them had
    /// changed.
    watch_is_lost: bool,
}

/// `AUTH`, or `HELLO` with or without a password.
#[derive(Debug)]
struct LoginCommand {
    is_hello: bool,
    command: Bytes,
}

impl Carried {
    /// A command was executed without an error. `words` are its words.
    pub fn executed(&mut self, kind: Kind, command: &Bytes, words: &[&[u8]]) {
        match kind {
            Kind::Login => self.logged_in(command, words),
            Kind::Select => self.select = Some(command.clone()),
            Kind::Setting => {
                let setting = words.iter().skip(1).take(2);
                let mut key: Vec<u8> = setting.copied().flatten().copied().collect();
                key.make_ascii_uppercase();
                // Only SETINFO has its name in the next word.
                if !key.starts_with(b"SETINFO") {
                    key.truncate(words.get(1).map_or(0, |word| word.len()));
                }
                self.settings.insert(key, command.clone());
            }
            Kind::Subscribe(topic) => {
                let names = words.iter().skip(1).map(|name| name.to_vec());
                self.subscriptions.entry(topic).or_default().extend(names);
            }
            Kind::Unsubscribe(topic) => {
                let subscribed = self.subscriptions.entry(topic).or_default();
                match words.get(1..) {
                    None | Some([]) => subscribed.clear(),
                    Some(names) => {
                        for name in names {
                            subscribed.remove(*name);
                        }
                    }
                }
            }
            Kind::Multi => self.queued = Some(Vec::new()),
            Kind::Exec | Kind::Discard => {
                self.queued = None;
                self.is_watching = false;
                self.watch_is_lost = false;
            }
            Kind::Watch => self.is_watching = true,
            Kind::Unwatch if self.queued.is_none() => {
                self.is_watching = false;
                self.watch_is_lost = false;
            }
            Kind::Reset => *self = Carried::default(),
            Kind::Unwatch | Kind::Read | Kind::Write | Kind::MayWrite | Kind::Quit => {}
        }
    }

    fn logged_in(&mut self, command: &Bytes, words: &[&[u8]]) {
        let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let is_hello = words.first().is_some_and(|name| is(name, "HELLO"));
        if !is_hello {
            self.logins.retain(|login| login.is_hello);
        } else if let Some(version) = words.get(1) {
            self.is_resp3 = *version == b"3";
            let has_password = words.iter().any(|word| is(word, "AUTH"));
            self.logins.retain(|login| !has_password && !login.is_hello);
        } else {
            return;
        }
        self.logins.push(LoginCommand {
            is_hello,
            command: command.clone(),
        });
    }

    /// A command was queued after `MULTI`.
    pub fn queued(&mut self, kind: Kind, command: &Bytes) {
        if let Some(queued) = &mut self.queued {
            queued.push((kind, command.clone()));
        }
    }

    /// The queued commands were executed.
    pub fn transaction_executed(&mut self) {
        for (kind, command) in self.queued.take().unwrap_or_default() {
            if !kind.is_data() {
                self.executed(kind, &command, &words_of(&command));
            }
        }
    }

    /// Whether commands are queued, after `MULTI`.
    pub fn is_queueing(&self) -> bool {
        self.queued.is_some()
    }

    /// Whether commands that change the session are queued, after `MULTI`.
    pub fn queues_session_changes(&self) -> bool {
        let mut queued = self.queued.iter().flatten();
        queued.any(|(kind, _)| !kind.is_data())
    }

    /// Whether the client uses RESP3.
    pub fn is_resp3(&self) -> bool {
        self.is_resp3
    }

    /// Number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.values().map(BTreeSet::len).sum()
    }

    /// Number of subscriptions of one kind.
    pub fn subscriptions_to(&self, topic: Topic) -> usize {
        self.subscriptions.get(&topic).map_or(0, BTreeSet::len)
    }

    /// Whether the client tracks keys, and has to be told to forget all of them.
    pub fn is_tracking(&self) -> bool {
        let tracking = self.settings.get(b"TRACKING".as_slice());
        tracking.is_some_and(|command| {
            command
                .to_ascii_uppercase()
                .windows(2)
                .any(|word| word == b"ON")
        })
    }

    /// The primary is another one, or its connection is new: nothing is watched there.
    pub fn moved(&mut self) {
        self.watch_is_lost |= self.is_watching;
        self.is_watching = false;
    }

    /// Whether `EXEC` must not be executed, because watched keys may have changed.
    pub fn exec_must_fail(&self) -> bool {
        self.watch_is_lost
    }

    /// The commands that restore the state on a new connection, with their kinds.
    pub fn restoring(&self) -> Vec<(Kind, Bytes)> {
        let mut commands: Vec<(Kind, Bytes)> = Vec::new();
        let logins = self
            .logins
            .iter()
            .map(|login| (Kind::Login, login.command.clone()));
        commands.extend(logins);
        commands.extend(
            self.select
                .iter()
                .map(|select| (Kind::Select, select.clone())),
        );
        commands.extend(
            self.settings
                .values()
                .map(|set| (Kind::Setting, set.clone())),
        );
        for (topic, names) in &self.subscriptions {
            let name = match topic {
                Topic::Channel => "SUBSCRIBE",
                Topic::Pattern => "PSUBSCRIBE",
                Topic::Shard => "SSUBSCRIBE",
            };
            let one = |channel: &Vec<u8>| {
                (
                    Kind::Subscribe(*topic),
                    encoded(&[name.as_bytes(), channel]),
                )
            };
            commands.extend(names.iter().map(one));
        }
        if let Some(queued) = &self.queued {
            commands.push((Kind::Multi, encoded(&[b"MULTI"])));
            let queued = queued.iter();
            commands.extend(queued.map(|(_, command)| (Kind::Read, command.clone())));
        }
        commands
    }
}

/// A command of these words.
pub fn encoded(words: &[&[u8]]) -> Bytes {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executed(carried: &mut Carried, kind: Kind, command: &str) {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        carried.executed(kind, &Bytes::copy_from_slice(command.as_bytes()), &words);
    }

    fn restored(carried: &Carried) -> Vec<String> {
        let commands = carried.restoring();
        let text = |(_, command): &(Kind, Bytes)| {
            let text = String::from_utf8_lossy(command).into_owned();
            let words = text
                .split("\r\n")
                .filter(|w| !w.starts_with(['*', '$']) && !w.is_empty());
            words.collect::<Vec<_>>().join(" ")
        };
        commands.iter().map(text).collect()
    }

    #[test]
    fn logins_are_restored_in_their_order_and_replaced_by_later_ones() {
        let mut carried = Carried::default();
        executed(&mut carried, Kind::Login, "AUTH a p");
        executed(&mut carried, Kind::Login, "HELLO 3");
        assert!(carried.is_resp3());
        assert_eq!(restored(&carried), ["AUTH a p", "HELLO 3"]);
        executed(&mut carried, Kind::Login, "AUTH b q");
        assert_eq!(restored(&carried), ["HELLO 3", "AUTH b q"]);
        executed(&mut carried, Kind::Login, "hello 2 auth c r");
        assert!(!carried.is_resp3());
        assert_eq!(restored(&carried), ["hello 2 auth c r"]);
    }

    #[test]
    fn settings_subscriptions_and_a_transaction_are_restored() {
        let mut carried = Carried::default();
        for command in [
            "CLIENT SETNAME x",
            "client setname y",
            "CLIENT SETINFO lib-name l",
        ] {
            executed(&mut carried, Kind::Setting, command);
        }
        executed(&mut carried, Kind::Select, "SELECT 3");
        executed(
            &mut carried,
            Kind::Subscribe(Topic::Channel),
            "SUBSCRIBE a b",
        );
        executed(
            &mut carried,
            Kind::Unsubscribe(Topic::Channel),
            "UNSUBSCRIBE a",
        );
        executed(&mut carried, Kind::Multi, "MULTI");
        carried.queued(Kind::Write, &Bytes::from_static(b"INCR n"));
        assert_eq!(
            restored(&carried),
            [
                "SELECT 3",
                "CLIENT SETINFO lib-name l",
                "client setname y",
                "SUBSCRIBE b",
                "MULTI",
                "INCR n"
            ]
        );
        executed(&mut carried, Kind::Exec, "EXEC");
        assert_eq!(restored(&carried).last().unwrap(), "SUBSCRIBE b");
        executed(&mut carried, Kind::Reset, "RESET");
        assert!(restored(&carried).is_empty());
    }

    #[test]
    fn a_queued_command_has_its_effect_with_the_transaction_and_in_its_place() {
        let mut carried = Carried::default();
        let queue = |carried: &mut Carried| {
            executed(carried, Kind::Multi, "MULTI");
            carried.queued(Kind::Write, &encoded(&[b"INCR", b"n"]));
            carried.queued(Kind::Select, &encoded(&[b"SELECT", b"3"]));
        };
        queue(&mut carried);
        assert_eq!(restored(&carried), ["MULTI", "INCR n", "SELECT 3"]);
        executed(&mut carried, Kind::Discard, "DISCARD");
        assert!(restored(&carried).is_empty());
        queue(&mut carried);
        carried.transaction_executed();
        executed(&mut carried, Kind::Exec, "EXEC");
        assert_eq!(restored(&carried), ["SELECT 3"]);
    }

    #[test]
    fn a_watch_is_lost_by_a_move_until_the_transaction_is_over() {
        let mut carried = Carried::default();
        carried.moved();
        assert!(!carried.exec_must_fail());
        executed(&mut carried, Kind::Watch, "WATCH k");
        carried.moved();
        assert!(carried.exec_must_fail());
        executed(&mut carried, Kind::Multi, "MULTI");
        assert!(carried.exec_must_fail());
        executed(&mut carried, Kind::Exec, "EXEC");
        assert!(!carried.exec_must_fail());
    }
}
