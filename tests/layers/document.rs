//! The diagram and the tables of `docs/architecture.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::{root, unquoted};

/// What the document states of the modules.
pub struct Architecture {
    /// Of each module in the diagram, its line: 0 is the top.
    pub depths: BTreeMap<String, usize>,
    /// The rows of the table of modules.
    pub rows: BTreeMap<String, Row>,
    /// The parts of `drill`, in order: each with the parts that it uses.
    pub drill: Vec<(String, BTreeSet<String>)>,
}

/// One row of the table: what a module uses, and which of its files are pure.
pub struct Row {
    pub uses: BTreeSet<String>,
    pub pure: Pure,
}

/// Which files of a module are pure.
pub enum Pure {
    All,
    No,
    Only(Vec<String>),
    AllBut(Vec<String>),
}

impl Pure {
    fn parse(cell: &str) -> Pure {
        let files = |list: &str| list.split(", ").map(unquoted).collect();
        match cell.split_once(' ') {
            None if cell == "yes" => Pure::All,
            None if cell == "no" => Pure::No,
            Some(("only", list)) => Pure::Only(files(list)),
            _ => match cell.strip_prefix("yes, but for ") {
                Some(list) => Pure::AllBut(files(list)),
                None => panic!("\"{cell}\" in the column \"pure\""),
            },
        }
    }

    /// The files that the cell names.
    pub fn files(&self) -> &[String] {
        match self {
            Pure::All | Pure::No => &[],
            Pure::Only(files) | Pure::AllBut(files) => files,
        }
    }

    /// Whether a file is pure.
    pub fn covers(&self, file: &str) -> bool {
        let named = self.files().iter().any(|f| f == file);
        match self {
            Pure::All => true,
            Pure::No => false,
            Pure::Only(_) => named,
            Pure::AllBut(_) => !named,
        }
    }
}

impl Architecture {
    /// Of the document in the repository.
    pub fn read() -> Architecture {
        let path = root().join("docs/architecture.md");
        Architecture::parse(&fs::read_to_string(path).expect("docs/architecture.md"))
    }

    /// Of a document with this text.
    pub fn parse(document: &str) -> Architecture {
        let modules = table(document, "modules").into_iter();
        let rows = modules.map(|cells| {
            let [name, uses, pure, _] = &cells[..] else {
                panic!("{cells:?} is not a row of the modules");
            };
            let row = Row {
                uses: list(uses),
                pure: Pure::parse(pure),
            };
            (unquoted(name), row)
        });
        let drill = table(document, "drill parts").into_iter();
        let drill = drill.map(|cells| (unquoted(&cells[0]), list(&cells[1])));
        Architecture {
            depths: depths(document),
            rows: rows.collect(),
            drill: drill.collect(),
        }
    }
}

/// What stands between the two marks `<!-- name -->`.
fn part<'a>(document: &'a str, name: &str) -> &'a str {
    let mark = format!("<!-- {name} -->");
    let parts: Vec<&str> = document.split(&mark).collect();
    let [_, part, _] = parts[..] else {
        panic!("{mark} does not stand there twice");
    };
    part
}

/// The rows between two marks whose first cell is in backquotes, as their cells.
fn table(document: &str, name: &str) -> Vec<Vec<String>> {
    let rows = part(document, name).lines().filter_map(|line| {
        let row = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        cells[0].starts_with('`').then_some(cells)
    });
    rows.collect()
}

fn list(cell: &str) -> BTreeSet<String> {
    let names = cell.split(", ").filter(|name| !name.is_empty());
    names.map(unquoted).collect()
}

fn depths(document: &str) -> BTreeMap<String, usize> {
    let mut depths = BTreeMap::new();
    let lines = part(document, "layers").lines();
    let layers = lines.filter_map(|line| line.split('|').nth(1));
    for (depth, modules) in layers.enumerate() {
        for module in modules.split_whitespace() {
            let before = depths.insert(module.to_owned(), depth);
            assert!(before.is_none(), "{module} is in the diagram twice");
        }
    }
    depths
}

/// A document for controls, with this diagram and these rows of modules and of parts of `drill`.
pub fn example(diagram: &str, modules: &str, drill: &str) -> Architecture {
    let parts = [
        ("layers", diagram),
        ("modules", modules),
        ("drill parts", drill),
    ];
    let text = parts.map(|(name, text)| format!("<!-- {name} -->\n{text}\n<!-- {name} -->\n"));
    Architecture::parse(&text.concat())
}

#[test]
fn the_last_cell_and_the_exceptions_of_a_row_are_read() {
    let example = example(
        " | a   b |\n | c |",
        "| module | uses | pure | what |\n| `a` | `c`, `d` | yes, but for `x.rs` | A. |",
        "| `p` | `q` | P. |",
    );
    assert_eq!(example.depths["b"], 0);
    assert_eq!(example.depths["c"], 1);
    let row = &example.rows["a"];
    assert_eq!(row.uses, BTreeSet::from(["c".to_owned(), "d".to_owned()]));
    assert!(row.pure.covers("y.rs") && !row.pure.covers("x.rs"));
    assert_eq!(example.drill[0].0, "p");
}

#[test]
#[should_panic(expected = "a is in the diagram twice")]
fn a_module_twice_in_the_diagram_is_found() {
    example(" | a |\n | a |", "", "");
}
