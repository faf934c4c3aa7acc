//! Typed access to the TOML document, driven by the descriptions in [`super::keys`].
//!
//! Every value comes out with its path and position, so that later rules can point at it. A value
//! that is no good is reported once, here, and goes on as the problem it is: nothing can be built
//! from it, and no rule judges it a second time.

use std::net::Ipv4Addr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Default, Key, SECTIONS, Section, Shape};
use super::nearest::nearest;
use super::problem::{Fault, Hint, Position, Problem};
use super::text::Text;
use super::values::{is_good_name, join, type_of, unusable};

/// A value with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub value: T,
    /// The path of the key.
    pub key: String,
    /// Nothing for a default.
    pub position: Option<Position>,
}

impl<T> Located<T> {
    /// What is wrong with the value.
    pub fn problem(&self, fault: Fault) -> Problem {
        Problem {
            key: self.key.clone(),
            position: self.position,
            fault,
        }
    }

    fn map<U>(self, f: impl FnOnce(T) -> U) -> Located<U> {
        Located {
            value: f(self.value),
            key: self.key,
            position: self.position,
        }
    }
}

/// A value, or the problem (already reported) that there is instead.
pub(super) type Read<T> = Result<Located<T>, Problem>;

/// The document and the problems found in it so far.
pub(super) struct Reader<'t> {
    text: &'t Text<'t>,
    root: &'t DeTable<'t>,
    pub problems: Vec<Problem>,
}

/// One table of the document, read as one element of a section.
pub(super) struct Table<'t> {
    /// Path, for example `sentinel[2]`.
    pub path: String,
    section: &'static Section,
    position: Option<Position>,
    entries: Result<Option<&'t DeTable<'t>>, Problem>,
}

impl<'t> Reader<'t> {
    /// Starts with the keys at the top of the file, which must all be sections.
    pub fn new(text: &'t Text<'t>, root: &'t DeTable<'t>) -> Self {
        let mut reader = Reader {
            text,
            root,
            problems: Vec::new(),
        };
        reader.refuse_unknown("", root, None);
        reader
    }

    /// Reports a problem, and gives it back to stand for the value that it spoilt.
    pub fn report(&mut self, problem: Problem) -> Problem {
        self.problems.push(problem.clone());
        problem
    }

    /// The one table of a section; an absent one reads as empty.
    pub fn table(&mut self, section: &'static Section) -> Table<'t> {
        self.open(section, section.name.into(), self.root.get(section.name))
    }

    /// The tables of a `[[section]]`, or the problem that there is instead of a list.
    pub fn list(&mut self, section: &'static Section) -> Result<Vec<Table<'t>>, Problem> {
        let Some(entry) = self.root.get(section.name) else {
            return self.misspelt("", section.name).map_or(Ok(Vec::new()), Err);
        };
        let Some(elements) = entry.get_ref().as_array() else {
            return Err(self.wrong_type(section.name.into(), entry, "a list", section.header()));
        };
        let path = |i| format!("{}[{i}]", section.name);
        Ok(elements
            .iter()
            .enumerate()
            .map(|(i, e)| self.open(section, path(i), Some(e)))
            .collect())
    }

    /// The tables of a `[section.NAME]`, each with its name.
    pub fn named(&mut self, section: &'static Section) -> Vec<(String, Table<'t>)> {
        let Some(entry) = self.root.get(section.name) else {
            return Vec::new();
        };
        let Some(tables) = entry.get_ref().as_table() else {
            self.wrong_type(section.name.into(), entry, "a table", section.header());
            return Vec::new();
        };
        let mut named = Vec::with_capacity(tables.len());
        for (name, table) in tables {
            let path = join(section.name, name.get_ref());
            let position = Some(self.text.position(name.span().start));
            if !is_good_name(name.get_ref()) {
                let fault = Fault::BadName {
                    name: name.get_ref().to_string(),
                };
                self.report(Problem {
                    key: path.clone(),
                    position,
                    fault,
                });
            }
            named.push((
                name.get_ref().to_string(),
                self.open(section, path, Some(table)),
            ));
        }
        named
    }

    fn open(
        &mut self,
        section: &'static Section,
        path: String,
        value: Option<&'t Spanned<DeValue<'t>>>,
    ) -> Table<'t> {
        let position = value.map(|v| self.text.position(v.span().start));
        let entries = match value.map(|v| (v, v.get_ref().as_table())) {
            None => self.misspelt("", section.name).map_or(Ok(None), Err),
            Some((_, Some(entries))) => {
                self.refuse_unknown(&path, entries, Some(section));
                Ok(Some(entries))
            }
            Some((v, None)) => Err(self.wrong_type(path.clone(), v, "a table", section.header())),
        };
        Table {
            path,
            section,
            position,
            entries,
        }
    }

    /// Reports the keys of a table that its section does not have; of the whole file without one.
    fn refuse_unknown(&mut self, path: &str, entries: &DeTable<'_>, section: Option<&Section>) {
        let known: Vec<&'static str> = match section {
            Some(section) => section.keys.iter().map(|k| k.name).collect(),
            None => SECTIONS.iter().map(|s| s.name).collect(),
        };
        for key in entries
            .keys()
            .filter(|k| !known.contains(&k.get_ref().as_ref()))
        {
            let hint = hint(key.get_ref(), &known);
            let position = Some(self.text.position(key.span().start));
            let fault = Fault::UnknownKey { hint };
            self.report(Problem {
                key: join(path, key.get_ref()),
                position,
                fault,
            });
        }
    }

