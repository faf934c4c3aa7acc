use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

#[test]
fn users_that_a_server_wrote_while_it_let_everyone_in_are_gone_when_it_has_some() {
    let root = tempfile::tempdir().unwrap();
    let mut lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
    lab.security = lab.security.for_state(root.path());
    let node = lab.sentinels[0].clone();
    let started = |acl: bool, lab: &mut Lab| {
        lab.security.acl = acl;
        let state = StateDir::open(root.path(), lab, &node).unwrap();
        state.apply(lab, &node).unwrap()
    };
    let file = started(false, &mut lab);
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("user default on nopass ~* &* +@all\n");
    fs::write(&file, text).unwrap();
    started(true, &mut lab);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        !text.contains("\nuser ") && text.contains("\naclfile "),
        "{text}"
    );
}

#[test]
fn what_was_set_aside_does_not_come_back_over_what_the_node_has_served_with() {
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
    let node = &lab.data_nodes[0];
    let state = StateDir::open(root.path(), &lab, node).unwrap();
    let write = |state: &StateDir, text| {
        fs::create_dir_all(state.files()).unwrap();
        fs::write(state.files().join("x.manifest"), text).unwrap();
    };
    write(&state, "old");
    state.set_aside().unwrap();
    write(&state, "new");
    state.keep_set_aside().unwrap();
    state.keep_set_aside().unwrap();
    drop(state);
    let state = StateDir::open(root.path(), &lab, node).unwrap();
    let read = |folder: PathBuf| fs::read_to_string(folder.join("x.manifest")).unwrap();
    assert_eq!(read(state.files()), "new");
    assert_eq!(read(state.data().join("appendonlydir.kept-1")), "old");
}

#[test]
fn what_was_set_aside_comes_back_until_it_is_discarded() {
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
    let node = &lab.data_nodes[0];
    let content = |state: &StateDir| fs::read_to_string(state.files().join("x.manifest")).ok();
    let write = |state: &StateDir, text| {
        fs::create_dir_all(state.files()).unwrap();
        fs::write(state.files().join("x.manifest"), text).unwrap();
    };
    let state = StateDir::open(root.path(), &lab, node).unwrap();
    write(&state, "old");
    state.set_aside().unwrap();
    write(&state, "half a copy");
    state.set_aside().unwrap();
    assert!(!state.has_data());
    write(&state, "another half");
    drop(state);
    let state = StateDir::open(root.path(), &lab, node).unwrap();
    assert_eq!(content(&state).as_deref(), Some("old"));
    state.set_aside().unwrap();
    write(&state, "a copy");
    state.discard_aside().unwrap();
    drop(state);
    let state = StateDir::open(root.path(), &lab, node).unwrap();
    assert_eq!(content(&state).as_deref(), Some("a copy"));
}

/// The state of the first data node, in a folder of its own.
fn opened() -> (tempfile::TempDir, Lab, Node, StateDir) {
    let root = tempfile::tempdir().unwrap();
    let mut lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
    lab.security.acl = false;
    let node = lab.data_nodes[0].clone();
    let state = StateDir::open(root.path(), &lab, &node).unwrap();
    (root, lab, node, state)
}

#[test]
fn what_killed_rewrites_left_is_gone_before_the_next_start_and_nothing_else() {
    let (_root, lab, node, state) = opened();
    let left = [
        "temp-4711.rdb",
        "temp-1764318000.4711.rdb",
        "temp-rewriteaof-4711.aof",
        "temp-rewriteaof-bg-4711.aof",
    ];
    let kept = [
        "dump.rdb",
        "temp-notes.txt",
        "temp-mine.rdb",
        "x-temp-1.rdb",
    ];
    for name in left.iter().chain(&kept) {
        fs::write(state.data().join(name), "x").unwrap();
    }
    state.apply(&lab, &node).unwrap();
    let is_there = |name: &&str| state.data().join(name).exists();
    assert_eq!(left.into_iter().filter(is_there).count(), 0);
    assert_eq!((state.take_unfinished(), state.take_unfinished()), (4, 0));
    assert_eq!(
        kept.iter().filter(|name| is_there(name)).count(),
        kept.len()
    );
}

