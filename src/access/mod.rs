//! Who may do what on the servers of a lab, and the passwords.
//!
//! Each part of the lab is a user of its own on every server that it talks to, with the rights that it uses and no
//! others; the default user is off. `table` is the one place that says which: the servers' ACL files are made of
//! it, and the tables of `docs/security.md`.
//!
//! - `table`: users and their rights (pure)
//! - `acl`: the ACL file of a server, and the tables (pure)
//! - `secrets`: the folder with a password for each user
//! - `certificates`: the same folder, with a certificate for each node
//!
//! Never in an argument, an environment or a log: a password goes from its file into the connection, and what held it
//! is zeroed.

mod acl;
mod certificates;
mod secrets;
mod table;

pub use acl::{acl_file, allow, only, rights_reference};
pub use certificates::{CertificateError, Certificates, Identity};
pub use secrets::{Login, Secrets, SecretsError, make_key};
pub use table::User;
