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

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules that one of the page imports.
    fn imports(name: &str) -> Vec<&'static str> {
        let (kind, text) = file(name).unwrap_or_else(|| panic!("{name} is not served"));
        assert_eq!(kind, SCRIPT, "{name}");
        let lines = text.lines().filter(|line| line.starts_with("import "));
        let quoted = lines.filter_map(|line| line.split('"').nth(1));
        quoted
            .map(|path| path.strip_prefix("./").expect("a file of the page"))
            .collect()
    }

    fn visit(name: &'static str, above: &mut Vec<&'static str>) {
        assert!(
            !above.contains(&name),
            "{above:?} import {name} in a circle"
        );
        above.push(name);
        for imported in imports(name) {
            visit(imported, above);
        }
        above.pop();
    }

    #[test]
    fn every_imported_module_is_served_and_none_imports_itself() {
        assert!(imports("main.js").len() > 3);
        visit("main.js", &mut Vec::new());
    }
}
