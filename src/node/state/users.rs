//! Users on a server that do not belong to the lab. A server starts with the users of the lab only,
//! so users that an operator has added are removed at its next start. They are reported while they
//! exist, and kept in a file when they are removed.
//!
//! ```text
//! STATE/NAME/users.seen         names of such users, last observed on the running server
//! STATE/NAME/users.removed.acl  their lines, after their removal
//! STATE/NAME/users.apps         names of the applications with which the server was started last
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use tracing::warn;

use crate::access::{Account, application_by_proxy};
use crate::config::{Lab, Node, NodeKind};

use super::error::{StateError, io_error};
use super::replace;

const SEEN: &str = "users.seen";
const REMOVED: &str = "users.removed.acl";
const APPS: &str = "users.apps";

/// Whether the lab has a user of that name on a server of that kind.
fn is_of_lab(name: &str, kind: NodeKind, lab: &Lab) -> bool {
    let has_name = |user: Account| user.names(kind).iter().any(|own| own == name);
    name == "default" || Account::all(lab).any(has_name)
}

/// The `names` of users that do not belong to the lab.
pub(in crate::node) fn foreign(names: Vec<String>, kind: NodeKind, lab: &Lab) -> Vec<String> {
    let mut names = names;
    names.retain(|name| !is_of_lab(name, kind, lab));
    names.sort();
    names
}

/// Notes the users that were observed on the running server.
///
/// # Errors
/// If the note can't be written.
pub(in crate::node) fn note_seen(folder: &Path, names: &[String]) -> Result<(), StateError> {
    replace(&folder.join(SEEN), &names.join("\n"))
}

/// Notes the applications with which the server is started. One that is no longer in `lab.toml`
/// then goes without a report: whoever removed it there wants that.
///
/// # Errors
/// If the note can't be written.
pub(super) fn note_apps(folder: &Path, lab: &Lab) -> Result<(), StateError> {
    let names: Vec<&str> = lab.apps.iter().map(|app| app.name.as_str()).collect();
    let note = folder.join(APPS);
    match names.is_empty() && !note.exists() {
        true => Ok(()),
        false => replace(&note, &names.join("\n")),
    }
}

/// The lines of the users in a file of users, by their names.
fn lines_of(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| {
        let name = line.strip_prefix("user ")?.split(' ').next()?;
        Some((name.to_owned(), line.to_owned()))
    });
    lines.collect()
}

fn read(path: &Path) -> Result<String, StateError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        // A user's name may be any bytes.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(io_error("cannot read", path)(error)),
    }
}

/// Keeps the lines of users that do not belong to the lab, before the file `users` is replaced, and
/// logs a warning.
///
/// # Errors
/// If they can't be kept; then the file must not be replaced.
pub(super) fn keep_removed(
    folder: &Path,
    users: &Path,
    node: &Node,
    lab: &Lab,
) -> Result<(), StateError> {
    let saved = lines_of(&read(users)?);
    let apps = read(&folder.join(APPS))?;
    let was_app = |name: &str| {
        let name = application_by_proxy(name).unwrap_or(name);
        apps.lines().any(|app| app == name)
    };
    let mut going: BTreeMap<String, String> = saved
        .into_iter()
        .filter(|(name, _)| !is_of_lab(name, node.kind, lab) && !was_app(name))
        .collect();
    let seen = folder.join(SEEN);
    for name in read(&seen)?.lines().filter(|name| !name.is_empty()) {
        going
            .entry(name.to_owned())
            .or_insert_with(|| format!("user {name} (not saved, so its rights are not known)"));
    }
    if going.is_empty() {
        return Ok(());
    }
    let kept = folder.join(REMOVED);
    let mut all = lines_of(&read(&kept)?);
    all.extend(going.clone());
    let text: Vec<String> = all.into_values().collect();
    replace(&kept, &format!("{}\n", text.join("\n")))?;
    replace(&seen, "")?;
    let names: Vec<String> = going.into_keys().collect();
    warn!(node = %node.name, users = names.join(", "), kept = %kept.display(), "users that do not belong to the lab were removed \
        at the start of the server; add them again on every data node (ACL SETUSER), or remove the file with their lines");
    Ok(())
}

