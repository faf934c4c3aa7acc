//! The commands of a client from their receipt to their answers, by values.

use std::net::SocketAddrV4;

use bytes::Bytes;

use super::*;
use crate::protocol::history::Extent;
use crate::protocol::round::ConfirmedRounds;
use crate::proxy::kind::Topic;
use crate::proxy::sent::tests::request;

/// A pipeline of these commands, all sent.
fn sent(kinds: &[Kind]) -> Pipeline {
    let mut pipeline = Pipeline::default();
    for kind in kinds {
        pipeline.add_sent(Sent::new(request(*kind), 0));
    }
    pipeline
}

/// Receives answers before the round `before`.
fn receive(pipeline: &mut Pipeline, answers: &mut AnswerState, bytes: &[u8], before: u64) {
    pipeline.held().extend_from_slice(bytes);
    pipeline
        .assign(bytes.len(), before, Instant::now(), answers)
        .unwrap();
}

/// What is passed on once everything up to the round `through` is confirmed, and whether more
/// waits for a confirmation.
fn released(pipeline: &mut Pipeline, through: u64) -> (String, bool) {
    let mut out = BytesMut::new();
    let rounds = ConfirmedRounds {
        any: through,
        own: 0,
    };
    let is_confirmed = |sent: &Sent| sent.confirmed_by().is_confirmed(rounds);
    let awaited = pipeline.release(is_confirmed, |_| {}, &mut Carried::default(), &mut out);
    (
        String::from_utf8_lossy(&out).into_owned(),
        awaited.unwrap().is_some(),
    )
}

#[test]
fn an_answer_is_passed_on_when_it_is_confirmed_and_in_the_order_of_the_commands() {
    let mut pipeline = sent(&[Kind::Write, Kind::Read, Kind::Write]);
    let mut answers = AnswerState::default();
    receive(&mut pipeline, &mut answers, b"+OK\r\n$1\r\n", 3);
    receive(&mut pipeline, &mut answers, b"v\r\n", 4);
    assert_eq!(released(&mut pipeline, 2), (String::new(), true));
    assert_eq!(released(&mut pipeline, 3), ("+OK\r\n".into(), true));
    assert_eq!(released(&mut pipeline, 4), ("$1\r\nv\r\n".into(), false));
    assert!(pipeline.has_sent());
}

#[test]
fn a_message_is_no_answer_and_an_answer_to_no_command_is_an_error() {
    let mut pipeline = sent(&[Kind::Read]);
    let mut answers = AnswerState::default();
    let message = b">2\r\n+invalidate\r\n_\r\n";
    receive(&mut pipeline, &mut answers, message, 1);
    receive(&mut pipeline, &mut answers, b":1\r\n", 1);
    let text = format!("{}:1\r\n", String::from_utf8_lossy(message));
    assert_eq!(released(&mut pipeline, 1), (text, false));
    assert!(pipeline.is_empty());
    pipeline.held().extend_from_slice(b":2\r\n");
    assert!(pipeline.assign(4, 1, Instant::now(), &mut answers).is_err());
}

#[test]
fn an_array_before_a_subscription_is_no_message() {
    let mut pipeline = sent(&[Kind::Read, Kind::Subscribe(Topic::Channel)]);
    let mut answers = AnswerState::default();
    let array = "*2\r\n$7\r\nmessage\r\n$1\r\nx\r\n";
    receive(&mut pipeline, &mut answers, array.as_bytes(), 1);
    let subscribed = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    receive(&mut pipeline, &mut answers, subscribed.as_bytes(), 1);
    assert_eq!(
        released(&mut pipeline, 1),
        (format!("{array}{subscribed}"), false)
    );
    assert!(pipeline.is_empty());
    let message = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n";
    receive(&mut pipeline, &mut answers, message.as_bytes(), 1);
    assert_eq!(released(&mut pipeline, 1), (message.into(), false));
}

