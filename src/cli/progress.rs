//! Progress of long work, on standard error when that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that counts records; without a length it only counts. `done` says what has been done to them.
pub(super) fn records_bar(length: Option<u64>, done: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = match length {
        Some(_) => format!(
            "{{bar:30}} {{human_pos}}/{{human_len}} {done}, {{per_sec}}, {{eta}} left  {{msg}}"
        ),
        None => format!("{{spinner}} {{human_pos}} {done}, {{per_sec}}, {{elapsed}}  {{msg}}"),
    };
    // A template that does not parse leaves the default one.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
