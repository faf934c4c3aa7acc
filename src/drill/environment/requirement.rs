//! What a fault needs of its environment, and whether it is available.

use super::{clock, cpu_quota, delay, disk_latency, network};

/// What a fault needs of its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Signals to processes, and commands to servers: works on any running lab.
    Signals,
    /// Nodes that the drill has started, so that it can start them again.
    OwnNodes,
    /// A network namespace, in which links can be cut.
    OwnNetwork,
    /// File systems in a mount namespace, which can be filled.
    OwnDisks,
    /// Servers whose clocks can be stepped, by libfaketime.
    OwnClocks,
    /// Servers with a limit of open files.
    OpenFileLimit,
    /// A network namespace with a round-trip time from the start.
    RoundTrip {
        /// The round-trip time in milliseconds.
        ms: u32,
    },
    /// Nodes with a CPU quota from the start, by their cgroups.
    CpuQuota,
    /// strace, and the permission to trace a server.
    Tracing {
        /// The drill has to have started the nodes, so that it can start them again.
        own_nodes: bool,
    },
    /// A second server, which reads the files of the first one.
    SecondServer,
}

/// What is available to a drill, beside the machine.
#[derive(Debug, Clone, Copy)]
pub struct Availability<'a> {
    /// The drill works on a lab that it did not start.
    pub attached: bool,
    /// Name and version of the server.
    pub server: &'a str,
    /// There is a second server, which reads the files of that one.
    pub second_server: bool,
}

impl Requirement {
    /// A short label, for the table in `docs/drills.md`.
    pub fn label(self) -> &'static str {
        match self {
            Requirement::Signals => "",
            Requirement::OwnNodes => "own lab",
            Requirement::OwnNetwork => "network",
            Requirement::OwnDisks => "disks",
            Requirement::OwnClocks => "clocks",
            Requirement::OpenFileLimit => "limits",
            Requirement::RoundTrip { .. } => "delay",
            Requirement::CpuQuota => "cgroup",
            Requirement::Tracing { .. } => "tracing",
            Requirement::SecondServer => "second server",
        }
    }

    /// Its description in `halab drill --list`; `in_containers`: the fault works on containers.
    pub fn description(self, in_containers: bool) -> &'static str {
        match (self, in_containers) {
            (Requirement::Signals, _) => "",
            (Requirement::OwnNodes, true) => " (not with --attach, but for containers)",
            (Requirement::OwnNodes | Requirement::OpenFileLimit, _) => " (not with --attach)",
            (Requirement::OwnNetwork, true) => {
                " (in a network namespace, not with --attach, but for containers)"
            }
            (Requirement::OwnNetwork | Requirement::RoundTrip { .. }, _) => {
                " (in a network namespace, not with --attach)"
            }
            (Requirement::OwnDisks, _) => " (in a mount namespace, not with --attach)",
            (Requirement::OwnClocks, _) => " (with libfaketime, not with --attach)",
            (Requirement::CpuQuota, _) => " (with cgroups, as root, not with --attach)",
            (Requirement::Tracing { own_nodes: false }, _) => " (with strace)",
            (Requirement::Tracing { own_nodes: true }, _) => " (with strace, not with --attach)",
            (Requirement::SecondServer, _) => " (with a second server, not with --attach)",
        }
    }

    /// Whether the drill has to run in namespaces of its own.
    pub fn needs_namespaces(self) -> bool {
        matches!(
            self,
            Requirement::OwnNetwork | Requirement::OwnDisks | Requirement::RoundTrip { .. }
        )
    }

    /// Whether a soak run can use the fault on this machine. Its lab runs for hours, with the
    /// servers, limits and networks that it was started with, and never changes to another server.
    pub fn is_available_in_soak(self) -> bool {
        match self {
            Requirement::Signals | Requirement::OwnNodes => true,
            Requirement::OwnNetwork => network::is_own(),
            Requirement::Tracing { .. } => disk_latency::missing().is_none(),
            Requirement::OwnDisks
            | Requirement::OwnClocks
            | Requirement::OpenFileLimit
            | Requirement::RoundTrip { .. }
            | Requirement::CpuQuota
            | Requirement::SecondServer => false,
        }
    }

    /// Why it is not available here, if so.
    pub fn missing(self, available: Availability<'_>) -> Option<String> {
        if available.attached
            && let Some(action) = self.only_in_own_lab()
        {
            return Some(format!(
                "it {action}, which only works in a lab of the drill's own"
            ));
        }
        match self {
            Requirement::Signals | Requirement::OwnNodes | Requirement::OpenFileLimit => None,
            Requirement::OwnNetwork | Requirement::OwnDisks => network::missing(),
            Requirement::RoundTrip { .. } => network::missing().or_else(delay::missing),
            Requirement::OwnClocks => clock::library().err(),
            Requirement::CpuQuota => cpu_quota::missing(),
            Requirement::Tracing { .. } => disk_latency::missing(),
            Requirement::SecondServer => (!available.second_server).then(|| {
                format!(
                    "there is no other server on PATH that reads the files of {}: name one by --to",
                    available.server
                )
            }),
        }
    }

    /// Faults that the drill cannot inject in a lab that it did not start.
    fn only_in_own_lab(self) -> Option<&'static str> {
        match self {
            Requirement::Signals | Requirement::Tracing { own_nodes: false } => None,
            Requirement::OwnNodes | Requirement::Tracing { own_nodes: true } => {
                Some("starts nodes again")
            }
            Requirement::OwnNetwork => Some("cuts links"),
            Requirement::OwnDisks => Some("fills disks"),
            Requirement::OwnClocks => Some("steps clocks"),
            Requirement::OpenFileLimit => Some("limits servers"),
            Requirement::RoundTrip { .. } | Requirement::CpuQuota => Some("starts slow nodes"),
            Requirement::SecondServer => Some("replaces the server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_starts_nodes_again_is_not_injected_into_a_lab_that_runs_already() {
        let attached = Availability {
            attached: true,
            server: "Redis",
            second_server: false,
        };
        for requirement in [
            Requirement::OwnNodes,
            Requirement::Tracing { own_nodes: true },
        ] {
            let why = requirement.missing(attached).unwrap();
            assert!(why.contains("starts nodes again"), "{why}");
            assert!(requirement.description(false).contains("not with --attach"));
        }
    }
}
