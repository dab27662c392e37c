//! A star: up to nine sites in network namespaces, each behind an access link of its own, and one
//! core between them. With ways of their own between pairs of sites it is a mesh.
//!
//! ```text
//! site i  wan0 --TUN--> uplink of i --> way i -> j, if there is one --> downlink of j --TUN--> wan0  site j
//! ```
//! One thread carries everything: a site's uplink is shared by all that it sends, and its downlink by
//! all that is sent to it, in the order in which it leaves the core.

mod hub;
pub mod lab;
mod leg;
pub mod profile;
pub mod status;
