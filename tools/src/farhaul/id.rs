//! `farhaul id`: who this host is.

use super::args::IdArgs;
use super::{Ended, setup, text};

pub(super) fn run(args: &IdArgs) -> Ended {
    text::answer(setup::identity(args.home.home.as_ref())?.id())
}
