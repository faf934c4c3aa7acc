//! Reading `lab.toml` from its file: the I/O around [`Lab::parse`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{ConfigProblems, Lab};

/// Maximum size of a `lab.toml` in bytes; one with a hundred nodes has a tenth of it.
const LONGEST: usize = 64 * 1024;

/// Why a file could not be loaded. Each text contains the path of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no such file.
    #[error(
        "{} does not exist; run this in the folder of the lab, or give the path of its lab.toml",
        path.display()
    )]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// The file exists but cannot be read.
    #[error("{} cannot be read; give the path of a lab.toml that you may read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is too long for a `lab.toml`.
    #[error("{} is longer than {LONGEST} bytes, so it is not a lab.toml; give the path of one", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8, as TOML must be.
    #[error("{}, line {line} is not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first line that is not UTF-8, counted from 1.
        line: usize,
    },
    /// The content of the file has problems.
    #[error("{} has {}:\n{problems}", path.display(), count(problems.len()))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All problems of the content.
        problems: ConfigProblems,
    },
}

impl LoadError {
    /// The problems of the content, if the file could be read.
    pub fn problems(&self) -> Option<&ConfigProblems> {
        match self {
            LoadError::Invalid { problems, .. } => Some(problems),
            LoadError::Absent { .. }
            | LoadError::Unreadable { .. }
            | LoadError::TooLong { .. }
            | LoadError::NotUtf8 { .. } => None,
        }
    }
}

/// Reads a `lab.toml` and checks all of it; `profile` replaces its time limits.
pub fn load(path: &Path, profile: Option<&str>) -> Result<Lab, LoadError> {
    let file = || path.to_path_buf();
    let bytes = read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LoadError::Absent { path: file() },
        _ => LoadError::Unreadable {
            path: file(),
            source,
        },
    })?;
    if bytes.len() > LONGEST {
        return Err(LoadError::TooLong { path: file() });
    }
    let text = str::from_utf8(&bytes).map_err(|e| {
        let newlines = bytes
            .iter()
            .take(e.valid_up_to())
            .filter(|b| **b == b'\n')
            .count();
        LoadError::NotUtf8 {
            path: file(),
            line: newlines + 1,
        }
    })?;
    Lab::parse(text, profile).map_err(|problems| LoadError::Invalid {
        path: file(),
        problems,
    })
}

/// Reads the file, up to one byte beyond the limit: it may be a device without an end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = LONGEST as u64 + 1;
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn count(problems: usize) -> String {
    match problems {
        1 => "1 problem".into(),
        n => format!("{n} problems"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(name: &str, content: Option<&[u8]>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = load(&path, None).unwrap_err().to_string();
        error.replace(folder.path().to_str().unwrap(), "DIR")
    }

    #[test]
    fn an_absent_file_is_named_with_its_remedy() {
        insta::assert_snapshot!(error_of("lab.toml", None), @"DIR/lab.toml does not exist; run this in the folder of the lab, or give the path of its lab.toml");
    }

    #[test]
    fn a_file_that_is_not_utf8_names_the_line() {
        let error = error_of("lab.toml", Some(b"# one\n# two \xff\n"));
        insta::assert_snapshot!(error, @"DIR/lab.toml, line 2 is not UTF-8; save the file as UTF-8");
    }

    #[test]
    fn a_file_without_an_end_is_refused_and_not_read_to_it() {
        let error = load(Path::new("/dev/zero"), None).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"/dev/zero is longer than 65536 bytes, so it is not a lab.toml; give the path of one");
    }

    #[test]
    fn problems_stand_below_the_name_of_the_file() {
        insta::assert_snapshot!(error_of("lab.toml", Some(b"x = \n")), @"
        DIR/lab.toml has 1 problem:
        line 1, column 5: not TOML: string values must be quoted, expected literal string; correct the TOML syntax
        ");
    }

    #[test]
    fn a_folder_is_unreadable_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path(), None).unwrap_err();
        assert!(matches!(error, LoadError::Unreadable { .. }), "{error:?}");
        assert!(std::error::Error::source(&error).is_some());
    }
}
