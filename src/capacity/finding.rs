//! One result of a check.

use serde::Serialize;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// There is enough.
    Ok,
    /// It could not be seen from here.
    NotKnown,
    /// It works, and will not under some load, or is slower than it could be.
    Warning,
    /// Something that the lab needs is missing.
    Short,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Open files of a process.
    Descriptors,
    /// Files on a disk.
    Inodes,
    /// Clients of a server.
    Connections,
    /// Milliseconds.
    Milliseconds,
    /// A setting of the kernel that is a number.
    Setting,
    /// Keys of a server.
    Keys,
}

/// A value with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// The number.
    pub value: u64,
    /// What it counts.
    pub unit: Unit,
}

impl Measure {
    /// So many bytes.
    pub fn bytes(value: u64) -> Self {
        Measure {
            value,
            unit: Unit::Bytes,
        }
    }

    /// For people.
    pub fn shown(self) -> String {
        let Measure { value, unit } = self;
        match unit {
            Unit::Bytes => human_bytes(value),
            _ if value == u64::MAX => "no limit".into(),
            Unit::Descriptors => format!("{value} descriptors"),
            Unit::Inodes => format!("{value} files"),
            Unit::Connections => format!("{value} connections"),
            Unit::Milliseconds => format!("{value} ms"),
            Unit::Setting => value.to_string(),
            Unit::Keys => format!("{value} keys"),
        }
    }
}

/// Bytes in the unit that suits them, as `1.5 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    let unit = UNITS.into_iter().find(|(size, _)| bytes >= *size);
    match unit {
        None => format!("{bytes} B"),
        Some((size, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(size);
            match (tenths / 10, tenths % 10) {
                (whole, tenth) if whole < 100 && tenth > 0 => format!("{whole}.{tenth} {name}"),
                (whole, _) => format!("{whole} {name}"),
            }
        }
    }
}

/// One result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check; the same code whatever it finds.
    pub code: &'static str,
    /// How it is.
    pub severity: Severity,
    /// `host`, or the node's name.
    #[serde(rename = "where")]
    pub place: String,
    /// What was found, in a sentence without a full stop.
    pub what: String,
    /// The value that was found, where there is one.
    pub measured: Option<Measure>,
    /// The value at which nothing would be said, where there is one.
    pub needed: Option<Measure>,
    /// Why it is needed.
    pub why: &'static str,
    /// A command, or what to do, that mends it; nothing where there is nothing to mend.
    pub mend: Option<String>,
}

impl Finding {
    /// A finding without values.
    pub fn new(code: &'static str, place: &str, what: impl Into<String>) -> Self {
        Finding {
            code,
            severity: Severity::Ok,
            place: place.to_owned(),
            what: what.into(),
            measured: None,
            needed: None,
            why: "",
            mend: None,
        }
    }

    /// One that could not be made.
    pub fn not_known(code: &'static str, place: &str, what: impl Into<String>) -> Self {
        Finding {
            severity: Severity::NotKnown,
            ..Finding::new(code, place, what)
        }
    }

    /// The same with its values.
    #[must_use]
    pub fn values(mut self, unit: Unit, measured: u64, needed: u64) -> Self {
        self.measured = Some(Measure {
            value: measured,
            unit,
        });
        self.needed = Some(Measure {
            value: needed,
            unit,
        });
        self
    }

    /// The same with what it means.
    #[must_use]
    pub fn judged(mut self, severity: Severity, why: &'static str, mend: String) -> Self {
        self.severity = severity;
        self.why = why;
        self.mend = (severity > Severity::Ok).then_some(mend);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_suits_them() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (64 << 20, "64 MiB"),
            (100 * (1 << 30) + (1 << 29), "100 GiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(human_bytes(bytes), shown);
        }
    }

    #[test]
    fn what_is_not_ok_comes_after_what_is() {
        use Severity::{NotKnown, Ok, Short, Warning};
        assert!(Ok < NotKnown && NotKnown < Warning && Warning < Short);
    }
}
