//! The server binary of a node: where it is, and its product and version.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::protocol::format::Version;

/// The oldest Redis that has all that the lab needs (`bind-source-addr`, `SENTINEL DEBUG`).
pub const OLDEST_MAJOR: u32 = 7;

/// The names under which the server is looked for on PATH, in this order.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// Why there is no server binary to start.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// No binary.
    #[error(
        "no Redis server found ({0}): install one (./lab setup does), or name it by \
         --redis-server or HALAB_REDIS_SERVER"
    )]
    Missing(String),
    /// Too old, or no Redis at all.
    #[error("{path} is {found}, and at least Redis {OLDEST_MAJOR}.0 or Valkey is needed")]
    TooOld {
        /// The binary.
        path: PathBuf,
        /// What it said of itself.
        found: String,
    },
}

/// A server binary whose version is good enough.
#[derive(Debug, Clone)]
pub struct ServerBinary {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of its version, as `7.0.15`.
    pub version: String,
    /// `Redis` or `Valkey`.
    pub product: String,
    /// Which file that was.
    stamp: Option<BinaryStamp>,
}

/// Tells a file from another one of the same name: device, number, time of the last change in
/// nanoseconds.
type BinaryStamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<BinaryStamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

impl ServerBinary {
    /// Every server on PATH that is another one by what it says of itself, Redis first; at least
    /// one.
    ///
    /// # Errors
    /// When there is none, or one is too old.
    pub fn installed() -> Result<Vec<Self>, BinaryError> {
        let mut found: Vec<Self> = Vec::new();
        for name in NAMES.iter().map(Path::new) {
            if which::which(name).is_ok() {
                let server = Self::find(Some(name))?;
                // Valkey comes with a redis-server that is itself.
                if found.iter().all(|other| other.title() != server.title()) {
                    found.push(server);
                }
            }
        }
        if found.is_empty() {
            found.push(Self::find(None)?);
        }
        Ok(found)
    }

    /// Finds the binary: the one asked for, else the first on PATH. Checks its version.
    ///
    /// # Errors
    /// When there is none or it is too old.
    pub fn find(asked: Option<&Path>) -> Result<Self, BinaryError> {
        let path = match asked {
            Some(path) if path.components().count() > 1 => path.to_owned(),
            Some(name) => which::which(name)
                .map_err(|_| BinaryError::Missing(format!("no {} on PATH", name.display())))?,
            None => NAMES
                .iter()
                .find_map(|name| which::which(name).ok())
                .ok_or_else(|| {
                    BinaryError::Missing(format!("neither {} nor {} on PATH", NAMES[0], NAMES[1]))
                })?,
        };
        let stamp = stamp(&path);
        let output = Command::new(&path)
            .arg("--version")
            .output()
            .map_err(|e| BinaryError::Missing(format!("{}: {e}", path.display())))?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match parse_version(&said) {
            Some((major, version)) if major >= OLDEST_MAJOR => Ok(ServerBinary {
                path,
                version,
                product: said.split(' ').next().unwrap_or_default().to_owned(),
                stamp,
            }),
            _ => Err(BinaryError::TooOld {
                path,
                found: format!("\"{said}\""),
            }),
        }
    }

    /// Looks whether the file is another one now, as after an upgrade, and asks it for its version
    /// then. Says whether it is of another version. One that can't be asked is left to whoever
    /// starts it.
    pub fn refresh(&mut self) -> bool {
        if stamp(&self.path) == self.stamp {
            return false;
        }
        let Ok(now) = Self::find(Some(&self.path)) else {
            return false;
        };
        let before = std::mem::replace(self, now);
        before.title() != self.title()
    }

    /// Whether it reads what the other one writes; what is not known is left to the servers.
    pub fn reads(&self, other: &ServerBinary) -> bool {
        let version = |binary: &ServerBinary| Version::parse(&binary.title());
        let (own, writer) = (version(self), version(other));
        own.zip(writer)
            .is_none_or(|(own, writer)| own.reads(writer))
    }

    /// Product and version, as `Redis 7.0.15`.
    pub fn title(&self) -> String {
        format!("{} {}", self.product, self.version)
    }
}

/// `Redis server v=7.0.15 sha=...` or `Valkey server v=8.0.1 ...`.
fn parse_version(said: &str) -> Option<(u32, String)> {
    let version = said
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="))?;
    Some((version.split('.').next()?.parse().ok()?, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_redis_and_valkey_are_read() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1";
        assert_eq!(parse_version(redis), Some((7, "7.0.15".into())));
        assert_eq!(
            parse_version("Valkey server v=8.0.1 sha=0"),
            Some((8, "8.0.1".into()))
        );
        assert_eq!(parse_version("redis-cli 7.0.15"), None);
    }

    #[test]
    fn a_binary_that_is_not_there_is_named_with_its_remedy() {
        let error = ServerBinary::find(Some(Path::new("/nowhere/redis-server"))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/redis-server") && text.contains("HALAB_REDIS_SERVER"));
    }
}
