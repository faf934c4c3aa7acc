//! The replies of `SENTINEL MASTER` and `SENTINEL REPLICAS`, as a [`SentinelView`].
//!
//! Fields and flags: <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use redis::{ErrorKind, FromRedisValue, RedisError, RedisResult, Value};

use crate::protocol::vote::{PASSIVE_QUORUM, ReplicaView, SentinelView};

type Fields = HashMap<String, String>;

/// Parses the two replies.
///
/// # Errors
/// If one is an error reply or not of the documented form.
pub(crate) fn view(values: &[Value]) -> RedisResult<SentinelView> {
    let [primary, replicas] = values else {
        return Err(malformed("two replies expected"));
    };
    let primary = Fields::from_redis_value(primary.clone().extract_error()?)
        .map_err(|_| malformed("SENTINEL MASTER"))?;
    let replicas = Vec::<Fields>::from_redis_value(replicas.clone().extract_error()?)
        .map_err(|_| malformed("SENTINEL REPLICAS"))?;
    Ok(SentinelView {
        primary: socket(&primary)?,
        config_epoch: number(&primary, "config-epoch")?,
        primary_s_down: flag(&primary, "s_down"),
        primary_o_down: flag(&primary, "o_down"),
        failover_in_progress: flag(&primary, "failover_in_progress"),
        primary_silent_for: Duration::from_millis(number(&primary, "last-ok-ping-reply")?),
        primary_says_primary: primary.get("role-reported").is_some_and(|r| r == "master"),
        primary_info_age: info_age(&primary)?,
        passive: (primary
            .get("quorum")
            .and_then(|quorum| quorum.parse::<u64>().ok()))
        .is_some_and(|quorum| quorum >= PASSIVE_QUORUM),
        other_sentinels: number(&primary, "num-other-sentinels")?,
        known_replicas: number(&primary, "num-slaves")?,
        replicas: replicas.iter().map(replica).collect::<RedisResult<_>>()?,
    })
}

fn replica(fields: &Fields) -> RedisResult<ReplicaView> {
    Ok(ReplicaView {
        address: socket(fields)?,
        priority: number(fields, "slave-priority")?,
        says_replica: fields.get("role-reported").is_some_and(|r| r == "slave"),
        down: flag(fields, "s_down") || flag(fields, "o_down"),
        disconnected: flag(fields, "disconnected"),
        link_up: fields.get("master-link-status").is_some_and(|s| s == "ok"),
        info_age: info_age(fields)?,
    })
}

/// Age of the last `INFO`; `None` before the first one. Then a Sentinel has no `runid`, and reports
/// an age of 0 or, in some versions, of decades. Neither counts as an answer.
fn info_age(fields: &Fields) -> RedisResult<Option<Duration>> {
    let never = fields.get("runid").is_none_or(String::is_empty);
    let age = Duration::from_millis(number(fields, "info-refresh")?);
    Ok((!never).then_some(age))
}

fn flag(fields: &Fields, name: &str) -> bool {
    fields
        .get("flags")
        .is_some_and(|flags| flags.split(',').any(|f| f == name))
}

fn number(fields: &Fields, name: &'static str) -> RedisResult<u64> {
    fields
        .get(name)
        .and_then(|v| v.parse().ok())
        .ok_or_else(|| malformed(name))
}

fn socket(fields: &Fields) -> RedisResult<SocketAddrV4> {
    let ip = fields
        .get("ip")
        .and_then(|v| v.parse().ok())
        .ok_or_else(|| malformed("ip"))?;
    let port = fields
        .get("port")
        .and_then(|v| v.parse().ok())
        .ok_or_else(|| malformed("port"))?;
    Ok(SocketAddrV4::new(ip, port))
}

fn malformed(part: &'static str) -> RedisError {
    RedisError::from((
        ErrorKind::UnexpectedReturnType,
        "not an answer of a Sentinel",
        part.into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Value {
        let bulk = |s: &str| Value::BulkString(s.as_bytes().to_vec());
        Value::Array(pairs.iter().flat_map(|(k, v)| [bulk(k), bulk(v)]).collect())
    }

    fn primary() -> Value {
        fields(&[
            ("ip", "127.0.0.11"),
            ("port", "6379"),
            ("flags", "master,s_down"),
            ("last-ok-ping-reply", "812"),
            ("config-epoch", "3"),
            ("runid", "5c2f"),
            ("role-reported", "master"),
            ("info-refresh", "700"),
            ("num-slaves", "1"),
            ("num-other-sentinels", "2"),
        ])
    }

    #[test]
    fn flags_ages_and_epochs_are_parsed() {
        let replicas = Value::Array(vec![fields(&[
            ("ip", "127.0.0.12"),
            ("port", "6379"),
            ("flags", "slave,disconnected"),
            ("slave-priority", "0"),
            ("runid", ""),
            ("info-refresh", "0"),
            ("master-link-status", "err"),
        ])]);
        let view = view(&[primary(), replicas]).unwrap();
        assert!(view.primary_s_down && !view.primary_o_down && !view.failover_in_progress);
        assert_eq!(
            (view.config_epoch, view.primary_silent_for.as_millis()),
            (3, 812)
        );
        assert_eq!(
            view.primary_proved_within(),
            Some(Duration::from_millis(812))
        );
        let replica = &view.replicas[0];
        assert!(replica.disconnected && !replica.down && !replica.link_up);
        assert_eq!(replica.info_age, None);
        assert!(!replica.promotable());
    }

    #[test]
    fn a_missing_field_is_an_error_not_a_default() {
        let no_epoch = fields(&[("ip", "127.0.0.11"), ("port", "6379"), ("flags", "master")]);
        assert!(view(&[no_epoch, Value::Array(vec![])]).is_err());
        assert!(view(&[primary()]).is_err());
        assert!(view(&[Value::Okay, Value::Array(vec![])]).is_err());
    }
}
