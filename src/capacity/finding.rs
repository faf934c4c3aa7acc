//! One result of a check.

use serde::Serialize;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingSeverity {
    /// There is enough.
    Ok,
    /// It cannot be determined from here.
    NotKnown,
    /// It works, but will fail under some load, or is slower than necessary.
    Warning,
    /// Something that the lab needs is missing.
    Short,
}

/// The unit of a value.
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
    /// A numeric kernel setting.
    Setting,
    /// Keys of a server.
    Keys,
}

/// A value with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// The number.
    pub value: u64,
    /// The unit.
    pub unit: Unit,
}

impl Measure {
    /// A number of bytes.
    pub fn bytes(value: u64) -> Self {
        Measure {
            value,
            unit: Unit::Bytes,
        }
    }

    /// As text for users.
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

/// Bytes in a suitable unit, such as `1.5 GiB`.
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
    /// The code of the check, whatever its result.
    pub code: &'static str,
    /// The severity.
    pub severity: FindingSeverity,
    /// `host`, or the name of the node.
    #[serde(rename = "where")]
    pub place: String,
    /// The finding, as a sentence without a full stop.
    pub what: String,
    /// The value that was found, if there is one.
    pub measured: Option<Measure>,
    /// The value that is sufficient, if there is one.
    pub needed: Option<Measure>,
    /// Why it is needed.
    pub why: &'static str,
    /// A command or an instruction that fixes it; `None` if nothing is wrong.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding without values.
    pub fn new(code: &'static str, place: &str, what: impl Into<String>) -> Self {
        Finding {
            code,
            severity: FindingSeverity::Ok,
            place: place.to_owned(),
            what: what.into(),
            measured: None,
            needed: None,
            why: "",
            remedy: None,
        }
    }

    /// A check that could not be made.
    pub fn not_known(code: &'static str, place: &str, what: impl Into<String>) -> Self {
        Finding {
            severity: FindingSeverity::NotKnown,
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

    /// The same with its severity, reason and remedy.
    #[must_use]
    pub fn judged(mut self, severity: FindingSeverity, why: &'static str, remedy: String) -> Self {
        self.severity = severity;
        self.why = why;
        self.remedy = (severity > FindingSeverity::Ok).then_some(remedy);
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
        use FindingSeverity::{NotKnown, Ok, Short, Warning};
        assert!(Ok < NotKnown && NotKnown < Warning && Warning < Short);
    }
}
