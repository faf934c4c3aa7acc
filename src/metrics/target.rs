//! The target file of a process that does not run all the time: Prometheus reads from it which
//! address to scrape (`file_sd_configs`).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::files;

/// A target of Prometheus: its labels, and its target file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The target file; it is not written if its folder does not exist.
    pub file: PathBuf,
    /// Labels of all series: name, value.
    pub labels: Vec<(&'static str, String)>,
}

/// A target file, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct TargetFile(PathBuf);

impl TargetFile {
    /// Writes the file atomically; nothing if its folder does not exist.
    pub(super) fn write(target: &Target, address: SocketAddr) -> io::Result<Option<Self>> {
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
        Ok(Some(TargetFile(target.file.clone())))
    }
}

impl Drop for TargetFile {
    fn drop(&mut self) {
        // If it is missing, it was removed together with the lab.
        let _ = fs::remove_file(&self.0);
    }
}
