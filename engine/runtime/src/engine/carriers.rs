//! How an engine gets its links: where it listens for them, and the thread that owns them.

use super::EngineError;
use crate::carrier::{CarrierParts, Carriers, listen};
use crate::control::ControlEndpoint;
use crate::identity::Identity;
use crate::net::link::Links;
use crate::net::{Port, UdpPort};
use crate::tls::Allow;
use crate::wake::{WakeSource, Waker};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Where an engine that accepts connections listens for those that come over TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpPort {
    /// Nowhere.
    #[default]
    Off,
    /// At the port of UDP; if something else has that, nowhere.
    Same,
    /// At this one; 0 for any.
    At(u16),
}

/// The port with its links, before anybody uses it.
pub(super) struct Ports {
    pub(super) port: Port,
    links: Links,
    wake: WakeSource,
    listener: Option<TcpListener>,
}

impl Ports {
    /// Puts links beside `udp`, and listens for them.
    pub(super) fn open(udp: Arc<UdpPort>, tcp: TcpPort) -> Result<Self, EngineError> {
        let wake = WakeSource::new().map_err(EngineError::Thread)?;
        let links = Links::new(Some(wake.waker()));
        let local = udp.local_addr();
        let listener = match tcp {
            TcpPort::Off => None,
            TcpPort::Same => match listen(local) {
                Ok(listener) => Some(listener),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "cannot listen on TCP port {}: sites that UDP does not reach cannot \
                         connect",
                        local.port()
                    );
                    None
                }
            },
            TcpPort::At(number) => {
                let addr = SocketAddr::new(local.ip(), number);
                let bound = listen(addr);
                Some(bound.map_err(|source| EngineError::BindTcp { addr, source })?)
            }
        };
        Ok(Self { port: Port::new(udp, links.clone()), links, wake, listener })
    }

    /// Where links are accepted.
    pub(super) fn tcp_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Starts the thread that owns the links.
    pub(super) fn start(
        self,
        control: &ControlEndpoint,
        identity: Identity,
        allow: Option<Allow>,
        driver: Waker,
    ) -> Result<Carriers, EngineError> {
        let parts = CarrierParts {
            identity,
            listener: self.listener.zip(allow),
            links: self.links,
            wake: self.wake,
            control: Arc::clone(control.socket()),
            admission: Arc::clone(control.admission()),
            driver,
        };
        Ok(Carriers::start(parts)?)
    }
}