#[test]
fn a_message_that_is_longer_than_the_buffer_is_read_to_its_end() {
    let mut pipeline = Pipeline::default();
    let mut answers = AnswerState {
        has_subscribed: true,
        ..AnswerState::default()
    };
    let text = "m".repeat(2 * BUFFER_MAX);
    let message = format!(
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n{text}\r\n",
        text.len()
    );
    for part in message.as_bytes().chunks(16 * 1024) {
        assert!(pipeline.has_room_for_answers());
        receive(&mut pipeline, &mut answers, part, 1);
    }
    assert!(!pipeline.has_room_for_answers());
    assert_eq!(released(&mut pipeline, 1), (message, false));
}

#[test]
fn commands_take_room_until_they_are_over() {
    let long = || ClientRequest {
        command: Bytes::from(vec![b'x'; BUFFER_MAX / 2]),
        ..request(Kind::Write)
    };
    let mut pipeline = Pipeline::default();
    pipeline.add_waiting(long());
    assert!(pipeline.has_room());
    pipeline.add_waiting(long());
    assert!(!pipeline.has_room());
    while let Some(request) = pipeline.take_waiting() {
        pipeline.add_sent(Sent::new(request, 0));
    }
    assert!(!pipeline.has_room());
    let mut answers = AnswerState::default();
    receive(&mut pipeline, &mut answers, b"+OK\r\n", 1);
    assert_eq!(released(&mut pipeline, 0), (String::new(), true));
    assert!(!pipeline.has_room());
    assert_eq!(released(&mut pipeline, 1), ("+OK\r\n".into(), false));
    assert!(pipeline.has_room());
    // What is to be sent again takes room as before, and what is given up none.
    pipeline.add_waiting(long());
    pipeline.connection_lost();
    assert_eq!(pipeline.send_again(0, Instant::now(), executed), 1);
    assert!(!pipeline.has_room());
    assert_eq!(pipeline.take_all().len(), 2);
    assert_eq!((pipeline.waiting_bytes, pipeline.sent_bytes), (0, 0));
}

#[test]
fn of_what_is_kept_no_round_of_the_earlier_primary_is_used_for_a_later_one() {
    let mut pipeline = Pipeline::default();
    pipeline.add_sent(Sent::new(request(Kind::Write), 70));
    receive(&mut pipeline, &mut AnswerState::default(), b":1\r\n", 71);
    pipeline.connection_lost();
    assert_eq!(pipeline.send_again(1, Instant::now(), executed), 0);
    pipeline.confirm_again(|| 2);
    let rounds = |sent: &Sent| (sent.after, sent.before);
    let kept: Vec<_> = pipeline.sent.iter().map(rounds).collect();
    assert_eq!(kept, [(0, Some(2))]);
}

#[test]
fn a_transaction_that_is_not_executed_changes_no_session() {
    let select = || ClientRequest {
        command: Bytes::from_static(b"SELECT 3\r\n"),
        ..request(Kind::Select)
    };
    let restored_after = |exec: &[u8]| {
        let mut pipeline = sent(&[Kind::Multi]);
        pipeline.add_sent(Sent::new(select(), 0));
        pipeline.add_sent(Sent::new(request(Kind::Exec), 0));
        let mut answers = AnswerState::default();
        let text = [b"+OK\r\n+QUEUED\r\n", exec].concat();
        receive(&mut pipeline, &mut answers, &text, 1);
        let (mut carried, mut out) = (Carried::default(), BytesMut::new());
        pipeline
            .release(|_| true, |_| {}, &mut carried, &mut out)
            .unwrap();
        assert_eq!(out, text);
        let restoring = carried.restoring().into_iter();
        restoring.map(|(kind, _)| kind).collect::<Vec<_>>()
    };
    assert_eq!(restored_after(b"*1\r\n+OK\r\n"), [Kind::Select]);
    for exec in [&b"*-1\r\n"[..], b"_\r\n", b"-EXECABORT no\r\n"] {
        assert_eq!(restored_after(exec), [], "{exec:?}");
    }
}

