//! The rules: numbers in, findings out. Each limit states its source and is tested on both sides.

mod host;
mod node;
mod reserve;

pub use host::{HostFacts, judge_host};
pub use node::{NodeFacts, judge_node};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_explains_every_code_once() {
        let document = include_str!("../../../docs/operations/capacity.md");
        let findings = judge_host(&HostFacts {
            disk: Some(Ok(crate::capacity::DiskSpace {
                free: 0,
                inodes_free: None,
            })),
            ..HostFacts::default()
        });
        let of_node = judge_node(&NodeFacts::default());
        for code in findings.iter().chain(&of_node).map(|f| f.code) {
            let rows = document.matches(&format!("| `{code}` |")).count();
            assert_eq!(rows, 1, "{code}");
        }
    }
}
