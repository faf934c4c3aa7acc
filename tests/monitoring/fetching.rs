//! How scripts/monitoring.sh fetches Grafana, against a server of the test: what is right is taken,
//! what is wrong, cut short or refused is not, and leaves nothing behind.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

/// What the server answers with.
#[derive(Clone, Copy)]
enum Answer {
    Whole,
    Half,
    NotFound,
}

/// An archive as Grafana's: one folder with a program and its defaults.
fn archive(folder: &Path) -> Vec<u8> {
    let top = folder.join("grafana-v0");
    fs::create_dir_all(top.join("bin")).unwrap();
    fs::create_dir_all(top.join("conf")).unwrap();
    fs::write(top.join("bin/grafana"), "#!/bin/sh\necho hello\n").unwrap();
    fs::write(top.join("conf/defaults.ini"), "").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(top.join("bin/grafana"), mode).unwrap();
    let packed = folder.join("archive");
    let made = Command::new("tar")
        .args(["-czf"])
        .arg(&packed)
        .arg("-C")
        .arg(folder)
        .arg("grafana-v0")
        .status();
    assert!(made.unwrap().success());
    fs::read(packed).unwrap()
}

/// Answers one request, then ends.
fn serve(answer: Answer, body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with its one connection, or with the test.
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).unwrap();
        let status = match answer {
            Answer::NotFound => "404 Not Found",
            Answer::Whole | Answer::Half => "200 OK",
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let sent = match answer {
            Answer::Half => body.len() / 2,
            _ => body.len(),
        };
        stream.write_all(&body[..sent]).unwrap();
    });
    address
}

/// The tool folder first, as in `./lab`, and nothing else that has a Grafana: set-up leaves it at
/// that one.
fn path_without_grafana(tools: &TempDir) -> OsString {
    let path = env::var_os("PATH").unwrap();
    let others = env::split_paths(&path).filter(|folder| !folder.join("grafana").exists());
    env::join_paths(std::iter::once(tools.path().to_owned()).chain(others)).unwrap()
}

/// Runs the set-up of Grafana with that address and hash. Returns what it says.
fn fetch(tools: &TempDir, address: SocketAddr, sha512: &str) -> String {
    let script = format!(
        ". scripts/common.sh; . scripts/setup.sh; . scripts/monitoring.sh; GRAFANA_URL=http://{address}; \
         GRAFANA_SHA512_amd64={sha512}; GRAFANA_SHA512_arm64={sha512}; setup_grafana; setup_grafana"
    );
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("LAB_TOOLS", tools.path())
        .env("PATH", path_without_grafana(tools))
        .env_remove("http_proxy")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    said
}

fn sha512(bytes: &[u8], folder: &Path) -> String {
    let path = folder.join("hashed");
    fs::write(&path, bytes).unwrap();
    let output = Command::new("sha512sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').next().unwrap().to_owned()
}

fn left_in(tools: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(tools.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_right_archive_becomes_a_program_in_the_tool_folder() {
    let (scratch, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let body = archive(scratch.path());
    let hash = sha512(&body, scratch.path());
    let said = fetch(&tools, serve(Answer::Whole, body), &hash);
    assert!(said.contains("unpacked Grafana"), "{said}");
    // The second call of set-up found it, and asked nobody.
    assert_eq!(said.lines().count(), 1, "{said}");
    let hello = Command::new(tools.path().join("grafana")).output().unwrap();
    assert_eq!(hello.stdout, b"hello\n");
    let names = left_in(&tools);
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn an_archive_that_is_wrong_cut_short_or_refused_is_not_taken_and_that_is_said_once() {
    let scratch = tempfile::tempdir().unwrap();
    let body = archive(scratch.path());
    let hash = sha512(&body, scratch.path());
    let mut other = body.clone();
    *other.last_mut().unwrap() ^= 1;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for (address, reason) in [
        (serve(Answer::Whole, other), "differs from the pinned one"),
        (
            serve(Answer::Half, body.clone()),
            "cannot fetch its archive",
        ),
        (serve(Answer::NotFound, body), "cannot fetch its archive"),
        (closed, "cannot fetch its archive"),
    ] {
        let tools = tempfile::tempdir().unwrap();
        let said = fetch(&tools, address, &hash);
        assert!(said.contains(reason), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(left_in(&tools), ["grafana.absent"]);
    }
}
