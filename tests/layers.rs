//! The layers as `docs/architecture.md` states them, against the code.
//!
//! The code is read as text: `crate::NAME` outside of comments and outside of what only tests
//! compile. That is cruder than a parser; what it could miss (a grouped `crate::{`, a way out of
//! the module by `super::`) is refused instead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What a pure file does not mention: runtimes, clients, the command line, the system, clocks.
const IMPURE: [&str; 22] = [
    "async ",
    "clap::",
    "env::",
    "File",
    "fs::",
    "indicatif::",
    "Instant::now",
    "Local::now",
    "println!",
    "process::",
    "rand::",
    "redis::",
    "rustix::",
    "stdin()",
    "stdout()",
    "stderr()",
    "SystemTime::now",
    "thread::",
    "tokio",
    "tracing",
    "Udp",
    "Utc::now",
];
/// Sockets, but not socket addresses, which are values.
const SOCKETS: [&str; 3] = ["TcpListener", "TcpStream", "ToSocketAddrs"];

/// Text that creates, overwrites or renames a file.
const WRITING: [&str; 7] = [
    "fs::write(",
    "fs::copy(",
    "fs::rename(",
    "File::create",
    ".create(true)",
    ".create_new(true)",
    ".truncate(true)",
];
/// The parts of `drill` that only have values: pure files of it use no other part.
const PURE_PARTS_OF_DRILL: [&str; 2] = ["judging", "report"];
/// The files that contain such text, and why they do not use `crate::files` for it.
const WRITERS: [(&str, &str); 24] = [
    ("files.rs", "the one place for all others"),
    ("access/secrets.rs", "the lock file, which is empty"),
    (
        "backup/folder/writing.rs",
        "new files in a folder that is renamed when all are synced",
    ),
    (
        "cli/drill/reporting.rs",
        "a pipe or terminal, which cannot be replaced",
    ),
    (
        "drill/clients/recorder.rs",
        "append-only: the calls of clients",
    ),
    (
        "drill/environment/clock.rs",
        "in a lab of the drill: read by libfaketime",
    ),
    ("drill/environment/cpu_quota.rs", "files of the kernel"),
    (
        "drill/environment/start.rs",
        "in a lab of the drill: its configuration, and a link to its server",
    ),
    (
        "drill/faults/backup_and_restore.rs",
        "in a lab of the drill: a copy that is to be damaged",
    ),
    (
        "drill/faults/roll_back_disk_in_stop.rs",
        "in a lab of the drill: copies of a disk",
    ),
    (
        "drill/experiment/files.rs",
        "append-only: the log of events",
    ),
    (
        "drill/environment/wrapper_script.rs",
        "in a lab of the drill: a script",
    ),
    ("ledger/file.rs", "append-only; a torn tail is detected"),
    (
        "monitoring/mod.rs",
        "written before each start of the program that reads it",
    ),
    (
        "node/buffer.rs",
        "not synced: its node must not wait for the disk while it paces writes",
    ),
    ("node/cgroup.rs", "files of the kernel"),
    (
        "node/restoring/files.rs",
        "new files in a folder that is renamed when all are synced",
    ),
    (
        "node/state.rs",
        "the lock file, which is empty; a note for display",
    ),
    (
        "node/state/config_file.rs",
        "a copy of a damaged config file, for a person to look at",
    ),
    (
        "node/state/set_aside.rs",
        "moves folders; the next start completes a move that was cut short",
    ),
    ("node/shared_report.rs", "a note for display"),
    ("node/trash.rs", "moves what is to be removed"),
    (
        "drill/environment/mod.rs",
        "in a lab of the drill: its configuration",
    ),
    ("runner/mod.rs", "append-only: the logs of the nodes"),
];

/// One row of the table: what a module uses, and which of its files are pure.
struct Row {
    uses: BTreeSet<String>,
    pure: Pure,
}

enum Pure {
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

