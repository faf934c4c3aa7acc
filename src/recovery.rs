//! When a lab counts as recovered: the next loss is a first one again. The conditions are those of
//! `docs/protocol.md`, *One loss*. One look can't tell: a node that was cut off for a moment looks healthy before it
//! has what was written meanwhile.

use std::net::SocketAddrV4;

use futures_util::future::join_all;

use crate::client::{Connector, ReplicationInfo};
use crate::config::Lab;
use crate::protocol::vote::SentinelView;
use crate::sentinel::Panel;

/// What one look at every node gave.
#[derive(Debug)]
struct Look {
    /// One view a Sentinel, or its name when it gave none.
    views: Vec<Result<SentinelView, String>>,
    /// One answer a data node, in the order of `lab.toml`.
    infos: Vec<Result<ReplicationInfo, String>>,
}

/// How far the lab has recovered.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The primary's offset, read after all Sentinels agreed, and the history that it counts in.
    mark: Option<(SocketAddrV4, String, u64)>,
}

impl Recovery {
    /// Looks once. `Ok`: recovered, and who is primary; `Err`: what is missing.
    ///
    /// # Errors
    /// What is missing, in a sentence.
    pub async fn look(
        &mut self,
        lab: &Lab,
        panel: &Panel,
        connector: &Connector,
    ) -> Result<String, String> {
        let answers = panel.ask_each().await;
        let views = answers
            .all
            .into_iter()
            .map(|a| a.view.map_err(|why| format!("{}: {why}", a.sentinel)))
            .collect();
        let infos = join_all(lab.data_nodes.iter().map(|node| async {
            let mut conn = connector
                .open(node.socket())
                .await
                .map_err(|e| e.to_string())?;
            conn.replication().await.map_err(|e| e.to_string())
        }))
        .await;
        self.judge(lab, &Look { views, infos })
    }

    fn judge(&mut self, lab: &Lab, look: &Look) -> Result<String, String> {
        let agreed = agreement(lab, look).inspect_err(|_| self.mark = None)?;
        let node = lab
            .data_node_at(agreed)
            .ok_or_else(|| format!("the Sentinels name {agreed}, which is no data node"))?;
        let of = |at: SocketAddrV4| {
            let i = lab.data_nodes.iter().position(|n| n.socket() == at)?;
            look.infos.get(i)?.as_ref().ok()
        };
        let primary = of(agreed).ok_or_else(|| format!("{} does not answer", node.name))?;
        if !primary.is_primary {
            return Err(format!("{} says that it is a replica", node.name));
        }
        for (other, info) in lab.data_nodes.iter().zip(&look.infos) {
            if other.name == node.name {
                continue;
            }
            let name = &other.name;
            let info = info.as_ref().map_err(|why| format!("{name}: {why}"))?;
            if info.is_primary || info.primary != Some(agreed) {
                return Err(format!("{name} is no replica of {}", node.name));
            }
            if !info.link_up || info.syncing || info.loading {
                return Err(format!("{name} is not in sync"));
            }
            if info.priority == 0 {
                return Err(format!("{name} is not promotable"));
            }
        }
        let history = &primary.replication_id;
        let mark = match &self.mark {
            Some((at, id, offset)) if *at == agreed && id == history => *offset,
            _ => {
                self.mark = Some((agreed, history.clone(), primary.offset));
                return Err("the replicas have to confirm what the primary has now".into());
            }
        };
        for other in lab.data_nodes.iter().filter(|n| n.name != node.name) {
            let confirmed = primary
                .online
                .iter()
                .any(|c| c.address == other.socket() && c.offset >= mark);
            if !confirmed {
                return Err(format!("{} has not confirmed offset {mark}", other.name));
            }
        }
        Ok(node.name.clone())
    }
}

