//! The server against clients, and the client against servers: correct, malformed, slow, silent,
//! many, endless.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::server::HEAD_MAX;
use super::*;

const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
const LIMITS: Limits = Limits {
    time: Duration::from_secs(1),
    connections: 4,
};
/// A limit for a whole test; nothing here takes longer than a slow client may.
const TEST_LIMIT: Duration = Duration::from_secs(20);
/// More than the buffers of a connection hold.
const LARGE: usize = 64 << 20;
const ASK: &[u8] = b"GET /page HTTP/1.1\r\n\r\n";

async fn server() -> HttpServer {
    let large = || async { vec![b'x'; LARGE] };
    let endless = |open_end: Extension<OpenEnd>| async move {
        open_end.lift_limit();
        let lines = stream::unfold((), |()| async {
            sleep(LIMITS.time / 10).await;
            Some((Ok::<_, Infallible>(vec![b'x'; LARGE / 64]), ()))
        });
        Body::from_stream(lines)
    };
    let router = Router::new()
        .route("/endless", get(endless))
        .route("/page", get("a page"))
        .route("/large", get(large));
    HttpServer::start(LOCAL, router, LIMITS).await.unwrap()
}

/// Sends `request` and reads until the server closes the connection.
async fn ask(server: &HttpServer, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    // One that is turned away may be closed already.
    let _ = stream.write_all(request).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn a_request_has_one_answer_also_without_a_host_and_in_an_older_version() {
    let server = server().await;
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let request = format!("GET /page?x=1 {version}\r\n\r\n");
        let twice = request.repeat(2);
        for request in [request, twice] {
            let answer = ask(&server, request.as_bytes()).await;
            assert!(
                answer.starts_with(&format!("{version} 200 OK\r\n")),
                "{answer}"
            );
            assert!(answer.ends_with("\r\n\r\na page"), "{answer}");
            assert_eq!(answer.matches("200 OK").count(), 1, "{answer}");
        }
    }
    let head = ask(&server, b"HEAD /page HTTP/1.1\r\n\r\n").await;
    assert!(head.contains("content-length: 6\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn an_answer_with_an_open_end_lasts_while_its_client_reads() {
    let server = server().await;
    let mut reader = TcpStream::connect(server.address()).await.unwrap();
    reader
        .write_all(b"GET /endless HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let begun = Instant::now();
    let mut buffer = vec![0; 64 * 1024];
    while begun.elapsed() < LIMITS.time * 3 {
        let read = timeout(TEST_LIMIT, reader.read(&mut buffer)).await;
        assert_ne!(read.unwrap().unwrap(), 0, "after {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn clients_that_do_not_read_an_answer_with_an_open_end_keep_no_others_out() {
    let server = server().await;
    let mut silent = Vec::new();
    for _ in 0..LIMITS.connections {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream
            .write_all(b"GET /endless HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        silent.push(stream);
    }
    let begun = Instant::now();
    while !ask(&server, ASK).await.ends_with("a page") {
        assert!(begun.elapsed() < TEST_LIMIT, "they keep their places");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let server = server().await;
    let long = format!("GET /page HTTP/1.1\r\nX: {}", "x".repeat(HEAD_MAX));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("DELETE /page HTTP/1.1\r\n\r\n", "405"),
        // Its body is not waited for.
        ("POST /page HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "405"),
        ("\u{1}\u{2}\r\n\r\n", "400"),
        ("GET /page\r\n\r\n", "400"),
        ("GET /page HTTP/2\r\n\r\n", "400"),
        (long.as_str(), "431"),
    ] {
        let answer = ask(&server, request.as_bytes()).await;
        let status = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&status), "{request:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_and_closes_its_side_gets_its_whole_answer() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > LARGE, "{} bytes", answer.len());
}

#[tokio::test]
async fn a_silent_client_is_cut_off_and_holds_up_nobody() {
    let server = server().await;
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    silent.write_all(b"GET /page").await.unwrap();
    let answer = ask(&server, ASK).await;
    assert!(answer.ends_with("a page"), "{answer}");
    let mut rest = Vec::new();
    let cut = timeout(TEST_LIMIT, silent.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "cut off");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn clients_that_say_nothing_give_way_to_one_that_asks_the_oldest_first() {
    let server = server().await;
    let mut silent = Vec::new();
    for _ in 0..LIMITS.connections {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let begun = Instant::now();
    let answer = ask(&server, ASK).await;
    assert!(answer.ends_with("a page"), "{answer}");
    assert!(begun.elapsed() < LIMITS.time, "{:?}", begun.elapsed());
    let mut rest = Vec::new();
    let closed = timeout(TEST_LIMIT, silent.remove(0).read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the oldest is closed");
    // The others still have their places.
    let last = silent.last_mut().unwrap();
    last.write_all(ASK).await.unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("a page"), "{answer}");
}

#[tokio::test]
async fn answers_with_an_open_end_do_not_give_way() {
    let server = server().await;
    let mut readers = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..LIMITS.connections {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream
            .write_all(b"GET /endless HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        assert_ne!(stream.read(&mut buffer).await.unwrap(), 0);
        readers.push(stream);
    }
    assert_eq!(ask(&server, ASK).await, "");
    for reader in &mut readers {
        assert_ne!(reader.read(&mut buffer).await.unwrap(), 0);
    }
    // One of them gives its place back, and the next clients are served.
    drop(readers.pop());
    let served = timeout(TEST_LIMIT, async {
        while ask(&server, ASK).await.is_empty() {
            tokio::task::yield_now().await;
        }
    });
    served.await.expect("served again");
    assert_ne!(readers[0].read(&mut buffer).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = server().await;
    let mut deaf = TcpStream::connect(server.address()).await.unwrap();
    deaf.write_all(b"GET /large HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    sleep(LIMITS.time * 2).await;
    let mut rest = Vec::new();
    let ended = timeout(TEST_LIMIT, deaf.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "cut off");
    assert!(rest.len() < LARGE, "not the whole answer");
}

#[tokio::test]
async fn it_ends_when_it_is_dropped() {
    let server = server().await;
    let address = server.address();
    drop(server);
    let closed = timeout(TEST_LIMIT, async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    closed.await.expect("closed");
}

/// A server that sends these bytes `times` to each client, and then closes the connection or stays
/// silent.
async fn peer(
    answer: &'static [u8],
    times: usize,
    closes: bool,
) -> (SocketAddrV4, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let SocketAddr::V4(at) = listener.local_addr().unwrap() else {
        panic!("an IPv4 address");
    };
    let serve = async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            for _ in 0..times {
                if stream.write_all(answer).await.is_err() {
                    break;
                }
            }
            if !closes {
                open.push(stream);
            }
        }
    };
    (at, AbortOnDropHandle::new(tokio::spawn(serve)))
}

/// The time limit of a client whose peer is silent.
const SHORT: Duration = Duration::from_millis(500);

/// What a client with a long time limit gets: the peer's answer decides, however slow this machine
/// is.
async fn asked(at: SocketAddrV4) -> Result<Answer, HttpError> {
    Client::new(at, TEST_LIMIT, 100).get("/page").await
}

#[tokio::test]
async fn an_answer_is_read_however_its_end_is_said() {
    for (answer, closes) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\na page"[..], false),
        (b"HTTP/1.0 200 OK\r\n\r\na page", true),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na \r\n4\r\npage\r\n0\r\n\r\n",
            false,
        ),
    ] {
        let (at, _peer) = peer(answer, 1, closes).await;
        let answer = asked(at).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"a page"[..]));
    }
    let (at, _peer) = peer(b"HTTP/1.1 204 No Content\r\n\r\n", 1, false).await;
    assert_eq!(asked(at).await.unwrap().status, 204);
}

#[tokio::test]
async fn no_answer_or_one_without_an_end_costs_no_more_than_the_limits() {
    let begun = Instant::now();
    for (answer, times) in [
        (&b""[..], 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 1),
    ] {
        let (at, _peer) = peer(answer, times, false).await;
        let client = Client::new(at, SHORT, 100);
        let error = client.get("/page").await.unwrap_err().to_string();
        assert!(error.contains("did not answer within 500ms"), "{error}");
    }
    assert!(begun.elapsed() < TEST_LIMIT);
    for (answer, times, wrong) in [
        // A head, and then bodies of it, without an end.
        (
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            usize::MAX,
            "longer than 100 bytes",
        ),
        (b"HTTP/1.1 200 OK\r\nX: y", usize::MAX, "not complete HTTP"),
        (b"SSH-2.0\r\n", 1, "not complete HTTP"),
        (b"HTTP/1.0 ok\r\n\r\n", 1, "not complete HTTP"),
    ] {
        let (at, _peer) = peer(answer, times, false).await;
        let error = asked(at).await.unwrap_err().to_string();
        assert!(error.contains(wrong), "{answer:?}: {error}");
    }
    for cut in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"[..],
        b"HTTP/1.1 200 OK\r\n",
        b"",
    ] {
        let (at, _peer) = peer(cut, 1, true).await;
        let error = asked(at).await.unwrap_err();
        assert!(!matches!(error, HttpError::TooSlow(_)), "{cut:?}: {error}");
    }
    let nobody = TcpListener::bind(LOCAL)
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::new(Endpoint::Tcp(nobody), TEST_LIMIT, 100);
    let HttpError::Io(error) = client.get("/page").await.unwrap_err() else {
        panic!("an error of the connection");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_unix_socket_is_asked_also_where_nothing_can_be_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    // In a separate thread, like a real server, because this one is blocked below.
    let serving = std::thread::spawn(move || {
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        (0..2)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let length = std::io::Read::read(&mut stream, &mut request).unwrap();
                let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
                std::io::Write::write_all(&mut stream, answer).unwrap();
                String::from_utf8_lossy(&request[..length]).into_owned()
            })
            .collect::<Vec<_>>()
    });
    let client = Client::new(Endpoint::Unix(socket), TEST_LIMIT, 100);
    assert_eq!(client.get("/a?b=c").await.unwrap().status, 201);
    // Within a runtime, as a `drop` is.
    let answer = wait_for(client.post("/d", "{\"e\":1}".into())).unwrap();
    assert_eq!((answer.status, &answer.body[..]), (201, &b"{}"[..]));
    let requests = serving.join().unwrap();
    assert!(
        requests[0].starts_with("GET /a?b=c HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert!(
        requests[1].starts_with("POST /d HTTP/1.1\r\n"),
        "{requests:?}"
    );
    for part in [
        "host: localhost\r\n",
        "content-length: 7\r\n",
        "\r\n\r\n{\"e\":1}",
    ] {
        assert!(requests[1].contains(part), "{requests:?}");
    }
}