    /// The problem that already accounts for an absent `key` of the table at `path`: it is there,
    /// but under a slip of the hand.
    fn misspelt(&self, path: &str, key: &str) -> Option<Problem> {
        let explains = |p: &&Problem| {
            matches!(&p.fault, Fault::UnknownKey { hint: Hint::DidYouMean(meant) } if *meant == key)
                && p.key.rsplit_once('.').map_or("", |(parent, _)| parent) == path
        };
        self.problems.iter().find(explains).cloned()
    }

    /// As [`Reader::misspelt`], also when the key stands in a table where it does not belong.
    fn misplaced(&self, path: &str, section: &Section, key: &str) -> Option<Problem> {
        let explains = |p: &&Problem| {
            matches!(&p.fault, Fault::UnknownKey { hint: Hint::BelongsTo(home) } if *home == section.header())
                && p.key.rsplit('.').next() == Some(key)
        };
        self.misspelt(path, key)
            .or_else(|| self.problems.iter().find(explains).cloned())
    }

    fn wrong_type(
        &mut self,
        key: String,
        value: &Spanned<DeValue<'_>>,
        expected: &'static str,
        example: String,
    ) -> Problem {
        let fault = Fault::WrongType {
            expected,
            found: type_of(value.get_ref()),
            example,
        };
        let position = Some(self.text.position(value.span().start));
        self.report(Problem {
            key,
            position,
            fault,
        })
    }
}

impl<'t> Table<'t> {
    /// Whether the file has the table; one that is no table is there too.
    pub fn is_stated(&self) -> bool {
        !matches!(self.entries, Ok(None))
    }

    /// A name that works as folder, unit, host name and label.
    pub fn name(&self, reader: &mut Reader<'t>, key: &'static Key) -> Read<String> {
        self.parsed(reader, key, |text| {
            if is_good_name(text) {
                Ok(text.to_owned())
            } else {
                Err(Fault::BadName {
                    name: text.to_owned(),
                })
            }
        })
    }

    /// An IPv4 address that one host can have.
    pub fn address(&self, reader: &mut Reader<'t>, key: &'static Key) -> Read<Ipv4Addr> {
        self.parsed(reader, key, |text| {
            let address: Ipv4Addr = text.parse().map_err(|_| Fault::NotIpv4 {
                text: text.to_owned(),
            })?;
            match unusable(address) {
                None => Ok(address),
                Some(what) => Err(Fault::UnusableAddress { address, what }),
            }
        })
    }

    /// A whole number of milliseconds within the limits of the key.
    pub fn millis(&self, reader: &mut Reader<'t>, key: &'static Key) -> Read<Duration> {
        self.integer(reader, key)
            .map(|ms| ms.map(Duration::from_millis))
    }

