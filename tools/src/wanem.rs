//! wanem, the WAN emulator: two sites in network namespaces, joined by TUN devices and a modelled
//! link between them.
//!
//! The model is `farhaul_sim::link`, the same that the simulator runs; this room is its body in
//! real time. It is a tool for tests and measurements and no part of the product: it shapes whole
//! packets of any protocol and knows nothing of Farhaul's. At the edge of each site it can translate
//! addresses ([`nat`]), and a site can be moved to another address while everything runs.
//!
//! ```text
//! site A  wan0 <--TUN--> direction A->B (Link) <--TUN--> wan0  site B
//!                        direction B->A (Link)
//! ```
//! [`star`] is the same for many sites: each has an access link to one core.

mod arena;
mod arrivals;
mod checksum;
pub mod cli;
pub mod client;
pub mod control;
pub mod direction;
mod flight;
pub mod lab;
pub mod nat;
pub mod options;
pub mod probe;
pub mod profile;
mod schedule;
pub mod script;
pub mod segment;
pub mod segmentation;
pub mod selftest;
pub mod site;
pub mod star;
pub mod status;
mod too_big;
pub mod tun;
pub mod vnet;
