//! A restore that is cut short: what is on disk after each step is what `kill -9` there leaves. On
//! a copy of it the nodes are started, and the same restore is done again.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use super::files::BASE;
use super::tests::{data, later, never, ordered, put};
use super::*;
use crate::backup::rdb::tests::mark;
use crate::node::state::config_file::conf_path;

/// What the data nodes hold before the restore, and what is ordered.
struct Before {
    name: &'static str,
    a: Option<Mark>,
    b: Option<Mark>,
    order: RestoreOrder,
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The thread that empties it goes on while it is copied.
        if entry.file_name() == "trash" {
            continue;
        }
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The marks of all copies of that node, wherever they are, but for what is only being put
/// together.
fn copies(root: &Path, node: &str) -> Vec<String> {
    let entries = fs::read_dir(root.join(node).join("data"));
    let mut found = Vec::new();
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let counts = name.starts_with("appendonlydir") && !name.contains(".resto");
        if let (true, Ok(DataCopy::Marked(mark))) = (counts, copy_in(&entry.path())) {
            found.push(mark.to_text());
        }
    }
    found
}

fn here<'a>(lab: &'a Lab, order: &'a RestoreOrder) -> HostRestore<'a> {
    let name = order.node.as_ref().unwrap_or(&lab.seed_primary);
    HostRestore {
        lab,
        order,
        node: lab.node(name).unwrap(),
        manifest: folder::describe(&order.backup).unwrap(),
        not_seen: Vec::new(),
    }
}

/// What a start of all data nodes finds: what each holds, and whether it was never started.
fn started(lab: &Lab, root: &Path) -> Vec<(DataCopy, bool)> {
    let each = lab.data_nodes.iter().map(|node| {
        let state = StateDir::open(root, lab, node).unwrap();
        assert!(!state.restoring().exists() && !state.restored().exists());
        (copy_in(&state.files()).unwrap(), state.first_start())
    });
    each.collect()
}

fn mark_of(copy: &DataCopy) -> Option<&Mark> {
    match copy {
        DataCopy::Marked(mark) => Some(mark),
        _ => None,
    }
}

impl Before {
    fn assert_nothing_is_lost(&self, root: &Path, when: &str) {
        for (node, held) in [("redis-a", &self.a), ("redis-b", &self.b)] {
            let there = copies(root, node);
            let lost = held.as_ref().filter(|m| !there.contains(&m.to_text()));
            assert_eq!(lost, None, "{when}: of {node}");
        }
    }

    /// What the nodes do with what was left is no worse than what they had, or have with the
    /// backup.
    fn assert_start(&self, lab: &Lab, root: &Path, when: &str) {
        let backup = folder::describe(&self.order.backup).unwrap().mark;
        let target = usize::from(self.order.node.as_deref() == Some("redis-b"));
        let found = started(lab, root);
        let is_restored =
            |mark: &Mark| mark.restored.last().map(|r| r.from) == Some(backup.term.number);
        let restored = mark_of(&found[target].0).is_some_and(is_restored);
        for (at, held) in [&self.a, &self.b].into_iter().enumerate() {
            let (copy, first_start) = &found[at];
            let now = mark_of(copy);
            if at == target && restored {
                assert!(!first_start, "{when}");
            } else if now != held.as_ref() {
                // Only where the backup is in place nobody goes on with less than there was.
                assert!(now.is_none() && restored, "{when}: {at} holds {copy}");
            }
        }
        self.assert_nothing_is_lost(root, when);
    }

    fn assert_again(&self, lab: &Lab, root: &Path, when: &str) {
        let order = RestoreOrder {
            root: root.to_owned(),
            ..self.order.clone()
        };
        let here = here(lab, &order);
        let node = here.node.name.clone();
        let again = here.restore(&never(), &mut |_| ());
        let again = again.unwrap_or_else(|error| panic!("{when}: {error}"));
        let files = data(&order, &node).join("appendonlydir");
        let now = copy_in(&files).unwrap();
        assert_eq!(now.to_string(), again.holds, "{when}");
        let copied = fs::read(order.backup.join(folder::DATA)).unwrap();
        assert_eq!(fs::read(files.join(BASE)).unwrap(), copied, "{when}");
        self.assert_nothing_is_lost(root, when);
        for left in ["restoring", "restored"] {
            assert!(!files.with_extension(left).exists(), "{when}: {left}");
        }
        // Nobody on this host goes on with more than the backup, where it is to be given up.
        let (found, backup) = (started(lab, root), here_mark(&order));
        for (node, (copy, _)) in lab.data_nodes.iter().zip(&found) {
            let target = node.name == again.node;
            assert!(target || is_less(&backup, copy), "{when}: {copy}");
        }
    }
}

