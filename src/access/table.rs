//! The users and their rights on data nodes and Sentinels.

use crate::config::NodeKind;

/// A user of the servers: one part of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum User {
    /// `halab write`.
    Writer,
    /// `halab proxy`.
    Proxy,
    /// `halab verify`, `status`, `health`, `backup`, `restore`: read-only.
    Verifier,
    /// A replica, on its primary; and `halab backup`, which copies like a replica.
    Replication,
    /// A Sentinel, on data nodes and other Sentinels.
    Sentinel,
    /// redis_exporter.
    Exporter,
    /// `halab node`, the supervisor of each server.
    Node,
    /// The operator: `halab cli`, `handover`, `secrets`, drills.
    Operator,
}

/// What the handover, the node, the writer and the proxy need to ask a Sentinel and receive its
/// events. A Sentinel has no keys, and its channels are its events.
const SENTINEL_QUERIES: [&str; 5] = [
    "&*",
    "+ping",
    "+psubscribe",
    "+sentinel|master",
    "+sentinel|replicas",
];

impl User {
    /// All users, in the order of files and tables.
    pub const ALL: &'static [User] = <User as strum::VariantArray>::VARIANTS;

    /// Its name on the servers, and that of the file with its password.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its users, for the tables.
    pub fn used_by(self) -> &'static str {
        match self {
            User::Writer => "`halab write`",
            User::Proxy => "`halab proxy`, for what it asks on its own connections",
            User::Verifier => "`halab verify`, `status`, `health`, `backup` and `restore`",
            User::Replication => "a replica, on its primary; `halab backup`, which copies like one",
            User::Sentinel => "a Sentinel, on data nodes and other Sentinels",
            User::Exporter => "redis_exporter",
            User::Node => "`halab node`, the supervisor of each server",
            User::Operator => "the operator: `halab cli`, `handover`, `secrets`, `drill`",
        }
    }

    /// Its rights on a node of that kind, as ACL rules; empty if it does not exist there.
    pub fn rights(self, kind: NodeKind) -> Vec<&'static str> {
        match kind {
            NodeKind::Data => self.on_data_node(),
            NodeKind::Sentinel => self.on_sentinel(),
        }
    }

    fn on_data_node(self) -> Vec<&'static str> {
        match self {
            // It never reads a record, so it cannot be misused to read one.
            User::Writer => vec![
                "%W~halab:*",
                // To read whether a promoted node has begun its term.
                "%R~halab-mark",
                // To read which nodes have to confirm.
                "%R~halab-members",
                "+get",
                // For the messages of rounds, of this version and of earlier ones.
                "&halab:round:*",
                "&halab:round",
                "+subscribe",
                "+mset",
                // To remove records of its own.
                "+unlink",
                "+publish",
                "+wait",
                "+role",
                "+info",
                // To read the assurance of a node.
                "+pubsub|numsub",
            ],
            // As the writer confirms, but it writes nothing itself: each application's commands are
            // sent as that application's user.
            User::Proxy => vec![
                "%R~halab-mark",
                "%R~halab-members",
                "+get",
                "&halab:round:*",
                "&halab:round",
                "+subscribe",
                "+publish",
                "+wait",
                "+role",
                "+info",
                "+pubsub|numsub",
            ],
            User::Verifier => vec![
                "%R~halab:*",
                "%R~halab-mark",
                "%R~halab-members",
                "+get",
                "+mget",
                "+scan",
                "+role",
                "+info",
                "+ping",
            ],
            User::Replication => vec!["+ping", "+replconf", "+psync"],
            // As listed in
            // <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>, except
            // that one channel is enough for Sentinels, and that they need not kill scripts here.
            User::Sentinel => vec![
                "&__sentinel__:hello",
                "+ping",
                "+info",
                "+role",
                "+publish",
                "+subscribe",
                "+multi",
                "+exec",
                "+slaveof",
                "+config|rewrite",
                "+client|setname",
                "+client|kill",
            ],
            // Without CONFIG GET, which the exporter also sends: it would show the replication
            // password. With SLOWLOG GET, although it shows slow commands including
            // records: if refused, it would fill ACL LOG and hide intrusions there.
            User::Exporter => vec![
                "+ping",
                "+info",
                "+client|setname",
                "+slowlog|len",
                "+slowlog|get",
                "+latency|latest",
                "+latency|histogram",
                "+command|info",
            ],
            User::Node => vec![
                "~halab-mark",
                "~halab-members",
                "+get",
                // Scripts write the mark and the first list of members.
                "+set",
                "+eval",
                // A subscription to this channel is the assurance that its server cannot be
                // promoted.
                "&halab:not-promotable",
                "+subscribe",
                "+unsubscribe",
                "+pubsub|numsub",
                "+info",
                "+role",
                "+replicaof",
                "+config|get",
                "+config|set",
                "+client|pause",
                "+client|unpause",
                "+client|kill",
                "+client|id",
                // The name of its connection states the nodes that it knows.
                "+client|setname",
                "+multi",
                "+exec",
                // To find users that are not the lab's; shows only names.
                "+acl|users",
            ],
            User::Operator => EVERYTHING.to_vec(),
        }
    }

    fn on_sentinel(self) -> Vec<&'static str> {
        let queries_and = |more: &[&'static str]| [&SENTINEL_QUERIES, more].concat();
        match self {
            // They may ask which node is primary, but not cause a failover.
            User::Writer | User::Proxy => SENTINEL_QUERIES.to_vec(),
            User::Verifier => queries_and(&[
                "+sentinel|ckquorum",
                "+sentinel|get-master-addr-by-name",
                // To find strangers that the Sentinel knows.
                "+sentinel|masters",
                "+sentinel|sentinels",
            ]),
            User::Replication => vec![],
            User::Sentinel => vec![
                "&__sentinel__:hello",
                "+ping",
                "+publish",
                "+client|setname",
                "+sentinel|is-master-down-by-addr",
            ],
            User::Exporter => vec![
                "+ping",
                "+info",
                "+client|setname",
                "+command|info",
                "+sentinel|masters",
                "+sentinel|slaves",
                "+sentinel|sentinels",
                "+sentinel|ckquorum",
            ],
            User::Node => queries_and(&[
                "+sentinel|failover",
                "+sentinel|debug",
                // To set whether it leads failovers.
                "+sentinel|set",
                // For TILT, and to find users that are not the lab's.
                "+info",
                "+acl|users",
                "+client|setname",
            ]),
            User::Operator => EVERYTHING.to_vec(),
        }
    }
}

const EVERYTHING: [&str; 3] = ["~*", "&*", "+@all"];
