//! The load of `./lab bench proxy`: `GET` and `SET` of one key space, in a mix, by connections
//! that each send a number of commands and then read their answers.
//!
//! Without `--rate`, each connection sends as soon as it has its answers. With it, each sends at
//! fixed times, and a latency counts from the time at which the command was due: a server that
//! answers late delays no command of the count.
//!
//! Prints one line of JSON: operations a second, and the latency's percentiles in ms.

use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::time::Duration;

use clap::Parser;
use hdrhistogram::Histogram;
use rand::RngExt as _;
use redis_ha_lab::resp::{ReplyFraming, ReplyLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;
/// Replies of `GET` and `SET`.
const LIMITS: ReplyLimits = ReplyLimits {
    is_resp3: false,
    bytes: 1 << 20,
    values: 1,
    depth: 0,
};

#[derive(Debug, Clone, Parser)]
struct Options {
    /// Address of the server or proxy
    #[arg(long)]
    address: SocketAddrV4,
    /// User
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// Password of the user: other users of this machine can read it
    #[arg(long)]
    password: Option<String>,
    /// Number of connections
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Number of commands that a connection sends before it reads the answers
    #[arg(long, default_value_t = 1)]
    depth: u32,
    /// Percentage of `GET`; the others are `SET`
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    gets: u8,
    /// Bytes of a value
    #[arg(long, default_value_t = 44)]
    value_bytes: usize,
    /// Number of keys
    #[arg(long, default_value_t = 100_000)]
    keys: u32,
    /// Seconds before the measurement
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Seconds of the measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Operations a second of all connections together
    #[arg(long)]
    rate: Option<f64>,
    /// Sets each key once, one after the other, and measures nothing
    #[arg(long)]
    fill: bool,
}

/// One connection, and what it sends.
struct Connection {
    stream: TcpStream,
    framing: ReplyFraming,
    options: Options,
    value: Vec<u8>,
    next_key: u32,
    sent: Vec<u8>,
    read: Vec<u8>,
}

impl Connection {
    async fn open(options: &Options, number: u32) -> io::Result<Self> {
        let stream = TcpStream::connect(options.address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            stream,
            framing: ReplyFraming::new(LIMITS),
            options: options.clone(),
            value: vec![b'x'; options.value_bytes],
            next_key: number,
            sent: Vec::new(),
            read: vec![0; BUFFER],
        };
        if let (Some(user), Some(password)) = (&options.user, &options.password) {
            push_command(
                &mut connection.sent,
                &[b"AUTH", user.as_bytes(), password.as_bytes()],
            );
            connection.exchange(1).await?;
        }
        Ok(connection)
    }

    /// The next commands.
    fn prepare(&mut self, count: u32) {
        let mut random = rand::rng();
        for _ in 0..count {
            let key = if self.options.fill {
                let key = self.next_key;
                self.next_key += self.options.connections;
                key
            } else {
                random.random_range(0..self.options.keys)
            };
            let key = format!("key:{key:012}");
            if random.random_range(0..100) < self.options.gets {
                push_command(&mut self.sent, &[b"GET", key.as_bytes()]);
            } else {
                push_command(&mut self.sent, &[b"SET", key.as_bytes(), &self.value]);
            }
        }
    }

    /// Sends what is prepared, and reads the answers.
    async fn exchange(&mut self, mut answers: u32) -> io::Result<()> {
        let (mut reader, mut writer) = self.stream.split();
        // An answer may fill the socket before all commands are sent.
        let write = writer.write_all(&self.sent);
        let read = async {
            while answers > 0 {
                let length = reader.read(&mut self.read).await?;
                let mut bytes = self.read.get(..length).unwrap_or_default();
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                while !bytes.is_empty() {
                    if self.framing.is_at_start() && bytes.starts_with(b"-") {
                        let text = String::from_utf8_lossy(bytes);
                        return Err(io::Error::other(
                            text.lines().next().unwrap_or("-").to_owned(),
                        ));
                    }
                    let (used, is_complete) = self.framing.read(bytes).map_err(io::Error::other)?;
                    bytes = bytes.get(used..).unwrap_or_default();
                    answers = answers.saturating_sub(u32::from(is_complete));
                }
            }
            Ok(())
        };
        tokio::try_join!(write, read)?;
        self.sent.clear();
        Ok(())
    }

    async fn fill(mut self) -> io::Result<Histogram<u64>> {
        while self.next_key < self.options.keys {
            let left = (self.options.keys - self.next_key).div_ceil(self.options.connections);
            let count = left.min(100);
            self.prepare(count);
            self.exchange(count).await?;
        }
        Ok(histogram())
    }

    /// Latencies in microseconds, one for each command of the measurement.
    async fn measure(mut self, start: Instant, offset: Duration) -> io::Result<Histogram<u64>> {
        let from = start + Duration::from_secs_f64(self.options.warm_up);
        let end = from + Duration::from_secs_f64(self.options.seconds);
        let depth = self.options.depth;
        let period = self.options.rate.map(|rate| {
            Duration::from_secs_f64(f64::from(self.options.connections) * f64::from(depth) / rate)
        });
        let mut latencies = histogram();
        let mut due = start + offset;
        loop {
            self.prepare(depth);
            match period {
                Some(period) => {
                    sleep_until(due).await;
                    due += period;
                }
                None => due = Instant::now(),
            }
            let sent = period.map_or(due, |period| due - period);
            if sent >= end {
                return Ok(latencies);
            }
            self.exchange(depth).await?;
            let ended = Instant::now();
            if sent >= from && ended <= end {
                let micros = u64::try_from((ended - sent).as_micros()).unwrap_or(u64::MAX);
                latencies
                    .record_n(micros.max(1), u64::from(depth))
                    .map_err(io::Error::other)?;
            }
        }
    }
}

/// Latencies in microseconds, of up to ten minutes.
#[expect(clippy::unwrap_used, reason = "the bounds are constants")]
fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
    histogram.auto(true);
    histogram
}

fn push_command(to: &mut Vec<u8>, words: &[&[u8]]) {
    // Writing to a vector never fails.
    let _ = write!(to, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(to, "${}\r\n", word.len());
        to.extend_from_slice(word);
        to.extend_from_slice(b"\r\n");
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut connections = Vec::new();
    for number in 0..options.connections {
        connections.push(Connection::open(&options, number).await?);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    let spread = options
        .rate
        .map_or(0.0, |rate| f64::from(options.depth) / rate);
    for (number, connection) in (0..).zip(connections) {
        if options.fill {
            tasks.spawn(connection.fill());
        } else {
            let offset = Duration::from_secs_f64(spread * f64::from(number));
            tasks.spawn(connection.measure(start, offset));
        }
    }
    let mut latencies = histogram();
    while let Some(ended) = tasks.join_next().await {
        latencies.add(ended??).map_err(io::Error::other)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    let per_second = latencies.len() as f64 / options.seconds;
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "{}",
        serde_json::json!({
            "per_second": per_second,
            "p50_ms": at(0.5),
            "p99_ms": at(0.99),
            "p999_ms": at(0.999),
            "max_ms": at(1.0),
        })
    );
    Ok(())
}
