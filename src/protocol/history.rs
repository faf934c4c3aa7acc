//! Replication histories: whether a write of an earlier primary is part of the data of a later one.
//!
//! A server that is promoted begins a new history (`master_replid`) and states which history it
//! continues and up to which offset (`master_replid2`, `second_repl_offset`).

use std::net::SocketAddrV4;

/// The histories of which a primary has the data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicationHistory {
    /// Its own history (`master_replid`).
    pub id: String,
    /// The history that it continues, and the first offset of that history that it does not have.
    pub before: Option<(String, u64)>,
}

/// What is known of a write that an earlier primary has executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// The later primary has it.
    Survived,
    /// The later primary does not have it, nor does any that continues its history.
    Lost,
    /// Either is possible.
    Unknown,
}

/// Where a write lies in the history of the primary that has executed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The write lies behind this offset.
    pub after: Option<u64>,
    /// The write lies at or before this offset.
    pub upto: Option<u64>,
}

/// The execution of a command by a primary that is lost, if there was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The server that was primary.
    pub server: SocketAddrV4,
    /// Its history at that time.
    pub history: String,
    /// Where in that history it lies.
    pub extent: Extent,
    /// Whether it was answered: without an answer, it is not known that there was one.
    pub is_answered: bool,
}

impl Execution {
    /// Whether the primary `server`, with this history, has the command in its data.
    pub fn survival(&self, server: SocketAddrV4, history: &ReplicationHistory) -> Survival {
        match history.survival(&self.history, self.extent) {
            // The same server may have started again with less than it had.
            Survival::Lost if self.server == server => Survival::Unknown,
            survival => survival,
        }
    }

    /// Makes this one stand for `other` too, if that is an execution of the same command in the
    /// same history, of which as much is known. Returns whether it does.
    pub fn widen(&mut self, other: &Execution) -> bool {
        let is_alike = (self.server, &self.history, self.is_answered)
            == (other.server, &other.history, other.is_answered);
        if is_alike {
            let both = |one: Option<u64>, two: Option<u64>| one.zip(two);
            self.extent = Extent {
                after: both(self.extent.after, other.extent.after).map(|(a, b)| a.min(b)),
                upto: both(self.extent.upto, other.extent.upto).map(|(a, b)| a.max(b)),
            };
        }
        is_alike
    }
}

/// Whether the primary `server`, with this history, has none of these executions of a command, so
/// that it may execute it. That an earlier primary had none of them says nothing: if its promotion
/// is given up, the history before it goes on.
pub fn has_none_of<'a>(
    executions: impl IntoIterator<Item = &'a Execution>,
    server: SocketAddrV4,
    history: &ReplicationHistory,
) -> bool {
    let mut executions = executions.into_iter();
    executions.all(|execution| execution.survival(server, history) == Survival::Lost)
}

/// Whether the primary `server`, with this history, is known to have one of these executions of a
/// command. That the history of a command without an answer goes on does not show that it has the
/// command.
pub fn is_known_to_have_one_of<'a>(
    executions: impl IntoIterator<Item = &'a Execution>,
    server: SocketAddrV4,
    history: &ReplicationHistory,
) -> bool {
    let mut answered = executions.into_iter().filter(|of| of.is_answered);
    answered.any(|execution| execution.survival(server, history) == Survival::Survived)
}

impl ReplicationHistory {
    /// Whether the primary with this history has a write that another primary, with history
    /// `executed_in`, has executed.
    pub fn survival(&self, executed_in: &str, write: Extent) -> Survival {
        if self.id == executed_in && !executed_in.is_empty() {
            return Survival::Survived;
        }
        let Some(has_all_upto) = self.end_of(executed_in) else {
            return Survival::Unknown;
        };
        if write.upto.is_some_and(|upto| upto <= has_all_upto) {
            Survival::Survived
        } else if write.after.is_some_and(|after| after >= has_all_upto) {
            Survival::Lost
        } else {
            Survival::Unknown
        }
    }