    fn files(&self) -> &[String] {
        match self {
            Pure::All | Pure::No => &[],
            Pure::Only(files) | Pure::AllBut(files) => files,
        }
    }

    fn covers(&self, file: &str) -> bool {
        let named = self.files().iter().any(|f| f == file);
        match self {
            Pure::All => true,
            Pure::No => false,
            Pure::Only(_) => named,
            Pure::AllBut(_) => !named,
        }
    }
}

/// One file of a module, without comments and without what only tests compile.
struct Source {
    path: PathBuf,
    name: String,
    code: String,
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('`').to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> String {
    fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md")
}

/// What stands between the two marks `<!-- name -->`.
fn part(document: &str, name: &str) -> String {
    let mark = format!("<!-- {name} -->");
    let mut parts = document.split(&mark);
    let part = parts.nth(1).unwrap_or_default().to_owned();
    assert_eq!(parts.count(), 1, "{mark} does not stand there twice");
    part
}

/// Of each module, how far down it is in the diagram: 0 is the top.
fn depths(document: &str) -> BTreeMap<String, usize> {
    let mut depths = BTreeMap::new();
    let diagram = part(document, "layers");
    let layers = diagram.lines().filter_map(|line| line.split('|').nth(1));
    for (depth, modules) in layers.enumerate() {
        for module in modules.split_whitespace() {
            let before = depths.insert(module.to_owned(), depth);
            assert!(before.is_none(), "{module} is in the diagram twice");
        }
    }
    depths
}

/// The rows of the table: `module | uses | pure | what it does`.
fn rows(document: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for line in part(document, "modules").lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, module, uses, pure, _, _] = cells[..] else {
            continue;
        };
        if !module.starts_with('`') {
            continue;
        }
        let row = Row {
            uses: uses
                .split(", ")
                .filter(|u| !u.is_empty())
                .map(unquoted)
                .collect(),
            pure: Pure::parse(pure),
        };
        rows.insert(unquoted(module), row);
    }
    rows
}

/// The top-level modules, as `lib.rs` lists them.
fn modules() -> BTreeSet<String> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// All sources of a module that take part in the program.
fn sources(module: &str) -> Vec<Source> {
    let src = root().join("src");
    let mut sources = vec![];
    let mut left = vec![src.join(format!("{module}.rs")), src.join(module)];
    let mut only_tests = BTreeSet::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") && path.exists() {
            let text = fs::read_to_string(&path).unwrap();
            let (code, tests) = without_tests(&text);
            let folder = if path.ends_with("mod.rs") {
                path.parent().unwrap().to_owned()
            } else {
                path.with_extension("")
            };
            only_tests.extend(tests.iter().map(|name| folder.join(name)));
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            sources.push(Source { path, name, code });
        }
    }
    sources.retain(|source| {
        let module = source.path.with_extension("");
        !only_tests.iter().any(|test| module.starts_with(test))
    });
    assert!(!sources.is_empty(), "module {module} has sources");
    sources
}

/// The text without comments and test modules, and the names of the test modules in files of their
/// own.
///
/// The code is formatted by rustfmt, so an item ends at the first line that closes it at its own
/// depth.
fn without_tests(text: &str) -> (String, Vec<String>) {
    let mut code = String::new();
    let mut files = vec![];
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let depth = line.len() - line.trim_start().len();
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") {
            continue;
        }
        if trimmed != "#[cfg(test)]" {
            code.push_str(line.split(" // ").next().unwrap());
            code.push('\n');
            continue;
        }
        let item = lines
            .find(|line| !line.trim_start().starts_with("#["))
            .expect("an item after #[cfg(test)]")
            .trim_start();
        let name = item.trim_end_matches(';').rsplit(' ').next().unwrap();
        if item.ends_with(';') {
            files.push(name.to_owned());
        } else {
            let close = format!("{}}}", " ".repeat(depth));
            lines.find(|line| *line == close).expect("its end");
        }
    }
    (code, files)
}

