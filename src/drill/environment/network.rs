//! A network namespace in which links can be cut and slowed without root.
//!
//! The program starts itself again in a user, a network and a mount namespace (`unshare`), where it
//! owns the loopback, and with it all of 127.0.0.0/8. A link is a pair of addresses: nodes bind
//! their outgoing connections to their own. Rules are nftables sets. The namespaces and all rules
//! end with the last process.

use std::ffi::OsString;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Set for the program that runs in its own namespace.
const MARK: &str = "HALAB_OWN_NETWORK";
/// Flags of `unshare`: a user namespace in which the caller is root, a network, and mounts
/// (`tmpfs`).
const UNSHARE: [&str; 4] = ["--user", "--map-root-user", "--net", "--mount"];
/// The table of the drill's rules.
const TABLE: &str = "halab";
/// Bandwidth of a slow link, in bytes per second.
pub const SLOW_BYTES: u32 = 2_000_000;
/// Bandwidth of a link that any load outruns, in bytes per second.
pub const OUTRUN_BYTES: u32 = 100_000;
/// Maximum queueing delay of a slow link, in milliseconds; then packets are dropped.
const SLOW_QUEUE_MS: u32 = 150;
/// Minimum queue length in bytes: a queue shorter than a few packets of the loopback takes none.
const MIN_QUEUE: u32 = 256 * 1024;
/// Packet loss of a lossy link, in percent.
const LOSS_PERCENT: u32 = 2;

/// Why links can't be cut here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NetworkError {
    /// A tool is missing or was refused.
    #[error("{command}: {why}")]
    Command {
        /// The command.
        command: String,
        /// Its error, or the system's.
        why: String,
    },
    /// The drill does not run in a network namespace of its own.
    #[error("the drill has no network of its own")]
    NotOwn,
}

/// Runs a system tool; an error contains the first line of its standard error.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), NetworkError> {
    let command = || format!("{program} {}", arguments.join(" "));
    let failed = |why: String| NetworkError::Command {
        command: command(),
        why,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(format!("{e}; Debian has it in {}", package(program))))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input.as_bytes())
            .map_err(|e| failed(e.to_string()))?;
    }
    let output = child
        .wait_with_output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(failed(errors.lines().next().unwrap_or("failed").to_owned()))
}

fn package(program: &str) -> &'static str {
    match program {
        "nft" => "nftables",
        "iptables" => "iptables",
        "unshare" => "util-linux",
        "mount" | "umount" => "mount",
        "cp" => "coreutils",
        _ => "iproute2",
    }
}

/// Whether this process runs in a network namespace of its own already.
pub fn is_own() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Whether this machine permits a network namespace.
///
/// # Errors
/// Why not.
pub fn probe() -> Result<(), NetworkError> {
    let mut arguments = UNSHARE.to_vec();
    arguments.extend(["nft", "add", "table", "ip", TABLE]);
    run("unshare", &arguments, "")?;
    run("ip", &["-Version"], "")
}

/// Why links can't be cut or slowed here, nor disks filled, if so.
pub fn missing() -> Option<String> {
    if is_own() {
        return None;
    }
    Some(match probe() {
        Err(error) => format!(
            "cutting links and filling disks needs a network and a mount namespace: {error}"
        ),
        Ok(()) => "the drill was not started in a network namespace of its own".into(),
    })
}

/// Starts this program again, with the same arguments, in namespaces of its own. Returns only when
/// that failed.
pub fn reexec(arguments: impl IntoIterator<Item = OsString>) -> NetworkError {
    let failed = |why: std::io::Error| NetworkError::Command {
        command: "unshare".into(),
        why: why.to_string(),
    };
    match std::env::current_exe() {
        Ok(program) => failed(
            Command::new("unshare")
                .args(UNSHARE)
                .arg("--")
                .arg(program)
                .args(arguments)
                .env(MARK, "1")
                .exec(),
        ),
        Err(error) => failed(error),
    }
}

/// The rules of the drill's network.
#[derive(Debug)]
pub struct Firewall {
    /// The bandwidth limit, in bytes per second, to be removed by the next healing.
    limit: Option<u32>,
    /// There are elements in the sets of cut or lossy links.
    cut: bool,
}

