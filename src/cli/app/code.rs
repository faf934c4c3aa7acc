//! How an application connects, as code for client libraries.
//!
//! Passwords and names have no quotes and no backslashes, so each is a literal of every language
//! here as it is. Paths are quoted by their `Debug` form.

use std::fmt::Write;
use std::net::SocketAddrV4;
use std::path::Path;

use clap::ValueEnum;

use super::{Connection, TlsFiles};

/// Stands for the password where it is not shown.
const PASSWORD: &str = "PASSWORD";

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Library {
    /// Python
    RedisPy,
    /// JavaScript
    Ioredis,
    /// Go
    GoRedis,
    /// Java
    Jedis,
    /// Rust
    RedisRs,
}

impl Library {
    pub(super) fn title(self) -> &'static str {
        match self {
            Library::RedisPy => "redis-py (Python)",
            Library::Ioredis => "ioredis (JavaScript)",
            Library::GoRedis => "go-redis (Go)",
            Library::Jedis => "Jedis (Java)",
            Library::RedisRs => "redis-rs (Rust)",
        }
    }
}

/// The URL of a Redis server, for the user.
pub(super) fn url(tls: bool, user: &str, password: Option<&str>, at: SocketAddrV4) -> String {
    let password = password.map_or_else(|| PASSWORD.to_owned(), percent_encoded);
    let scheme = if tls { "rediss" } else { "redis" };
    format!("{scheme}://{user}:{password}@{at}/0")
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => encoded.push(char::from(b)),
            // Writing to a String cannot fail.
            b => drop(write!(encoded, "%{b:02X}")),
        }
    }
    encoded
}

/// The code for one library, by the proxy and by Sentinel.
pub(super) fn of(library: Library, to: &Connection) -> String {
    match library {
        Library::RedisPy => redis_py(to),
        Library::Ioredis => ioredis(to),
        Library::GoRedis => go_redis(to),
        Library::Jedis => jedis(to),
        Library::RedisRs => redis_rs(to),
    }
}

/// Each Sentinel by `one`, joined by `between`.
fn sentinels(to: &Connection, between: &str, one: impl Fn(&SocketAddrV4) -> String) -> String {
    let each: Vec<String> = to.sentinel.addresses.iter().map(one).collect();
    each.join(between)
}

fn password(to: &Connection) -> &str {
    to.password.as_deref().unwrap_or(PASSWORD)
}

fn tls(to: &Connection) -> Option<(&Path, Option<&Path>)> {
    let TlsFiles { ca, client } = to.sentinel.tls.as_ref()?;
    Some((ca, client.as_deref()))
}

fn redis_py(to: &Connection) -> String {
    let url = &to.proxy.url;
    let limit = to.proxy.answer_seconds;
    let (user, password, name) = (&to.user, password(to), &to.sentinel.primary_name);
    let all = sentinels(to, ", ", |at| {
        format!("({:?}, {})", at.ip().to_string(), at.port())
    });
    let by_proxy = match (&to.proxy.tls, tls(to)) {
        (Some(_), Some((ca, client))) => {
            let client = client.map(|f| format!(", ssl_certfile={f:?}, ssl_keyfile={f:?}"));
            format!(", ssl_ca_certs={ca:?}{}", client.unwrap_or_default())
        }
        _ => String::new(),
    };
    let tls = tls(to).map_or_else(String::new, |(ca, client)| {
        let client = client.map(|f| format!(", \"ssl_certfile\": {f:?}, \"ssl_keyfile\": {f:?}"));
        let client = client.unwrap_or_default();
        format!("login |= {{\"ssl\": True, \"ssl_ca_certs\": {ca:?}{client}}}\n")
    });
    format!(
        "import redis\n\
         from redis.sentinel import Sentinel\n\n\
         # by the proxy\n\
         db = redis.Redis.from_url(\"{url}\", socket_timeout={limit}{by_proxy})\n\n\
         # by Sentinel\n\
         login = {{\"username\": \"{user}\", \"password\": \"{password}\"}}\n\
         {tls}\
         sentinel = Sentinel([{all}], sentinel_kwargs=login, **login)\n\
         db = sentinel.master_for(\"{name}\")\n"
    )
}

