//! The folder of the passwords: a file for each user, read at each connection.
//!
//! ```text
//! SECRETS/          0700
//! SECRETS/writer    0600, one line: the password
//! SECRETS/app-NAME  likewise, of an application
//! SECRETS/writer.next     during a rotation: the next password
//! SECRETS/writer.old      during a rotation: the previous one, which a server may still use
//! SECRETS/.lock     held while files are written
//! ```
//!
//! A rotation (`halab secrets rotate`) keeps one rule at every moment, even if it is interrupted by
//! a `kill -9`: every server accepts the passwords in these files, including a server that is just
//! starting. So no process of the lab keeps a password in memory or has to be notified, and the
//! next rotation completes an interrupted one.

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

use super::app::Account;
use super::table::User;

/// Bytes of a generated password: 256 bits.
const PASSWORD_BYTES: usize = 32;
/// Shortest password that is accepted from a file.
const MIN_LENGTH: usize = 16;
/// Longest file that is read.
const MAX_FILE_BYTES: u64 = 1024;

/// Why a password is not available.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file does not exist.
    #[error(
        "no password for the user {user}: {path} does not exist; nodes create it when they start: \
         start the lab, or if it runs, restart one node after the other; pass another secrets \
         folder with --secrets or HALAB_SECRETS (halab secrets make DIR creates one)"
    )]
    Missing {
        /// The user.
        user: String,
        /// The path.
        path: PathBuf,
    },
    /// The content cannot be a password.
    #[error(
        "{path} is not a password: expected one line of {MIN_LENGTH} to {MAX_FILE_BYTES} printable \
         ASCII characters, without blanks, quotes or backslashes"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The folder is managed outside the lab.
    #[error(
        "the folder {0} is not managed by the lab: change its files at their source, or pass \
         --shared if every node and client reads this folder"
    )]
    NotOwn(PathBuf),
    /// The lab does not use passwords.
    #[error("this lab has no passwords (security.acl = false in lab.toml)")]
    Off,
    /// A file cannot be read or written.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The failed action.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The system's random number generator failed.
    #[error("cannot get random numbers from the system: {0}")]
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

/// A user and the folder with its password, for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    account: Account,
    secrets: Secrets,
}

impl Login {
    /// The login of `user` on the servers of `lab`; `None` if the lab does not use passwords.
    pub fn of(lab: &Lab, user: impl Into<Account>) -> Option<Login> {
        let folder = lab.security.secrets.as_ref()?;
        lab.security.acl.then(|| Login {
            account: user.into(),
            secrets: Secrets::at(folder.path()),
        })
    }

    /// The name of the user.
    pub fn name(&self) -> &str {
        self.account.name()
    }

    /// The current password.
    ///
    /// # Errors
    /// If there is none.
    pub fn password(&self) -> Result<SecretString, SecretsError> {
        self.secrets.password(&self.account)
    }
}

impl Secrets {
    /// The secrets in `folder`.
    pub fn at(folder: &Path) -> Self {
        Secrets {
            folder: folder.into(),
        }
    }

    /// The secrets that the servers of `lab` use; missing ones are generated if the folder is
    /// managed by the lab. `None` if the lab does not use passwords.
    ///
    /// # Errors
    /// If one cannot be generated.
    pub fn load_or_generate(lab: &Lab) -> Result<Option<Secrets>, SecretsError> {
        if !lab.security.acl {
            return Ok(None);
        }
        match &lab.security.secrets {
            Some(SecretsFolder::Own(folder)) => {
                let secrets = Secrets::at(folder);
                secrets.make_missing(lab)?;
                Ok(Some(secrets))
            }
            Some(SecretsFolder::Given(folder)) => Ok(Some(Secrets::at(folder))),
            None => Err(SecretsError::Missing {
                user: User::Node.name().to_owned(),
                path: PathBuf::from("secrets"),
            }),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file with the password of a user.
    pub fn path(&self, user: &Account) -> PathBuf {
        self.folder.join(user.file())
    }

    fn next_path(&self, user: &Account) -> PathBuf {
        self.folder.join(format!("{}.next", user.file()))
    }

    fn old_path(&self, user: &Account) -> PathBuf {
        self.folder.join(format!("{}.old", user.file()))
    }

    /// The password of a user.
    ///
    /// # Errors
    /// If there is none.
    pub fn password(&self, user: impl Into<Account>) -> Result<SecretString, SecretsError> {
        let user = user.into();
        let path = self.path(&user);
        read(&path)?.ok_or_else(|| SecretsError::Missing {
            user: user.name().to_owned(),
            path,
        })
    }

    /// The passwords that a server has to accept from a user: the current one and, during a
    /// rotation, also the next one and the previous one.
    ///
    /// # Errors
    /// If there is no current one.
    pub fn accepted(&self, user: &Account) -> Result<Vec<SecretString>, SecretsError> {
        // In this order, because a rotation may rename one to the other between two reads.
        let next = read(&self.next_path(user))?;
        let mut all = vec![self.password(user)?];
        all.extend(next);
        all.extend(read(&self.old_path(user))?);
        Ok(all)
    }

    /// Generates a password for each user of `lab` that has none. Returns these users.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn make_missing(&self, lab: &Lab) -> Result<Vec<Account>, SecretsError> {
        let missing = || -> Vec<Account> {
            let has_none = |user: &Account| !self.path(user).exists();
            Account::all(lab).filter(has_none).collect()
        };
        if missing().is_empty() {
            return Ok(Vec::new());
        }
        let _lock = self.lock()?;
        let missing = missing();
        for user in &missing {
            write(&self.path(user), &random()?)?;
        }
        Ok(missing)
    }

    /// The next password of a user, generated if it does not exist. `None` if an interrupted
    /// rotation has already made it the current one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn next(&self, user: &Account) -> Result<Option<SecretString>, SecretsError> {
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

    /// Makes the next password of a user, if there is one, the current one, and keeps that as the
    /// old one.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn promote(&self, user: &Account) -> Result<(), SecretsError> {
        let (from, to) = (self.next_path(user), self.path(user));
        if !from.exists() {
            return Ok(());
        }
        write(&self.old_path(user), &self.password(user)?)?;
        files::rename(&from, &to).map_err(io_error("rename", &from))
    }

