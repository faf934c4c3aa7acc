//! The work of one client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::{ClientError, Conn, classify};
use crate::linearizability::{Method, Returned};
use crate::protocol::{Fate, WriteError};

use super::calls::{Choice, NextCall};
use super::commands::{self, Executed};
use super::recorder::{CallEnd, Recorder};
use super::route::ClientConnector;

/// Longest pause of a client between two calls. Many clients that do not pause would fill the
/// recording, and take the time of the servers, without showing more.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// Pause after a connection that could not be opened.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);

/// One client.
pub(super) struct Application {
    connector: ClientConnector,
    recorder: Arc<Recorder>,
    rng: StdRng,
    stop: CancellationToken,
    /// Its number; another one with each connection.
    number: u64,
    /// The value that it has read last in each register.
    seen: HashMap<usize, u64>,
}

/// The connection can't be used any more.
struct Broken;

impl Application {
    pub(super) fn new(
        connector: ClientConnector,
        recorder: Arc<Recorder>,
        rng: StdRng,
        stop: CancellationToken,
    ) -> Self {
        Application {
            connector,
            recorder,
            rng,
            stop,
            number: 0,
            seen: HashMap::new(),
        }
    }

    /// Makes calls until it is stopped; with `reads`, none that changes anything.
    pub(super) async fn run(mut self, reads: bool) {
        while let Some(mut conn) = self.connected().await {
            while let Ok(()) = self.next_call(&mut conn, reads).await {
                let pause = self.rng.random_range(Duration::ZERO..=LONGEST_PAUSE);
                sleep(pause).await;
                if self.stop.is_cancelled() {
                    return;
                }
            }
        }
    }

    /// Reads every object once. Ends when all were read.
    pub(super) async fn read_all(mut self) {
        let mut object = 0;
        while let Some(mut conn) = self.connected().await {
            while let Some(shared) = self.recorder.objects.get(object) {
                let method = shared.reading();
                match self.command(&mut conn, object, &method).await {
                    Ok(Some(_)) => object += 1,
                    Ok(None) => sleep(CONNECT_PAUSE).await,
                    Err(Broken) => break,
                }
            }
            if object == self.recorder.objects.len() {
                return;
            }
        }
    }

    /// Opens a connection, as another client. None when it is stopped.
    async fn connected(&mut self) -> Option<Conn> {
        while !self.stop.is_cancelled() {
            if let Some(conn) = self.connector.open().await {
                self.number = self.recorder.new_client();
                return Some(conn);
            }
            sleep(CONNECT_PAUSE).await;
        }
        None
    }

    async fn next_call(&mut self, conn: &mut Conn, reads: bool) -> Result<(), Broken> {
        let object = self.rng.random_range(0..self.recorder.objects.len());
        let choice = Choice {
            reads,
            random: self.rng.random(),
            new: self.recorder.new_value(),
            seen: self.seen.get(&object).copied(),
        };
        match self.recorder.objects[object].next(choice) {
            NextCall::Command(method) => self.command(conn, object, &method).await.map(drop),
            NextCall::Transaction(new) => self.transaction(conn, object, new).await,
        }
    }

    /// Makes a call of one command. Returns its answer; none if it was not executed.
    async fn command(
        &mut self,
        conn: &mut Conn,
        object: usize,
        method: &Method,
    ) -> Result<Option<Returned>, Broken> {
        let shared = &self.recorder.objects[object];
        let cmd = commands::command(&shared.key, method);
        let call = self.recorder.begin(self.number, object, method);
        let answer = conn.query::<redis::Value>(&cmd).await;
        let end = match answer {
            Ok(answer) => match commands::returned(shared.kind, method, answer) {
                Some(returned) => Ended::Answered(returned),
                None => Ended::Failed(WriteError::NotRedis),
            },
            Err(ClientError::Redis { source, .. }) => Ended::Failed(classify(&source)),
            Err(_) => Ended::Failed(WriteError::ConnectionLost),
        };
        if let Ended::Answered(Returned::Value(Some(value))) = &end
            && *method == Method::Get
        {
            self.seen.insert(object, *value);
        }
        self.end(call, end)
    }

    /// Reads a register and sets it, unless it has changed in between.
    async fn transaction(
        &mut self,
        conn: &mut Conn,
        object: usize,
        new: u64,
    ) -> Result<(), Broken> {
        let key = self.recorder.objects[object].key.clone();
        let watched = conn
            .query::<redis::Value>(redis::cmd("WATCH").arg(&key))
            .await;
        if watched.is_err() {
            // It changes nothing; whether the connection can be used is not worth to find out.
            return Err(Broken);
        }
        let found = self.command(conn, object, &Method::Get).await?;
        let Some(Returned::Value(expected)) = found else {
            return Err(Broken);
        };
        let method = Method::CompareAndSet { expected, new };
        let call = self.recorder.begin(self.number, object, &method);
        let answers = conn.pipeline(&commands::transaction(&key, new)).await;
        let end = match answers.map(commands::executed) {
            Ok(Executed::Yes) => Ended::Answered(Returned::Changed(true)),
            Ok(Executed::No) => Ended::Refused,
            Ok(Executed::Error(code)) => Ended::Failed(WriteError::from_code(&code)),
            Ok(Executed::Unclear) => Ended::Failed(WriteError::NotRedis),
            Err(error) => Ended::Failed(classify(&error)),
        };
        self.end(call, end).map(drop)
    }

    /// Records the end of a call.
    fn end(&self, call: usize, end: Ended) -> Result<Option<Returned>, Broken> {
        let (recorded, result) = match end {
            Ended::Answered(returned) => (CallEnd::Answered(returned.clone()), Ok(Some(returned))),
            Ended::Refused => {
                let why = "the watched key has changed, or may have";
                (CallEnd::NotExecuted(why.into()), Ok(None))
            }
            Ended::Failed(error) => {
                let why = error.to_string();
                match was_not_executed(&error) {
                    // Of a replica, it looks for the primary.
                    true if error.wants_rediscovery() => (CallEnd::NotExecuted(why), Err(Broken)),
                    true => (CallEnd::NotExecuted(why), Ok(None)),
                    false => (CallEnd::Unknown(why), Err(Broken)),
                }
            }
        };
        self.recorder.end(call, recorded);
        result
    }
}

/// The end of a call, as the client sees it.
enum Ended {
    Answered(Returned),
    /// `EXEC` after a watched key had changed.
    Refused,
    Failed(WriteError),
}

/// Whether a call with that error was not executed.
fn was_not_executed(error: &WriteError) -> bool {
    match error {
        // The answer of a proxy that has waited for a primary, and that of a server to EXEC after a
        // command was refused.
        WriteError::Other(code) => code == "NOPRIMARY" || code == "EXECABORT",
        other => other.fate() == Fate::FailedForCertain,
    }
}
