//! What is told while drills run and when they have: on standard error, and in files.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::cli::Failure;
use crate::drill::report::Report;
use crate::drill::{self, Progress, markdown};
use crate::files;

pub(in crate::cli) fn write_out(
    report: &Report,
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

fn write_json(report: &Report, path: &Path) -> anyhow::Result<()> {
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

/// Whether it is a pipe or a terminal: nothing can be put in its place, and it takes one report.
fn is_stream(path: &Path) -> bool {
    path.exists() && !path.is_file()
}

/// Tells on standard error how far it is: a line that lives on a terminal, a line a run otherwise.
/// Keeps what was run so far in the file for the report.
pub(super) struct Teller {
    bar: ProgressBar,
    json: Option<PathBuf>,
    short: bool,
}

impl Teller {
    pub(super) fn new(json: Option<PathBuf>, short: bool) -> Self {
        let bar = ProgressBar::new_spinner();
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Teller { bar, json, short }
    }

    pub(super) fn listener(&self) -> drill::Listener {
        let (bar, json, short) = (self.bar.clone(), self.json.clone(), self.short);
        Arc::new(move |progress| match progress {
            Progress::SoFar(report) => {
                let Some(path) = json.as_ref().filter(|path| !is_stream(path)) else {
                    return;
                };
                let report = match short {
                    true => report.clone().shortened(),
                    false => report.clone(),
                };
                if let Err(error) = write_json(&report, path) {
                    bar.suspend(|| eprintln!("{error:#}"));
                }
            }
            Progress::Phase { fault, run, phase } => {
                bar.set_message(format!("{fault}, run {run}: {phase}"));
            }
            Progress::Ended {
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
                bar.suspend(|| eprintln!("{line}"));
            }
        })
    }
}
