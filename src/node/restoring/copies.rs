//! The copies that the data nodes hold, against the backup: which of them it may replace.

use std::time::Duration;

use futures_util::future::join_all;

use crate::access::User;
use crate::backup::manifest::Manifest;
use crate::client::{ClientError, Connector};
use crate::config::Lab;
use crate::protocol::copy::{DataCopy, Mark, Relation};

use super::error::{HeldCopy, RestoreError};

/// Limit for a connect or an answer of a node.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
pub(super) const SET_ASIDE: &str = "To continue with the backup all the same, run halab restore --set-aside, which keeps the copies on this host as \
    data/appendonlydir.kept-N";
pub(super) const STOP_FIRST: &str = "To continue with the data of the lab, start its nodes. To continue with the backup, stop the data nodes first; \
    nodes that are started later keep their data and wait for halab choose";

/// A node, its copy, and where that was seen.
pub(super) type SeenCopy = (String, DataCopy, &'static str);

/// The copies of the data nodes that answer, and the nodes whose copy is unknown.
pub(super) async fn seen_up(lab: &Lab) -> (Vec<SeenCopy>, Vec<HeldCopy>) {
    let connector = Connector::new(lab, User::Verifier).with_min_limit(ANSWER_LIMIT);
    let all = lab.data_nodes.iter().map(|node| {
        let connector = &connector;
        async move {
            let ask = async { connector.open(node.socket()).await?.info_and_copy().await };
            let answer: Result<_, ClientError> = ask.await;
            (node.name.clone(), answer)
        }
    });
    let (mut up, mut not_seen) = (Vec::new(), Vec::new());
    for (node, answer) in join_all(all).await {
        let copy = match answer {
            Ok((_, Some(copy))) => {
                up.push((node, copy, "it is up"));
                continue;
            }
            Ok((_, None)) => "not known: it loads its data".to_owned(),
            Err(error) => format!("not known: {error}"),
        };
        let seen = "over the network";
        not_seen.push(HeldCopy { node, copy, seen });
    }
    (up, not_seen)
}

/// Whether the backup may replace a copy: it is empty, or certainly less.
pub(super) fn is_less(backup: &Mark, held: &DataCopy) -> bool {
    let backup = DataCopy::Marked(Box::new(backup.clone()));
    match held {
        DataCopy::Empty => true,
        // Data from outside the lab must not be replaced.
        DataCopy::Unmarked => false,
        DataCopy::Marked(_) => backup.against(held, false) == Relation::Less,
    }
}

pub(super) fn refuse(
    manifest: &Manifest,
    held: Vec<SeenCopy>,
    remedy: &'static str,
) -> Result<(), RestoreError> {
    let more: Vec<HeldCopy> = held
        .into_iter()
        .filter(|(_, copy, _)| !is_less(&manifest.mark, copy))
        .map(|(node, copy, seen)| HeldCopy {
            node,
            copy: copy.to_string(),
            seen,
        })
        .collect();
    if more.is_empty() {
        return Ok(());
    }
    Err(RestoreError::WouldReplace {
        backup: manifest.holds.clone(),
        held: more,
        remedy,
    })
}
