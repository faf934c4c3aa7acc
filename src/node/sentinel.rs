//! A Sentinel node: starts its server, quickens its periods, and ends with it; whether it leads
//! failovers is in `roster`.

mod roster;

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use crate::access::User;
use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node, NodeKind};
use crate::protocol::vote::Elected;
use crate::sentinel::Panel;

use super::binary::ServerBinary;
use super::certificate::Certificate;
use super::machine::SENTINEL_INFO_PERIOD;
use super::metrics::NodeMetrics;
use super::server::Server;
use super::state::StateDir;
use super::statement::Statement;
use super::{NodeError, Shutdown};

/// Period with which Sentinels tell each other, through the data nodes, who is primary. Also the
/// pace at which a returning old primary is demoted: four periods.
const PUBLISH_PERIOD: Duration = Duration::from_millis(250);
/// Period with which a Sentinel pings. Down-after counts from the first ping that is not answered,
/// so silence is seen after up to this time more; a second is Sentinel's own.
const PING_PERIOD: Duration = Duration::from_millis(500);
/// How long a Sentinel may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Period of a look at the server's clock.
const CLOCK_PERIOD: Duration = Duration::from_secs(1);
/// Pause between two questions of a Sentinel that has lost its memory.
const LEARN_AGAIN: Duration = Duration::from_secs(1);
/// A step back by less is over before a new start would be.
const STEP_MS: i64 = 2000;

/// What is the node's own, whatever the lab.
#[derive(Debug)]
pub(super) struct SentinelParts {
    pub(super) state: StateDir,
    pub(super) binary: ServerBinary,
    pub(super) metrics: NodeMetrics,
    pub(super) certificate: Option<Certificate>,
    pub(super) statement: Statement,
}

