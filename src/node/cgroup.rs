//! A cgroup for the node and its server, so that what they use can be told apart (by cAdvisor).
//!
//! With cgroup v1 a folder in each hierarchy, with v2 one folder; the same path in all: `halab/NAME@ADDRESS`.
//! The address is in it, since labs on one machine may share names. Nothing is limited. Making one needs
//! permission; a node without it is a node all the same. What is left empty `./lab down` removes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Node;

/// Hierarchies of cgroup v1 that count something.
const V1: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "blkio"];
/// Controllers of cgroup v2 that count something.
const V2: [&str; 4] = ["+cpu", "+memory", "+pids", "+io"];

/// Moves this process, and with it the children that it is to have, into the node's cgroup. Returns its
/// path in the hierarchies.
///
/// # Errors
/// When there is no cgroup file system, or it can't be written.
pub(super) fn join(node: &Node) -> io::Result<String> {
    join_below(Path::new("/sys/fs/cgroup"), node)
}

fn join_below(root: &Path, node: &Node) -> io::Result<String> {
    let name = format!("{}@{}", node.name, node.address);
    if root.join("cgroup.controllers").exists() {
        let parent = root.join("halab");
        fs::create_dir_all(&parent)?;
        // One at a time: a kernel may lack one of them. What is not counted is not shown, and no more.
        for folder in [root, &parent] {
            for controller in V2 {
                let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
            }
        }
        enter(&parent.join(&name))?;
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
            join_below(root.path(), &node()).unwrap(),
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
        join_below(root.path(), &node()).unwrap();
        let parent = root.path().join("halab");
        assert!(parent.join("cgroup.subtree_control").exists());
        let procs = fs::read_to_string(parent.join("redis-a@127.0.0.11/cgroup.procs")).unwrap();
        assert_eq!(procs, std::process::id().to_string());
    }

    #[test]
    fn without_a_cgroup_file_system_it_says_so() {
        let root = tempfile::tempdir().unwrap();
        let error = join_below(root.path(), &node()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
