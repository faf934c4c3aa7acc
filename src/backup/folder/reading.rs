//! A complete backup, read and checked against its description.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::backup::manifest::Manifest;
use crate::backup::rdb::RdbScan;

use super::{DATA, FolderError, MANIFEST, hex, io_error};

/// The number of bytes read at a time.
const READ_SIZE: usize = 1 << 20;

/// The description of a backup.
///
/// # Errors
/// If the folder contains none.
pub fn describe(folder: &Path) -> Result<Manifest, FolderError> {
    let path = folder.join(MANIFEST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FolderError::NoBackup(folder.to_owned()));
        }
        Err(error) => return Err(io_error("cannot read", &path)(error)),
    };
    let manifest = Manifest::from_text(&text);
    let checked = manifest.and_then(|manifest| manifest.data(DATA).map(|_| manifest.clone()));
    checked.map_err(|why| FolderError::Manifest { path, why })
}

/// Reads all data of a backup, passes each part to `take`, and checks it against the description.
///
/// # Errors
/// If it cannot be read or is damaged, or `take` fails.
pub fn read_data(
    folder: &Path,
    manifest: &Manifest,
    mut take: impl FnMut(&[u8]) -> Result<(), FolderError>,
) -> Result<(), FolderError> {
    let path = folder.join(DATA);
    let damaged = |why: String| FolderError::Damaged {
        path: path.clone(),
        why,
    };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged("it is missing".into()));
        }
        Err(error) => return Err(io_error("cannot open", &path)(error)),
    };
    let (mut sha256, mut scan, mut bytes) = (Sha256::new(), RdbScan::default(), 0);
    let mut part = vec![0; READ_SIZE];
    loop {
        let length = file
            .read(&mut part)
            .map_err(io_error("cannot read", &path))?;
        if length == 0 {
            break;
        }
        let part = &part[..length];
        sha256.update(part);
        scan.push(part);
        bytes += length as u64;
        take(part)?;
    }
    let described = manifest
        .data(DATA)
        .map_err(|why| damaged(why.to_string()))?;
    if bytes != described.bytes {
        return Err(damaged(format!(
            "it has {bytes} bytes, but {} according to {MANIFEST}",
            described.bytes
        )));
    }
    if hex(&sha256.finalize()) != described.sha256 {
        return Err(damaged(format!("its SHA-256 is not the one in {MANIFEST}")));
    }
    let content = scan.finish().map_err(|why| damaged(why.to_string()))?;
    if content.mark != manifest.mark {
        return Err(damaged(format!("its mark is not the one in {MANIFEST}")));
    }
    Ok(())
}

/// Whether that file is the data of the backup, byte for byte.
pub fn is_data(path: &Path, manifest: &Manifest) -> bool {
    let digest = || -> io::Result<String> {
        let (mut file, mut sha256) = (File::open(path)?, Sha256::new());
        let mut part = vec![0; READ_SIZE];
        loop {
            match file.read(&mut part)? {
                0 => return Ok(hex(&sha256.finalize())),
                length => sha256.update(&part[..length]),
            }
        }
    };
    let described = manifest.data(DATA);
    described.is_ok_and(|described| digest().is_ok_and(|digest| digest == described.sha256))
}

/// Checks that a backup is complete, by its checksums and by that of the data.
///
/// # Errors
/// If it cannot be read, or is damaged.
pub fn check(folder: &Path) -> Result<Manifest, FolderError> {
    let manifest = describe(folder)?;
    read_data(folder, &manifest, |_| Ok(()))?;
    Ok(manifest)
}
