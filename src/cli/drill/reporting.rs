//! The progress of drills on standard error, and their report in files.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::cli::Failure;
use crate::cli::output::print_note;
use crate::drill::report::{DrillReport, markdown};
use crate::drill::{DrillListener, DrillProgress};
use crate::files;

/// Writes the report into the files that were asked for.
pub(in crate::cli) fn write_report(
    report: &DrillReport,
    json: Option<&Path>,
    md: Option<&Path>,
) -> Result<(), Failure> {
    if let Some(path) = json {
        write_json(report, path)?;
    }
    if let Some(path) = md {
        write(path, &markdown::markdown(report))?;
    }
    Ok(())
}

fn write_json(report: &DrillReport, path: &Path) -> anyhow::Result<()> {
    write(path, &(serde_json::to_string(report)? + "\n"))
}

/// Writes it in one piece: who reads meanwhile, or after the end of this process, finds this report
/// or the last one.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = if is_stream(path) {
        fs::write(path, text)
    } else {
        // What a link points to, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        files::replace(&path, files::PUBLIC, text.as_bytes())
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Whether it is a pipe or a terminal, which can't be replaced: it gets the last report only.
fn is_stream(path: &Path) -> bool {
    path.exists() && !path.is_file()
}

/// Shows the progress on standard error: a live line on a terminal, otherwise a line per run.
/// Writes the report so far into its file after every run.
pub(super) struct ProgressReporter {
    bar: ProgressBar,
    json: Option<PathBuf>,
    short: bool,
}

impl ProgressReporter {
    pub(super) fn new(json: Option<PathBuf>, short: bool) -> Self {
        let bar = ProgressBar::new_spinner();
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        ProgressReporter { bar, json, short }
    }

    pub(super) fn listener(&self) -> DrillListener {
        let (bar, json, short) = (self.bar.clone(), self.json.clone(), self.short);
        Arc::new(move |progress| match progress {
            DrillProgress::SoFar(report) => {
                let Some(path) = json.as_ref().filter(|path| !is_stream(path)) else {
                    return;
                };
                let report = match short {
                    true => report.clone().shortened(),
                    false => report.clone(),
                };
                if let Err(error) = write_json(&report, path) {
                    bar.suspend(|| print_note(format_args!("{error:#}")));
                }
            }
            DrillProgress::Phase { fault, run, phase } => {
                let line = format!("{fault}, run {run}: {phase}");
                match bar.is_hidden() {
                    true => print_note(line),
                    false => bar.set_message(line),
                }
            }
            DrillProgress::Ended {
                fault,
                setting,
                run,
                result,
            } => {
                let line = format!(
                    "{}: {fault}, run {run}, {} nodes, {}, policy {}, seed {}\n{}",
                    result.verdict,
                    setting.nodes,
                    setting.servers(),
                    setting.policy,
                    result.seed,
                    markdown::brief(result)
                );
                bar.suspend(|| print_note(line));
            }
        })
    }
}
