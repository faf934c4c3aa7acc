//! Requests to a running `halab up`, over a Unix socket in its state folder: start or stop one
//! node.
//!
//! A request is one line, `start NAME` or `stop NAME`, and so is its answer: `done TEXT`,
//! `unknown TEXT` or `failed TEXT`. The server holds a lock on the state folder, so a socket is
//! stale if the folder is not locked, and is replaced then. The socket is reached through the open
//! folder, because its path may be longer than a socket's path may be.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as ClientStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, fchmod, unlinkat};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

/// The socket's name in the state folder.
const SOCKET: &str = "up.sock";
/// Longest request or answer.
const LINE_MAX: usize = 8 * 1024;
/// Within this time a client sends its request, and receives its answer.
const LINE_LIMIT: Duration = Duration::from_secs(5);
/// How long a client waits for its answer: longer than a node may take to stop.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Clients at once; others wait for their turn.
const CLIENTS_MAX: usize = 16;
/// Pause after a connection could not be accepted, most likely because no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is to be done with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum NodeAction {
    /// Start it, unless it runs.
    Start,
    /// Stop it as planned.
    Stop,
}

/// The answer to a request, with a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlAnswer {
    /// The node is now as requested.
    Done(String),
    /// The lab has no such node.
    Unknown(String),
    /// It was not done.
    Failed(String),
}

/// A request without an answer, or a socket that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The lock is held.
    #[error(
        "another `halab up` runs with the state folder {}; halab status shows its lab, and --state \
         names the folder of another one", .0.display()
    )]
    InUse(PathBuf),
    /// There is no socket, or nobody listens there.
    #[error(
        "no `halab up` runs with the state folder {}; state the folder of the one that runs by \
         --state, or start the lab: halab up", .0.display()
    )]
    NobodyThere(PathBuf),
    /// The connection was closed without an answer.
    #[error("`halab up` did not answer: it is ending, or has too many requests")]
    NoAnswer,
    /// The answer does not come.
    #[error("`halab up` did not answer within {} s; see its log", ANSWER_LIMIT.as_secs())]
    TooSlow,
    /// It cannot be listened to, or asked.
    #[error("cannot use the socket {SOCKET} in the state folder {}: {source}", .folder.display())]
    Io {
        /// The state folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct NodeRequest {
    /// What is to be done.
    pub action: NodeAction,
    /// The name of the node, as the client has sent it.
    pub node: String,
    answer: oneshot::Sender<ControlAnswer>,
}

impl NodeRequest {
    /// Answers the client, unless it has gone.
    pub fn answer(self, answer: ControlAnswer) {
        let _ = self.answer.send(answer);
    }
}

impl ControlAnswer {
    fn to_line(&self) -> String {
        let (word, text) = match self {
            ControlAnswer::Done(text) => ("done", text),
            ControlAnswer::Unknown(text) => ("unknown", text),
            ControlAnswer::Failed(text) => ("failed", text),
        };
        let line = format!("{word} {}", text.replace('\n', " "));
        let mut room = line.len().min(LINE_MAX - 1);
        while !line.is_char_boundary(room) {
            room -= 1;
        }
        line[..room].to_owned() + "\n"
    }

    fn from_line(line: &str) -> Option<Self> {
        let (word, text) = line.strip_suffix('\n')?.split_once(' ')?;
        let text = text.to_owned();
        match word {
            "done" => Some(ControlAnswer::Done(text)),
            "unknown" => Some(ControlAnswer::Unknown(text)),
            "failed" => Some(ControlAnswer::Failed(text)),
            _ => None,
        }
    }
}

fn request_of(line: &str) -> Option<(NodeAction, &str)> {
    let (action, node) = line.strip_suffix('\n')?.split_once(' ')?;
    Some((action.parse().ok()?, node))
}

/// The path of the socket by an open state folder, which is short.
fn path_in(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

fn failed(state: &Path) -> impl FnOnce(io::Error) -> ControlError {
    let folder = state.to_owned();
    move |source| ControlError::Io { folder, source }
}

/// Serves the socket until it is dropped; then the socket is removed.
#[derive(Debug)]
pub struct ControlSocket {
    /// The state folder, locked.
    folder: File,
    _task: AbortOnDropHandle<()>,
}

impl ControlSocket {
    /// Listens in this state folder, and passes requests on.
    ///
    /// # Errors
    /// If another process does so already, or it cannot listen there.
    pub fn open(state: &Path, requests: mpsc::Sender<NodeRequest>) -> Result<Self, ControlError> {
        fs::create_dir_all(state).map_err(failed(state))?;
        let folder = File::open(state).map_err(failed(state))?;
        folder.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ControlError::InUse(state.to_owned()),
            TryLockError::Error(error) => failed(state)(error),
        })?;
        let listener = listen(&folder).map_err(failed(state))?;
        Ok(ControlSocket {
            folder,
            _task: AbortOnDropHandle::new(tokio::spawn(accept(listener, requests))),
        })
    }
}

