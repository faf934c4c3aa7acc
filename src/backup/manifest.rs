//! What a backup says of itself, in a file beside the data. Pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::protocol::copy::Mark;

/// The version of this description that is written. A later one is refused: it may say what must not be overlooked.
pub const SCHEMA: u32 = 1;

/// A backup, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this description.
    pub schema: u32,
    /// The program that made it.
    pub made_by: String,
    /// The identity of the lab, drawn when it was first started.
    pub lab: String,
    /// The name under which its Sentinels monitor the primary.
    pub primary_name: String,
    /// Everything that was acknowledged before that moment, on the clock of the host where the backup was made, is in it.
    pub complete_before: DateTime<Utc>,
    /// When the copy was complete.
    pub ended: DateTime<Utc>,
    /// The node that was copied.
    pub node: String,
    /// It was the primary; otherwise a replica in sync.
    pub from_primary: bool,
    /// The primary, whose offset was read at that moment, and that the Sentinels named after it.
    pub primary: String,
    /// The history of replication (`master_replid`).
    pub history: String,
    /// The primary's offset at that moment.
    pub offset_before: u64,
    /// The offset up to which the copy has everything: no less.
    pub offset: u64,
    /// The mark in the copy, in words.
    pub holds: String,
    /// The mark in the copy.
    pub mark: Mark,
    /// The server's version.
    pub server: String,
    /// The version of the data's format. A server that knows only earlier ones can't load it.
    pub rdb_version: u32,
    /// The files beside this one.
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

/// Why a description is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is none.
    #[error("it does not describe a backup: {0}")]
    Garbled(String),
    /// It is of a later version of the program.
    #[error(
        "it is of schema {0}, and this halab knows schema {SCHEMA}: use the halab that made it, or a later one"
    )]
    Later(u32),
    /// It describes other files than a backup has.
    #[error("it describes other files than {0}")]
    OtherFiles(&'static str),
}

impl Manifest {
    /// Its text, as it is stored.
    pub fn to_text(&self) -> String {
        // A struct of strings and numbers can't fail to be written.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads its text.
    ///
    /// # Errors
    /// When it is none of this version.
    pub fn from_text(text: &str) -> Result<Manifest, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let garbled = |error: serde_json::Error| ManifestError::Garbled(error.to_string());
        let Version { schema } = serde_json::from_str(text).map_err(garbled)?;
        if schema > SCHEMA {
            return Err(ManifestError::Later(schema));
        }
        serde_json::from_str(text).map_err(garbled)
    }

    /// The one file with the data.
    ///
    /// # Errors
    /// When it describes others.
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
        let garbled = Manifest::from_text("{}").unwrap_err();
        assert!(matches!(garbled, ManifestError::Garbled(_)), "{garbled}");
        assert_eq!(
            manifest.data("data.rdb"),
            Err(ManifestError::OtherFiles("data.rdb"))
        );
    }
}
