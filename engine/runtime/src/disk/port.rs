//! The caller's half of an engine: two bounded queues and the count that bounds them.

use super::{Completion, Request};
use crate::wake::Waker;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Where the caller puts requests and finds completions.
#[derive(Debug)]
pub(super) struct Port {
    /// None once closed.
    requests: Option<Sender<Request>>,
    /// The engine's end of the same queue, to empty it when closing.
    waiting: Receiver<Request>,
    completions: Receiver<Completion>,
    depth: usize,
    in_flight: usize,
}

/// Where an engine finds requests and puts completions.
#[derive(Clone, Debug)]
pub(super) struct Dock {
    pub(super) requests: Receiver<Request>,
    completions: Sender<Completion>,
    waker: Waker,
}

/// Two ends for `depth` requests in flight.
pub(super) fn pair(depth: usize, waker: Waker) -> (Port, Dock) {
    let (requests, inbox) = bounded(depth);
    let (outbox, completions) = bounded(depth);
    let dock = Dock { requests: inbox.clone(), completions: outbox, waker };
    let port = Port { requests: Some(requests), waiting: inbox, completions, depth, in_flight: 0 };
    (port, dock)
}

impl Port {
    pub(super) fn submit(&mut self, request: Request) -> Result<(), Request> {
        let open = self.requests.as_ref().filter(|_| self.in_flight < self.depth);
        match open {
            None => Err(request),
            Some(requests) => {
                requests.try_send(request).map_err(TrySendError::into_inner)?;
                self.in_flight += 1;
                Ok(())
            }
        }
    }

    pub(super) fn poll(&mut self, out: &mut Vec<Completion>) {
        let before = out.len();
        out.extend(self.completions.try_iter());
        self.in_flight -= out.len() - before;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Tells the engine to end, and drops the requests it has not taken.
    pub(super) fn close(&mut self) {
        self.requests = None;
        self.waiting.try_iter().for_each(drop);
    }
}

impl Dock {
    pub(super) fn complete(&self, completion: Completion) {
        // The queue holds as many as can be in flight. If the caller is gone, nobody waits.
        if self.completions.try_send(completion).is_ok() {
            self.waker.wake();
        }
    }
}
