//! Servers that may have few open files, as a limit of the system makes it.

/// Open files that such a server may have. Redis keeps 32 of them for itself, and gives the others to connections.
pub const OPEN_FILES: usize = 256;

/// The lines before the server: see [`super::wrapped`].
pub fn lines() -> String {
    // Whoever may pass all limits raises this one again, as Redis does at its start.
    let bound = if rustix::process::geteuid().is_root() {
        " setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource"
    } else {
        ""
    };
    format!("ulimit -n {OPEN_FILES}\nexec{bound}")
}
