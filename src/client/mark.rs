//! Writing a mark: the command, and its random ids. [`crate::protocol::copy`] defines the content.

use rand::RngExt;
use rand::distr::Alphanumeric;

use crate::protocol::copy::{MARK_KEY, Mark, RandomIds};

/// A script with this flag is executed even if `maxmemory` is reached, when `SET` is refused.
/// Without it, a full node could not mark its term, and no replica would follow it. See
/// <https://redis.io/docs/latest/develop/programmability/lua-api/#script_flags>.
const SCRIPT: &str = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], ARGV[1])";

/// The command that writes a mark.
pub fn set_mark(mark: &Mark) -> redis::Cmd {
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(SCRIPT).arg(1).arg(MARK_KEY).arg(mark.to_text());
    cmd
}

/// Random ids for the mark that begins a term.
pub fn random_ids() -> RandomIds {
    let random_id = || {
        let mut rng = rand::rng();
        (0..12)
            .map(|_| char::from(rng.sample(Alphanumeric)).to_ascii_lowercase())
            .collect()
    };
    RandomIds {
        lab: random_id(),
        term: random_id(),
    }
}