fn ioredis(to: &Connection) -> String {
    let url = &to.proxy.url;
    let (user, password, name) = (&to.user, password(to), &to.sentinel.primary_name);
    let all = sentinels(to, ", ", |at| {
        format!("{{ host: \"{}\", port: {} }}", at.ip(), at.port())
    });
    let (before, tls) = match tls(to) {
        None => (String::new(), ""),
        Some((ca, client)) => {
            let client =
                client.map(|f| format!(", key: readFileSync({f:?}), cert: readFileSync({f:?})"));
            let client = client.unwrap_or_default();
            (
                format!("const tls = {{ ca: readFileSync({ca:?}){client} }};\n"),
                "  tls, sentinelTLS: tls, enableTLSForSentinelMode: true,\n",
            )
        }
    };
    let import = match tls.is_empty() {
        true => "",
        false => "import { readFileSync } from \"node:fs\";\n",
    };
    let by_proxy = to.proxy.tls.as_ref().map_or("", |_| ", { tls }");
    format!(
        "{import}\
         import Redis from \"ioredis\";\n\n\
         {before}\
         // by the proxy\n\
         const db = new Redis(\"{url}\"{by_proxy});\n\n\
         // by Sentinel\n\
         const db = new Redis({{\n  \
           sentinels: [{all}],\n  \
           name: \"{name}\",\n  \
           username: \"{user}\", password: \"{password}\",\n  \
           sentinelUsername: \"{user}\", sentinelPassword: \"{password}\",\n\
         {tls}\
         }});\n"
    )
}

fn go_redis(to: &Connection) -> String {
    let url = &to.proxy.url;
    let limit = to.proxy.answer_seconds;
    let (user, password, name) = (&to.user, password(to), &to.sentinel.primary_name);
    let all = sentinels(to, ", ", |at| format!("\"{at}\""));
    let (before, tls) = match tls(to) {
        None => (String::new(), ""),
        Some((ca, client)) => {
            let (load, give) = match client {
                None => (String::new(), ""),
                Some(file) => (
                    format!("own, err := tls.LoadX509KeyPair({file:?}, {file:?})\n"),
                    ", Certificates: []tls.Certificate{own}",
                ),
            };
            (
                format!(
                    "pem, err := os.ReadFile({ca:?})\n\
                     roots := x509.NewCertPool()\n\
                     roots.AppendCertsFromPEM(pem)\n\
                     {load}\
                     secure := &tls.Config{{RootCAs: roots{give}}}\n\n"
                ),
                "\tTLSConfig: secure,\n",
            )
        }
    };
    let by_proxy = to.proxy.tls.as_ref();
    let by_proxy = by_proxy.map_or("", |_| "options.TLSConfig = secure\n");
    format!(
        "import \"github.com/redis/go-redis/v9\"\n\n\
         {before}\
         // by the proxy\n\
         options, err := redis.ParseURL(\"{url}\")\n\
         {by_proxy}\
         options.ReadTimeout = {limit} * time.Second\n\
         db := redis.NewClient(options)\n\n\
         // by Sentinel\n\
         db := redis.NewFailoverClient(&redis.FailoverOptions{{\n\
         \tMasterName: \"{name}\",\n\
         \tSentinelAddrs: []string{{{all}}},\n\
         \tUsername: \"{user}\", Password: \"{password}\",\n\
         \tSentinelUsername: \"{user}\", SentinelPassword: \"{password}\",\n\
         {tls}\
         }})\n"
    )
}

