//! Writes records to Redis, repeats calls that fail, and reads all records back.
//!
//! The settings are environment variables: see the README of the examples.

use std::error::Error;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{Client, Commands, Connection, ConnectionAddr, RedisResult, TlsCertificates, TlsMode};

/// Without an answer to one command.
const GIVE_UP: Duration = Duration::from_secs(60);

/// `halab proxy`, or the primary that the Sentinels name.
enum Server {
    Proxy(Client),
    Sentinels(Box<SentinelClient>),
}

impl Server {
    fn from_environment() -> Result<Self, Box<dyn Error>> {
        let Ok(sentinels) = env::var("SENTINELS") else {
            let url = env::var("REDIS_URL");
            let url = url.map_err(|_| "set REDIS_URL or SENTINELS: see the README")?;
            return Ok(Server::Proxy(Client::open(url)?));
        };
        let user = env::var("REDIS_USER")?;
        let password = fs::read_to_string(env::var("REDIS_PASSWORD_FILE")?)?;
        let ca = env::var("REDIS_CA").map(fs::read).ok().transpose()?;
        let mut addresses = Vec::new();
        for address in sentinels.split(',') {
            let (host, port) = address.rsplit_once(':').ok_or("no port in SENTINELS")?;
            let (host, port) = (host.to_owned(), port.parse()?);
            addresses.push(match ca {
                None => ConnectionAddr::Tcp(host, port),
                Some(_) => ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: false,
                    tls_params: None,
                },
            });
        }
        let name = env::var("PRIMARY_NAME")?;
        let mut builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master)?
            .set_client_to_sentinel_username(&user)
            .set_client_to_sentinel_password(password.trim())
            .set_client_to_redis_username(&user)
            .set_client_to_redis_password(password.trim());
        if ca.is_some() {
            let trusted = TlsCertificates {
                client_tls: None,
                root_cert: ca,
            };
            builder = builder
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(trusted.clone())
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(trusted);
        }
        Ok(Server::Sentinels(Box::new(builder.build()?)))
    }

    fn connect(&mut self) -> RedisResult<Connection> {
        match self {
            Server::Proxy(client) => client.get_connection(),
            Server::Sentinels(client) => client.get_connection(),
        }
    }
}

/// A connection that is made anew after an error, and what its calls have seen.
struct Caller {
    server: Server,
    connection: Option<Connection>,
    failed: u64,
    first_error: Option<String>,
    longest_call: Duration,
    longest_wait: Duration,
}

impl Caller {
    fn new(server: Server) -> Self {
        Caller {
            server,
            connection: None,
            failed: 0,
            first_error: None,
            longest_call: Duration::ZERO,
            longest_wait: Duration::ZERO,
        }
    }

    /// Calls once, on a new connection if there is none or the last one had an error.
    fn once<T>(&mut self, command: impl Fn(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.server.connect()?,
        };
        let answer = command(&mut connection)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Repeats a call that fails. Repeating is harmless here: it sets the same key to the same
    /// value.
    fn call<T>(&mut self, command: impl Fn(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let begun = Instant::now();
        loop {
            let called = Instant::now();
            let answer = self.once(&command);
            self.longest_call = self.longest_call.max(called.elapsed());
            self.longest_wait = self.longest_wait.max(begun.elapsed());
            let Err(error) = answer else {
                return answer;
            };
            self.failed += 1;
            self.first_error.get_or_insert_with(|| error.to_string());
            if begun.elapsed() > GIVE_UP {
                return Err(error);
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// Returns how many of the acknowledged records are missing.
fn write_and_read(
    caller: &mut Caller,
    prefix: &str,
    records: usize,
    pace: Duration,
    acknowledged: &mut Vec<String>,
) -> RedisResult<usize> {
    for number in 0..records {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        let value = format!("{now} {:016x}", rand::random::<u64>());
        let key = format!("{prefix}:{number}");
        caller.call(|db| db.set::<_, _, ()>(&key, &value))?;
        acknowledged.push(value);
        sleep(pace);
    }
    let mut missing = 0;
    for (number, value) in acknowledged.iter().enumerate() {
        let key = format!("{prefix}:{number}");
        let found: Option<String> = caller.call(|db| db.get(&key))?;
        missing += usize::from(found.as_ref() != Some(value));
    }
    Ok(missing)
}

/// The value of a variable, or what stands in for it.
fn number(variable: &str, otherwise: usize) -> usize {
    let value = env::var(variable).ok().and_then(|text| text.parse().ok());
    value.unwrap_or(otherwise)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let prefix = format!("{}:record", env::var("APP").unwrap_or("shop".into()));
    let records = number("RECORDS", 1000);
    let pace = Duration::from_millis(number("PACE_MS", 0) as u64);
    let mut caller = Caller::new(Server::from_environment()?);
    let mut acknowledged = Vec::new();
    // After an error it has given up: the numbers show it.
    let missing = write_and_read(&mut caller, &prefix, records, pace, &mut acknowledged).ok();
    println!(
        "{}",
        serde_json::json!({
            "client": "redis-rs 1.8.1",
            "records": records,
            "acknowledged": acknowledged.len(),
            "missing": missing,
            "failed_calls": caller.failed,
            "first_error": caller.first_error,
            "longest_call_ms": caller.longest_call.as_millis() as u64,
            "longest_wait_ms": caller.longest_wait.as_millis() as u64,
        })
    );
    Ok(match acknowledged.len() == records && missing == Some(0) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
