//! Checks whether a lab has recovered, so that it tolerates another loss. The conditions are those
//! of `docs/protocol.md`, *One loss*. A single observation is not enough: a node that was cut off
//! for a moment looks healthy before it has received the writes of that time.

use std::net::SocketAddrV4;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::client::{Connector, ServerInfo};
use crate::config::{Lab, Node};
use crate::protocol::vote::SentinelView;
use crate::sentinel::SentinelClients;

/// One observation of all nodes.
#[derive(Debug)]
struct LabObservation {
    /// A view for each Sentinel, or why there is none.
    views: Vec<Result<SentinelView, String>>,
    /// An answer for each data node, in the order of `lab.toml`.
    infos: Vec<Result<ServerInfo, String>>,
}

/// The progress of a recovery.
#[derive(Debug, Default)]
pub struct Recovery {
    target: Option<Awaited>,
}

/// What the replicas have to confirm: read after all Sentinels agreed.
#[derive(Debug)]
struct Awaited {
    primary: SocketAddrV4,
    history: String,
    offset: u64,
    /// Before it was read.
    asked_at: Instant,
}

impl Recovery {
    /// Observes the lab once. Returns the primary if the lab has recovered.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub async fn observe(
        &mut self,
        lab: &Lab,
        sentinels: &SentinelClients,
        connector: &Connector,
    ) -> Result<String, String> {
        let asked_at = Instant::now();
        let answers = sentinels.ask_each().await;
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
            conn.info().await.map_err(|e| e.to_string())
        }))
        .await;
        self.judge(lab, &LabObservation { views, infos }, asked_at)
    }

    /// When the lab was first seen with all nodes, if it has been since: once it has recovered, it
    /// has done so from every loss before that time.
    pub fn since(&self) -> Option<Instant> {
        Some(self.target.as_ref()?.asked_at)
    }

    fn judge(
        &mut self,
        lab: &Lab,
        observation: &LabObservation,
        asked_at: Instant,
    ) -> Result<String, String> {
        let whole = whole_lab(lab, observation).inspect_err(|_| self.target = None)?;
        let (named, node, primary) = whole;
        let history = &primary.replication_id;
        let target = match &self.target {
            Some(target) if target.primary == named && target.history == *history => target.offset,
            _ => {
                self.target = Some(Awaited {
                    primary: named,
                    history: history.clone(),
                    offset: primary.offset,
                    asked_at,
                });
                return Err(
                    "the replicas have to confirm the present offset of the primary".into(),
                );
            }
        };
        for other in lab.data_nodes.iter().filter(|n| n.name != node.name) {
            let confirmed = primary
                .online
                .iter()
                .any(|c| c.address == other.socket() && c.offset >= target);
            if !confirmed {
                return Err(format!("{} has not confirmed offset {target}", other.name));
            }
        }
        Ok(node.name.clone())
    }
}

/// The primary, if the Sentinels agree and every other data node follows it: its address, its node,
/// and its answer.
fn whole_lab<'o>(
    lab: &'o Lab,
    observation: &'o LabObservation,
) -> Result<(SocketAddrV4, &'o Node, &'o ServerInfo), String> {
    let named = agreement(lab, observation)?;
    let node = lab
        .data_node_at(named)
        .ok_or_else(|| format!("the Sentinels name {named}, which is not a data node"))?;
    let of = |at: SocketAddrV4| {
        let i = lab.data_nodes.iter().position(|n| n.socket() == at)?;
        observation.infos.get(i)?.as_ref().ok()
    };
    let primary = of(named).ok_or_else(|| format!("{} does not answer", node.name))?;
    if !primary.is_primary {
        return Err(format!("{} reports to be a replica", node.name));
    }
    for (other, info) in lab.data_nodes.iter().zip(&observation.infos) {
        if other.name == node.name {
            continue;
        }
        let name = &other.name;
        let info = info.as_ref().map_err(|why| format!("{name}: {why}"))?;
        if info.is_primary || info.primary != Some(named) {
            return Err(format!("{name} is not a replica of {}", node.name));
        }
        if !info.link_up || info.syncing || info.loading {
            return Err(format!("{name} is not in sync"));
        }
        if info.priority == 0 {
            return Err(format!("{name} is not promotable"));
        }
    }
    Ok((named, node, primary))
}

/// The primary that every Sentinel names at one epoch, if all of them are connected to every
/// replica.
fn agreement(lab: &Lab, observation: &LabObservation) -> Result<SocketAddrV4, String> {
    let mut named: Option<(SocketAddrV4, u64)> = None;
    for (sentinel, view) in lab.sentinels.iter().zip(&observation.views) {
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
            return Err(format!("{name} reports a failover in progress"));
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

    fn observe(lab: &Lab, primary_at: u64, confirmed: u64) -> LabObservation {
        let primary = format!(
            "role:master\nmaster_replid:x\nmaster_repl_offset:{primary_at}\n\
             slave0:ip=127.0.0.12,port=6379,state=online,offset={confirmed},lag=0\n"
        );
        let replica = "role:slave\nmaster_host:127.0.0.11\nmaster_port:6379\nmaster_link_status:up\n\
                       slave_priority:100\n";
        LabObservation {
            views: vec![Ok(view(lab)), Ok(view(lab)), Ok(view(lab))],
            infos: vec![
                Ok(ServerInfo::parse(&primary)),
                Ok(ServerInfo::parse(replica)),
            ],
        }
    }

    fn judge(recovery: &mut Recovery, observation: &LabObservation) -> Result<String, String> {
        recovery.judge(&lab(), observation, Instant::now())
    }

    #[test]
    fn a_replica_has_to_confirm_an_offset_read_after_all_agreed() {
        let lab = lab();
        let mut recovery = Recovery::default();
        assert!(judge(&mut recovery, &observe(&lab, 900, 900)).is_err());
        // Offset 900 has to be confirmed, however far the primary is now.
        assert!(judge(&mut recovery, &observe(&lab, 1000, 899)).is_err());
        assert_eq!(
            judge(&mut recovery, &observe(&lab, 2000, 900)),
            Ok("redis-a".into())
        );
    }

    #[test]
    fn a_replica_that_was_away_has_to_confirm_a_new_offset() {
        let lab = lab();
        let mut recovery = Recovery::default();
        assert!(judge(&mut recovery, &observe(&lab, 900, 900)).is_err());
        let mut away = observe(&lab, 950, 900);
        away.infos[1] = Err("it does not answer".into());
        assert!(judge(&mut recovery, &away).is_err());
        assert_eq!(recovery.since(), None);
        // It is back, and has not what it has missed.
        assert!(judge(&mut recovery, &observe(&lab, 960, 900)).is_err());
        assert!(judge(&mut recovery, &observe(&lab, 970, 959)).is_err());
        assert!(judge(&mut recovery, &observe(&lab, 970, 960)).is_ok());
    }

    #[test]
    fn one_dissenting_sentinel_delays_the_recovery() {
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
            assert!(judge(&mut recovery, &observe(&lab, 900, 900)).is_err());
            let mut dissent = observe(&lab, 900, 900);
            change(dissent.views[2].as_mut().unwrap());
            assert!(judge(&mut recovery, &dissent).is_err());
            // Afterwards an offset has to be confirmed again.
            assert!(judge(&mut recovery, &observe(&lab, 950, 950)).is_err());
            assert!(judge(&mut recovery, &observe(&lab, 950, 950)).is_ok());
        }
    }
}
