//! Changes to links, disks and clocks of a running lab, and how each is undone.

use std::net::Ipv4Addr;
use std::path::Path;

use super::clock;
use super::disk_latency::{DelayedCalls, DiskLatency};
use super::error::{EnvironmentError, file_error};
use super::network::{Firewall, NetworkError, OUTRUN_BYTES};
use super::tmpfs::Tmpfs;
use super::{Environment, LEDGER};

impl Environment {
    /// The firewall of the drill's network.
    ///
    /// # Errors
    /// When the drill has no network of its own.
    pub fn firewall(&mut self) -> Result<&mut Firewall, EnvironmentError> {
        Ok(self.firewall.as_mut().ok_or(NetworkError::NotOwn)?)
    }

    /// Cuts these links of a node, by the firewall; a container is disconnected from everything.
    ///
    /// # Errors
    /// When that is not possible here.
    pub fn isolate(
        &mut self,
        name: &str,
        links: &[(Ipv4Addr, Ipv4Addr)],
    ) -> Result<(), EnvironmentError> {
        match self.nodes.containers() {
            Some(containers) => containers.disconnect(name)?,
            None => self.firewall()?.cut(links)?,
        }
        Ok(())
    }

    /// Limits the bandwidth between the data nodes so much that the load outruns the replica, until
    /// the links are healed.
    ///
    /// # Errors
    /// When that is not possible here.
    pub fn outrun(&mut self) -> Result<(), EnvironmentError> {
        let nodes: Vec<Ipv4Addr> = self.lab.data_nodes.iter().map(|n| n.address).collect();
        let mut links = Vec::new();
        for (i, from) in nodes.iter().enumerate() {
            links.extend(nodes[i + 1..].iter().map(|to| (*from, *to)));
        }
        Ok(self.firewall()?.slow(&links, OUTRUN_BYTES)?)
    }

    /// Heals all links.
    ///
    /// # Errors
    /// When the kernel or the engine refuses.
    pub fn heal_links(&mut self) -> Result<(), EnvironmentError> {
        let firewall = match &mut self.firewall {
            Some(firewall) => firewall.heal().map_err(EnvironmentError::from),
            None => Ok(()),
        };
        let containers = match self.nodes.containers() {
            Some(containers) => containers.reconnect().map_err(EnvironmentError::from),
            None => Ok(()),
        };
        firewall.and(containers)
    }

    /// The file system of the ledger.
    ///
    /// # Errors
    /// When it has none of its own.
    pub fn disk_of_ledger(&mut self) -> Result<&mut Tmpfs, EnvironmentError> {
        let path = self.folder.join(LEDGER);
        self.disk(&path)
    }

    /// The file system of the state folder of a node.
    ///
    /// # Errors
    /// When it has none of its own.
    pub fn disk_of(&mut self, name: &str) -> Result<&mut Tmpfs, EnvironmentError> {
        let path = self.state_of(name);
        self.disk(&path)
    }

    fn disk(&mut self, path: &Path) -> Result<&mut Tmpfs, EnvironmentError> {
        let mut disks = self.disks.iter_mut();
        let found = disks.find(|disk| disk.is_under(path));
        found.ok_or_else(|| {
            EnvironmentError::Unavailable("the lab has no file systems of its own".into())
        })
    }

    /// Delays the system calls by which the server of a node writes its append-only file.
    ///
    /// # Errors
    /// When its process is not known, or may not be traced.
    pub async fn slow_disk(
        &mut self,
        name: &str,
        calls: DelayedCalls,
    ) -> Result<(), EnvironmentError> {
        let server = self.nodes.server_pid(name).await?;
        // The node itself syncs the file, too.
        let node = match calls {
            DelayedCalls::Syncs => self.nodes.parent_pid(name),
            DelayedCalls::WritesAndSyncs => None,
        };
        for traced in std::iter::once(server).chain(node) {
            let latency = DiskLatency::begin(traced, server, calls).await;
            let latency = latency.map_err(EnvironmentError::Unavailable)?;
            self.slow_disks.push(latency);
        }
        Ok(())
    }

    /// Makes every disk writable and fast again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal_disks(&mut self) -> Result<(), EnvironmentError> {
        self.slow_disks.clear();
        let mut first = Ok(());
        for disk in &mut self.disks {
            first = first.and(disk.heal().map_err(EnvironmentError::from));
        }
        first
    }

    /// Steps the clock of a node's server by an offset to the machine's time, as `+1h`.
    ///
    /// # Errors
    /// When the offset can't be written to its state folder.
    pub fn step_clock(&mut self, name: &str, offset: &str) -> Result<(), EnvironmentError> {
        let state = self.state_of(name);
        self.stepped_clocks.push(state.clone());
        clock::step(&state, offset).map_err(file_error(&state))
    }

    /// Sets every clock back to the machine's time.
    ///
    /// # Errors
    /// When the offset can't be removed from a state folder.
    pub fn heal_clocks(&mut self) -> Result<(), EnvironmentError> {
        let mut first = Ok(());
        for state in self.stepped_clocks.drain(..) {
            first = first.and(clock::reset(&state).map_err(file_error(&state)));
        }
        first
    }

    /// Undoes all changes: links, clocks, disks, then stopped and ended processes. Goes on after an
    /// error, and returns the first.
    ///
    /// # Errors
    /// The first change that could not be undone.
    pub fn restore(&mut self) -> Result<(), EnvironmentError> {
        let links = self.heal_links();
        let clocks = self.heal_clocks();
        let disks = self.heal_disks();
        let nodes = self.nodes.heal();
        links.and(clocks).and(disks).and(nodes)
    }

    /// The changes that are not undone. The bandwidth limit of `outrun` does not count.
    pub fn changes(&self) -> Vec<&'static str> {
        let mut changes = self.nodes.changes();
        if self.firewall.as_ref().is_some_and(Firewall::is_changed) {
            changes.push("changed links");
        }
        if !self.stepped_clocks.is_empty() {
            changes.push("stepped clocks");
        }
        if !self.slow_disks.is_empty() || self.disks.iter().any(Tmpfs::is_changed) {
            changes.push("changed disks");
        }
        changes
    }
}
