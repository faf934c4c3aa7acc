//! Starts Prometheus, redis_exporter, cAdvisor and Grafana for a lab.
//!
//! - `scraping`: `prometheus.yml` from the lab (pure)
//! - `service`: the programs (pure)
//! - `plan`: the files, flags and environment of each program (pure)
//!
//! The rules, dashboards and provisioning of `prometheus/` and `grafana/` are built in. Only the
//! programs have to be installed. A missing program is not an error; the lab runs without it.

mod plan;
mod scraping;
mod service;

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use secrecy::ExposeSecret;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::access::{CertificateError, Certificates, Login, Secrets, SecretsError, User};
use crate::config::Lab;
use crate::files;
use crate::http::{Client, HttpError};

pub use plan::Plan;
pub use scraping::prometheus_yml;
pub use service::{ScrapeContext, Service, WriterDiscovery};

/// The file with the passwords, in the folder of redis_exporter.
const PASSWORDS: &str = "passwords.json";
/// Time limit for redis_exporter to reload that file.
const RELOAD_LIMIT: Duration = Duration::from_secs(2);
/// Maximum size of the answer to a reload, which is usually `ok`.
const RELOAD_ANSWER_MAX: usize = 64 * 1024;

/// The file by which a writer registers as a target of this lab's Prometheus.
pub fn writer_file(state_root: &Path) -> PathBuf {
    folder(state_root, Service::Prometheus)
        .join(scraping::WRITERS)
        .join("writer.json")
}

/// The folder with the files of a service.
fn folder(state_root: &Path, service: Service) -> PathBuf {
    state_root.join("monitoring").join(service.name())
}

/// Why a monitoring service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum MonitoringError {
    /// `lab.toml` has no table `[monitoring]`.
    #[error("lab.toml has no table [monitoring]; docs/configuration.md lists its keys")]
    NotConfigured,
    /// A file or folder of the service cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The password of redis_exporter.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The certificates with which redis_exporter connects to the nodes.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The program cannot be executed.
    #[error("cannot run {}: {source}", program.display())]
    Program {
        /// The path.
        program: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The path of a service's program, if it is installed.
pub fn find(service: Service) -> Option<PathBuf> {
    let mut names = service.programs().iter();
    names.find_map(|name| which::which(name).ok())
}

/// The parameters of a service.
#[derive(Debug)]
pub struct Start {
    /// The service.
    pub service: Service,
    /// The path of its program.
    pub program: PathBuf,
    /// The folder that contains the folder of its files.
    pub state_root: PathBuf,
    /// The services that Prometheus scrapes.
    pub services: Vec<Service>,
    /// How Prometheus discovers a writer.
    pub writers: WriterDiscovery,
    /// The addresses of the cAdvisors of the lab's hosts; `None`: one, on this machine.
    pub cadvisors: Option<Vec<SocketAddrV4>>,
}

/// Replaces this process by the service. Returns only if that fails.
///
/// # Errors
/// Always.
pub fn become_service(lab: &Lab, start: &Start) -> MonitoringError {
    let service = start.service;
    let folder = folder(&start.state_root, service);
    // Symbolic links are followed, because the files of Grafana are beside its program.
    let program = fs::canonicalize(&start.program).unwrap_or_else(|_| start.program.clone());
    let delegated = delegated();
    let context = ScrapeContext {
        services: &start.services,
        writers: start.writers,
        cadvisors: start.cadvisors.as_deref(),
        delegated: delegated.as_deref(),
    };
    let Some(plan) = Plan::new(lab, service, &folder, &context) else {
        return MonitoringError::NotConfigured;
    };
    if let Err(error) = write_files(&folder, &plan) {
        return error;
    }
    if service == Service::RedisExporter {
        // All processes of a lab start at once, so this may be the first that needs passwords and
        // certificates.
        let ready = || {
            Secrets::load_or_generate(lab)?;
            Certificates::load_or_generate(lab)?;
            write_passwords(lab, &folder)
        };
        if let Err(error) = ready() {
            return error;
        }
    }
    let homes = [program.parent().and_then(Path::parent), program.parent()];
    let homes = homes.into_iter().flatten();
    let home = homes
        .flat_map(|home| [home.to_owned(), home.join("share/grafana")])
        .chain([PathBuf::from("/usr/share/grafana")])
        .find(|home| home.join("conf/defaults.ini").exists());
    let mut command = Command::new(&program);
    command
        .args(&plan.arguments)
        .envs(plan.environment)
        // `./lab down` recognizes the process by this variable.
        .env("HALAB_MONITOR", service.name())
        .current_dir(&folder);
    if let (Service::Grafana, Some(home)) = (service, home) {
        command.arg("--homepath").arg(home);
    }
    let source = command.exec();
    MonitoringError::Program { program, source }
}

/// The topmost cgroup (v2) around this process into which its user may put processes; `halab node`
/// uses the same one.
fn delegated() -> Option<String> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let may_use = |place: &&Path| {
        let processes = Path::new("/sys/fs/cgroup").join(place).join("cgroup.procs");
        // Opened only to check the permission.
        !place.as_os_str().is_empty() && fs::OpenOptions::new().write(true).open(processes).is_ok()
    };
    let place = Path::new(own).ancestors().filter(may_use).last()?;
    Some(format!("/{}", place.display()))
}

/// Writes the password file of redis_exporter. It has an entry for each node with the user's name,
/// and one without it for the version of Debian 12 (1.45).
fn write_passwords(lab: &Lab, folder: &Path) -> Result<(), MonitoringError> {
    let Some(login) = Login::of(lab, User::Exporter) else {
        return Ok(());
    };
    let password = login.password()?;
    let mut text = Zeroizing::new(String::with_capacity(512 * lab.nodes().count()));
    let scheme = scraping::scheme(lab);
    let user = format!("{}@", User::Exporter.name());
    for node in lab.nodes() {
        for user in [user.as_str(), ""] {
            let before = if text.is_empty() { "{" } else { "," };
            text.push_str(before);
            text.push_str(&format!("\n\"{scheme}://{user}{}\": \"", node.socket()));
            text.push_str(password.expose_secret());
            text.push('"');
        }
    }
    text.push_str("\n}\n");
    let path = folder.join(PASSWORDS);
    files::replace(&path, files::PRIVATE, text.as_bytes())
        .map_err(|source| MonitoringError::File { path, source })
}

/// Makes a running redis_exporter reload its password. Otherwise it reads the password at its
/// start.
pub async fn exporter_changed(lab: &Lab, state_root: &Path) {
    let folder = folder(state_root, Service::RedisExporter);
    let Some(monitoring) = lab.monitoring.as_ref().filter(|_| folder.exists()) else {
        return;
    };
    if let Err(error) = write_passwords(lab, &folder) {
        warn!(%error, "redis_exporter still uses its old password, which is no longer valid");
        return;
    }
    let socket = Service::RedisExporter.socket(monitoring);
    let exporter = Client::new(socket, RELOAD_LIMIT, RELOAD_ANSWER_MAX);
    match exporter.post("/-/reload", String::new()).await {
        Ok(answer) if answer.status == 200 => info!("redis_exporter uses its new password"),
        Err(HttpError::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => warn!("redis_exporter does not use its new password: restart it"),
    }
}

fn write_files(folder: &Path, plan: &Plan) -> Result<(), MonitoringError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| MonitoringError::File { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for name in &plan.folders {
        let path = folder.join(name);
        fs::create_dir_all(&path).map_err(failed(&path))?;
    }
    for (name, content) in &plan.files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        fs::write(&path, content).map_err(failed(&path))?;
    }
    Ok(())
}
