//! A Sentinel node: starts its server, quickens its periods, and ends with it.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::access::User;
use crate::client::{ClientError, Connector};
use crate::config::{Lab, Node, NodeKind};

use super::data::stop;
use super::machine::SENTINEL_INFO_PERIOD;
use super::metrics::NodeMetrics;
use super::server::{Server, ServerBinary};
use super::state::StateDir;
use super::{NodeError, Shutdown};

/// Period with which Sentinels tell each other, through the data nodes, who is primary. Also the pace at
/// which a returning old primary is demoted: four periods.
const PUBLISH_PERIOD: Duration = Duration::from_millis(250);
/// Period with which a Sentinel pings. Down-after counts from the first ping that is not answered, so silence is seen
/// after up to this time more; a second is Sentinel's own.
const PING_PERIOD: Duration = Duration::from_millis(500);
/// How long a Sentinel may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Runs until a signal comes or the server ends. Returns its status.
pub(super) async fn run(
    lab: &Lab,
    node: &Node,
    state: &StateDir,
    binary: &ServerBinary,
    metrics: &NodeMetrics,
    shutdown: &Shutdown,
) -> Result<Option<ExitStatus>, NodeError> {
    let conf = state.apply(lab, node)?;
    let mut server = Server::start(binary, &conf, NodeKind::Sentinel)?;
    metrics.started();
    info!(node = %node.name, pid = server.pid(), address = %node.socket(),
        version = %binary.version, role = "sentinel", monitors = %lab.primary_name,
        why = if state.first_start() { "first start, seeded from lab.toml" } else { "own state" },
        "server started");
    tokio::select! {
        quickened = quicken(lab, node) => {
            if let Err(error) = quickened {
                warn!(node = %node.name, %error, "periods not shortened: failovers are slower");
            }
        }
        status = server.wait() => return Ok(status.ok()),
        () = shutdown.wait() => return Ok(stop(server).await),
    }
    tokio::select! {
        status = server.wait() => {
            warn!(node = %node.name, "the server has ended");
            Ok(status.ok())
        }
        () = shutdown.wait() => {
            info!(node = %node.name, "stopping");
            Ok(stop(server).await)
        }
    }
}

/// Shortens the INFO, publish and PING periods; they last until the server ends. The ASK period stays: Sentinels that
/// ask at the same moment split the vote.
async fn quicken(lab: &Lab, node: &Node) -> Result<(), ClientError> {
    let connector =
        Connector::new(lab, User::Node, Duration::from_millis(500)).from_source(node.address);
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
