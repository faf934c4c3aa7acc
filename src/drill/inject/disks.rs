//! Disks that take no writes any more, under a node and under the ledger.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::drill::judge::Told;
use crate::ledger::{self, LedgerReader};
use crate::writer::WriteFailure;

use super::{GO_ON_LIMIT, GroundError, LOOK_AGAIN, Scene, Trouble};

/// How long a node or the writer may take to say what is wrong. A node looks every 0.1 s; a writer that writes little
/// takes a while to fill the last page of its ledger.
const SAY_LIMIT: Duration = Duration::from_secs(30);

impl Scene<'_> {
    pub(super) async fn full_disk(&mut self, p: &str) -> Result<(), Trouble> {
        let before = self.ground.log_of(p).len();
        self.strike(format!("the disk of {p} is full"));
        self.ground.disk_of(p)?.fill().map_err(GroundError::from)?;
        self.failover_from(p).await?;
        self.hear(p, before, "free space").await
    }

    pub(super) async fn full_disk_of_ledger(&mut self) -> Result<(), Trouble> {
        self.strike("the disk of the ledger is full".into());
        let disk = self.ground.disk_of_ledger()?;
        disk.fill().map_err(GroundError::from)?;
        self.steps.begin("observe");
        let Ok((claimed, failure)) = timeout(SAY_LIMIT, self.load.ended()).await else {
            return Err(Trouble::Missed("the writer did not end".into()));
        };
        let said = match failure {
            Some(WriteFailure::Ledger(error @ ledger::Error::Full { .. })) => error.to_string(),
            other => return Err(Trouble::Missed(format!("the writer ended by {other:?}"))),
        };
        self.note_told("the writer", "free space", &said);
        if let Some(summary) = claimed {
            let path = self.ground.ledger();
            let held = acknowledged_in(&path).map_err(|e| Trouble::Missed(e.to_string()))?;
            if summary.acknowledged > held {
                return Err(Trouble::Missed(format!(
                    "the writer claims {} acknowledged records, the ledger holds {held}",
                    summary.acknowledged
                )));
            }
        }
        self.ground.heal()?;
        self.did("there is space again; the run is resumed".into());
        self.load.resume();
        self.writes_go_on(GO_ON_LIMIT).await
    }

    pub(super) async fn read_only_state(&mut self, p: &str) -> Result<(), Trouble> {
        let sentinel = self.ground.lab.sentinels.first().map(|n| n.name.clone());
        let before = self.ground.log_of(p).len();
        self.strike(format!(
            "the state folder of {p} is read-only, and it is killed"
        ));
        for name in sentinel.iter().map(String::as_str).chain([p]) {
            let disk = self.ground.disk_of(name)?;
            disk.make_read_only().map_err(GroundError::from)?;
        }
        self.ground.kill_node(p)?;
        self.ground.start_node(p)?;
        self.did(format!("{p} started again"));
        self.failover_from(p).await?;
        self.hear(p, before, "make it writable").await?;
        let deadline = Instant::now() + SAY_LIMIT;
        while !self.ground.has_ended(p)? {
            self.pause(deadline, &format!("{p} to end"), LOOK_AGAIN)
                .await?;
        }
        Ok(())
    }

    /// Waits until the node says that this helps, in what it has said since.
    pub(super) async fn hear(
        &mut self,
        node: &str,
        since: usize,
        remedy: &'static str,
    ) -> Result<(), Trouble> {
        let deadline = Instant::now() + SAY_LIMIT;
        loop {
            let log = self.ground.log_of(node);
            let mut lines = log.get(since..).unwrap_or_default().lines();
            if let Some(line) = lines.find(|line| line.contains(remedy)) {
                self.note_told(node, remedy, line);
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.note_told(node, remedy, "");
                return Ok(());
            }
            self.pause(deadline, "an error", LOOK_AGAIN).await?;
        }
    }

    /// Keeps what was said; it is judged with everything else.
    pub(super) fn note_told(&mut self, by: &str, remedy: &'static str, said: &str) {
        // Reports are passed on; the folder of the run is of this machine.
        let folder = self.ground.folder().display().to_string();
        self.told = Some(Told {
            by: by.to_owned(),
            remedy,
            said: said
                .contains(remedy)
                .then(|| said.trim().replace(&folder, ".")),
        });
    }
}

/// How many records the ledger holds as acknowledged.
fn acknowledged_in(path: &std::path::Path) -> Result<u64, ledger::Error> {
    let mut sum = 0;
    for entry in LedgerReader::open(path)? {
        if let ledger::Entry::Settled(settled) = entry?
            && settled.outcome.is_acknowledged()
        {
            sum += settled.seqs.iter().map(|s| s.end - s.start).sum::<u64>();
        }
    }
    Ok(sum)
}