fn jedis(to: &Connection) -> String {
    let url = &to.proxy.url;
    let limit = to.proxy.answer_seconds;
    let (user, password, name) = (&to.user, password(to), &to.sentinel.primary_name);
    let all = sentinels(to, ", ", |at| {
        format!("new HostAndPort(\"{}\", {})", at.ip(), at.port())
    });
    let (before, tls) = match tls(to) {
        None => (String::new(), ""),
        Some((ca, client)) => {
            let client = client.map(|file| {
                format!(
                    "// and its key store the key and the certificate in {}\n",
                    file.display()
                )
            });
            let ca = ca.display();
            (
                format!(
                    "// the trust store of the JVM has {ca}\n{}\n",
                    client.unwrap_or_default()
                ),
                ".ssl(true)",
            )
        }
    };
    format!(
        "// Jedis 8\n\
         import java.net.URI;\n\
         import java.util.Set;\n\
         import redis.clients.jedis.*;\n\
         import redis.clients.jedis.util.JedisURIHelper;\n\n\
         {before}\
         // by the proxy\n\
         var url = URI.create(\"{url}\");\n\
         var login = DefaultJedisClientConfig.builder(url).socketTimeoutMillis({limit}_000).build();\n\
         var db = RedisClient.builder().hostAndPort(JedisURIHelper.getHostAndPort(url)).clientConfig(login).build();\n\n\
         // by Sentinel\n\
         var login = DefaultJedisClientConfig.builder().user(\"{user}\").password(\"{password}\"){tls}.build();\n\
         var db = RedisSentinelClient.builder().masterName(\"{name}\").sentinels(Set.of({all}))\n    \
             .sentinelClientConfig(login).clientConfig(login).build();\n"
    )
}

fn redis_rs(to: &Connection) -> String {
    let url = &to.proxy.url;
    let (user, password, name) = (&to.user, password(to), &to.sentinel.primary_name);
    let each = |at: &SocketAddrV4| match tls(to) {
        None => format!("ConnectionAddr::Tcp(\"{}\".into(), {})", at.ip(), at.port()),
        Some(_) => format!(
            "ConnectionAddr::TcpTls {{ host: \"{}\".into(), port: {}, insecure: false, tls_params: None }}",
            at.ip(),
            at.port()
        ),
    };
    let all = sentinels(to, ",\n    ", each);
    let (before, given) = match tls(to) {
        None => (String::new(), ""),
        Some((ca, client)) => {
            let client = match client {
                None => "None".to_owned(),
                Some(file) => format!(
                    "Some(ClientTlsConfig {{ client_cert: fs::read({file:?})?, client_key: fs::read({file:?})? }})"
                ),
            };
            (
                format!(
                    "let tls = TlsCertificates {{ client_tls: {client}, root_cert: Some(fs::read({ca:?})?) }};\n\n"
                ),
                "    .set_client_to_sentinel_tls_mode(TlsMode::Secure)\n    \
                 .set_client_to_sentinel_certificates(tls.clone())\n    \
                 .set_client_to_redis_tls_mode(TlsMode::Secure)\n    \
                 .set_client_to_redis_certificates(tls)\n",
            )
        }
    };
    let feature = match given.is_empty() {
        true => "feature sentinel",
        false => "features sentinel and tls-rustls",
    };
    let open = match &to.proxy.tls {
        None => format!("Client::open(\"{url}\")?"),
        Some(_) => format!("Client::build_with_tls(\"{url}\", tls.clone())?"),
    };
    format!(
        "// with the {feature} of the crate redis\n\
         use redis::sentinel::{{SentinelClientBuilder, SentinelServerType}};\n\
         use redis::*;\n\n\
         {before}\
         // by the proxy\n\
         let db = {open}.get_connection()?;\n\n\
         // by Sentinel\n\
         let sentinels = [\n    {all},\n];\n\
         let mut client = SentinelClientBuilder::new(sentinels, \"{name}\", SentinelServerType::Master)?\n    \
             .set_client_to_sentinel_username(\"{user}\")\n    \
             .set_client_to_sentinel_password(\"{password}\")\n    \
             .set_client_to_redis_username(\"{user}\")\n    \
             .set_client_to_redis_password(\"{password}\")\n\
         {given}    \
             .build()?;\n\
         let db = client.get_connection()?;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_any_characters_is_read_back_from_a_url() {
        let at = SocketAddrV4::new([127, 0, 0, 51].into(), 6379);
        assert_eq!(
            url(false, "shop", None, at),
            "redis://shop:PASSWORD@127.0.0.51:6379/0"
        );
        assert_eq!(
            url(true, "shop", None, at),
            "rediss://shop:PASSWORD@127.0.0.51:6379/0"
        );
        let given = "p@ss/w:rd%?#[]!&=+";
        let parsed = redis::parse_redis_url(&url(false, "shop", Some(given), at)).unwrap();
        let info = redis::IntoConnectionInfo::into_connection_info(parsed).unwrap();
        assert_eq!(info.redis_settings().password(), Some(given));
    }
}
