//! Clocks of single servers, which can be stepped while the servers run, by libfaketime.
//!
//! The library is loaded into the servers only, by a wrapper script: their supervisors, the writer
//! and the drill keep the machine's time. The monotonic clock is not changed, as when an
//! administrator or NTP steps a clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders of distributions.
const FOLDERS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
];
/// The build for programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";
/// File in the state folder of a node: the offset that libfaketime adds to the machine's time.
const CLOCK: &str = "clock";

/// Path of the library: a folder of a distribution, or beside the program `faketime` on PATH.
///
/// # Errors
/// The remedy, when it is not installed.
pub fn library() -> Result<PathBuf, String> {
    let programs = which::which_all("faketime").into_iter().flatten();
    let folders_of = programs.filter_map(|program| Some(program.parent()?.to_owned()));
    let beside =
        folders_of.flat_map(|folder| [folder.join("../lib/faketime"), folder.join("../lib")]);
    let folders = FOLDERS.iter().map(PathBuf::from).chain(beside);
    let mut paths = folders.map(|folder| folder.join(LIBRARY));
    paths.find(|path| path.exists()).ok_or_else(|| {
        "clocks cannot be stepped without libfaketime: apt-get install libfaketime".into()
    })
}

/// The wrapper script of a server whose clock can be stepped.
pub fn script(library: &Path) -> String {
    // libc before jemalloc: jemalloc asks for the time while the library looks up the original
    // function, which needs memory. The file may appear and disappear; it is read once a second.
    format!(
        "export LD_PRELOAD='{} libc.so.6' FAKETIME_TIMESTAMP_FILE=\"${{1%/*}}/{CLOCK}\"\n\
         export FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_CACHE_DURATION=1\n\
         exec",
        library.display(),
    )
}

/// Steps the clock of the server with that state folder by an offset to the machine's time (`+1h`).
///
/// # Errors
/// When the file can't be written.
pub fn step(state: &Path, offset: &str) -> io::Result<()> {
    fs::write(state.join(CLOCK), format!("{offset}\n"))
}

/// Sets it back to the machine's time.
///
/// # Errors
/// When the file can't be removed.
pub fn reset(state: &Path) -> io::Result<()> {
    match fs::remove_file(state.join(CLOCK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
