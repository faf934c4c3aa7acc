//! Which server versions can read the snapshots, append-only files and replication streams of
//! others.
//!
//! Redis and Valkey number the format of their snapshots (`RDB_VERSION` in `rdb.h`). A server
//! refuses a higher number than its own; Valkey also refuses those that Redis assigned after the
//! fork. The same holds for the base file of an append-only file, which is such a snapshot.
//!
//! The replication stream and the incremental file have no format number. An old server skips the
//! commands that it does not know, without an error, while its offset grows. So a server reads
//! these only from its own version (major and minor), from older versions of the same product, and
//! from the versions before the fork.

use std::fmt;

/// The product of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    Redis,
    Valkey,
}

/// A server's product and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    product: Product,
    major: u32,
    minor: u32,
    patch: u32,
}

/// The format number of a snapshot, from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format(u32);

/// The last version of Redis whose commands Valkey knows, and the first version of Valkey, which
/// has the same commands.
const PARTED: (u32, u32) = (7, 2);
/// The last format number that Redis and Valkey share.
const SHARED: u32 = 11;
/// Higher numbers below this one are used by Redis only; from here on, by Valkey only.
const VALKEY: u32 = 80;
/// The highest format number of Redis in this table.
const REDIS_KNOWN: u32 = 12;
/// Length in bytes of the header that states the format.
pub const HEADER: usize = 9;

impl Version {
    /// Parses `Redis 7.0.15`, `Valkey 8.0.1`, `7.0.15`, or `8.0.1 (Valkey)`.
    pub fn parse(text: &str) -> Option<Self> {
        let product = if text.contains("Valkey") {
            Product::Valkey
        } else {
            Product::Redis
        };
        let begins = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
        let mut numbers = text.split_whitespace().find(begins)?.split('.');
        let major = numbers.next()?.parse().ok()?;
        let mut next = || numbers.next().and_then(|n| n.parse().ok());
        Some(Version {
            product,
            major,
            minor: next()?,
            patch: next().unwrap_or(0),
        })
    }

    /// The format number that it writes; `None` for a version newer than this table.
    fn writes(self) -> Option<u32> {
        match (self.product, self.major, self.minor) {
            (Product::Redis, ..7, _) => Some(9),
            (Product::Redis, 7, 0..2) => Some(10),
            (Product::Redis, 7, 2..4) | (Product::Valkey, ..9, _) => Some(SHARED),
            (Product::Redis, 7, 4..) | (Product::Redis, 8, 0) => Some(REDIS_KNOWN),
            (Product::Valkey, 9, 0..2) => Some(VALKEY),
            (Product::Valkey, 9, 2) => Some(VALKEY + 1),
            _ => None,
        }
    }

    /// Whether it reads the snapshots and commands that `writer` writes.
    pub fn reads(self, writer: Version) -> bool {
        let age = |version: Version| (version.major, version.minor);
        match (self.product, writer.product) {
            // The commands up to 7.2 are common to both.
            (Product::Valkey, Product::Redis) => age(writer) <= PARTED,
            (Product::Redis, Product::Valkey) => age(writer) <= PARTED && age(self) >= PARTED,
            _ => age(self) >= age(writer),
        }
    }

