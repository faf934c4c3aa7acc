//! The faults by their names, and what is said of each.

use anyhow::bail;

use crate::cli::CommandResult;
use crate::cli::output::print_text;
use crate::drill::control::Control;
use crate::drill::fault::{Fault, Needs};
use crate::exit::Exit;

pub(super) fn list() -> CommandResult {
    for fault in Fault::ALL {
        let spec = fault.spec();
        let needs = match spec.needs {
            Needs::Signals => "",
            Needs::OwnNodes => " (not with --attach)",
            Needs::OwnNetwork | Needs::RoundTrips(_) => {
                " (in a network namespace, not with --attach)"
            }
            Needs::LittleCpu => " (with cgroups, as root, not with --attach)",
            Needs::Tracing => " (with strace)",
            Needs::OwnClocks => " (with libfaketime, not with --attach)",
            Needs::OwnLimits => " (not with --attach)",
            Needs::OtherServer => " (with a second server, not with --attach)",
            Needs::OwnDisks => " (in a mount namespace, not with --attach)",
        };
        let needs = match (spec.needs, fault.not_in_containers()) {
            (Needs::OwnNodes, None) => " (not with --attach, but for containers)",
            (Needs::OwnNetwork, None) => {
                " (in a network namespace, not with --attach, but for containers)"
            }
            _ => needs,
        };
        print_text(format_args!(
            "{}{needs}\n  does: {}\n  must: {}\n  control: {}",
            spec.name,
            spec.does,
            spec.must,
            match spec.control {
                Control::Loses(without) => without.to_string(),
                Control::Nothing(why) => format!("none: {why}"),
            }
        ))?;
    }
    Ok(Exit::Holds)
}

/// The faults of these names; `all` is all of them.
pub(in crate::cli) fn faults(names: &[String]) -> anyhow::Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for name in names {
        if name == "all" {
            faults.extend(Fault::ALL);
        } else {
            faults.push(name.parse::<Fault>()?);
        }
    }
    Ok(faults)
}

/// Leaves out of `all` the faults that have no control; one that was named itself is refused.
pub(super) fn with_controls(names: &[String], faults: &mut Vec<Fault>) -> anyhow::Result<()> {
    for name in names.iter().filter(|name| *name != "all") {
        if let Control::Nothing(why) = name.parse::<Fault>()?.spec().control {
            bail!("{name} has no control: {why}");
        }
    }
    faults.retain(|fault| matches!(fault.spec().control, Control::Loses(_)));
    Ok(())
}
