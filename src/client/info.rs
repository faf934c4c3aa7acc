//! What `ROLE` and `INFO` say of a data node, as types.
//!
//! `ROLE` lists only replicas whose link is online, each with the offset that it has acknowledged;
//! it is what the acknowledgement protocol builds on. See <https://redis.io/docs/latest/commands/role/>
//! and <https://redis.io/docs/latest/commands/info/>.

use std::net::{Ipv4Addr, SocketAddrV4};

use redis::{ErrorKind, RedisError, Value};

use crate::protocol::ack::Confirmed;

/// The answer to `ROLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A primary: takes writes.
    Primary {
        /// Its replication offset in bytes.
        offset: u64,
        /// Its replicas whose link is online.
        replicas: Vec<Confirmed>,
    },
    /// A replica.
    Replica {
        /// Its primary.
        of: SocketAddrV4,
        /// Whether its link is up and the first sync is done (`connected`).
        connected: bool,
        /// Its replication offset in bytes.
        offset: u64,
    },
    /// A Sentinel.
    Sentinel,
}

impl Role {
    /// Reads the answer to `ROLE`.
    ///
    /// # Errors
    /// When it is not of the documented shape.
    pub fn from_value(value: &Value) -> Result<Role, RedisError> {
        Self::read(value).ok_or_else(|| {
            RedisError::from((ErrorKind::UnexpectedReturnType, "not an answer to ROLE"))
        })
    }

    fn read(value: &Value) -> Option<Role> {
        let Value::Array(items) = value else {
            return None;
        };
        match text(items.first()?)?.as_str() {
            "master" => {
                let Value::Array(list) = items.get(2)? else {
                    return None;
                };
                let replicas = list.iter().map(read_replica).collect::<Option<Vec<_>>>()?;
                Some(Role::Primary {
                    offset: number(items.get(1)?)?,
                    replicas,
                })
            }
            "slave" => Some(Role::Replica {
                of: socket(&text(items.get(1)?)?, number(items.get(2)?)?)?,
                connected: text(items.get(3)?)? == "connected",
                // -1 until the first sync is done.
                offset: number(items.get(4)?).unwrap_or(0),
            }),
            "sentinel" => Some(Role::Sentinel),
            _ => None,
        }
    }
}

fn read_replica(value: &Value) -> Option<Confirmed> {
    let Value::Array(items) = value else {
        return None;
    };
    let address = socket(&text(items.first()?)?, number(items.get(1)?)?)?;
    Some(Confirmed {
        address,
        offset: number(items.get(2)?)?,
    })
}

fn socket(ip: &str, port: u64) -> Option<SocketAddrV4> {
    Some(SocketAddrV4::new(
        ip.parse::<Ipv4Addr>().ok()?,
        u16::try_from(port).ok()?,
    ))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(n) => Some(n.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(n) => u64::try_from(*n).ok(),
        other => text(other)?.parse().ok(),
    }
}

/// Silence of the primary, in seconds, after which a replica's link counts as down: three of the
/// pings that a primary sends down each link (`repl-ping-replica-period 1`). Redis itself says so
/// after `repl-timeout`.
const LINK_SILENCE: i64 = 3;