    /// The last offset of `earlier` in the data of this server, if it is the history that it
    /// continues.
    ///
    /// A primary that is demoted keeps its data and asks its successor to continue at its own
    /// offset. If the successor has a history of which that offset is a part, the demoted server
    /// takes over the successor's history, and notes its own as the one before, up to that offset
    /// (`slaveTryPartialResynchronization`). So it has executed nothing as primary after this
    /// offset.
    pub fn end_of(&self, earlier: &str) -> Option<u64> {
        let (_, until) = self.before.as_ref().filter(|(id, _)| id == earlier)?;
        (!earlier.is_empty()).then(|| until.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promoted() -> ReplicationHistory {
        ReplicationHistory {
            id: "new".into(),
            before: Some(("old".into(), 101)),
        }
    }

    fn extent(after: u64, upto: u64) -> Extent {
        Extent {
            after: Some(after),
            upto: Some(upto),
        }
    }

    #[test]
    fn a_write_before_the_end_of_the_old_history_has_survived() {
        assert_eq!(
            promoted().survival("old", extent(60, 100)),
            Survival::Survived
        );
        assert_eq!(promoted().survival("new", extent(0, 0)), Survival::Survived);
    }

    #[test]
    fn a_write_behind_the_end_of_the_old_history_is_lost() {
        assert_eq!(promoted().survival("old", extent(100, 140)), Survival::Lost);
        assert_eq!(promoted().survival("old", extent(200, 240)), Survival::Lost);
    }

    #[test]
    fn a_command_is_executed_again_only_where_no_earlier_execution_is() {
        let address = |host| SocketAddrV4::new([127, 0, 0, host].into(), 6379);
        let executed = Execution {
            server: address(1),
            history: "old".into(),
            extent: extent(100, 140),
            is_answered: true,
        };
        let may = |of: &[&Execution], host, history: &ReplicationHistory| {
            has_none_of(of.iter().copied(), address(host), history)
        };
        assert!(may(&[], 1, &promoted()));
        assert!(may(&[&executed], 2, &promoted()));
        // The old primary, which goes on in its history, has it.
        let old = ReplicationHistory {
            id: "old".into(),
            before: None,
        };
        assert!(!may(&[&executed], 1, &old));
        // It may have started again without it.
        assert!(!may(&[&executed], 1, &promoted()));
        // Of a second promotion after it, nothing is known.
        let later = ReplicationHistory {
            id: "newer".into(),
            before: Some(("new".into(), 200)),
        };
        assert!(!may(&[&executed], 3, &later));
        let second = Execution {
            history: "new".into(),
            extent: extent(200, 240),
            ..executed.clone()
        };
        assert!(may(&[&second], 3, &later));
        assert!(!may(&[&second, &executed], 3, &later));
    }

    #[test]
    fn executions_in_one_history_are_one_that_covers_all() {
        let first = Execution {
            server: SocketAddrV4::new([127, 0, 0, 1].into(), 6379),
            history: "old".into(),
            extent: extent(100, 140),
            is_answered: false,
        };
        let mut all = first.clone();
        let second = Execution {
            extent: extent(80, 160),
            ..first.clone()
        };
        assert!(all.widen(&second));
        assert_eq!(all, second);
        assert!(all.widen(&first));
        assert_eq!(all, second);
        let unlimited = Execution {
            extent: Extent {
                after: Some(90),
                upto: None,
            },
            ..first.clone()
        };
        assert!(all.widen(&unlimited));
        assert_eq!((all.extent.after, all.extent.upto), (Some(80), None));
        let answered = Execution {
            is_answered: true,
            ..first.clone()
        };
        let elsewhere = Execution {
            history: "new".into(),
            ..first
        };
        assert!(!all.widen(&answered) && !all.widen(&elsewhere));
    }

    #[test]
    fn a_command_without_an_answer_is_not_known_to_be_executed() {
        let server = SocketAddrV4::new([127, 0, 0, 1].into(), 6379);
        let old = ReplicationHistory {
            id: "old".into(),
            before: None,
        };
        let answered = Execution {
            server,
            history: "old".into(),
            extent: extent(100, 140),
            is_answered: true,
        };
        let unanswered = Execution {
            is_answered: false,
            ..answered.clone()
        };
        let has = |of: &[&Execution], history| {
            is_known_to_have_one_of(of.iter().copied(), server, history)
        };
        assert!(!has(&[], &old));
        assert!(!has(&[&unanswered], &old));
        assert!(has(&[&unanswered, &answered], &old));
        assert!(!has(&[&answered], &promoted()));
        // But it may be: it is not sent where that would be twice.
        assert!(!has_none_of([&unanswered], server, &old));
    }

    #[test]
    fn a_demoted_server_states_where_its_own_history_ended() {
        let demoted = promoted();
        assert_eq!(demoted.end_of("old"), Some(100));
        assert_eq!(demoted.end_of("new"), None);
        assert_eq!(ReplicationHistory::default().end_of(""), None);
    }

    #[test]
    fn a_write_across_the_end_or_of_another_history_is_unknown() {
        assert_eq!(
            promoted().survival("old", extent(99, 101)),
            Survival::Unknown
        );
        assert_eq!(
            promoted().survival("other", extent(0, 1)),
            Survival::Unknown
        );
        assert_eq!(promoted().survival("", extent(0, 1)), Survival::Unknown);
        let no_bounds = Extent {
            after: None,
            upto: None,
        };
        assert_eq!(promoted().survival("old", no_bounds), Survival::Unknown);
        assert_eq!(
            ReplicationHistory::default().survival("", no_bounds),
            Survival::Unknown
        );
    }
}
