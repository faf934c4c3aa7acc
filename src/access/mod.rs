//! The users of the servers, their rights, passwords and certificates.
//!
//! Each part of the lab is a separate user on every server that it connects to, with exactly the
//! rights that it uses. The default user is off. `table` alone defines the rights: the servers' ACL
//! files and the tables of `docs/security.md` are generated from it.
//!
//! - `table`: users and their rights (pure)
//! - `app`: the users of applications, and both kinds of users as one type (pure)
//! - `acl`: the ACL file of a server, and the tables (pure)
//! - `secrets`: the folder with a password for each user
//! - `certificates`: the same folder, with a certificate for each node
//!
//! A password never appears in an argument, an environment variable or a log. It goes from its file
//! into the connection, and its memory is zeroed.

mod acl;
mod app;
mod certificates;
mod secrets;
mod table;

pub use acl::{acl_file, allow, only, rights_reference};
pub use app::{Account, AppUser, application_by_proxy, name_by_proxy};
pub use certificates::{CertificateError, Certificates, TlsIdentity};
pub use secrets::{Login, Secrets, SecretsError};
pub use table::User;
