//! Files on a disk as versions speak of them: what they hold, read and named, and whose and how they
//! are, read and set. For the daemon, which keeps trees so, and for the command, which writes what is
//! restored to another place.
//!
//! Everything works on what is open: no path is opened here, and nothing is decided.

#![forbid(unsafe_code)]

pub mod attrs;
mod describe;
mod digest;
mod holes;
mod identity;
mod owner;
pub mod people;
mod rooted;
pub mod sparse;

pub use describe::{Before, NOBODY, ROOT, Subject, Undescribed, describe};
pub use digest::{ContentSink, DigestError, Digested, Digester, Nowhere, SinkError};
pub use holes::{NextHoles, holes_of};
pub use identity::identity_of;
pub use owner::{NameTable, Numbers, Principals, Unnamed, Wake, digits_of};
pub use rooted::guards_root;
