//! What a stream of tokens mentions: paths, calls and keywords. It is applied to whole items, so
//! the arguments of macros and attributes are read like all other code.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};

/// A path as its segments; `::a::b` begins with an empty one.
pub type Names = Vec<String>;

/// What the code of a module mentions, without its `use` declarations.
#[derive(Default)]
pub struct Mentions {
    /// Paths as written. A macro's name ends with `!`.
    pub paths: BTreeSet<Names>,
    /// Methods that are called with the literal `true` as the only argument.
    pub set_to_true: BTreeSet<String>,
    /// There is an `async` or an `.await`.
    pub is_async: bool,
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

impl Mentions {
    /// Adds what `stream` mentions.
    pub fn add(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => {
                    let is_attribute = at > 0 && is_punct(tokens.get(at - 1), '#');
                    let first = group.stream().into_iter().next();
                    let is_doc = ident(first.as_ref()).is_some_and(|name| name == "doc");
                    if !(is_attribute && is_doc) {
                        self.add(group.stream());
                    }
                    at += 1;
                }
                TokenTree::Ident(_) => at = self.add_path(&tokens, at),
                TokenTree::Literal(literal) => {
                    self.add_literal(&literal.to_string());
                    at += 1;
                }
                TokenTree::Punct(_) => at += 1,
            }
        }
    }

    /// Adds the path that begins at an identifier; returns where it ends.
    fn add_path(&mut self, tokens: &[TokenTree], begin: usize) -> usize {
        let before = |count: usize| begin.checked_sub(count).and_then(|at| tokens.get(at));
        let colons = |at: usize| {
            let is_colon = |at: usize| is_punct(tokens.get(at), ':');
            is_colon(at) && is_colon(at + 1)
        };
        let mut path: Names = vec![ident(tokens.get(begin)).expect("an identifier")];
        if matches!(path[0].as_str(), "async" | "await") {
            self.is_async = true;
        }
        // `a.b`, but not `..b`
        if is_punct(before(1), '.') && !is_punct(before(2), '.') {
            if let Some(TokenTree::Group(arguments)) = tokens.get(begin + 1)
                && arguments.stream().to_string() == "true"
            {
                self.set_to_true.insert(path.remove(0));
            }
            return begin + 1;
        }
        // A lifetime, or a variable of a macro.
        let is_variable = is_punct(before(1), '$') && path[0] != "crate";
        if is_punct(before(1), '\'') || is_variable {
            return begin + 1;
        }
        let mut end = begin + 1;
        while colons(end)
            && let Some(name) = ident(tokens.get(end + 2))
        {
            path.push(name);
            end += 3;
        }
        if begin >= 2 && colons(begin - 2) {
            path.insert(0, String::new());
        }
        if is_punct(tokens.get(end), '!') && !is_punct(tokens.get(end + 1), '=') {
            path.last_mut().expect("a segment").push('!');
        }
        let is_keyword = path.len() == 1 && matches!(&*path[0], "crate" | "self" | "super");
        if !is_keyword {
            self.paths.insert(path);
        }
        end
    }

    /// Adds the path in a literal such as that of `#[serde(with = "crate::a")]`.
    fn add_literal(&mut self, literal: &str) {
        let text = literal.trim_matches('"');
        let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
        let is_inside = ["crate::", "self::", "super::"]
            .iter()
            .any(|begin| text.starts_with(begin));
        if is_inside && text.chars().all(is_path) {
            self.paths
                .insert(text.split("::").map(str::to_owned).collect());
        }
    }
}

/// The types that the tokens of a macro define.
pub fn defined_types(stream: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut types = vec![];
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => types.extend(defined_types(group.stream())),
            TokenTree::Ident(word) if ["struct", "enum", "trait"].iter().any(|w| word == w) => {
                types.extend(ident(tokens.get(at + 1)));
            }
            _ => {}
        }
    }
    types
}