#[test]
fn what_is_sent_again_keeps_its_order_and_leaves_no_bytes() {
    let mut pipeline = sent(&[Kind::Write, Kind::Read, Kind::Read]);
    pipeline.add_waiting(request(Kind::Write));
    let mut answers = AnswerState {
        has_subscribed: true,
        ..AnswerState::default()
    };
    let message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n";
    receive(&mut pipeline, &mut answers, b":1\r\n:2\r\n", 1);
    receive(&mut pipeline, &mut answers, message, 1);
    pipeline.connection_lost();
    assert_eq!(pipeline.send_again(1, Instant::now(), executed), 2);
    let waiting: Vec<_> = std::iter::from_fn(|| pipeline.take_waiting()).collect();
    let kinds: Vec<_> = waiting.iter().map(|request| request.kind).collect();
    assert_eq!(kinds, [Kind::Read, Kind::Read, Kind::Write]);
    assert_eq!(released(&mut pipeline, 1), (":1\r\n".into(), false));
    assert!(pipeline.is_empty() && pipeline.held.is_empty());
}

#[test]
fn a_write_of_which_a_part_was_not_sent_was_not_executed() {
    // Three commands of one byte each; the last byte was not sent.
    let mut pipeline = sent(&[Kind::Write, Kind::Write, Kind::Write]);
    pipeline.not_sent(1);
    let lost = pipeline.judge(|_| Survival::Unknown);
    assert!(lost.is_unknown);
    assert!(pipeline.awaits_answer_to_write());
    let mut answers = AnswerState::default();
    receive(
        &mut pipeline,
        &mut answers,
        b"-READONLY\r\n-READONLY\r\n",
        1,
    );
    assert!(!pipeline.awaits_answer_to_write());
    let lost = pipeline.judge(|_| Survival::Unknown);
    assert_eq!((lost.kept, lost.is_unknown), (0, false));
    assert_eq!(pipeline.send_again(0, Instant::now(), executed), 3);
    assert_eq!(pipeline.earlier_executions().count(), 0);
}

/// Where a command was executed, if it was.
fn executed(_: &Sent) -> Execution {
    Execution {
        server: SocketAddrV4::new([127, 0, 0, 11].into(), 6379),
        history: "old".into(),
        extent: Extent {
            after: Some(1),
            upto: None,
        },
        is_answered: false,
    }
}

#[test]
fn every_execution_of_a_write_that_is_sent_again_is_remembered() {
    let mut pipeline = sent(&[Kind::Read, Kind::Write, Kind::Write, Kind::Write]);
    assert!(!pipeline.is_unexecuted());
    // The last one is refused.
    pipeline.not_sent(1);
    pipeline.connection_lost();
    pipeline.send_again(0, Instant::now(), executed);
    assert_eq!(pipeline.earlier_executions().count(), 2);
    // None of them is sent now, but an earlier primary may have executed two.
    assert!(!pipeline.is_unexecuted());
    let again: Vec<_> = std::iter::from_fn(|| pipeline.take_waiting()).collect();
    for request in again {
        pipeline.add_sent(Sent::new(request, 0));
    }
    // The next primary refuses them all: it has executed none, and the one before it two.
    let mut answers = AnswerState::default();
    let refusals = b"-READONLY\r\n".repeat(4);
    receive(&mut pipeline, &mut answers, &refusals, 1);
    assert!(!pipeline.is_unexecuted());
    pipeline.connection_lost();
    pipeline.send_again(0, Instant::now(), executed);
    assert_eq!(pipeline.earlier_executions().count(), 2);
}

#[test]
fn a_write_that_was_only_refused_was_executed_nowhere() {
    let mut pipeline = sent(&[Kind::Write]);
    let mut answers = AnswerState::default();
    receive(&mut pipeline, &mut answers, b"-READONLY\r\n", 1);
    assert!(pipeline.is_unexecuted());
    pipeline.send_again(0, Instant::now(), executed);
    assert!(pipeline.is_unexecuted());
}

#[test]
fn a_read_without_an_answer_leaves_nothing_open() {
    let mut pipeline = sent(&[Kind::Read, Kind::Write, Kind::Read]);
    let mut answers = AnswerState::default();
    receive(&mut pipeline, &mut answers, b":1\r\n", 1);
    assert!(pipeline.awaits_answer_to_write());
    receive(&mut pipeline, &mut answers, b":1\r\n", 1);
    assert!(!pipeline.awaits_answer_to_write());
}

