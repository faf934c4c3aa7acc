//! The modules of a crate: what each imports, defines and mentions. Modules that only tests compile
//! are marked; all else that only tests compile is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::tokens::{Mentions, Names};
use crate::{reading, root};

/// One `use` of a name, or of all names of a module.
#[derive(Debug, Clone)]
pub struct Import {
    /// The name in this module: none for `*` and `_`.
    pub name: Option<String>,
    /// The path as written, without the `*`.
    pub path: Names,
    /// It ends with `*`.
    pub is_glob: bool,
}

/// One module of the crate, in a file of its own or inside another.
#[derive(Default)]
pub struct Module {
    /// Its path, which begins with `crate`.
    pub path: Names,
    /// Its file, below `src`.
    pub file: PathBuf,
    /// It is written in braces inside another module.
    pub is_inline: bool,
    /// Only tests compile it.
    pub is_test: bool,
    /// The documentation at the beginning of the file.
    pub head: String,
    /// The modules that it declares in files of their own.
    pub parts: BTreeSet<String>,
    /// All `use` declarations, those in functions included.
    pub imports: Vec<Import>,
    /// The names that it defines, other than modules.
    pub items: BTreeSet<String>,
    /// The types and traits among them.
    pub types: Vec<String>,
    /// What its code mentions.
    pub mentions: Mentions,
}

/// All modules of a crate.
pub struct Sources {
    pub modules: BTreeMap<Names, Module>,
}

impl Sources {
    /// The sources of this crate's library.
    pub fn of_crate() -> &'static Sources {
        static SOURCES: LazyLock<Sources> = LazyLock::new(|| {
            let text = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
            Sources::parse(&text)
        });
        &SOURCES
    }

    /// The sources of a crate with this `lib.rs`. Modules without a body are read from `src`.
    pub fn parse(text: &str) -> Sources {
        let mut modules = BTreeMap::new();
        let root = Module {
            path: vec!["crate".to_owned()],
            file: PathBuf::from("lib.rs"),
            ..Module::default()
        };
        reading::read_file(text, root, Path::new(""), &mut modules);
        Sources { modules }
    }

    /// The modules that take part in the program.
    pub fn program(&self) -> impl Iterator<Item = &Module> {
        self.modules.values().filter(|module| !module.is_test)
    }

    /// The modules of the program at or below `path`.
    pub fn below(&self, path: &[&str]) -> Vec<&Module> {
        let modules = self.program();
        modules
            .filter(|module| is_below(&module.path, path))
            .collect()
    }

    /// The names of the modules of the program directly in `path`.
    pub fn parts_of(&self, path: &[&str]) -> BTreeSet<String> {
        let modules = self.program().map(|module| &module.path);
        let parts = modules.filter(|part| is_below(part, path) && part.len() == path.len() + 1);
        parts.filter_map(|part| part.last().cloned()).collect()
    }
}

/// Whether a path is `base` or continues it.
pub fn is_below(path: &[String], base: &[&str]) -> bool {
    path.len() >= base.len() && path.iter().zip(base).all(|(a, b)| a == b)
}
