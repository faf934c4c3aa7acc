//! `halab web`.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::SocketAddrV4;

use anyhow::anyhow;
use clap::Args;

use crate::config::Lab;
use crate::exit::Exit;
use crate::web::{self, WebOptions};

use super::output::print_text;
use super::write::parse_rate;
use super::{CommandResult, Failure, Global, Threads, with_signals};

/// Records a second of the page's own writer, unless stated: one every 20 ms, so that the ledger
/// has the time of each.
const RATE: f64 = 50.0;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab web                                  Serve the page, and print the link to it\n  \
    halab web --link                           Print the link again\n  \
    halab web --allow-faults                   With buttons that kill, pause and hand over\n  \
    halab web --no-write                       Without records of its own\n  \
    ssh -L 8000:127.0.0.31:8000 HOST           See it from another host: http://localhost:8000\n\n\
    The page shows the lab as it is, writes records of its own, and reads them back after every \
    fault and once a minute. The link has a token, which the browser then keeps as a cookie. \
    SIGTERM and Ctrl-C stop it; its records are read back and removed at the next start.\n\n\
    Exit codes:\n  \
    0  stopped by a signal\n  \
    4  it could not listen, or failed")]
pub(super) struct WebArgs {
    /// Address at which the page is served [default: from lab.toml]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_listen)]
    listen: Option<SocketAddrV4>,
    /// Let the page inject faults into nodes on this machine
    #[arg(long)]
    allow_faults: bool,
    /// Records per second of the page's own writer
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate, default_value_t = RATE)]
    rate: f64,
    /// Write no records
    #[arg(long, conflicts_with = "rate")]
    no_write: bool,
    /// Shell command that starts or stops a node: it is called with "start NAME" or "stop NAME"
    #[arg(long, env = "HALAB_NODE_COMMAND", value_name = "COMMAND")]
    node_command: Option<String>,
    /// End at once if lab.toml has no table [monitoring] (for services)
    #[arg(long)]
    if_configured: bool,
    /// Print the link to the page, and end
    #[arg(long)]
    link: bool,
}

fn parse_listen(text: &str) -> Result<SocketAddrV4, String> {
    text.parse()
        .map_err(|_| "expected an IPv4 address and a port, for example 127.0.0.31:8000".into())
}

impl WebArgs {
    fn listen(&self, lab: &Lab) -> Result<SocketAddrV4, Failure> {
        let stated = lab.monitoring.as_ref().map(|m| m.web_socket());
        self.listen.or(stated).ok_or_else(|| {
            let why = "lab.toml has no table [monitoring]: state an address by --listen";
            Failure::usage(anyhow!(why))
        })
    }
}

/// The options that a drill from the page shares with it: a drill has a lab of its own, in another
/// subnet, with other state and other secrets.
fn drill_options(global: &Global) -> Vec<OsString> {
    let config = global.config.as_ref().map(|file| ("--config", file));
    let server = &global.redis_server;
    let server = server.as_ref().map(|file| ("--redis-server", file));
    let stated = config.into_iter().chain(server);
    stated
        .flat_map(|(option, file)| [option.into(), file.into()])
        .collect()
}

pub(super) fn run(global: &Global, args: &WebArgs) -> CommandResult {
    let lab = global.lab()?;
    if args.if_configured && lab.monitoring.is_none() {
        return Ok(Exit::Holds);
    }
    let state = global.state_root()?;
    let listen = args.listen(&lab)?;
    if args.link {
        print_text(web::link(listen, &state)?)?;
        return Ok(Exit::Holds);
    }
    let options = WebOptions {
        listen,
        state,
        rate: Some(args.rate).filter(|_| !args.no_write),
        allow_faults: args.allow_faults,
        node_command: args.node_command.clone(),
        drill_options: drill_options(global),
    };
    with_signals(Threads::Many, |token| async move {
        let ready = |link: &str| {
            // The token is not for logs. Standard output may be closed; the page is served all the
            // same.
            let _ = match io::stdout().is_terminal() {
                true => print_text(format_args!("the lab in a browser: {link}")),
                false => print_text("the lab in a browser: halab web --link prints the link to it"),
            };
        };
        web::run(&lab, &options, &token, ready).await?;
        Ok(Exit::Holds)
    })
}
