//! The users as ACL rules, and as the tables of `docs/security.md`.
//!
//! Rules: <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>.

use std::fmt::Write;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::NodeKind;

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

/// The ACL file of a server: every user with rights there, with the passwords that `accepted`
/// returns.
///
/// # Errors
/// The first error of `accepted`.
pub fn acl_file<E>(
    kind: NodeKind,
    mut accepted: impl FnMut(User) -> Result<Vec<SecretString>, E>,
) -> Result<String, E> {
    // A client that is not authenticated may only authenticate.
    let mut file = "user default off resetpass resetkeys resetchannels -@all\n".to_owned();
    for user in User::ALL {
        let rights = user.rights(kind);
        if rights.is_empty() {
            continue;
        }
        let passwords: Vec<String> = accepted(user)?.iter().map(allow).collect();
        let _ = writeln!(
            file,
            "user {} on {} resetkeys resetchannels -@all {}",
            user.name(),
            passwords.join(" "),
            rights.join(" ")
        );
    }
    Ok(file)
}

/// Users and rights as Markdown: a table for data nodes and one for Sentinels.
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
        for user in User::ALL {
            let rights = user.rights(kind);
            if rights.is_empty() {
                continue;
            }
            let of = |marks: &[&str]| {
                let some = rights
                    .iter()
                    .filter(|r| marks.iter().any(|m| r.starts_with(m)))
                    .map(|r| format!("`{}`", r.trim_start_matches('+').replace('|', " ")))
                    .collect::<Vec<_>>();
                if some.is_empty() {
                    "none".to_owned()
                } else {
                    some.join(", ")
                }
            };
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
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated;
    use crate::record::KEY_PREFIX;

    fn file(kind: NodeKind) -> String {
        let accepted = |user: User| Ok::<_, ()>(vec![SecretString::from(user.name())]);
        acl_file(kind, accepted).unwrap()
    }

    #[test]
    fn a_file_has_hashes_and_no_password() {
        // `printf writer | sha256sum`
        let hash = "#b93006774cbdd4b299389a03ac3d88c3a76b460d538795bc12718011a909fba5";
        assert_eq!(allow(&SecretString::from("writer")), hash);
        let file = file(NodeKind::Data);
        assert!(file.starts_with("user default off"));
        assert!(file.contains(&format!("user writer on {hash} ")));
        assert!(!file.contains(">"), "{file}");
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
