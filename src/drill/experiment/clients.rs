//! Client applications beside the writer: how they are started, and how their calls are judged.

use tracing::warn;

use crate::drill::clients::{CallEnd, Clients, ClientsStart, RecordedCall, Recording, Route};
use crate::drill::environment::EnvironmentError;
use crate::drill::faults::InjectionError;
use crate::drill::report::{
    CalledObject, ClientCalls, ClientSetting, ClientsVia, DrillVerdict, ms,
};
use crate::linearizability::{Linearizability, SearchLimits};

use super::Experiment;

impl Experiment<'_> {
    /// Starts client applications, and a proxy for them, and waits until they are at work. All
    /// their calls are in `file`, in the folder of the run.
    pub(in crate::drill) async fn start_clients(
        &mut self,
        setting: ClientSetting,
        seed: u64,
        file: &str,
    ) -> Result<(), InjectionError> {
        let environment = &mut *self.subject.environment;
        let route = match setting.via {
            ClientsVia::Direct => Route::Direct,
            ClientsVia::Proxy => {
                let mut options = vec!["--policy", self.settings.policy.as_str()];
                if setting.local_reads {
                    options.extend(["--reads", "local"]);
                }
                Route::Proxy(environment.start_proxy(&options)?)
            }
        };
        let path = environment.folder().join(file);
        let start = ClientsStart {
            lab: &environment.lab,
            route,
            count: setting.count,
            seed,
            begun: self.subject.observer.begun(),
            file: &path,
        };
        let clients = Clients::start(start);
        let clients = clients.map_err(|source| EnvironmentError::File { path, source })?;
        let at_work = clients.await_first_calls().await;
        self.clients = Some(clients);
        match at_work {
            true => Ok(()),
            false => Err(InjectionError::Missed(
                "the calls of clients are not answered on a healthy lab".into(),
            )),
        }
    }
}

/// The judgement of all calls; `fault` is the time from which counterexamples count.
pub(super) async fn checked(recording: Recording, fault: Option<u64>) -> ClientCalls {
    // It takes seconds where it is difficult.
    let checking =
        tokio::task::spawn_blocking(move || check(&recording, fault.unwrap_or_default()));
    checking.await.unwrap_or_else(|error| {
        warn!(%error, "the check of the clients' calls has failed");
        ClientCalls {
            failure: Some(format!("the check has failed: {error}")),
            ..ClientCalls::default()
        }
    })
}

fn check(recording: &Recording, fault: u64) -> ClientCalls {
    let count = |wanted: fn(&CallEnd) -> bool| {
        let ends = recording
            .calls
            .iter()
            .filter_map(|call| call.ended.as_ref());
        ends.filter(|(_, end)| wanted(end)).count()
    };
    let took = |call: &RecordedCall| Some(call.ended.as_ref()?.0 - call.invoked);
    let answered = count(|end| matches!(end, CallEnd::Answered(_)));
    let not_executed = count(|end| matches!(end, CallEnd::NotExecuted(_)));
    ClientCalls {
        calls: recording.calls.len(),
        answered,
        not_executed,
        unknown: recording.calls.len() - answered - not_executed,
        longest_ms: ms(recording
            .calls
            .iter()
            .filter_map(took)
            .max()
            .unwrap_or_default()),
        failure: recording.failure.clone(),
        objects: (0..recording.objects.len())
            .map(|object| check_object(recording, object, fault))
            .collect(),
    }
}

fn check_object(recording: &Recording, object: usize, fault: u64) -> CalledObject {
    let history = recording.history(object);
    let (verdict, counterexample) = match history.check(SearchLimits::default()) {
        Linearizability::Linearizable => (DrillVerdict::Holds, None),
        Linearizability::Inconclusive => (DrillVerdict::Inconclusive, None),
        Linearizability::Violated(shown) => (DrillVerdict::Violated, Some(shown.text(fault))),
    };
    let shared = &recording.objects[object];
    CalledObject {
        key: shared.key.clone(),
        kind: shared.kind.to_string(),
        calls: history.operations.len(),
        verdict,
        counterexample,
    }
}
