//! The page over HTTP: its files, the stream of what it shows, and requests for faults.
//!
//! No GET changes anything. Every answer forbids content from elsewhere, scripts in the page, and
//! frames.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use tokio_util::task::TaskTracker;

use crate::http::{HttpServer, Limits, OpenEnd};

use super::access::{Access, Refusal, own_host};
use super::board::{Board, PageMessage};
use super::drills::{DrillRequest, Drills};
use super::faults::{FaultRefusal, FaultRequest, PageFaults};
use super::page;

/// An answer that is no stream takes milliseconds.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(10),
    connections: 64,
};
/// Open pages, at most; fewer than connections, so that there is room for other requests.
pub(super) const PAGES_MAX: usize = 32;
/// Time without a message after which a comment is sent, so that a lost client is noticed.
const QUIET: Duration = Duration::from_secs(5);
/// Longest accepted request for a fault.
const REQUEST_MAX: usize = 4 * 1024;

/// Only files of this server; nothing may embed the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Of a drill's report, which has its style in itself, and no scripts.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                             form-action 'none'; frame-ancestors 'none'";

/// An answer that has its style in itself.
#[derive(Clone)]
struct OwnStyle;

/// What the handlers need.
pub(super) struct PageServer {
    pub(super) access: Access,
    pub(super) board: Arc<Board>,
    faults: Arc<PageFaults>,
    drills: Arc<Drills>,
    /// Requests that go on although their client has gone.
    requests: TaskTracker,
    pages: Arc<Semaphore>,
}

impl PageServer {
    pub(super) fn new(
        access: Access,
        board: Arc<Board>,
        faults: PageFaults,
        drills: Arc<Drills>,
        requests: TaskTracker,
    ) -> Self {
        PageServer {
            access,
            board,
            faults: Arc::new(faults),
            drills,
            requests,
            pages: Arc::new(Semaphore::new(PAGES_MAX)),
        }
    }

    /// Serves until the result is dropped.
    pub(super) async fn start(self: Arc<Self>, listen: SocketAddrV4) -> io::Result<HttpServer> {
        HttpServer::start(listen, router(self), LIMITS).await
    }
}

fn router(server: Arc<PageServer>) -> Router {
    let for_viewers = Router::new()
        .route("/files/{name}", get(file))
        .route("/events", get(events))
        .route("/reports/{name}", get(report))
        .route("/api/faults", post(fault))
        .route("/api/drills", post(drill))
        .route_layer(middleware::from_fn_with_state(server.clone(), permitted));
    Router::new()
        .route("/", get(index))
        .route("/healthz", get("ok\n"))
        .merge(for_viewers)
        .layer(middleware::from_fn(with_headers))
        .with_state(server)
}

