//! A peer that lies: what a test says in place of a Sentinel or a data node, on the address of one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::lab::wait_until;

/// What is said to a command.
#[derive(Debug, Clone)]
pub enum Say {
    /// This, as it is.
    Bytes(Vec<u8>),
    /// This, and then the connection is closed.
    Last(Vec<u8>),
    /// This, and then that again and again: a megabyte is a hundredth of a second, so that the real
    /// servers beside it get their turn.
    Forever(Vec<u8>, Vec<u8>),
}

/// What each command, its words joined by spaces, is answered with.
pub type Answers = dyn Fn(&str) -> Say + Send + Sync;

/// A peer that listens until it is dropped.
pub struct Liar {
    heard: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    listening: Option<thread::JoinHandle<()>>,
}

impl Liar {
    /// Takes the address, of which the node must be gone.
    pub fn start(at: SocketAddrV4, answers: Box<Answers>) -> Self {
        let mut listener = None;
        // The server that was there ends a moment after its parent.
        wait_until("the address of the node", || {
            listener = TcpListener::bind(at).ok();
            listener.is_some()
        });
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let answers: Arc<Answers> = answers.into();
        let (ears, end) = (heard.clone(), over.clone());
        let listening = thread::spawn(move || {
            let mut talks: Vec<thread::JoinHandle<()>> = Vec::new();
            while !end.load(Ordering::SeqCst) {
                // A thread that nobody joins keeps its stack, and the system gives a process only
                // so many.
                for talk in talks.extract_if(.., |talk| talk.is_finished()) {
                    talk.join().unwrap();
                }
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (answers, ears, end) = (answers.clone(), ears.clone(), end.clone());
                        talks.push(thread::spawn(move || talk(stream, &*answers, &ears, &end)));
                    }
                    // Looks again for the end, too.
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
            for talk in talks {
                talk.join().unwrap();
            }
        });
        Liar {
            heard,
            over,
            listening: Some(listening),
        }
    }

    /// The commands that came in.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

/// One connection. Ends with the peer's interest, or with the test.
fn talk(mut stream: TcpStream, answers: &Answers, ears: &Mutex<Vec<String>>, end: &AtomicBool) {
    stream.set_nonblocking(false).unwrap();
    let turn = Some(Duration::from_millis(20));
    stream.set_read_timeout(turn).unwrap();
    stream.set_write_timeout(turn).unwrap();
    let mut input = Vec::new();
    while !end.load(Ordering::SeqCst) {
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => input.extend_from_slice(&piece[..read]),
            Err(error) if would_block(&error) => {}
            Err(_) => return,
        }
        while let Some((command, length)) = command(&input) {
            input.drain(..length);
            let say = answers(&command);
            ears.lock().unwrap().push(command);
            match say {
                Say::Bytes(bytes) => {
                    if stream.write_all(&bytes).is_err() {
                        return;
                    }
                }
                Say::Last(bytes) => {
                    let _ = stream.write_all(&bytes);
                    return;
                }
                Say::Forever(first, then) => {
                    let mut next = first;
                    while !end.load(Ordering::SeqCst) {
                        match stream.write_all(&next) {
                            Err(error) if !would_block(&error) => return,
                            _ => {}
                        }
                        next.clone_from(&then);
                        thread::sleep(Duration::from_millis(10));
                    }
                    return;
                }
            }
        }
    }
}

fn would_block(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The first command in the bytes, and its length.
fn command(bytes: &[u8]) -> Option<(String, usize)> {
    let mut at = 0;
    let words = number(bytes, &mut at)?;
    let mut text = Vec::new();
    for _ in 0..words {
        let length = number(bytes, &mut at)?;
        let word = bytes.get(at..at + length)?;
        bytes.get(at + length + 1)?;
        text.push(String::from_utf8_lossy(word).into_owned());
        at += length + 2;
    }
    Some((text.join(" "), at))
}

/// The number of a line like `*3` or `$5`.
fn number(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let rest = bytes.get(*at..)?;
    let end = rest.windows(2).position(|w| w == b"\r\n")?;
    *at += end + 2;
    std::str::from_utf8(rest.get(1..end)?).ok()?.parse().ok()
}

/// An array of bulk strings.
pub fn array(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}
