//! What a node holds, read from its append-only files without a server: by the last mark in them.
//! The format of the files need not be known for it, so it is there also where the own server can't
//! read them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use tracing::warn;

use crate::backup::rdb::MarkFinder;
use crate::protocol::copy::Copy;

use super::state::error::{StateError, io_error};

/// So much is read from a file at a time.
const PART: usize = 1 << 20;

/// What lies on disk that the own server can't read. Reading it takes seconds for each gigabyte, so
/// it is done beside the node's work.
#[derive(Debug, Default)]
pub(super) enum DiskCopy {
    /// The server can read it, or nobody has asked.
    #[default]
    Unasked,
    /// It is being read.
    Reading(JoinHandle<Result<Copy, StateError>>),
    /// It was read.
    Known(Copy),
    /// It can't be read.
    Unknown,
}

impl DiskCopy {
    /// What is known of the files by now; begins to read them at the first call.
    pub(super) fn ask(&mut self, files: &Path) -> Option<Copy> {
        *self = match std::mem::take(self) {
            DiskCopy::Unasked => Self::begin(files.to_owned()),
            DiskCopy::Reading(reading) if reading.is_finished() => match reading.join() {
                Ok(Ok(copy)) => DiskCopy::Known(copy),
                Ok(Err(error)) => Self::failed(&error),
                Err(_) => Self::failed(&"the reading of it panicked"),
            },
            other => other,
        };
        match self {
            DiskCopy::Known(copy) => Some(copy.clone()),
            _ => None,
        }
    }

    fn begin(files: PathBuf) -> Self {
        let read = move || copy_in(&files);
        match thread::Builder::new().name("held".into()).spawn(read) {
            Ok(reading) => DiskCopy::Reading(reading),
            Err(error) => Self::failed(&error),
        }
    }

    fn failed(error: &dyn std::fmt::Display) -> Self {
        warn!(%error, "what the append-only files hold is not known");
        DiskCopy::Unknown
    }
}

/// What the append-only files in that folder hold, by the last mark in them.
pub(super) fn copy_in(files: &Path) -> Result<Copy, StateError> {
    let entries = match fs::read_dir(files) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Copy::Empty),
        Err(error) => return Err(io_error("cannot read", files)(error)),
    };
    let (mut list, mut bytes) = (String::new(), 0);
    for entry in entries {
        let entry = entry.map_err(io_error("cannot read", files))?;
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "manifest")
        {
            list = fs::read_to_string(&path).map_err(io_error("cannot read", &path))?;
        } else {
            let metadata = entry.metadata().map_err(io_error("cannot read", &path))?;
            bytes += metadata.len();
        }
    }
    if bytes == 0 {
        return Ok(Copy::Empty);
    }
    let mut marks = MarkFinder::default();
    for path in listed(&list).into_iter().map(|name| files.join(name)) {
        let mut file = File::open(&path).map_err(io_error("cannot open", &path))?;
        let mut part = vec![0; PART];
        loop {
            match file
                .read(&mut part)
                .map_err(io_error("cannot read", &path))?
            {
                0 => break,
                length => marks.push(&part[..length]),
            }
        }
    }
    Ok(match marks.last {
        Some(mark) => Copy::Marked(Box::new(mark)),
        None => Copy::Unmarked,
    })
}

/// The files that a server loads, in their order: the base, and the commands behind it. What it has
/// replaced and not removed yet (type `h`) is left out.
fn listed(list: &str) -> Vec<String> {
    let of_type = |wanted: &str| {
        let names = list.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["file", name, "seq", _, "type", is, ..] if is == wanted => {
                    Some(name.trim_matches('"').to_owned())
                }
                _ => None,
            }
        });
        names.collect::<Vec<_>>()
    };
    [of_type("b"), of_type("i")].concat()
}
