//! The problems of a `lab.toml`, each with its key, position and remedy, as text and as JSON.
//!
//! A problem is one line of text. Quotations from the file are escaped, so that its content cannot
//! break the line.
//!
//! - `kind`: the kinds of problems

mod kind;

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

pub use kind::{ConfigProblemKind, Hint};

/// All problems of a `lab.toml`, at least one, in the order of the file.
///
/// Displayed, it is one problem a line without a newline at the end; serialized, it is a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct ConfigProblems(Vec<ConfigProblem>);

impl ConfigProblems {
    /// The problems in the order of the file; `None` if there are none.
    ///
    /// Those without a position, such as an absent table, come last.
    pub(super) fn of(mut found: Vec<ConfigProblem>) -> Option<ConfigProblems> {
        // Stable: problems at the same position keep the order in which they were found.
        found.sort_by_key(|p| {
            p.position
                .map_or((true, 0, 0), |p| (false, p.line, p.column))
        });
        (!found.is_empty()).then_some(ConfigProblems(found))
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigProblem> {
        self.0.iter()
    }

    /// The number of problems; never 0.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<ConfigProblem> for ConfigProblems {
    fn from(problem: ConfigProblem) -> Self {
        ConfigProblems(vec![problem])
    }
}

impl<'a> IntoIterator for &'a ConfigProblems {
    type Item = &'a ConfigProblem;
    type IntoIter = std::slice::Iter<'a, ConfigProblem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}

/// A position in the text of `lab.toml`, counted from 1; columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column in that line.
    pub column: usize,
}

/// A problem of a `lab.toml`.
///
/// Displayed: `line 9: sentinel[2].address: problem; remedy`. Serialized: an object of `key`,
/// `line`, `column` (each may be null), `problem` and `remedy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The path of the key, with elements counted from 0; empty if the text is not TOML.
    pub key: String,
    /// Its position; `None` for something absent.
    pub position: Option<Position>,
    /// The kind of problem.
    pub kind: ConfigProblemKind,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}")?;
            // The key identifies the place in the line; a syntax error has only the column.
            if self.key.is_empty() {
                write!(f, ", column {column}")?;
            }
            write!(f, ": ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.kind, self.kind.remedy())
    }
}

impl Serialize for ConfigProblem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("ConfigProblem", 5)?;
        object.serialize_field("key", &(!self.key.is_empty()).then_some(&self.key))?;
        object.serialize_field("line", &self.position.map(|p| p.line))?;
        object.serialize_field("column", &self.position.map(|p| p.column))?;
        object.serialize_field("problem", &self.kind.to_string())?;
        object.serialize_field("remedy", &self.kind.remedy())?;
        object.end()
    }
}
