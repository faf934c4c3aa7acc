//! The lab moves to other addresses, with its data, and back.

use std::path::Path;

use crate::checker::Verdict;
use crate::config::Lab;
use crate::drill::lab_toml::{free_octets, readdressed};
use crate::drill::report::NodesKind;
use crate::drill::run::at_work;
use crate::node::move_state;
use crate::verifier;

use super::{Scene, Trouble};

impl Scene<'_> {
    /// Stops the lab as one act, moves it, and has a second writer at work there. Then the way back, to the first writer, which
    /// has waited all the while.
    pub(super) async fn move_lab(&mut self) -> Result<(), Trouble> {
        if self.ground.nodes() != NodesKind::Ours {
            return Err(Trouble::Refused(
                "only nodes of this program know that their lab has moved".into(),
            ));
        }
        let first = self.ground.lab.clone();
        let moved = moved(&first)?;
        self.stop_all_of(&first).await?;
        self.move_to(&moved)?;
        self.ground.heal()?;
        self.did("all started again, each at another address".into());
        self.recovered_as(&moved).await?;
        self.written_and_read_back(&moved).await?;
        self.stop_all_of(&moved).await?;
        self.move_to(&first)?;
        self.start_all().await
    }

    /// As an operator does: the addresses in `lab.toml`, then `halab move`.
    fn move_to(&mut self, lab: &Lab) -> Result<(), Trouble> {
        self.ground.restate(|text| readdressed(text, lab))?;
        let state = self.ground.folder().join("state");
        let done = move_state(&state, lab, None);
        done.map_err(|error| Trouble::Refused(error.to_string()))?;
        let at: Vec<String> = lab.nodes().map(|n| n.address.to_string()).collect();
        self.did(format!("moved to {}", at.join(", ")));
        Ok(())
    }

    /// A writer of that lab acknowledges what can be read back there.
    async fn written_and_read_back(&mut self, lab: &Lab) -> Result<(), Trouble> {
        let ledger = self.ground.folder().join("moved.ledger");
        let load = self.load.beside(lab, &ledger);
        let worked = at_work(&load, self.enough, self.stop).await;
        let ended = load.finish().await;
        worked?;
        let failed = |error: String| Trouble::Missed(format!("where the lab has moved: {error}"));
        ended.map_err(|error| failed(error.to_string()))?;
        self.nothing_lost(lab, &ledger).await
    }

    async fn nothing_lost(&self, lab: &Lab, ledger: &Path) -> Result<(), Trouble> {
        let options = verifier::VerifyOptions {
            ledger: ledger.to_owned(),
            scan: false,
            faults: Vec::new(),
            wait: verifier::DEFAULT_WAIT,
            given_up: None,
        };
        let read = verifier::run(lab, &options, self.stop, |_| {}).await;
        let read = read.map_err(|error| Trouble::Refused(error.to_string()))?;
        match read.verdict {
            Verdict::Holds => Ok(()),
            other => Err(Trouble::Missed(format!(
                "what was written where the lab has moved: {other:?}"
            ))),
        }
    }
}

/// The same nodes, at addresses that no node has.
fn moved(lab: &Lab) -> Result<Lab, Trouble> {
    let mut octets = free_octets(lab);
    let mut moved = lab.clone();
    for node in moved.data_nodes.iter_mut().chain(&mut moved.sentinels) {
        let [a, b, c, _] = node.address.octets();
        let free = octets.next();
        let free = free.ok_or_else(|| Trouble::Refused("no address is free".into()))?;
        node.address = [a, b, c, free].into();
    }
    Ok(moved)
}
