//! A private socket behind which a program that knows no password talks to a node: who we are has
//! been said there already, anew for each of its connections.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddrV4;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tokio::io::copy_bidirectional;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tracing::error;

use super::Connector;

/// Longest path of a unix socket, in bytes (`sun_path` without its end): Linux has 108 bytes, macOS
/// and the BSDs 104.
const LONGEST_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The error of a socket, with its path and what helps.
fn named(socket: &Path, error: &io::Error) -> io::Error {
    let length = socket.as_os_str().len();
    let path = socket.display();
    if length > LONGEST_PATH {
        return io::Error::new(
            io::ErrorKind::InvalidFilename,
            format!(
                "the path of the socket {path} has {length} bytes, and a unix socket's may have {LONGEST_PATH}: set TMPDIR to a \
                 shorter folder (TMPDIR=/tmp)"
            ),
        );
    }
    io::Error::new(
        error.kind(),
        format!(
            "cannot listen on the socket {path}: {error}; set TMPDIR to a folder that may be written"
        ),
    )
}

/// A socket in a folder that only the owner can enter; gone when it is dropped.
#[derive(Debug)]
pub struct Tunnel {
    folder: PathBuf,
    listener: UnixListener,
}

impl Tunnel {
    /// Listens on a socket of its own.
    ///
    /// # Errors
    /// When the folder or the socket can't be made.
    pub fn open() -> io::Result<Self> {
        // Short, since a socket's path may have 107 bytes; and drawn, so that nobody can be there
        // before.
        let name = format!("halab-{:016x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        let socket = folder.join("redis.sock");
        let listener = UnixListener::bind(&socket).map_err(|error| {
            // Nothing else is in it; a failure here is told by the one before.
            drop(fs::remove_dir(&folder));
            named(&socket, &error)
        })?;
        Ok(Tunnel { folder, listener })
    }

    /// Where to connect to.
    pub fn path(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    /// Hands every connection on to `to`; never ends by itself.
    pub async fn serve(&self, connector: &Connector, to: SocketAddrV4) {
        // Each ends with its connection, and all with this call.
        let mut tasks = JoinSet::new();
        loop {
            let mut near = match self.listener.accept().await {
                Ok((near, _)) => near,
                Err(error) => {
                    error!(%error, "cannot take a connection");
                    return;
                }
            };
            let connector = connector.clone();
            tasks.spawn(async move {
                match connector.stream(to).await {
                    // Whichever side ends it, the other one sees that.
                    Ok(mut far) => drop(copy_bidirectional(&mut near, &mut far).await),
                    Err(error) => error!("{error}"),
                }
            });
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    // What is left behind is a socket without a listener, in a folder of its own.
    let _ = fs::remove_dir_all(folder);
}
