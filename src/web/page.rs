//! The files of the page. Nothing is built, and nothing is loaded from elsewhere.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::drill::report::html::CHART_STYLE;

/// The page.
pub(super) const INDEX: &str = include_str!("page/index.html");
/// The answer without a token.
pub(super) const NO_TOKEN: &str = include_str!("page/no-token.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A file of the page: its type and its content.
pub(super) fn file(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "main.js" => (SCRIPT, include_str!("page/main.js")),
        "state.js" => (SCRIPT, include_str!("page/state.js")),
        "topology.js" => (SCRIPT, include_str!("page/topology.js")),
        "chart.js" => (SCRIPT, include_str!("page/chart.js")),
        "drills.js" => (SCRIPT, include_str!("page/drills.js")),
        "faults.js" => (SCRIPT, include_str!("page/faults.js")),
        "timeline.js" => (SCRIPT, include_str!("page/timeline.js")),
        "request.js" => (SCRIPT, include_str!("page/request.js")),
        "text.js" => (SCRIPT, include_str!("page/text.js")),
        "style.css" => (STYLE, include_str!("page/style.css")),
        "chart.css" => (STYLE, CHART_STYLE),
        "icon.svg" => ("image/svg+xml", include_str!("page/icon.svg")),
        _ => return None,
    })
}

/// An answer with HTML.
pub(super) fn html(text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], text)
}
