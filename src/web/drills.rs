//! Drills that are started from the page: each is a process `halab drill`, with a lab of its own.
//! Its progress is shown live, and its report is kept in the folder of the page.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::drill::environment::HeldProcess;
use crate::drill::faults::FaultKind;
use crate::record::Timestamp;

use super::board::Board;

/// Reports that are kept.
const REPORTS_MAX: usize = 50;
/// Lines of progress that are shown.
const LINES_MAX: usize = 12;
/// Longest line that is shown, in characters.
const LINE_MAX: usize = 300;
/// Records a second: a drill shares the machine with the lab that the page shows.
const RATE: &str = "5000";
/// How long a drill may take to stop its lab.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Settings of the lab that the page shows; a drill has its own.
const OTHERS_SETTINGS: [&str; 5] = [
    "HALAB_STATE",
    "HALAB_SECRETS",
    "HALAB_SUBNET",
    "HALAB_PROFILE",
    "HALAB_NODE_COMMAND",
];

/// A fault that can be drilled, as shown.
#[derive(Debug, Serialize)]
struct ShownDrillFault {
    name: &'static str,
    does: &'static str,
    must: &'static str,
}

/// What can be drilled, and the reports, as shown.
#[derive(Debug, Serialize)]
struct ShownDrills {
    is_allowed: bool,
    faults: Vec<ShownDrillFault>,
    /// Names of reports, the newest first.
    reports: Vec<String>,
}

/// The drill that runs, or the last one, as shown.
#[derive(Debug, Clone, Serialize)]
struct ShownDrill {
    fault: &'static str,
    lines: VecDeque<String>,
    is_over: bool,
    /// How it ended, once it has.
    verdict: Option<&'static str>,
    /// The name of its report, once there is one.
    report: Option<String>,
}

/// A request of a page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrillRequest {
    fault: String,
}

/// Starts drills, one at a time.
pub(super) struct Drills {
    program: PathBuf,
    folder: PathBuf,
    is_allowed: bool,
    board: Arc<Board>,
    /// Options of `halab` that a drill gets, too.
    options: Vec<OsString>,
    /// Cancelled when the page ends: no drill is started then.
    stop: CancellationToken,
    running: Mutex<Option<RunningDrill>>,
}

/// A drill that runs, or that has run.
struct RunningDrill {
    process: HeldProcess,
    /// Ends with the drill.
    task: AbortOnDropHandle<()>,
}

impl Drills {
    /// Keeps reports in a folder of `folder`, which is made if it is missing.
    pub(super) fn new(
        folder: &Path,
        is_allowed: bool,
        options: Vec<OsString>,
        board: Arc<Board>,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let folder = folder.join("drills");
        fs::create_dir_all(&folder)?;
        let drills = Drills {
            program: std::env::current_exe()?,
            folder,
            is_allowed,
            board,
            options,
            stop,
            running: Mutex::default(),
        };
        drills.show();
        Ok(drills)
    }

    /// The report of that name, as HTML.
    pub(super) fn report(&self, name: &str) -> Option<String> {
        // Only names that are listed: no path leaves the folder.
        let is_listed = self.reports().iter().any(|report| report == name);
        is_listed.then(|| fs::read_to_string(self.folder.join(name)).ok())?
    }

    /// Starts a drill.
    pub(super) async fn start(self: &Arc<Self>, request: &DrillRequest) -> Result<String, String> {
        if !self.is_allowed {
            return Err("this page may only look: start halab web with --allow-faults".into());
        }
        let kinds = FaultKind::ALL.iter();
        let Some(fault) = kinds
            .map(|kind| kind.name())
            .find(|name| *name == request.fault)
        else {
            return Err("no fault has this name; halab drill --list names them".into());
        };
        let mut running = self.running.lock().await;
        if self.stop.is_cancelled() {
            return Err("halab web is being stopped".into());
        }
        let is_running = |drill: &RunningDrill| !drill.task.is_finished();
        if running.as_ref().is_some_and(is_running) {
            return Err("a drill runs already; wait for its end".into());
        }
        let name = format!("{}-{fault}", Timestamp::from(SystemTime::now()).micros());
        let failed = |error: io::Error| format!("{}: {error}", self.program.display());
        let child = self.command(fault, &name).spawn().map_err(failed)?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let ended = || io::Error::other("it has ended at once");
        let pid = pid.ok_or_else(|| failed(ended()))?;
        let process = HeldProcess::open(pid).map_err(failed)?;
        let drills = self.clone();
        let task = tokio::spawn(async move { drills.follow(child, fault, name).await });
        let task = AbortOnDropHandle::new(task);
        *running = Some(RunningDrill { process, task });
        Ok(format!("the drill {fault} runs in a lab of its own"))
    }

    /// Ends the drill that runs, which then stops its lab. It is killed after a time limit.
    pub(super) async fn stop(&self) {
        let Some(RunningDrill { process, task }) = self.running.lock().await.take() else {
            return;
        };
        if task.is_finished() || process.signal(Signal::TERM).is_err() {
            return;
        }
        if timeout(STOP_LIMIT, task).await.is_err() {
            warn!("the drill did not end in time, and was killed");
        }
    }

    fn command(&self, fault: &str, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.options);
        command.args(["--profile", "fast", "drill", fault, "--rate", RATE]);
        for (option, extension) in [("--json", "json"), ("--html", "html")] {
            command.arg(option);
            command.arg(self.folder.join(format!("{name}.{extension}")));
        }
        for name in OTHERS_SETTINGS {
            command.env_remove(name);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Shows the progress of a drill until it ends.
    async fn follow(&self, mut child: Child, fault: &'static str, name: String) {
        let mut shown = ShownDrill {
            fault,
            lines: VecDeque::new(),
            is_over: false,
            verdict: None,
            report: None,
        };
        self.board.show("drill", &shown);
        if let Some(stderr) = child.stderr.take() {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                shown.lines.push_back(line.chars().take(LINE_MAX).collect());
                if shown.lines.len() > LINES_MAX {
                    shown.lines.pop_front();
                }
                self.board.show("drill", &shown);
            }
        }
        let ended = child.wait().await;
        shown.is_over = true;
        shown.verdict = Some(verdict(ended.ok()));
        let report = format!("{name}.html");
        shown.report = self.folder.join(&report).exists().then_some(report);
        self.board.show("drill", &shown);
        self.remove_old();
        self.show();
    }

    fn show(&self) {
        let faults = FaultKind::ALL.iter().map(|kind| ShownDrillFault {
            name: kind.name(),
            does: kind.definition().does,
            must: kind.definition().must,
        });
        self.board.show(
            "drills",
            &ShownDrills {
                is_allowed: self.is_allowed,
                faults: faults.collect(),
                reports: self.reports(),
            },
        );
    }

    /// The names of the reports, the newest first.
    fn reports(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut reports: Vec<String> = names.filter(|name| name.ends_with(".html")).collect();
        reports.sort_unstable_by(|a, b| b.cmp(a));
        reports
    }

    fn remove_old(&self) {
        for name in self.reports().iter().skip(REPORTS_MAX) {
            let html = self.folder.join(name);
            let _ = fs::remove_file(html.with_extension("json"));
            let _ = fs::remove_file(html);
        }
    }
}

/// How a drill ended, by its exit code.
fn verdict(status: Option<ExitStatus>) -> &'static str {
    match status.and_then(|status| status.code()) {
        Some(0) => "holds",
        Some(1) => "violated",
        Some(3) => "inconclusive",
        _ => "failed",
    }
}