/// The modules that a source uses by `crate::NAME`.
fn used(source: &Source) -> BTreeSet<String> {
    let path = source.path.display();
    assert!(
        !source.code.contains("crate::{"),
        "{path}: one line for each `use crate::NAME`"
    );
    let name = |rest: &str| -> String {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    source.code.split("crate::").skip(1).map(name).collect()
}

#[test]
fn the_diagram_and_the_table_have_every_module_once() {
    let document = document();
    let in_table: BTreeSet<_> = rows(&document).into_keys().collect();
    let in_diagram: BTreeSet<_> = depths(&document).into_keys().collect();
    assert_eq!(in_table, modules(), "the table against src/lib.rs");
    assert_eq!(in_diagram, modules(), "the diagram against src/lib.rs");
}

#[test]
fn the_table_states_what_each_module_uses() {
    for (module, row) in rows(&document()) {
        let mut used: BTreeSet<_> = sources(&module).iter().flat_map(used).collect();
        used.remove(&module);
        assert_eq!(row.uses, used, "what {module} uses: the table, the code");
    }
}

#[test]
fn modules_use_only_layers_below() {
    let document = document();
    let depths = depths(&document);
    for (module, row) in rows(&document) {
        for used in row.uses {
            assert!(
                depths[&used] > depths[&module],
                "{module} uses {used}, which is not below it"
            );
        }
    }
}

#[test]
fn pure_files_are_pure() {
    let document = document();
    let rows = rows(&document);
    let pure = |module: &String| matches!(rows[module].pure, Pure::All | Pure::AllBut(_));
    for (module, row) in &rows {
        let sources = sources(module);
        for file in row.pure.files() {
            assert!(
                sources.iter().any(|s| s.name == *file),
                "{module} has no {file}"
            );
        }
        for source in sources.iter().filter(|s| row.pure.covers(&s.name)) {
            let path = source.path.display();
            for word in IMPURE.iter().chain(&SOCKETS) {
                assert!(!has_word(&source.code, word), "{path} is pure: {word}");
            }
            for other in used(source).iter().filter(|other| *other != module) {
                assert!(pure(other), "{path} is pure and uses {other}");
            }
            if module == "drill" {
                for part in used_in_drill(source) {
                    let is_pure = PURE_PARTS_OF_DRILL.contains(&part.as_str());
                    assert!(is_pure, "{path} is pure and uses drill::{part}");
                }
            }
        }
    }
}

#[test]
fn no_file_leaves_its_module_but_by_crate() {
    for module in modules() {
        for source in sources(&module) {
            let below = source.path.strip_prefix(root().join("src")).unwrap();
            let levels = below.components().count() - usize::from(source.name == "mod.rs");
            let way_out = "super::".repeat(levels);
            assert!(
                !source.code.contains(&way_out),
                "{}: say `crate::`",
                below.display()
            );
        }
    }
}

#[test]
fn files_are_written_over_in_one_place() {
    let src = root().join("src");
    let mut writers: BTreeSet<String> = BTreeSet::new();
    for source in modules().iter().flat_map(|module| sources(module)) {
        if WRITING.iter().any(|word| source.code.contains(word)) {
            let file = source.path.strip_prefix(&src).unwrap();
            writers.insert(file.to_str().unwrap().to_owned());
        }
    }
    let listed: BTreeSet<String> = WRITERS.map(|(file, _)| file.to_owned()).into();
    let more: Vec<_> = writers.difference(&listed).collect();
    assert!(
        more.is_empty(),
        "by crate::files, or with a reason above: {more:?}"
    );
    let gone: Vec<_> = listed.difference(&writers).collect();
    assert!(gone.is_empty(), "listed above, and no writers: {gone:?}");
}

/// The parts of `drill` in the document, in order: each with the parts that it uses.
fn drill_parts(document: &str) -> Vec<(String, BTreeSet<String>)> {
    let table = part(document, "drill parts");
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, uses, _, _] = cells[..] else {
            return None;
        };
        let uses = uses.split(", ").filter(|used| !used.is_empty());
        name.starts_with('`')
            .then(|| (unquoted(name), uses.map(unquoted).collect()))
    });
    rows.collect()
}

