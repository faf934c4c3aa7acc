//! Damage to the append-only file of a node that does not run, and its repair by an operator if no
//! `halab node` repairs it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::drill::environment::EnvironmentError;
use crate::drill::faults::{FaultContext, InjectionError};

use super::connections::set_config;
use super::waiting::POLL_INTERVAL;

/// Bytes cut off the end: less than any command has.
const TORN_BYTES: u64 = 7;
/// Bytes written to the middle: longer than any value, so that no command is recognized around
/// them.
const GARBAGE: [u8; 64] = [0xff; 64];
/// Minimum length of a file that is damaged.
const MIN_LENGTH: u64 = 4096;
/// Time that a rewrite in progress may take.
const REWRITE_LIMIT: Duration = Duration::from_secs(60);
/// The manifest of the append-only file, below the folder of a stock server.
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drill::faults) enum FileDamage {
    /// Its last bytes are cut off.
    Torn,
    /// Bytes in its middle are overwritten.
    Overwritten,
    /// Its second half is cut off; the last command is incomplete, and removed when it is loaded.
    CutInHalf,
}

impl FileDamage {
    fn description(self) -> &'static str {
        match self {
            FileDamage::Torn => "torn",
            FileDamage::Overwritten => "damaged in its middle",
            FileDamage::CutInHalf => "cut off in its middle, as redis-check-aof --fix does",
        }
    }

    fn apply(self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let length = length_of(&file)?;
        match self {
            FileDamage::Torn => file.set_len(length - TORN_BYTES),
            FileDamage::Overwritten => {
                file.seek(SeekFrom::Start(length / 2))?;
                file.write_all(&GARBAGE)
            }
            FileDamage::CutInHalf => file.set_len(length / 2),
        }
    }
}

impl FaultContext<'_> {
    /// Waits until the current file of a node has some content, and prevents a rewrite, which would
    /// begin an empty one.
    async fn fill_file(&self, node: &str) -> Result<(), InjectionError> {
        let mut conn = self.open(node).await?;
        // Until the server is started again.
        set_config(&mut conn, node, "auto-aof-rewrite-percentage", 0).await?;
        let folder = self.environment.state_of(node);
        let info = redis::cmd("INFO").arg("persistence").clone();
        let deadline = Instant::now() + REWRITE_LIMIT;
        loop {
            let text = conn.query::<String>(&info).await;
            let text = text.map_err(|error| EnvironmentError::server(node, error))?;
            let rewrites = ["aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"];
            let rewrites = rewrites.iter().any(|line| text.contains(line));
            let length = newest_increment(&folder).and_then(fs::metadata);
            if !rewrites && length.is_ok_and(|file| file.len() >= MIN_LENGTH) {
                return Ok(());
            }
            self.pause(deadline, "a file that can be damaged", POLL_INTERVAL)
                .await?;
        }
    }

    /// Damages the file of a node. A stock server does not start with overwritten bytes: there the
    /// file is repaired as the server's log advises.
    fn damage_file(&mut self, node: &str, damage: FileDamage) -> Result<(), InjectionError> {
        let folder = self.environment.state_of(node);
        let damaged = newest_increment(&folder).and_then(|file| damage.apply(&file));
        damaged.map_err(EnvironmentError::unavailable)?;
        self.record(format!(
            "the append-only file of {node} is {}",
            damage.description()
        ));
        if let (FileDamage::Overwritten, Some(server)) = (damage, self.environment.stock_server()) {
            check_aof(server, &folder).map_err(EnvironmentError::unavailable)?;
            self.record("repaired by redis-check-aof --fix, as the server advises");
        }
        Ok(())
    }

    /// Stops all nodes, damages the file of the primary, and starts them again.
    pub(in crate::drill::faults) async fn stop_and_damage(
        &mut self,
        damage: FileDamage,
    ) -> Result<(), InjectionError> {
        let primary = self.primary.clone();
        self.fill_file(&primary).await?;
        self.stop_all().await?;
        self.damage_file(&primary, damage)?;
        self.start_all().await
    }

    /// Kills the node of the primary, damages its file, and starts it again at once.
    pub(in crate::drill::faults) async fn restart_with_damage(
        &mut self,
        damage: FileDamage,
    ) -> Result<(), InjectionError> {
        let primary = self.primary.clone();
        self.fill_file(&primary).await?;
        self.begin_fault(format!("SIGKILL to the node {primary}"));
        self.environment.nodes.kill(&primary)?;
        self.damage_file(&primary, damage)?;
        self.record(format!("{primary} started again"));
        self.environment.nodes.start(&primary)?;
        self.phases.begin("observe");
        Ok(())
    }
}

/// The file that is written to: the last increment of the manifest. The folder may contain files
/// that are not in the manifest any more, and copies that were set aside.
fn newest_increment(folder: &Path) -> io::Result<PathBuf> {
    let manifests = [folder.join(MANIFEST), folder.join("data").join(MANIFEST)];
    let manifest = manifests.iter().find(|path| path.exists());
    let none = || io::Error::other("it has no append-only file");
    let manifest = manifest.ok_or_else(none)?;
    let text = fs::read_to_string(manifest)?;
    let mut increments = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.nth(1)?;
        words.any(|word| word == "i").then_some(name)
    });
    let newest = increments.next_back().ok_or_else(none)?;
    Ok(manifest.with_file_name(newest))
}

fn length_of(file: &File) -> io::Result<u64> {
    match file.metadata()?.len() {
        length if length >= MIN_LENGTH => Ok(length),
        length => Err(io::Error::other(format!(
            "its append-only file has {length} bytes"
        ))),
    }
}

/// Truncates the file where it is damaged: `redis-check-aof --fix`, which is the server's program
/// under another name.
fn check_aof(server: &Path, folder: &Path) -> io::Result<()> {
    let name = server.file_name().unwrap_or_default().to_string_lossy();
    let name = if name.starts_with("valkey") {
        "valkey-check-aof"
    } else {
        "redis-check-aof"
    };
    let mut child = Command::new(server)
        .arg0(name)
        .arg("--fix")
        .arg(folder.join(MANIFEST))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // "Continue? [y/N]"
        stdin.write_all(b"y\n")?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let output_text = String::from_utf8_lossy(&output.stdout);
    let last = output_text.lines().last().unwrap_or_default();
    Err(io::Error::other(format!(
        "{name}: {}, {last}",
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_use_is_the_last_increment_of_the_manifest() {
        let folder = tempfile::tempdir().unwrap();
        assert!(newest_increment(folder.path()).is_err());
        let parts = folder.path().join("data/appendonlydir");
        fs::create_dir_all(&parts).unwrap();
        // Left by a killed rewrite, and by a copy that was replaced.
        fs::write(parts.join("appendonly.aof.20.incr.aof"), "").unwrap();
        let manifest = "file appendonly.aof.3.base.rdb seq 3 type b\n\
            file appendonly.aof.18.incr.aof seq 18 type h\n\
            file appendonly.aof.19.incr.aof seq 19 type i\n";
        fs::write(parts.join("appendonly.aof.manifest"), manifest).unwrap();
        let newest = newest_increment(folder.path()).unwrap();
        assert_eq!(newest, parts.join("appendonly.aof.19.incr.aof"));
    }
}