fn here_mark(order: &RestoreOrder) -> Mark {
    folder::describe(&order.backup).unwrap().mark
}

#[test]
fn a_kill_after_any_step_loses_nothing_and_the_same_command_again_completes() {
    let backup = later(&later(&mark()));
    let (less, more) = (later(&mark()), later(&backup));
    let even_more = later(&more);
    let mut seen = HashSet::new();
    let mut states = 0;
    let (there, gone) = (true, false);
    let (with, without) = (true, false);
    let into_b = Some("redis-b");
    let cases = [
        ("nothing", None, None, None, without, gone),
        ("less", Some(&less), Some(&mark()), None, without, there),
        ("less", Some(&less), None, None, without, gone),
        ("more", Some(&more), Some(&even_more), None, with, there),
        ("more", Some(&even_more), Some(&more), into_b, with, gone),
        ("less and more", Some(&less), Some(&more), None, with, there),
    ];
    for (name, a, b, node, set_aside, conf) in cases {
        let (root, lab, order) = ordered(&backup);
        let before = Before {
            name,
            a: a.cloned(),
            b: b.cloned(),
            order: RestoreOrder {
                node: node.map(str::to_owned),
                set_aside,
                ..order
            },
        };
        for (node, held) in [("redis-a", &before.a), ("redis-b", &before.b)] {
            let Some(held) = held else {
                continue;
            };
            put(&before.order, node, held, None);
            let node = lab.node(node).unwrap();
            if conf {
                let state = StateDir::open(&before.order.root, &lab, node).unwrap();
                state.apply(&lab, node).unwrap();
                assert!(conf_path(state.folder(), node).exists());
            }
        }
        let mut left = Vec::new();
        let restored = here(&lab, &before.order).restore(&never(), &mut |step| {
            let to = root.path().join(format!("left-{}", left.len()));
            copy_tree(&before.order.root, &to);
            left.push((step, to));
        });
        assert!(!restored.unwrap().already);
        for (at, (step, left)) in left.into_iter().enumerate() {
            let when = format!("{}, killed after {step:?}", before.name);
            seen.insert(step);
            states += 1;
            before.assert_nothing_is_lost(&left, &when);
            let copy = |what: &str| {
                let to = root.path().join(format!("{what}-{at}"));
                copy_tree(&left, &to);
                to
            };
            let start = copy("start");
            before.assert_start(&lab, &start, &when);
            before.assert_again(&lab, &copy("again"), &when);
            before.assert_again(&lab, &start, &format!("{when}, then started"));
        }
    }
    let all = [
        Step::Locked,
        Step::FolderMade,
        Step::PartWritten,
        Step::FileWritten,
        Step::PutTogether,
        Step::Whole,
        Step::OldKept,
        Step::InPlace,
        Step::OtherKept,
    ];
    assert_eq!(seen, HashSet::from(all));
    assert!(states > 40, "{states}");
}

/// Data without a mark, as somebody else's server leaves it.
fn put_unmarked(order: &RestoreOrder, node: &str) -> &'static str {
    let files = data(order, node).join("appendonlydir");
    fs::create_dir_all(&files).unwrap();
    let list = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    fs::write(files.join("appendonly.aof.manifest"), list).unwrap();
    let commands = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\ny\r\n";
    fs::write(files.join("appendonly.aof.1.incr.aof"), commands).unwrap();
    commands
}

