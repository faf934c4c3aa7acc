//! A private Unix socket that forwards to a node, for a program without the password: each of its
//! connections is authenticated already.

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

/// Longest path of a Unix socket in bytes, without the final zero (`sun_path` has 108 bytes on
/// Linux, and 104 on macOS and the BSDs).
const LONGEST_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The error of a socket, with its path and a remedy.
fn socket_error(socket: &Path, error: &io::Error) -> io::Error {
    let length = socket.as_os_str().len();
    let path = socket.display();
    if length > LONGEST_PATH {
        return io::Error::new(
            io::ErrorKind::InvalidFilename,
            format!(
                "the path of the socket {path} has {length} bytes, more than the {LONGEST_PATH} \
                 of a Unix socket; set TMPDIR to a shorter folder (TMPDIR=/tmp)"
            ),
        );
    }
    io::Error::new(
        error.kind(),
        format!("cannot listen on the socket {path}: {error}; set TMPDIR to a writable folder"),
    )
}

/// A socket in a folder that only the owner can enter; removed on drop.
#[derive(Debug)]
pub struct Tunnel {
    folder: PathBuf,
    listener: UnixListener,
}

impl Tunnel {
    /// Listens on a new socket.
    ///
    /// # Errors
    /// If the folder or the socket can't be created.
    pub fn open() -> io::Result<Self> {
        // Short, because a socket's path has a limit; random, so that it cannot be created in
        // advance.
        let name = format!("halab-{:016x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        let socket = folder.join("redis.sock");
        let listener = UnixListener::bind(&socket).map_err(|error| {
            // The folder is empty; the error that is returned matters more than one here.
            drop(fs::remove_dir(&folder));
            socket_error(&socket, &error)
        })?;
        Ok(Tunnel { folder, listener })
    }

    /// The path of the socket.
    pub fn path(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    /// Forwards every connection to `to`; never ends by itself.
    pub async fn serve(&self, connector: &Connector, to: SocketAddrV4) {
        // Each task ends with its connection, and all end with this call.
        let mut tasks = JoinSet::new();
        loop {
            let mut client = match self.listener.accept().await {
                Ok((client, _)) => client,
                Err(error) => {
                    error!(%error, "cannot accept a connection");
                    return;
                }
            };
            let connector = connector.clone();
            tasks.spawn(async move {
                match connector.stream(to).await {
                    // An error of one side closes the other.
                    Ok(mut server) => drop(copy_bidirectional(&mut client, &mut server).await),
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
    // If this fails, a socket without a listener remains, in a folder of its own.
    let _ = fs::remove_dir_all(folder);
}
