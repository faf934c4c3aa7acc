//! Every key of `lab.toml`: its type, range, default and meaning.
//!
//! The reader takes names, ranges and defaults from here, and `docs/configuration.md` its tables,
//! so that a key is described once. Rules that join several keys are in `rules`.

/// One table of `lab.toml`.
#[derive(Debug)]
pub struct Section {
    /// The key of the table at the top of the file.
    pub name: &'static str,
    /// How often the table stands in the file, and under which header.
    pub shape: Shape,
    /// Its keys, in the order in which the documentation lists them.
    pub keys: &'static [Key],
    /// What the table describes; Markdown.
    pub meaning: &'static str,
}

/// How a section is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `[name]`, once.
    Table,
    /// `[[name]]`, once for each element.
    List,
    /// `[name.ANY]`, once for each name that the file gives.
    Named,
}

/// One key of a section.
#[derive(Debug)]
pub struct Key {
    /// The key as written in the file; the unit is part of it.
    pub name: &'static str,
    /// The values it takes.
    pub kind: Kind,
    /// What holds when the key is absent.
    pub default: Default,
    /// A value that is right, as written in the file.
    pub example: &'static str,
    /// What it decides; Markdown.
    pub meaning: &'static str,
}

/// The values that a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name: lower-case letters, digits and inner `-`, at most 63.
    Name,
    /// An IPv4 address that one host can have.
    Address,
    /// An integer between both limits, inclusive.
    Integer {
        /// The smallest value.
        min: i64,
        /// The largest value.
        max: i64,
    },
    /// A whole number of milliseconds between both limits, inclusive.
    Millis {
        /// The shortest time.
        min: i64,
        /// The longest time.
        max: i64,
    },
    /// `true` or `false`.
    Flag,
}

/// What holds when a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// Nothing: the key must be there.
    Required,
    /// This value.
    Value(i64),
    /// This one, of a flag.
    Flag(bool),
    /// The value of the same key in `[timing]`.
    Inherited,
}

impl Section {
    /// The key of that name as this section takes it, with its own default and example.
    pub(super) fn refine(&self, key: &'static Key) -> &'static Key {
        self.keys.iter().find(|k| k.name == key.name).unwrap_or(key)
    }

    /// The header under which the section is written, for example `[[sentinel]]`.
    pub fn header(&self) -> String {
        match self.shape {
            Shape::Table => format!("[{}]", self.name),
            Shape::List => format!("[[{}]]", self.name),
            Shape::Named => format!("[{}.NAME]", self.name),
        }
    }
}

impl Key {
    /// The key with a value that is right, as written in the file.
    pub(super) fn assignment(&self) -> String {
        format!("{} = {}", self.name, self.example)
    }
}

impl Kind {
    /// The smallest and the largest number that the key takes.
    pub(super) fn limits(self) -> (i64, i64) {
        match self {
            Kind::Integer { min, max } | Kind::Millis { min, max } => (min, max),
            Kind::Name | Kind::Address | Kind::Flag => (i64::MIN, i64::MAX),
        }
    }

    /// The unit of the number, with a space before it; nothing when it has none.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Kind::Millis { .. } => " ms",
            Kind::Integer { .. } | Kind::Name | Kind::Address | Kind::Flag => "",
        }
    }

    /// The numbers that the key takes, in words.
    pub(super) fn range(self) -> String {
        match (self.limits(), self.unit()) {
            ((min, i64::MAX), unit) => format!("{min}{unit} or more"),
            ((min, max), unit) => format!("{min} to {max}{unit}"),
        }
    }
}

/// The length limit of a name: that of a DNS label, since names become host names too.
pub const NAME_MAX: usize = 63;

/// No time limit is longer than an hour: a longer one is a wrong unit, and Sentinel reads its
/// limits by `atoi`, which far larger ones overflow.
const HOUR_MS: i64 = 3_600_000;

