//! Edits Redis and Sentinel config files, directive by directive. Pure.
//!
//! Both servers rewrite their own files at run time, and a Sentinel keeps its whole state there, so
//! a file is never written anew after the first start: single directives are set, all else stays.

/// How a comment begins that is a note of `halab`.
const NOTE: &str = "# halab: ";

/// The change of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
    /// It becomes these words.
    To(Vec<String>),
}

/// A config file as lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    lines: Vec<String>,
}

impl Conf {
    /// Takes the text of a file.
    pub fn parse(text: &str) -> Self {
        Conf {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }

    /// The arguments of the first directive that starts with the words `key`.
    pub fn get(&self, key: &[&str]) -> Option<Vec<String>> {
        self.lines
            .iter()
            .find_map(|line| arguments_after(line, key))
    }

    /// The arguments of every directive that starts with the words `key`.
    pub fn get_all(&self, key: &[&str]) -> Vec<Vec<String>> {
        let lines = self.lines.iter();
        lines.filter_map(|l| arguments_after(l, key)).collect()
    }

    /// Whether it holds no directive at all.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|l| first_word(l).is_none())
    }

    /// Adds each directive of `template` whose first word is not there. Returns how many were
    /// missing.
    pub fn complete_from(&mut self, template: &Conf) -> usize {
        let has = |conf: &Conf, word: &str| {
            let mut words = conf.lines.iter().filter_map(|l| first_word(l));
            words.any(|w| w.eq_ignore_ascii_case(word))
        };
        let missing = template.lines.iter();
        let missing = missing.filter(|l| first_word(l).is_some_and(|word| !has(self, word)));
        let missing: Vec<String> = missing.cloned().collect();
        self.lines.extend_from_slice(&missing);
        missing.len()
    }

    /// Has `change` decide about each line, given as its words.
    pub fn rewrite(&mut self, mut change: impl FnMut(&[&str]) -> Change) {
        let lines = std::mem::take(&mut self.lines).into_iter();
        self.lines = lines
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                match change(&words) {
                    Change::Keep => Some(line),
                    Change::Remove => None,
                    Change::To(words) => Some(words.join(" ")),
                }
            })
            .collect();
    }

    /// Notes of `halab` in the file: comments, which the servers keep.
    pub fn notes(&self) -> Vec<Vec<&str>> {
        let notes = self.lines.iter().filter_map(|l| l.strip_prefix(NOTE));
        notes.map(|n| n.split_whitespace().collect()).collect()
    }

    /// Notes these instead of what was noted.
    pub fn set_notes(&mut self, notes: &[String]) {
        let at = self.lines.iter().position(|l| l.starts_with(NOTE));
        self.lines.retain(|l| !l.starts_with(NOTE));
        // First, so that a file that is cut short has them rather than not.
        let at = at.unwrap_or(0);
        let notes = notes.iter().map(|note| format!("{NOTE}{note}"));
        self.lines.splice(at..at, notes);
    }

    /// Sets the directive that starts with the words `key`: the first such line is replaced,
    /// further ones go, and without one it is added at the end.
    pub fn set(&mut self, key: &[&str], arguments: &[&str]) {
        let quoted = arguments.iter().map(|a| quote(a));
        let line = key
            .iter()
            .map(|k| (*k).to_owned())
            .chain(quoted)
            .collect::<Vec<_>>()
            .join(" ");
        let at = self
            .lines
            .iter()
            .position(|l| arguments_after(l, key).is_some());
        self.remove(key);
        match at {
            Some(at) => self.lines.insert(at, line),
            None => self.lines.push(line),
        }
    }

    /// Removes every directive that starts with the words `key`.
    pub fn remove(&mut self, key: &[&str]) {
        self.lines
            .retain(|line| arguments_after(line, key).is_none());
    }
}

/// The first word of a directive; `None` of a comment or an empty line.
fn first_word(line: &str) -> Option<&str> {
    let word = line.split_whitespace().next()?;
    (!word.starts_with('#')).then_some(word)
}

fn arguments_after(line: &str, key: &[&str]) -> Option<Vec<String>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.len() < key.len() || words.first().is_some_and(|w| w.starts_with('#')) {
        return None;
    }
    let (head, rest) = words.split_at(key.len());
    let matches = head.iter().zip(key).all(|(a, b)| a.eq_ignore_ascii_case(b));
    matches.then(|| rest.iter().map(|w| (*w).to_owned()).collect())
}

/// Quotes an argument where Redis would otherwise split it (its `sdssplitargs`).
fn quote(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    let escaped = argument.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_is_replaced_in_place_and_the_rest_stays() {
        let mut conf = Conf::parse("# port 1\nport 26379\nsentinel myid abc\nPORT 5\n");
        conf.set(&["port"], &["26380"]);
        assert_eq!(conf.text(), "# port 1\nport 26380\nsentinel myid abc\n");
    }

    #[test]
    fn a_missing_directive_is_added_at_the_end() {
        let mut conf = Conf::parse("appendonly yes\n");
        conf.set(&["sentinel", "down-after-milliseconds", "halab"], &["5000"]);
        assert_eq!(
            conf.text(),
            "appendonly yes\nsentinel down-after-milliseconds halab 5000\n"
        );
        assert_eq!(
            conf.get(&["sentinel", "down-after-milliseconds", "halab"]),
            Some(vec!["5000".to_owned()])
        );
    }

    #[test]
    fn what_is_missing_of_a_template_is_added_and_what_is_there_stays() {
        let template = Conf::parse("# why\nappendonly yes\nsave \"\"\n");
        let mut conf = Conf::parse("# all gone\nAPPENDONLY no\n");
        assert!(!conf.is_empty() && Conf::parse("# x\n\n").is_empty());
        assert_eq!(conf.complete_from(&template), 1);
        assert_eq!(conf.text(), "# all gone\nAPPENDONLY no\nsave \"\"\n");
    }

    #[test]
    fn notes_are_comments_that_are_replaced_together() {
        let mut conf = Conf::parse("# other\nport 1\n");
        conf.set_notes(&["node a 1".into(), "node b 2".into()]);
        conf.set_notes(&["node a 3".into()]);
        assert_eq!(conf.text(), "# halab: node a 3\n# other\nport 1\n");
        assert_eq!(conf.notes(), [["node", "a", "3"]]);
    }

    #[test]
    fn a_path_with_spaces_and_quotes_is_quoted() {
        let mut conf = Conf::parse("");
        conf.set(&["dir"], &["/a b/\"c\""]);
        assert_eq!(conf.text(), "dir \"/a b/\\\"c\\\"\"\n");
    }

    #[test]
    fn a_longer_word_is_another_directive() {
        let mut conf = Conf::parse("replicaof-x 1\nbind-source-addr 127.0.0.1\n");
        conf.set(&["bind"], &["127.0.0.2"]);
        conf.remove(&["replicaof"]);
        assert_eq!(
            conf.text(),
            "replicaof-x 1\nbind-source-addr 127.0.0.1\nbind 127.0.0.2\n"
        );
    }
}
