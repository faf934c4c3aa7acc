//! Limits that more than one rule goes by.

/// One mebibyte.
pub(super) const MIB: u64 = 1 << 20;

/// `auto-aof-rewrite-min-size`: how much an append-only file grows before its first rewrite, however small the data is.
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/>
pub(super) const REWRITE_MIN: u64 = 64 * MIB;

/// `maxclients` of a server that is not told another number, and what it keeps open beside clients (`CONFIG_MIN_RESERVED_FDS`).
/// <https://redis.io/docs/latest/develop/reference/clients/>
pub(super) const MAX_CLIENTS: u64 = 10_000;
pub(super) const RESERVED_DESCRIPTORS: u64 = 32;

/// What Linux gives every process by default (getrlimit(2)). Fewer is a limit that somebody set.
pub(super) const FEW_CLIENTS: u64 = 1024 - RESERVED_DESCRIPTORS;

/// Free files of a disk: a data node has about twenty at once.
pub(super) const FEW_INODES: u64 = 100;
pub(super) const ENOUGH_INODES: u64 = 1000;

/// What takes `bytes` of memory or disk, to be typed: whole mebibytes, rounded up.
pub(super) fn mebibytes_up(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}
