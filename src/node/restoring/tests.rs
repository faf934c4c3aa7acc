use super::files::{BASE, COMMANDS, commands};
use super::*;
use crate::backup::folder::tests::backup_in;
use crate::backup::rdb::tests::{mark, marked};
use crate::protocol::copy::Completeness;

/// A lab at addresses where nothing listens, an order for its seed, and a backup with that mark.
pub(super) fn ordered(backup: &Mark) -> (tempfile::TempDir, Lab, RestoreOrder) {
    let root = tempfile::tempdir().unwrap();
    let mut lab = Lab::parse(include_str!("../../../lab.toml"), None)
        .unwrap()
        .relocated([127, 254, 253]);
    lab.security.acl = false;
    let order = RestoreOrder {
        root: root.path().join("state"),
        node: None,
        backup: backup_in(root.path(), backup),
        set_aside: false,
    };
    (root, lab, order)
}

pub(super) fn data(order: &RestoreOrder, node: &str) -> PathBuf {
    order.root.join(node).join("data")
}

/// What a node with that mark has on disk.
pub(super) fn put(order: &RestoreOrder, node: &str, base: &Mark, then: Option<&Mark>) {
    let files = data(order, node).join("appendonlydir");
    fs::create_dir_all(&files).unwrap();
    let list = "file a.1.base.rdb seq 1 type h\nfile a.2.base.rdb seq 2 type b\nfile a.2.incr.aof seq 2 type i\n";
    fs::write(files.join("a.manifest"), list).unwrap();
    fs::write(files.join("a.2.base.rdb"), marked(base)).unwrap();
    fs::write(
        files.join("a.2.incr.aof"),
        then.map_or(String::new(), commands),
    )
    .unwrap();
}

pub(super) fn later(mark: &Mark) -> Mark {
    mark.next(Some(1), Completeness::Open)
}

pub(super) fn never() -> CancellationToken {
    CancellationToken::new()
}

#[tokio::test]
async fn a_restored_node_has_the_data_and_a_mark_of_another_term() {
    let backup = later(&mark());
    let (_root, lab, order) = ordered(&backup);
    let restored = restore(&lab, &order, &never()).await.unwrap();
    assert_eq!(
        (restored.node.as_str(), restored.kept.len()),
        ("redis-a", 0)
    );
    assert_eq!(restored.not_seen.len(), 2);
    let files = data(&order, "redis-a").join("appendonlydir");
    assert_eq!(fs::read(files.join(BASE)).unwrap(), marked(&backup));
    let DataCopy::Marked(now) = copy_in(&files).unwrap() else {
        panic!("no mark");
    };
    assert_eq!(now.to_string(), restored.holds);
    let (now, was) = (
        DataCopy::Marked(now),
        DataCopy::Marked(Box::new(backup.clone())),
    );
    assert_eq!(now.against(&was, false), Relation::Apart);
    // Once is enough, and a second time would begin another term.
    let again = restore(&lab, &order, &never()).await.unwrap();
    assert_eq!((again.already, again.holds), (true, restored.holds));
    assert!(!restored.already && again.kept.is_empty());
    // Of another backup, or of one that is not as it was, it is none.
    let other = RestoreOrder {
        backup: backup_in(&order.root, &later(&backup)),
        ..order.clone()
    };
    let refused = restore(&lab, &other, &never()).await.unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    let base = fs::read(files.join(BASE)).unwrap();
    fs::write(files.join(BASE), [&base[..], b"x"].concat()).unwrap();
    let refused = restore(&lab, &order, &never()).await.unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    fs::write(files.join(BASE), base).unwrap();
    // The node starts from it.
    StateDir::open(&order.root, &lab, &lab.data_nodes[0]).unwrap();
    assert_eq!(copy_in(&files).unwrap(), now);
}

