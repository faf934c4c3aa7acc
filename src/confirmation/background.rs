//! The background tasks of a run: discovery and keeper. When the list of members changes, they end
//! with the session, and new ones begin with the new members.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::client::Connector;
use crate::config::Lab;
use crate::sentinel::SentinelClients;

use super::discovery::{Discovery, LastProblem};
use super::keeper::Keeper;
use super::members::Membership;
use super::session::Session;
use super::witness::Witness;
use super::{Settings, SharedObserver};

/// Runs discovery and keeper, first for the nodes of `lab.toml`. When the members change, both end
/// with the session, and new ones begin for the new members.
///
/// Returns only if one of them has ended by itself; a panic of one continues.
pub async fn run(
    stated: Lab,
    settings: Settings,
    sessions: watch::Sender<Option<Arc<Session>>>,
    observer: SharedObserver,
    last_problem: LastProblem,
) {
    let stated = Arc::new(stated);
    let mut lab = stated.clone();
    loop {
        let (changed, mut changes) = mpsc::channel(1);
        let membership = Membership {
            stated: stated.clone(),
            lab,
            sessions: sessions.clone(),
            changed,
        };
        let mut tasks = JoinSet::new();
        let connector = Connector::new(&membership.lab, settings.user);
        let panel = Arc::new(SentinelClients::new(&membership.lab, connector.clone()));
        let discovery = Discovery::start(
            &membership,
            panel.clone(),
            connector.clone(),
            (observer.clone(), last_problem.clone()),
            &mut tasks,
        );
        let witness = Witness::new(panel, connector.clone(), membership.lab.timing.raise_limit);
        Keeper::start(
            &membership,
            &settings,
            connector,
            (discovery, witness),
            observer.clone(),
            &mut tasks,
        );
        tokio::select! {
            Some(now) = changes.recv() => lab = Arc::new(now),
            // This task ends for the same reason.
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended
                    && let Ok(panicked) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panicked);
                }
                return;
            }
        }
        tasks.shutdown().await;
        if let Some(session) = sessions.send_replace(None) {
            session.end();
        }
    }
}
