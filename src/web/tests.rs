//! The page's server against requests: permitted, not permitted, malformed, hostile, many.

use std::net::Ipv4Addr;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::http::HttpServer;

use super::faults::FaultRefusal;
use super::*;

/// A limit for a whole test.
const TEST_LIMIT: Duration = Duration::from_secs(20);

struct Served {
    server: HttpServer,
    board: Arc<Board>,
    token: String,
    cookie: String,
    _folder: TempDir,
}

/// The faults of a lab in a subnet in which nothing listens.
fn faults_of(state: &Path, is_allowed: bool, node_command: Option<&str>) -> PageFaults {
    let mut lab = Lab::parse(include_str!("../../lab.toml"), None)
        .unwrap()
        .relocated([127, 254, 252]);
    lab.security.acl = false;
    PageFaults {
        observer: Arc::new(LabObserver::start_as(&lab, User::Verifier, Instant::now())),
        lab,
        is_allowed,
        state: state.to_owned(),
        cuts: None,
        node_command: node_command.map(str::to_owned),
        status: watch::channel(None).1,
        is_busy: Arc::default(),
        handling: tokio::sync::Mutex::default(),
        last_loss: watch::Sender::default(),
        stop: CancellationToken::new(),
    }
}

/// The page of that lab.
async fn served(allow_faults: bool) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let listen = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let access = open(listen, folder.path()).unwrap();
    let token = access.link().split_once("token=").unwrap().1.to_owned();
    let cookie = access.cookie().split_once(';').unwrap().0.to_owned();
    let board = Arc::new(Board::new());
    let faults = faults_of(folder.path(), allow_faults, None);
    let drills = Drills::new(
        folder.path(),
        allow_faults,
        Vec::new(),
        board.clone(),
        CancellationToken::new(),
    )
    .unwrap();
    let server = PageServer::new(
        access,
        board.clone(),
        faults,
        drills.into(),
        TaskTracker::new(),
    );
    Served {
        server: Arc::new(server).start(listen).await.unwrap(),
        board,
        token,
        cookie,
        _folder: folder,
    }
}

impl Served {
    async fn connect(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        // One that is turned away may be closed already.
        let _ = stream.write_all(request.as_bytes()).await;
        stream
    }

