//! What is told while drills run and when they have: on standard error, and in files.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::cli::Failure;
use crate::drill::report::Report;
use crate::drill::{self, Progress, markdown};

pub(in crate::cli) fn write_out(
    report: &Report,
    json: Option<&Path>,
    md: Option<&Path>,
) -> Result<(), Failure> {
    let write = |path: &Path, text: String| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = json {
        write(path, serde_json::to_string(report)? + "\n")?;
    }
    if let Some(path) = md {
        write(path, markdown::markdown(report))?;
    }
    Ok(())
}

/// Tells on standard error how far it is: a line that lives on a terminal, a line a run otherwise.
pub(super) struct Teller {
    bar: ProgressBar,
}

impl Teller {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Teller { bar }
    }

    pub(super) fn listener(&self) -> drill::Listener {
        let bar = self.bar.clone();
        Arc::new(move |progress| match progress {
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
                    setting.server,
                    setting.policy,
                    result.seed,
                    markdown::brief(result)
                );
                bar.suspend(|| eprintln!("{line}"));
            }
        })
    }
}
