//! The users, and what each may do on a data node and on a Sentinel.

use crate::config::NodeKind;

/// A part of the lab, as the servers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum User {
    /// `halab write`.
    Writer,
    /// `halab verify`, `status`, `health`, `backup`, `restore`: reads, and changes nothing.
    Verifier,
    /// A replica, towards its primary; and `halab backup`, which copies as one.
    Replication,
    /// A Sentinel, towards data nodes and other Sentinels.
    Sentinel,
    /// redis_exporter.
    Exporter,
    /// `halab node`, the parent of each server.
    Node,
    /// Whoever runs the lab: `halab cli`, `handover`, `secrets`, drills.
    Operator,
}

/// What the handover, the node and the writer ask of a Sentinel, and how they hear its events. Sentinels have no keys, and
/// their channels are events.
const LOOK: [&str; 5] = [
    "&*",
    "+ping",
    "+psubscribe",
    "+sentinel|master",
    "+sentinel|replicas",
];

impl User {
    /// All users, in the order of files and tables.
    pub const ALL: [User; 7] = [
        User::Writer,
        User::Verifier,
        User::Replication,
        User::Sentinel,
        User::Exporter,
        User::Node,
        User::Operator,
    ];

    /// Its name on the servers, and that of the file with its password.
    pub fn name(self) -> &'static str {
        match self {
            User::Writer => "writer",
            User::Verifier => "verifier",
            User::Replication => "replication",
            User::Sentinel => "sentinel",
            User::Exporter => "exporter",
            User::Node => "node",
            User::Operator => "operator",
        }
    }

    /// The user of that name.
    pub fn named(name: &str) -> Option<User> {
        User::ALL.into_iter().find(|user| user.name() == name)
    }

    /// Who it is.
    pub fn who(self) -> &'static str {
        match self {
            User::Writer => "`halab write`",
            User::Verifier => "`halab verify`, `status`, `health`, `backup` and `restore`",
            User::Replication => {
                "a replica, towards its primary; `halab backup`, which copies as one"
            }
            User::Sentinel => "a Sentinel, towards data nodes and other Sentinels",
            User::Exporter => "redis_exporter",
            User::Node => "`halab node`, the parent of each server",
            User::Operator => "you: `halab cli`, `handover`, `secrets`, `drill`",
        }
    }

    /// What it may do on a node of that kind, as ACL rules; nothing where it does not exist.
    pub fn rights(self, kind: NodeKind) -> Vec<&'static str> {
        match kind {
            NodeKind::Data => self.on_data_node(),
            NodeKind::Sentinel => self.on_sentinel(),
        }
    }

    fn on_data_node(self) -> Vec<&'static str> {
        match self {
            // It never reads a record: what it may not do can't be asked of it.
            User::Writer => vec![
                "%W~halab:*",
                // Whether a promoted node has begun its term.
                "%R~halab-mark",
                // Whose confirmation counts.
                "%R~halab-members",
                "+get",
                // Its message before a WAIT, which nobody reads.
                "&halab:round",
                "+mset",
                "+publish",
                "+wait",
                "+role",
                "+info",
                // Whether a node assures that it can't be promoted.
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
            // As <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/> lists them; one channel
            // is all that Sentinels meet on, and no script of theirs is ever to be killed here.
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
            // Not CONFIG GET, which it would ask too: that shows the password of the replication. SLOWLOG GET shows slow
            // commands, records among them; refused, it would fill ACL LOG, in which a break-in is to be seen.
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
                // The mark, and the first list of members, are written by scripts.
                "+set",
                "+eval",
                // By being subscribed it assures that its server can't be promoted.
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
                // It states which nodes it knows.
                "+client|setname",
                "+multi",
                "+exec",
                // Who is there that is not of the lab: names alone.
                "+acl|users",
            ],
            User::Operator => EVERYTHING.to_vec(),
        }
    }

    fn on_sentinel(self) -> Vec<&'static str> {
        let looking = |more: &[&'static str]| [&LOOK, more].concat();
        match self {
            // It may ask who is primary; it may not have that changed.
            User::Writer => LOOK.to_vec(),
            User::Verifier => looking(&[
                "+sentinel|ckquorum",
                "+sentinel|get-master-addr-by-name",
                // Whom they know that lab.toml does not state.
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
            User::Node => looking(&[
                "+sentinel|failover",
                "+sentinel|debug",
                // Whether it leads failovers.
                "+sentinel|set",
                // TILT, and who is there that is not of the lab.
                "+info",
                "+acl|users",
                "+client|setname",
            ]),
            User::Operator => EVERYTHING.to_vec(),
        }
    }
}

const EVERYTHING: [&str; 3] = ["~*", "&*", "+@all"];
