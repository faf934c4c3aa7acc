//! The folder of the passwords: a file for each user, read anew at each connection.
//!
//! ```text
//! SECRETS/          0700
//! SECRETS/writer    0600, one line: the password
//! SECRETS/writer.next     while it is being changed: the one that comes
//! SECRETS/writer.old      while it is being changed: the one that a server may still use
//! SECRETS/.lock     held while files are made
//! ```
//!
//! A rotation (`halab secrets rotate`) keeps one rule at every moment, a `kill -9` at any of them included: what these files
//! hold is accepted by every server, also by one that starts just now. So nobody of ours keeps a password in memory,
//! nobody of ours has to be told, and a rotation that was cut short is completed by the next one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::config::{Lab, SecretsFolder};
use crate::files;

use super::table::User;

/// Bytes of a password: 256 bits, which no one guesses, however fast a server answers.
const LENGTH: usize = 32;
/// Shortest password that is taken from a given file.
const SHORTEST: usize = 16;
/// Longest file that is read.
const LONGEST: u64 = 1024;

/// Why a password is not there.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// No file.
    #[error(
        "there is no password of the user {user}: {path} does not exist; start the lab first, or name the folder \
         of its secrets by --secrets or HALAB_SECRETS (halab secrets make DIR fills one)"
    )]
    Missing {
        /// Whose.
        user: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file that can't be a password.
    #[error(
        "{path} is no password: one line of {SHORTEST} to {LONGEST} letters, digits or other characters of ASCII is expected, \
         without blanks, quotes and backslashes"
    )]
    Malformed {
        /// Which one.
        path: PathBuf,
    },
    /// The folder was given by others, who have to change what is in it.
    #[error(
        "{0} was given: change its files where they come from, or say --shared if every node and client reads this very folder"
    )]
    NotOwn(PathBuf),
    /// The lab has no passwords.
    #[error("lab.toml says security.acl = false: this lab has no passwords")]
    Off,
    /// It can't be read or written.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SecretsError {
    let path = path.to_owned();
    move |source| SecretsError::Io { what, path, source }
}

/// The folder of the passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    folder: Arc<Path>,
}

/// A user and where its password is: what a connection needs to say who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    user: User,
    secrets: Secrets,
}

impl Login {
    /// How `user` says who it is on the servers of `lab`; nothing where nobody has to.
    pub fn of(lab: &Lab, user: User) -> Option<Login> {
        let folder = lab.security.secrets.as_ref()?;
        lab.security.acl.then(|| Login {
            user,
            secrets: Secrets::at(folder.path()),
        })
    }

    /// Who.
    pub fn user(&self) -> User {
        self.user
    }

    /// The password, as it is now.
    ///
    /// # Errors
    /// When it is not there.
    pub fn password(&self) -> Result<SecretString, SecretsError> {
        self.secrets.password(self.user)
    }
}

impl Secrets {
    /// The secrets in `folder`.
    pub fn at(folder: &Path) -> Self {
        Secrets {
            folder: folder.into(),
        }
    }

