//! The metrics of disk and memory.
//!
//! A thread of its own measures them: a disk that hangs may block the measurement, and the one
//! thread of a node must not block for so long.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::capacity::{DiskSpace, ProcessMemory, disk_at, memory};

/// Pause between two measurements: an alert on a full disk counts in minutes.
const PAUSE: Duration = Duration::from_secs(2);

type Number = Gauge<f64, AtomicU64>;

/// The metrics; NaN is *not known*, with which no alert compares.
#[derive(Debug, Clone)]
pub(in crate::node) struct ResourceMetrics {
    disk_free: Number,
    inodes_free: Number,
    memory_limit: Number,
    memory_available: Number,
}

impl Default for ResourceMetrics {
    fn default() -> Self {
        let unknown = || {
            let gauge = Number::default();
            gauge.set(f64::NAN);
            gauge
        };
        ResourceMetrics {
            disk_free: unknown(),
            inodes_free: unknown(),
            memory_limit: unknown(),
            memory_available: unknown(),
        }
    }
}

impl ResourceMetrics {
    pub(in crate::node) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "disk_free",
            "Free space on the disk of the node's state folder; NaN: not known",
            Unit::Bytes,
            self.disk_free.clone(),
        );
        registry.register(
            "disk_inodes_free",
            "Files that can still be made on that disk; NaN: it has no such limit",
            self.inodes_free.clone(),
        );
        registry.register_with_unit(
            "memory_limit",
            "The lowest memory limit around the node and its server, of their cgroups or the machine; NaN: not known",
            Unit::Bytes,
            self.memory_limit.clone(),
        );
        registry.register_with_unit(
            "memory_available",
            "What can still be taken below that limit, and on the machine; NaN: not known",
            Unit::Bytes,
            self.memory_available.clone(),
        );
    }

    fn set(&self, disk: Option<DiskSpace>, memory: ProcessMemory) {
        #[allow(
            clippy::cast_precision_loss,
            reason = "all metrics are floating point; off by less than a part in 10^15"
        )]
        let number = |value: Option<u64>| value.map_or(f64::NAN, |value| value as f64);
        self.disk_free.set(number(disk.map(|d| d.free)));
        self.inodes_free
            .set(number(disk.and_then(|d| d.inodes_free)));
        self.memory_limit.set(number(memory.limit));
        self.memory_available.set(number(memory.available));
    }

    /// Keeps them up to date, for the disk of that folder, in a thread that ends with the process.
    ///
    /// # Errors
    /// When no thread can be made.
    pub(in crate::node) fn watch(&self, folder: PathBuf) -> io::Result<()> {
        let metrics = self.clone();
        let look = move || {
            loop {
                metrics.set(disk_at(&folder).ok(), memory());
                thread::sleep(PAUSE);
            }
        };
        thread::Builder::new()
            .name("resources".into())
            .spawn(look)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_number() {
        let metrics = ResourceMetrics::default();
        let all = |metrics: &ResourceMetrics| {
            [
                metrics.disk_free.get(),
                metrics.inodes_free.get(),
                metrics.memory_limit.get(),
                metrics.memory_available.get(),
            ]
        };
        assert!(all(&metrics).iter().all(|value| value.is_nan()));
        let disk = DiskSpace {
            free: 7,
            inodes_free: None,
        };
        let memory = ProcessMemory {
            limit: Some(3),
            available: Some(2),
        };
        metrics.set(Some(disk), memory);
        let [disk, inodes, limit, available] = all(&metrics);
        assert_eq!([disk, limit, available], [7.0, 3.0, 2.0]);
        assert!(inodes.is_nan());
    }
}
