//! Checks every table and every value of the document individually, against the descriptions in
//! [`super::schema`].
//!
//! serde stops at the first invalid value, and its errors have no remedy; validators of JSON
//! schemas report no line numbers. So this is a separate check. It reports every problem of the
//! document, and serde reads only what passes it. Each problem is reported once: later rules ignore
//! a value that is already reported, and a misspelt or misplaced key is not reported as missing
//! too.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::app::{judge_channels, judge_keys, judge_rule};
use super::nearest::nearest;
use super::problem::{ConfigProblem, ConfigProblemKind, Hint, Position};
use super::schema::{ElementKind, Key, SECTIONS, Section, Shape, ValueKind};
use super::text::Text;
use super::values::{is_valid_name, join, type_of, unusable};

/// A valid value with its position in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub value: T,
    /// The path of the key.
    pub key: String,
    /// `None` for a default.
    pub position: Option<Position>,
}

impl<T> Located<T> {
    /// A problem of this value.
    pub fn problem(&self, kind: ConfigProblemKind) -> ConfigProblem {
        ConfigProblem {
            key: self.key.clone(),
            position: self.position,
            kind,
        }
    }
}

/// The checked document.
pub(super) struct Document<'t> {
    text: &'t Text<'t>,
    /// The tables of each section; `None` if the file has something else in its place.
    tables: Vec<(&'static Section, Option<Vec<Table<'t>>>)>,
    /// All problems of individual tables and values.
    pub problems: Vec<ConfigProblem>,
}

/// A table of the document, as an element of a section.
pub(super) struct Table<'t> {
    /// Its path, for example `sentinel[2]`.
    pub path: String,
    section: &'static Section,
    content: TableContent<'t>,
    text: &'t Text<'t>,
}

/// The content of the file for a table.
enum TableContent<'t> {
    /// Absent: every key has its default, or is missing.
    LeftOut,
    /// The table.
    Stated(Position, &'t DeTable<'t>),
    /// Something else, or a table under a misspelt key. It is already reported.
    Unusable,
}

impl<'t> Document<'t> {
    /// Checks the whole document.
    pub fn check(text: &'t Text<'t>, root: &'t DeTable<'t>) -> Self {
        let mut document = Document {
            text,
            tables: Vec::with_capacity(SECTIONS.len()),
            problems: Vec::new(),
        };
        let known = SECTIONS.iter().map(|section| section.name.as_str());
        document.refuse_unknown("", root, known.collect());
        for section in SECTIONS.iter() {
            let tables = document.open_section(root, section);
            document.tables.push((section, tables));
        }
        // After all unknown keys are found, because one of them may be a misspelt required key.
        let tables = document.tables.iter().filter_map(|(_, t)| t.as_ref());
        let problems = tables
            .flatten()
            .flat_map(|t| t.problems(&document.problems));
        let problems: Vec<ConfigProblem> = problems.collect();
        document.problems.extend(problems);
        document
    }

    /// The tables of a section; `None` if the file has something else in its place.
    pub fn tables(&self, section: &str) -> Option<&[Table<'t>]> {
        let found = self.tables.iter().find(|(s, _)| s.name == section);
        debug_assert!(found.is_some(), "no section {section}");
        found?.1.as_deref()
    }

