//! A file by which Prometheus knows whom to ask, for somebody who comes and goes
//! (`file_sd_configs`).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::files;

/// Whose metrics they are, and where that is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The file; it is not written where nobody made its folder.
    pub file: PathBuf,
    /// Labels of all series, names first.
    pub labels: Vec<(&'static str, String)>,
}

/// The file, as long as it is true.
#[derive(Debug)]
pub(super) struct Told(PathBuf);

impl Told {
    /// Writes the file, whole or not at all; nothing where its folder is not there.
    pub(super) fn tell(target: &Target, address: SocketAddr) -> io::Result<Option<Self>> {
        if !target.file.parent().is_some_and(Path::is_dir) {
            return Ok(None);
        }
        let labels = target.labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), value.clone().into()));
        let text = serde_json::json!([{
            "targets": [address.to_string()],
            "labels": labels.collect::<serde_json::Map<_, _>>(),
        }]);
        // Prometheus may be another user.
        files::replace(&target.file, files::PUBLIC, format!("{text}\n").as_bytes())?;
        Ok(Some(Told(target.file.clone())))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // One that is gone already was removed by whoever removes the lab.
        let _ = fs::remove_file(&self.0);
    }
}