/// Sentinel acts in ticks of up to 100 ms (`sentinelTimer`); a limit below one tick has passed
/// before the first look, so that every node would count as down and every failover as failed.
const TICK_MS: i64 = 100;
/// After a switch a Sentinel may wait out its pause between two attempts to connect, 1 s
/// (`SENTINEL_PING_PERIOD`), and a tick, while it counts the silence of the new primary already: with a
/// shorter down-after it calls a healthy primary down, and fails over again.
const RECONNECT_MS: i64 = 1200;

pub(super) const NODE_NAME: Key = Key {
    name: "name",
    kind: Kind::Name,
    default: Default::Required,
    example: "\"redis-a\"",
    meaning: "The node's one name everywhere: state folder, unit, log, metric label, report. \
              Unique among all nodes, data nodes and Sentinels together.",
};
const SENTINEL_NAME: Key = Key {
    example: "\"sentinel-1\"",
    ..NODE_NAME
};

pub(super) const NODE_ADDRESS: Key = Key {
    name: "address",
    kind: Kind::Address,
    default: Default::Required,
    example: "\"127.0.0.11\"",
    meaning: "The node's own IPv4 address: its server listens there and its outgoing connections \
              come from there. No other node has it, even at another port, and either all nodes \
              are in 127.0.0.0/8 or none is.",
};
const SENTINEL_ADDRESS: Key = Key {
    example: "\"127.0.0.21\"",
    ..NODE_ADDRESS
};

pub(super) const PORT: Key = Key {
    name: "port",
    kind: Kind::Integer {
        min: 1,
        max: 65_535,
    },
    default: Default::Value(6379),
    example: "6379",
    meaning: "The TCP port that its server listens on.",
};
const SENTINEL_PORT: Key = Key {
    default: Default::Value(26_379),
    example: "26379",
    ..PORT
};

pub(super) const DOWN_AFTER: Key = Key {
    name: "down_after_ms",
    kind: Kind::Millis {
        min: RECONNECT_MS,
        max: HOUR_MS,
    },
    default: Default::Value(5000),
    example: "5000",
    meaning: "Silence after which a Sentinel calls a node subjectively down \
              (`down-after-milliseconds`). A Sentinel may take 1.1 s to connect to a new \
              primary, so less than 1200 would call healthy ones down.",
};
pub(super) const FAILOVER_TIMEOUT: Key = Key {
    name: "failover_timeout_ms",
    kind: Kind::Millis {
        min: TICK_MS,
        max: HOUR_MS,
    },
    default: Default::Value(5000),
    example: "5000",
    meaning: "Limit of a failover's steps (`failover-timeout`); a failed failover is tried again \
              after twice this.",
};
pub(super) const HANG_TIMEOUT: Key = Key {
    name: "hang_timeout_ms",
    kind: Kind::Millis {
        min: 1,
        max: HOUR_MS,
    },
    default: Default::Value(1000),
    example: "1000",
    meaning: "Silence after which a node kills its own server as hung. Below `down_after_ms`, so \
              that a hung server becomes a certain death before the Sentinels have to guess; well \
              above the longest pause of a healthy server.",
};

pub(super) const RAISE_LIMIT: Key = Key {
    name: "raise_limit_ms",
    kind: Kind::Millis {
        min: 10,
        max: 60_000,
    },
    default: Default::Value(500),
    example: "500",
    meaning: "Longest time from asking the primary for its offset to being promotable: a replica that takes \
              longer stays as it is and tries again. Twice the round trip between the data nodes, or more. \
              A writer's must not be below a node's: to a writer that can't ask the node itself, what the \
              Sentinels know of it counts only after this time ([protocol.md](protocol.md)).",
};

pub(super) const LAB_NAME: Key = Key {
    name: "name",
    kind: Kind::Name,
    default: Default::Required,
    example: "\"redis-ha-lab\"",
    meaning: "The name of the lab, unique among the labs of a machine; a label of metrics \
              and reports.",
};
pub(super) const PRIMARY_NAME: Key = Key {
    name: "primary_name",
    kind: Kind::Name,
    default: Default::Required,
    example: "\"halab\"",
    meaning: "The name under which the Sentinels monitor the primary. Give every lab its \
              own: Sentinels that meet under one name join each other's lab.",
};
pub(super) const SEED_PRIMARY: Key = Key {
    name: "seed_primary",
    kind: Kind::Name,
    default: Default::Required,
    example: "\"redis-a\"",
    meaning: "The data node that is primary when the lab starts for the very first time. \
              After that the Sentinels decide.",
};
pub(super) const QUORUM: Key = Key {
    name: "quorum",
    kind: Kind::Integer {
        min: 1,
        max: i64::MAX,
    },
    default: Default::Required,
    example: "2",
    meaning: "Sentinels that must agree before the primary counts as objectively down: at \
              least a majority of them, at most all.",
};