    /// The only table of a section; `None` if it is absent and has no defaults.
    pub fn table(&self, section: &str) -> Option<&Table<'t>> {
        self.tables(section)?.first()
    }

    /// All nodes, data nodes first.
    pub fn nodes(&self) -> impl Iterator<Item = &Table<'t>> {
        let sections = ["data_node", "sentinel"].into_iter();
        sections.filter_map(|s| self.tables(s)).flatten()
    }

    fn open_section(
        &mut self,
        root: &'t DeTable<'t>,
        section: &'static Section,
    ) -> Option<Vec<Table<'t>>> {
        let name = &section.name;
        let Some(entry) = root.get(name.as_str()) else {
            let content = match misspelt(&self.problems, "", name) {
                true => TableContent::Unusable,
                false => TableContent::LeftOut,
            };
            return match (section.shape, &content) {
                (Shape::List, TableContent::Unusable) => None,
                (Shape::Table, _) if section.required || !section.has_required_keys() => {
                    Some(vec![self.table_of(section, name.clone(), content)])
                }
                _ => Some(Vec::new()),
            };
        };
        match (section.shape, entry.get_ref()) {
            (Shape::Table, _) => Some(vec![self.open(section, name.clone(), entry)]),
            (Shape::List, DeValue::Array(elements)) => {
                let open = |(i, e)| self.open(section, format!("{name}[{i}]"), e);
                Some(elements.iter().enumerate().map(open).collect())
            }
            (Shape::Named, DeValue::Table(tables)) => {
                let mut opened = Vec::with_capacity(tables.len());
                for (name, table) in tables {
                    let path = join(&section.name, name.get_ref());
                    if !is_valid_name(name.get_ref()) {
                        let position = self.text.position(name.span().start);
                        let name = name.get_ref().to_string();
                        self.report(path.clone(), position, ConfigProblemKind::BadName { name });
                    }
                    opened.push(self.open(section, path, table));
                }
                Some(opened)
            }
            (Shape::List, _) => {
                self.refuse_type(section, name.clone(), entry, "a list");
                None
            }
            (Shape::Named, _) => {
                self.refuse_type(section, name.clone(), entry, "a table");
                None
            }
        }
    }

    fn open(
        &mut self,
        section: &'static Section,
        path: String,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Table<'t> {
        let content = match value.get_ref() {
            DeValue::Table(entries) => {
                let known = section.keys.iter().map(|key| key.name.as_str());
                self.refuse_unknown(&path, entries, known.collect());
                TableContent::Stated(self.text.position(value.span().start), entries)
            }
            _ => {
                self.refuse_type(section, path.clone(), value, "a table");
                TableContent::Unusable
            }
        };
        self.table_of(section, path, content)
    }

    fn table_of(
        &self,
        section: &'static Section,
        path: String,
        content: TableContent<'t>,
    ) -> Table<'t> {
        Table {
            path,
            section,
            content,
            text: self.text,
        }
    }

    /// Reports the keys of a table that are not `known`.
    fn refuse_unknown(&mut self, path: &str, entries: &DeTable<'_>, known: Vec<&'static str>) {
        for key in entries.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let hint = hint(name, &known);
                let position = self.text.position(key.span().start);
                self.report(
                    join(path, name),
                    position,
                    ConfigProblemKind::UnknownKey { hint },
                );
            }
        }
    }

    fn refuse_type(
        &mut self,
        section: &Section,
        key: String,
        value: &Spanned<DeValue<'_>>,
        expected: &'static str,
    ) {
        let kind = ConfigProblemKind::WrongType {
            expected,
            found: type_of(value.get_ref()),
            example: section.header(),
        };
        self.report(key, self.text.position(value.span().start), kind);
    }

    fn report(&mut self, key: String, position: Position, kind: ConfigProblemKind) {
        self.problems.push(ConfigProblem {
            key,
            position: Some(position),
            kind,
        });
    }
}

impl Table<'_> {
    /// Whether the file contains the table.
    pub fn is_stated(&self) -> bool {
        matches!(self.content, TableContent::Stated(..))
    }

    /// Whether the file contains the key.
    pub fn states(&self, key: &str) -> bool {
        matches!(self.content, TableContent::Stated(_, entries) if entries.contains_key(key))
    }

    /// The value of a key, or its default if the key is absent; `None` if the value is invalid or
    /// missing.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<Located<T>> {
        let found = self.section.key(key);
        debug_assert!(found.is_some(), "no key {key} in {}", self.path);
        let key = found?;
        let stated = match self.content {
            TableContent::Unusable => return None,
            TableContent::LeftOut => None,
            TableContent::Stated(_, entries) => entries.get(key.name.as_str()),
        };
        let (value, position) = match stated {
            Some(value) => {
                judge(key, value.get_ref()).ok()?;
                if judge_elements(key, value.get_ref()).next().is_some() {
                    return None;
                }
                let read = T::deserialize(ValueDeserializer::from(value.clone()));
                (read.ok()?, Some(self.text.position(value.span().start)))
            }
            None => (serde_json::from_value(key.default.clone()?).ok()?, None),
        };
        Some(Located {
            value,
            key: join(&self.path, &key.name),
            position,
        })
    }

    /// The problems of its values, except those already `known`.
    fn problems(&self, known: &[ConfigProblem]) -> Vec<ConfigProblem> {
        let (header, table) = match self.content {
            TableContent::Unusable => return Vec::new(),
            TableContent::LeftOut => (Some(self.section.header()), None),
            TableContent::Stated(position, entries) => (None, Some((position, entries))),
        };
        let mut problems = Vec::new();
        for key in &self.section.keys {
            let stated = table.and_then(|(_, entries)| entries.get(key.name.as_str()));
            let (kind, position) = match stated {
                Some(value) => match judge(key, value.get_ref()) {
                    Ok(()) => {
                        let path = join(&self.path, &key.name);
                        let bad = judge_elements(key, value.get_ref());
                        problems.extend(bad.map(|(i, element, kind)| ConfigProblem {
                            key: format!("{path}[{i}]"),
                            position: Some(self.text.position(element.span().start)),
                            kind,
                        }));
                        continue;
                    }
                    Err(kind) => (kind, Some(self.text.position(value.span().start))),
                },
                None if !key.required || self.misplaced(known, &key.name) => continue,
                None => {
                    let header = header.clone();
                    let example = key.assignment();
                    (
                        ConfigProblemKind::Missing { header, example },
                        table.map(|(p, _)| p),
                    )
                }
            };
            problems.push(ConfigProblem {
                key: join(&self.path, &key.name),
                position,
                kind,
            });
        }
        problems
    }

    /// Whether one of the problems explains why the key is absent: it is misspelt or in the wrong
    /// table.
    fn misplaced(&self, problems: &[ConfigProblem], key: &str) -> bool {
        let home = self.section.header();
        misspelt(problems, &self.path, key)
            || problems.iter().any(|p| {
                matches!(&p.kind, ConfigProblemKind::UnknownKey { hint: Hint::BelongsTo(h) } if *h == home)
                    && p.key.rsplit('.').next() == Some(key)
            })
    }
}

