//! What is done to the append-only file of a node that does not run, and what an operator does
//! about it where no `halab node` does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use std::time::Duration;

use tokio::time::Instant;

use super::host::{refused, unavailable};
use super::{LOOK_AGAIN, Scene, Trouble};

/// Cut off the end: within the last command, whatever it is.
const TORN: u64 = 7;
/// Overwritten in the middle: longer than any value, so that the commands around it can't be told
/// apart.
const DAMAGED: [u8; 64] = [0xff; 64];
/// A file has to hold so much before it is damaged in its middle.
const ENOUGH: u64 = 4096;
/// How long a rewrite that is under way may take.
const REWRITE_LIMIT: Duration = Duration::from_secs(60);
/// The list of the parts of an append-only file, below the folder of a plain server.
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";

/// What is done to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// Its last bytes are cut off.
    Tear,
    /// Bytes in its middle are overwritten.
    Damage,
    /// It is cut off in its middle; the last command is torn, and repaired when it is loaded.
    Shorten,
}

impl Harm {
    fn words(self) -> &'static str {
        match self {
            Harm::Tear => "torn",
            Harm::Damage => "damaged in its middle",
            Harm::Shorten => "cut off in its middle, as redis-check-aof --fix does",
        }
    }

    fn apply(self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let length = long_enough(&file)?;
        match self {
            Harm::Tear => file.set_len(length - TORN),
            Harm::Damage => {
                file.seek(SeekFrom::Start(length / 2))?;
                file.write_all(&DAMAGED)
            }
            Harm::Shorten => file.set_len(length / 2),
        }
    }
}

impl Scene<'_> {
    /// Waits until the file that a node writes to holds something, and has it stay the newest one: a rewrite begins an empty one.
    pub(super) async fn fill_file(&self, node: &str) -> Result<(), Trouble> {
        let mut admin = self.open(node).await?;
        // Until the server is started again.
        self.set(&mut admin, node, "auto-aof-rewrite-percentage", 0)
            .await?;
        let folder = self.ground.folder().join("state").join(node);
        let info = redis::cmd("INFO").arg("persistence").clone();
        let deadline = Instant::now() + REWRITE_LIMIT;
        loop {
            let text: String = admin.query(&info).await.map_err(|e| refused(node, e))?;
            let rewrites = ["aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"];
            let rewrites = rewrites.iter().any(|line| text.contains(line));
            let length = newest_increment(&folder).and_then(fs::metadata);
            if !rewrites && length.is_ok_and(|file| file.len() >= ENOUGH) {
                return Ok(());
            }
            self.pause(deadline, "a file that can be harmed", LOOK_AGAIN)
                .await?;
        }
    }

    /// Does that to the file of a node. A plain server refuses one that is damaged, and nobody else
    /// would start it again: there the operator does what its log advises.
    pub(super) fn harm(&mut self, node: &str, harm: Harm) -> Result<(), Trouble> {
        let folder = self.ground.folder().join("state").join(node);
        let harmed = newest_increment(&folder).and_then(|file| harm.apply(&file));
        harmed.map_err(unavailable)?;
        self.did(format!(
            "the append-only file of {node} is {}",
            harm.words()
        ));
        if let (Harm::Damage, Some(server)) = (harm, self.ground.plain_server()) {
            check_aof(server, &folder).map_err(unavailable)?;
            self.did("repaired by redis-check-aof --fix, as the server advises".into());
        }
        Ok(())
    }
}

/// The append-only file that is written to: the last one in the list of its parts. Beside it there may be parts that are not in the
/// list any more, and copies that were set aside.
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

fn long_enough(file: &File) -> io::Result<u64> {
    match file.metadata()?.len() {
        length if length >= ENOUGH => Ok(length),
        length => Err(io::Error::other(format!(
            "its append-only file has {length} bytes"
        ))),
    }
}

/// Cuts the file off where it is damaged: `redis-check-aof --fix`, which is the program of the
/// server by another name.
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
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
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
        // Left by a rewrite that was killed; of a copy that was replaced.
        fs::write(parts.join("appendonly.aof.20.incr.aof"), "").unwrap();
        let manifest = "file appendonly.aof.3.base.rdb seq 3 type b\n\
            file appendonly.aof.18.incr.aof seq 18 type h\n\
            file appendonly.aof.19.incr.aof seq 19 type i\n";
        fs::write(parts.join("appendonly.aof.manifest"), manifest).unwrap();
        let newest = newest_increment(folder.path()).unwrap();
        assert_eq!(newest, parts.join("appendonly.aof.19.incr.aof"));
    }
}
