//! Parsers of option values.

use std::net::Ipv4Addr;
use std::time::Duration;

/// Parses the first three octets of a /24 network: `127.0.7`.
pub(super) fn parse_subnet(text: &str) -> Result<[u8; 3], String> {
    let address: Ipv4Addr = format!("{text}.0")
        .parse()
        .map_err(|_| "expected three numbers from 0 to 255, for example 127.0.7".to_owned())?;
    let [a, b, c, _] = address.octets();
    Ok([a, b, c])
}

/// The longest time span that an option accepts, one year. Adding it to the current time cannot
/// overflow.
const LONGEST_DURATION: Duration = Duration::from_secs(8760 * 3600);

/// Parses a time span: `250ms`, `5s`, `2m`, `1h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let hint = || "expected a time span such as 250ms, 5s, 2m or 1h".to_owned();
    let number: f64 = number.parse().map_err(|_| hint())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(hint()),
    };
    // The error means that it does not fit into a Duration. Negative numbers failed to parse above.
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span <= LONGEST_DURATION => Ok(span),
        _ => Err("expected a time span of at most 8760h (one year)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_need_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("8760h"), Ok(LONGEST_DURATION));
        for wrong in ["", "5", "s", "-1s", "1e400s", "5 s", "1d", "8761h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_subnet_is_three_octets() {
        assert_eq!(parse_subnet("127.0.7"), Ok([127, 0, 7]));
        for wrong in ["127.0", "127.0.7.1", "127.0.256", "x"] {
            assert!(parse_subnet(wrong).is_err(), "{wrong}");
        }
    }
}
