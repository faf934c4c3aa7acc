//! What a path stands for: relative paths, imports and re-exports are followed to the definition.
//! Paths inside of the crate begin with `crate`, all others with the name of another crate.

use std::collections::BTreeSet;

use crate::source::{Module, Sources, is_below};
use crate::tokens::Names;

/// How many imports are followed for one path; it ends circular re-exports.
const STEPS: usize = 8;

impl Sources {
    /// All paths that a module mentions, from the root, as far as they are written out.
    pub fn named(&self, module: &Module) -> BTreeSet<Names> {
        let imports = module.imports.iter().map(|import| &import.path);
        imports
            .chain(&module.mentions.paths)
            .map(|path| self.absolute(module, path, STEPS))
            .collect()
    }

    /// The definitions of all paths that a module mentions.
    pub fn definitions(&self, module: &Module) -> BTreeSet<Names> {
        let named = self.named(module).into_iter();
        named.map(|path| self.definition(path, STEPS)).collect()
    }

    /// The module in which a path from the root is.
    pub fn module_of(&self, path: &[String]) -> Option<&Module> {
        (1..=path.len())
            .rev()
            .find_map(|length| self.modules.get(&path[..length]))
    }

    /// The modules of this crate whose definitions a module mentions.
    pub fn used_modules(&self, module: &Module) -> BTreeSet<Names> {
        let definitions = self.definitions(module);
        let modules = definitions.iter().filter_map(|path| self.module_of(path));
        modules.map(|module| module.path.clone()).collect()
    }

    /// The names directly in `base` that a module mentions, by path or by re-export.
    pub fn used_parts(&self, module: &Module, base: &[&str]) -> BTreeSet<String> {
        let mut paths = self.named(module);
        paths.extend(self.definitions(module));
        let inside = paths
            .iter()
            .filter(|path| is_below(path, base) && path.len() > base.len());
        inside.map(|path| path[base.len()].clone()).collect()
    }

    fn absolute(&self, module: &Module, path: &[String], steps: usize) -> Names {
        let Some((first, rest)) = path.split_first() else {
            return module.path.clone();
        };
        match first.as_str() {
            "crate" => path.to_vec(),
            "" => rest.to_vec(),
            "self" => self.absolute_from(module, rest),
            "super" => self.absolute_from(module, path),
            name => match self.in_scope(module, name, steps) {
                Some(found) => [found, rest.to_vec()].concat(),
                None => path.to_vec(),
            },
        }
    }

    fn absolute_from(&self, module: &Module, path: &[String]) -> Names {
        let levels = path.iter().take_while(|name| *name == "super").count();
        let base = module.path.len().saturating_sub(levels).max(1);
        [&module.path[..base], &path[levels..]].concat()
    }

    /// What a name without a path before it stands for in a module: none if it is defined in
    /// another crate, or inside of a function.
    fn in_scope(&self, module: &Module, name: &str, steps: usize) -> Option<Names> {
        let steps = steps.checked_sub(1)?;
        let own = [module.path.clone(), vec![name.to_owned()]].concat();
        if self.modules.contains_key(&own) || module.items.contains(name) {
            return Some(own);
        }
        // `use a::a` does not change what `a` before `::` is.
        let named = module.imports.iter().find(|import| {
            import.name.as_deref() == Some(name) && import.path.first().is_some_and(|f| f != name)
        });
        if let Some(import) = named {
            return Some(self.absolute(module, &import.path, steps));
        }
        let globs = module.imports.iter().filter(|import| import.is_glob);
        globs
            .filter_map(|import| {
                let path = self.absolute(module, &import.path, steps);
                self.modules.get(&self.definition(path, steps))
            })
            .filter(|from| from.path != module.path)
            .find_map(|from| self.in_scope(from, name, steps))
    }

    fn definition(&self, path: Names, steps: usize) -> Names {
        let Some(module) = self.module_of(&path) else {
            return path;
        };
        let Some(name) = path.get(module.path.len()) else {
            return path;
        };
        match self.in_scope(module, name, steps) {
            Some(found) if !path.starts_with(&found) => {
                let rest = &path[module.path.len() + 1..];
                self.definition([&found, rest].concat(), steps - 1)
            }
            _ => path,
        }
    }
}