/// A command, sent as the client would.
fn of(kind: Kind, command: &'static str) -> ClientRequest {
    let command = Bytes::from_static(command.as_bytes());
    ClientRequest {
        command,
        ..request(kind)
    }
}

/// A script may be executed by a replica, and `SETNX` may find nothing to change.
#[test]
fn only_a_change_of_data_is_known_to_be_in_the_replication_stream() {
    let answered = |requests: Vec<ClientRequest>, bytes: &str| -> bool {
        let mut pipeline = Pipeline::default();
        for request in requests {
            pipeline.add_sent(Sent::new(request, 0));
        }
        let mut answers = AnswerState::default();
        receive(&mut pipeline, &mut answers, bytes.as_bytes(), 1);
        pipeline.sent.back().unwrap().has_changed_data()
    };
    let write = |command| vec![of(Kind::Write, command)];
    assert!(answered(write("SET k v\r\n"), "+OK\r\n"));
    assert!(!answered(write("SET k v NX\r\n"), "+OK\r\n"));
    assert!(!answered(write("SET k v\r\n"), "-NOPERM no\r\n"));
    assert!(!answered(write("GETSET k v\r\n"), "$5\r\nha"));
    assert!(answered(write("SETNX k v\r\n"), ":1\r\n"));
    assert!(!answered(write("SETNX k v\r\n"), ":0\r\n"));
    assert!(!answered(
        vec![of(Kind::MayWrite, "EVAL x 0\r\n")],
        "+OK\r\n"
    ));
    assert!(!answered(vec![of(Kind::Read, "GET k\r\n")], "$1\r\nv\r\n"));

    let transaction = |kind, command| {
        vec![
            of(Kind::Multi, "MULTI\r\n"),
            of(kind, command),
            of(Kind::Exec, "EXEC\r\n"),
        ]
    };
    let executed = "+OK\r\n+QUEUED\r\n*1\r\n:1\r\n";
    let with_change = || transaction(Kind::Write, "INCR k\r\n");
    let without = || transaction(Kind::MayWrite, "EVAL x 0\r\n");
    assert!(answered(with_change(), executed));
    assert!(!answered(with_change(), "+OK\r\n+QUEUED\r\n*-1\r\n"));
    let failed = "+OK\r\n+QUEUED\r\n*1\r\n-WRONGTYPE no number\r\n";
    assert!(!answered(with_change(), failed));
    assert!(!answered(without(), executed));
    // The changes of an earlier transaction do not count.
    let both = [with_change(), without()].concat();
    assert!(!answered(both, &executed.repeat(2)));
}

/// A server that refuses a write as a replica has changed nothing since.
#[test]
fn what_follows_a_refused_write_was_not_executed_either() {
    let mut pipeline = sent(&[Kind::Write, Kind::MayWrite]);
    let refused = b"-READONLY You can't write against a read only replica.\r\n:0\r\n";
    receive(&mut pipeline, &mut AnswerState::default(), refused, 1);
    let outcome = pipeline.judge(|_| Survival::Survived);
    assert_eq!((outcome.kept, outcome.is_unknown), (0, false));
}

/// Such an error may be one of the application's own, from a script.
#[test]
fn a_refusal_is_an_answer_once_it_is_confirmed_that_the_primary_gave_it() {
    let mut pipeline = sent(&[Kind::MayWrite, Kind::Read]);
    let mut answers = AnswerState::default();
    receive(&mut pipeline, &mut answers, b"-READONLY shop\r\n:1\r\n", 2);
    assert_eq!(released(&mut pipeline, 1), (String::new(), true));
    let found = released(&mut pipeline, 2);
    assert_eq!(found, ("-READONLY shop\r\n:1\r\n".into(), false));
}

