//! Where the two sides are, what moves them, and who stands between them.
//!
//! A packet reaches a side only at the address that the side has when it arrives. It also keeps the
//! account that no core can argue with: what went to an address, and what had come from there.

use crate::check::Violation;
use crate::scenario::Side;
use core::net::SocketAddr;
use core::time::Duration;
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::header::Kind;
use std::collections::BTreeMap;

/// How much earlier the copies of a forwarder arrive.
pub(super) const LEAD: Duration = Duration::from_millis(2);
/// Times as much as came from an address may go there. spec: W-102
const AMPLIFICATION_MAX: u64 = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    received: Bytes,
    sent: Bytes,
    validated: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Addresses {
    here: [SocketAddr; 2],
    /// Carries packets of a side by another way, which is faster, and has its own address.
    forwarder: Option<(Side, SocketAddr)>,
    /// By the side that sends.
    accounts: [BTreeMap<SocketAddr, Account>; 2],
}

impl Addresses {
    pub(super) fn new() -> Self {
        let here = Side::BOTH.map(Side::address);
        let proven = |side: Side| {
            let account = Account { validated: true, ..Account::default() };
            BTreeMap::from([(side.peer().address(), account)])
        };
        Self { here, forwarder: None, accounts: Side::BOTH.map(proven) }
    }

    /// Where `side` is now.
    pub(super) fn of(&self, side: Side) -> SocketAddr {
        self.here[side.index()]
    }

    /// The side is somewhere else from now on.
    pub(super) fn readdress(&mut self, side: Side, to: SocketAddr) {
        self.here[side.index()] = to;
    }

    /// Somebody carries the packets of a side by a faster way from now on, or nobody does.
    pub(super) fn forward(&mut self, by: Option<(Side, SocketAddr)>) {
        self.forwarder = by;
    }

    /// The address that copies of what `side` sends seem to come from.
    pub(super) fn forwarder_of(&self, side: Side) -> Option<SocketAddr> {
        self.forwarder.filter(|&(of, _)| of == side).map(|(_, at)| at)
    }

    /// `side` sends so much to an address.
    pub(super) fn on_sent(
        &mut self,
        side: Side,
        to: SocketAddr,
        bytes: Bytes,
    ) -> Result<(), Violation> {
        let account = self.accounts[side.index()].entry(to).or_default();
        account.sent += bytes;
        let (sent, received) = (account.sent, account.received);
        if account.validated || sent <= received.saturating_mul(AMPLIFICATION_MAX) {
            Ok(())
        } else {
            Err(Violation::Amplified { side, sent, received })
        }
    }

    /// A packet for `to` arrives at `side`: true if the side is there, or gets it all the same. Then
    /// it came from `from`, which may be the forwarder's address.
    pub(super) fn reaches(&self, side: Side, to: SocketAddr, from: &mut SocketAddr) -> bool {
        if self.forwarder == Some((side, to)) {
            *from = to;
            return true;
        }
        to == self.of(side)
    }

    /// A whole packet from an address came to `side`.
    pub(super) fn on_arrived(&mut self, side: Side, from: SocketAddr, kind: Kind, bytes: Bytes) {
        let account = self.accounts[side.index()].entry(from).or_default();
        account.received += bytes;
        account.validated |= kind == Kind::PathResponse;
    }
}
