//! `halab status --watch` on a terminal, while something happens.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use super::lab::{TestLab, wait_until};

const ROWS: NonZeroU16 = NonZeroU16::new(40).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(120).unwrap();

/// Ends with the test: the terminal's end ends what runs on it.
struct Terminal(Child);

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_failover_is_seen_on_the_screen_and_q_leaves_it() {
    let lab = TestLab::start();
    let old = lab.primary().unwrap();
    let watch = lab.command();
    let words: Vec<String> = std::iter::once(watch.get_program())
        .chain(watch.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    // `script` gives it a terminal.
    let child = Command::new("script")
        .args(["--quiet", "--return", "--flush", "--command"])
        .arg(format!(
            "stty rows {ROWS} cols {COLUMNS}; exec {} status --watch",
            words.join(" ")
        ))
        .arg("/dev/null")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut terminal = Terminal(child);
    let shown = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
    let mut output = terminal.0.stdout.take().unwrap();
    let reader = std::thread::spawn({
        let shown = shown.clone();
        move || {
            let mut some = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut some) {
                shown.lock().unwrap().process(&some[..n]);
            }
        }
    });
    let has = |text: &str| shown.lock().unwrap().screen().contents().contains(text);

    wait_until("the lab on the screen", || {
        has("healthy") && has("sentinel-3") && has(&old)
    });
    lab.signal_server(&old, Signal::KILL);
    let new = lab.wait_failover_from(&old);
    wait_until("the failover on the screen", || {
        has("+switch-master") && has(&format!("primary {new} at epoch 1"))
    });
    terminal.0.stdin.take().unwrap().write_all(b"q").unwrap();
    wait_until("the end of the screen", || {
        terminal.0.try_wait().unwrap().is_some()
    });
    reader.join().unwrap();
    // The terminal is as it was.
    assert!(!shown.lock().unwrap().screen().alternate_screen());
}
