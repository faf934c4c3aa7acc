//! A disk that takes long to answer, as one server sees it: strace holds up the calls by which it writes its append-only
//! file and has it stored.
//!
//! Nothing of the machine's disk is changed, so nobody else waits. It needs no root where the kernel lets a process trace
//! another of the same user (`kernel.yama.ptrace_scope` is 0, as Debian has it). When strace ends, the server goes on as before.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// Which calls are held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Each write for 50 ms, each sync for 300: a page cache that is full makes writing wait, too.
    WritesAndSyncs,
    /// Each sync for 1.5 s: a server that syncs once a second does nothing else.
    Syncs,
}

impl Held {
    /// What strace is told.
    fn injections(self) -> &'static [&'static str] {
        match self {
            Held::WritesAndSyncs => &[
                "trace=write,fdatasync,fsync",
                "inject=write:delay_enter=50ms",
                "inject=fdatasync,fsync:delay_enter=300ms",
            ],
            Held::Syncs => &[
                "trace=fdatasync,fsync",
                "inject=fdatasync,fsync:delay_enter=1500ms",
            ],
        }
    }
}

/// How long strace may take to begin.
const BEGIN_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to end.
const END_LIMIT: Duration = Duration::from_secs(1);
/// Pause between two looks whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Holds up a server until it is dropped.
#[derive(Debug)]
pub struct Slow {
    strace: Child,
}

/// Why no server can be held up here, as far as can be told without one.
pub fn missing() -> Option<String> {
    let probe = Command::new("strace")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.err().map(|error| {
        format!("a disk can't be made slow without strace ({error}): apt-get install strace")
    })
}

impl Slow {
    /// Holds up the calls of the process `of`, which is that server or its node, to the server's append-only file. Returns when
    /// all its threads are traced.
    ///
    /// # Errors
    /// Why the system does not permit it.
    pub async fn begin(of: Pid, server: Pid, held: Held) -> Result<Self, String> {
        let pid = of.as_raw_nonzero().to_string();
        let file = append_only_file(&server.as_raw_nonzero().to_string())
            .ok_or("the server has no append-only file open")?;
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &pid])
            .arg("-P")
            .arg(file)
            .args(held.injections().iter().flat_map(|what| ["-e", *what]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let mut slow = Slow { strace };
        let deadline = Instant::now() + BEGIN_LIMIT;
        while !traces_all(&pid) {
            let ended = slow.strace.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || Instant::now() >= deadline {
                return Err(slow.why());
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(slow)
    }

    /// What strace said when it could not begin.
    fn why(mut self) -> String {
        self.end();
        let mut said = String::new();
        if let Some(mut stderr) = self.strace.stderr.take() {
            // Nothing said is told as such.
            let _ = stderr.read_to_string(&mut said);
        }
        format!(
            "strace may not trace the server ({}): see kernel.yama.ptrace_scope",
            said.trim()
        )
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw);
        let deadline = std::time::Instant::now() + END_LIMIT;
        // On SIGTERM it lets go of the server. Where that has just been killed, strace may wait for it without end.
        if let Some(pid) = pid
            && let Ok(None) = self.strace.try_wait()
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        while let Ok(None) = self.strace.try_wait() {
            if std::time::Instant::now() >= deadline {
                let _ = self.strace.kill();
                let _ = self.strace.wait();
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.end();
    }
}

/// The file that the server has open to write to.
fn append_only_file(pid: &str) -> Option<PathBuf> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    open.flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .find(|path| path.extension().is_some_and(|end| end == "aof"))
}

/// Whether every thread of the process is traced.
fn traces_all(pid: &str) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let traced = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let tracer = status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|tracer| tracer.trim() != "0")
    };
    tasks.flatten().all(traced)
}
