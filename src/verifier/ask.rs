//! Asks the Sentinels and a data node for one observation.

use crate::client::{ClientError, Connector, Role, ServerInfo};
use crate::config::{Lab, Node};
use crate::protocol::vote::{Elected, NoPrimary};
use crate::sentinel::SentinelClients;

use super::observation::{Interruption, NodeObservation, ReportedRole};

/// The elected primary. Asked on new connections: one that was idle during a long reading may be
/// closed.
pub(super) async fn vote(lab: &Lab, connector: &Connector) -> Result<Elected, NoPrimary> {
    SentinelClients::new(lab, connector.clone())
        .ask()
        .await
        .elect()
}

/// Observes a data node.
pub(super) async fn observe(
    node: &Node,
    connector: &Connector,
) -> Result<NodeObservation, Interruption> {
    let answers = async {
        let mut conn = connector.open(node.socket()).await?;
        Ok((conn.info().await?, conn.role().await?))
    };
    let (info, role) = answers.await.map_err(|error| unanswered(node, &error))?;
    observation_of(node, &info, &role)
}

pub(super) fn unanswered(node: &Node, error: &ClientError) -> Interruption {
    Interruption::Unanswered {
        node: node.name.clone(),
        why: error.to_string(),
    }
}

/// An observation from the answers to `INFO` and then `ROLE` on one connection.
///
/// An error if they contradict each other, or if a compared value is missing: it is not taken as 0.
fn observation_of(
    node: &Node,
    info: &ServerInfo,
    role: &Role,
) -> Result<NodeObservation, Interruption> {
    let name = || node.name.clone();
    let missing = |what| Interruption::Missing { node: name(), what };
    if info.loading {
        return Err(Interruption::Loading { node: name() });
    }
    if info.run_id.is_empty() {
        return Err(missing("run_id"));
    }
    if info.replication_id.is_empty() {
        return Err(missing("master_replid"));
    }
    let (offset, role) = match role {
        Role::Primary { offset, .. } if info.is_primary => (*offset, ReportedRole::Primary),
        Role::Replica {
            of,
            connected,
            offset,
        } if !info.is_primary => {
            let role = ReportedRole::Replica {
                of: *of,
                linked: *connected && info.link_up && !info.syncing,
                promotable: info.priority > 0,
            };
            (*offset, role)
        }
        Role::Primary { .. } | Role::Replica { .. } => {
            return Err(Interruption::ChangesRole { node: name() });
        }
        Role::Sentinel => return Err(missing("role as a data node")),
    };
    Ok(NodeObservation {
        run_id: info.run_id.clone(),
        replication_id: info.replication_id.clone(),
        offset,
        role,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeKind;

    fn node(name: &str, last: u8) -> Node {
        Node {
            name: name.into(),
            kind: NodeKind::Data,
            address: [127, 0, 0, last].into(),
            port: 6379,
        }
    }

    fn a() -> Node {
        node("redis-a", 11)
    }

    fn b() -> Node {
        node("redis-b", 12)
    }

    fn observation_42(run_id: &str, role: ReportedRole) -> NodeObservation {
        NodeObservation {
            run_id: run_id.into(),
            replication_id: "8a5c".into(),
            offset: 42,
            role,
        }
    }

    const AS_PRIMARY: &str = "run_id:aa\r\nrole:master\r\nmaster_replid:8a5c\r\n";
    const AS_REPLICA: &str = "run_id:bb\r\nrole:slave\r\nmaster_replid:8a5c\r\n\
        master_host:127.0.0.11\r\nmaster_port:6379\r\nmaster_link_status:up\r\nslave_priority:100\r\n";

    fn role_of_a_replica(connected: bool) -> Role {
        Role::Replica {
            of: a().socket(),
            connected,
            offset: 42,
        }
    }

    #[test]
    fn an_observation_has_the_offset_of_role_and_the_rest_of_info() {
        let role = Role::Primary {
            offset: 42,
            replicas: vec![],
        };
        let observation = observation_of(&a(), &ServerInfo::parse(AS_PRIMARY), &role);
        assert_eq!(observation, Ok(observation_42("aa", ReportedRole::Primary)));
        let observation = observation_of(
            &b(),
            &ServerInfo::parse(AS_REPLICA),
            &role_of_a_replica(true),
        );
        let role = ReportedRole::Replica {
            of: a().socket(),
            linked: true,
            promotable: true,
        };
        assert_eq!(observation, Ok(observation_42("bb", role)));
    }

    #[test]
    fn both_answers_must_report_the_link_as_up() {
        let linked = |info: &str, connected| {
            let info = ServerInfo::parse(info);
            let observation = observation_of(&b(), &info, &role_of_a_replica(connected)).unwrap();
            matches!(observation.role, ReportedRole::Replica { linked: true, .. })
        };
        assert!(linked(AS_REPLICA, true));
        assert!(!linked(AS_REPLICA, false));
        assert!(!linked(
            &AS_REPLICA.replace("status:up", "status:down"),
            true
        ));
        assert!(!linked(
            &format!("{AS_REPLICA}master_sync_in_progress:1\r\n"),
            true
        ));
    }

    #[test]
    fn an_incomplete_or_contradictory_answer_is_an_error() {
        let role = Role::Primary {
            offset: 42,
            replicas: vec![],
        };
        let error_text = |info: &str, role: &Role| {
            observation_of(&a(), &ServerInfo::parse(info), role)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error_text("role:master\r\nmaster_replid:8a5c\r\n", &role),
            "redis-a does not report its run_id"
        );
        assert_eq!(
            error_text("role:master\r\nrun_id:aa\r\n", &role),
            "redis-a does not report its master_replid"
        );
        assert_eq!(
            error_text(&format!("{AS_PRIMARY}loading:1\r\n"), &role),
            "redis-a is loading its data"
        );
        // Deposed, or promoted, between the two answers.
        for (info, role) in [
            (AS_PRIMARY, role_of_a_replica(true)),
            (AS_REPLICA, role.clone()),
        ] {
            assert_eq!(error_text(info, &role), "redis-a is changing its role");
        }
    }
}