/// How the life of a server ended.
enum ServerEnd {
    /// The node's ends with it.
    NodeEnds(Option<ExitStatus>),
    /// It is started again at once, and why.
    StartAgain(&'static str),
}

/// Runs until a signal comes or the server ends. Returns its status.
pub(super) async fn run(
    lab: &Lab,
    node: &Node,
    mut own: SentinelParts,
    shutdown: &Shutdown,
) -> Result<Option<ExitStatus>, NodeError> {
    let mut joins = false;
    let mut heard = None;
    if own.state.first_start() {
        let connector = connector(lab, node);
        let may_lead = roster::may_lead(lab, node, &connector).await;
        // One that is not a full member comes into a lab that is there, and knows as little as one
        // that has lost its memory.
        joins = may_lead == Some(false);
        own.state.leads(!joins);
        // Others, with their memory, may be there; where there are too few of them a whole lab
        // starts: each begins as lab.toml says, and the marks guard the data.
        let named = Panel::new(lab, connector).ask_each().await.elect().ok();
        heard = named.filter(|named| lab.data_node_at(named.address).is_some());
    }
    if let Some(elected) = heard {
        own.state.learn(elected);
    } else if own.state.memory_lost() || joins {
        match learn(lab, node, joins, shutdown).await {
            Some(elected) => own.state.learn(elected),
            None => return Ok(None),
        }
    }
    let conf = own.state.apply(lab, node)?;
    let mut why = if joins || heard.is_some() {
        "a new member, seeded from what the other Sentinels agree on"
    } else if own.state.memory_lost() {
        "its memory was lost, seeded from what the other Sentinels agree on"
    } else if own.state.first_start() {
        "first start, seeded from lab.toml"
    } else {
        "own state"
    };
    loop {
        if let Some(certificate) = &mut own.certificate {
            certificate.read_at_start();
            own.metrics.certificate_ends(certificate.end());
        }
        let server = Server::start(&own.binary, &conf, NodeKind::Sentinel, &own.statement)?;
        own.metrics.started();
        own.statement.update(|report| report.running = true);
        info!(node = %node.name, pid = server.pid(), address = %node.socket(),
            version = %own.binary.version, role = "sentinel", monitors = %lab.primary_name,
            why, "server started");
        let mut server = server;
        let parts = (&mut own.certificate, &own.statement);
        match supervise(lab, node, &mut server, parts, shutdown).await {
            ServerEnd::NodeEnds(status) => {
                return end_with_server(node, &own.statement, &server, &conf, status).await;
            }
            ServerEnd::StartAgain(reason) => why = reason,
        }
    }
}

/// The server has ended, and the node ends with its status; says why where that is known.
async fn end_with_server(
    node: &Node,
    statement: &Statement,
    server: &Server,
    conf: &Path,
    status: Option<ExitStatus>,
) -> Result<Option<ExitStatus>, NodeError> {
    if status.is_none_or(|status| status.success()) {
        return Ok(status);
    }
    server.wait_for_log().await;
    if let Some(why) = statement.config_refused() {
        return Err(NodeError::ConfigRefused {
            node: node.name.clone(),
            file: conf.to_owned(),
            why,
        });
    }
    let said = statement.said().map(|said| said.line);
    let how = status.map(|status| status.to_string()).unwrap_or_default();
    let why = format!("its server has ended ({how})");
    error!(node = %node.name, status = how, said, "the server has ended by itself");
    statement.update(|report| report.last_end = Some(how));
    if let Some(folder) = conf.parent() {
        statement.note_end(folder, &why);
    }
    Ok(status)
}

/// Whom the other Sentinels name, a majority of all of them, without this one. One that has
/// forgotten its votes and who is primary must not decide with others that have too: they would
/// agree on the seed primary of `lab.toml`, whatever has happened since. So it waits for those who
/// know. `None`: it was asked to stop.
async fn learn(lab: &Lab, node: &Node, joins: bool, shutdown: &Shutdown) -> Option<Elected> {
    let panel = Panel::new(lab, connector(lab, node));
    let mut told = String::new();
    loop {
        let answers = panel.ask_each().await;
        let why = match answers.elect() {
            Ok(elected) if lab.data_node_at(elected.address).is_some() => return Some(elected),
            Ok(elected) => format!("they name {}, which is no data node", elected.address),
            Err(error) => error.to_string(),
        };
        if why != told && joins {
            warn!(node = %node.name, %why, "this Sentinel is new, and starts when a majority of the others agrees on the primary");
            told = why;
        } else if why != told {
            warn!(node = %node.name, %why, "this Sentinel has lost its memory (epochs, votes, who is primary), and starts when a \
                majority of all Sentinels, without it, agrees on the primary: start the others. If none of them has its memory, \
                see docs/runbook.md, Sentinels without memory");
            told = why;
        }
        tokio::select! {
            () = sleep(LEARN_AGAIN) => {}
            () = shutdown.wait() => return None,
        }
    }
}

async fn supervise(
    lab: &Lab,
    node: &Node,
    server: &mut Server,
    (certificate, statement): (&mut Option<Certificate>, &Statement),
    shutdown: &Shutdown,
) -> ServerEnd {
    tokio::select! {
        quickened = quicken(lab, node) => {
            if let Err(error) = quickened {
                warn!(node = %node.name, %error, "periods not shortened: failovers are slower");
            }
        }
        status = server.wait() => return ServerEnd::NodeEnds(status.ok()),
        () = shutdown.wait() => return ServerEnd::NodeEnds(server.stop().await),
    }
    let turn = async {
        match certificate {
            Some(certificate) => certificate.turn(lab).await,
            None => std::future::pending().await,
        }
    };
    let own = connector(lab, node);
    tokio::select! {
        () = roster::follow(lab, node, &own, statement) => ServerEnd::NodeEnds(server.stop().await),
        status = server.wait() => {
            warn!(node = %node.name, "the server has ended");
            ServerEnd::NodeEnds(status.ok())
        }
        () = shutdown.wait() => {
            info!(node = %node.name, "stopping");
            ServerEnd::NodeEnds(server.stop().await)
        }
        () = turn => {
            // Ended in order, it has its state in its file. It reads its certificate only at its start.
            server.stop().await;
            ServerEnd::StartAgain("new certificate")
        }
        () = stepped_back(lab, node) => {
            warn!(node = %node.name, "the clock was stepped back: started again, or the Sentinel would ask nobody \
                anything until it has caught up; have the clock slewed, not stepped");
            server.stop().await;
            ServerEnd::StartAgain("its clock was stepped back")
        }
    }
}

/// To the own server and to data nodes, from the own address.
fn connector(lab: &Lab, node: &Node) -> Connector {
    Connector::new(lab, User::Node).from_source(lab.listens(node))
}

/// Ends when the server's clock has been stepped back. Sentinels count by the time of day when they
/// asked last, and ask again a period after that: one whose clock goes back an hour asks, and sees,
/// nothing for an hour.
async fn stepped_back(lab: &Lab, node: &Node) {
    let connector = connector(lab, node);
    let mut cmd = redis::cmd("SENTINEL");
    cmd.arg("MASTER").arg(&lab.primary_name);
    let mut conn = None;
    loop {
        sleep(CLOCK_PERIOD).await;
        let mut open = match conn.take() {
            Some(open) => open,
            None => match connector.open(node.socket()).await {
                Ok(mut open) => {
                    // So that `halab member` sees who runs with which lab.toml. What does not take
                    // it is watched all the same.
                    if let Err(error) = open.state_known(lab).await {
                        debug!(node = %node.name, %error, "which nodes are known here is not stated");
                    }
                    open
                }
                Err(_) => continue,
            },
        };
        if let Ok(primary) = open.query::<HashMap<String, String>>(&cmd).await {
            let in_future = |key: &&str| {
                let age = primary.get(*key).and_then(|age| age.parse::<i64>().ok());
                age.is_some_and(|age| age < -STEP_MS)
            };
            if ["last-ok-ping-reply", "info-refresh"].iter().any(in_future) {
                return;
            }
            conn = Some(open);
        }
    }
}

/// Shortens the INFO, publish and PING periods; they last until the server ends. The ASK period
/// stays: Sentinels that ask at the same moment split the vote.
async fn quicken(lab: &Lab, node: &Node) -> Result<(), ClientError> {
    let connector = connector(lab, node);
    let begun = Instant::now();
    let mut cmd = redis::cmd("SENTINEL");
    cmd.arg("DEBUG")
        .arg("INFO-PERIOD")
        .arg(ms(SENTINEL_INFO_PERIOD));
    cmd.arg("PUBLISH-PERIOD").arg(ms(PUBLISH_PERIOD));
    cmd.arg("PING-PERIOD").arg(ms(PING_PERIOD));
    loop {
        let sent = match connector.open(node.socket()).await {
            Ok(mut conn) => conn.query::<redis::Value>(&cmd).await.map(drop),
            Err(error) => Err(error),
        };
        match sent {
            Err(_) if begun.elapsed() < START_LIMIT => sleep(Duration::from_millis(20)).await,
            other => return other,
        }
    }
}

fn ms(period: Duration) -> String {
    period.as_millis().to_string()
}
