//! The users as ACL rules, and as the tables of `docs/security.md`.
//!
//! Rules: <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>.

use std::fmt::Write;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::{Lab, NodeKind, WHOLE_DATABASE_COMMANDS};

use super::app::{ALWAYS, Account, ON_SENTINEL};
use super::table::User;

/// The ACL rule that adds this password: its SHA-256, as Redis stores it.
pub fn allow(password: &SecretString) -> String {
    let mut rule = "#".to_owned();
    for byte in Sha256::digest(password.expose_secret()) {
        // Writing to a String cannot fail.
        let _ = write!(rule, "{byte:02x}");
    }
    rule
}

/// The ACL rules that make this the only password.
pub fn only(password: &SecretString) -> [String; 2] {
    ["resetpass".to_owned(), allow(password)]
}

/// The default user. It is off, so a client that is not authenticated may only authenticate.
///
/// A data node nevertheless needs its rights. When a server loads its append-only file, it executes
/// the file as the default user, and checks the rights of that user at each `EXEC`. Without rights
/// it leaves out every transaction, and every script with more than one write: they are lost by a
/// restart, and the server starts as if nothing were wrong (Redis 7.0.15, Valkey 8.0.1).
fn default_user(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Data => "user default off resetpass ~* &* +@all",
        NodeKind::Sentinel => "user default off resetpass resetkeys resetchannels -@all",
    }
}

/// The ACL file of a server: every user with rights there, with the passwords that `accepted`
/// returns.
///
/// # Errors
/// The first error of `accepted`.
pub fn acl_file<E>(
    lab: &Lab,
    kind: NodeKind,
    mut accepted: impl FnMut(&Account) -> Result<Vec<SecretString>, E>,
) -> Result<String, E> {
    let mut file = format!("{}\n", default_user(kind));
    for user in Account::all(lab).filter(|user| user.is_on(kind)) {
        let passwords: Vec<String> = accepted(&user)?.iter().map(allow).collect();
        let (passwords, rights) = (passwords.join(" "), user.rights(kind).join(" "));
        for name in user.names(kind) {
            let _ = writeln!(
                file,
                "user {name} on {passwords} resetkeys resetchannels -@all {rights}"
            );
        }
    }
    Ok(file)
}

/// Users and rights as Markdown: a table for data nodes and one for Sentinels, each with a line for
/// an application.
pub fn rights_reference() -> String {
    let mut out = String::new();
    for (kind, title) in [
        (NodeKind::Data, "On data nodes"),
        (NodeKind::Sentinel, "On Sentinels"),
    ] {
        let _ = write!(
            out,
            "**{title}**\n\n| user | used by | keys | channels | commands |\n\
             | -- | -- | -- | -- | -- |\n"
        );
        for &user in User::ALL {
            let rights = user.rights(kind);
            if rights.is_empty() {
                continue;
            }
            let of = |marks: &[&str]| marked(&rights, marks);
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} |",
                user.name(),
                user.used_by(),
                of(&["~", "%"]),
                of(&["&"]),
                of(&["+"])
            );
        }
        let [keys, channels, commands] = of_application(kind);
        let user = match kind {
            NodeKind::Data => "`NAME`; `NAME@proxy`, for `halab proxy` on its behalf",
            NodeKind::Sentinel => "`NAME`",
        };
        let _ = writeln!(
            out,
            "| {user} | an application of `lab.toml` ([applications.md](applications.md)) | \
             {keys} | {channels} | {commands} |\n"
        );
    }
    out
}

/// The rules that begin with one of the `marks`.
fn marked(rules: &[&str], marks: &[&str]) -> String {
    let some = rules
        .iter()
        .filter(|r| marks.iter().any(|m| r.starts_with(m)))
        .map(|r| format!("`{}`", r.trim_start_matches('+').replace('|', " ")))
        .collect::<Vec<_>>();
    if some.is_empty() {
        "none".to_owned()
    } else {
        some.join(", ")
    }
}

/// Keys, channels and commands of an application, on a node of that kind.
fn of_application(kind: NodeKind) -> [String; 3] {
    match kind {
        NodeKind::Data => [
            "its `keys`".to_owned(),
            "its `channels`; `halab:round:*` and `halab:round` for `publish` only".to_owned(),
            format!(
                "its `commands`, with {}, without `{}`, and but for `role` without `@admin`",
                marked(&ALWAYS, &["+"]),
                WHOLE_DATABASE_COMMANDS.join("`, `")
            ),
        ],
        NodeKind::Sentinel => [
            "none".to_owned(),
            marked(&ON_SENTINEL, &["&"]),
            marked(&ON_SENTINEL, &["+", "-"]),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::super::app::tests::lab_with;
    use super::*;
    use crate::generated;
    use crate::record::KEY_PREFIX;

    fn file(kind: NodeKind) -> String {
        let lab = lab_with("[[app]]\nname = \"shop\"");
        let accepted = |user: &Account| Ok::<_, ()>(vec![SecretString::from(user.name())]);
        acl_file(&lab, kind, accepted).unwrap()
    }

    #[test]
    fn an_application_has_the_same_password_and_rights_through_the_proxy() {
        let file = file(NodeKind::Data);
        let after = |name: &str| {
            let line = file.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().to_owned()
        };
        assert_eq!(after("user shop on "), after("user shop@proxy on "));
    }

    #[test]
    fn an_application_is_a_user_of_every_server() {
        let line = |kind| {
            let file = file(kind);
            let line = file.lines().find(|line| line.starts_with("user shop on #"));
            line.unwrap().to_owned()
        };
        assert!(line(NodeKind::Data).contains(" resetkeys resetchannels -@all ~shop:* &shop:* "));
        assert!(line(NodeKind::Sentinel).contains(" +sentinel|get-master-addr-by-name "));
    }

    #[test]
    fn a_file_has_hashes_and_no_password() {
        // `printf writer | sha256sum`
        let hash = "#b93006774cbdd4b299389a03ac3d88c3a76b460d538795bc12718011a909fba5";
        assert_eq!(allow(&SecretString::from("writer")), hash);
        let file = file(NodeKind::Data);
        assert!(file.contains(&format!("user writer on {hash} ")));
        assert!(!file.contains(">"), "{file}");
    }

    #[test]
    fn the_default_user_of_a_data_node_is_off_and_has_the_rights_to_load_its_file() {
        let first = file(NodeKind::Data).lines().next().unwrap().to_owned();
        assert_eq!(first, "user default off resetpass ~* &* +@all");
        // A Sentinel loads no data.
        let first = file(NodeKind::Sentinel).lines().next().unwrap().to_owned();
        assert!(first.starts_with("user default off resetpass ") && first.ends_with(" -@all"));
    }

    #[test]
    fn the_keys_are_those_of_records() {
        for user in [User::Writer, User::Verifier] {
            let keys = user.rights(NodeKind::Data)[0];
            assert_eq!(&keys[3..], format!("{KEY_PREFIX}*"));
        }
    }

    #[test]
    fn only_the_node_and_the_operator_may_fail_over() {
        let file = file(NodeKind::Sentinel);
        let may: Vec<&str> = file
            .lines()
            .filter(|l| l.contains("+sentinel|failover") || l.contains("+@all"))
            .filter_map(|l| l.split(' ').nth(1))
            .collect();
        assert_eq!(may, ["node", "operator"]);
        assert!(!file.contains("replication"));
    }

    #[test]
    fn generated_rights_of_security_md() {
        generated::part(
            "docs/security.md",
            "rights",
            &format!("\n{}", rights_reference()),
        );
    }
}
