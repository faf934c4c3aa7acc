//! The server binary of a node: where it is, and its product and version.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::protocol::format::Version;

/// The oldest major version of Redis with what the lab needs (`bind-source-addr`, `SENTINEL
/// DEBUG`).
pub const OLDEST_MAJOR: u32 = 7;

/// Names of the server binary on PATH, in order of preference.
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
        /// Its own version line.
        found: String,
    },
}

/// A server binary of a supported version.
#[derive(Debug, Clone)]
pub struct ServerBinary {
    /// Where it is.
    pub path: PathBuf,
    /// Its version, as `7.0.15`.
    pub version: String,
    /// `Redis` or `Valkey`.
    pub product: String,
    /// The file that was asked for its version.
    stamp: Option<BinaryStamp>,
}

/// Distinguishes a file from another one of the same name: device, inode, modification time.
type BinaryStamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<BinaryStamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

impl ServerBinary {
    /// The servers on PATH that differ in product or version, Redis first; at least one.
    ///
    /// # Errors
    /// If there is none, or one is too old.
    pub fn installed() -> Result<Vec<Self>, BinaryError> {
        let mut found: Vec<Self> = Vec::new();
        for name in NAMES.iter().map(Path::new) {
            if which::which(name).is_ok() {
                let server = Self::find(Some(name))?;
                // Valkey installs a redis-server that is Valkey.
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

    /// Finds the binary: `asked`, otherwise the first on PATH. Checks its version.
    ///
    /// # Errors
    /// If there is none, or it is too old.
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
        let version_line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match parse_version(&version_line) {
            Some((major, version)) if major >= OLDEST_MAJOR => Ok(ServerBinary {
                path,
                version,
                product: version_line
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                stamp,
            }),
            _ => Err(BinaryError::TooOld {
                path,
                found: format!("\"{version_line}\""),
            }),
        }
    }

    /// Checks whether the file has been replaced, as by an upgrade, and reads its version again
    /// then. Returns whether the version has changed. A file that can't be asked fails at the
    /// next start.
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

    /// Whether it can read the data of `other`; yes if a version is unknown.
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
fn parse_version(version_line: &str) -> Option<(u32, String)> {
    let version = version_line
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