    /// As [`Table::millis`], but nothing when the key is absent.
    pub fn stated_millis(
        &self,
        reader: &mut Reader<'t>,
        key: &'static Key,
    ) -> Option<Read<Duration>> {
        match self.entries {
            Ok(Some(entries)) if !entries.contains_key(key.name) => None,
            Ok(None) => None,
            Ok(Some(_)) | Err(_) => Some(self.millis(reader, key)),
        }
    }

    /// An integer within the limits of the key.
    pub fn integer<T: TryFrom<i64>>(&self, reader: &mut Reader<'t>, key: &'static Key) -> Read<T> {
        let key = self.section.refine(key);
        let out_of_range = |value: String| Fault::OutOfRange {
            value,
            unit: key.kind.unit(),
            range: key.kind.range(),
        };
        let Some(found) = self.value(reader, key)? else {
            let Default::Value(default) = key.default else {
                return Err(self.missing(reader, key));
            };
            let located = Located {
                value: default,
                key: self.key(key),
                position: None,
            };
            return match T::try_from(default) {
                Ok(value) => Ok(located.map(|_| value)),
                Err(_) => Err(reader.report(located.problem(out_of_range(default.to_string())))),
            };
        };
        let DeValue::Integer(integer) = found.value.get_ref() else {
            return Err(self.not_a(reader, key, found.value, "an integer"));
        };
        let (min, max) = key.kind.limits();
        let number = i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| (min..=max).contains(number))
            .and_then(|number| T::try_from(number).ok());
        match number {
            Some(number) => Ok(found.map(|_| number)),
            None => Err(reader.report(found.problem(out_of_range(integer.to_string())))),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, reader: &mut Reader<'t>, key: &'static Key) -> Read<bool> {
        let Some(found) = self.value(reader, key)? else {
            let Default::Flag(default) = key.default else {
                return Err(self.missing(reader, key));
            };
            return Ok(Located {
                value: default,
                key: self.key(key),
                position: None,
            });
        };
        match found.value.get_ref().as_bool() {
            Some(flag) => Ok(found.map(|_| flag)),
            None => Err(self.not_a(reader, key, found.value, "true or false")),
        }
    }

    /// A string, turned into something by `parse`.
    fn parsed<T>(
        &self,
        reader: &mut Reader<'t>,
        key: &'static Key,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Read<T> {
        let key = self.section.refine(key);
        let Some(found) = self.value(reader, key)? else {
            return Err(self.missing(reader, key));
        };
        let Some(text) = found.value.get_ref().as_str() else {
            return Err(self.not_a(reader, key, found.value, "a string"));
        };
        match parse(text) {
            Ok(value) => Ok(found.map(|_| value)),
            Err(fault) => Err(reader.report(found.problem(fault))),
        }
    }

    /// The value of a key as TOML has it; an error when the whole table was no table.
    fn value(
        &self,
        reader: &Reader<'t>,
        key: &Key,
    ) -> Result<Option<Located<&'t Spanned<DeValue<'t>>>>, Problem> {
        let entries = self.entries.clone()?;
        Ok(entries
            .and_then(|entries| entries.get(key.name))
            .map(|value| Located {
                value,
                key: self.key(key),
                position: Some(reader.text.position(value.span().start)),
            }))
    }

    fn key(&self, key: &Key) -> String {
        join(&self.path, key.name)
    }

    fn missing(&self, reader: &mut Reader<'t>, key: &Key) -> Problem {
        if let Some(cause) = reader.misplaced(&self.path, self.section, key.name) {
            return cause;
        }
        let header = self.position.is_none().then(|| self.section.header());
        let fault = Fault::Missing {
            header,
            example: key.assignment(),
        };
        reader.report(Problem {
            key: self.key(key),
            position: self.position,
            fault,
        })
    }

    fn not_a(
        &self,
        reader: &mut Reader<'t>,
        key: &Key,
        value: &Spanned<DeValue<'_>>,
        expected: &'static str,
    ) -> Problem {
        reader.wrong_type(self.key(key), value, expected, key.assignment())
    }
}

/// What the unknown `key` may have been meant to be, in a table that takes `known`.
fn hint(key: &str, known: &[&'static str]) -> Hint {
    // A profile repeats the keys of `[timing]`; a key of several tables points nowhere.
    let has_key = |s: &&&Section| s.shape != Shape::Named && s.keys.iter().any(|k| k.name == key);
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
