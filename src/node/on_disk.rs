//! Reads the last mark of a node's copy from its append-only files, without a server. It does not
//! depend on the format of the files, so it works for files that this node's server can't read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use tracing::warn;

use crate::backup::mark_finder::MarkFinder;
use crate::protocol::copy::DataCopy;

use super::state::error::{StateError, io_error};

/// Bytes that are read from a file at a time.
const PART: usize = 1 << 20;

/// The copy in files that this node's server can't read. Reading it takes seconds per gigabyte, so
/// a thread does it.
#[derive(Debug, Default)]
pub(super) enum DiskCopy {
    /// Not asked for, or the server can read it.
    #[default]
    Unasked,
    /// It is being read.
    Reading(JoinHandle<Result<DataCopy, StateError>>),
    /// It was read.
    Known(DataCopy),
    /// It can't be read.
    Unknown,
}

impl DiskCopy {
    /// The copy, if it has been read. Starts to read it at the first call.
    pub(super) fn ask(&mut self, files: &Path) -> Option<DataCopy> {
        *self = match std::mem::take(self) {
            DiskCopy::Unasked => Self::begin(files.to_owned()),
            DiskCopy::Reading(reading) if reading.is_finished() => match reading.join() {
                Ok(Ok(copy)) => DiskCopy::Known(copy),
                Ok(Err(error)) => Self::failed(&error),
                Err(_) => Self::failed(&"the reading thread panicked"),
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
        match thread::Builder::new().name("on-disk".into()).spawn(read) {
            Ok(reading) => DiskCopy::Reading(reading),
            Err(error) => Self::failed(&error),
        }
    }

    fn failed(error: &dyn std::fmt::Display) -> Self {
        warn!(%error, "the copy in the append-only files is unknown");
        DiskCopy::Unknown
    }
}

/// The copy in the append-only files of a folder, by their last mark.
pub(super) fn copy_in(files: &Path) -> Result<DataCopy, StateError> {
    let entries = match fs::read_dir(files) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DataCopy::Empty),
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
        return Ok(DataCopy::Empty);
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
        Some(mark) => DataCopy::Marked(Box::new(mark)),
        None => DataCopy::Unmarked,
    })
}

/// The files that a server loads, in order: the base, then the commands. Files that it has replaced
/// and not removed yet (type `h`) are left out.
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
