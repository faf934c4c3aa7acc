//! The answer to `INFO` of a data node, as a type.
//!
//! See <https://redis.io/docs/latest/commands/info/>.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::protocol::ack::Confirmed;
use crate::protocol::history::ReplicationHistory;

/// Silence of the primary, in seconds, after which a replica's link counts as down: three periods
/// of the pings that a primary sends on each link (`repl-ping-replica-period 1`). Redis itself
/// reports the link as down only after `repl-timeout`.
const LINK_SILENCE: i64 = 3;

/// The answer to `INFO` of a data node, as far as the lab needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Whether it is a primary.
    pub is_primary: bool,
    /// As a replica: its primary.
    pub primary: Option<SocketAddrV4>,
    /// As a replica: its link to the primary is up, the first sync is done, and the primary sent
    /// something within the last seconds.
    pub link_up: bool,
    /// As a replica: it is receiving a full copy.
    pub syncing: bool,
    /// Its replication offset in bytes: on a primary, of what it has sent; on a replica, of what
    /// it has processed.
    pub offset: u64,
    /// The replication history of the offset (`master_replid`).
    pub replication_id: String,
    /// The replication history before its promotion (`master_replid2`).
    pub previous_replication_id: Option<String>,
    /// The first offset that is not of the history before its promotion (`second_repl_offset`).
    pub previous_until: u64,
    /// As a replica: its `replica-priority`; with 0 it is never promoted.
    pub priority: u64,
    /// As a primary: the replicas whose link is online.
    pub online: Vec<Confirmed>,
    /// As a primary: those of `online` with a `lag` below 2 seconds. A replica confirms its offset
    /// every second, and also sends something while it loads a full copy. A link that loses all
    /// packets stays online until `repl-timeout`.
    pub heard: Vec<Confirmed>,
    /// As a primary: the replicas that are receiving or awaiting a full copy.
    pub copying: Vec<Copying>,
    /// It is still loading its data from disk.
    pub loading: bool,
    /// It accepts no further connection: `maxclients` is reached.
    pub crowded: bool,
    /// The last write to its append-only file failed; a primary then refuses writes.
    pub disk_refuses: bool,
    /// Number of keys in all databases.
    pub keys: u64,
    /// Changes of the data since the last save, as its process counts them.
    pub changes: u64,
    /// Process id of the server, on its machine.
    pub pid: u32,
    /// The server's random id (`run_id`), which changes with each restart.
    pub run_id: String,
    /// The server's version as it reports it.
    pub version: String,
}

