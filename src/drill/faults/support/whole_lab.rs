//! All nodes stopped and started together.

use std::time::Duration;

use crate::closing::close;
use crate::config::{Lab, Node};
use crate::drill::faults::{FaultContext, InjectionError};

use super::waiting::WRITES_LIMIT;

/// Time that replicas may take to catch up when the lab is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);

impl FaultContext<'_> {
    /// Closes the lab and stops all nodes; stock nodes are only stopped.
    pub(in crate::drill::faults) async fn stop_all(&mut self) -> Result<(), InjectionError> {
        let lab = self.environment.lab.clone();
        self.stop_all_of(&lab).await
    }

    /// The same with the addresses of that lab.
    pub(in crate::drill::faults) async fn stop_all_of(
        &mut self,
        lab: &Lab,
    ) -> Result<(), InjectionError> {
        self.begin_fault("every node stopped, as one act");
        if !self.environment.nodes.are_stock() {
            let closed = close(lab, &self.observer.connector, CLOSE_LIMIT).await;
            let closed = closed.map_err(InjectionError::refused)?;
            if !closed.others.is_empty() {
                let others = closed.others.join(", ");
                let text = format!("not level when the lab was closed: {others}");
                return Err(InjectionError::Missed(text));
            }
        }
        self.terminate_all(lab).await
    }

    /// SIGTERM to all nodes, the Sentinels first, so that they start no failover.
    pub(in crate::drill::faults) async fn terminate_all(
        &mut self,
        lab: &Lab,
    ) -> Result<(), InjectionError> {
        let names = |nodes: &[Node]| nodes.iter().map(|n| n.name.clone()).collect::<Vec<_>>();
        let nodes = &mut self.environment.nodes;
        nodes.terminate(&names(&lab.sentinels)).await?;
        nodes.terminate(&names(&lab.data_nodes)).await?;
        Ok(())
    }

    /// Starts all nodes, and waits until writes continue.
    pub(in crate::drill::faults) async fn start_all(&mut self) -> Result<(), InjectionError> {
        self.record("all started again");
        self.environment.restore()?;
        self.phases.begin("observe");
        self.await_writes(WRITES_LIMIT).await
    }

    /// SIGKILL to all nodes, then starts them.
    pub(in crate::drill::faults) async fn crash_all(&mut self) -> Result<(), InjectionError> {
        self.begin_fault("SIGKILL to every node");
        for node in self.environment.lab.clone().nodes() {
            self.environment.nodes.kill(&node.name)?;
        }
        self.start_all().await
    }
}