    /// Sends a request with these lines, and reads the answer to its end.
    async fn ask(&self, first: &str, lines: &[&str], body: &str) -> String {
        let length = format!("Content-Length: {}", body.len());
        let head = [&[first], lines, &[length.as_str(), "", ""]]
            .concat()
            .join("\r\n");
        let mut stream = self.connect(&format!("{head}{body}")).await;
        let mut answer = Vec::new();
        let _ = timeout(TEST_LIMIT, stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }

    fn cookie(&self) -> String {
        format!("Cookie: {}", self.cookie)
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("no answer")
}

const HOST: &str = "Host: localhost";
const ORIGIN: &str = "Origin: http://localhost";
const KILL: &str = r#"{"fault": "kill-server", "node": "redis-a", "confirmed": true}"#;

#[tokio::test]
async fn the_link_gives_a_cookie_and_the_token_leaves_the_address() {
    let served = served(false).await;
    let link = format!("GET /?token={} HTTP/1.1", served.token);
    let answer = served.ask(&link, &[HOST], "").await;
    assert_eq!(status(&answer), "303", "{answer}");
    assert!(answer.contains("location: /\r\n"), "{answer}");
    let cookie = answer
        .lines()
        .find(|line| line.starts_with("set-cookie: "))
        .unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
    let page = served
        .ask("GET / HTTP/1.1", &[HOST, &served.cookie()], "")
        .await;
    assert_eq!(status(&page), "200", "{page}");
    for part in [
        "script-src 'self'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn every_file_that_the_page_names_is_served() {
    let served = served(false).await;
    let mut names: Vec<&str> = Vec::new();
    let mut texts = vec![page::INDEX];
    while let Some(text) = texts.pop() {
        for part in text.split('"').filter(|part| !part.contains(['\n', ' '])) {
            let file = part
                .strip_prefix("/files/")
                .or_else(|| part.strip_prefix("./"));
            if let Some(name) = file.filter(|name| !names.contains(name)) {
                names.push(name);
                texts.push(page::file(name).unwrap_or_else(|| panic!("{name}")).1);
            }
        }
    }
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        let get = format!("GET /files/{name} HTTP/1.1");
        assert_eq!(
            status(&served.ask(&get, &[HOST, &served.cookie()], "").await),
            "200"
        );
        assert_eq!(status(&served.ask(&get, &[HOST], "").await), "401");
    }
}

#[tokio::test]
async fn nothing_is_shown_without_the_token_or_under_another_name() {
    let served = served(true).await;
    let (cookie, bearer) = (served.cookie(), served.bearer());
    for get in ["/", "/events", "/files/main.js", "/reports/x.html"] {
        let get = format!("GET {get} HTTP/1.1");
        let stranger = served.ask(&get, &[HOST], "").await;
        assert_eq!(status(&stranger), "401", "{stranger}");
        for login in [&cookie, &bearer] {
            let rebound = served
                .ask(&get, &["Host: attacker.example", login], "")
                .await;
            assert_eq!(status(&rebound), "421", "{rebound}");
        }
    }
}

#[tokio::test]
async fn only_the_page_itself_or_a_script_with_the_token_may_change_something() {
    let served = served(true).await;
    let (cookie, bearer) = (served.cookie(), served.bearer());
    let post = "POST /api/faults HTTP/1.1";
    for (lines, expected) in [
        (vec![HOST], "401"),
        (vec![HOST, ORIGIN], "401"),
        (vec![HOST, &cookie], "403"),
        (
            vec![HOST, &cookie, "Origin: http://attacker.example"],
            "403",
        ),
        // Permitted; but no such node runs here.
        (vec![HOST, &cookie, ORIGIN], "422"),
        (vec![HOST, &bearer], "422"),
    ] {
        let answer = served.ask(post, &lines, KILL).await;
        assert_eq!(status(&answer), expected, "{lines:?}: {answer}");
    }
    for path in ["/api/faults", "/api/drills"] {
        let get = format!("GET {path} HTTP/1.1");
        let answer = served.ask(&get, &[HOST, &bearer], "").await;
        assert_eq!(status(&answer), "405", "{answer}");
    }
}

#[tokio::test]
async fn a_loss_is_asked_about_while_the_state_of_the_lab_is_not_known() {
    let served = served(true).await;
    let request = KILL.replace(", \"confirmed\": true", "");
    let post = "POST /api/faults HTTP/1.1";
    let answer = served.ask(post, &[HOST, &served.bearer()], &request).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(answer.contains("two losses coincide"), "{answer}");
}

#[tokio::test]
async fn a_page_that_may_only_look_injects_nothing() {
    let served = served(false).await;
    for (path, request) in [("faults", KILL), ("drills", r#"{"fault": "kill-primary"}"#)] {
        let post = format!("POST /api/{path} HTTP/1.1");
        let answer = served.ask(&post, &[HOST, &served.bearer()], request).await;
        assert!(["403", "422"].contains(&status(&answer)), "{answer}");
        assert!(answer.contains("--allow-faults"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_a_reason() {
    let served = served(true).await;
    let long = format!("{{\"fault\": \"{}\"}}", "x".repeat(8 * 1024));
    for (path, request, expected) in [
        ("faults", "", "400"),
        ("faults", "{}", "400"),
        ("faults", r#"{"fault": "rm"}"#, "400"),
        ("faults", r#"{"fault": "kill-server", "unknown": 1}"#, "400"),
        ("faults", long.as_str(), "413"),
        ("faults", r#"{"fault": "kill-server"}"#, "422"),
        (
            "faults",
            r#"{"fault": "kill-server", "node": "../redis-a"}"#,
            "422",
        ),
        (
            "faults",
            r#"{"fault": "start-node", "node": "redis-a"}"#,
            "422",
        ),
        ("drills", r#"{"fault": "--help"}"#, "422"),
    ] {
        let post = format!("POST /api/{path} HTTP/1.1");
        let answer = served.ask(&post, &[HOST, &served.bearer()], request).await;
        assert_eq!(status(&answer), expected, "{request}: {answer}");
        assert!(answer.contains("\"problem\""), "{answer}");
    }
    for name in ["..%2Ftoken", "%2e%2e%2ftoken", "token", "x.html"] {
        let get = format!("GET /reports/{name} HTTP/1.1");
        let answer = served.ask(&get, &[HOST, &served.bearer()], "").await;
        assert_eq!(status(&answer), "404", "{answer}");
    }
}

/// Opens a page, and reads until a text comes.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = vec![0; 16 * 1024];
    while !text.contains(wanted) {
        let read = timeout(TEST_LIMIT, stream.read(&mut buffer)).await;
        match read.unwrap().unwrap() {
            0 => panic!("it ended before {wanted}: {text}"),
            n => text += &String::from_utf8_lossy(&buffer[..n]),
        }
    }
    text
}

#[tokio::test]
async fn an_open_page_gets_the_state_and_each_change() {
    let served = served(false).await;
    served.board.show("records", &"before");
    let request = format!(
        "GET /events HTTP/1.1\r\n{HOST}\r\n{}\r\n\r\n",
        served.bearer()
    );
    let mut page = served.connect(&request).await;
    let now = read_until(&mut page, "event: complete").await;
    assert!(now.contains("content-type: text/event-stream"), "{now}");
    assert!(now.contains("data: \"before\""), "{now}");
    served.board.show("records", &"after");
    read_until(&mut page, "data: \"after\"").await;
}

#[tokio::test]
async fn pages_beyond_the_limit_are_refused_and_leave_room_for_requests() {
    let served = served(false).await;
    let request = format!(
        "GET /events HTTP/1.1\r\n{HOST}\r\n{}\r\n\r\n",
        served.bearer()
    );
    let mut pages = Vec::new();
    for _ in 0..server::PAGES_MAX {
        let mut page = served.connect(&request).await;
        read_until(&mut page, "event: complete").await;
        pages.push(page);
    }
    let refused = served
        .ask("GET /events HTTP/1.1", &[HOST, &served.bearer()], "")
        .await;
    assert_eq!(status(&refused), "503", "{refused}");
    let file = served
        .ask("GET / HTTP/1.1", &[HOST, &served.bearer()], "")
        .await;
    assert_eq!(status(&file), "200", "{file}");
    // The place of a page that was closed is free again.
    pages.pop();
    let begun = Instant::now();
    loop {
        served.board.show("records", &begun.elapsed());
        let mut page = served.connect(&request).await;
        let mut head = [0; 12];
        page.read_exact(&mut head).await.unwrap();
        if head.ends_with(b"200") {
            return;
        }
        assert!(begun.elapsed() < TEST_LIMIT, "its place stays taken");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_stop_counts_as_a_loss_once_it_may_have_begun_and_not_when_it_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let faults = faults_of(folder.path(), true, Some("false"));
    let stop = |node: &str, confirmed: bool| {
        let request = serde_json::json!({
            "fault": "stop-node", "node": node, "confirmed": confirmed,
        });
        faults.inject(serde_json::from_value(request).unwrap())
    };
    let asked = stop("redis-a", false).await;
    assert!(matches!(asked, Err(FaultRefusal::Ask(_))), "{asked:?}");
    let unknown = stop("redis-z", true).await;
    assert!(matches!(unknown, Err(FaultRefusal::Impossible(_))));
    assert_eq!(*faults.last_loss.borrow(), None);
    let failed = stop("redis-a", true).await;
    assert!(matches!(failed, Err(FaultRefusal::Impossible(_))));
    assert!(faults.last_loss.borrow().is_some());
}