/// `[lab]`.
pub(super) const LAB: Section = Section {
    name: "lab",
    shape: Shape::Table,
    keys: &[LAB_NAME, PRIMARY_NAME, SEED_PRIMARY, QUORUM],
    meaning: "The lab as a whole.",
};

/// `[[data_node]]`.
pub(super) const DATA_NODE: Section = Section {
    name: "data_node",
    shape: Shape::List,
    keys: &[NODE_NAME, NODE_ADDRESS, PORT],
    meaning: "One Redis server, primary or replica; two or more.",
};

/// `[[sentinel]]`.
pub(super) const SENTINEL: Section = Section {
    name: "sentinel",
    shape: Shape::List,
    keys: &[SENTINEL_NAME, SENTINEL_ADDRESS, SENTINEL_PORT],
    meaning: "One Sentinel; three or more, an odd number: a fourth one would raise the majority \
              without letting the lab lose one more.",
};

/// `[timing]`.
pub(super) const TIMING: Section = Section {
    name: "timing",
    shape: Shape::Table,
    keys: &[DOWN_AFTER, FAILOVER_TIMEOUT, HANG_TIMEOUT, RAISE_LIMIT],
    meaning: "Time limits of nodes and Sentinels. The table may be left out.",
};

/// `[profiles.NAME]`.
pub(super) const PROFILES: Section = Section {
    name: "profiles",
    shape: Shape::Named,
    keys: &[
        Key {
            default: Default::Inherited,
            example: "1000",
            ..DOWN_AFTER
        },
        Key {
            default: Default::Inherited,
            example: "3000",
            ..FAILOVER_TIMEOUT
        },
        Key {
            default: Default::Inherited,
            example: "400",
            ..HANG_TIMEOUT
        },
        Key {
            default: Default::Inherited,
            example: "1000",
            ..RAISE_LIMIT
        },
    ],
    meaning: "Time limits that replace those of `[timing]` when the profile is asked for. Every \
              profile is checked, whether asked for or not. Its name follows the rules of names.",
};

pub(super) const COUNT: Key = Key {
    name: "count",
    kind: Kind::Integer {
        min: 1,
        max: i64::MAX,
    },
    default: Default::Value(1000),
    example: "1000",
    meaning: "Records that one run of `halab write` writes.",
};
pub(super) const CONNECTIONS: Key = Key {
    name: "connections",
    kind: Kind::Integer { min: 1, max: 1000 },
    default: Default::Value(4),
    example: "4",
    meaning: "Connections to the primary that write.",
};
pub(super) const IN_FLIGHT: Key = Key {
    name: "in_flight",
    kind: Kind::Integer { min: 1, max: 1000 },
    default: Default::Value(16),
    example: "16",
    meaning: "Batches on each connection that may wait to be acknowledged.",
};
pub(super) const BATCH: Key = Key {
    name: "batch",
    kind: Kind::Integer {
        min: 1,
        max: 100_000,
    },
    default: Default::Value(100),
    example: "100",
    meaning: "Records that are sent, and acknowledged, together.",
};
pub(super) const WAIT_TIMEOUT: Key = Key {
    name: "wait_timeout_ms",
    kind: Kind::Millis {
        min: 50,
        max: HOUR_MS,
    },
    default: Default::Value(50),
    example: "50",
    meaning: "How long one `WAIT` waits for the replicas before the batch is looked at \
              otherwise: a healthy replica should confirm well within it.",
};

/// `[writer]`.
pub(super) const WRITER: Section = Section {
    name: "writer",
    shape: Shape::Table,
    keys: &[COUNT, CONNECTIONS, IN_FLIGHT, BATCH, WAIT_TIMEOUT],
    meaning: "What `halab write` does when its flags are silent. The table may be left out.",
};

