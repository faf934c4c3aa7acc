//! A separate loopback /24 network for each lab on a machine.
//!
//! A network is claimed by binding a UDP port on one of its addresses. The kernel gives the port to
//! one process of the machine and frees it when that process ends, even by `kill -9`. No node uses
//! UDP, so the port is not needed otherwise.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use rand::RngExt;

/// Range of the second octet: far from 127.0, which is often used by hand.
const SECOND_OCTET: std::ops::RangeInclusive<u8> = 64..=126;
/// Number of random networks that are tried. Nearly every one is free.
const TRIES: usize = 200;
/// Ports that must be free on the first addresses of the network.
const PORTS: [u16; 2] = [6379, 26379];

/// The last octet and the UDP port of a claim, the same for all labs of a machine.
const CLAIM: (u8, u16) = (254, 6379);

/// Why no network was claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The port could not be bound, and not because it is in use.
    #[error("cannot claim a loopback network by a UDP port at {at}: {source}")]
    System {
        /// The address.
        at: Ipv4Addr,
        /// The error.
        source: io::Error,
    },
    /// All networks that were tried are in use.
    #[error("no free loopback network found in {TRIES} tries; stop labs that are no longer needed")]
    NoneFree,
}

/// A /24 network of 127/8, claimed while this value lives.
#[derive(Debug)]
pub struct ClaimedSubnet {
    octets: [u8; 3],
    _claim: UdpSocket,
}

impl ClaimedSubnet {
    /// Tries random networks until one is free.
    ///
    /// # Errors
    /// If none is free, or claiming fails.
    pub fn claim() -> Result<Self, ClaimError> {
        let mut rng = rand::rng();
        for _ in 0..TRIES {
            let octets = [
                127,
                rng.random_range(SECOND_OCTET),
                rng.random_range(0..=254),
            ];
            if let Some(claimed) = Self::of(octets)? {
                return Ok(claimed);
            }
        }
        Err(ClaimError::NoneFree)
    }

    /// Claims this network, unless it is in use.
    fn of(octets: [u8; 3]) -> Result<Option<Self>, ClaimError> {
        let ([a, b, c], (d, port)) = (octets, CLAIM);
        let at = Ipv4Addr::new(a, b, c, d);
        match UdpSocket::bind((at, port)) {
            Ok(claim) => Ok(is_free(octets).then_some(ClaimedSubnet {
                octets,
                _claim: claim,
            })),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(source) => Err(ClaimError::System { at, source }),
        }
    }

    /// The first three octets.
    pub fn octets(&self) -> [u8; 3] {
        self.octets
    }
}

impl std::fmt::Display for ClaimedSubnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c] = self.octets;
        write!(f, "{a}.{b}.{c}")
    }
}

/// Whether nothing listens on the ports of a lab. A lab that was started by hand has no claim.
fn is_free([a, b, c]: [u8; 3]) -> bool {
    (1..=40).all(|d| {
        PORTS
            .iter()
            .all(|port| TcpListener::bind((Ipv4Addr::new(a, b, c, d), *port)).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_network_is_claimed_once_and_free_again_with_its_claim() {
        let claim = ClaimedSubnet::claim().unwrap();
        let octets = claim.octets();
        assert!(ClaimedSubnet::of(octets).unwrap().is_none());
        drop(claim);
        // A child process that another test is starting may still hold the socket for a moment.
        let begun = Instant::now();
        while ClaimedSubnet::of(octets).unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60));
        }
    }
}
