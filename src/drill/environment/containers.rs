//! A lab whose nodes are containers: actions on them, and how each is undone.
//!
//! The containers are those of one Compose project; the name of a service is the name of the node
//! in `lab.toml`. The drill did not start them, so its actions are undone also after an error or a
//! panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rustix::process::Pid;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use crate::config::Lab;

use super::engine::{Engine, EngineError};

/// Compose's label with the name of a service.
const SERVICE: &str = "com.docker.compose.service";
/// Compose's label with the name of a project.
const PROJECT: &str = "com.docker.compose.project";

/// A Compose project in an engine.
#[derive(Debug, Clone)]
pub struct EngineAt {
    /// The engine's socket.
    pub socket: PathBuf,
    /// The Compose project.
    pub project: String,
}

/// The containers of a lab.
#[derive(Debug)]
pub struct Containers {
    engine: Engine,
    nodes: BTreeMap<String, Container>,
    /// Paused nodes.
    paused: Vec<String>,
    /// Disconnected nodes.
    disconnected: Vec<String>,
}

#[derive(Debug)]
struct Container {
    id: String,
    network: String,
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedContainer {
    id: String,
    labels: BTreeMap<String, String>,
    network_settings: Networks,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Networks {
    networks: BTreeMap<String, NetworkEndpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkEndpoint {
    #[serde(rename = "NetworkID")]
    network: String,
    #[serde(rename = "IPAMConfig")]
    config: Option<AddressConfig>,
}

#[derive(Debug, Deserialize)]
struct AddressConfig {
    #[serde(rename = "IPv4Address")]
    address: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: ContainerState,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerState {
    running: bool,
    pid: i32,
}

impl Containers {
    /// The containers of the lab's nodes.
    ///
    /// # Errors
    /// When a node has none, or one with another address than in the lab.
    pub fn of(lab: &Lab, at: &EngineAt) -> Result<Self, EngineError> {
        let engine = Engine::at(at.socket.clone());
        let filter = json!({ "label": [format!("{PROJECT}={}", at.project)] }).to_string();
        let listed: Vec<ListedContainer> = engine.get(&format!(
            "/containers/json?all=1&filters={}",
            quoted(&filter)
        ))?;
        let nodes = containers_of(lab, &listed, &at.project)?;
        Ok(Containers {
            engine,
            nodes,
            paused: Vec::new(),
            disconnected: Vec::new(),
        })
    }

    fn node(&self, name: &str) -> Result<&Container, EngineError> {
        self.nodes
            .get(name)
            .ok_or_else(|| EngineError::Unfit(format!("there is no container of {name}")))
    }

    fn post(&self, name: &str, action: &str) -> Result<(), EngineError> {
        let id = &self.node(name)?.id;
        self.engine
            .post(&format!("/containers/{id}/{action}"), &Value::Null)
    }

    fn state(&self, name: &str) -> Result<ContainerState, EngineError> {
        let id = &self.node(name)?.id;
        let inspected: Inspected = self.engine.get(&format!("/containers/{id}/json"))?;
        Ok(inspected.state)
    }

    /// Kills a container: `docker kill`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn kill(&self, name: &str) -> Result<(), EngineError> {
        self.post(name, "kill?signal=KILL")
    }

    /// Sends SIGTERM to a container: the first half of `docker stop`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn terminate(&self, name: &str) -> Result<(), EngineError> {
        self.post(name, "kill?signal=TERM")
    }

    /// Whether a container runs.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn runs(&self, name: &str) -> Result<bool, EngineError> {
        Ok(self.state(name)?.running)
    }

    /// Starts a container that has ended; no effect on one that runs.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn start(&self, name: &str) -> Result<(), EngineError> {
        self.post(name, "start")
    }

    /// Pauses all processes of a container.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn pause(&mut self, name: &str) -> Result<(), EngineError> {
        // Recorded before: it may be paused although the answer was lost.
        self.paused.push(name.to_owned());
        self.post(name, "pause")
    }

    /// Disconnects a container from the lab's network.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn disconnect(&mut self, name: &str) -> Result<(), EngineError> {
        let node = self.node(name)?;
        let path = format!("/networks/{}/disconnect", node.network);
        let body = json!({ "Container": node.id, "Force": true });
        self.disconnected.push(name.to_owned());
        self.engine.post(&path, &body)
    }

    /// Connects it again, with its address.
    fn connect(&self, name: &str) -> Result<(), EngineError> {
        let node = self.node(name)?;
        let path = format!("/networks/{}/connect", node.network);
        let address = json!({ "IPAMConfig": { "IPv4Address": node.address } });
        let body = json!({ "Container": node.id, "EndpointConfig": address });
        self.engine.post(&path, &body)
    }

    /// The process of a node's server, in the numbering of this machine.
    ///
    /// # Errors
    /// When it is not known: the engine runs on another machine, or the node has no server.
    pub fn server_of(&self, name: &str) -> Result<Pid, EngineError> {
        let parent = self.state(name)?.pid;
        // An engine on another machine would state a process of that machine.
        let comm = fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
        if comm.trim() != "halab" {
            return Err(EngineError::Unfit(format!(
                "process {parent} of this machine is not the node {name}: the engine runs elsewhere"
            )));
        }
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(&path).unwrap_or_default();
        children
            .split_whitespace()
            .next()
            .and_then(|pid| Pid::from_raw(pid.parse().ok()?))
            .ok_or_else(|| EngineError::Unfit(format!("the node {name} has no server now")))
    }

    /// The changes that are not undone.
    pub(super) fn changes(&self) -> Vec<&'static str> {
        let mut changes = Vec::new();
        if !self.disconnected.is_empty() {
            changes.push("disconnected containers");
        }
        if !self.paused.is_empty() {
            changes.push("paused containers");
        }
        changes
    }

    /// Connects all disconnected containers. Goes on after an error, and returns the first.
    ///
    /// # Errors
    /// The part that could not be undone.
    pub fn reconnect(&mut self) -> Result<(), EngineError> {
        let mut first = Ok(());
        for name in std::mem::take(&mut self.disconnected) {
            first = first.and(self.connect(&name));
        }
        first
    }

    /// Unpauses all paused containers. Goes on after an error, and returns the first.
    ///
    /// # Errors
    /// The part that could not be undone.
    pub fn unpause(&mut self) -> Result<(), EngineError> {
        let mut first = Ok(());
        for name in std::mem::take(&mut self.paused) {
            first = first.and(self.post(&name, "unpause"));
        }
        first
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let reconnected = self.reconnect();
        if let Err(error) = reconnected.and(self.unpause()) {
            warn!(%error, "a container could not be restored");
        }
    }
}