impl ControlSocket {
    /// The lock of the state folder, which lasts until the result is dropped, too.
    pub fn lock(&self) -> io::Result<File> {
        self.folder.try_clone()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // If this fails, a stale socket remains, which the next one replaces.
        let _ = unlinkat(&self.folder, SOCKET, AtFlags::empty());
    }
}

/// Listens in a locked folder, in place of the socket of a process that was killed.
fn listen(folder: &File) -> io::Result<UnixListener> {
    match unlinkat(folder, SOCKET, AtFlags::empty()) {
        Err(error) if io::Error::from(error).kind() != ErrorKind::NotFound => {
            return Err(error.into());
        }
        _ => {}
    }
    let socket = UnixSocket::new_stream()?;
    // Before it has a name, so that nobody else can connect at any moment.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(path_in(folder))?;
    socket.listen(64)
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<NodeRequest>) {
    // They end with this task.
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = clients.join_next() => {}
            accepted = listener.accept(), if clients.len() < CLIENTS_MAX => match accepted {
                Ok((stream, _)) => {
                    let requests = requests.clone();
                    clients.spawn(async move {
                        if let Err(error) = serve(stream, requests).await {
                            debug!(%error, "a request to start or stop a node was not served");
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a request to start or stop a node");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Reads one request, and sends its answer.
async fn serve(mut stream: UnixStream, requests: mpsc::Sender<NodeRequest>) -> io::Result<()> {
    let mut line = String::new();
    let (reader, mut writer) = stream.split();
    let mut reader = tokio::io::BufReader::new(reader.take(LINE_MAX as u64));
    timeout(LINE_LIMIT, reader.read_line(&mut line)).await??;
    let answer = match request_of(&line) {
        None => ControlAnswer::Failed("not a request to start or stop a node".into()),
        Some((action, node)) => {
            let (answer, answered) = oneshot::channel();
            let node = node.to_owned();
            let request = NodeRequest {
                action,
                node,
                answer,
            };
            let gone = |_| io::Error::other("the lab is ending");
            requests.send(request).await.map_err(|_| gone(()))?;
            answered.await.map_err(|_| gone(()))?
        }
    };
    let line = answer.to_line();
    timeout(LINE_LIMIT, writer.write_all(line.as_bytes())).await?
}

/// Sends a request to the `halab up` that runs with this state folder, and waits for the answer.
///
/// # Errors
/// If none runs there, or it does not answer.
pub fn request(
    state: &Path,
    action: NodeAction,
    node: &str,
) -> Result<ControlAnswer, ControlError> {
    let connect = || {
        let folder = File::open(state)?;
        ClientStream::connect(path_in(&folder))
    };
    let stream = connect().map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            ControlError::NobodyThere(state.to_owned())
        }
        _ => failed(state)(error),
    })?;
    let exchanged = exchange(stream, action, node);
    let line = exchanged.map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ControlError::TooSlow,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => ControlError::NoAnswer,
        _ => failed(state)(error),
    })?;
    ControlAnswer::from_line(&line).ok_or(ControlError::NoAnswer)
}

fn exchange(mut stream: ClientStream, action: NodeAction, node: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(LINE_LIMIT))?;
    let node = node.replace('\n', " ");
    stream.write_all(format!("{action} {node}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX as u64)).read_line(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::tempdir;
    use tokio::task::spawn_blocking;

    use super::*;

    /// A server that answers every request with its own words, until it is dropped.
    fn echo(state: &Path) -> Result<(ControlSocket, AbortOnDropHandle<()>), ControlError> {
        let (sender, mut requests) = mpsc::channel::<NodeRequest>(1);
        let socket = ControlSocket::open(state, sender)?;
        let answers = tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let text = format!("{} {}", request.action, request.node);
                request.answer(ControlAnswer::Done(text));
            }
        });
        Ok((socket, AbortOnDropHandle::new(answers)))
    }

    async fn ask(
        state: &Path,
        action: NodeAction,
        node: &str,
    ) -> Result<ControlAnswer, ControlError> {
        let (state, node) = (state.to_owned(), node.to_owned());
        let asked = spawn_blocking(move || request(&state, action, &node));
        asked.await.unwrap()
    }

    fn done(text: &str) -> ControlAnswer {
        ControlAnswer::Done(text.into())
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        for answer in [
            done("stopped redis-a"),
            ControlAnswer::Unknown("the nodes: a, b".into()),
            ControlAnswer::Failed(String::new()),
        ] {
            assert_eq!(ControlAnswer::from_line(&answer.to_line()), Some(answer));
        }
        let long = done(&"é\n".repeat(9000)).to_line();
        assert!(
            long.len() <= 8 * 1024 && long.len() > 8000,
            "{}",
            long.len()
        );
        assert!(ControlAnswer::from_line(&long).is_some());
        for wrong in ["", "\n", "done\n", "done it", "finished it\n"] {
            assert_eq!(ControlAnswer::from_line(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn requests_are_answered_by_a_socket_of_the_owner_in_a_folder_of_any_length() {
        let folder = tempdir().unwrap();
        let state = folder.path().join("x".repeat(200)).join("state");
        let _server = echo(&state).unwrap();
        let mode = fs::metadata(state.join(SOCKET)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        for (action, answer) in [
            (NodeAction::Start, "start redis-a"),
            (NodeAction::Stop, "stop redis-a"),
        ] {
            assert_eq!(ask(&state, action, "redis-a").await.unwrap(), done(answer));
        }
    }

    #[tokio::test]
    async fn a_live_socket_stays_and_a_stale_one_is_replaced() {
        let folder = tempdir().unwrap();
        let state = folder.path();
        let first = echo(state).unwrap();
        let second = echo(state).unwrap_err();
        assert!(matches!(second, ControlError::InUse(_)), "{second}");
        assert_eq!(
            ask(state, NodeAction::Stop, "a").await.unwrap(),
            done("stop a")
        );
        drop(first);
        assert!(!state.join(SOCKET).exists());
        // As a killed process leaves it.
        drop(std::os::unix::net::UnixListener::bind(state.join(SOCKET)).unwrap());
        let nobody = ask(state, NodeAction::Stop, "a").await.unwrap_err();
        assert!(matches!(nobody, ControlError::NobodyThere(_)), "{nobody}");
        let _third = echo(state).unwrap();
        assert_eq!(
            ask(state, NodeAction::Stop, "a").await.unwrap(),
            done("stop a")
        );
    }

    #[tokio::test]
    async fn without_a_halab_up_the_error_names_the_remedy() {
        let folder = tempdir().unwrap();
        for state in [folder.path().to_owned(), folder.path().join("none")] {
            let error = ask(&state, NodeAction::Start, "a").await.unwrap_err();
            assert!(matches!(error, ControlError::NobodyThere(_)), "{error}");
            assert!(
                error.to_string().contains("start the lab: halab up"),
                "{error}"
            );
        }
        // One that ends while a request waits.
        let (sender, mut requests) = mpsc::channel(1);
        let _socket = ControlSocket::open(folder.path(), sender).unwrap();
        let asking = ask(folder.path(), NodeAction::Start, "a");
        let (error, ()) = tokio::join!(asking, async { drop(requests.recv().await) });
        assert!(matches!(error, Err(ControlError::NoAnswer)), "{error:?}");
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_and_silent_clients_hold_up_nobody() {
        let folder = tempdir().unwrap();
        let _server = echo(folder.path()).unwrap();
        let socket = folder.path().join(SOCKET);
        let mut silent = Vec::new();
        for _ in 0..CLIENTS_MAX {
            silent.push(UnixStream::connect(&socket).await.unwrap());
        }
        let answer = ask(folder.path(), NodeAction::Start, "a").await.unwrap();
        assert_eq!(answer, done("start a"));
        let long = "start ".to_owned() + &"x".repeat(9000);
        for wrong in ["\n", "start\n", "kill a\n", &long] {
            let mut stream = UnixStream::connect(&socket).await.unwrap();
            let _ = stream.write_all(wrong.as_bytes()).await;
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            // The rest of a long one is not read, so its connection is reset.
            let is_refused = answer.starts_with("failed not a request");
            assert!(
                is_refused || answer.is_empty() && wrong == long,
                "{wrong:?}: {answer:?}"
            );
        }
    }
}
