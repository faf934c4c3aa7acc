//! A Sentinel node: starts its server, shortens its periods, and ends with it. `member_list`
//! decides whether it may lead failovers.

mod member_list;

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
use crate::sentinel::SentinelClients;

use super::binary::ServerBinary;
use super::certificate::Certificate;
use super::machine::SENTINEL_INFO_PERIOD;
use super::metrics::NodeMetrics;
use super::server::ServerProcess;
use super::shared_report::SharedReport;
use super::state::StateDir;
use super::{NodeError, Shutdown};

/// Period with which Sentinels publish the primary to each other, through the data nodes. A
/// returning old primary is demoted after four of these periods.
const PUBLISH_PERIOD: Duration = Duration::from_millis(250);
/// Ping period of a Sentinel. Down-after counts from the first unanswered ping, so silence is
/// noticed up to one period later. Sentinel's default is 1 s.
const PING_PERIOD: Duration = Duration::from_millis(500);
/// How long a Sentinel may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Period of the check of the server's clock.
const CLOCK_PERIOD: Duration = Duration::from_secs(1);
/// Pause between two questions to the other Sentinels, for one that has lost its state.
const LEARN_PERIOD: Duration = Duration::from_secs(1);
/// A smaller step back is over before a restart would be.
const MIN_STEP_MS: i64 = 2000;

/// The parts that a Sentinel node is made of.
#[derive(Debug)]
pub(super) struct SentinelParts {
    pub(super) state: StateDir,
    pub(super) binary: ServerBinary,
    pub(super) metrics: NodeMetrics,
    pub(super) certificate: Option<Certificate>,
    pub(super) report: SharedReport,
}

/// How the run of a server ended.
enum ServerEnd {
    /// The node ends with it.
    NodeEnds(Option<ExitStatus>),
    /// It is restarted at once, for this reason.
    StartAgain(&'static str),
}

/// Runs until a signal arrives or the server ends. Returns the server's exit status.
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
        let may_lead = member_list::may_lead(lab, node, &connector).await;
        // One that is not a full member joins an existing lab, and knows as little as one that has
        // lost its state.
        joins = may_lead == Some(false);
        own.state.leads(!joins);
        // Other Sentinels with state may exist. If there are too few of them, the whole lab is
        // starting: each Sentinel begins as in lab.toml, and the marks protect the data.
        let named = SentinelClients::new(lab, connector)
            .ask_each()
            .await
            .elect()
            .ok();
        heard = named.filter(|named| lab.data_node_at(named.address).is_some());
    }
    if let Some(elected) = heard {
        own.state.learn(elected);
    } else if own.state.state_lost() || joins {
        match learn(lab, node, joins, shutdown).await {
            Some(elected) => own.state.learn(elected),
            None => return Ok(None),
        }
    }
    let conf = own.state.apply(lab, node)?;
    let mut why = if joins || heard.is_some() {
        "new member, seeded from the majority of the other Sentinels"
    } else if own.state.state_lost() {
        "state lost, seeded from the majority of the other Sentinels"
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
        let server = ServerProcess::start(&own.binary, &conf, NodeKind::Sentinel, &own.report)?;
        own.metrics.started();
        own.report.update(|report| report.running = true);
        info!(node = %node.name, pid = server.pid(), address = %node.socket(),
            version = %own.binary.version, role = "sentinel", monitors = %lab.primary_name,
            why, "server started");
        let mut server = server;
        let parts = (&mut own.certificate, &own.report);
        match supervise(lab, node, &mut server, parts, shutdown).await {
            ServerEnd::NodeEnds(status) => {
                return end_with_server(node, &own.report, &server, &conf, status).await;
            }
            ServerEnd::StartAgain(reason) => why = reason,
        }
    }
}

/// The server has ended, and the node ends with its status. Reports the reason if known.
async fn end_with_server(
    node: &Node,
    report: &SharedReport,
    server: &ServerProcess,
    conf: &Path,
    status: Option<ExitStatus>,
) -> Result<Option<ExitStatus>, NodeError> {
    if status.is_none_or(|status| status.success()) {
        return Ok(status);
    }
    server.wait_for_log().await;
    if let Some(why) = report.config_refused() {
        return Err(NodeError::ConfigRefused {
            node: node.name.clone(),
            file: conf.to_owned(),
            why,
        });
    }
    let log_problem = report.log_problem().map(|problem| problem.line);
    let how = status.map(|status| status.to_string()).unwrap_or_default();
    let why = format!("its server has ended ({how})");
    error!(node = %node.name, status = how, log_problem, "the server has ended unexpectedly");
    report.update(|report| report.last_end = Some(how));
    if let Some(folder) = conf.parent() {
        report.note_end(folder, &why);
    }
    Ok(status)
}

