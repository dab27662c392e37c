//! Flows of a session from the outside: opened, changed and ended, and what they came to.

use super::Session;
use crate::ids::{FlowId, ObjectId};
use crate::objects::{BlockRun, ObjectError};
use crate::shares::{FlowError, FlowFigures, FlowPlan};
use crate::units::{Bytes, Timestamp};

impl Session {
    /// Opens a flow, or changes it: class, weight, cap and whether it is paused hold for the next
    /// packet. Flow 0 is there always. spec: W-143
    ///
    /// # Errors
    /// [`FlowError::TooMany`].
    pub fn set_flow(
        &mut self,
        flow: FlowId,
        plan: FlowPlan,
        now: Timestamp,
    ) -> Result<(), FlowError> {
        self.sender.turn(now);
        let rested = self.sender.is_resting();
        self.sender.set_flow(flow, plan)?;
        if rested && !self.sender.is_resting() {
            self.silence.ask_again();
        }
        Ok(())
    }

    /// Forgets a flow that has nothing under way.
    ///
    /// # Errors
    /// [`FlowError::Unknown`], [`FlowError::InUse`].
    pub fn end_flow(&mut self, flow: FlowId) -> Result<(), FlowError> {
        self.sender.end_flow(flow)
    }

    /// Declares an object to send in a flow that was opened.
    ///
    /// # Errors
    /// [`ObjectError`]; nothing is changed then.
    pub fn declare_send_in(
        &mut self,
        flow: FlowId,
        len: Bytes,
        held: &[BlockRun],
    ) -> Result<ObjectId, ObjectError> {
        self.on_declaring(len);
        self.sender.declare_in(flow, len, held)
    }

    /// What each flow came to, in no order.
    pub fn flows(&self) -> impl Iterator<Item = FlowFigures> + '_ {
        self.sender.flows()
    }
}