/// The words decide where a client may choose the error.
#[test]
fn only_an_error_of_a_server_that_is_no_primary_is_a_refusal() {
    let is_refused = |kind, answer: &str| {
        let mut pipeline = sent(&[kind]);
        receive(
            &mut pipeline,
            &mut AnswerState::default(),
            answer.as_bytes(),
            1,
        );
        pipeline.sent[0].is_refused
    };
    let native = "-READONLY You can't write against a read only replica.\r\n";
    for kind in [Kind::Read, Kind::Write, Kind::MayWrite] {
        assert!(is_refused(kind, native), "{kind:?}");
    }
    let forced = "-UNBLOCKED force unblock from blocking operation, instance state changed\r\n";
    assert!(is_refused(Kind::Write, forced));
    // By `CLIENT UNBLOCK`.
    assert!(!is_refused(
        Kind::Write,
        "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"
    ));
    assert!(is_refused(
        Kind::Exec,
        "-EXECABORT Transaction discarded because of: READONLY no\r\n"
    ));
    // By a script, `EVAL` or `EVAL_RO`.
    for kind in [Kind::Read, Kind::MayWrite] {
        assert!(
            !is_refused(kind, "-READONLY the shop is closed\r\n"),
            "{kind:?}"
        );
    }
}

#[test]
fn a_command_that_is_sent_again_and_again_grows_no_memory_and_is_timed() {
    let mut pipeline = sent(&[Kind::Write]);
    assert_eq!(pipeline.again_since(), None);
    for _ in 0..3 {
        pipeline.connection_lost();
        pipeline.send_again(0, Instant::now(), executed);
        assert_eq!(pipeline.earlier_executions().count(), 1);
        assert!(pipeline.again_since().is_some());
        let request = pipeline.take_waiting().unwrap();
        pipeline.add_sent(Sent::new(request, 0));
    }
    let since = pipeline.again_since();
    pipeline.connection_lost();
    pipeline.send_again(0, Instant::now(), executed);
    assert_eq!(pipeline.again_since(), since);
    pipeline.attempt_was_long();
    assert_eq!(pipeline.again_since(), None);
}

/// The questions of a round.
fn questions() -> Sent {
    let questions = ClientRequest {
        purpose: Purpose::Confirm,
        ..request(Kind::Read)
    };
    Sent::new(questions, 0)
}

#[test]
fn what_is_sent_behind_refused_questions_was_not_executed() {
    let mut pipeline = sent(&[Kind::Write]);
    pipeline.add_sent(questions());
    pipeline.add_sent(Sent::new(request(Kind::Write), 0));
    let mut answers = AnswerState::default();
    let refused = "-UNBLOCKED force unblock from blocking operation, instance state changed\r\n";
    let text = format!("+OK\r\n{refused}");
    receive(&mut pipeline, &mut answers, text.as_bytes(), 1);
    pipeline.connection_lost();
    let unknown: Vec<_> = may_be_executed(&pipeline.sent).collect();
    assert_eq!(unknown, [true, false]);
    // The control.
    let mut pipeline = sent(&[Kind::Write]);
    pipeline.add_sent(questions());
    pipeline.add_sent(Sent::new(request(Kind::Write), 0));
    receive(&mut pipeline, &mut AnswerState::default(), b"+OK\r\n", 1);
    pipeline.connection_lost();
    let unknown: Vec<_> = may_be_executed(&pipeline.sent).collect();
    assert_eq!(unknown, [true, true]);
}

#[test]
fn questions_wait_for_no_confirmation_themselves() {
    let mut pipeline = sent(&[Kind::Write]);
    pipeline.add_sent(questions());
    let mut answers = AnswerState::default();
    receive(&mut pipeline, &mut answers, b"+OK\r\n", 1);
    assert_eq!(pipeline.answers_held(), 1);
    assert_eq!(released(&mut pipeline, 1), ("+OK\r\n".into(), false));
    receive(&mut pipeline, &mut answers, b":1\r\n", 2);
    assert!(answers.to_round.is_some());
    assert_eq!(pipeline.answers_held(), 0);
    assert_eq!(released(&mut pipeline, 1), (String::new(), false));
    assert!(pipeline.is_empty());
}
