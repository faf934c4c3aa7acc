//! The faults, one file each, and their registration.
//!
//! A file declares its fault by [`FaultInjector`]: its description, how it is injected, and how it
//! is healed. It is registered in [`FaultKind`], below; everything else (`halab drill --list`, the
//! command line, soak runs, `docs/drills.md`) goes by that list. A module that is not registered
//! does not compile, since it is dead code, and neither does a kind without its module.
//!
//! - [`Definition`]: what is known of a fault without injecting it
//! - [`FaultContext`]: what a fault works with while it is injected
//! - `support`: steps that several faults have in common
//!
//! `docs/contributing/add-a-fault.md` shows how to add one.

#![deny(dead_code)]

mod context;
mod definition;
mod support;

mod add_and_remove_data_node;
mod backup_and_restore;
mod clock_steps;
mod crash_all;
mod crash_all_on_slow_disks;
mod cut_replication_link;
mod damage_file_in_stop;
mod damaged_append_only_file;
mod full_disk;
mod full_disk_of_ledger;
mod full_load;
mod handover;
mod handover_then_kill_new;
mod handover_then_kill_new_node;
mod hang_primary;
mod hang_primary_node;
mod hang_replica;
mod idle_connections;
mod isolate_primary;
mod isolate_primary_with_writer;
mod isolate_replica;
mod kill_both_in_turn;
mod kill_primary;
mod kill_primary_node;
mod kill_replica;
mod kill_sentinel_then_primary;
mod kill_two_sentinels_then_primary;
mod little_cpu;
mod lose_disk_in_stop;
mod lossy_link;
mod maxmemory_reached;
mod move_lab;
mod no_connections_left;
mod read_only_state;
mod replace_sentinel;
mod restart_all_after_failover;
mod restart_primary_in_down_after;
mod restart_primary_without_data;
mod roll_back_disk_in_stop;
mod rolling_restart;
mod rolling_upgrade;
mod sentinel_failover;
mod shorten_file_in_stop;
mod slow_disk;
mod slow_link;
mod slow_network;
mod slower_network;
mod start_without_primary;
mod stop_primary;
mod torn_append_only_file;
mod wake_primary_in_failover;

use crate::drill::environment::{Environment, EnvironmentError};

pub use context::{FaultContext, Findings, InjectionError};
pub use definition::{Control, ControlSetting, Definition, Properties};
pub(super) use support::waiting::{await_first_writes, await_recovery};

/// The imports of the file of a fault.
mod prelude {
    pub(super) use crate::drill::environment::{Environment, EnvironmentError, Requirement};
    pub(super) use crate::drill::faults::{
        Control, Definition, FaultContext, FaultInjector, InjectionError, Properties,
    };
    pub(super) use crate::drill::judging::{Failover, Writes};
}

/// A fault: its description, and how it is injected and healed.
trait FaultInjector {
    /// What it does and needs, and what must hold.
    const DEFINITION: Definition;

    /// Injects the fault into a healthy lab, and observes the lab until the fault may be healed.
    ///
    /// # Errors
    /// When it could not be injected, or the lab did not do what it had to do.
    async fn inject(context: &mut FaultContext<'_>) -> Result<(), InjectionError>;

    /// Undoes what `inject` did to the lab: by default, processes that hang go on, and nodes that
    /// do not run are started. Called also after an error of `inject`, at any point of it; so it
    /// undoes what was done, and it is no error if there is nothing to undo.
    ///
    /// Afterwards the drill undoes whatever is left, and warns of it: that was not paired with its
    /// fault.
    ///
    /// # Errors
    /// The first change that could not be undone.
    fn heal(environment: &mut Environment) -> Result<(), EnvironmentError> {
        environment.nodes.heal()
    }
}

/// Declares [`FaultKind`] from the list of all faults.
macro_rules! register {
    ($($kind:ident in $module:ident,)*) => {
        /// A kind of fault. Its name on the command line and in reports is in kebab-case.
        #[derive(
            Debug,
            Clone,
            Copy,
            PartialEq,
            Eq,
            strum::Display,
            strum::EnumString,
            strum::IntoStaticStr,
            strum::VariantArray,
        )]
        #[strum(serialize_all = "kebab-case")]
        pub enum FaultKind {
            $(
                #[doc = concat!("See `", stringify!($module), ".rs`.")]
                $kind,
            )*
        }