impl Firewall {
    /// Brings the loopback up and creates the tables, in a network namespace of the drill's own.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new() -> Result<Self, NetworkError> {
        if !is_own() {
            return Err(NetworkError::NotOwn);
        }
        run("ip", &["link", "set", "lo", "up"], "")?;
        // Dropped on input: on output, the sender would get an error.
        let rules = format!(
            "add table ip {TABLE}\ndelete table ip {TABLE}\nadd table ip {TABLE}\n\
             add set ip {TABLE} cut {{ type ipv4_addr . ipv4_addr ; }}\n\
             add set ip {TABLE} lossy {{ type ipv4_addr . ipv4_addr ; }}\n\
             add chain ip {TABLE} in {{ type filter hook input priority 0 ; }}\n\
             add rule ip {TABLE} in ip saddr . ip daddr @cut drop\n\
             add rule ip {TABLE} in ip saddr . ip daddr @lossy numgen random mod 100 < {LOSS_PERCENT} drop\n"
        );
        run("nft", &["-f", "-"], &rules)?;
        Ok(Firewall {
            limit: None,
            cut: false,
        })
    }

    /// Drops all packets between the two addresses of each pair.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&mut self, pairs: &[(Ipv4Addr, Ipv4Addr)]) -> Result<(), NetworkError> {
        self.add("cut", pairs)
    }

    /// Drops some of the packets between the two addresses of each pair.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn lose(&mut self, pairs: &[(Ipv4Addr, Ipv4Addr)]) -> Result<(), NetworkError> {
        self.add("lossy", pairs)
    }

    fn add(&mut self, set: &str, pairs: &[(Ipv4Addr, Ipv4Addr)]) -> Result<(), NetworkError> {
        let elements: Vec<String> = both_ways(pairs)
            .map(|(from, to)| format!("{from} . {to}"))
            .collect();
        let rule = format!(
            "add element ip {TABLE} {set} {{ {} }}\n",
            elements.join(", ")
        );
        self.cut = true;
        run("nft", &["-f", "-"], &rule)
    }

    /// Limits the bandwidth between the two addresses of each pair, in bytes per second, for all
    /// pairs together.
    ///
    /// # Errors
    /// When the kernel has no such queues; then nothing is changed.
    pub fn slow(&mut self, pairs: &[(Ipv4Addr, Ipv4Addr)], bytes: u32) -> Result<(), NetworkError> {
        let result = self.try_slow(pairs, bytes);
        if result.is_err() {
            // Nothing of the attempt may remain; its error is reported already.
            let _ = run("tc", &["qdisc", "del", "dev", "lo", "root"], "");
        } else {
            self.limit = Some(bytes);
        }
        result
    }

    fn try_slow(&mut self, pairs: &[(Ipv4Addr, Ipv4Addr)], bytes: u32) -> Result<(), NetworkError> {
        let rate = format!("{bytes}bps");
        let queue = (bytes / 1000 * SLOW_QUEUE_MS).max(MIN_QUEUE).to_string();
        let on_lo = |arguments: &str| {
            let words: Vec<&str> = arguments.split_whitespace().collect();
            run("tc", &words, "")
        };
        on_lo("qdisc add dev lo root handle 1: htb default 1")?;
        // All other packets as fast as the loopback is.
        on_lo("class add dev lo parent 1: classid 1:1 htb rate 32gbit quantum 200000")?;
        on_lo(&format!(
            "class add dev lo parent 1: classid 1:2 htb rate {rate} burst 128kb quantum 70000"
        ))?;
        on_lo(&format!(
            "qdisc add dev lo parent 1:2 handle 2: bfifo limit {queue}"
        ))?;
        for (from, to) in both_ways(pairs) {
            on_lo(&format!(
                "filter add dev lo parent 1: protocol ip u32 match ip src {from}/32 match ip dst {to}/32 \
                 flowid 1:2"
            ))?;
        }
        Ok(())
    }

    /// Whether links are cut, lossy or slow. The limit by which a load outruns the replica does not
    /// count: it belongs to the load, not to the fault.
    pub fn is_changed(&self) -> bool {
        self.cut || self.limit.is_some_and(|bytes| bytes != OUTRUN_BYTES)
    }

    /// Removes all cuts, losses and bandwidth limits. Goes on after an error, and returns the
    /// first.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal(&mut self) -> Result<(), NetworkError> {
        let mut first = Ok(());
        if self.limit.take().is_some() {
            first = run("tc", &["qdisc", "del", "dev", "lo", "root"], "");
        }
        if std::mem::take(&mut self.cut) {
            let rules = format!("flush set ip {TABLE} cut\nflush set ip {TABLE} lossy\n");
            first = first.and(run("nft", &["-f", "-"], &rules));
        }
        first
    }
}

/// Each pair in both directions.
pub(super) fn both_ways(
    pairs: &[(Ipv4Addr, Ipv4Addr)],
) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> + use<'_> {
    pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_and_slow_links_are_changes_and_the_limit_of_the_load_is_not() {
        let firewall = |cut, limit| Firewall { limit, cut };
        assert!(!firewall(false, None).is_changed());
        assert!(!firewall(false, Some(OUTRUN_BYTES)).is_changed());
        assert!(firewall(false, Some(SLOW_BYTES)).is_changed());
        assert!(firewall(true, Some(OUTRUN_BYTES)).is_changed());
    }
}
