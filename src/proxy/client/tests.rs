//! Clients while there is no primary, and when it changes.

use std::collections::BTreeSet;
use std::net::{SocketAddr, SocketAddrV4};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::client::Connector;
use crate::config::{Lab, Unanswered};
use crate::protocol::history::ReplicationHistory;
use crate::proxy::carried::encoded;
use crate::proxy::kind::Topic;
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::{ProxyOptions, example_options};

use super::*;

/// How long a command waits for a primary.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(20);

/// A client of a proxy that has no primary.
struct Connected {
    stream: TcpStream,
    task: JoinHandle<End>,
    /// Dropped by a proxy that ends.
    sessions: watch::Sender<Option<Arc<Session>>>,
}

impl Connected {
    async fn with(carried: Carried) -> Self {
        Self::with_options(carried, without_primary()).await
    }

    async fn with_options(carried: Carried, options: ProxyOptions) -> Self {
        let lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
        let (sessions, receiver) = watch::channel(None);
        let shared = Arc::new(Shared {
            connector: Connector::new(&lab, User::Proxy).without_login(),
            own: Connector::new(&lab, User::Proxy),
            applications: BTreeSet::new(),
            sessions: receiver,
            options,
            stop: CancellationToken::new(),
            metrics: ProxyMetrics::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let task = ClientTask {
            carried,
            ..ClientTask::new(shared, Either::Left(accepted))
        };
        Connected {
            stream,
            task: tokio::spawn(task.run()),
            sessions,
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn expect(&mut self, text: &str) {
        let mut answer = vec![0; text.len()];
        let read = timeout(SOON, self.stream.read_exact(&mut answer)).await;
        read.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), text);
    }

    /// All that is answered until the connection ends, and why it has ended.
    async fn rest(mut self) -> (String, End) {
        let mut text = String::new();
        let read = timeout(SOON, self.stream.read_to_string(&mut text)).await;
        read.unwrap().unwrap();
        (text, timeout(SOON, self.task).await.unwrap().unwrap())
    }
}

fn without_primary() -> ProxyOptions {
    ProxyOptions {
        patience: PATIENCE,
        ..example_options()
    }
}

fn with_primary(unanswered: Unanswered) -> ProxyOptions {
    ProxyOptions {
        patience: SOON,
        unanswered,
        ..example_options()
    }
}

/// The session of a client with a subscription.
fn subscribed() -> Carried {
    let mut carried = Carried::default();
    let words: [&[u8]; 2] = [b"SUBSCRIBE", b"c"];
    let command = encoded(&words);
    carried.executed(Kind::Subscribe(Topic::Channel), &command, &words);
    carried
}

const NO_PRIMARY: &str = "-NOPRIMARY no primary for 0.2 s; the command was not executed\r\n";

#[tokio::test]
async fn an_error_of_the_protocol_is_not_taken_for_the_answer_to_an_earlier_command() {
    let mut client = Connected::with(Carried::default()).await;
    client.send("SET k v\r\n*1\r\n$2000\r\n").await;
    let (text, end) = client.rest().await;
    let error = "-ERR Protocol error: the command is longer than the proxy accepts\r\n";
    assert_eq!(text, format!("{NO_PRIMARY}{error}"));
    assert!(matches!(end, End::BadCommand(BadCommand::TooLong)), "{end}");
}

#[tokio::test]
async fn an_error_of_the_protocol_alone_needs_no_primary() {
    let mut client = Connected::with(Carried::default()).await;
    client.send("*x\r\n").await;
    let (text, end) = client.rest().await;
    assert_eq!(text, "-ERR Protocol error: invalid multibulk length\r\n");
    assert!(matches!(end, End::BadCommand(BadCommand::WordCount)));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_waits_for_a_primary_as_long_as_it_takes() {
    let client = Connected::with(subscribed()).await;
    sleep(10 * PATIENCE).await;
    assert!(!client.task.is_finished());
    // Whoever waits for a primary sees that there will be none.
    drop(client.sessions);
    let end = timeout(SOON, client.task).await.unwrap().unwrap();
    assert!(matches!(end, End::Closed), "{end}");
}

#[tokio::test]
async fn a_subscriber_that_waits_is_answered_and_its_end_is_noticed() {
    let mut client = Connected::with(subscribed()).await;
    for _ in 0..2 {
        client.send("PING\r\n").await;
        client.expect(NO_PRIMARY).await;
    }
    let Connected { stream, task, .. } = client;
    drop(stream);
    let end = timeout(SOON, task).await.unwrap().unwrap();
    assert!(matches!(end, End::Closed), "{end}");
}

/// Stands for the server of a data node: it accepts connections, and takes a command.
struct Server {
    listener: TcpListener,
    address: SocketAddrV4,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("an address of version 4 was asked for");
        };
        Server { listener, address }
    }

    /// The next connection, once `SET` was sent over it.
    async fn takes_set(&self) -> TcpStream {
        let mut stream = self.accepted().await;
        takes(&mut stream, SET).await;
        stream
    }

    async fn accepted(&self) -> TcpStream {
        let accepted = timeout(SOON, self.listener.accept()).await;
        let (stream, _) = accepted.unwrap().unwrap();
        // As a server, so that a second answer does not wait for the first to be received.
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A session with it as the primary, in the history `id`, at offset 100.
    fn session(&self, id: &str, before: Option<(&str, u64)>) -> Arc<Session> {
        let history = ReplicationHistory {
            id: id.into(),
            before: before.map(|(id, until)| (id.into(), until)),
        };
        Arc::new(Session::example(self.address, history, 100))
    }
}

const SET: &str = "SET k v\r\n";

/// Reads a command as a server.
async fn takes(stream: &mut TcpStream, command: &str) {
    let mut taken = vec![0; command.len()];
    let read = timeout(SOON, stream.read_exact(&mut taken)).await;
    read.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&taken), command);
}

