//! From the text of `lab.toml` to a [`Lab`], or to all that is wrong with it.

use toml::de::DeTable;

use super::Lab;
use super::draft::Draft;
use super::keys;
use super::problem::{Fault, Problem, Problems};
use super::reader::Reader;
use super::rules;
use super::text::Text;
use super::values::join;

impl Lab {
    /// Reads the text of a `lab.toml`; `profile` replaces its time limits.
    ///
    /// # Errors
    /// Everything that is wrong, at once, also in profiles that were not asked for. Only a text
    /// that is not TOML is judged no further than its syntax: what a broken line was meant to say
    /// would be guessed, and every later problem might follow from the guess.
    pub fn parse(text: &str, profile: Option<&str>) -> Result<Lab, Problems> {
        let text_lines = Text::new(text);
        let (document, errors) = DeTable::parse_recoverable(text);
        let syntax = errors.iter().map(|e| Problem {
            key: String::new(),
            position: e.span().map(|span| text_lines.position(span.start)),
            fault: Fault::Syntax {
                message: e.message().escape_debug().to_string(),
            },
        });
        if let Some(problems) = Problems::of(syntax.collect()) {
            return Err(problems);
        }

        let mut reader = Reader::new(&text_lines, document.get_ref());
        let draft = Draft::read(&mut reader);
        let mut found = reader.problems;
        found.extend(rules::broken(&draft));
        let lab = match draft.timing(profile) {
            Some(timing) => draft.build(timing),
            None => Err(unknown_profile(
                &draft,
                profile.unwrap_or_default(),
                &mut found,
            )),
        };
        match (lab, Problems::of(found)) {
            (Ok(lab), None) => Ok(lab),
            (_, Some(problems)) => Err(problems),
            (Err(problem), None) => Err(problem.into()),
        }
    }

    /// The names of the profiles in the text of a `lab.toml`, in alphabetical order.
    ///
    /// For messages and completion: it takes what it can from a text that is wrong elsewhere.
    pub fn profiles(text: &str) -> Vec<String> {
        let (document, _) = DeTable::parse_recoverable(text);
        let profiles = document
            .get_ref()
            .get(keys::PROFILES.name)
            .and_then(|p| p.get_ref().as_table());
        profiles
            .into_iter()
            .flat_map(|table| table.keys())
            .map(|name| name.get_ref().to_string())
            .collect()
    }
}

fn unknown_profile(draft: &Draft, name: &str, found: &mut Vec<Problem>) -> Problem {
    let problem = Problem {
        key: join(keys::PROFILES.name, name),
        position: None,
        fault: Fault::UnknownProfile {
            profiles: draft
                .profiles
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
        },
    };
    found.push(problem.clone());
    problem
}