        impl FaultKind {
            /// Its description.
            pub fn definition(self) -> Definition {
                match self {
                    $(FaultKind::$kind => <$module::$kind as FaultInjector>::DEFINITION,)*
                }
            }

            async fn inject_unchecked(
                self,
                context: &mut FaultContext<'_>,
            ) -> Result<(), InjectionError> {
                match self {
                    // Boxed: the future of this function would be as large as the largest of all.
                    $(FaultKind::$kind => Box::pin($module::$kind::inject(context)).await,)*
                }
            }

            /// Undoes what the injection did to the lab.
            ///
            /// # Errors
            /// The first change that could not be undone.
            pub(super) fn heal(self, environment: &mut Environment) -> Result<(), EnvironmentError> {
                match self {
                    $(FaultKind::$kind => $module::$kind::heal(environment),)*
                }
            }
        }
    };
}

// In the order in which `halab drill all` runs them.
register! {
    KillPrimary in kill_primary,
    KillPrimaryNode in kill_primary_node,
    HangPrimary in hang_primary,
    HangPrimaryNode in hang_primary_node,
    WakePrimaryInFailover in wake_primary_in_failover,
    StopPrimary in stop_primary,
    Handover in handover,
    RollingRestart in rolling_restart,
    RollingUpgrade in rolling_upgrade,
    AddAndRemoveDataNode in add_and_remove_data_node,
    ReplaceSentinel in replace_sentinel,
    MoveLab in move_lab,
    SentinelFailover in sentinel_failover,
    IsolatePrimary in isolate_primary,
    IsolatePrimaryWithWriter in isolate_primary_with_writer,
    CutReplicationLink in cut_replication_link,
    KillReplica in kill_replica,
    HangReplica in hang_replica,
    IsolateReplica in isolate_replica,
    KillSentinelThenPrimary in kill_sentinel_then_primary,
    KillTwoSentinelsThenPrimary in kill_two_sentinels_then_primary,
    RestartPrimaryInDownAfter in restart_primary_in_down_after,
    RestartPrimaryWithoutData in restart_primary_without_data,
    KillBothInTurn in kill_both_in_turn,
    RestartAllAfterFailover in restart_all_after_failover,
    SlowLink in slow_link,
    LossyLink in lossy_link,
    FullLoad in full_load,
    MaxmemoryReached in maxmemory_reached,
    IdleConnections in idle_connections,
    TornAppendOnlyFile in torn_append_only_file,
    DamagedAppendOnlyFile in damaged_append_only_file,
    FullDisk in full_disk,
    FullDiskOfLedger in full_disk_of_ledger,
    ReadOnlyState in read_only_state,
    NoConnectionsLeft in no_connections_left,
    SlowDisk in slow_disk,
    ClockSteps in clock_steps,
    LoseDiskInStop in lose_disk_in_stop,
    RollBackDiskInStop in roll_back_disk_in_stop,
    DamageFileInStop in damage_file_in_stop,
    ShortenFileInStop in shorten_file_in_stop,
    StartWithoutPrimary in start_without_primary,
    CrashAll in crash_all,
    CrashAllOnSlowDisks in crash_all_on_slow_disks,
    HandoverThenKillNew in handover_then_kill_new,
    HandoverThenKillNewNode in handover_then_kill_new_node,
    SlowNetwork in slow_network,
    SlowerNetwork in slower_network,
    LittleCpu in little_cpu,
    BackupAndRestore in backup_and_restore,
}

impl FaultKind {
    /// All faults, in the order in which `all` runs them.
    pub const ALL: &'static [FaultKind] = <FaultKind as strum::VariantArray>::VARIANTS;

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Injects the fault if the lab is healthy, and observes the lab until the fault may be healed.
    ///
    /// # Errors
    /// When it could not be injected, or the lab did not do what it had to do.
    pub(super) async fn inject(self, context: &mut FaultContext<'_>) -> Result<(), InjectionError> {
        context.check_undisturbed().await?;
        self.inject_unchecked(context).await
    }
}
