//! `farhaul id`: who this host is.

use super::args::IdArgs;
use super::{Ended, setup, text};
use serde::Serialize;

/// As JSON.
#[derive(Serialize)]
struct Told {
    id: String,
}

pub(super) fn run(args: &IdArgs) -> Ended {
    let id = setup::identity(args.home.home.as_ref())?.id().to_string();
    if args.json {
        return text::answer(serde_json::to_string(&Told { id }).unwrap_or_default());
    }
    text::answer(id)
}
