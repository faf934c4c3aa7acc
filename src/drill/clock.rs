//! Clocks of single servers, that can be stepped while they run, by libfaketime.
//!
//! The library is loaded into the servers alone, by a script in the server's place: their parents, the writer and the
//! drill keep the time of the machine. What Redis measures by the monotonic clock goes on evenly, as when an
//! administrator or NTP steps a clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where distributions have it.
const FOLDERS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
];
/// The build for programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";
/// In the state folder of a node: what libfaketime adds to the time of the machine.
const CLOCK: &str = "clock";

/// The library, where distributions have it, or beside the program `faketime` on PATH.
///
/// # Errors
/// What helps, when it is not here.
pub fn library() -> Result<PathBuf, String> {
    let programs = which::which_all("faketime").into_iter().flatten();
    let folders_of = programs.filter_map(|program| Some(program.parent()?.to_owned()));
    let beside =
        folders_of.flat_map(|folder| [folder.join("../lib/faketime"), folder.join("../lib")]);
    let folders = FOLDERS.iter().map(PathBuf::from).chain(beside);
    let mut paths = folders.map(|folder| folder.join(LIBRARY));
    paths.find(|path| path.exists()).ok_or_else(|| {
        "clocks can't be stepped without libfaketime: apt-get install libfaketime".into()
    })
}

/// The lines before a server whose clock can be stepped: see [`super::wrapped`].
pub fn lines(library: &Path) -> String {
    // libc before jemalloc: that one asks for the time while the library looks for the function behind its own, for
    // which it needs memory. The file may appear and go; it is looked at once a second.
    format!(
        "export LD_PRELOAD='{} libc.so.6' FAKETIME_TIMESTAMP_FILE=\"${{1%/*}}/{CLOCK}\"\n\
         export FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_CACHE_DURATION=1\n\
         exec",
        library.display(),
    )
}

/// Steps the clock of the server whose state folder that is, to so much beside the time of the machine (`+1h`).
///
/// # Errors
/// When the file can't be written.
pub fn step(state: &Path, by: &str) -> io::Result<()> {
    fs::write(state.join(CLOCK), format!("{by}\n"))
}

/// Lets it have the time of the machine again.
///
/// # Errors
/// When the file can't be removed.
pub fn right(state: &Path) -> io::Result<()> {
    match fs::remove_file(state.join(CLOCK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
