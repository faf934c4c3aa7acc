//! What a command does, as far as the proxy has to know.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It changes nothing, so it is harmless to repeat.
    Read,
    /// It changes data, and a replica refuses it.
    Write,
    /// It may change data, and a replica executes it: a script, a message. Every command that is
    /// not known counts as one.
    MayWrite,
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

impl Kind {
    /// Whether it is about data, and leaves the session as it is.
    pub fn is_data(self) -> bool {
        matches!(self, Kind::Read | Kind::Write | Kind::MayWrite)
    }
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
        return Ok(Kind::MayWrite);
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
        name => KINDS.get(name).copied().unwrap_or(Kind::MayWrite),
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
        Some(b"CAPA") => Err(Refused("the proxy itself follows the primary")),
        Some(b"REPLY") => Err(Refused("the proxy has to see every answer")),
        Some(b"PAUSE" | b"UNPAUSE") => Err(Refused(OF_LAB)),
        // KILL and UNBLOCK are about other connections.
        Some(b"KILL" | b"UNBLOCK") => Ok(Kind::MayWrite),
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

/// The kinds of the commands that concern data.
static KINDS: LazyLock<HashMap<&[u8], Kind>> = LazyLock::new(|| {
    let reads = READS.iter().map(|name| (*name, Kind::Read));
    let writes = WRITES.iter().map(|name| (*name, Kind::Write));
    reads.chain(writes).collect()
});

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

/// The commands that have the flag `write`, in the order of their names: a replica refuses them.
/// Sources: the commands of Redis 7 and 8 and of Valkey 8.
const WRITES: [&[u8]; 107] = [
    b"APPEND",
    b"BITFIELD",
    b"BITOP",
    b"BLMOVE",
    b"BLMPOP",
    b"BLPOP",
    b"BRPOP",
    b"BRPOPLPUSH",
    b"BZMPOP",
    b"BZPOPMAX",
    b"BZPOPMIN",
    b"COPY",
    b"DECR",
    b"DECRBY",
    b"DEL",
    b"EXPIRE",
    b"EXPIREAT",
    b"FLUSHALL",
    b"FLUSHDB",
    b"GEOADD",
    b"GEORADIUS",
    b"GEORADIUSBYMEMBER",
    b"GEOSEARCHSTORE",
    b"GETDEL",
    b"GETEX",
    b"GETSET",
    b"HDEL",
    b"HEXPIRE",
    b"HEXPIREAT",
    b"HGETDEL",
    b"HGETEX",
    b"HINCRBY",
    b"HINCRBYFLOAT",
    b"HMSET",
    b"HPERSIST",
    b"HPEXPIRE",
    b"HPEXPIREAT",
    b"HSET",
    b"HSETEX",
    b"HSETNX",
    b"INCR",
    b"INCRBY",
    b"INCRBYFLOAT",
    b"LINSERT",
    b"LMOVE",
    b"LMPOP",
    b"LPOP",
    b"LPUSH",
    b"LPUSHX",
    b"LREM",
    b"LSET",
    b"LTRIM",
    b"MIGRATE",
    b"MOVE",
    b"MSET",
    b"MSETNX",
    b"PERSIST",
    b"PEXPIRE",
    b"PEXPIREAT",
    b"PFADD",
    b"PFDEBUG",
    b"PFMERGE",
    b"PSETEX",
    b"RENAME",
    b"RENAMENX",
    b"RESTORE",
    b"RESTORE-ASKING",
    b"RPOP",
    b"RPOPLPUSH",
    b"RPUSH",
    b"RPUSHX",
    b"SADD",
    b"SDIFFSTORE",
    b"SET",
    b"SETBIT",
    b"SETEX",
    b"SETNX",
    b"SETRANGE",
    b"SINTERSTORE",
    b"SMOVE",
    b"SORT",
    b"SPOP",
    b"SREM",
    b"SUNIONSTORE",
    b"SWAPDB",
    b"UNLINK",
    b"XACK",
    b"XADD",
    b"XAUTOCLAIM",
    b"XCLAIM",
    b"XDEL",
    b"XREADGROUP",
    b"XSETID",
    b"XTRIM",
    b"ZADD",
    b"ZDIFFSTORE",
    b"ZINCRBY",
    b"ZINTERSTORE",
    b"ZMPOP",
    b"ZPOPMAX",
    b"ZPOPMIN",
    b"ZRANGESTORE",
    b"ZREM",
    b"ZREMRANGEBYLEX",
    b"ZREMRANGEBYRANK",
    b"ZREMRANGEBYSCORE",
    b"ZUNIONSTORE",
];

/// Whether a write that was not refused has changed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataChange {
    Always,
    /// If its answer is a positive integer.
    IfPositive,
    NotKnown,
}

/// Whether the write with these words changes data: some, such as `SETNX`, may find nothing to
/// change.
pub fn change_of(words: &[&[u8]]) -> DataChange {
    let mut upper = [0; 24];
    let name = words.first().and_then(|name| upper_case(name, &mut upper));
    match name.unwrap_or_default() {
        b"SET" if words.len() == 3 => DataChange::Always,
        b"DECR" | b"DECRBY" | b"GETSET" | b"HINCRBY" | b"HINCRBYFLOAT" | b"HMSET" | b"HSET"
        | b"INCR" | b"INCRBY" | b"INCRBYFLOAT" | b"LPUSH" | b"MSET" | b"PSETEX" | b"RPUSH"
        | b"SETEX" | b"XADD" => DataChange::Always,
        b"COPY" | b"DEL" | b"EXPIRE" | b"EXPIREAT" | b"HDEL" | b"HSETNX" | b"LINSERT"
        | b"LPUSHX" | b"LREM" | b"MOVE" | b"MSETNX" | b"PERSIST" | b"PEXPIRE" | b"PEXPIREAT"
        | b"PFADD" | b"RENAMENX" | b"RPUSHX" | b"SADD" | b"SETNX" | b"SMOVE" | b"SREM"
        | b"UNLINK" | b"XACK" | b"XDEL" | b"ZADD" | b"ZREM" => DataChange::IfPositive,
        _ => DataChange::NotKnown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &str) -> Result<Kind, Refused> {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        kind_of(&words)
    }

    #[test]
    fn the_tables_are_in_order_and_no_command_is_in_both() {
        assert!(READS.is_sorted() && WRITES.is_sorted());
        assert!(!READS.iter().any(|name| WRITES.contains(name)));
    }

    #[test]
    fn commands_are_told_apart_whatever_their_case() {
        assert_eq!(of("get k"), Ok(Kind::Read));
        assert_eq!(of("GeT k"), Ok(Kind::Read));
        assert_eq!(of("set k v"), Ok(Kind::Write));
        assert_eq!(
            of("a-command-of-a-module-with-a-long-name"),
            Ok(Kind::MayWrite)
        );
        assert_eq!(of("eval x 0"), Ok(Kind::MayWrite));
        assert_eq!(of("publish c x"), Ok(Kind::MayWrite));
        assert_eq!(of("client setname x"), Ok(Kind::Setting));
        assert_eq!(of("client id"), Ok(Kind::Read));
        assert_eq!(of("psubscribe x*"), Ok(Kind::Subscribe(Topic::Pattern)));
        assert_eq!(of(""), Ok(Kind::MayWrite));
    }

    #[test]
    fn what_the_proxy_cannot_keep_is_refused() {
        for command in [
            "monitor",
            "client reply off",
            "client capa redirect",
            "client tracking on redirect 7",
            "psync ? -1",
            "cluster info",
            "shutdown nosave",
        ] {
            assert!(of(command).is_err(), "{command}");
        }
    }
}
