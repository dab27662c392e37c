//! `farhaul id`: who this host is.

use super::args::IdArgs;
use super::{Ended, setup};

pub(super) fn run(args: &IdArgs) -> Ended {
    println!("{}", setup::identity(args.home.home.as_ref())?.id());
    Ok(())
}
