//! What the Sentinels and a data node say at one moment.

use crate::client::{ClientError, Connector, ReplicationInfo, Role};
use crate::config::{Lab, Node};
use crate::protocol::vote::{Elected, NoPrimary};
use crate::sentinel::Panel;

use super::look::{Change, Look, Says};

/// Whom the Sentinels name. Asked on new connections: one that has been idle during a long reading may be gone.
pub(super) async fn vote(lab: &Lab, connector: &Connector) -> Result<Elected, NoPrimary> {
    Panel::new(lab, connector.clone()).ask().await.elect()
}

/// What a data node says of itself.
pub(super) async fn look(node: &Node, connector: &Connector) -> Result<Look, Change> {
    let answers = async {
        let mut conn = connector.open(node.socket()).await?;
        Ok((conn.replication().await?, conn.role().await?))
    };
    let (info, role) = answers.await.map_err(|error| unanswered(node, &error))?;
    look_of(node, &info, &role)
}

pub(super) fn unanswered(node: &Node, error: &ClientError) -> Change {
    Change::Unanswered {
        node: node.name.clone(),
        why: error.to_string(),
    }
}

/// One look, from the answers to `INFO` and then `ROLE` on one connection.
///
/// An error when they do not fit together, or leave out what is compared: nothing missing is taken for a 0.
fn look_of(node: &Node, info: &ReplicationInfo, role: &Role) -> Result<Look, Change> {
    let name = || node.name.clone();
    let unsaid = |what| Change::Unsaid { node: name(), what };
    if info.loading {
        return Err(Change::Loading { node: name() });
    }
    if info.run_id.is_empty() {
        return Err(unsaid("run_id"));
    }
    if info.replication_id.is_empty() {
        return Err(unsaid("master_replid"));
    }
    let (offset, says) = match role {
        Role::Primary { offset, .. } if info.is_primary => (*offset, Says::Primary),
        Role::Replica {
            of,
            connected,
            offset,
        } if !info.is_primary => {
            let says = Says::Replica {
                of: *of,
                linked: *connected && info.link_up && !info.syncing,
                promotable: info.priority > 0,
            };
            (*offset, says)
        }
        Role::Primary { .. } | Role::Replica { .. } => {
            return Err(Change::ChangesRole { node: name() });
        }
        Role::Sentinel => return Err(unsaid("role as a data node")),
    };
    Ok(Look {
        run_id: info.run_id.clone(),
        history: info.replication_id.clone(),
        offset,
        says,
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

    fn look_42(run_id: &str, says: Says) -> Look {
        Look {
            run_id: run_id.into(),
            history: "8a5c".into(),
            offset: 42,
            says,
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
    fn a_look_takes_the_offset_of_role_and_the_rest_of_info() {
        let role = Role::Primary {
            offset: 42,
            replicas: vec![],
        };
        let look = look_of(&a(), &ReplicationInfo::parse(AS_PRIMARY), &role);
        assert_eq!(look, Ok(look_42("aa", Says::Primary)));
        let look = look_of(
            &b(),
            &ReplicationInfo::parse(AS_REPLICA),
            &role_of_a_replica(true),
        );
        let says = Says::Replica {
            of: a().socket(),
            linked: true,
            promotable: true,
        };
        assert_eq!(look, Ok(look_42("bb", says)));
    }

    #[test]
    fn both_answers_have_to_say_that_the_link_is_up() {
        let linked = |info: &str, connected| {
            let info = ReplicationInfo::parse(info);
            let look = look_of(&b(), &info, &role_of_a_replica(connected)).unwrap();
            matches!(look.says, Says::Replica { linked: true, .. })
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
    fn what_a_server_does_not_say_is_no_look() {
        let role = Role::Primary {
            offset: 42,
            replicas: vec![],
        };
        let judged = |info: &str, role: &Role| {
            look_of(&a(), &ReplicationInfo::parse(info), role)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            judged("role:master\r\nmaster_replid:8a5c\r\n", &role),
            "redis-a does not say its run_id"
        );
        assert_eq!(
            judged("role:master\r\nrun_id:aa\r\n", &role),
            "redis-a does not say its master_replid"
        );
        assert_eq!(
            judged(&format!("{AS_PRIMARY}loading:1\r\n"), &role),
            "redis-a loads its data"
        );
        // Deposed, or promoted, between the two answers.
        for (info, role) in [
            (AS_PRIMARY, role_of_a_replica(true)),
            (AS_REPLICA, role.clone()),
        ] {
            assert_eq!(judged(info, &role), "redis-a changes its role");
        }
    }
}