/// The sources of `drill` by its parts, which are the files and folders directly in it. Without
/// `mod.rs`, which only declares them.
fn sources_of_drill() -> BTreeMap<String, Vec<Source>> {
    let folder = root().join("src/drill");
    let mut parts: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for source in sources("drill") {
        let below = source.path.strip_prefix(&folder).unwrap();
        if below != Path::new("mod.rs") {
            let part = below.iter().next().unwrap().to_str().unwrap();
            let part = part.trim_end_matches(".rs").to_owned();
            parts.entry(part).or_default().push(source);
        }
    }
    parts
}

/// The parts of `drill` that a source uses by `crate::drill::NAME`.
fn used_in_drill(source: &Source) -> BTreeSet<String> {
    let path = source.path.display();
    assert!(
        !source.code.contains("crate::drill::{"),
        "{path}: one line for each `use crate::drill::NAME`"
    );
    let code = &source.code;
    let names = code.split("crate::drill::").skip(1).map(|rest| {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    });
    names.collect()
}

#[test]
fn the_parts_of_drill_use_only_parts_above_them_in_the_table() {
    let stated = drill_parts(&document());
    let sources = sources_of_drill();
    let names: BTreeSet<_> = stated.iter().map(|(name, _)| name).collect();
    assert_eq!(names, sources.keys().collect(), "the table, src/drill");
    let mut above = BTreeSet::new();
    for (name, uses) in &stated {
        let mut used: BTreeSet<_> = sources[name].iter().flat_map(used_in_drill).collect();
        used.remove(name);
        assert_eq!(*uses, used, "what {name} uses: the table, the code");
        for part in &used {
            assert!(above.contains(part), "{name} uses {part}: a circle");
        }
        above.insert(name.clone());
    }
}

#[test]
fn no_file_of_drill_leaves_its_part_but_by_crate() {
    for source in sources_of_drill().into_values().flatten() {
        let below = source.path.strip_prefix(root().join("src/drill")).unwrap();
        let levels = below.components().count() - usize::from(source.name == "mod.rs");
        assert!(
            !source.code.contains(&"super::".repeat(levels)),
            "{}: say `crate::drill::`",
            source.path.display()
        );
    }
}

/// The code of each module of the crate, by the module's path from the root.
type Code = BTreeMap<Vec<String>, String>;

/// The code of all modules that take part in the program.
fn code_of_all() -> Code {
    let src = root().join("src");
    let all = modules();
    let sources = all.iter().flat_map(|module| sources(module));
    let by_path = sources.map(|source| {
        let file = source.path.strip_prefix(&src).unwrap().with_extension("");
        let mut path: Vec<String> = file
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        path.pop_if(|last| last == "mod");
        (path, source.code)
    });
    by_path.collect()
}

