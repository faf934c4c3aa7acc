//! The users of applications, beside those of the lab's own parts.

use crate::config::{App, Lab, NodeKind, WHOLE_DATABASE_COMMANDS};

use super::table::User;

/// A user of the servers: a part of the lab, or an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// A part of the lab.
    Part(User),
    /// An application.
    App(AppUser),
}

/// The user of an application of `lab.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppUser {
    app: App,
}

/// What every application may do, whatever `lab.toml` says. With [`ROUND`], its answers can be
/// confirmed on its own connection: `WAIT` asks the replicas, and `ROLE` has the offsets. Client
/// libraries also check by `ROLE` whether the node that a Sentinel has named is primary (redis-rs,
/// Lettuce).
pub(super) const ALWAYS: [&str; 2] = ["+wait", "+role"];
/// To publish the messages of rounds, in the channels of this version and of earlier ones. A
/// selector, so that it may not subscribe there: whoever reads the token of a session could confirm
/// by it.
pub(super) const ROUND: &str = "(+publish &halab:round:* &halab:round)";

/// The end of the second name of an application's user. `halab proxy` logs in with it on behalf of
/// clients that log in with the first, so that a server can tell its connections from others.
const BY_PROXY: &str = "@proxy";

/// The name with which `halab proxy` logs in on behalf of an application.
pub fn name_by_proxy(application: &str) -> String {
    format!("{application}{BY_PROXY}")
}

/// The application of a user that logs in through `halab proxy`.
pub fn application_by_proxy(name: &str) -> Option<&str> {
    name.strip_suffix(BY_PROXY)
}

/// What libraries that know Sentinel ask it: the primary, the replicas, the other Sentinels, and
/// its events. They begin a connection as on a data node. `client|setinfo` is not in all versions,
/// and a server does not start with a rule that it does not know; so the whole category is allowed.
pub(super) const ON_SENTINEL: [&str; 17] = [
    "&*",
    "+@connection",
    "-@admin",
    "-@dangerous",
    "+info",
    "+role",
    "+subscribe",
    "+unsubscribe",
    "+psubscribe",
    "+punsubscribe",
    "+sentinel|get-master-addr-by-name",
    "+sentinel|master",
    "+sentinel|masters",
    "+sentinel|replicas",
    "+sentinel|slaves",
    "+sentinel|sentinels",
    "+sentinel|myid",
];

impl AppUser {
    fn on_data_node(&self) -> Vec<String> {
        let keys = self.app.keys.iter().map(|pattern| format!("~{pattern}"));
        let channels = self.app.channels.iter().map(|p| format!("&{p}"));
        let never = WHOLE_DATABASE_COMMANDS.map(|command| format!("-{command}"));
        keys.chain(channels)
            .chain(self.app.commands.iter().cloned())
            // Later rules hold: these come after those of `lab.toml`.
            .chain(["-@admin".to_owned()])
            .chain(never)
            .chain(ALWAYS.map(str::to_owned))
            .chain([ROUND.to_owned()])
            .collect()
    }
}

impl Account {
    /// All users of a lab: its parts, then the applications.
    pub fn all(lab: &Lab) -> impl Iterator<Item = Account> {
        let parts = User::ALL.iter().copied().map(Account::from);
        parts.chain(lab.apps.iter().map(Account::from))
    }

    /// The user of that name.
    pub fn named(lab: &Lab, name: &str) -> Option<Account> {
        Account::all(lab).find(|account| account.name() == name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Account::Part(user) => user.name(),
            Account::App(user) => &user.app.name,
        }
    }

    /// Its names on a node of that kind: all have the same password and rights. None if it does not
    /// exist there.
    pub fn names(&self, kind: NodeKind) -> Vec<String> {
        let name = self.name().to_owned();
        match self {
            _ if !self.is_on(kind) => vec![],
            Account::App(_) if kind == NodeKind::Data => {
                let by_proxy = name_by_proxy(&name);
                vec![name, by_proxy]
            }
            _ => vec![name],
        }
    }

    /// The name of the file with its password.
    pub fn file(&self) -> String {
        match self {
            Account::Part(user) => user.name().to_owned(),
            // Beside those of the lab's own users and `node-NAME.pem`.
            Account::App(user) => format!("app-{}", user.app.name),
        }
    }

    /// Its rights on a node of that kind, as ACL rules; empty if it does not exist there.
    pub fn rights(&self, kind: NodeKind) -> Vec<String> {
        let owned = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect();
        match (self, kind) {
            (Account::Part(user), kind) => owned(&user.rights(kind)),
            (Account::App(user), NodeKind::Data) => user.on_data_node(),
            (Account::App(_), NodeKind::Sentinel) => owned(&ON_SENTINEL),
        }
    }

    /// Whether it exists on nodes of that kind.
    pub fn is_on(&self, kind: NodeKind) -> bool {
        !self.rights(kind).is_empty()
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Account::Part(user)
    }
}

impl From<&App> for Account {
    fn from(app: &App) -> Self {
        Account::App(AppUser { app: app.clone() })
    }
}

impl From<&Account> for Account {
    fn from(account: &Account) -> Self {
        account.clone()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::protocol::ack::ASSURANCE_CHANNEL;
    use crate::protocol::copy::MARK_KEY;
    use crate::protocol::member_list::MEMBER_LIST_KEY;
    use crate::record::KEY_PREFIX;

    /// The lab as shipped, with this after it.
    pub fn lab_with(more: &str) -> Lab {
        let shipped = include_str!("../../lab.toml");
        Lab::parse(&format!("{shipped}\n{more}"), None).unwrap()
    }

    #[test]
    fn an_application_gets_its_rules_and_then_those_of_every_application() {
        let lab = lab_with(
            "[[app]]\nname = \"shop\"\nkeys = [\"shop:*\", \"cart:*\"]\nchannels = []\n\
             commands = [\"+@all\"]\n",
        );
        let user = Account::named(&lab, "shop").unwrap();
        assert_eq!(user.file(), "app-shop");
        assert_eq!(
            user.rights(NodeKind::Data).join(" "),
            "~shop:* ~cart:* +@all -@admin -flushall -flushdb -swapdb +wait +role \
             (+publish &halab:round:* &halab:round)"
        );
        assert_eq!(user.names(NodeKind::Data), ["shop", "shop@proxy"]);
        // A proxy asks the Sentinels as itself.
        assert_eq!(user.names(NodeKind::Sentinel), ["shop"]);
    }

    /// What `lab.toml` refuses are the names that the lab has.
    #[test]
    fn no_application_has_the_name_of_a_user_of_the_lab_or_reaches_its_keys() {
        let refused = |table: &str| {
            let shipped = include_str!("../../lab.toml");
            let text = format!("{shipped}\n[[app]]\n{table}\n");
            Lab::parse(&text, None).is_err()
        };
        for name in User::ALL.iter().map(|user| user.name()).chain(["default"]) {
            assert!(refused(&format!("name = \"{name}\"")), "{name}");
        }
        let record = format!("{KEY_PREFIX}0123456789abcdef:1");
        for key in [MARK_KEY, MEMBER_LIST_KEY, &record] {
            let table = format!("name = \"shop\"\nkeys = [\"{key}\"]");
            assert!(refused(&table), "{key}");
        }
        for channel in [ASSURANCE_CHANNEL, "__sentinel__:hello"] {
            let table = format!("name = \"shop\"\nchannels = [\"{channel}\"]");
            assert!(refused(&table), "{channel}");
        }
        assert!(!refused("name = \"shop\""));
    }
}
