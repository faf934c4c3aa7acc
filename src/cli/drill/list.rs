//! `halab drill --list`, and the faults by their names.

use anyhow::bail;
use clap::builder::PossibleValuesParser;

use crate::cli::CommandResult;
use crate::cli::output::print_text;
use crate::drill::faults::{Control, FaultKind};
use crate::exit::Exit;

/// The name that stands for all faults.
const ALL: &str = "all";

pub(super) fn list() -> CommandResult {
    for fault in FaultKind::ALL {
        let definition = fault.definition();
        let in_containers = definition.not_in_containers.is_none();
        print_text(format_args!(
            "{fault}{}\n  does: {}\n  must: {}\n  control: {}",
            definition.requirement.description(in_containers),
            definition.does,
            definition.must,
            match definition.control {
                Control::Loses(setting) => setting.to_string(),
                Control::Nothing(why) => format!("none: {why}"),
            }
        ))?;
    }
    Ok(Exit::Holds)
}

/// The possible values of an argument: the names of all faults, and `all`.
pub(in crate::cli) fn fault_names() -> PossibleValuesParser {
    let names = FaultKind::ALL.iter().map(|fault| fault.name());
    PossibleValuesParser::new([ALL].into_iter().chain(names))
}

/// The faults of these names; `all` stands for all of them.
pub(in crate::cli) fn faults(names: &[String]) -> anyhow::Result<Vec<FaultKind>> {
    let mut faults = Vec::new();
    for name in names {
        if name == ALL {
            faults.extend(FaultKind::ALL);
        } else {
            faults.push(name.parse()?);
        }
    }
    Ok(faults)
}

/// Leaves out of `all` the faults that have no control; one that was named itself is refused.
pub(super) fn with_controls(names: &[String], faults: &mut Vec<FaultKind>) -> anyhow::Result<()> {
    for name in names.iter().filter(|name| *name != ALL) {
        let fault: FaultKind = name.parse()?;
        if let Control::Nothing(why) = fault.definition().control {
            bail!("{name} has no control: {why}");
        }
    }
    faults.retain(|fault| matches!(fault.definition().control, Control::Loses(_)));
    Ok(())
}
