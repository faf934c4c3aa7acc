//! Converts byte offsets in the text of `lab.toml` into lines and columns.

use super::problem::{ConfigProblem, ConfigProblemKind, Position};

/// A text with the offsets of its lines.
pub(super) struct Text<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Text<'t> {
    pub fn new(text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(i, _)| i + 1);
        Text {
            text,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
        }
    }

    /// A problem reported by the TOML library.
    pub fn problem(&self, error: &toml::de::Error, kind: ConfigProblemKind) -> ConfigProblem {
        ConfigProblem {
            key: String::new(),
            position: error.span().map(|span| self.position(span.start)),
            kind,
        }
    }

    /// The line and column of a byte offset. An offset beyond the text is the end of its last line.
    pub fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self
            .line_starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let in_line = self.text.get(start..).unwrap_or_default().char_indices();
        Position {
            line,
            column: in_line.take_while(|(i, _)| start + i < offset).count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = Text::new("a\nüb\n");
        let at = |offset| {
            let Position { line, column } = text.position(offset);
            (line, column)
        };
        assert_eq!(
            [0, 1, 2, 4, 5, 6, 99].map(at),
            [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1), (3, 1)]
        );
    }
}
