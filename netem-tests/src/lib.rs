//! Whole binaries across network namespaces and an emulated WAN: the harness.
//!
//! A test names what it needs with [`require!`]; where the machine does not give it (no
//! namespaces, no TUN device, a missing program), the test says that it was skipped and why, and
//! ends. A lab that should come up and does not is a failure; with `FARHAUL_REQUIRE_LAB=1`, as
//! `.ci/run` sets it where labs are possible, a missing lab is one too. No traffic leaves the
//! namespaces that the lab makes.
//!
//! [`chaos`] has whole sites at work: daemons, their users and faults, and an oracle of what was
//! written. The binary of that name runs it for as long as one likes.
//!
//! ```no_run
//! use farhaul_netem_tests::{Lab, cell, require};
//! use farhaul_tools::wanem::site::Site;
//! use std::process::Command;
//!
//! let lab = require!("a_test", Lab::start(&cell('b')));
//! let finished = lab.run(Site::A, &Command::new("hostname")).expect("it runs");
//! assert_eq!(finished.usage.exit_code, 0);
//! ```
#![forbid(unsafe_code)]

pub mod chaos;
pub mod content;
pub mod lab;
pub mod measure;
pub mod report;
pub mod require;
pub mod run;
pub mod sites;
pub mod star;
pub mod star_sites;
pub mod tree;
pub mod turn;
pub mod weather;

pub use farhaul_tools::wanem::profile::LabProfile;
pub use farhaul_tools::wanem::site::Site;
pub use lab::Lab;
pub use measure::{Goodput, cell, goodput_limit};
pub use report::Report;
pub use require::Unavailable;
pub use run::{Finished, Running};
pub use sites::{Host, Sites};
pub use star::Star;
pub use star_sites::StarSites;
pub use weather::Weather;
