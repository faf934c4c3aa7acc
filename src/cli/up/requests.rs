//! Starting and stopping one node of a running `halab up`: the one who asks, and the one who does
//! it.

use std::fs::File;
use std::path::Path;

use anyhow::anyhow;
use tokio::sync::mpsc;

use crate::exit::Exit;
use crate::runner::{
    ControlAnswer, ControlError, ControlSocket, NodeAction, NodeRequest, Runner, request,
};

use super::super::output::print_text;
use super::super::{CommandResult, Failure};

/// Asks the `halab up` that runs with this state folder.
pub(super) fn ask(state: &Path, action: NodeAction, node: &str) -> CommandResult {
    match request(state, action, node) {
        Ok(ControlAnswer::Done(text)) => print_text(text).map(|()| Exit::Holds),
        Ok(ControlAnswer::Unknown(text)) => Err(Failure::usage(anyhow!(text))),
        Ok(ControlAnswer::Failed(text)) => Err(anyhow!(text).into()),
        Err(error @ ControlError::NobodyThere(_)) => Err(Failure::refused(error)),
        Err(error) => Err(error.into()),
    }
}

/// The requests to this `halab up`.
pub(super) struct NodeRequests {
    socket: Option<ControlSocket>,
    incoming: mpsc::Receiver<NodeRequest>,
    /// Keeps `incoming` open where there is no socket.
    _open: mpsc::Sender<NodeRequest>,
    /// Those that wait until their node has stopped.
    stopping: Vec<NodeRequest>,
}

impl NodeRequests {
    /// Locks the state folder, and listens in it. Without a socket, the lab runs all the same.
    ///
    /// # Errors
    /// If another `halab up` runs there: it would start the same nodes, and close their lab at its
    /// end.
    pub(super) fn listen(state: &Path) -> Result<Self, Failure> {
        let (sender, incoming) = mpsc::channel(1);
        let socket = match ControlSocket::open(state, sender.clone()) {
            Ok(socket) => Some(socket),
            Err(error @ ControlError::InUse(_)) => return Err(Failure::refused(error)),
            Err(error) => {
                tracing::warn!("nodes cannot be started or stopped one by one: {error}");
                None
            }
        };
        Ok(NodeRequests {
            socket,
            incoming,
            _open: sender,
            stopping: Vec::new(),
        })
    }

    /// Ends all requests without an answer. The state folder is locked until the result is dropped.
    pub(super) fn close(self) -> Option<File> {
        self.socket.as_ref()?.lock().ok()
    }

    /// The shell command that asks for `start NAME` or `stop NAME`, if this process listens.
    pub(super) fn node_command(&self, program: &Path, state: &Path) -> Option<String> {
        self.socket.as_ref()?;
        shell_command(program, state)
    }

    pub(super) async fn next(&mut self) -> Option<NodeRequest> {
        self.incoming.recv().await
    }

    /// Begins what is requested. Returns the name of a node that was started.
    pub(super) fn begin(&mut self, runner: &mut Runner, request: NodeRequest) -> Option<String> {
        let name = request.node.clone();
        if !runner.node_names().any(|known| known == name) {
            let names: Vec<&str> = runner.node_names().collect();
            let names = names.join(", ");
            let text = format!("the lab has no node {name:?}; its nodes: {names}");
            request.answer(ControlAnswer::Unknown(text));
            return None;
        }
        let is_running = runner.is_running(&name);
        match request.action {
            NodeAction::Stop if is_running || runner.is_stopping(&name) => {
                runner.begin_stop(&name);
                tracing::info!(node = %name, "stopping on request");
                self.stopping.push(request);
            }
            NodeAction::Stop => {
                request.answer(ControlAnswer::Done(format!("{name} does not run")));
            }
            NodeAction::Start if runner.is_stopping(&name) => {
                let text = format!("{name} is stopping; try again when it has stopped");
                request.answer(ControlAnswer::Failed(text));
            }
            NodeAction::Start if is_running => {
                request.answer(ControlAnswer::Done(format!("{name} runs already")));
            }
            NodeAction::Start => match runner.start_node(&name) {
                Ok(()) => {
                    tracing::info!(node = %name, "started on request");
                    request.answer(ControlAnswer::Done(format!("started {name}")));
                    return Some(name);
                }
                Err(error) => request.answer(ControlAnswer::Failed(error.to_string())),
            },
        }
        None
    }

    /// Answers those whose nodes have stopped.
    pub(super) fn check(&mut self, runner: &mut Runner) {
        for (name, status) in runner.stopped() {
            tracing::info!(node = %name, %status, "stopped on request");
            let text = match status.success() {
                true => format!("stopped {name}"),
                false => format!("{name} has ended, but not as planned: {status}"),
            };
            for request in self.stopping.extract_if(.., |request| request.node == name) {
                request.answer(ControlAnswer::Done(text.clone()));
            }
        }
    }
}

fn shell_command(program: &Path, state: &Path) -> Option<String> {
    let quoted = |path: &Path| Some(shlex::try_quote(path.to_str()?).ok()?.into_owned());
    let (program, state) = (quoted(program)?, quoted(state)?);
    Some(format!(
        "ask() {{ exec {program} --state {state} up \"--$1\" \"$2\"; }}; ask"
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_shell_command_asks_this_program_whatever_the_names_of_its_paths() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("it's \"ha lab\" $(exit)");
        fs::write(&program, "#!/bin/sh\nprintf '<%s>' \"$@\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let command = shell_command(&program, Path::new("a 'state' \\ `x` *")).unwrap();
        // As the page calls it.
        let output = Command::new("sh")
            .args(["-c", &format!("{command} \"$@\""), "sh", "stop", "redis-a"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            said, "<--state><a 'state' \\ `x` *><up><--stop><redis-a>",
            "{command}"
        );
    }
}