    /// The secrets that the servers of `lab` are to know; what is missing is made if the folder is the lab's own.
    /// Nothing for a lab without.
    ///
    /// # Errors
    /// When one is missing in a folder that was given, or can't be made.
    pub fn of_lab(lab: &Lab) -> Result<Option<Secrets>, SecretsError> {
        if !lab.security.acl {
            return Ok(None);
        }
        match &lab.security.secrets {
            Some(SecretsFolder::Own(folder)) => {
                let secrets = Secrets::at(folder);
                secrets.make_missing()?;
                Ok(Some(secrets))
            }
            Some(SecretsFolder::Given(folder)) => Ok(Some(Secrets::at(folder))),
            None => Err(SecretsError::Missing {
                user: User::Node.name(),
                path: PathBuf::from("secrets"),
            }),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, user: User) -> PathBuf {
        self.folder.join(user.name())
    }

    fn next_path(&self, user: User) -> PathBuf {
        self.folder.join(format!("{}.next", user.name()))
    }

    fn old_path(&self, user: User) -> PathBuf {
        self.folder.join(format!("{}.old", user.name()))
    }

    /// The password of a user.
    ///
    /// # Errors
    /// When it is not there.
    pub fn password(&self, user: User) -> Result<SecretString, SecretsError> {
        let path = self.path(user);
        read(&path)?.ok_or(SecretsError::Missing {
            user: user.name(),
            path,
        })
    }

    /// The passwords that a server is to accept from a user: the one in use, and while it is being changed the
    /// next one and the one before too.
    ///
    /// # Errors
    /// When the one in use is not there.
    pub fn accepted(&self, user: User) -> Result<Vec<SecretString>, SecretsError> {
        // In this order: one may become the other between two reads, but none is missed.
        let next = read(&self.next_path(user))?;
        let mut all = vec![self.password(user)?];
        all.extend(next);
        all.extend(read(&self.old_path(user))?);
        Ok(all)
    }

    /// Makes a password for each user that has none. Returns whose were made.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn make_missing(&self) -> Result<Vec<User>, SecretsError> {
        let missing = || -> Vec<User> {
            let has_none = |user: &User| !self.path(*user).exists();
            User::ALL.into_iter().filter(has_none).collect()
        };
        if missing().is_empty() {
            return Ok(Vec::new());
        }
        let _lock = self.lock()?;
        let missing = missing();
        for user in &missing {
            write(&self.path(*user), &random()?)?;
        }
        Ok(missing)
    }

    /// The next password of a user; made unless it is there. Nothing when a change that was cut short has brought it
    /// into use already.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn next(&self, user: User) -> Result<Option<SecretString>, SecretsError> {
        let path = self.next_path(user);
        if let Some(next) = read(&path)? {
            return Ok(Some(next));
        }
        if self.old_path(user).exists() {
            return Ok(None);
        }
        let next = random()?;
        write(&path, &next)?;
        Ok(Some(next))
    }

    /// The next password of a user, if there is one, becomes the one in use; that is kept as the old one.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn promote(&self, user: User) -> Result<(), SecretsError> {
        let (from, to) = (self.next_path(user), self.path(user));
        if !from.exists() {
            return Ok(());
        }
        write(&self.old_path(user), &self.password(user)?)?;
        files::rename(&from, &to).map_err(io_error("rename", &from))
    }

    /// Nobody uses the old password of a user any more.
    ///
    /// # Errors
    /// When its file can't be removed.
    pub fn forget(&self, user: User) -> Result<(), SecretsError> {
        let path = self.old_path(user);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Locks the folder, made when it is not there, against others who make files; until the value is dropped.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn lock(&self) -> Result<File, SecretsError> {
        let (lock, path) = self.lock_file()?;
        lock.lock().map_err(io_error("lock", &path))?;
        Ok(lock)
    }

    /// The same, without waiting for somebody who has it: nothing, then.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn try_lock(&self) -> Result<Option<File>, SecretsError> {
        let (lock, path) = self.lock_file()?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
        }
    }

    fn lock_file(&self) -> Result<(File, PathBuf), SecretsError> {
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700);
        folder
            .create(&self.folder)
            .map_err(io_error("make", &self.folder))?;
        let path = self.folder.join(".lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("open", &path))?;
        Ok((lock, path))
    }
}

/// Makes a random key in a file of its own, unless there is one. Returns whether it was made.
///
/// # Errors
/// When the file can't be written.
pub fn make_key(path: &Path) -> Result<bool, SecretsError> {
    // An empty file is what a crash of the machine may leave.
    if fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        return Ok(false);
    }
    write(path, &random()?)?;
    Ok(true)
}

fn random() -> Result<SecretString, SecretsError> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    SysRng
        .try_fill_bytes(&mut *bytes)
        .map_err(|e| SecretsError::Random(e.to_string()))?;
    let mut text = String::with_capacity(2 * LENGTH);
    for byte in *bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    Ok(text.into())
}