/// A client whose primary has closed the connection in place of an answer to `SET`.
async fn unanswered(server: &Server, options: ProxyOptions) -> Connected {
    let mut client = Connected::with_options(Carried::default(), options).await;
    client
        .sessions
        .send_replace(Some(server.session("old", None)));
    client.send(SET).await;
    drop(server.takes_set().await);
    client
}

#[tokio::test]
async fn a_write_without_an_answer_disconnects_the_client() {
    let server = Server::start().await;
    let client = unanswered(&server, with_primary(Unanswered::Disconnect)).await;
    let (text, end) = client.rest().await;
    assert_eq!(text, "");
    assert!(matches!(end, End::Unknown), "{end}");
}

/// Also to the server to which it was sent: only its connection may be lost.
#[tokio::test]
async fn with_retry_a_write_without_an_answer_is_sent_again() {
    let server = Server::start().await;
    let mut client = unanswered(&server, with_primary(Unanswered::Retry)).await;
    drop(server.takes_set().await);
    let mut stream = server.takes_set().await;
    // An error needs no confirmation by this session's rounds, which nobody asks for.
    stream.write_all(b"-ERR no\r\n").await.unwrap();
    let ended = timeout(2 * PATIENCE, &mut client.task).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn with_retry_connections_that_break_again_and_again_end_the_client() {
    let server = Server::start().await;
    let options = ProxyOptions {
        unanswered: Unanswered::Retry,
        ..without_primary()
    };
    let mut client = unanswered(&server, options).await;
    let ended = timeout(SOON, async {
        loop {
            tokio::select! {
                end = &mut client.task => return end.unwrap(),
                mut stream = server.accepted() => {
                    // At the end, the client's task gives up before it has sent anything.
                    let mut command = [0; SET.len()];
                    let _ = timeout(SOON, stream.read_exact(&mut command)).await;
                }
            }
        }
    });
    let end = ended.await.unwrap();
    assert!(matches!(end, End::Unknown), "{end}");
}

/// Nil would mean that the transaction was not executed.
#[tokio::test]
async fn with_retry_a_transaction_with_a_watch_that_may_be_executed_is_not_denied() {
    let server = Server::start().await;
    let options = ProxyOptions {
        policy: crate::protocol::ack::Policy::None,
        ..with_primary(Unanswered::Retry)
    };
    let mut client = Connected::with_options(Carried::default(), options).await;
    client
        .sessions
        .send_replace(Some(server.session("old", None)));
    client.send("WATCH k\r\n").await;
    let mut stream = server.accepted().await;
    for (command, answer, next) in [
        ("WATCH k\r\n", "+OK\r\n", "MULTI\r\n"),
        ("MULTI\r\n", "+OK\r\n", SET),
        (SET, "+QUEUED\r\n", "EXEC\r\n"),
    ] {
        takes(&mut stream, command).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        client.expect(answer).await;
        client.send(next).await;
    }
    takes(&mut stream, "EXEC\r\n").await;
    drop(stream);
    let (text, end) = client.rest().await;
    assert_eq!(text, "");
    assert!(matches!(end, End::Unknown), "{end}");
}

/// A primary has executed a write, a second one is promoted without it, and is demoted before it
/// executes it. The first one goes on, with the write.
#[tokio::test]
async fn a_write_is_not_sent_to_a_primary_that_has_it() {
    for rule in [Unanswered::Disconnect, Unanswered::Retry] {
        let (first, second) = (Server::start().await, Server::start().await);
        let mut client = Connected::with_options(Carried::default(), with_primary(rule)).await;
        let old = first.session("old", None);
        client.sessions.send_replace(Some(old.clone()));
        client.send(SET).await;
        let mut to_first = first.takes_set().await;
        to_first.write_all(b"+OK\r\n").await.unwrap();
        // The answer is read, and not confirmed.
        old.more_answered(0).await;

        let new = second.session("new", Some(("old", 101)));
        client.sessions.send_replace(Some(new.clone()));
        old.end();
        let mut to_second = second.takes_set().await;
        to_second.write_all(b"-READONLY\r\n").await.unwrap();
        let again = first.session("old", None);
        client.sessions.send_replace(Some(again));
        new.end();
        let (text, end) = client.rest().await;
        assert_eq!(text, "", "{rule:?}");
        assert!(matches!(end, End::Unknown), "{rule:?}: {end}");
    }
}

/// The questions of the round with that number, as a server receives them, if its message is waited
/// for.
fn questions_by_message(round: u64) -> String {
    let message = format!("w{round} token");
    let length = message.len();
    format!(
        "*1\r\n$4\r\nROLE\r\n*3\r\n$7\r\nPUBLISH\r\n$19\r\nhalab:round:example\r\n\
         ${length}\r\n{message}\r\n"
    )
}

/// The questions of a round whose message is not.
fn questions(round: u64) -> String {
    let wait = "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$2\r\n50\r\n*1\r\n$4\r\nROLE\r\n";
    questions_by_message(round) + wait
}

/// The answers to them: the primary was at offset 100, and the replica has confirmed `confirmed`.
fn answers(confirmed: u64) -> String {
    let role = |confirmed: u64| {
        let text = confirmed.to_string();
        let digits = text.len();
        format!(
            "*3\r\n$6\r\nmaster\r\n:100\r\n*1\r\n\
             *3\r\n$9\r\n192.0.2.1\r\n$4\r\n6379\r\n${digits}\r\n{text}\r\n"
        )
    };
    format!("{}:0\r\n:1\r\n{}", role(90), role(confirmed))
}

/// A client with an anchored connection to its primary, its session, and the server's end.
async fn anchored(server: &Server) -> (Connected, Arc<Session>, TcpStream) {
    let options = with_primary(Unanswered::Disconnect);
    let mut client = Connected::with_options(Carried::default(), options).await;
    let session = server.session("old", None);
    client.sessions.send_replace(Some(session.clone()));
    client.send("GET k\r\n").await;
    let mut stream = server.accepted().await;
    // Without questions: it is not known yet that the keeper's connection is intact.
    takes(&mut stream, "GET k\r\n").await;
    stream.write_all(b"$-1\r\n").await.unwrap();
    session.more_answered(0).await;
    session.keeper_round(100);
    client.expect("$-1\r\n").await;
    (client, session, stream)
}

/// A client with an anchored connection whose `SET` was sent with the questions of a round, and to
/// which the server has answered `text`.
async fn asked_behind_set(server: &Server, text: &str) -> (Connected, Arc<Session>, TcpStream) {
    let (mut client, session, mut stream) = anchored(server).await;
    client.send(SET).await;
    takes(&mut stream, &format!("{SET}{}", questions(3))).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    (client, session, stream)
}

/// Waits until the keeper has to ask.
async fn keeper_is_asked(session: &Session) {
    let asked = async {
        while !session.asks_keeper() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, asked).await.unwrap();
}

#[tokio::test]
async fn a_client_alone_is_confirmed_on_its_own_connection() {
    let server = Server::start().await;
    let (mut client, session, mut stream) = anchored(&server).await;
    for (round, command, answer) in [(3, SET, "+OK\r\n"), (4, "GET k\r\n", "$1\r\nv\r\n")] {
        client.send(command).await;
        takes(&mut stream, &format!("{command}{}", questions(round))).await;
        let text = format!("{answer}{}", answers(101));
        stream.write_all(text.as_bytes()).await.unwrap();
        client.expect(answer).await;
        assert!(!session.asks_keeper());
    }
}

/// The answers to the questions of a round whose message is waited for.
fn answers_by_message() -> String {
    answers(101)[..answers(101).find(":1\r\n").unwrap()].to_owned()
}

/// The message may arrive before the answers, or after them.
#[tokio::test]
async fn a_round_is_confirmed_by_its_message_from_every_other_data_node() {
    let server = Server::start().await;
    let (mut client, session, mut stream) = anchored(&server).await;
    session.message_arrives("k2 token");
    for (number, message_is_first) in [(3, true), (4, false), (5, true)] {
        let message = format!("w{number} token");
        client.send(SET).await;
        let questions = questions_by_message(number);
        takes(&mut stream, &format!("{SET}{questions}")).await;
        if message_is_first {
            session.message_arrives(&message);
        }
        stream.write_all(b"+OK\r\n").await.unwrap();
        if !message_is_first {
            stream
                .write_all(answers_by_message().as_bytes())
                .await
                .unwrap();
            is_held(&mut client).await;
            session.message_arrives(&message);
        }
        client.expect("+OK\r\n").await;
        if message_is_first {
            stream
                .write_all(answers_by_message().as_bytes())
                .await
                .unwrap();
        }
        assert!(!session.asks_keeper());
        // The answers to the questions are read before the next command is sent.
        while session.asks_own_rounds() {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Nothing is passed on to the client for some time.
async fn is_held(client: &mut Connected) {
    let mut byte = [0];
    let early = timeout(Duration::from_millis(5), client.stream.read(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
}

/// Its number may be higher, and yet the primary may have executed it before the command.
#[tokio::test]
async fn no_other_round_that_began_before_the_answer_confirms_it() {
    let server = Server::start().await;
    let (mut client, session, mut stream) = anchored(&server).await;
    session.message_arrives("k2 token");
    client.send(SET).await;
    takes(&mut stream, &format!("{SET}{}", questions_by_message(3))).await;
    let answered = session.answered_so_far();
    // Round 4.
    session.keeper_round(100);
    session.message_arrives("w4 token");
    stream.write_all(b"+OK\r\n").await.unwrap();
    session.more_answered(answered).await;
    is_held(&mut client).await;
    session.message_arrives("w3 token");
    client.expect("+OK\r\n").await;
}

/// The same, if the round on its own connection confirms nothing.
#[tokio::test]
async fn after_a_round_that_is_not_permitted_only_a_later_one_confirms() {
    let server = Server::start().await;
    let (mut client, session, mut stream) = anchored(&server).await;
    session.message_arrives("k2 token");
    client.send(SET).await;
    takes(&mut stream, &format!("{SET}{}", questions_by_message(3))).await;
    session.keeper_round(100);
    let text = format!("+OK\r\n{}", "-NOPERM no\r\n".repeat(2));
    stream.write_all(text.as_bytes()).await.unwrap();
    keeper_is_asked(&session).await;
    session.message_arrives("w3 token");
    is_held(&mut client).await;
    session.keeper_round(100);
    client.expect("+OK\r\n").await;
}

#[tokio::test]
async fn a_message_that_does_not_arrive_is_not_waited_for_alone() {
    let server = Server::start().await;
    let (mut client, session, mut stream) = anchored(&server).await;
    session.message_arrives("k2 token");
    client.send(SET).await;
    takes(&mut stream, &format!("{SET}{}", questions_by_message(3))).await;
    let text = format!("+OK\r\n{}", answers_by_message());
    stream.write_all(text.as_bytes()).await.unwrap();
    session.message_arrives("w2 token");
    keeper_is_asked(&session).await;
    is_held(&mut client).await;
    session.keeper_round(100);
    client.expect("+OK\r\n").await;
}

#[tokio::test]
async fn a_client_that_has_gone_is_not_woken() {
    let server = Server::start().await;
    let (client, session, _stream) = asked_behind_set(&server, "+OK\r\n").await;
    let tasks_become = async |count| {
        while session.tasks_waiting() != count {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, tasks_become(1)).await.unwrap();
    drop(client);
    timeout(SOON, tasks_become(0)).await.unwrap();
}

/// A confirmation of no more than the offset at the beginning of the round may be older than it.
#[tokio::test]
async fn a_round_that_no_replica_confirms_confirms_nothing_and_the_keeper_is_asked() {
    let server = Server::start().await;
    let text = format!("+OK\r\n{}", answers(100));
    let (mut client, session, _stream) = asked_behind_set(&server, &text).await;
    keeper_is_asked(&session).await;
    let mut byte = [0];
    let read = timeout(PATIENCE, client.stream.read(&mut byte)).await;
    assert!(read.is_err(), "{read:?}");
    session.keeper_round(100);
    client.expect("+OK\r\n").await;
}

#[tokio::test]
async fn a_round_that_takes_long_is_not_waited_for_alone() {
    let server = Server::start().await;
    let (mut client, session, mut stream) = asked_behind_set(&server, "+OK\r\n").await;
    keeper_is_asked(&session).await;
    session.keeper_round(100);
    client.expect("+OK\r\n").await;
    // Its answers are not taken for those to the next command.
    client.send("GET k\r\n").await;
    takes(&mut stream, "GET k\r\n").await;
    let text = format!("{}$1\r\nv\r\n", answers(101));
    stream.write_all(text.as_bytes()).await.unwrap();
    keeper_is_asked(&session).await;
    session.keeper_round(101);
    client.expect("$1\r\nv\r\n").await;
}

#[tokio::test]
async fn a_user_that_may_not_ask_is_confirmed_by_the_keeper() {
    let server = Server::start().await;
    let text = format!("+OK\r\n{}", "-NOPERM no\r\n".repeat(4));
    let (mut client, session, mut stream) = asked_behind_set(&server, &text).await;
    for next in [SET, "GET k\r\n"] {
        keeper_is_asked(&session).await;
        session.keeper_round(100);
        client.expect("+OK\r\n").await;
        // No questions again.
        client.send(next).await;
        takes(&mut stream, next).await;
        stream.write_all(b"+OK\r\n").await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_is_confirmed_behind_its_end() {
    let server = Server::start().await;
    let (mut client, session, mut stream) = anchored(&server).await;
    for (command, answer) in [("MULTI\r\n", "+OK\r\n"), (SET, "+QUEUED\r\n")] {
        client.send(command).await;
        takes(&mut stream, command).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        keeper_is_asked(&session).await;
        session.keeper_round(100);
        client.expect(answer).await;
    }
    client.send("EXEC\r\n").await;
    takes(&mut stream, &format!("EXEC\r\n{}", questions(5))).await;
    let text = format!("*1\r\n+OK\r\n{}", answers(101));
    stream.write_all(text.as_bytes()).await.unwrap();
    client.expect("*1\r\n+OK\r\n").await;
}

/// Messages could come between the answers to the questions.
#[tokio::test]
async fn a_transaction_with_a_subscription_is_confirmed_by_the_keeper_and_so_is_all_after_it() {
    let server = Server::start().await;
    let (mut client, session, mut stream) = anchored(&server).await;
    let subscribed = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    let unsubscribed = "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n";
    for (command, answer) in [
        ("MULTI\r\n", "+OK\r\n"),
        ("SUBSCRIBE c\r\n", "+QUEUED\r\n"),
        ("EXEC\r\n", &format!("*1\r\n{subscribed}")),
        ("UNSUBSCRIBE c\r\n", unsubscribed),
        ("GET k\r\n", "$-1\r\n"),
    ] {
        client.send(command).await;
        takes(&mut stream, command).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        keeper_is_asked(&session).await;
        session.keeper_round(100);
        client.expect(answer).await;
    }
}

/// The answers to the questions come behind them, and there is no room.
#[tokio::test]
async fn answers_that_are_too_long_to_be_held_are_confirmed_by_the_keeper() {
    let server = Server::start().await;
    let (mut client, session, mut stream) = anchored(&server).await;
    let text = "v".repeat(BUFFER_MAX / 2 + 1);
    let answer = format!("${}\r\n{text}\r\n", text.len()).repeat(2);
    for questions in [questions(3), String::new()] {
        client.send("GET k\r\nGET k\r\n").await;
        takes(&mut stream, &format!("GET k\r\nGET k\r\n{questions}")).await;
        let (mut to_proxy, answers) = (stream, format!("{answer}{}", answers(101)));
        let length = match questions.is_empty() {
            true => answer.len(),
            false => answers.len(),
        };
        // More than the proxy takes before it passes something on.
        let writing = tokio::spawn(async move {
            to_proxy
                .write_all(&answers.as_bytes()[..length])
                .await
                .unwrap();
            to_proxy
        });
        let received = client.expect(&answer);
        let rounds = async {
            loop {
                keeper_is_asked(&session).await;
                session.keeper_round(101);
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = received => {}
            () = rounds => {}
        }
        stream = writing.await.unwrap();
    }
}
