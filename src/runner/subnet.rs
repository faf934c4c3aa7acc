//! A loopback /24 of its own for each lab that is started beside others.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::{env, io};

use rand::RngExt;

/// The second octets to draw from: far from 127.0, where people put things by hand.
const SECOND_OCTET: std::ops::RangeInclusive<u8> = 64..=126;
/// Draws before giving up; nearly every draw is free.
const TRIES: usize = 200;
/// Ports that must be free on the first addresses of the network.
const PORTS: [u16; 2] = [6379, 26379];

/// Why no network was claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The folder of the claims can't be used.
    #[error("cannot keep claims of loopback networks in {folder}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
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
    /// Dropped, and so unlocked, with the process at the latest, `kill -9` included.
    _lock: File,
}

impl ClaimedSubnet {
    /// Draws networks until one is free.
    ///
    /// # Errors
    /// When there is none, or claims can't be kept.
    pub fn claim() -> Result<Self, ClaimError> {
        let folder = env::temp_dir().join("halab-networks");
        let failed = |source| ClaimError::Folder {
            folder: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut rng = rand::rng();
        for _ in 0..TRIES {
            let octets = [
                127,
                rng.random_range(SECOND_OCTET),
                rng.random_range(0..=254),
            ];
            let [a, b, c] = octets;
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join(format!("{a}.{b}.{c}")))
                .map_err(failed)?;
            if file.try_lock().is_ok() && is_free(octets) {
                return Ok(ClaimedSubnet {
                    octets,
                    _lock: file,
                });
            }
        }
        Err(ClaimError::NoneFree)
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