/// Whether one of the problems is that `key` of the table at `path` is misspelt.
fn misspelt(problems: &[ConfigProblem], path: &str, key: &str) -> bool {
    problems.iter().any(|p| {
        matches!(&p.kind, ConfigProblemKind::UnknownKey { hint: Hint::DidYouMean(meant) } if *meant == key)
            && p.key.rsplit_once('.').map_or("", |(parent, _)| parent) == path
    })
}

/// Checks the value of a key individually; for a list, not its elements.
fn judge(key: &Key, value: &DeValue<'_>) -> Result<(), ConfigProblemKind> {
    let wrong_type = |expected| ConfigProblemKind::WrongType {
        expected,
        found: type_of(value),
        example: key.assignment(),
    };
    let text = || value.as_str().ok_or_else(|| wrong_type("a string"));
    match key.kind {
        ValueKind::Name => match text()? {
            name if is_valid_name(name) => Ok(()),
            name => Err(ConfigProblemKind::BadName { name: name.into() }),
        },
        ValueKind::Address => {
            let text = text()?;
            let address = text
                .parse()
                .map_err(|_| ConfigProblemKind::NotIpv4 { text: text.into() })?;
            match unusable(address) {
                None => Ok(()),
                Some(what) => Err(ConfigProblemKind::UnusableAddress { address, what }),
            }
        }
        ValueKind::Integer { min, max } => {
            let integer = value.as_integer().ok_or_else(|| wrong_type("an integer"))?;
            match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                _ => Err(ConfigProblemKind::OutOfRange {
                    value: integer.to_string(),
                    unit: key.unit(),
                    range: ValueKind::range(min, max),
                }),
            }
        }
        ValueKind::Flag => match value.as_bool() {
            Some(_) => Ok(()),
            None => Err(wrong_type("true or false")),
        },
        ValueKind::Choice(words) => match text()? {
            text if words.iter().any(|word| word == text) => Ok(()),
            text => Err(ConfigProblemKind::UnknownWord {
                word: text.into(),
                words,
            }),
        },
        ValueKind::List(_) => match value.as_array() {
            Some(_) => Ok(()),
            None => Err(wrong_type("a list")),
        },
    }
}

/// The invalid elements of a list, each with its problem.
fn judge_elements<'a, 't>(
    key: &Key,
    value: &'a DeValue<'t>,
) -> impl Iterator<Item = (usize, &'a Spanned<DeValue<'t>>, ConfigProblemKind)> {
    let kind = match key.kind {
        ValueKind::List(kind) => Some(kind),
        _ => None,
    };
    let elements = kind.and_then(|kind| Some((kind, value.as_array()?)));
    let elements = elements.into_iter().flat_map(|(kind, elements)| {
        let each = elements.iter().enumerate();
        each.map(move |(i, element)| (kind, i, element))
    });
    elements.filter_map(move |(kind, i, element)| {
        let judged = match element.get_ref().as_str() {
            None => Err(ConfigProblemKind::WrongType {
                expected: "a string",
                found: type_of(element.get_ref()),
                example: key.assignment(),
            }),
            Some(text) => match kind {
                ElementKind::Keys => judge_keys(text),
                ElementKind::Channels => judge_channels(text),
                ElementKind::Commands => judge_rule(text),
            },
        };
        Some((i, element, judged.err()?))
    })
}

/// The likely meaning of the unknown `key` in a table with the keys `known`.
fn hint(key: &str, known: &[&'static str]) -> Hint {
    // A profile repeats the keys of `[timing]`, and a key of several tables gives no hint.
    let has_key = |s: &&Section| s.shape != Shape::Named && s.key(key).is_some();
    let mut homes = SECTIONS.iter().filter(has_key);
    if let (Some(home), None) = (homes.next(), homes.next()) {
        return Hint::BelongsTo(home.header());
    }
    let near = nearest(key, known.iter().copied());
    match known.iter().find(|k| near == Some(**k)) {
        Some(near) => Hint::DidYouMean(near),
        None => Hint::OneOf(known.to_vec()),
    }
}
