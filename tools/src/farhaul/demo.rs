//! `farhaul demo`.
use super::Ended;
use super::args::DemoArgs;
pub(super) fn run(_args: &DemoArgs) -> Ended {
    Ok(())
}