/// The primary that a majority of all Sentinels names, without this one. Sentinels that have lost
/// their state must not decide among themselves: they would agree on the seed primary of
/// `lab.toml`, whatever has happened since. So this one waits for Sentinels that have their state.
/// `None`: it was asked to stop.
async fn learn(lab: &Lab, node: &Node, joins: bool, shutdown: &Shutdown) -> Option<Elected> {
    let sentinels = SentinelClients::new(lab, connector(lab, node));
    let mut logged = String::new();
    loop {
        let answers = sentinels.ask_each().await;
        let why = match answers.elect() {
            Ok(elected) if lab.data_node_at(elected.address).is_some() => return Some(elected),
            Ok(elected) => format!("they name {}, which is not a data node", elected.address),
            Err(error) => error.to_string(),
        };
        if why != logged && joins {
            warn!(node = %node.name, %why, "new Sentinel: waiting until a majority of the others agrees on the primary");
            logged = why;
        } else if why != logged {
            warn!(node = %node.name, %why, "this Sentinel has lost its state and waits until a majority of all Sentinels, without it, agrees on the \
                primary; start the others, or see docs/runbook.md, Sentinels without memory");
            logged = why;
        }
        tokio::select! {
            () = sleep(LEARN_PERIOD) => {}
            () = shutdown.wait() => return None,
        }
    }
}

async fn supervise(
    lab: &Lab,
    node: &Node,
    server: &mut ServerProcess,
    (certificate, report): (&mut Option<Certificate>, &SharedReport),
    shutdown: &Shutdown,
) -> ServerEnd {
    tokio::select! {
        shortened = shorten_periods(lab, node) => {
            if let Err(error) = shortened {
                warn!(node = %node.name, %error, "the periods could not be shortened, so failovers are slower");
            }
        }
        status = server.wait() => return ServerEnd::NodeEnds(status.ok()),
        () = shutdown.wait() => return ServerEnd::NodeEnds(server.stop().await),
    }
    let restart_turn = async {
        match certificate {
            Some(certificate) => certificate.restart_turn(lab).await,
            None => std::future::pending().await,
        }
    };
    let own = connector(lab, node);
    tokio::select! {
        () = member_list::follow(lab, node, &own, report) => ServerEnd::NodeEnds(server.stop().await),
        status = server.wait() => {
            warn!(node = %node.name, "the server has ended");
            ServerEnd::NodeEnds(status.ok())
        }
        () = shutdown.wait() => {
            info!(node = %node.name, "stopping");
            ServerEnd::NodeEnds(server.stop().await)
        }
        () = restart_turn => {
            // Stopped in order, it has its state in its file. It reads its certificate only when it
            // starts.
            server.stop().await;
            ServerEnd::StartAgain("new certificate")
        }
        () = stepped_back(lab, node) => {
            warn!(node = %node.name, "the clock was stepped back, so the Sentinel is restarted; have the clock slewed, not stepped");
            server.stop().await;
            ServerEnd::StartAgain("clock stepped back")
        }
    }
}

/// To this node's server and to data nodes, from this node's address.
fn connector(lab: &Lab, node: &Node) -> Connector {
    Connector::new(lab, User::Node).from_source(lab.listens(node))
}

/// Returns when the server's clock has been stepped back. A Sentinel schedules its questions by the
/// time of day: if its clock goes back an hour, it asks nothing and notices nothing for an hour.
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
                    // `halab member` reads it to see which lab.toml each node uses. The clock is
                    // checked even if the server refuses it.
                    if let Err(error) = open.state_known(lab).await {
                        debug!(node = %node.name, %error, "the nodes of this lab.toml are not published on the server");
                    }
                    open
                }
                Err(_) => continue,
            },
        };
        if let Ok(primary) = open.query::<HashMap<String, String>>(&cmd).await {
            let in_future = |key: &&str| {
                let age = primary.get(*key).and_then(|age| age.parse::<i64>().ok());
                age.is_some_and(|age| age < -MIN_STEP_MS)
            };
            if ["last-ok-ping-reply", "info-refresh"].iter().any(in_future) {
                return;
            }
            conn = Some(open);
        }
    }
}

/// Shortens the INFO, publish and PING periods until the server ends. The ASK period stays:
/// Sentinels that ask at the same time split the vote.
async fn shorten_periods(lab: &Lab, node: &Node) -> Result<(), ClientError> {
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