/// What `INFO` says of a data node, as far as the lab needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationInfo {
    /// Whether it takes writes.
    pub is_primary: bool,
    /// As a replica: its primary.
    pub primary: Option<SocketAddrV4>,
    /// As a replica: its link to the primary is up, the first sync is done, and something came
    /// over it a moment ago.
    pub link_up: bool,
    /// As a replica: it receives a full copy.
    pub syncing: bool,
    /// Its replication offset in bytes: as a primary what it has sent, as a replica what it has
    /// processed.
    pub offset: u64,
    /// The history that the offset counts in (`master_replid`).
    pub replication_id: String,
    /// The history that it went on from when it was promoted (`master_replid2`).
    pub before: Option<String>,
    /// As a replica: its `replica-priority`; 0 is never promoted.
    pub priority: u64,
    /// As a primary: the replicas whose link is online.
    pub online: Vec<Confirmed>,
    /// As a primary: those of `online` that were heard a moment ago (`lag` below 2 seconds; a
    /// replica confirms its offset every second, and says something while it loads a full copy
    /// too). A link on which packets vanish stays online until `repl-timeout`.
    pub heard: Vec<Confirmed>,
    /// As a primary: the replicas that make a full copy.
    pub copying: Vec<Copying>,
    /// It still loads its data from disk.
    pub loading: bool,
    /// It takes no further connection: all of `maxclients` are taken.
    pub crowded: bool,
    /// The last write to its append-only file failed; as a primary it refuses writes then.
    pub disk_refuses: bool,
    /// Its keys, in all databases.
    pub keys: u64,
    /// Changes of the data that its process has counted.
    pub changes: u64,
    /// Process id of the server, on its machine.
    pub pid: u32,
    /// What the server drew for itself at its start (`run_id`): another one after each restart.
    pub run_id: String,
    /// The server's version as it says it.
    pub version: String,
}

/// The keys of a database, as `INFO keyspace` says them: `keys=1,expires=0,avg_ttl=0`.
fn keys_of(value: &str) -> u64 {
    let count = value.split(',').find_map(|part| part.strip_prefix("keys="));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

impl ReplicationInfo {
    /// Reads the answer to `INFO`; `None` when it is not one of a data node.
    pub fn of(text: &str) -> Option<Self> {
        let says_role = text.lines().any(|line| line.starts_with("role:"));
        says_role.then(|| Self::parse(text))
    }

    /// Reads the text of `INFO`; what is not there keeps the value that promises least.
    pub fn parse(text: &str) -> Self {
        let mut info = ReplicationInfo {
            is_primary: false,
            primary: None,
            link_up: false,
            syncing: false,
            offset: 0,
            replication_id: String::new(),
            before: None,
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
        // Replicas are counted apart, and against the same limit.
        let (mut clients, mut most) = (0, u64::MAX);
        let mut saves = false;
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
                    // Zeros where there was none.
                    info.before = value.contains(|c| c != '0').then(|| value.to_owned());
                }
                "slave_priority" => info.priority = value.parse().unwrap_or(0),
                "connected_clients" | "connected_slaves" => {
                    clients += value.parse().unwrap_or(0);
                }
                "maxclients" => most = value.parse().unwrap_or(u64::MAX),
                "loading" => info.loading = value != "0",
                "rdb_bgsave_in_progress" => saves = value != "0",
                "aof_last_write_status" => info.disk_refuses = value == "err",
                "run_id" => info.run_id = value.to_owned(),
                "process_id" => info.pid = value.parse().unwrap_or(0),
                "redis_version" if info.version.is_empty() => info.version = shown(value),
                "valkey_version" => info.version = format!("{} (Valkey)", shown(value)),
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
            copying.waits &= !saves;
        }
        info.link_up &= silent < LINK_SILENCE;
        info.primary = host.zip(port).map(|(ip, port)| SocketAddrV4::new(ip, port));
        info
    }
}

/// A version, fit for a terminal and a table, whoever says it.
fn shown(version: &str) -> String {
    version
        .chars()
        .filter(|c| !c.is_control())
        .take(20)
        .collect()
}

