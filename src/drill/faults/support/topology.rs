//! The nodes of the lab, their addresses and links.

use std::net::Ipv4Addr;

use rand::seq::SliceRandom;

use crate::config::Node;
use crate::drill::environment::EnvironmentError;
use crate::drill::faults::{FaultContext, InjectionError};

/// A link, as the addresses of its two ends.
type AddressPair = (Ipv4Addr, Ipv4Addr);

impl FaultContext<'_> {
    /// The node with that name.
    pub(in crate::drill::faults) fn node(&self, name: &str) -> Result<Node, InjectionError> {
        let node = self.environment.lab.node(name).cloned();
        Ok(node.ok_or_else(|| EnvironmentError::no_node(name))?)
    }

    /// A data node that is not that primary.
    pub(in crate::drill::faults) fn replica_of(
        &self,
        primary: &str,
    ) -> Result<String, InjectionError> {
        let mut nodes = self.environment.lab.data_nodes.iter();
        nodes
            .find(|node| node.name != primary)
            .map(|node| node.name.clone())
            .ok_or_else(|| InjectionError::missed("there is no replica"))
    }

    /// The first Sentinel.
    pub(in crate::drill::faults) fn first_sentinel(&self) -> Result<String, InjectionError> {
        let sentinel = self.environment.lab.sentinels.first();
        sentinel
            .map(|node| node.name.clone())
            .ok_or_else(|| InjectionError::missed("there is no Sentinel"))
    }

    pub(in crate::drill::faults) fn address(&self, name: &str) -> Ipv4Addr {
        let node = self.environment.lab.node(name);
        node.map_or(Ipv4Addr::UNSPECIFIED, |node| node.address)
    }

    /// The addresses of all nodes but one.
    pub(in crate::drill::faults) fn other_addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let nodes = self.environment.lab.nodes();
        let others = nodes.filter(|node| node.name != name);
        others.map(|node| node.address).collect()
    }

    /// All links of these nodes with other nodes, each once.
    pub(in crate::drill::faults) fn links_of(&self, names: &[&str]) -> Vec<AddressPair> {
        let mut links = Vec::new();
        for name in names {
            let from = self.address(name);
            for to in self.other_addresses(name) {
                if !links.contains(&(to, from)) {
                    links.push((from, to));
                }
            }
        }
        links
    }

    /// Kills that many Sentinels, chosen at random.
    pub(in crate::drill::faults) fn kill_sentinels(
        &mut self,
        count: usize,
    ) -> Result<(), InjectionError> {
        let sentinels = self.environment.lab.sentinels.iter();
        let mut names: Vec<String> = sentinels.map(|node| node.name.clone()).collect();
        names.shuffle(self.rng);
        for name in names.into_iter().take(count) {
            self.record(format!("SIGKILL to the node {name}"));
            self.environment.nodes.kill(&name)?;
        }
        Ok(())
    }
}
