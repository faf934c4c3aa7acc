//! A cgroup for the node and its server, so that cAdvisor can measure them separately.
//!
//! With cgroup v1 a folder in each hierarchy, with v2 one folder; the same path in all:
//! `halab/NAME@ADDRESS`. The address is in it, since labs on one machine may share names. Nothing
//! is limited. Making one needs permission: root's, or with v2 a cgroup above this process that is
//! delegated to its user, as systemd does for the services and terminals of a logged-in user. A
//! node without one works too. `./lab down` removes empty ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Node;

/// Hierarchies of cgroup v1 that count something.
const V1: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "blkio"];
/// Controllers of cgroup v2 that count something.
const V2: [&str; 4] = ["+cpu", "+memory", "+pids", "+io"];

/// Moves this process, and with it the children that it is to have, into the node's cgroup. Returns
/// its path in the hierarchies.
///
/// # Errors
/// When there is no cgroup file system, or it can't be written.
pub(super) fn join(node: &Node) -> io::Result<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    join_below(Path::new("/sys/fs/cgroup"), &own, node)
}

/// `own` is what the kernel says of the cgroups that this process is in.
fn join_below(root: &Path, own: &str, node: &Node) -> io::Result<String> {
    let name = format!("{}@{}", node.name, node.address);
    if root.join("cgroup.controllers").exists() {
        let mut refused = None;
        for place in places(own) {
            match join_v2(&root.join(place), &name) {
                Ok(()) => {
                    let path = Path::new("/").join(place).join("halab").join(name);
                    return Ok(path.display().to_string());
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        return Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
    } else {
        let hierarchies: Vec<PathBuf> = V1.iter().map(|c| root.join(c)).collect();
        let there = hierarchies.iter().filter(|path| path.is_dir());
        let mut joined = false;
        for hierarchy in there {
            enter(&hierarchy.join("halab").join(&name))?;
            joined = true;
        }
        if !joined {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "there is no cgroup file system",
            ));
        }
    }
    Ok(format!("/halab/{name}"))
}

/// The cgroups (v2) in which the nodes' cgroup may be created, in order of preference: the root,
/// then the ancestors of this process's cgroup, and that cgroup itself, from the top down. Without
/// delegation, none permits it.
fn places(own: &str) -> Vec<&Path> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let mut places: Vec<&Path> = Path::new(own.unwrap_or_default()).ancestors().collect();
    places.reverse();
    places
}

fn join_v2(place: &Path, name: &str) -> io::Result<()> {
    let parent = place.join("halab");
    fs::create_dir_all(&parent)?;
    // One at a time, because the kernel may lack one of them. Below the root, a cgroup that
    // contains processes can't enable any. The metrics of a controller that is not enabled are
    // missing.
    for folder in [place, &parent] {
        for controller in V2 {
            let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
        }
    }
    let cgroup = parent.join(name);
    enter(&cgroup).inspect_err(|_| {
        // It was created, but a process may enter it only with write access to the common ancestor
        // of its old and its new cgroup.
        let _ = fs::remove_dir(&cgroup);
        let _ = fs::remove_dir(&parent);
    })
}

fn enter(cgroup: &Path) -> io::Result<()> {
    fs::create_dir_all(cgroup)?;
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Lab;

    fn node() -> Node {
        let lab = Lab::parse(include_str!("../../lab.toml"), None).unwrap();
        lab.data_nodes[0].clone()
    }

    #[test]
    fn with_v1_it_joins_every_hierarchy_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        for hierarchy in ["cpuacct", "memory", "freezer"] {
            fs::create_dir(root.path().join(hierarchy)).unwrap();
        }
        assert_eq!(
            join_below(root.path(), "0::/\n", &node()).unwrap(),
            "/halab/redis-a@127.0.0.11"
        );
        for (hierarchy, joined) in [("cpuacct", true), ("memory", true), ("freezer", false)] {
            let procs = root
                .path()
                .join(hierarchy)
                .join("halab/redis-a@127.0.0.11/cgroup.procs");
            assert_eq!(procs.exists(), joined, "{hierarchy}");
        }
        assert!(!root.path().join("cpu").exists());
    }

    #[test]
    fn with_v2_it_joins_one_folder_with_controllers() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu memory").unwrap();
        join_below(root.path(), "0::/some.slice\n", &node()).unwrap();
        let parent = root.path().join("halab");
        assert!(parent.join("cgroup.subtree_control").exists());
        let procs = fs::read_to_string(parent.join("redis-a@127.0.0.11/cgroup.procs")).unwrap();
        assert_eq!(procs, std::process::id().to_string());
    }

    #[test]
    fn without_a_cgroup_file_system_it_says_so() {
        let root = tempfile::tempdir().unwrap();
        let error = join_below(root.path(), "", &node()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn with_v2_the_root_is_tried_first_then_from_above_what_is_around_this_process() {
        let own = "13:pids:/x\n0::/user.slice/user@1000.service/app.slice/lab.scope\n";
        let expected = [
            "",
            "user.slice",
            "user.slice/user@1000.service",
            "user.slice/user@1000.service/app.slice",
            "user.slice/user@1000.service/app.slice/lab.scope",
        ];
        assert_eq!(places(own), expected.map(Path::new));
        assert_eq!(places("0::/\n"), [Path::new("")]);
        assert_eq!(places(""), [Path::new("")]);
    }

    #[test]
    fn with_v2_the_first_place_that_takes_it_is_joined() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "").unwrap();
        // No folder can be made there, whoever asks.
        fs::write(root.path().join("halab"), "").unwrap();
        fs::create_dir_all(root.path().join("a.slice/b.scope")).unwrap();
        let joined = join_below(root.path(), "0::/a.slice/b.scope\n", &node()).unwrap();
        assert_eq!(joined, "/a.slice/halab/redis-a@127.0.0.11");
        fs::write(root.path().join("a.slice/b.scope/halab"), "").unwrap();
        fs::remove_dir_all(root.path().join("a.slice/halab")).unwrap();
        fs::write(root.path().join("a.slice/halab"), "").unwrap();
        assert!(join_below(root.path(), "0::/a.slice/b.scope\n", &node()).is_err());
    }
}
