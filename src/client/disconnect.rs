//! The commands that disconnect clients of a server.

/// Disconnects all other clients but those with subscriptions. With a change of role or of the
/// members in the same transaction, no connection goes on from one to the other that was without
/// subscriptions all the time.
#[must_use]
pub fn disconnect_clients() -> redis::Cmd {
    let mut cmd = redis::cmd("CLIENT");
    cmd.arg("KILL").arg("TYPE").arg("normal");
    cmd.arg("SKIPME").arg("yes");
    cmd
}

/// Disconnects all other clients of one user.
#[must_use]
pub fn disconnect_clients_of(user: &str) -> redis::Cmd {
    let mut cmd = disconnect_clients();
    cmd.arg("USER").arg(user);
    cmd
}