/// `slave0`, `slave1` ...; not `slave_priority` and the like.
fn is_replica_line(key: &str) -> bool {
    key.strip_prefix("slave")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A replica that makes a full copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copying {
    /// Where it is.
    pub to: SocketAddrV4,
    /// The copy has not begun. One that goes straight to the socket is in the same state until it
    /// is sent, so this is known by whether the server saves at all.
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

/// `ip=127.0.0.12,port=6379,state=online,offset=14,lag=0`, where the state is online.
fn online_replica(value: &str) -> Option<Confirmed> {
    if field(value, "state") != Some("online") {
        return None;
    }
    Some(Confirmed {
        address: address(value)?,
        offset: field(value, "offset")?.parse().ok()?,
    })
}

/// The value of one `name=value` of a line of replicas.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(',')
        .find_map(|f| f.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_lists_only_online_replicas() {
        let info = ReplicationInfo::parse(
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
        let silent = ReplicationInfo::parse(
            "role:master\r\nslave0:ip=127.0.0.12,port=6379,state=online,offset=1400,lag=2\r\n",
        );
        assert_eq!((silent.online.len(), silent.heard.len()), (1, 0));
    }

    #[test]
    fn what_says_no_role_is_no_answer_and_a_version_is_short_and_plain() {
        assert_eq!(ReplicationInfo::of("OK"), None);
        assert_eq!(
            ReplicationInfo::of("# Server\r\nredis_version:7.0.15\r\n"),
            None
        );
        let version = format!("redis_version:\x1b[2J{}\r\nrole:master\r\n", "7".repeat(99));
        assert_eq!(
            ReplicationInfo::of(&version).unwrap().version,
            "[2J77777777777777777"
        );
    }

    #[test]
    fn a_replica_tells_its_primary_link_and_priority() {
        let info = ReplicationInfo::parse(
            "role:slave\r\nmaster_host:127.0.0.11\r\nmaster_port:6379\r\nmaster_link_status:down\r\n\
             master_sync_in_progress:1\r\nslave_repl_offset:7\r\nslave_priority:100\r\n\
             master_repl_offset:9\r\n",
        );
        assert_eq!(info.primary, Some("127.0.0.11:6379".parse().unwrap()));
        assert!(!info.is_primary && !info.link_up && info.syncing);
        assert_eq!((info.offset, info.priority), (7, 100));
    }

    #[test]
    fn a_server_whose_connections_are_all_taken_is_crowded() {
        let crowded = |clients: u64, replicas: u64| {
            ReplicationInfo::parse(&format!(
                "connected_clients:{clients}\r\nmaxclients:100\r\nrole:master\r\nconnected_slaves:{replicas}\r\n"
            ))
            .crowded
        };
        assert!(crowded(100, 0) && crowded(99, 1));
        assert!(!crowded(98, 1));
        assert!(!ReplicationInfo::parse("role:master\r\nconnected_slaves:1\r\n").crowded);
    }

    #[test]
    fn a_link_on_which_nothing_comes_is_down() {
        let link = |seconds: &str| {
            ReplicationInfo::parse(&format!(
                "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:{seconds}\r\n"
            ))
            .link_up
        };
        assert!(link("0") && link("2"));
        assert!(!link("3") && !link("9"));
    }

    #[test]
    fn role_is_read_as_documented_and_nothing_else() {
        let bulk = |s: &str| Value::BulkString(s.as_bytes().to_vec());
        let primary = Value::Array(vec![
            bulk("master"),
            Value::Int(3129659),
            Value::Array(vec![Value::Array(vec![
                bulk("127.0.0.12"),
                bulk("6379"),
                bulk("3129242"),
            ])]),
        ]);
        let replica = Confirmed {
            address: "127.0.0.12:6379".parse().unwrap(),
            offset: 3129242,
        };
        assert_eq!(
            Role::from_value(&primary).unwrap(),
            Role::Primary {
                offset: 3129659,
                replicas: vec![replica]
            }
        );
        let replica = Value::Array(vec![
            bulk("slave"),
            bulk("127.0.0.11"),
            Value::Int(6379),
            bulk("connecting"),
            Value::Int(-1),
        ]);
        assert_eq!(
            Role::from_value(&replica).unwrap(),
            Role::Replica {
                of: "127.0.0.11:6379".parse().unwrap(),
                connected: false,
                offset: 0
            }
        );
        for wrong in [
            Value::Nil,
            Value::Okay,
            Value::Array(vec![]),
            Value::Array(vec![bulk("x")]),
        ] {
            assert!(Role::from_value(&wrong).is_err());
        }
    }
}
