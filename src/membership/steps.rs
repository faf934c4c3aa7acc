//! The steps of a change, one after the other.

use tokio::time::{Instant, sleep};

use crate::client::{ClientError, classify};
use crate::protocol::WriteError;
use crate::protocol::member_change::{Goal, NextStep, next};
use crate::protocol::member_list::{MemberKind, MemberList, Standing};

use super::command::MemberCommand;
use super::observer::ConditionObserver;
use super::primary::find_primary;
use super::{ChangeStep, MemberError, POLL_INTERVAL, STATEMENT_LIMIT};

/// The result of one attempt at a step.
enum StepOutcome {
    GoalReached,
    Done,
    /// The step has to wait: this is missing.
    Waiting(String),
}

impl MemberCommand<'_> {
    /// Takes one step after the other until the goal is reached.
    pub(super) async fn run_steps(&mut self, goal: &Goal) -> Result<(), MemberError> {
        let mut deadline = Instant::now() + self.options.step_limit;
        let begun = Instant::now();
        let mut reported = String::new();
        let mut observer = ConditionObserver::default();
        loop {
            if self.options.stop.is_cancelled() {
                return Err(MemberError::Stopped);
            }
            let missing = match self.step(goal, &mut observer).await? {
                StepOutcome::GoalReached => return Ok(()),
                StepOutcome::Done => {
                    deadline = Instant::now() + self.options.step_limit;
                    continue;
                }
                StepOutcome::Waiting(missing) => missing,
            };
            if self.options.dry_run && begun.elapsed() >= STATEMENT_LIMIT {
                return Err(MemberError::Refused(format!(
                    "the change would have to wait now: {missing}"
                )));
            }
            if Instant::now() >= deadline {
                return Err(MemberError::TimedOut {
                    limit: self.options.step_limit,
                    missing,
                });
            }
            if reported != missing {
                (self.options.on_step)(&ChangeStep::Waiting(missing.clone()));
                reported = missing;
            }
            tokio::select! {
                () = sleep(POLL_INTERVAL) => {}
                () = self.options.stop.cancelled() => {}
            }
        }
    }

    async fn step(
        &mut self,
        goal: &Goal,
        observer: &mut ConditionObserver,
    ) -> Result<StepOutcome, MemberError> {
        let primary = match find_primary(self.lab, &self.connector).await {
            Ok(primary) => primary,
            // A failover may be in progress.
            Err(error) => return Ok(StepOutcome::Waiting(error.to_string())),
        };
        let conditions = observer
            .observe(&self.connector, &primary, goal, self.lab.quorum)
            .await;
        let member_list = match next(&primary.stored.member_list, goal, &conditions) {
            NextStep::Done => return Ok(StepOutcome::GoalReached),
            NextStep::Wait(missing) => return Ok(StepOutcome::Waiting(missing)),
            NextStep::Refuse(why) => return Err(MemberError::Refused(why)),
            NextStep::Write(_) if primary.closed => {
                return Err(MemberError::Refused(
                    "the lab is closed and refuses writes: reopen it with halab close --reopen, or restart it".into(),
                ));
            }
            NextStep::Write(member_list) => member_list,
        };
        let step = describe(&member_list, goal);
        if self.options.dry_run {
            self.record_step(format!("first step: {step}"));
            return Ok(StepOutcome::GoalReached);
        }
        let written = async {
            let mut conn = self.connector.open(primary.node.socket()).await?;
            conn.change_member_list(Some(&primary.stored), &member_list)
                .await
        };
        match written.await {
            Ok(()) => {
                self.record_step(format!("{step} (members, version {})", member_list.version));
                Ok(StepOutcome::Done)
            }
            // The next attempt reads the list, which shows whether the change was made.
            Err(error) => Ok(StepOutcome::Waiting(write_failure(&error))),
        }
    }
}

fn describe(next: &MemberList, goal: &Goal) -> String {
    let (kind, name) = match goal {
        Goal::Added { kind, name, .. } | Goal::Removed { kind, name } => (*kind, name),
    };
    match (next.standing(kind, name), kind, goal) {
        (None, _, _) => format!("writers no longer ask {name}"),
        (Some(Standing::Counted), MemberKind::Data, Goal::Added { .. }) => {
            format!("every writer needs the confirmation of {name}")
        }
        (Some(Standing::Counted), MemberKind::Sentinel, Goal::Added { .. }) => {
            format!("every writer asks {name}")
        }
        (Some(Standing::Counted), MemberKind::Data, Goal::Removed { .. }) => {
            format!("{name} may no longer be promotable")
        }
        (Some(Standing::Counted), MemberKind::Sentinel, Goal::Removed { .. }) => {
            format!("{name} may no longer lead failovers")
        }
        (Some(Standing::Full), MemberKind::Data, _) => format!("{name} may be promotable"),
        (Some(Standing::Full), MemberKind::Sentinel, _) => format!("{name} may lead failovers"),
    }
}

fn write_failure(error: &ClientError) -> String {
    match error {
        ClientError::Redis { source, .. } if source.code() == Some("NOREPLICAS") => {
            format!("{error}: too few replicas are in sync")
        }
        ClientError::Redis { to, source } if classify(source) == WriteError::ConnectionLost => {
            format!("{to} closed the connection; reading the list of members again")
        }
        _ => error.to_string(),
    }
}
