//! Serves a registry of metrics over HTTP, for Prometheus.
//!
//! The pages are `/metrics` and, for a node, `/status`, for the proxy, `/healthz`. `crate::http`
//! limits what clients can use. The metrics themselves are defined where they are measured (`node`,
//! `writer`, `proxy`). A process that does not run all the time has a target file for Prometheus
//! (`target`).

mod target;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::http::{HttpServer, Limits};

use target::TargetFile;

pub use target::Target;

/// Prometheus is one client, and its requests take milliseconds.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(2),
    connections: 16,
};
/// The output of `encode`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const HINT: &str = "metrics are at /metrics\n";

/// Makes the text of a page at each request, without waiting for anything.
pub type Page = Box<dyn Fn() -> String + Send + Sync>;

/// States at each request, without waiting for anything, whether the process serves, with a text.
pub type Health = Box<dyn Fn() -> Result<String, String> + Send + Sync>;

/// The pages beside the metrics.
#[derive(Default)]
struct Pages {
    status: Option<Page>,
    health: Option<Health>,
}

/// Serves metrics until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    server: HttpServer,
    target_file: Option<TargetFile>,
}

impl MetricsServer {
    /// Listens on `address` and serves what is in `registry` at the time of each request.
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn start(address: SocketAddrV4, registry: Registry) -> io::Result<Self> {
        Self::start_pages(address, registry, Pages::default()).await
    }

    /// The same, and what `status` returns at `/status`, as JSON.
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn start_with(
        address: SocketAddrV4,
        registry: Registry,
        status: Page,
    ) -> io::Result<Self> {
        let pages = Pages {
            status: Some(status),
            ..Pages::default()
        };
        Self::start_pages(address, registry, pages).await
    }

    /// The same, and at `/healthz` what `health` states: 200 or 503, with its text.
    ///
    /// # Errors
    /// When the address can't be had.
    pub async fn start_with_health(
        address: SocketAddrV4,
        registry: Registry,
        health: Health,
    ) -> io::Result<Self> {
        let pages = Pages {
            health: Some(health),
            ..Pages::default()
        };
        Self::start_pages(address, registry, pages).await
    }

    async fn start_pages(
        address: SocketAddrV4,
        registry: Registry,
        pages: Pages,
    ) -> io::Result<Self> {
        let server = HttpServer::start(address, router(registry, pages), LIMITS).await?;
        Ok(MetricsServer {
            server,
            target_file: None,
        })
    }

    /// Writes the target file for Prometheus, which is removed when this server is dropped.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_target_file(&mut self, target: &Target) -> io::Result<()> {
        self.target_file = TargetFile::write(target, self.address())?;
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

fn router(registry: Registry, pages: Pages) -> Router {
    let registry = Arc::new(registry);
    let metrics = move || async move { exposition(&registry) };
    let mut router = Router::new().route("/metrics", get(metrics));
    if let Some(health) = pages.health.map(Arc::new) {
        let healthz = move || async move {
            match health() {
                Ok(text) => (StatusCode::OK, text),
                Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
            }
        };
        router = router.route("/healthz", get(healthz));
    }
    if let Some(page) = pages.status.map(Arc::new) {
        let status = move || async move { ([(CONTENT_TYPE, "application/json")], page()) };
        router = router.route("/status", get(status));
    }
    router
        .fallback((StatusCode::NOT_FOUND, HINT))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, HINT))
}

fn exposition(registry: &Registry) -> Result<impl IntoResponse + use<>, StatusCode> {
    let mut text = String::with_capacity(8 * 1024);
    // It fails only if a metric does not write itself.
    encode(&mut text, registry).map_err(|fmt::Error| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text))
}