/// The primary that every Sentinel names, at one epoch, with all of them connected to every replica.
fn agreement(lab: &Lab, look: &Look) -> Result<SocketAddrV4, String> {
    let mut named: Option<(SocketAddrV4, u64)> = None;
    for (sentinel, view) in lab.sentinels.iter().zip(&look.views) {
        let name = &sentinel.name;
        let view = view.as_ref().map_err(Clone::clone)?;
        let this = (view.primary, view.config_epoch);
        if *named.get_or_insert(this) != this {
            return Err("the Sentinels name different primaries or epochs".into());
        }
        if view.primary_s_down || view.primary_o_down {
            return Err(format!("{name} calls the primary down"));
        }
        if view.failover_in_progress {
            return Err(format!("{name} says that a failover is under way"));
        }
        if view.other_sentinels + 1 != lab.sentinels.len() as u64 {
            return Err(format!(
                "{name} knows {} other Sentinels",
                view.other_sentinels
            ));
        }
        for node in &lab.data_nodes {
            if node.socket() == view.primary {
                continue;
            }
            match view.replica(node.socket()) {
                None => return Err(format!("{name} does not know {}", node.name)),
                Some(replica) if !replica.promotable() => {
                    return Err(format!("{name} could not promote {}", node.name));
                }
                Some(_) => {}
            }
        }
    }
    named
        .map(|(primary, _)| primary)
        .ok_or_else(|| "there are no Sentinels".into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::vote::ReplicaView;

    fn lab() -> Lab {
        Lab::parse(include_str!("../lab.toml"), None).unwrap()
    }

    fn view(lab: &Lab) -> SentinelView {
        SentinelView {
            primary: lab.data_nodes[0].socket(),
            config_epoch: 3,
            primary_s_down: false,
            primary_o_down: false,
            failover_in_progress: false,
            primary_silent_for: Duration::ZERO,
            primary_says_primary: true,
            primary_info_age: Some(Duration::ZERO),
            passive: false,
            other_sentinels: 2,
            known_replicas: 1,
            replicas: vec![ReplicaView {
                address: lab.data_nodes[1].socket(),
                priority: 100,
                says_replica: true,
                down: false,
                disconnected: false,
                link_up: true,
                info_age: Some(Duration::ZERO),
            }],
        }
    }

    fn look(lab: &Lab, primary_at: u64, confirmed: u64) -> Look {
        let primary = format!(
            "role:master\nmaster_replid:x\nmaster_repl_offset:{primary_at}\n\
             slave0:ip=127.0.0.12,port=6379,state=online,offset={confirmed},lag=0\n"
        );
        let replica = "role:slave\nmaster_host:127.0.0.11\nmaster_port:6379\nmaster_link_status:up\n\
                       slave_priority:100\n";
        Look {
            views: vec![Ok(view(lab)), Ok(view(lab)), Ok(view(lab))],
            infos: vec![
                Ok(ReplicationInfo::parse(&primary)),
                Ok(ReplicationInfo::parse(replica)),
            ],
        }
    }

    #[test]
    fn recovered_is_only_who_has_confirmed_what_was_written_after_all_agreed() {
        let lab = lab();
        let mut recovery = Recovery::default();
        assert!(recovery.judge(&lab, &look(&lab, 900, 900)).is_err());
        // 900 is what has to be confirmed, however far the primary is by now.
        assert!(recovery.judge(&lab, &look(&lab, 1000, 899)).is_err());
        assert_eq!(
            recovery.judge(&lab, &look(&lab, 2000, 900)),
            Ok("redis-a".into())
        );
    }

    #[test]
    fn one_sentinel_that_dissents_is_enough_to_wait() {
        let lab = lab();
        for change in [
            |v: &mut SentinelView| v.config_epoch = 4,
            |v: &mut SentinelView| v.primary_s_down = true,
            |v: &mut SentinelView| v.failover_in_progress = true,
            |v: &mut SentinelView| v.other_sentinels = 1,
            |v: &mut SentinelView| v.replicas[0].priority = 0,
            |v: &mut SentinelView| v.replicas[0].disconnected = true,
        ] {
            let mut recovery = Recovery::default();
            assert!(recovery.judge(&lab, &look(&lab, 900, 900)).is_err());
            let mut dissent = look(&lab, 900, 900);
            change(dissent.views[2].as_mut().unwrap());
            assert!(recovery.judge(&lab, &dissent).is_err());
            // And the offset has to be confirmed anew afterwards.
            assert!(recovery.judge(&lab, &look(&lab, 950, 950)).is_err());
            assert!(recovery.judge(&lab, &look(&lab, 950, 950)).is_ok());
        }
    }
}
