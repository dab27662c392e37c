//! The flows of one session: opened when something of a job is first given, changed as it is divided, and
//! ended when the job is over.

use super::steer::Shares;
use super::{JobTable, Lot};
use farhaul_engine::engine::{FlowControl, FlowFault, SessionFault, SessionHandle, SessionProbe};
use farhaul_engine::objects::BlockSource;
use farhaul_proto::ids::{FlowId, SiteId};
use farhaul_proto::shares::{FLOWS_MAX, FlowError, FlowFigures, FlowPlan};
use farhaul_proto::units::Bytes;
use farhaul_sync::seal::FolderKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// What folders sync.
const FOLDERS: FlowId = FlowId::new(0);
/// What is said.
const WORDS: FlowId = FlowId::new(1);

/// Which flow is whose.
#[derive(Debug, Default)]
pub(super) struct Open {
    lots: BTreeMap<Lot, FlowId>,
}

impl Open {
    pub(super) fn lots(&self) -> impl Iterator<Item = (Lot, FlowId)> + '_ {
        self.lots.iter().map(|(lot, flow)| (*lot, *flow))
    }

    /// A number that no flow has.
    fn vacant(&self) -> Option<FlowId> {
        let mut numbers = (2..).map(FlowId::new).take(FLOWS_MAX - 2);
        numbers.find(|number| self.lots.values().all(|taken| taken != number))
    }
}

/// The flows of a session, for those who divide.
pub(super) struct SessionFlows {
    pub(super) control: FlowControl,
    pub(super) probe: SessionProbe,
    /// Held while a flow is opened and given something, so that nobody ends it in between.
    open: Mutex<Open>,
}

impl SessionFlows {
    fn new(session: &SessionHandle, probe: SessionProbe) -> Self {
        let lots = BTreeMap::from([(Lot::Folders, FOLDERS), (Lot::Words, WORDS)]);
        Self { control: session.flows(), probe, open: Mutex::new(Open { lots }) }
    }

    /// What each flow came to; `None` once the session is over.
    pub(super) async fn figures(&self) -> Option<BTreeMap<Lot, FlowFigures>> {
        let open = self.open.lock().await;
        let figures = self.control.figures().await?;
        let of = |(lot, flow): (Lot, FlowId)| {
            Some((lot, *figures.iter().find(|figures| figures.flow == flow)?))
        };
        Some(open.lots().filter_map(of).collect())
    }

    /// Has flows get that, the ones that get less first. Those that were ended meanwhile stay so.
    pub(super) async fn set(&self, mut plans: Vec<(Lot, FlowPlan)>) {
        let open = self.open.lock().await;
        plans.sort_by_key(|(_, plan)| plan.cap);
        for (lot, plan) in plans {
            if let Some(flow) = open.lots.get(&lot) {
                let _ = self.control.set(*flow, plan).await;
            }
        }
    }

    /// Ends the flows of jobs that are over, as far as nothing of them is under way.
    pub(super) async fn end_over(&self, jobs: &JobTable) {
        let is_over = |lot: &Lot| matches!(lot, Lot::Job(id) if !jobs.jobs.contains_key(id));
        let mut open = self.open.lock().await;
        self.end_open(&mut open, is_over).await;
    }

    async fn end_open(&self, open: &mut Open, is_over: impl Fn(&Lot) -> bool) {
        let over: Vec<_> = open.lots().filter(|(lot, _)| is_over(lot)).collect();
        for (lot, flow) in over {
            let ended = self.control.end(flow).await;
            if matches!(ended, Ok(()) | Err(FlowFault::Flow(FlowError::Unknown(_)))) {
                open.lots.remove(&lot);
            }
        }
    }
}

/// What became of something that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::site) enum Declared {
    /// It is on its way.
    Sent,
    /// The session has as many flows as it may: it is to be asked for again.
    Crowded,
}

/// A session's end of the division; dropping it leaves that.
pub(in crate::site) struct Share {
    peer: SiteId,
    all: Arc<Shares>,
    flows: Option<Arc<SessionFlows>>,
}

impl Share {
    pub(in crate::site) const fn new(peer: SiteId, all: Arc<Shares>) -> Self {
        Self { peer, all, flows: None }
    }

    /// The session begins: it is divided with from now on.
    pub(in crate::site) async fn begin(&mut self, session: &SessionHandle, probe: SessionProbe) {
        let flows = Arc::new(SessionFlows::new(session, probe));
        let _ = flows.control.set(WORDS, FlowPlan::default()).await;
        self.all.join(self.peer, Arc::clone(&flows));
        self.flows = Some(flows);
    }

    /// Sends words that are too long for a message.
    pub(in crate::site) async fn say(
        &self,
        session: &SessionHandle,
        (len, source): (Bytes, Arc<dyn BlockSource>),
    ) -> Result<(), SessionFault> {
        let flow = if self.flows.is_some() { WORDS } else { FOLDERS };
        session.declare_send_in(flow, len, Vec::new(), source).await?;
        self.all.begins(self.peer, Lot::Words);
        Ok(())
    }

    /// Sends something of a folder, in the flow of the job whose folder it is.
    pub(in crate::site) async fn give(
        &self,
        session: &SessionHandle,
        folder: Option<FolderKey>,
        (len, source): (Bytes, Arc<dyn BlockSource>),
    ) -> Result<Declared, SessionFault> {
        let job = folder.and_then(|folder| self.all.job_of(folder));
        let (Some(job), Some(flows)) = (job, &self.flows) else {
            session.declare_send_in(FOLDERS, len, Vec::new(), source).await?;
            self.all.begins(self.peer, Lot::Folders);
            return Ok(Declared::Sent);
        };
        let lot = Lot::Job(job);
        let mut open = flows.open.lock().await;
        let flow = match open.lots.get(&lot) {
            Some(flow) => *flow,
            None => {
                if open.vacant().is_none() {
                    // Those of which nothing is under way make room.
                    flows.end_open(&mut open, |lot| matches!(lot, Lot::Job(_))).await;
                }
                let Some(flow) = open.vacant() else { return Ok(Declared::Crowded) };
                let plan = self.all.first_plan(self.peer, lot);
                match flows.control.set(flow, plan).await {
                    Ok(()) => {}
                    Err(FlowFault::Flow(_)) => return Ok(Declared::Crowded),
                    Err(FlowFault::Gone) => return Err(SessionFault::Gone),
                }
                open.lots.insert(lot, flow);
                flow
            }
        };
        session.declare_send_in(flow, len, Vec::new(), source).await?;
        drop(open);
        self.all.begins(self.peer, lot);
        Ok(Declared::Sent)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(flows) = &self.flows {
            self.all.leave(self.peer, flows);
        }
    }
}
