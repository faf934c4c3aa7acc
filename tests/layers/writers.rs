//! The rule that files are created, overwritten and renamed by `crate::files`, with exceptions.

use std::collections::BTreeSet;

use crate::source::{Module, Sources};

/// The ends of the paths of functions that create, overwrite or rename a file.
const WRITING: [[&str; 2]; 6] = [
    ["fs", "write"],
    ["fs", "copy"],
    ["fs", "rename"],
    ["File", "create"],
    ["File", "create_new"],
    ["File", "create_buffered"],
];
/// The methods of `OpenOptions` that do so if their argument is `true`.
const OPTIONS: [&str; 3] = ["create", "create_new", "truncate"];

/// The files that contain such code, and why they do not use `crate::files` for it.
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

/// Whether a module writes files itself.
fn writes(sources: &Sources, module: &Module) -> bool {
    let options = &module.mentions.set_to_true;
    let functions = sources.definitions(module);
    OPTIONS.iter().any(|option| options.contains(*option))
        || functions.iter().any(|path| {
            WRITING
                .iter()
                .any(|end| path.ends_with(&end.map(str::to_owned)))
        })
}

#[test]
fn files_are_written_over_in_one_place() {
    let sources = Sources::of_crate();
    let writers = sources.program().filter(|module| writes(sources, module));
    let writers: BTreeSet<_> = writers
        .map(|module| module.file.to_str().expect("UTF-8"))
        .collect();
    let listed: BTreeSet<&str> = WRITERS.map(|(file, _)| file).into();
    let more: Vec<_> = writers.difference(&listed).collect();
    assert!(
        more.is_empty(),
        "by crate::files, or with a reason above: {more:?}"
    );
    let gone: Vec<_> = listed.difference(&writers).collect();
    assert!(gone.is_empty(), "listed above, and no writers: {gone:?}");
}

#[test]
fn code_that_writes_a_file_is_found_however_it_is_written() {
    let is_found = |code: &str| {
        let sources = Sources::parse(code);
        sources.program().any(|module| writes(&sources, module))
    };
    for code in [
        "fn f() { std::fs::write(a, b); }",
        "use std::fs; fn f() { fs::rename(a, b); }",
        "use std::fs as disk; fn f() { disk::copy(a, b); }",
        "use std::fs::write; fn f() { write(a, b); }",
        "use std::fs::File; fn f() { File::create(a); }",
        "use std::fs::File as Handle; fn f() { Handle::create_new(a); }",
        "fn f() { tokio::select! { x = tokio::fs::write(a, b) => {} } }",
        "fn f() { OpenOptions::new().create(true).open(a); }",
        "fn f() { assert!(options.truncate(true).open(a).is_ok()); }",
    ] {
        assert!(is_found(code), "{code}");
    }
    for code in [
        "fn f() { std::fs::read(a); }",
        "fn f() { options.create(false); text.truncate(5); }",
        "// fs::write(a, b)",
        "#[cfg(test)] fn f() { std::fs::write(a, b); }",
        "fn f() { crate::files::write(a, b); }",
    ] {
        assert!(!is_found(code), "{code}");
    }
}
