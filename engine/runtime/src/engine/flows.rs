//! The flows of a session from the outside: what each of them gets, and what it came to.

use super::session::Mailbox;
use crate::driver::command::{Command, LinkNumber, SessionKey};
use farhaul_proto::ids::FlowId;
use farhaul_proto::shares::{FlowError, FlowFigures, FlowPlan, Weight};

/// Changes what the flows of a session get; does not keep the session alive.
#[derive(Clone)]
pub struct FlowControl {
    key: SessionKey,
    mailbox: Mailbox,
}

/// Why a flow could not be opened, changed or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowFault {
    /// The session is over.
    #[error("the session is over")]
    Gone,
    /// There cannot be such a flow.
    #[error(transparent)]
    Flow(#[from] FlowError),
}

impl FlowControl {
    pub(super) const fn new(key: SessionKey, mailbox: Mailbox) -> Self {
        Self { key, mailbox }
    }

    /// Opens a flow, or changes it: class, weight, cap and whether it is paused hold from the next
    /// packet on. Flow 0 is there always, and has what nobody put elsewhere.
    ///
    /// # Errors
    /// [`FlowFault`]; nothing is changed then.
    pub async fn set(&self, flow: FlowId, plan: FlowPlan) -> Result<(), FlowFault> {
        let done = self.mailbox.ask(|reply| Command::SetFlow(self.key, flow, plan, reply)).await;
        Ok(done.map_err(|_| FlowFault::Gone)??)
    }

    /// Forgets a flow that has nothing under way.
    ///
    /// # Errors
    /// [`FlowFault`]; nothing is changed then.
    pub async fn end(&self, flow: FlowId) -> Result<(), FlowFault> {
        let done = self.mailbox.ask(|reply| Command::EndFlow(self.key, flow, reply)).await;
        Ok(done.map_err(|_| FlowFault::Gone)??)
    }

    /// What each flow came to so far, in no order; `None` once the session is over.
    pub async fn figures(&self) -> Option<Vec<FlowFigures>> {
        self.mailbox.ask(|reply| Command::Flows(self.key, reply)).await.ok()
    }

    /// The link over which the session goes from now on: see [`super::Engine::shape_link`].
    pub fn put_over(&self, link: LinkNumber) {
        let _ = self.mailbox.post(Command::PutOver(self.key, link));
    }

    /// The session's part of what all of them over its link may send together: see
    /// [`super::Engine::shape_link`].
    pub fn weigh(&self, weight: Weight) {
        let _ = self.mailbox.post(Command::Weigh(self.key, weight));
    }
}
