//! A loopback /24 of its own for each lab that is started beside others.
//!
//! The claim is a UDP port that is bound on an address of the network: the kernel gives it to one process of the machine,
//! whoever's it is, and takes it back when that ends, `kill -9` included. No node speaks UDP, so the port is in nobody's way.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use rand::RngExt;

/// The second octets to draw from: far from 127.0, where people put things by hand.
const SECOND_OCTET: std::ops::RangeInclusive<u8> = 64..=126;
/// Draws before giving up; nearly every draw is free.
const TRIES: usize = 200;
/// Ports that must be free on the first addresses of the network.
const PORTS: [u16; 2] = [6379, 26379];

/// The last octet and the UDP port of a claim. All labs of a machine have to agree on them.
const CLAIM: (u8, u16) = (254, 6379);

/// Why no network was claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The system gives no port there, and not because somebody has it.
    #[error("cannot claim a loopback network by a UDP port at {at}: {source}")]
    System {
        /// Where.
        at: Ipv4Addr,
        /// What it said.
        source: io::Error,
    },
    /// Every draw was taken.
    #[error("no free loopback network among {TRIES} drawn: stop labs that are not needed any more")]
    NoneFree,
}

/// A /24 of 127/8 that no other lab of this machine takes while this value lives.
#[derive(Debug)]
pub struct ClaimedSubnet {
    octets: [u8; 3],
    _claim: UdpSocket,
}

impl ClaimedSubnet {
    /// Draws networks until one is free.
    ///
    /// # Errors
    /// When there is none, or none can be claimed.
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

    /// This network, unless somebody has it.
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

    /// Its first three octets.
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

/// Whether nothing listens where a lab would; a lab started by hand has no claim.
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
        // A process that another test is just about to start may have it for a moment.
        let begun = Instant::now();
        while ClaimedSubnet::of(octets).unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60));
        }
    }
}