fn read(path: &Path) -> Result<Option<SecretString>, SecretsError> {
    use io::Read;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("read", path)(source)),
    };
    // With room for all of it: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize + 1));
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(io_error("read", path))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let good = |b: u8| b.is_ascii_graphic() && !b"\"'\\".contains(&b);
    if line.len() < SHORTEST || !line.bytes().all(good) {
        return Err(SecretsError::Malformed {
            path: path.to_owned(),
        });
    }
    Ok(Some(line.into()))
}

fn write(path: &Path, password: &SecretString) -> Result<(), SecretsError> {
    let password = password.expose_secret();
    // With room for all of it: a buffer that grows leaves copies behind.
    let mut line = Zeroizing::new(String::with_capacity(password.len() + 1));
    line.push_str(password);
    line.push('\n');
    files::replace(path, files::PRIVATE, line.as_bytes()).map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_made_is_long_different_stays_and_is_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::at(&folder.path().join("secrets"));
        assert_eq!(secrets.make_missing().unwrap(), User::ALL);
        let all = |secrets: &Secrets| -> Vec<String> {
            let read = |u| secrets.password(u).unwrap().expose_secret().to_owned();
            User::ALL.into_iter().map(read).collect()
        };
        let made = all(&secrets);
        let mut different = made.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), User::ALL.len());
        assert!(made.iter().all(|p| p.len() == 64));
        assert_eq!(secrets.make_missing().unwrap(), []);
        assert_eq!(all(&secrets), made);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(secrets.folder()), 0o700);
        for entry in fs::read_dir(secrets.folder()).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }

    #[test]
    fn a_key_is_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "").unwrap();
        assert!(make_key(&path).unwrap());
        let made = fs::read_to_string(&path).unwrap();
        assert_eq!(made.trim_end().len(), 64);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(!make_key(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), made);
    }

    #[test]
    fn a_missing_or_malformed_one_is_an_error_that_names_the_file_and_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::at(folder.path());
        let missing = secrets.password(User::Writer).unwrap_err().to_string();
        assert!(missing.contains("/writer does not exist"), "{missing}");
        for text in [
            "",
            "short\n",
            "two lines of it\nand more\n",
            "with \"quotes\" in it",
        ] {
            fs::write(folder.path().join("writer"), text).unwrap();
            let error = secrets.password(User::Writer).unwrap_err().to_string();
            assert!(error.contains("/writer is no password"), "{error}");
        }
        let given = "0123456789abcdef";
        fs::write(folder.path().join("writer"), given).unwrap();
        let read = secrets.password(User::Writer).unwrap();
        assert_eq!(read.expose_secret(), given);
        assert!(!format!("{read:?}").contains(given));
    }

    #[test]
    fn while_it_is_changed_both_are_accepted_and_a_change_cut_short_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::at(folder.path());
        secrets.make_missing().unwrap();
        let shown = |all: Vec<SecretString>| -> Vec<String> {
            all.iter().map(|p| p.expose_secret().to_owned()).collect()
        };
        let old = shown(secrets.accepted(User::Node).unwrap());
        let next = || {
            let next = secrets.next(User::Node).unwrap();
            next.map(|p| p.expose_secret().to_owned())
        };
        let comes = next().unwrap();
        assert_eq!(next(), Some(comes.clone()));
        let both = || shown(secrets.accepted(User::Node).unwrap());
        assert_eq!(both(), [old[0].clone(), comes.clone()]);
        secrets.promote(User::Node).unwrap();
        // A server may still use the old one among servers.
        assert_eq!(both(), [comes.clone(), old[0].clone()]);
        assert_eq!(next(), None);
        secrets.promote(User::Node).unwrap();
        assert_eq!(both(), [comes.clone(), old[0].clone()]);
        secrets.forget(User::Node).unwrap();
        assert_eq!(both(), [comes]);
        assert!(next().is_some());
    }
}
