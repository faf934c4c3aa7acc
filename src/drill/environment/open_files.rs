//! Servers with a small limit of open files (`ulimit -n`).

/// The limit. Redis reserves 32 files, and uses the others for connections.
pub const OPEN_FILES: usize = 256;

/// The wrapper script of such a server.
pub fn script() -> String {
    // With this capability, Redis raises the limit again at its start.
    let bound = if rustix::process::geteuid().is_root() {
        " setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource"
    } else {
        ""
    };
    format!("ulimit -n {OPEN_FILES}\nexec{bound}")
}
