//! Another server in place of the one that runs, as an upgrade of its package makes it: one node after the other.

use crate::drill::report::NodesKind;

use super::{Scene, Trouble};

impl Scene<'_> {
    /// The Sentinels first: they hold no data, so a server that does not run here shows before a data node is touched. The
    /// primary last: it hands over to one that reads what it writes.
    pub(super) async fn rolling_upgrade(&mut self, primary: &str) -> Result<(), Trouble> {
        let to = self.ground.replace_server()?;
        self.did(format!("{to} takes the place of the server"));
        let lab = self.ground.lab.clone();
        let replicas = lab.data_nodes.iter().filter(|node| node.name != primary);
        for node in lab.sentinels.iter().chain(replicas) {
            self.did(format!("SIGTERM to the node {}", node.name));
            self.start_anew(&node.name).await?;
        }
        if self.ground.nodes() == NodesKind::Stock {
            // There is nothing better.
            self.strike(format!("SENTINEL FAILOVER from {primary}"));
            // The old primary can't copy from the new one before it is upgraded, too.
            self.call_failover(primary).await?;
            self.did(format!("SIGTERM to {primary}"));
        } else {
            self.strike(format!("SIGTERM to the node {primary}"));
        }
        self.start_anew(primary).await?;
        for node in &lab.data_nodes {
            let runs = self.ground.version_of(&node.name).await?;
            if runs != to {
                return Err(Trouble::Missed(format!(
                    "{} runs {runs}, not {to}",
                    node.name
                )));
            }
        }
        Ok(())
    }

    async fn start_anew(&mut self, name: &str) -> Result<(), Trouble> {
        let one = [name.to_owned()];
        self.ground.stop_nodes(&one).await?;
        self.steps.begin("observe");
        self.did(format!("{name} has ended; started again"));
        self.ground.start_node(name)?;
        self.recovered().await?;
        Ok(())
    }
}