#[test]
fn data_without_a_mark_is_set_aside_before_its_node_could_copy_the_backup_over_it() {
    let backup = later(&mark());
    for target_holds in [None, Some(later(&backup))] {
        let (root, lab, mut order) = ordered(&backup);
        order.set_aside = true;
        if let Some(held) = &target_holds {
            put(&order, "redis-a", held, None);
        }
        let commands = put_unmarked(&order, "redis-b");
        let mut left = Vec::new();
        let restored = here(&lab, &order).restore(&never(), &mut |step| {
            let to = root.path().join(format!("left-{}", left.len()));
            copy_tree(&order.root, &to);
            left.push((step, to));
        });
        restored.unwrap();
        assert!(left.iter().any(|(step, _)| *step == Step::FollowerKept));
        for (step, left) in left {
            let found = started(&lab, &left);
            let restored = mark_of(&found[0].0).is_some_and(|mark| !mark.restored.is_empty());
            let follows = restored && !matches!(found[1].0, DataCopy::Empty);
            assert!(
                !follows,
                "killed after {step:?}: redis-b holds {}",
                found[1].0
            );
            let data = fs::read_dir(left.join("redis-b/data")).unwrap();
            let kept = data.flatten().any(|entry| {
                let file = entry.path().join("appendonly.aof.1.incr.aof");
                fs::read_to_string(file).is_ok_and(|text| text == commands)
            });
            assert!(kept, "killed after {step:?}");
        }
    }
}

#[test]
fn what_was_set_aside_for_a_copy_comes_back_before_what_a_restore_left() {
    let backup = later(&mark());
    let (_root, lab, order) = ordered(&backup);
    put(&order, "redis-a", &later(&backup), None);
    let files = data(&order, "redis-a").join("appendonlydir");
    fs::rename(&files, files.with_extension("aside")).unwrap();
    // Nobody makes that, for a folder is opened before anything is put in place there.
    put(&order, "redis-a", &mark(), None);
    fs::rename(&files, files.with_extension("restored")).unwrap();
    let found = started(&lab, &order.root);
    assert_eq!(mark_of(&found[0].0), Some(&later(&backup)));
}

/// An order that sets more aside, and its failure when something has come into its place.
fn fails_in_between() -> (tempfile::TempDir, Lab, RestoreOrder, Mark, RestoreError) {
    let backup = later(&mark());
    let more = later(&backup);
    let (root, lab, mut order) = ordered(&backup);
    order.set_aside = true;
    put(&order, "redis-a", &more, None);
    let files = data(&order, "redis-a").join("appendonlydir");
    let failed = here(&lab, &order).restore(&never(), &mut |step| {
        if step == Step::OldKept {
            fs::create_dir(&files).unwrap();
            fs::write(files.join("in the way"), "x").unwrap();
        }
    });
    (root, lab, order, more, failed.unwrap_err())
}

#[test]
fn a_restore_that_fails_after_it_has_set_a_copy_aside_says_where_it_is_and_how_to_bring_it_back() {
    let (_root, lab, order, more, failed) = fails_in_between();
    let message = failed.to_string();
    assert!(!failed.is_refusal(), "{message}");
    let kept = data(&order, "redis-a")
        .canonicalize()
        .unwrap()
        .join("appendonlydir.kept-1");
    for part in ["the data of redis-a is in", &kept.display().to_string()] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // By the letter.
    let line = message.lines().find(|line| line.contains("mv -T")).unwrap();
    let done = Command::new("sh").args(["-ec", line]).status().unwrap();
    assert!(done.success(), "{line}");
    assert!(!kept.exists());
    let found = started(&lab, &order.root);
    assert_eq!(mark_of(&found[0].0), Some(&more), "{message}");
}

#[test]
fn a_restore_that_has_failed_in_between_completes_when_what_was_in_the_way_is_gone() {
    let (_root, lab, order, more, failed) = fails_in_between();
    assert!(failed.to_string().contains("run the same command again"));
    fs::remove_dir_all(data(&order, "redis-a").join("appendonlydir")).unwrap();
    let again = here(&lab, &order).restore(&never(), &mut |_| ()).unwrap();
    let found = started(&lab, &order.root);
    assert_eq!(found[0].0.to_string(), again.holds);
    assert!(copies(&order.root, "redis-a").contains(&more.to_text()));
}
