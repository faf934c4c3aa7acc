//! How a mark is written: the command, and what is drawn for it. What it says is in
//! [`crate::protocol::copy`].

use rand::RngExt;
use rand::distr::Alphanumeric;

use crate::protocol::copy::{MARK_KEY, Mark, RandomIds};

/// A script with this flag is executed also when `maxmemory` is reached, which refuses `SET`: a
/// node that could not mark its term would be followed by nobody. <https://redis.io/docs/latest/develop/programmability/lua-api/#script_flags>
const SCRIPT: &str = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], ARGV[1])";

/// The command that writes a mark.
pub fn set_mark(mark: &Mark) -> redis::Cmd {
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(SCRIPT).arg(1).arg(MARK_KEY).arg(mark.to_text());
    cmd
}

/// Draws what a mark that begins a term needs.
pub fn drawn() -> RandomIds {
    let draw = || {
        let mut rng = rand::rng();
        (0..12)
            .map(|_| char::from(rng.sample(Alphanumeric)).to_ascii_lowercase())
            .collect()
    };
    RandomIds {
        lab: draw(),
        term: draw(),
    }
}
