//! What a client asks for, as far as it matters here.

/// A request, read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Its head has not ended yet.
    Incomplete,
    /// `GET /metrics`, with any query.
    Metrics,
    /// `GET /status`, with any query.
    Status,
    /// `GET` of something else.
    OtherPath,
    /// Another method.
    OtherMethod,
    /// No request.
    Malformed,
    /// Its head is longer than anybody needs.
    TooLong,
}

impl Request {
    /// The status line of the answer to a request that is not for the metrics.
    pub(super) fn refusal(self) -> &'static str {
        match self {
            Request::OtherPath | Request::Status => "404 Not Found",
            Request::OtherMethod => "405 Method Not Allowed",
            Request::TooLong => "431 Request Header Fields Too Large",
            Request::Malformed | Request::Incomplete | Request::Metrics => "400 Bad Request",
        }
    }
}

/// Reads the head of an HTTP/1 request. Nothing but its first line matters; a body is not waited for.
pub(super) fn parse(bytes: &[u8]) -> Request {
    if !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
        return Request::Incomplete;
    }
    let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some(version), None) if version.starts_with(b"HTTP/1.") => {
            let path = target.split(|b| *b == b'?').next().unwrap_or_default();
            match (method, path) {
                (b"GET", b"/metrics") => Request::Metrics,
                (b"GET", b"/status") => Request::Status,
                (b"GET", _) => Request::OtherPath,
                _ => Request::OtherMethod,
            }
        }
        _ => Request::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_get_of_metrics_or_status_is_one() {
        for (text, request) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Request::Metrics),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Request::Metrics),
            ("GET /status HTTP/1.1\r\n\r\n", Request::Status),
            ("POST /status HTTP/1.1\r\n\r\n", Request::OtherMethod),
            ("GET / HTTP/1.1\r\n\r\n", Request::OtherPath),
            ("GET /metricsx HTTP/1.1\r\n\r\n", Request::OtherPath),
            ("POST /metrics HTTP/1.1\r\n\r\n", Request::OtherMethod),
            ("GET /metrics HTTP/2\r\n\r\n", Request::Malformed),
            ("GET /metrics\r\n\r\n", Request::Malformed),
            ("\r\n\r\n", Request::Malformed),
            ("GET /metrics HTTP/1.1\r\n", Request::Incomplete),
            ("", Request::Incomplete),
        ] {
            assert_eq!(parse(text.as_bytes()), request, "{text:?}");
        }
    }
}