/// The container of each node.
fn containers_of(
    lab: &Lab,
    listed: &[ListedContainer],
    project: &str,
) -> Result<BTreeMap<String, Container>, EngineError> {
    let mut nodes = BTreeMap::new();
    for node in lab.nodes() {
        let name = &node.name;
        let container = listed
            .iter()
            .find(|c| c.labels.get(SERVICE) == Some(name))
            .ok_or_else(|| {
                EngineError::Unfit(format!(
                    "the Compose project {project} has no container of {name}; ./lab up --containers makes them"
                ))
            })?;
        let wanted = node.address.to_string();
        let mut seen = Vec::new();
        for endpoint in container.network_settings.networks.values() {
            let address = endpoint.config.as_ref().and_then(|c| c.address.clone());
            if address.as_deref() == Some(&wanted) {
                nodes.insert(
                    name.clone(),
                    Container {
                        id: container.id.clone(),
                        network: endpoint.network.clone(),
                        address: wanted.clone(),
                    },
                );
            }
            seen.extend(address);
        }
        if !nodes.contains_key(name) {
            return Err(EngineError::Unfit(format!(
                "the container of {name} has the address {}, not {wanted}: --subnet or HALAB_SUBNET says where they are",
                if seen.is_empty() {
                    "that the engine chose".to_owned()
                } else {
                    seen.join(", ")
                }
            )));
        }
    }
    Ok(nodes)
}

/// Percent-encoding for the query of a URL.
fn quoted(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Lab {
        Lab::parse(include_str!("../../../lab.toml"), None)
            .unwrap()
            .relocated([198, 51, 100])
    }

    fn listed(lab: &Lab) -> Vec<ListedContainer> {
        let nodes = lab.nodes().map(|node| {
            json!({
                "Id": format!("id-of-{}", node.name),
                "Labels": { SERVICE: node.name },
                "NetworkSettings": { "Networks": { "p_lab": {
                    "NetworkID": "net", "IPAMConfig": { "IPv4Address": node.address.to_string() },
                } } },
            })
        });
        serde_json::from_value(nodes.collect()).unwrap()
    }

    #[test]
    fn every_node_is_found_by_its_service_and_its_address() {
        let lab = lab();
        let found = containers_of(&lab, &listed(&lab), "p").unwrap();
        assert_eq!(found.len(), 5);
        assert_eq!(found["redis-b"].id, "id-of-redis-b");
        assert_eq!(found["redis-b"].address, "198.51.100.12");
    }

    #[test]
    fn a_container_elsewhere_is_not_the_node() {
        let lab = lab();
        let listed = listed(&lab);
        let error = containers_of(&lab.relocated([127, 0, 0]), &listed, "p").unwrap_err();
        assert!(error.to_string().contains("HALAB_SUBNET"), "{error}");
    }

    #[test]
    fn a_node_without_a_container_is_named() {
        let lab = lab();
        let mut listed = listed(&lab);
        listed.retain(|c| c.id != "id-of-sentinel-2");
        let error = containers_of(&lab, &listed, "p").unwrap_err();
        assert!(error.to_string().contains("sentinel-2"), "{error}");
    }

    #[test]
    fn paused_and_disconnected_containers_are_changes_until_they_are_healed() {
        let lab = lab();
        let mut containers = Containers {
            engine: Engine::at("/nonexistent/docker.sock".into()),
            nodes: containers_of(&lab, &listed(&lab), "p").unwrap(),
            paused: Vec::new(),
            disconnected: Vec::new(),
        };
        assert_eq!(containers.changes(), [""; 0]);
        // Recorded before the engine is asked, which is not there.
        containers.pause("redis-a").unwrap_err();
        containers.disconnect("redis-b").unwrap_err();
        let both = ["disconnected containers", "paused containers"];
        assert_eq!(containers.changes(), both);
        containers.reconnect().unwrap_err();
        assert_eq!(containers.changes(), both[1..]);
        containers.unpause().unwrap_err();
        assert_eq!(containers.changes(), [""; 0]);
    }

    #[test]
    fn a_query_holds_no_sign_that_ends_it() {
        assert_eq!(
            quoted(r#"{"a":["b=c"]}"#),
            "%7B%22a%22%3A%5B%22b%3Dc%22%5D%7D"
        );
    }
}