    /// Whether it reads a snapshot of that format. Where this is not known, the server decides.
    pub fn reads_format(self, format: Format) -> bool {
        let Format(number) = format;
        match self.product {
            Product::Redis if number >= VALKEY => false,
            Product::Valkey if number > SHARED && number < VALKEY => false,
            _ => self.writes().is_none_or(|own| number <= own),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = match self.product {
            Product::Redis => "Redis",
            Product::Valkey => "Valkey",
        };
        write!(f, "{product} {}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Format {
    /// From the first bytes of a snapshot: `REDIS0012`, `VALKEY080`.
    pub fn of_header(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header.get(..HEADER)?).ok()?;
        let number = text
            .strip_prefix("REDIS")
            .or_else(|| text.strip_prefix("VALKEY"))?;
        Some(Format(number.parse().ok()?))
    }

    /// The oldest server versions that read it.
    fn readers(self) -> &'static str {
        match self.0 {
            ..=10 => "Redis 7.0 or Valkey 7.2",
            SHARED => "Redis 7.2 or Valkey 7.2",
            REDIS_KNOWN => "Redis 7.4",
            13..VALKEY => "a newer Redis",
            VALKEY => "Valkey 9.0",
            _ => "Valkey 9.2",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a server that writes format {} ({} or later)",
            self.0,
            self.readers()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_are_read_as_servers_and_the_lab_write_them() {
        assert_eq!(version("7.0.15"), version("Redis 7.0.15"));
        assert_eq!(version("8.0.1 (Valkey)"), version("Valkey 8.0.1"));
        assert_ne!(version("8.0.1"), version("Valkey 8.0.1"));
        assert_eq!(version("Valkey 8.1.0-rc1").to_string(), "Valkey 8.1.0");
        for wrong in ["", "Redis", "seven", "7", "x.y.z"] {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
    }

    /// Each pair was tried with real servers, except those marked.
    #[test]
    fn a_server_reads_what_it_or_an_older_one_writes() {
        for (reader, writer, reads) in [
            ("Redis 7.0.15", "Redis 7.0.15", true),
            ("Redis 7.0.15", "Redis 8.0.2", false),
            ("Redis 7.0.15", "Valkey 8.0.1", false),
            ("Redis 8.0.2", "Redis 7.0.15", true),
            ("Redis 8.0.2", "Redis 8.0.2", true),
            // It would load the snapshot, but not know some of the commands.
            ("Redis 8.0.2", "Valkey 8.0.1", false),
            ("Valkey 8.0.1", "Redis 7.0.15", true),
            ("Valkey 8.0.1", "Redis 8.0.2", false),
            ("Valkey 8.0.1", "Valkey 8.0.1", true),
            // According to the source code.
            ("Redis 7.0.2", "Redis 7.0.15", true),
            ("Redis 7.0.15", "Redis 7.2.0", false),
            ("Redis 7.4.0", "Redis 8.0.2", false),
            ("Valkey 8.0.1", "Valkey 8.1.0", false),
            ("Redis 8.0.2", "Valkey 7.2.5", true),
            ("Redis 7.0.15", "Valkey 7.2.5", false),
            ("Valkey 8.1.0", "Valkey 9.0.0", false),
            ("Valkey 9.0.0", "Valkey 8.0.1", true),
            ("Valkey 9.0.0", "Redis 7.4.0", false),
            ("Redis 8.0.2", "Valkey 9.0.0", false),
            // Newer than the table: only the order counts.
            ("Redis 99.0.0", "Redis 8.0.2", true),
            ("Redis 99.1.0", "Redis 99.0.0", true),
            ("Redis 99.0.0", "Redis 99.1.0", false),
            ("Redis 8.0.2", "Redis 99.0.0", false),
            ("Redis 99.0.0", "Valkey 8.0.1", false),
            ("Redis 99.0.0", "Valkey 99.0.0", false),
            ("Valkey 99.0.0", "Redis 99.0.0", false),
            ("Valkey 99.0.0", "Redis 7.2.0", true),
        ] {
            assert_eq!(
                version(reader).reads(version(writer)),
                reads,
                "{reader} reads what {writer} writes"
            );
        }
    }

    #[test]
    fn the_header_of_a_copy_says_its_format_and_nothing_else_does() {
        assert_eq!(Format::of_header(b"REDIS0012\xfa"), Some(Format(12)));
        assert_eq!(Format::of_header(b"VALKEY080\xfa"), Some(Format(80)));
        for other in [&b""[..], b"REDIS", b"REDISxxxx", b"*2\r\n$6\r\nSELECT"] {
            assert_eq!(Format::of_header(other), None);
        }
        let reads = |server: &str, header: &[u8]| {
            version(server).reads_format(Format::of_header(header).unwrap())
        };
        assert!(reads("Redis 7.0.15", b"REDIS0010"));
        assert!(!reads("Redis 7.0.15", b"REDIS0011"));
        assert!(reads("Redis 8.0.2", b"REDIS0012"));
        assert!(!reads("Redis 8.0.2", b"VALKEY080"));
        assert!(!reads("Valkey 9.0.0", b"REDIS0012"));
        assert!(reads("Valkey 9.0.0", b"VALKEY080"));
        // Only the server itself can tell.
        assert!(reads("Redis 99.0.0", b"REDIS0014"));
    }

    #[test]
    fn each_server_reads_the_formats_up_to_its_own() {
        for (server, own) in [
            ("Redis 6.2.14", 9),
            ("Redis 7.0.15", 10),
            ("Redis 7.2.0", 11),
            ("Redis 7.4.0", 12),
            ("Redis 8.0.2", 12),
            ("Valkey 7.2.5", 11),
            ("Valkey 8.1.0", 11),
            ("Valkey 9.0.0", 80),
            ("Valkey 9.1.0", 80),
            ("Valkey 9.2.0", 81),
        ] {
            let reads = |number| version(server).reads_format(Format(number));
            assert!(reads(own) && !reads(own + 1), "{server}");
        }
        // Formats of the other product, whatever the version.
        assert!(!version("Redis 99.0.0").reads_format(Format(80)));
        assert!(!version("Valkey 99.0.0").reads_format(Format(12)));
        assert!(!version("Valkey 99.0.0").reads_format(Format(79)));
        assert!(version("Valkey 99.0.0").reads_format(Format(80)));
    }

    #[test]
    fn a_format_names_the_oldest_server_that_reads_it() {
        for (number, server) in [
            (10, "Redis 7.0 or Valkey 7.2 or later"),
            (11, "Redis 7.2 or Valkey 7.2 or later"),
            (12, "Redis 7.4 or later"),
            (13, "a newer Redis or later"),
            (80, "Valkey 9.0 or later"),
            (81, "Valkey 9.2 or later"),
        ] {
            let text = format!("a server that writes format {number} ({server})");
            assert_eq!(Format(number).to_string(), text);
        }
    }
}
