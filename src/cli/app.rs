//! `halab app`: the applications of `lab.toml`, and how each connects.

mod code;

use std::net::SocketAddrV4;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::access::{Account, Certificates, Secrets, SecretsError};
use crate::config::{App, Lab, SecretsFolder};
use crate::exit::Exit;

use super::output::{print_json, print_text};
use super::{CommandResult, Failure, Global};

use code::Library;

/// Seconds that a library waits for an answer beyond the proxy's wait for a primary.
const BEYOND_PATIENCE: u64 = 5;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab app                               List the applications of lab.toml\n  \
    halab app shop                          Show how the application shop connects\n  \
    halab app shop --library redis-py       Show the code for one client library\n  \
    halab app shop --show-password --json   For a program that configures the application\n\n\
    An application is a table [[app]] of lab.toml. Nodes read lab.toml at their start: after a \
    change of an application, restart one node after the other.")]
pub(super) struct AppArgs {
    /// Name of the application in lab.toml [default: list all applications]
    name: Option<String>,
    /// Address at which halab proxy listens [default: from lab.toml]
    #[arg(long, value_name = "ADDRESS:PORT", requires = "name", value_parser = parse_address)]
    proxy: Option<SocketAddrV4>,
    /// Show the code for this client library only
    #[arg(long, value_enum, value_name = "NAME", requires = "name")]
    library: Option<Library>,
    /// Show the password
    #[arg(long, requires = "name")]
    show_password: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An application and its connection. Not `Debug`: it may have the password.
#[derive(Serialize)]
struct Connection {
    name: String,
    keys: Vec<String>,
    channels: Vec<String>,
    commands: Vec<String>,
    user: String,
    /// The file with the password, on this machine.
    password_file: PathBuf,
    /// Without it, no node has started with this application yet.
    password_file_exists: bool,
    /// Only if it was asked for.
    password: Option<String>,
    proxy: ProxyAccess,
    sentinel: SentinelAccess,
}

/// As one Redis server.
#[derive(Debug, Serialize)]
struct ProxyAccess {
    address: SocketAddrV4,
    url: String,
    tls: Option<TlsFiles>,
    /// How long a library has to wait for an answer, where it has a limit.
    #[serde(skip)]
    answer_seconds: u64,
}

/// By a library that asks the Sentinels for the primary.
#[derive(Debug, Serialize)]
struct SentinelAccess {
    primary_name: String,
    addresses: Vec<SocketAddrV4>,
    tls: Option<TlsFiles>,
}

/// The files that a client of a lab with TLS needs.
#[derive(Debug, Clone, Serialize)]
struct TlsFiles {
    /// The certificate of the lab's CA.
    ca: PathBuf,
    /// Key and certificate of clients, where the servers ask for one.
    client: Option<PathBuf>,
}

fn parse_address(text: &str) -> Result<SocketAddrV4, String> {
    text.parse()
        .map_err(|_| "expected an IPv4 address and a port, for example 127.0.0.51:6379".into())
}

pub(super) fn run(global: &Global, args: &AppArgs) -> CommandResult {
    let lab = global.lab()?;
    let Some(name) = &args.name else {
        match args.json {
            true => print_json(&lab.apps)?,
            false => print_text(list(&lab))?,
        }
        return Ok(Exit::Holds);
    };
    let app = lab.app(name).ok_or_else(|| unknown(&lab, name))?;
    let connection = connection(&lab, app, args)?;
    match args.json {
        true => print_json(&connection)?,
        false => print_text(render(&connection, args.library))?,
    }
    Ok(Exit::Holds)
}

fn unknown(lab: &Lab, name: &str) -> Failure {
    let names: Vec<&str> = lab.apps.iter().map(|app| app.name.as_str()).collect();
    let remedy = match names.is_empty() {
        true => "lab.toml has no [[app]]; docs/applications.md shows one".to_owned(),
        false => format!("use one of: {}", names.join(", ")),
    };
    Failure::usage(anyhow!("no application is named {name:?}; {remedy}"))
}

fn list(lab: &Lab) -> String {
    if lab.apps.is_empty() {
        return "lab.toml has no applications; add a table [[app]] (docs/applications.md)".into();
    }
    let width = lab.apps.iter().map(|app| app.name.len()).max();
    let width = width.unwrap_or_default();
    let row = |app: &App| {
        let [keys, channels, commands] =
            [&app.keys, &app.channels, &app.commands].map(|all| words(all));
        format!(
            "{:<width$}  keys {keys}  channels {channels}  commands {commands}",
            app.name
        )
    };
    let rows: Vec<String> = lab.apps.iter().map(row).collect();
    rows.join("\n")
}

fn words(all: &[String]) -> String {
    match all.is_empty() {
        true => "none".into(),
        false => all.join(" "),
    }
}

fn connection(lab: &Lab, app: &App, args: &AppArgs) -> Result<Connection, Failure> {
    let folder = lab.security.secrets.as_ref().map(SecretsFolder::path);
    let folder = folder.ok_or_else(|| Failure::usage(SecretsError::Off))?;
    let account = Account::from(app);
    let secrets = Secrets::at(folder);
    let password = match args.show_password {
        true => Some(secrets.password(&account)?.expose_secret().to_owned()),
        false => None,
    };
    let proxy = args.proxy.unwrap_or_else(|| lab.proxy_socket());
    let certificates = Certificates::at(folder);
    let tls = lab.security.tls.then(|| TlsFiles {
        ca: certificates.ca(),
        client: lab.security.mutual_tls.then(|| certificates.client()),
    });
    let proxy_tls = tls.clone().filter(|_| lab.proxy_uses_tls());
    Ok(Connection {
        name: app.name.clone(),
        keys: app.keys.clone(),
        channels: app.channels.clone(),
        commands: app.commands.clone(),
        user: account.name().to_owned(),
        password_file_exists: secrets.path(&account).exists(),
        password_file: secrets.path(&account),
        proxy: ProxyAccess {
            address: proxy,
            url: code::url(
                proxy_tls.is_some(),
                account.name(),
                password.as_deref(),
                proxy,
            ),
            tls: proxy_tls,
            answer_seconds: lab.proxy_settings().patience.as_secs() + BEYOND_PATIENCE,
        },
        password,
        sentinel: SentinelAccess {
            primary_name: lab.primary_name.clone(),
            addresses: lab.sentinels.iter().map(|node| node.socket()).collect(),
            tls,
        },
    })
}

fn render(of: &Connection, only: Option<Library>) -> String {
    if let Some(library) = only {
        return code::of(library, of);
    }
    let password = match &of.password {
        Some(password) => password.clone(),
        None if of.password_file_exists => format!("in {}", of.password_file.display()),
        None => format!(
            "{} does not exist; no node has started with this application yet: start the lab, or \
             if it runs, restart one node after the other, then the proxy (docs/applications.md)",
            of.password_file.display()
        ),
    };
    let addresses: Vec<String> = of
        .sentinel
        .addresses
        .iter()
        .map(|a| a.to_string())
        .collect();
    let tls = |files: &Option<TlsFiles>| match files {
        None => "off".to_owned(),
        Some(TlsFiles { ca, client }) => {
            let client = client
                .iter()
                .map(|file| format!(", own key and certificate {}", file.display()));
            format!("CA {}{}", ca.display(), client.collect::<String>())
        }
    };
    let mut text = format!(
        "application {}\n  user      {}\n  password  {password}\n  keys      {}\n  channels  {}\n  \
         commands  {}\n\n\
         by halab proxy, as one Redis server\n  address   {}\n  URL       {}\n  \
         TLS       {}\n\n\
         by Sentinel, for libraries that ask it for the primary\n  Sentinels {}\n  \
         name      {}\n  login     the same user and password, on Sentinels and data nodes\n  \
         TLS       {}\n",
        of.name,
        of.user,
        words(&of.keys),
        words(&of.channels),
        words(&of.commands),
        of.proxy.address,
        of.proxy.url,
        tls(&of.proxy.tls),
        addresses.join(", "),
        of.sentinel.primary_name,
        tls(&of.sentinel.tls),
    );
    for &library in Library::value_variants() {
        text += &format!(
            "\n{}\n\n{}",
            library.title(),
            indented(&code::of(library, of))
        );
    }
    text.trim_end().to_owned()
}

fn indented(code: &str) -> String {
    let line = |line: &str| match line {
        "" => "\n".to_owned(),
        line => format!("    {line}\n"),
    };
    code.lines().map(line).collect()
}
