//! Config files of stock servers and Sentinels: the lab without `halab node`, for comparison. Pure.
//!
//! The configuration of a minimal tutorial: Redis' defaults, one `replicaof`, `sentinel monitor`.
//! Added are the lab's addresses, its down-after and failover-timeout, and `appendonly yes` if the
//! fault damages that file.

use std::path::Path;

use crate::config::{Lab, Node, NodeKind};

/// The config file of `node`, whose working folder is `dir`.
pub fn config(lab: &Lab, node: &Node, dir: &Path, append_only: bool) -> String {
    let Node { address, port, .. } = node;
    let dir = dir.display();
    let mut text = format!(
        "bind {address}\nport {port}\nprotected-mode no\ntcp-backlog 128\nbind-source-addr {address}\n\
         dir \"{dir}\"\n"
    );
    let seed = lab.node(&lab.seed_primary).unwrap_or(node);
    match node.kind {
        NodeKind::Data => {
            text += &format!("replica-announce-ip {address}\nreplica-announce-port {port}\n");
            if seed.name != node.name {
                text += &format!("replicaof {} {}\n", seed.address, seed.port);
            }
            if append_only {
                text += "appendonly yes\n";
            }
        }
        NodeKind::Sentinel => {
            let name = &lab.primary_name;
            text += &format!(
                "sentinel announce-ip {address}\nsentinel announce-port {port}\n\
                 sentinel monitor {name} {} {} {}\n\
                 sentinel down-after-milliseconds {name} {}\n\
                 sentinel failover-timeout {name} {}\n",
                seed.address,
                seed.port,
                lab.quorum,
                lab.timing.down_after.as_millis(),
                lab.timing.failover_timeout.as_millis(),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_primary_and_nothing_else_of_ours_is_there() {
        let lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
        let of = |name: &str, append_only| {
            config(&lab, lab.node(name).unwrap(), Path::new("/x"), append_only)
        };
        let conf = |name: &str| of(name, false);
        assert!(!conf("redis-a").contains("replicaof"));
        assert!(conf("redis-b").contains("replicaof 127.0.0.11 6379\n"));
        assert!(conf("sentinel-1").contains("sentinel monitor halab 127.0.0.11 6379 2\n"));
        for ours in ["appendonly", "replica-priority"] {
            assert!(!conf("redis-a").contains(ours), "{ours}");
        }
        assert!(of("redis-a", true).contains("appendonly yes\n"));
        assert!(!of("sentinel-1", true).contains("appendonly"));
    }
}
