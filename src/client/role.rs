//! The answer to `ROLE`, as a type.
//!
//! `ROLE` lists only replicas whose link is online, each with the offset that it has acknowledged.
//! The acknowledgement protocol is based on it. See
//! <https://redis.io/docs/latest/commands/role/>.

use std::net::{Ipv4Addr, SocketAddrV4};

use redis::{ErrorKind, RedisError, Value};

use crate::protocol::ack::Confirmed;

/// The answer to `ROLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A primary.
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
    /// Parses the answer to `ROLE`.
    ///
    /// # Errors
    /// If it is not of the documented form.
    pub fn from_value(value: &Value) -> Result<Role, RedisError> {
        Self::parse(value).ok_or_else(|| {
            RedisError::from((ErrorKind::UnexpectedReturnType, "not an answer to ROLE"))
        })
    }

    fn parse(value: &Value) -> Option<Role> {
        let Value::Array(items) = value else {
            return None;
        };
        match text(items.first()?)?.as_str() {
            "master" => {
                let Value::Array(list) = items.get(2)? else {
                    return None;
                };
                let replicas = list.iter().map(parse_replica).collect::<Option<Vec<_>>>()?;
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

fn parse_replica(value: &Value) -> Option<Confirmed> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_answers_to_role_are_accepted() {
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