#[tokio::test]
async fn only_what_is_certainly_less_gives_way_and_it_is_kept() {
    let backup = later(&later(&mark()));
    let (_root, lab, mut order) = ordered(&backup);
    // The commands count, not what they are behind.
    put(&order, "redis-a", &mark(), Some(&later(&backup)));
    put(&order, "redis-b", &mark(), None);
    let refused = restore(&lab, &order, &never()).await.unwrap_err();
    let message = refused.to_string();
    assert!(refused.is_refusal(), "{message}");
    for part in [
        "redis-a holds term 1 (redis-a), mark 4 (on this host)",
        "--set-aside",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("redis-b"), "{message}");
    put(&order, "redis-a", &mark(), Some(&later(&mark())));
    let restored = restore(&lab, &order, &never()).await.unwrap();
    let kept = data(&order, "redis-a")
        .canonicalize()
        .unwrap()
        .join("appendonlydir.kept-1");
    assert_eq!(restored.kept, std::slice::from_ref(&kept));
    assert_eq!(
        fs::read(kept.join("a.2.base.rdb")).unwrap(),
        marked(&mark())
    );
    // That of the other node holds less: it follows.
    let other = data(&order, "redis-b").join("appendonlydir/a.2.base.rdb");
    assert!(other.exists());

    // Somebody's own data, and a newer copy of the other node.
    put(&order, "redis-b", &later(&backup), None);
    let files = data(&order, "redis-a").join("appendonlydir");
    fs::write(files.join(BASE), "something").unwrap();
    fs::write(files.join(COMMANDS), "").unwrap();
    let message = restore(&lab, &order, &never())
        .await
        .unwrap_err()
        .to_string();
    for part in ["redis-a holds data without a mark", "redis-b holds term 1"] {
        assert!(message.contains(part), "{message}");
    }
    order.set_aside = true;
    let restored = restore(&lab, &order, &never()).await.unwrap();
    assert_eq!(restored.kept.len(), 2, "{restored:?}");
    assert!(restored.kept.iter().all(|kept| kept.exists()));
    assert!(!data(&order, "redis-b").join("appendonlydir").exists());
}

#[tokio::test]
async fn what_was_set_aside_for_a_copy_that_is_not_complete_is_seen_too() {
    let backup = later(&mark());
    let (_root, lab, order) = ordered(&backup);
    put(&order, "redis-a", &later(&backup), None);
    let files = data(&order, "redis-a").join("appendonlydir");
    fs::rename(&files, files.with_extension("aside")).unwrap();
    let refused = restore(&lab, &order, &never()).await.unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
}

#[tokio::test]
async fn a_damaged_backup_and_a_node_that_runs_leave_all_as_it_was() {
    let backup = later(&mark());
    let (_root, lab, order) = ordered(&backup);
    put(&order, "redis-a", &mark(), None);
    let before = copy_in(&data(&order, "redis-a").join("appendonlydir")).unwrap();
    let running = StateDir::open(&order.root, &lab, &lab.data_nodes[0]).unwrap();
    let refused = restore(&lab, &order, &never()).await.unwrap_err();
    assert!(
        matches!(refused, RestoreError::State(StateError::InUse(_))),
        "{refused}"
    );
    drop(running);
    let file = order.backup.join(folder::DATA);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let refused = restore(&lab, &order, &never()).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Backup(_)), "{refused}");
    assert_eq!(
        copy_in(&data(&order, "redis-a").join("appendonlydir")).unwrap(),
        before
    );
    fs::write(&file, &whole).unwrap();
    let restored = restore(&lab, &order, &never()).await.unwrap();
    assert_eq!(restored.kept.len(), 1);
    let sentinel = RestoreOrder {
        node: Some("sentinel-1".into()),
        ..order
    };
    assert!(
        !restore(&lab, &sentinel, &never())
            .await
            .unwrap_err()
            .is_refusal()
    );
}

#[tokio::test]
async fn one_that_is_stopped_changes_nothing() {
    let (_root, lab, order) = ordered(&later(&mark()));
    let stop = never();
    stop.cancel();
    let stopped = restore(&lab, &order, &stop).await.unwrap_err();
    assert!(
        stopped.to_string().contains("nothing was changed"),
        "{stopped}"
    );
    let data = data(&order, "redis-a");
    assert!(!data.join("appendonlydir.restoring").exists());
    assert!(!data.join("appendonlydir").exists());
}
