//! Live tests: real servers, real Sentinels, each lab on a loopback network of its own.
//!
//! A lab ends with its test, whatever happens; a test that fails shows how the lab was.

// In tests, a failed step is to end the test with its message.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "live/lab.rs"]
mod lab;
#[path = "live/liar.rs"]
mod liar;

#[path = "live/applications.rs"]
mod applications;
#[path = "live/backup.rs"]
mod backup;
#[path = "live/causes.rs"]
mod causes;
#[path = "live/choosing.rs"]
mod choosing;
#[path = "live/closing.rs"]
mod closing;
#[path = "live/copies.rs"]
mod copies;
#[path = "live/doctor.rs"]
mod doctor;
#[path = "live/drills.rs"]
mod drills;
#[path = "live/failover.rs"]
mod failover;
#[path = "live/following.rs"]
mod following;
#[path = "live/forwarded.rs"]
mod forwarded;
#[path = "live/handover.rs"]
mod handover;
#[path = "live/hostile.rs"]
mod hostile;
#[path = "live/members.rs"]
mod members;
#[path = "live/membership.rs"]
mod membership;
#[path = "live/metrics.rs"]
mod metrics;
#[path = "live/nodes.rs"]
mod nodes;
#[path = "live/pacing.rs"]
mod pacing;
#[path = "live/proxy.rs"]
mod proxy;
#[path = "live/proxy_metrics.rs"]
mod proxy_metrics;
#[path = "live/proxy_service.rs"]
mod proxy_service;
#[path = "live/proxy_tls.rs"]
mod proxy_tls;
#[path = "live/raise.rs"]
mod raise;
#[path = "live/screen.rs"]
mod screen;
#[path = "live/security.rs"]
mod security;
#[path = "live/slow.rs"]
mod slow;
#[path = "live/tls.rs"]
mod tls;
#[path = "live/up.rs"]
mod up;
#[path = "live/upgrade.rs"]
mod upgrade;
#[path = "live/verifying.rs"]
mod verifying;
#[path = "live/writing.rs"]
mod writing;