/// The headers of every answer.
async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = match own_host(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    };
    let of_origin = HeaderName::from_static("cross-origin-resource-policy");
    let policy = match response.extensions().get::<OwnStyle>() {
        Some(_) => REPORT_POLICY,
        None => POLICY,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (of_origin, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn permitted(
    State(server): State<Arc<PageServer>>,
    request: Request,
    next: Next,
) -> Response {
    let permitted = match *request.method() {
        Method::GET | Method::HEAD => server.access.may_look(request.headers()),
        _ => server.access.may_change(request.headers()),
    };
    match permitted {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::OtherHost => (
            StatusCode::MISDIRECTED_REQUEST,
            "open this page by the address of the lab, or by localhost\n",
        )
            .into_response(),
        Refusal::NoToken => (StatusCode::UNAUTHORIZED, page::html(page::NO_TOKEN)).into_response(),
        Refusal::OtherOrigin => (
            StatusCode::FORBIDDEN,
            "only the page itself may do this, or a script that sends the token as bearer token\n",
        )
            .into_response(),
    }
}

async fn index(State(server): State<Arc<PageServer>>, headers: HeaderMap, uri: Uri) -> Response {
    if server.access.is_link(uri.query()) {
        // The token leaves the address bar, and the history of the browser.
        let headers = [
            (SET_COOKIE, server.access.cookie()),
            (LOCATION, "/".to_owned()),
        ];
        return (StatusCode::SEE_OTHER, headers).into_response();
    }
    match server.access.may_look(&headers) {
        Ok(()) => page::html(page::INDEX).into_response(),
        Err(refusal) => refused(refusal),
    }
}

async fn file(Path(name): Path<String>) -> Response {
    match page::file(&name) {
        Some((kind, content)) => ([(CONTENT_TYPE, kind)], content).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A page that is open.
struct OpenPage {
    board: Arc<Board>,
    waiting: VecDeque<PageMessage>,
    updates: broadcast::Receiver<PageMessage>,
    _place: OwnedSemaphorePermit,
}

impl OpenPage {
    async fn next(&mut self) -> Option<PageMessage> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            match self.updates.recv().await {
                Ok(message) => return Some(message),
                // It was too slow: it starts anew.
                Err(RecvError::Lagged(_)) => {
                    let (now, updates) = self.board.open();
                    self.waiting = now.into();
                    self.updates = updates;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

async fn events(
    State(server): State<Arc<PageServer>>,
    Extension(open_end): Extension<OpenEnd>,
) -> Response {
    let Ok(place) = server.pages.clone().try_acquire_owned() else {
        let why = "too many pages are open: close some of them\n";
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    open_end.lift_limit();
    let (now, updates) = server.board.open();
    let page = OpenPage {
        board: server.board.clone(),
        waiting: now.into(),
        updates,
        _place: place,
    };
    let keep_alive = KeepAlive::new().interval(QUIET);
    Sse::new(messages(page))
        .keep_alive(keep_alive)
        .into_response()
}

fn messages(page: OpenPage) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(page, |mut page| async {
        let message = page.next().await?;
        let event = Event::default().event(message.event).data(&*message.json);
        Some((Ok(event), page))
    })
}

async fn fault(
    State(server): State<Arc<PageServer>>,
    Extension(open_end): Extension<OpenEnd>,
    body: Body,
) -> Response {
    let request: FaultRequest = match request(body).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    // A planned stop takes longer than other answers.
    open_end.lift_limit();
    let faults = server.faults.clone();
    let injected = server
        .requests
        .spawn(async move { faults.inject(request).await });
    let Ok(injected) = injected.await else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "the request has failed");
    };
    match injected {
        Ok(done) => json(StatusCode::OK, &serde_json::json!({ "done": done })),
        Err(FaultRefusal::NotAllowed) => problem(
            StatusCode::FORBIDDEN,
            "this page may only look: start halab web with --allow-faults",
        ),
        // A question is no error, which a browser would log.
        Err(FaultRefusal::Ask(stakes)) => {
            json(StatusCode::OK, &serde_json::json!({ "stakes": stakes }))
        }
        Err(FaultRefusal::Impossible(why)) => problem(StatusCode::UNPROCESSABLE_ENTITY, &why),
    }
}

async fn drill(State(server): State<Arc<PageServer>>, body: Body) -> Response {
    let request: DrillRequest = match request(body).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    match server.drills.start(&request).await {
        Ok(done) => json(StatusCode::OK, &serde_json::json!({ "done": done })),
        Err(why) => problem(StatusCode::UNPROCESSABLE_ENTITY, &why),
    }
}

async fn report(State(server): State<Arc<PageServer>>, Path(name): Path<String>) -> Response {
    match server.drills.report(&name) {
        Some(text) => {
            let kind = [(CONTENT_TYPE, "text/html; charset=utf-8")];
            (Extension(OwnStyle), kind, text).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no report has this name\n").into_response(),
    }
}

/// The request in a body.
async fn request<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, Response> {
    let Ok(body) = axum::body::to_bytes(body, REQUEST_MAX).await else {
        return Err(problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request is too long",
        ));
    };
    serde_json::from_slice(&body).map_err(|error| {
        let why = format!("not a request that is understood: {error}");
        problem(StatusCode::BAD_REQUEST, &why)
    })
}

fn problem(status: StatusCode, why: &str) -> Response {
    json(status, &serde_json::json!({ "problem": why }))
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let headers = [(CONTENT_TYPE, "application/json")];
    (status, headers, value.to_string()).into_response()
}