/// Users that were removed and have not been added again.
pub(in crate::node) fn removed(folder: &Path, present: &[String]) -> Vec<String> {
    let kept = read(&folder.join(REMOVED)).unwrap_or_default();
    let names = lines_of(&kept).into_keys();
    names.filter(|name| !present.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Lab;

    #[test]
    fn users_that_go_are_kept_with_their_lines_and_those_of_the_lab_are_not() {
        let lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
        let node = &lab.data_nodes[0];
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users.acl");
        fs::write(
            &users,
            "user default off\nuser writer on #aa +set\nuser shop on #bb ~shop:* +get\n",
        )
        .unwrap();
        note_seen(folder.path(), &["shop".into(), "guest".into()]).unwrap();
        keep_removed(folder.path(), &users, node, &lab).unwrap();
        let kept = fs::read_to_string(folder.path().join(REMOVED)).unwrap();
        assert!(kept.contains("user shop on #bb ~shop:* +get"), "{kept}");
        assert!(kept.contains("user guest (not saved"), "{kept}");
        assert!(!kept.contains("writer"), "{kept}");
        assert_eq!(removed(folder.path(), &[]), ["guest", "shop"]);
        assert_eq!(removed(folder.path(), &["shop".into()]), ["guest"]);
        // A removal is reported once.
        fs::write(&users, "user default off\n").unwrap();
        fs::remove_file(folder.path().join(REMOVED)).unwrap();
        keep_removed(folder.path(), &users, node, &lab).unwrap();
        assert!(!folder.path().join(REMOVED).exists());
    }

    #[test]
    fn a_user_of_the_lab_that_has_no_rights_on_a_sentinel_is_foreign_there() {
        let names = || ["replication", "shop", "node"].map(String::from).to_vec();
        let lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
        assert_eq!(foreign(names(), NodeKind::Data, &lab), ["shop"]);
        let on_sentinel = foreign(names(), NodeKind::Sentinel, &lab);
        assert_eq!(on_sentinel, ["replication", "shop"]);
        let lab = with_shop();
        assert_eq!(foreign(names(), NodeKind::Data, &lab), [""; 0]);
        assert_eq!(foreign(names(), NodeKind::Sentinel, &lab), ["replication"]);
        let by_proxy = || vec!["shop@proxy".to_owned()];
        assert_eq!(foreign(by_proxy(), NodeKind::Data, &lab), [""; 0]);
        assert_eq!(foreign(by_proxy(), NodeKind::Sentinel, &lab), by_proxy());
    }

    fn with_shop() -> Lab {
        let shipped = include_str!("../../../lab.toml");
        Lab::parse(&format!("{shipped}\n[[app]]\nname = \"shop\""), None).unwrap()
    }

    #[test]
    fn an_application_that_was_removed_from_lab_toml_is_not_kept() {
        let lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
        let node = &lab.data_nodes[0];
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users.acl");
        let text = "user default off\nuser shop on #bb ~shop:* +get\n\
                    user shop@proxy on #bb ~shop:* +get\nuser guest on #cc +get\n";
        fs::write(&users, text).unwrap();
        note_apps(folder.path(), &with_shop()).unwrap();
        keep_removed(folder.path(), &users, node, &lab).unwrap();
        note_apps(folder.path(), &lab).unwrap();
        assert_eq!(removed(folder.path(), &[]), ["guest"]);
        // One that an operator adds again by hand is none.
        fs::write(&users, "user default off\nuser shop on #bb +get\n").unwrap();
        keep_removed(folder.path(), &users, node, &lab).unwrap();
        assert_eq!(removed(folder.path(), &[]), ["guest", "shop"]);
    }
}