/// The number of keys in a line of `INFO keyspace`: `keys=1,expires=0,avg_ttl=0`.
fn keys_of(value: &str) -> u64 {
    let count = value.split(',').find_map(|part| part.strip_prefix("keys="));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

impl ServerInfo {
    /// Parses the answer to `INFO`; `None` if it is not that of a data node.
    pub fn of(text: &str) -> Option<Self> {
        let says_role = text.lines().any(|line| line.starts_with("role:"));
        says_role.then(|| Self::parse(text))
    }

    /// The histories of which it has the data.
    pub fn history(&self) -> ReplicationHistory {
        let previous = self.previous_replication_id.clone();
        ReplicationHistory {
            id: self.replication_id.clone(),
            before: previous.map(|id| (id, self.previous_until)),
        }
    }

    /// Parses the text of `INFO`; a missing field gets the most cautious value.
    pub fn parse(text: &str) -> Self {
        let mut info = ServerInfo {
            is_primary: false,
            primary: None,
            link_up: false,
            syncing: false,
            offset: 0,
            replication_id: String::new(),
            previous_replication_id: None,
            previous_until: 0,
            priority: 0,
            online: Vec::new(),
            copying: Vec::new(),
            heard: Vec::new(),
            loading: false,
            crowded: false,
            disk_refuses: false,
            keys: 0,
            changes: 0,
            pid: 0,
            run_id: String::new(),
            version: String::new(),
        };
        let (mut host, mut port, mut as_primary, mut as_replica) = (None, None, 0, 0);
        let mut silent = 0;
        // Replicas are counted separately, but against the same limit.
        let (mut clients, mut most) = (0, u64::MAX);
        let mut is_saving = false;
        for (key, value) in text
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
        {
            match key {
                "role" => info.is_primary = value == "master",
                "rdb_changes_since_last_save" => info.changes = value.parse().unwrap_or(0),
                _ if key.starts_with("db") => info.keys += keys_of(value),
                "master_host" => host = value.parse::<Ipv4Addr>().ok(),
                "master_port" => port = value.parse::<u16>().ok(),
                "master_link_status" => info.link_up = value == "up",
                "master_last_io_seconds_ago" => silent = value.parse().unwrap_or(0),
                "master_sync_in_progress" => info.syncing = value != "0",
                "master_repl_offset" => as_primary = value.parse().unwrap_or(0),
                "slave_repl_offset" => as_replica = value.parse().unwrap_or(0),
                "master_replid" => info.replication_id = value.to_owned(),
                "master_replid2" => {
                    // Zeros if there was none.
                    info.previous_replication_id =
                        value.contains(|c| c != '0').then(|| value.to_owned());
                }
                "second_repl_offset" => info.previous_until = value.parse().unwrap_or(0),
                "slave_priority" => info.priority = value.parse().unwrap_or(0),
                "connected_clients" | "connected_slaves" => {
                    clients += value.parse().unwrap_or(0);
                }
                "maxclients" => most = value.parse().unwrap_or(u64::MAX),
                "loading" => info.loading = value != "0",
                "rdb_bgsave_in_progress" => is_saving = value != "0",
                "aof_last_write_status" => info.disk_refuses = value == "err",
                "run_id" => info.run_id = value.to_owned(),
                "process_id" => info.pid = value.parse().unwrap_or(0),
                "redis_version" if info.version.is_empty() => info.version = printable(value),
                "valkey_version" => info.version = format!("{} (Valkey)", printable(value)),
                _ if is_replica_line(key) => {
                    let replica = online_replica(value);
                    let lag = field(value, "lag").and_then(|lag| lag.parse().ok());
                    let heard = lag.is_some_and(|seconds: u64| seconds < 2);
                    info.heard.extend(replica.filter(|_| heard));
                    info.copying.extend(Copying::of(value));
                    info.online.extend(replica);
                }
                _ => {}
            }
        }
        info.offset = if info.is_primary {
            as_primary
        } else {
            as_replica
        };
        info.crowded = clients >= most;
        for copying in &mut info.copying {
            copying.waits &= !is_saving;
        }
        info.link_up &= silent < LINK_SILENCE;
        info.primary = host.zip(port).map(|(ip, port)| SocketAddrV4::new(ip, port));
        info
    }
}

/// A version, made safe for a terminal and a table.
fn printable(version: &str) -> String {
    version
        .chars()
        .filter(|c| !c.is_control())
        .take(20)
        .collect()
}

/// Whether this is the key of a replica's line: `slave0`, `slave1` ..., but not `slave_priority`.
fn is_replica_line(key: &str) -> bool {
    key.strip_prefix("slave")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A replica that receives or awaits a full copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copying {
    /// Its address.
    pub to: SocketAddrV4,
    /// The copy has not begun. A diskless copy is in the same state until it is sent, so this also
    /// depends on whether the server is saving.
    pub waits: bool,
}

impl Copying {
    fn of(value: &str) -> Option<Self> {
        let waits = match field(value, "state")? {
            "wait_bgsave" => true,
            "send_bulk" => false,
            _ => return None,
        };
        let to = address(value)?;
        Some(Copying { to, waits })
    }
}

fn address(value: &str) -> Option<SocketAddrV4> {
    let ip = field(value, "ip")?.parse().ok()?;
    let port = field(value, "port")?.parse().ok()?;
    Some(SocketAddrV4::new(ip, port))
}

/// The replica of the line `ip=127.0.0.12,port=6379,state=online,offset=14,lag=0`; `None` if its
/// state is another.
fn online_replica(value: &str) -> Option<Confirmed> {
    if field(value, "state") != Some("online") {
        return None;
    }
    Some(Confirmed {
        address: address(value)?,
        offset: field(value, "offset")?.parse().ok()?,
    })
}

/// The value of a field in a replica's line.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(',')
        .find_map(|f| f.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_lists_only_online_replicas() {
        let info = ServerInfo::parse(
            "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Replication\r\nrole:master\r\n\
             slave0:ip=127.0.0.12,port=6379,state=online,offset=1400,lag=0\r\n\
             slave1:ip=127.0.0.13,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
             master_replid:77\r\nmaster_repl_offset:1414\r\n",
        );
        assert!(info.is_primary);
        assert_eq!((info.run_id.as_str(), info.offset), ("abc", 1414));
        let replica = Confirmed {
            address: "127.0.0.12:6379".parse().unwrap(),
            offset: 1400,
        };
        assert_eq!(info.online, [replica]);
        assert_eq!(info.heard, [replica]);
        let copying = Copying {
            to: "127.0.0.13:6379".parse().unwrap(),
            waits: true,
        };
        assert_eq!(info.copying, [copying]);
        let silent = ServerInfo::parse(
            "role:master\r\nslave0:ip=127.0.0.12,port=6379,state=online,offset=1400,lag=2\r\n",
        );
        assert_eq!((silent.online.len(), silent.heard.len()), (1, 0));
    }

    #[test]
    fn a_text_without_a_role_is_not_an_answer_and_versions_are_made_printable() {
        assert_eq!(ServerInfo::of("OK"), None);
        assert_eq!(ServerInfo::of("# Server\r\nredis_version:7.0.15\r\n"), None);
        let version = format!("redis_version:\x1b[2J{}\r\nrole:master\r\n", "7".repeat(99));
        assert_eq!(
            ServerInfo::of(&version).unwrap().version,
            "[2J77777777777777777"
        );
    }

    #[test]
    fn a_replica_reports_its_primary_link_and_priority() {
        let info = ServerInfo::parse(
            "role:slave\r\nmaster_host:127.0.0.11\r\nmaster_port:6379\r\n\
             master_link_status:down\r\nmaster_sync_in_progress:1\r\nslave_repl_offset:7\r\n\
             slave_priority:100\r\nmaster_repl_offset:9\r\n",
        );
        assert_eq!(info.primary, Some("127.0.0.11:6379".parse().unwrap()));
        assert!(!info.is_primary && !info.link_up && info.syncing);
        assert_eq!((info.offset, info.priority), (7, 100));
    }

    #[test]
    fn a_server_with_all_connections_in_use_is_crowded() {
        let crowded = |clients: u64, replicas: u64| {
            ServerInfo::parse(&format!(
                "connected_clients:{clients}\r\nmaxclients:100\r\nrole:master\r\n\
                 connected_slaves:{replicas}\r\n"
            ))
            .crowded
        };
        assert!(crowded(100, 0) && crowded(99, 1));
        assert!(!crowded(98, 1));
        assert!(!ServerInfo::parse("role:master\r\nconnected_slaves:1\r\n").crowded);
    }

    #[test]
    fn a_silent_link_is_down() {
        let link = |seconds: &str| {
            ServerInfo::parse(&format!(
                "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:{seconds}\r\n"
            ))
            .link_up
        };
        assert!(link("0") && link("2"));
        assert!(!link("3") && !link("9"));
    }
}
