//! Progress bars on standard error, if it is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar for records; without a length it only counts. `done` is the word after the count.
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
    // If the template does not parse, the default style stays.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
