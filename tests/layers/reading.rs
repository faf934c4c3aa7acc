//! Reads modules with syn.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{AttrStyle, Attribute, Expr, ImplItem, Item, Lit, Meta, Stmt, TraitItem, UseTree};

use crate::root;
use crate::source::{Import, Module};
use crate::tokens::{self, Names};

/// Reads a file as `module`, whose parts have their files in `folder`.
pub fn read_file(text: &str, mut module: Module, folder: &Path, to: &mut BTreeMap<Names, Module>) {
    let file = syn::parse_file(text).unwrap_or_else(|e| panic!("{:?}: {e}", module.file));
    module.head = documentation(&file.attrs);
    read(file.items, module, folder, to);
}

/// Reads the items of a module whose parts have their files in `folder`.
fn read(items: Vec<Item>, mut module: Module, folder: &Path, to: &mut BTreeMap<Names, Module>) {
    for item in items {
        match item {
            Item::Mod(part) => {
                let name = part.ident.to_string();
                if part.content.is_none() {
                    module.parts.insert(name.clone());
                }
                let folder = folder.join(&name);
                let mut below = Module {
                    path: [module.path.clone(), vec![name]].concat(),
                    file: module.file.clone(),
                    is_inline: part.content.is_some(),
                    is_test: module.is_test || is_test(&part.attrs),
                    ..Module::default()
                };
                if let Some((_, items)) = part.content {
                    read(items, below, &folder, to);
                } else if part.attrs.iter().any(|a| a.path().is_ident("path")) {
                    assert!(below.is_test, "{:?}: a file by #[path]", below.path);
                } else {
                    let files = [folder.with_extension("rs"), folder.join("mod.rs")];
                    let src = root().join("src");
                    let found = files.into_iter().find(|file| src.join(file).exists());
                    below.file = found.unwrap_or_else(|| panic!("no file of {:?}", below.path));
                    let text = fs::read_to_string(src.join(&below.file)).expect("a source");
                    read_file(&text, below, &folder, to);
                }
            }
            item if is_test(attributes(&item)) => {}
            item => module.add(item),
        }
    }
    to.insert(module.path.clone(), module);
}

impl Module {
    fn add(&mut self, mut item: Item) {
        let (name, is_type) = match &item {
            Item::Const(item) => (Some(&item.ident), false),
            Item::Fn(item) => (Some(&item.sig.ident), false),
            Item::Static(item) => (Some(&item.ident), false),
            Item::Enum(item) => (Some(&item.ident), true),
            Item::Struct(item) => (Some(&item.ident), true),
            Item::Trait(item) => (Some(&item.ident), true),
            Item::Type(item) => (Some(&item.ident), true),
            Item::Union(item) => (Some(&item.ident), true),
            _ => (None, false),
        };
        let mut types: Vec<String> = name
            .filter(|_| is_type)
            .map(ToString::to_string)
            .into_iter()
            .collect();
        if let Item::Macro(item) = &item {
            types.extend(tokens::defined_types(item.mac.tokens.clone()));
        }
        self.items.extend(name.map(ToString::to_string));
        self.items.extend(types.iter().cloned());
        self.types.extend(types);
        if let Item::Use(item) = &item {
            add_imports(&item.tree, leading_segment(item), &mut self.imports);
            return;
        }
        let mut program = ProgramOnly {
            imports: &mut self.imports,
        };
        program.visit_item_mut(&mut item);
        self.mentions.add(item.into_token_stream());
    }
}

/// The empty segment of a path that begins with `::`.
fn leading_segment(item: &syn::ItemUse) -> Names {
    item.leading_colon
        .map(|_| String::new())
        .into_iter()
        .collect()
}

fn add_imports(tree: &UseTree, before: Names, imports: &mut Vec<Import>) {
    let mut add = |ident: Option<&syn::Ident>, name: Option<String>| {
        let last = ident.map(ToString::to_string).filter(|last| last != "self");
        let path: Names = before.iter().cloned().chain(last).collect();
        // `use a::{self}` imports `a`.
        let name = name.map(|name| {
            if name == "self" {
                path[path.len() - 1].clone()
            } else {
                name
            }
        });
        imports.push(Import {
            name: name.filter(|name| name != "_"),
            path,
            is_glob: ident.is_none(),
        });
    };
    match tree {
        UseTree::Name(tree) => add(Some(&tree.ident), Some(tree.ident.to_string())),
        UseTree::Rename(tree) => add(Some(&tree.ident), Some(tree.rename.to_string())),
        UseTree::Glob(_) => add(None, None),
        UseTree::Group(group) => {
            for tree in &group.items {
                add_imports(tree, before.clone(), imports);
            }
        }
        UseTree::Path(tree) => {
            let before = [before, vec![tree.ident.to_string()]].concat();
            add_imports(&tree.tree, before, imports);
        }
    }
}

/// Removes from an item what only tests compile, visibilities, and `use` declarations, which it
/// collects.
struct ProgramOnly<'a> {
    imports: &'a mut Vec<Import>,
}

impl VisitMut for ProgramOnly<'_> {
    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.retain(|statement| match statement {
            Stmt::Item(item) if is_test(attributes(item)) => false,
            Stmt::Item(Item::Use(item)) => {
                add_imports(&item.tree, leading_segment(item), self.imports);
                false
            }
            Stmt::Local(local) => !is_test(&local.attrs),
            Stmt::Macro(statement) => !is_test(&statement.attrs),
            _ => true,
        });
        visit_mut::visit_block_mut(self, block);
    }

    fn visit_item_impl_mut(&mut self, item: &mut syn::ItemImpl) {
        item.items.retain(|item| match item {
            ImplItem::Const(item) => !is_test(&item.attrs),
            ImplItem::Fn(item) => !is_test(&item.attrs),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, item);
    }

    fn visit_item_trait_mut(&mut self, item: &mut syn::ItemTrait) {
        item.items
            .retain(|item| !matches!(item, TraitItem::Fn(item) if is_test(&item.attrs)));
        visit_mut::visit_item_trait_mut(self, item);
    }

    fn visit_visibility_mut(&mut self, visibility: &mut syn::Visibility) {
        *visibility = syn::Visibility::Inherited;
    }
}

/// The attributes of an item, as far as an item can be left out of the program by them.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]` is among the attributes.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, Meta::List(list) if list.tokens.to_string() == "test")
    })
}

/// The text of the `//!` comments.
fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => {
                match (&attribute.style, &pair.value) {
                    (AttrStyle::Inner(_), Expr::Lit(value)) => match &value.lit {
                        Lit::Str(text) => Some(text.value() + "\n"),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        });
    lines.collect()
}