/// The paths that begin at `text`: one, or those of a group in braces.
fn paths_at(text: &str) -> Vec<Vec<String>> {
    if let Some(group) = text.strip_prefix('{') {
        let (mut depth, mut begin, mut found) = (0, 0, vec![]);
        for (at, c) in group.char_indices() {
            let ends = depth == 0 && matches!(c, ',' | '}');
            if ends {
                found.extend(paths_at(group[begin..at].trim_start()));
                begin = at + 1;
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
        }
        return found;
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    if name.is_empty() {
        return vec![];
    }
    let longer = rest.strip_prefix("::").map(paths_at).unwrap_or_default();
    let mut paths: Vec<Vec<String>> = longer
        .into_iter()
        .map(|path| [vec![name.to_owned()], path].concat())
        .collect();
    if paths.is_empty() {
        paths.push(vec![name.to_owned()]);
    }
    paths
}

/// The module that has `path`: a name that a module only imports from one of its parts is of that
/// part.
fn module_of(code: &Code, path: &[String]) -> Vec<String> {
    let mut module = vec![];
    for name in path {
        let below = [module.clone(), vec![name.clone()]].concat();
        if code.contains_key(&below) {
            module = below;
            continue;
        }
        let own = code.get(&module).map(String::as_str).unwrap_or_default();
        let imports = own.split("use ").skip(1).flat_map(|rest| {
            let rest = rest.strip_prefix("self::").unwrap_or(rest);
            paths_at(rest)
        });
        let from = imports
            .filter(|import| import.len() > 1 && import.last() == Some(name))
            .map(|import| [module.clone(), vec![import[0].clone()]].concat())
            .find(|part| code.contains_key(part));
        return from.unwrap_or(module);
    }
    module
}

/// The modules that the code of the module at `path` uses.
fn used_by(code: &Code, path: &[String]) -> BTreeSet<Vec<String>> {
    let text = &code[path];
    let mut used = BTreeSet::new();
    for (at, _) in text.match_indices("super::") {
        // The first of several says how many there are.
        if text[..at].ends_with("super::") {
            continue;
        }
        let mut base = path.to_vec();
        let mut rest = &text[at..];
        while let Some(next) = rest.strip_prefix("super::") {
            base.pop();
            rest = next;
        }
        for path in paths_at(rest) {
            used.insert(module_of(code, &[base.clone(), path].concat()));
        }
    }
    for rest in text.split("crate::").skip(1) {
        used.extend(paths_at(rest).iter().map(|path| module_of(code, path)));
    }
    used
}

/// Of each module that has parts: each part with the other parts that it uses, whatever is below
/// them included.
fn uses_of_parts(code: &Code) -> BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> {
    let mut uses: BTreeMap<_, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for path in code.keys() {
        for used in used_by(code, path) {
            let common = path.iter().zip(&used).take_while(|(a, b)| a == b).count();
            // A module and a part of it may use each other.
            if let (Some(part), Some(other)) = (path.get(common), used.get(common)) {
                let parts = uses.entry(path[..common].to_vec()).or_default();
                parts.entry(part.clone()).or_default().insert(other.clone());
            }
        }
    }
    uses
}

/// Each module whose parts use each other in a circle, with the parts of one.
fn circles(code: &Code) -> Vec<(String, Vec<String>)> {
    let mut found = vec![];
    for (module, mut uses) in uses_of_parts(code) {
        // Whatever uses nothing that is left is in no circle.
        loop {
            let left: BTreeSet<_> = uses.keys().cloned().collect();
            uses.retain(|_, used| used.iter().any(|part| left.contains(part)));
            if uses.len() == left.len() {
                break;
            }
        }
        if let Some(first) = uses.keys().next() {
            let mut way = vec![first.clone()];
            while way[..way.len() - 1]
                .iter()
                .all(|part| part != way.last().unwrap())
            {
                let used = &uses[way.last().unwrap()];
                way.push(
                    used.iter()
                        .find(|part| uses.contains_key(*part))
                        .unwrap()
                        .clone(),
                );
            }
            found.push((module.join("::"), way));
        }
    }
    found
}

#[test]
fn the_parts_of_a_module_do_not_use_each_other_in_a_circle() {
    assert_eq!(circles(&code_of_all()), []);
}

#[test]
fn a_circle_through_a_group_a_reexport_or_a_submodule_is_found() {
    let code = |modules: &[(&str, &str)]| -> Code {
        let path = |name: &str| name.split("::").map(str::to_owned).collect();
        let modules = modules.iter();
        modules
            .map(|(name, text)| (path(name), (*text).to_owned()))
            .collect()
    };
    let of_b = |text| {
        code(&[
            ("m", "pub use a::A;"),
            ("m::a", "use super::b::B;"),
            ("m::b", text),
        ])
    };
    for circle in [
        "use super::a::A;",
        "use super::{X, a::{A, C}};",
        "use super::A;",
        "fn f() { crate::m::a::A }",
    ] {
        let found = circles(&of_b(circle));
        assert_eq!(found.len(), 1, "{circle}");
        assert_eq!(found[0].0, "m", "{circle}");
    }
    for none in ["", "use super::X;", "use crate::n::A;"] {
        assert_eq!(circles(&of_b(none)), [], "{none}");
    }
    let from_below = code(&[
        ("m", ""),
        ("m::a", "use super::b::c::C;"),
        ("m::b", ""),
        ("m::b::c", "use super::super::a::A;"),
    ]);
    assert_eq!(circles(&from_below).len(), 1);
}

#[test]
fn every_source_file_is_a_module_of_the_crate() {
    let mut left = vec![root().join("src")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let folder = path.parent().unwrap();
        let is_root = folder == root().join("src") && matches!(&*name, "lib" | "main");
        if path.extension().is_none_or(|end| end != "rs") || is_root {
            continue;
        }
        // A mod.rs is the module of its folder.
        let (name, folder) = match name.as_str() {
            "mod" => (
                folder.file_name().unwrap().to_str().unwrap().to_owned(),
                folder.parent().unwrap(),
            ),
            _ => (name, folder),
        };
        let parents = [
            folder.join("mod.rs"),
            folder.with_extension("rs"),
            folder.join("lib.rs"),
            folder.join("main.rs"),
        ];
        let wanted = format!("mod {name};");
        let declared = parents.iter().any(|parent| {
            let text = fs::read_to_string(parent).unwrap_or_default();
            text.lines().any(|line| {
                line.strip_suffix(&wanted)
                    .is_some_and(|before| before.is_empty() || before.ends_with(' '))
            })
        });
        assert!(declared, "{} is not compiled", path.display());
    }
}

/// The parts that the list in a module's head names: of "- `a`, `b`: text; `c`: text" they are `a`,
/// `b` and `c`. rustdoc checks the names that are links.
fn parts_named_in_head(text: &str) -> Vec<String> {
    let mut items: Vec<String> = vec![];
    let mut in_item = false;
    for line in text.lines().map_while(|line| line.strip_prefix("//!")) {
        if let Some(item) = line.strip_prefix(" - ") {
            items.push(item.to_owned());
            in_item = true;
        } else if let Some(more) = line.strip_prefix("   ").filter(|_| in_item) {
            let item = items.last_mut().expect("an item");
            *item = format!("{item} {more}");
        } else {
            in_item = false;
        }
    }
    let quoted = |name: &str| -> Option<String> {
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.chars().all(is_name).then(|| name.to_owned())
    };
    let labels = items.iter().flat_map(|item| item.split("; "));
    let labels = labels.filter_map(|part| Some(part.split_once(": ")?.0));
    let names = labels.map(|label| label.split(", ").map(quoted).collect::<Option<Vec<_>>>());
    names.flatten().flatten().collect()
}

#[test]
fn the_lists_in_the_heads_of_modules_name_parts_that_exist() {
    let mut left = vec![root().join("src")];
    let (mut named, mut missing) = (0, vec![]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        if path.extension().is_none_or(|end| end != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let declared = text.lines().filter_map(|line| line.strip_suffix(';'));
        let declared = declared.filter_map(|line| match line.rsplit_once("mod ")? {
            (before, name) if before.is_empty() || before.starts_with("pub") => Some(name),
            _ => None,
        });
        let declared: BTreeSet<&str> = declared.collect();
        // The lists of a file without parts are about something else.
        if declared.is_empty() {
            continue;
        }
        for name in parts_named_in_head(&text) {
            named += 1;
            if !declared.contains(name.as_str()) {
                missing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(named > 50, "no lists are seen");
    assert_eq!(missing, [] as [String; 0]);
}

#[test]
fn names_in_heads_are_found() {
    let text = "//! A `x`: y\n//!\n//! - `a`, `b_2`: what; `c`:\n//!   more of `d`: e; `f`: g\n\
                //! - [`h`]: i\n//! - `J`: k\n//! - no `l`: m\n//!\n//!   `n`: o\n\n//! - `p`: q\n";
    assert_eq!(parts_named_in_head(text), ["a", "b_2", "c", "f"]);
}

/// What is in scope everywhere: a type of the same name would hide it. Without `Result`, for a
/// module's own alias of it is idiomatic.
const PRELUDE: [&str; 33] = [
    "AsMut",
    "AsRef",
    "Box",
    "Clone",
    "Copy",
    "Debug",
    "Default",
    "DoubleEndedIterator",
    "Drop",
    "Eq",
    "ExactSizeIterator",
    "Extend",
    "Fn",
    "FnMut",
    "FnOnce",
    "From",
    "FromIterator",
    "Future",
    "Hash",
    "Into",
    "IntoFuture",
    "IntoIterator",
    "Iterator",
    "Option",
    "Ord",
    "PartialEq",
    "PartialOrd",
    "Send",
    "Sized",
    "String",
    "Sync",
    "Vec",
    "Unpin",
];

/// The types that `code` defines, those inside of an `impl` or a function left out.
fn types_defined_in(code: &str) -> Vec<&str> {
    let definition = |line| {
        let mut words = str::split_whitespace(line)
            .skip_while(|word| word.starts_with("pub") || word.ends_with(')'));
        let is_type = matches!(
            words.next()?,
            "struct" | "enum" | "union" | "trait" | "type"
        );
        let mut name = words.next()?.split(|c: char| !c.is_alphanumeric());
        is_type.then(|| name.next()).flatten()
    };
    let at_the_margin = code.lines().filter(|line| !line.starts_with(' '));
    at_the_margin.filter_map(definition).collect()
}

#[test]
fn no_two_types_have_one_name_and_none_that_of_the_prelude() {
    let code = code_of_all();
    let mut defined_in: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, text) in &code {
        for name in types_defined_in(text) {
            defined_in.entry(name).or_default().push(path.join("::"));
        }
    }
    assert!(defined_in.len() > 100, "no types are seen: {defined_in:?}");
    let hidden = PRELUDE.map(|name| (name, defined_in.get(name)));
    let hidden: Vec<_> = hidden.iter().filter(|(_, by)| by.is_some()).collect();
    assert!(hidden.is_empty(), "{hidden:#?}");
    defined_in.retain(|_, modules| modules.len() > 1);
    assert!(defined_in.is_empty(), "{defined_in:#?}");
}

#[test]
fn definitions_of_types_are_found() {
    let code = "pub struct A {\n    pub type X;\n}\nenum B<T> {}\npub(in crate::x) struct C;\n\
                type D<'a> = E<'a>;\nimpl F for A {\n    type G = H;\n}\nuse x::trait_y;\n";
    assert_eq!(types_defined_in(code), ["A", "B", "C", "D"]);
}

/// `word` stands in `code`, and not as the end of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        !code[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

// The rules above hold nothing if the reader of the code sees nothing.

#[test]
fn tests_and_comments_are_left_out_and_the_rest_is_not() {
    let text = "use crate::a;\n// crate::b\n#[cfg(test)]\nmod tests {\n    use crate::c;\n}\n\
                #[cfg(test)]\nmod more;\nfn f() {\n    #[cfg(test)]\n    fn g() {\n        \
                crate::d::h();\n    }\n    crate::e::h(); // crate::g\n}\n";
    let (code, files) = without_tests(text);
    let source = Source {
        path: PathBuf::new(),
        name: String::new(),
        code,
    };
    assert_eq!(
        used(&source),
        BTreeSet::from(["a".to_owned(), "e".to_owned()])
    );
    assert_eq!(files, ["more"]);
}

#[test]
fn impure_words_are_found_where_they_are_used() {
    for (module, word) in [
        ("ledger", "File"),
        ("client", "tokio"),
        ("writer", "rand::"),
    ] {
        let found = sources(module).iter().any(|s| has_word(&s.code, word));
        assert!(found, "{word} in {module}");
    }
    assert!(!has_word("operand::x", "rand::"));
}
