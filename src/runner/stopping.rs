//! Nodes that are stopped on request, while the others run. Nothing here waits.

use std::process::ExitStatus;
use std::time::Instant;

use rustix::process::Signal;

use super::process::{LabProcess, PlannedStop};
use super::{Runner, STOP_LIMIT};

impl Runner {
    /// The names of all nodes.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.name.as_str())
    }

    /// Whether a node is running, also if it is stopping.
    pub fn is_running(&mut self, name: &str) -> bool {
        self.find(name).is_some_and(LabProcess::running)
    }

    /// Whether a node has been told to stop by [`Runner::begin_stop`], and has not ended.
    pub fn is_stopping(&mut self, name: &str) -> bool {
        self.find(name).is_some_and(|node| node.is_stopping())
    }

    /// Tells a running node to stop. It is not one that has exited by itself then. A stop that has
    /// begun goes on.
    pub fn begin_stop(&mut self, name: &str) {
        let Some(node) = self.find(name) else { return };
        // A second SIGTERM would end the node at once, and leave its server to the kernel.
        if node.running() && !node.is_stopping() {
            node.signal(Signal::TERM);
            node.stop = Some(PlannedStop::Asked(Instant::now() + STOP_LIMIT));
        }
    }

    /// Kills the nodes that did not stop in time. Returns those that have ended since the last
    /// call, with their exit status.
    pub fn stopped(&mut self) -> Vec<(String, ExitStatus)> {
        let now = Instant::now();
        let ended = |node: &mut LabProcess| Some((node.name.clone(), node.proceed(now)?));
        self.nodes.iter_mut().filter_map(ended).collect()
    }

    /// Whether every node has exited by itself: none is running, and none was stopped on request.
    pub fn all_exited(&mut self) -> bool {
        let mut nodes = self.nodes.iter_mut();
        nodes.all(|node| node.stop.is_none() && !node.running())
    }

    fn find(&mut self, name: &str) -> Option<&mut LabProcess> {
        self.nodes.iter_mut().find(|node| node.name == name)
    }
}
