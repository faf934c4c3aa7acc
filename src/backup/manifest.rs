//! The description of a backup, in a file beside the data. Pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::protocol::copy::Mark;

/// The schema version that is written. Later ones are refused: they may contain something
/// essential.
pub const SCHEMA: u32 = 1;

/// The description of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The schema version.
    pub schema: u32,
    /// The program that made it.
    pub made_by: String,
    /// The identity of the lab, drawn at random when it was first started.
    pub lab: String,
    /// The name under which its Sentinels monitor the primary.
    pub primary_name: String,
    /// Everything acknowledged before this time is in the backup, by the clock of the host that
    /// made it.
    pub complete_before: DateTime<Utc>,
    /// When the copy was complete.
    pub ended: DateTime<Utc>,
    /// The node that was copied.
    pub node: String,
    /// It was the primary; otherwise a replica in sync.
    pub from_primary: bool,
    /// The primary, whose offset was read at that time and which the Sentinels named afterwards.
    pub primary: String,
    /// The replication history (`master_replid`).
    pub history: String,
    /// The primary's offset at that time.
    pub offset_before: u64,
    /// The offset of the copy, which is not lower.
    pub offset: u64,
    /// The mark in the copy, as text.
    pub holds: String,
    /// The mark in the copy.
    pub mark: Mark,
    /// The server's version.
    pub server: String,
    /// The format version of the data. A server that knows only earlier versions cannot load it.
    pub rdb_version: u32,
    /// The other files of the backup.
    pub files: Vec<DataFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// Why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not a description.
    #[error("not the description of a backup: {0}")]
    Invalid(String),
    /// It was written by a later version of the program.
    #[error(
        "its schema is {0}, but this halab reads schemas up to {SCHEMA}: use the halab that made the backup, or a later one"
    )]
    Later(u32),
    /// It lists other files than a backup has.
    #[error("it lists other files than {0}")]
    OtherFiles(&'static str),
}

impl Manifest {
    /// Its text, as stored.
    pub fn to_text(&self) -> String {
        // Serializing a struct of strings and numbers cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Parses its text.
    ///
    /// # Errors
    /// If it is not a description of this version.
    pub fn from_text(text: &str) -> Result<Manifest, ManifestError> {
        #[derive(Deserialize)]
        struct SchemaField {
            schema: u32,
        }
        let invalid = |error: serde_json::Error| ManifestError::Invalid(error.to_string());
        let SchemaField { schema } = serde_json::from_str(text).map_err(invalid)?;
        if schema > SCHEMA {
            return Err(ManifestError::Later(schema));
        }
        serde_json::from_str(text).map_err(invalid)
    }

    /// The only file, with the data.
    ///
    /// # Errors
    /// If other files are listed.
    pub fn data(&self, name: &'static str) -> Result<&DataFile, ManifestError> {
        match &self.files[..] {
            [file] if file.name == name => Ok(file),
            _ => Err(ManifestError::OtherFiles(name)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest(mark: &Mark) -> Manifest {
        Manifest {
            schema: SCHEMA,
            made_by: "halab 0.1.0".into(),
            lab: mark.lab.clone(),
            primary_name: "halab".into(),
            complete_before: DateTime::UNIX_EPOCH,
            ended: DateTime::UNIX_EPOCH,
            node: "redis-b".into(),
            from_primary: false,
            primary: "redis-a".into(),
            history: "h".into(),
            offset_before: 1,
            offset: 2,
            holds: mark.to_string(),
            mark: mark.clone(),
            server: "7.0.15".into(),
            rdb_version: 10,
            files: vec![],
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_a_later_one_is_refused() {
        let manifest = manifest(&super::super::rdb::tests::mark());
        assert_eq!(
            Manifest::from_text(&manifest.to_text()),
            Ok(manifest.clone())
        );
        let later = manifest.to_text().replace("\"schema\": 1", "\"schema\": 2");
        assert_eq!(Manifest::from_text(&later), Err(ManifestError::Later(2)));
        let invalid = Manifest::from_text("{}").unwrap_err();
        assert!(matches!(invalid, ManifestError::Invalid(_)), "{invalid}");
        assert_eq!(
            manifest.data("data.rdb"),
            Err(ManifestError::OtherFiles("data.rdb"))
        );
    }
}