pub(super) const MONITORING_ADDRESS: Key = Key {
    name: "address",
    kind: Kind::Address,
    default: Default::Required,
    example: "\"127.0.0.31\"",
    meaning: "The address on which Prometheus, Grafana, redis_exporter and cAdvisor listen: one of its \
              own, as on a separate host.",
};
pub(super) const PROMETHEUS_PORT: Key = Key {
    name: "prometheus_port",
    default: Default::Value(9090),
    example: "9090",
    meaning: "The port of Prometheus.",
    ..PORT
};
pub(super) const GRAFANA_PORT: Key = Key {
    name: "grafana_port",
    default: Default::Value(3000),
    example: "3000",
    meaning: "The port of Grafana.",
    ..PORT
};
pub(super) const REDIS_EXPORTER_PORT: Key = Key {
    name: "redis_exporter_port",
    default: Default::Value(9121),
    example: "9121",
    meaning: "The port of redis_exporter.",
    ..PORT
};
pub(super) const CADVISOR_PORT: Key = Key {
    name: "cadvisor_port",
    default: Default::Value(8080),
    example: "8080",
    meaning: "The port of cAdvisor.",
    ..PORT
};
pub(super) const NODE_METRICS_PORT: Key = Key {
    name: "node_port",
    default: Default::Value(9400),
    example: "9400",
    meaning: "The port on which each node serves its own metrics, at its own address. No node's \
              server listens on it.",
    ..PORT
};
pub(super) const WRITER_ADDRESS: Key = Key {
    name: "writer_address",
    kind: Kind::Address,
    default: Default::Required,
    example: "\"127.0.0.41\"",
    meaning: "The address on which `halab write` serves its metrics while it runs: one of its own.",
};
pub(super) const WRITER_METRICS_PORT: Key = Key {
    name: "writer_port",
    default: Default::Value(9401),
    example: "9401",
    meaning: "The port on which `halab write` serves its metrics.",
    ..PORT
};

/// `[monitoring]`.
pub(super) const MONITORING: Section = Section {
    name: "monitoring",
    shape: Shape::Table,
    keys: &[
        MONITORING_ADDRESS,
        PROMETHEUS_PORT,
        GRAFANA_PORT,
        REDIS_EXPORTER_PORT,
        CADVISOR_PORT,
        NODE_METRICS_PORT,
        WRITER_ADDRESS,
        WRITER_METRICS_PORT,
    ],
    meaning: "Where metrics are served, and where those listen who gather and show them. The table \
              may be left out: then nothing serves metrics.",
};

pub(super) const ACL: Key = Key {
    name: "acl",
    kind: Kind::Flag,
    default: Default::Flag(true),
    example: "true",
    meaning: "Each part of the lab is a user of its own on every server, with the least rights and a \
              password; no one else is let in ([security.md](security.md)). `false`: whoever reaches an \
              address may do anything there.",
};

pub(super) const TLS: Key = Key {
    name: "tls",
    kind: Kind::Flag,
    default: Default::Flag(false),
    example: "true",
    meaning: "Replication, Sentinels, writer, exporter and every other part talk by TLS, and no server \
              listens for anything else ([security.md](security.md)).",
};
pub(super) const MUTUAL_TLS: Key = Key {
    name: "mutual_tls",
    kind: Kind::Flag,
    default: Default::Flag(false),
    example: "true",
    meaning: "Who connects has to show a certificate of the lab's CA as well. Only with `tls`.",
};

/// `[security]`.
pub(super) const SECURITY: Section = Section {
    name: "security",
    shape: Shape::Table,
    keys: &[ACL, TLS, MUTUAL_TLS],
    meaning: "Who is let in, and whether others can listen. The table may be left out.",
};

/// All sections, in the order in which `lab.toml` states them.
pub const SECTIONS: [&Section; 8] = [
    &LAB,
    &DATA_NODE,
    &SENTINEL,
    &TIMING,
    &PROFILES,
    &WRITER,
    &MONITORING,
    &SECURITY,
];