#[test]
fn parts_that_a_rewrite_has_replaced_are_removed_and_none_where_the_list_is_not_whole() {
    let (_root, lab, node, state) = opened();
    let files = state.files();
    fs::create_dir_all(&files).unwrap();
    let write = |name: &str, text: &str| fs::write(files.join(name), text).unwrap();
    let parts = [
        "appendonly.aof.2.base.rdb",
        "appendonly.aof.2.incr.aof",
        "appendonly.aof.3.base.rdb",
        "appendonly.aof.3.incr.aof",
        "appendonly.aof.20.incr.aof",
    ];
    let all = || parts.map(|name| files.join(name).exists());
    for name in parts.iter().chain(&["written-by", "notes.aof"]) {
        write(name, "x");
    }
    let list = "file appendonly.aof.3.base.rdb seq 3 type b\n\
        file appendonly.aof.3.incr.aof seq 3 type i\n";
    for damaged in [
        "",
        "nonsense\n",
        &format!("{list}file appendonly.aof.4.incr.aof seq 4 type i\n"),
    ] {
        write(AOF_LIST, damaged);
        state.apply(&lab, &node).unwrap();
        assert_eq!(all(), [true; 5], "{damaged}");
    }
    write(AOF_LIST, list);
    state.apply(&lab, &node).unwrap();
    assert_eq!(all(), [false, false, true, true, false]);
    assert!(files.join("written-by").exists() && files.join("notes.aof").exists());
}

#[test]
fn a_config_file_that_is_gone_empty_or_unreadable_is_made_anew_beside_the_data() {
    let root = tempfile::tempdir().unwrap();
    let mut lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
    lab.security.acl = false;
    let node = &lab.data_nodes[0];
    let open = || StateDir::open(root.path(), &lab, node).unwrap();
    let state = open();
    assert!(state.first_start());
    let file = state.apply(&lab, node).unwrap();
    let manifest = state.files().join("appendonly.aof.manifest");
    fs::create_dir_all(state.files()).unwrap();
    fs::write(&manifest, "data").unwrap();
    drop(state);
    let before = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    for damage in [
        None,
        Some(&b""[..]),
        Some(b"# nothing\n\n"),
        Some(b"\xff\xfe"),
    ] {
        if let Some(damage) = damage {
            fs::write(&file, damage).unwrap();
        }
        let state = open();
        assert!(!state.first_start() && state.has_data(), "{damage:?}");
        state.apply(&lab, node).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), before, "{damage:?}");
    }
    // What it was is there still.
    assert_eq!(
        fs::read(file.with_extension("damaged")).unwrap(),
        b"\xff\xfe"
    );
    // Half of it: without `appendonly yes` the server would start without its data.
    let half = before.replace("appendonly yes\n", "");
    fs::write(&file, &half).unwrap();
    open().apply(&lab, node).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\nappendonly yes\n"), "{text}");
    assert_eq!(fs::read_to_string(&manifest).unwrap(), "data");
}

#[test]
fn a_sentinel_without_its_memory_is_seeded_with_what_the_others_name() {
    let root = tempfile::tempdir().unwrap();
    let mut lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
    lab.security.acl = false;
    let node = &lab.sentinels[0];
    let state = StateDir::open(root.path(), &lab, node).unwrap();
    assert!(state.first_start() && !state.state_lost());
    let file = state.apply(&lab, node).unwrap();
    drop(state);
    fs::write(&file, "").unwrap();
    let mut state = StateDir::open(root.path(), &lab, node).unwrap();
    assert!(state.state_lost());
    state.learn(Elected {
        address: lab.data_nodes[1].socket(),
        epoch: 7,
    });
    let text = fs::read_to_string(state.apply(&lab, node).unwrap()).unwrap();
    for line in [
        "sentinel monitor halab 127.0.0.12 6379 2",
        "sentinel config-epoch halab 7",
        "sentinel leader-epoch halab 7",
        "sentinel current-epoch 7",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[test]
fn a_state_of_another_lab_is_refused_with_what_keeps_the_data() {
    let (root, mut lab, node, state) = opened();
    state.apply(&lab, &node).unwrap();
    drop(state);
    let moved = lab.relocated([127, 0, 7]);
    lab.primary_name = "other".into();
    for (lab, what) in [
        (&lab, "primary_name was halab"),
        (&moved, "redis-a was 127.0.0.11:6379"),
    ] {
        let node = &lab.data_nodes[0];
        let refused = StateDir::open(root.path(), lab, node)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains(what) && refused.contains("`halab move`"),
            "{refused}"
        );
        assert!(!refused.contains("remove"), "{refused}");
    }
}

#[test]
fn the_state_of_a_node_is_for_its_owner_alone() {
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::parse(include_str!("../../../lab.toml"), None).unwrap();
    let node = &lab.data_nodes[0];
    let _state = StateDir::open(root.path(), &lab, node).unwrap();
    let folder = root.path().join(&node.name);
    let mode = fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
