//! The acceptance cells A to E as whole transfers of a real session: the links that the tests
//! between two hosts use, read from the same files.

use super::Scenario;
use crate::profile::{LinkProfile, parse_span};
use farhaul_proto::units::Bytes;

/// One object over one of the acceptance links.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// What the cell is called.
    pub name: &'static str,
    /// Data whose start-up no longer decides the figure.
    pub len: Bytes,
    /// The link as written.
    text: &'static str,
}

/// Every acceptance cell.
pub const TRANSFERS: [Transfer; 5] = [
    Transfer::new("A", 1024, include_str!("../../../../netem-tests/profiles/a.toml")),
    Transfer::new("B", 1024, include_str!("../../../../netem-tests/profiles/b.toml")),
    Transfer::new("C", 1024, include_str!("../../../../netem-tests/profiles/c.toml")),
    Transfer::new("D", 1024, include_str!("../../../../netem-tests/profiles/d.toml")),
    Transfer::new("E", 256, include_str!("../../../../netem-tests/profiles/e.toml")),
];

impl Transfer {
    const fn new(name: &'static str, mib: u64, text: &'static str) -> Self {
        Self { name, len: Bytes::mib(mib), text }
    }

    /// The link, the same in both directions.
    ///
    /// # Errors
    /// If the file is no profile, or lacks a round trip.
    pub fn link(&self) -> Result<LinkProfile, toml::de::Error> {
        use serde::de::Error;
        let mut table: toml::Table = self.text.parse()?;
        let rtt = table.remove("rtt");
        let rtt = rtt.as_ref().and_then(toml::Value::as_str).unwrap_or_default();
        let delay = parse_span(rtt).map_err(toml::de::Error::custom)? / 2;
        Ok(LinkProfile { delay, ..table.try_into()? })
    }

    /// What is played.
    ///
    /// # Errors
    /// As [`Self::link`].
    pub fn scenario(&self, seed: u64) -> Result<Scenario, toml::de::Error> {
        let link = self.link()?;
        let one_way = Scenario::one_way(self.name, seed, link.clone(), &[self.len]);
        Ok(Scenario { links: [link.clone(), link], ..one_way })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Loss, QueueLimit};
    use core::time::Duration;
    use farhaul_proto::units::{BitRate, Ratio};

    #[test]
    fn every_link_is_read_with_half_of_its_round_trip_each_way() {
        let links = TRANSFERS.map(|transfer| transfer.link().expect(transfer.name));
        assert!(links.iter().all(|link| link.rate.is_some() && link.loss != Loss::None));
        let expected = LinkProfile {
            rate: Some(BitRate::mbps(500)),
            delay: Duration::from_millis(100),
            loss: Loss::Bernoulli(Ratio::new(0.02)),
            queue: QueueLimit::Time(Duration::from_millis(50)),
            ..LinkProfile::default()
        };
        assert_eq!(links[1], expected);
    }
}
