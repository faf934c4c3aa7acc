//! `halab soak`.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::drill::faults::FaultKind;
use crate::drill::report::{NodesKind, markdown};
use crate::drill::{DrillPlan, SoakListener, SoakPlan, SoakProgress, soak};

use super::drill::{
    ClientArgs, CommonArgs, enter_namespaces, fault_names, faults, rate_beside, write_report,
};
use super::output::{print_note, print_text};
use super::{CommandResult, Failure, Global, Threads, parse_duration, with_signals};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    halab --profile fast soak --for 30m --json soak.json\n  \
    halab soak --for 2h --policy available --policy replicated --server ./redis-server-8\n  \
    halab soak --for 10m kill-primary hang-primary      only these faults\n  \
    halab soak --for 30m --clients proxy                clients through a proxy, and a check of their answers\n\n\
    Faults come in random order, each once the lab has recovered from the last. Each policy and server gets an\n\
    equal share of the time. Ends early when an invariant does not hold, and keeps all files of the run.\n\
    Ctrl-C ends it in order, with a verdict over the faults so far.")]
pub(super) struct SoakArgs {
    /// The faults to choose from [default: all]
    #[arg(value_name = "FAULT", value_parser = fault_names())]
    faults: Vec<String>,
    /// Total duration
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Duration,
    /// Read all records back and empty the lab after this number of records
    #[arg(long, value_name = "N", default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    chapter: u64,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    clients: ClientArgs,
}

pub(super) fn run(global: &Global, args: &SoakArgs) -> CommandResult {
    let faults = match args.faults.as_slice() {
        [] => FaultKind::ALL.to_vec(),
        names => faults(names).map_err(Failure::usage)?,
    };
    let clients = args.clients.setting().map_err(Failure::usage)?;
    let setups = args.common.setups(global, &[NodesKind::Ours], false)?;
    let plan: DrillPlan = args.common.plan(global, faults, setups)?;
    let plan = DrillPlan {
        clients,
        rate: rate_beside(clients, plan.rate),
        ..plan
    };
    enter_namespaces(&plan)?;
    let plan = SoakPlan {
        plan,
        duration: args.duration,
        chapter: args.chapter,
    };
    print_note(format_args!("seed {}", plan.plan.seed));
    let report = with_signals(Threads::Many, |token| async move {
        let listener: SoakListener = Arc::new(show);
        Ok(soak(&plan, &token, &listener).await)
    })?;
    write_report(&report, args.common.json.as_deref(), None)?;
    for run in report.drills.iter().flat_map(|drill| &drill.runs) {
        for reason in &run.reasons {
            print_text(format_args!("because: {reason}"))?;
        }
        if let Some(kept) = &run.kept {
            print_text(format_args!("kept: {kept}"))?;
        }
    }
    print_text(format_args!(
        "\n{}\n{}",
        markdown::text(&report),
        markdown::sums(&report)
    ))?;
    Ok(report.verdict.into())
}

fn show(progress: SoakProgress<'_>) {
    let seconds = progress.elapsed.as_secs();
    let what = progress.fault.map_or_else(
        || "chapter verified".to_owned(),
        |fault| format!("fault {}: {fault}", progress.faults),
    );
    let trouble = progress.trouble.map_or(String::new(), |t| format!("; {t}"));
    let calls = match progress.calls {
        0 => String::new(),
        calls => format!(", {calls} calls answered"),
    };
    // A closed standard error is no reason to end.
    let _ = writeln!(
        std::io::stderr(),
        "{:>2}:{:02} {what:<46} {} acknowledged, {} of them read back{calls}{trouble}",
        seconds / 60,
        seconds % 60,
        progress.acknowledged,
        progress.verified,
    );
}
