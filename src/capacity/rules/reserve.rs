//! Limits that several rules use.

/// One mebibyte.
pub(super) const MIB: u64 = 1 << 20;

/// `auto-aof-rewrite-min-size`: how far an append-only file grows before its first rewrite, however
/// small the data is. <https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/>
pub(super) const REWRITE_MIN: u64 = 64 * MIB;

/// The default `maxclients`, and the descriptors that a server needs besides
/// (`CONFIG_MIN_RESERVED_FDS`). <https://redis.io/docs/latest/develop/reference/clients/>
pub(super) const MAX_CLIENTS: u64 = 10_000;
pub(super) const RESERVED_DESCRIPTORS: u64 = 32;

/// The default limit of a process in Linux (getrlimit(2)), without the reserved descriptors. A
/// lower one was set by somebody.
pub(super) const FEW_CLIENTS: u64 = 1024 - RESERVED_DESCRIPTORS;

/// Free inodes on a disk: a data node uses about twenty at once.
pub(super) const FEW_INODES: u64 = 100;
pub(super) const ENOUGH_INODES: u64 = 1000;

/// `bytes` in whole mebibytes, rounded up, for use in a command.
pub(super) fn mebibytes_up(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}
