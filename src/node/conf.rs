//! Edits Redis and Sentinel config files, directive by directive. Pure.
//!
//! Both servers rewrite their own files at run time, and a Sentinel keeps its whole state there, so a
//! file is never written anew after the first start: single directives are set, all else stays.

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

    /// Sets the directive that starts with the words `key`: the first such line is replaced, further
    /// ones go, and without one it is added at the end.
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
