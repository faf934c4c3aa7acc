//! Patterns of keys and channels, as Redis matches them (`stringmatchlen` in its `util.c`): `*`,
//! `?`, `[a-z]`, `[^a]`, and `\` to escape a character.

/// An element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Element {
    /// `*`: any number of bytes, including none.
    Any,
    /// `?`: any single byte.
    One,
    /// Any byte in these ranges, or outside all of them.
    Class {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Element {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Element::Any | Element::One => true,
            Element::Class { negated, ranges } => {
                ranges
                    .iter()
                    .any(|(low, high)| (low..=high).contains(&&byte))
                    != *negated
            }
        }
    }

    /// Whether it matches any byte at all.
    fn takes_some(&self) -> bool {
        (0..=u8::MAX).any(|byte| self.takes(byte))
    }
}

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Element>);

impl Glob {
    pub fn parse(pattern: &str) -> Glob {
        let mut rest = pattern.as_bytes();
        let mut elements = Vec::new();
        while let [first, after @ ..] = rest {
            rest = after;
            elements.push(match first {
                b'*' => Element::Any,
                b'?' => Element::One,
                b'[' => class(&mut rest),
                b'\\' => match rest {
                    [escaped, after @ ..] => {
                        rest = after;
                        literal(*escaped)
                    }
                    [] => literal(b'\\'),
                },
                byte => literal(*byte),
            });
        }
        Glob(elements)
    }

    /// Whether it matches `text`.
    #[cfg(test)]
    fn matches(&self, text: &str) -> bool {
        self.after(text).last() == Some(&true)
    }

    /// Whether it matches any text that begins with `prefix`.
    pub fn matches_some_with(&self, prefix: &str) -> bool {
        let reached = self.after(prefix);
        let mut starts = reached.iter().enumerate().filter(|(_, is)| **is);
        // The rest of the pattern matches some text, unless it contains a class that matches no
        // byte.
        starts.any(|(at, _)| self.0.iter().skip(at).all(Element::takes_some))
    }

    /// For each position in the pattern: whether the elements before it match all of `text`. The
    /// last position is the end of the pattern.
    fn after(&self, text: &str) -> Vec<bool> {
        let mut reached = vec![false; self.0.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        self.skip_any(&mut reached);
        for byte in text.bytes() {
            let mut next = vec![false; reached.len()];
            for (at, element) in self.0.iter().enumerate() {
                if reached[at] && element.takes(byte) {
                    let to = if *element == Element::Any { at } else { at + 1 };
                    next[to] = true;
                }
            }
            self.skip_any(&mut next);
            reached = next;
        }
        reached
    }

    /// A `*` also matches the empty string.
    fn skip_any(&self, reached: &mut [bool]) {
        for (at, element) in self.0.iter().enumerate() {
            if reached[at] && *element == Element::Any {
                reached[at + 1] = true;
            }
        }
    }
}

fn literal(byte: u8) -> Element {
    Element::Class {
        negated: false,
        ranges: vec![(byte, byte)],
    }
}

/// Parses a class after its `[`. Without a `]`, it ends at the end of the pattern.
fn class(rest: &mut &[u8]) -> Element {
    let negated = rest.first() == Some(&b'^');
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        *rest = match **rest {
            [] => break,
            [b'\\', byte, ref after @ ..] => {
                ranges.push((byte, byte));
                after
            }
            [b']', ref after @ ..] => {
                *rest = after;
                break;
            }
            [from, b'-', to, ref after @ ..] => {
                ranges.push((from.min(to), from.max(to)));
                after
            }
            [byte, ref after @ ..] => {
                ranges.push((byte, byte));
                after
            }
        };
    }
    Element::Class { negated, ranges }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).matches(text)
    }

    /// The expected results are those of `KEYS PATTERN` in Redis 7.0 with only this key.
    #[test]
    fn a_pattern_matches_what_redis_matches() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("shop:*", "shop:", true),
            ("shop:*", "shop", false),
            ("sh?p", "shop", true),
            ("sh?p", "shp", false),
            ("sh[ao]p", "shop", true),
            ("sh[^o]p", "shop", false),
            ("sh[a-z]p", "shop", true),
            ("sh[z-a]p", "shop", true),
            ("sh[]op", "shop", false),
            ("sh[^]p", "shop", true),
            ("sh[\\]o]p", "shop", true),
            ("sh[a-]p", "sh^p", false),
            ("shop[o", "shopo", true),
            ("sh\\*p", "sh*p", true),
            ("sh\\*p", "shop", false),
            ("shop\\", "shop\\", true),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxax", false),
            ("Shop", "shop", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_may_match_something_that_begins_with_a_prefix() {
        let some = |pattern: &str| Glob::parse(pattern).matches_some_with("halab:");
        for pattern in [
            "*",
            "halab:*",
            "h*",
            "?alab:x",
            "*x",
            "halab:",
            "[a-z]*",
            "*:*",
            "halab\\:1",
            "halab?",
        ] {
            assert!(some(pattern), "{pattern}");
        }
        for pattern in [
            "shop:*",
            "halab",
            "halab-*",
            "[^h]*",
            "Halab:*",
            "?shop",
            "",
            "halab:[]",
            "shop*halab:",
        ] {
            assert!(!some(pattern), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_that_a_match_begins_with_is_found(
            pattern in "[ab*?\\[\\]^\\\\-]{0,6}",
            text in "[ab\\]-]{0,5}",
            cut in 0..6_usize,
        ) {
            let glob = Glob::parse(&pattern);
            let prefix = &text[..cut.min(text.len())];
            prop_assert!(!glob.matches(&text) || glob.matches_some_with(prefix));
            let takes_some = glob.0.iter().all(Element::takes_some);
            prop_assert_eq!(glob.matches_some_with(""), takes_some);
        }

        #[test]
        fn a_pattern_of_literals_matches_itself_alone(
            text in "[a-z:]{1,9}",
            other in "[a-z:]{1,9}",
        ) {
            prop_assert!(matches(&text, &text));
            prop_assert_eq!(matches(&text, &other), text == other);
        }
    }
}
