//! What a command does, as far as the proxy has to know.

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It changes nothing, so it is harmless to repeat.
    Read,
    /// It may change data. Every command that is not known counts as one.
    Write,
    /// It logs in, or changes the protocol.
    Login,
    /// `SELECT`.
    Select,
    /// A setting of the connection, by `CLIENT`.
    Setting,
    /// A subscription.
    Subscribe(Topic),
    /// The end of a subscription.
    Unsubscribe(Topic),
    /// `MULTI`.
    Multi,
    /// `EXEC`.
    Exec,
    /// `DISCARD`.
    Discard,
    /// `WATCH`.
    Watch,
    /// `UNWATCH`.
    Unwatch,
    /// `RESET`.
    Reset,
    /// `QUIT`.
    Quit,
}

/// What is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// A channel.
    Channel,
    /// A pattern of channels.
    Pattern,
    /// A shard channel.
    Shard,
}

/// A command that the proxy does not forward, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub &'static str);

const NOT_CARRIED: &str = "what it shows would not survive a failover";
const OF_REPLICATION: &str = "replication is the work of the lab";
const OF_CLUSTER: &str = "the lab is not a cluster";
const OF_LAB: &str = "the lab decides about its servers: use halab on its hosts";

/// The kind of the command with these words.
///
/// # Errors
/// If the proxy does not forward it.
pub fn kind_of(words: &[&[u8]]) -> Result<Kind, Refused> {
    let name = words.first().copied().unwrap_or_default();
    let mut upper = [0; 24];
    let Some(name) = upper_case(name, &mut upper) else {
        return Ok(Kind::Write);
    };
    Ok(match name {
        b"AUTH" | b"HELLO" => Kind::Login,
        b"SELECT" => Kind::Select,
        b"CLIENT" => return client(words.get(1).copied().unwrap_or_default(), words),
        b"SUBSCRIBE" => Kind::Subscribe(Topic::Channel),
        b"PSUBSCRIBE" => Kind::Subscribe(Topic::Pattern),
        b"SSUBSCRIBE" => Kind::Subscribe(Topic::Shard),
        b"UNSUBSCRIBE" => Kind::Unsubscribe(Topic::Channel),
        b"PUNSUBSCRIBE" => Kind::Unsubscribe(Topic::Pattern),
        b"SUNSUBSCRIBE" => Kind::Unsubscribe(Topic::Shard),
        b"MULTI" => Kind::Multi,
        b"EXEC" => Kind::Exec,
        b"DISCARD" => Kind::Discard,
        b"WATCH" => Kind::Watch,
        b"UNWATCH" => Kind::Unwatch,
        b"RESET" => Kind::Reset,
        b"QUIT" => Kind::Quit,
        b"MONITOR" => return Err(Refused(NOT_CARRIED)),
        b"SYNC" | b"PSYNC" | b"REPLCONF" | b"REPLICAOF" | b"SLAVEOF" | b"FAILOVER" => {
            return Err(Refused(OF_REPLICATION));
        }
        b"CLUSTER" | b"READONLY" | b"READWRITE" | b"ASKING" | b"MIGRATE" => {
            return Err(Refused(OF_CLUSTER));
        }
        b"SHUTDOWN" | b"DEBUG" => return Err(Refused(OF_LAB)),
        name if READS.binary_search(&name).is_ok() => Kind::Read,
        _ => Kind::Write,
    })
}

/// The kind of a `CLIENT` command.
fn client(sub: &[u8], words: &[&[u8]]) -> Result<Kind, Refused> {
    let mut upper = [0; 24];
    match upper_case(sub, &mut upper) {
        Some(b"SETNAME" | b"SETINFO" | b"NO-EVICT" | b"NO-TOUCH") => Ok(Kind::Setting),
        Some(b"TRACKING") => {
            let redirects = words
                .iter()
                .any(|word| word.eq_ignore_ascii_case(b"REDIRECT"));
            if redirects {
                return Err(Refused(
                    "connections change at a failover: use RESP3 without REDIRECT",
                ));
            }
            Ok(Kind::Setting)
        }
        Some(b"REPLY") => Err(Refused("the proxy has to see every answer")),
        Some(b"PAUSE" | b"UNPAUSE") => Err(Refused(OF_LAB)),
        // KILL and UNBLOCK are about other connections.
        Some(b"KILL" | b"UNBLOCK") => Ok(Kind::Write),
        _ => Ok(Kind::Read),
    }
}