    /// Removes the old password of a user, once nothing uses it.
    ///
    /// # Errors
    /// If its file cannot be removed.
    pub fn forget(&self, user: &Account) -> Result<(), SecretsError> {
        let path = self.old_path(user);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Creates the folder if necessary and locks it against other writers until the value is
    /// dropped.
    ///
    /// # Errors
    /// If it cannot be created or locked.
    pub fn lock(&self) -> Result<File, SecretsError> {
        let (lock, path) = self.lock_file()?;
        lock.lock().map_err(io_error("lock", &path))?;
        Ok(lock)
    }

    /// The same without waiting: `None` if another process has the lock.
    ///
    /// # Errors
    /// If it cannot be created or locked.
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
            .map_err(io_error("create", &self.folder))?;
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

fn random() -> Result<SecretString, SecretsError> {
    let mut bytes = Zeroizing::new([0; PASSWORD_BYTES]);
    SysRng
        .try_fill_bytes(&mut *bytes)
        .map_err(|e| SecretsError::Random(e.to_string()))?;
    let mut text = String::with_capacity(2 * PASSWORD_BYTES);
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
    // With full capacity from the start: a growing buffer would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES as usize + 1));
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(io_error("read", path))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let good = |b: u8| b.is_ascii_graphic() && !b"\"'\\".contains(&b);
    if line.len() < MIN_LENGTH || !line.bytes().all(good) {
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

    use super::super::app::tests::lab_with;
    use super::*;

    #[test]
    fn passwords_that_are_made_are_long_distinct_kept_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::at(&folder.path().join("secrets"));
        let lab = lab_with("[[app]]\nname = \"shop\"");
        let users: Vec<Account> = Account::all(&lab).collect();
        assert_eq!(secrets.make_missing(&lab).unwrap(), users);
        assert!(secrets.folder().join("app-shop").exists());
        let all = |secrets: &Secrets| -> Vec<String> {
            let read = |u: &Account| secrets.password(u).unwrap().expose_secret().to_owned();
            users.iter().map(read).collect()
        };
        let made = all(&secrets);
        let mut different = made.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), users.len());
        assert!(made.iter().all(|p| p.len() == 64));
        assert_eq!(secrets.make_missing(&lab).unwrap(), []);
        assert_eq!(all(&secrets), made);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(secrets.folder()), 0o700);
        for entry in fs::read_dir(secrets.folder()).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }

    #[test]
    fn a_missing_or_malformed_password_is_an_error_that_names_the_file_only() {
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
            assert!(error.contains("/writer is not a password"), "{error}");
        }
        let given = "0123456789abcdef";
        fs::write(folder.path().join("writer"), given).unwrap();
        let read = secrets.password(User::Writer).unwrap();
        assert_eq!(read.expose_secret(), given);
        assert!(!format!("{read:?}").contains(given));
    }

    #[test]
    fn during_a_rotation_both_are_accepted_and_an_interrupted_one_continues() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::at(folder.path());
        secrets.make_missing(&lab_with("")).unwrap();
        let node = &Account::from(User::Node);
        let shown = |all: Vec<SecretString>| -> Vec<String> {
            all.iter().map(|p| p.expose_secret().to_owned()).collect()
        };
        let old = shown(secrets.accepted(node).unwrap());
        let next = || {
            let next = secrets.next(node).unwrap();
            next.map(|p| p.expose_secret().to_owned())
        };
        let new = next().unwrap();
        assert_eq!(next(), Some(new.clone()));
        let both = || shown(secrets.accepted(node).unwrap());
        assert_eq!(both(), [old[0].clone(), new.clone()]);
        secrets.promote(node).unwrap();
        // A server may still use the old one towards other servers.
        assert_eq!(both(), [new.clone(), old[0].clone()]);
        assert_eq!(next(), None);
        secrets.promote(node).unwrap();
        assert_eq!(both(), [new.clone(), old[0].clone()]);
        secrets.forget(node).unwrap();
        assert_eq!(both(), [new]);
        assert!(next().is_some());
    }
}
