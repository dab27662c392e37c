//! The caller's half of an engine: two bounded queues and the count that bounds them.

use super::{Completion, DiskError, Op, Request};
use crate::wake::Waker;
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use std::collections::BTreeSet;

/// Where the caller puts requests and finds completions.
#[derive(Debug)]
pub(super) struct Port {
    /// None once closed.
    requests: Option<Sender<Request>>,
    /// The engine's end of the same queue, to empty it when closing.
    waiting: Receiver<Request>,
    completions: Receiver<Completion>,
    depth: usize,
    /// Tokens of the requests without a completion.
    in_flight: BTreeSet<u64>,
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
    let requests = Some(requests);
    let in_flight = BTreeSet::new();
    (Port { requests, waiting: inbox, completions, depth, in_flight }, dock)
}

impl Port {
    pub(super) fn submit(&mut self, request: Request) -> Result<(), Request> {
        let open = self.requests.as_ref().filter(|_| self.in_flight.len() < self.depth);
        match open {
            None => Err(request),
            Some(requests) => {
                let token = request.token;
                requests.try_send(request).map_err(TrySendError::into_inner)?;
                self.in_flight.insert(token);
                Ok(())
            }
        }
    }

    /// An engine that died answers for nothing any more: what it held ends here, as failed.
    pub(super) fn poll(&mut self, out: &mut Vec<Completion>) {
        loop {
            match self.completions.try_recv() {
                Ok(completion) => {
                    self.in_flight.remove(&completion.token);
                    out.push(completion);
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.give_up(out),
            }
        }
    }

    fn give_up(&mut self, out: &mut Vec<Completion>) {
        for Request { token, op } in self.waiting.try_iter() {
            self.in_flight.remove(&token);
            let buffer = match op {
                Op::Read { buffer, .. } => buffer.into(),
                Op::Write { buffer, .. } => buffer,
            };
            out.push(Completion { buffer: Some(buffer), ..Completion::broken(token) });
        }
        let held = std::mem::take(&mut self.in_flight);
        out.extend(held.into_iter().map(Completion::broken));
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
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

impl Completion {
    /// The end of a request whose engine broke down with it; its buffer is lost.
    pub(super) fn broken(token: u64) -> Self {
        Self { token, buffer: None, result: Err(DiskError::EngineFailed { errno: 0 }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::BufferPool;
    use crate::wake;

    #[test]
    fn what_a_dead_engine_held_ends_as_failed_and_so_does_what_comes_later() {
        let pool = BufferPool::new(2, 4096).expect("memory");
        let read = |token| {
            let buffer = pool.try_lease().expect("free");
            Request { token, op: Op::Read { buffer, segments: Vec::new() } }
        };
        let (waker, _source) = wake::pair().expect("a descriptor");
        let (mut port, dock) = pair(2, waker);
        assert!(port.submit(read(7)).is_ok());
        let taken = dock.requests.recv().expect("submitted");
        drop((dock, taken));
        for token in [7, 8] {
            let mut out = Vec::new();
            port.poll(&mut out);
            let ends = out.iter().map(|end| (end.token, end.buffer.is_some(), end.result));
            let failed = Err(DiskError::EngineFailed { errno: 0 });
            // The engine never took the second one: its buffer is still here.
            assert_eq!(ends.collect::<Vec<_>>(), [(token, token == 8, failed)]);
            assert_eq!(port.in_flight(), 0);
            assert!(port.submit(read(8)).is_ok());
        }
    }
}
