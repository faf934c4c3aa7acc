//! A slow disk, as one server sees it: strace delays the system calls by which it writes and syncs
//! its append-only file.
//!
//! The machine's disk is not changed, so no other process waits. It needs no root if a process may
//! trace another one of the same user (`kernel.yama.ptrace_scope` is 0, as on Debian). When strace
//! ends, the server continues as before.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// The system calls that are delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DelayedCalls {
    /// Each write by 50 ms, each sync by 300 ms: with a full page cache, writes wait too.
    WritesAndSyncs,
    /// Each sync by 1.5 s: a server that syncs once a second does nothing else.
    Syncs,
}

impl DelayedCalls {
    /// The arguments of strace.
    fn injections(self) -> &'static [&'static str] {
        match self {
            DelayedCalls::WritesAndSyncs => &[
                "trace=write,fdatasync,fsync",
                "inject=write:delay_enter=50ms",
                "inject=fdatasync,fsync:delay_enter=300ms",
            ],
            DelayedCalls::Syncs => &[
                "trace=fdatasync,fsync",
                "inject=fdatasync,fsync:delay_enter=1500ms",
            ],
        }
    }
}

/// Time that strace may take to attach.
const BEGIN_LIMIT: Duration = Duration::from_secs(5);
/// Time that it may take to end.
const END_LIMIT: Duration = Duration::from_secs(1);
/// Interval at which it is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Delays the system calls of a process until it is dropped.
#[derive(Debug)]
pub struct DiskLatency {
    strace: Child,
}

/// Why system calls can't be delayed on this machine, as far as is known before the attempt.
pub fn missing() -> Option<String> {
    let probe = Command::new("strace")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.err().map(|error| {
        format!("a disk cannot be made slow without strace ({error}): apt-get install strace")
    })
}

impl DiskLatency {
    /// Delays the calls of the process `traced`, which is that server or its node, on the server's
    /// append-only file. Returns when all its threads are traced.
    ///
    /// # Errors
    /// Why the system does not permit it.
    pub async fn begin(traced: Pid, server: Pid, calls: DelayedCalls) -> Result<Self, String> {
        let pid = traced.as_raw_nonzero().to_string();
        let file = append_only_file(&server.as_raw_nonzero().to_string())
            .ok_or("the server has no append-only file open")?;
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &pid])
            .arg("-P")
            .arg(file)
            .args(
                calls
                    .injections()
                    .iter()
                    .flat_map(|expression| ["-e", *expression]),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let mut latency = DiskLatency { strace };
        let deadline = Instant::now() + BEGIN_LIMIT;
        while !traces_all(&pid) {
            let ended = latency
                .strace
                .try_wait()
                .map_err(|error| error.to_string())?;
            if ended.is_some() || Instant::now() >= deadline {
                return Err(latency.why());
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(latency)
    }

    /// The error of strace when it could not attach.
    fn why(mut self) -> String {
        self.end();
        let mut errors = String::new();
        if let Some(mut stderr) = self.strace.stderr.take() {
            // No message is reported as an empty one.
            let _ = stderr.read_to_string(&mut errors);
        }
        format!(
            "strace may not trace the server ({}): see kernel.yama.ptrace_scope",
            errors.trim()
        )
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw);
        let deadline = std::time::Instant::now() + END_LIMIT;
        // On SIGTERM it detaches. If the server has just been killed, strace may never end by
        // itself.
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
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for DiskLatency {
    fn drop(&mut self) {
        self.end();
    }
}

/// The append-only file that the server has open.
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