/// `word` in upper case; `None` if it is longer than any known one.
fn upper_case<'b>(word: &[u8], buffer: &'b mut [u8; 24]) -> Option<&'b [u8]> {
    let upper = buffer.get_mut(..word.len())?;
    upper.copy_from_slice(word);
    upper.make_ascii_uppercase();
    Some(upper)
}

/// The commands that have the flag `readonly`, and those that concern neither keys nor the session,
/// in the order of their names. Sources: the commands of Redis 8 and Valkey 8.
const READS: [&[u8]; 101] = [
    b"BITCOUNT",
    b"BITFIELD_RO",
    b"BITPOS",
    b"COMMAND",
    b"DBSIZE",
    b"DUMP",
    b"ECHO",
    b"EVALSHA_RO",
    b"EVAL_RO",
    b"EXISTS",
    b"EXPIRETIME",
    b"FCALL_RO",
    b"GEODIST",
    b"GEOHASH",
    b"GEOPOS",
    b"GEORADIUSBYMEMBER_RO",
    b"GEORADIUS_RO",
    b"GEOSEARCH",
    b"GET",
    b"GETBIT",
    b"GETRANGE",
    b"HEXISTS",
    b"HEXPIRETIME",
    b"HGET",
    b"HGETALL",
    b"HKEYS",
    b"HLEN",
    b"HMGET",
    b"HPEXPIRETIME",
    b"HPTTL",
    b"HRANDFIELD",
    b"HSCAN",
    b"HSTRLEN",
    b"HTTL",
    b"HVALS",
    b"INFO",
    b"KEYS",
    b"LASTSAVE",
    b"LATENCY",
    b"LCS",
    b"LINDEX",
    b"LLEN",
    b"LOLWUT",
    b"LPOS",
    b"LRANGE",
    b"MEMORY",
    b"MGET",
    b"OBJECT",
    b"PEXPIRETIME",
    b"PFCOUNT",
    b"PING",
    b"PTTL",
    b"PUBSUB",
    b"RANDOMKEY",
    b"ROLE",
    b"SCAN",
    b"SCARD",
    b"SDIFF",
    b"SINTER",
    b"SINTERCARD",
    b"SISMEMBER",
    b"SLOWLOG",
    b"SMEMBERS",
    b"SMISMEMBER",
    b"SORT_RO",
    b"SRANDMEMBER",
    b"SSCAN",
    b"STRLEN",
    b"SUBSTR",
    b"SUNION",
    b"TIME",
    b"TOUCH",
    b"TTL",
    b"TYPE",
    b"WAIT",
    b"WAITAOF",
    b"XINFO",
    b"XLEN",
    b"XPENDING",
    b"XRANGE",
    b"XREAD",
    b"XREVRANGE",
    b"ZCARD",
    b"ZCOUNT",
    b"ZDIFF",
    b"ZINTER",
    b"ZINTERCARD",
    b"ZLEXCOUNT",
    b"ZMSCORE",
    b"ZRANDMEMBER",
    b"ZRANGE",
    b"ZRANGEBYLEX",
    b"ZRANGEBYSCORE",
    b"ZRANK",
    b"ZREVRANGE",
    b"ZREVRANGEBYLEX",
    b"ZREVRANGEBYSCORE",
    b"ZREVRANK",
    b"ZSCAN",
    b"ZSCORE",
    b"ZUNION",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &str) -> Result<Kind, Refused> {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        kind_of(&words)
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(READS.is_sorted());
    }

    #[test]
    fn commands_are_told_apart_whatever_their_case() {
        assert_eq!(of("get k"), Ok(Kind::Read));
        assert_eq!(of("GeT k"), Ok(Kind::Read));
        assert_eq!(of("set k v"), Ok(Kind::Write));
        assert_eq!(
            of("a-command-of-a-module-with-a-long-name"),
            Ok(Kind::Write)
        );
        assert_eq!(of("client setname x"), Ok(Kind::Setting));
        assert_eq!(of("client id"), Ok(Kind::Read));
        assert_eq!(of("psubscribe x*"), Ok(Kind::Subscribe(Topic::Pattern)));
        assert_eq!(of(""), Ok(Kind::Write));
    }

    #[test]
    fn what_the_proxy_cannot_keep_is_refused() {
        for command in [
            "monitor",
            "client reply off",
            "client tracking on redirect 7",
            "psync ? -1",
            "cluster info",
            "shutdown nosave",
        ] {
            assert!(of(command).is_err(), "{command}");
        }
    }
}
