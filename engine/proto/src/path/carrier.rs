//! What carries the datagrams of a session, and what it promises about them.

/// A carrier of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// UDP: loses, repeats and reorders; nothing but us controls the rate.
    #[default]
    Udp,
    /// One TCP connection: keeps order, loses nothing while it lives, carries every size, and has
    /// a congestion control of its own.
    Tcp,
}

impl Carrier {
    /// The name in output that users script against.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }

    /// True where rate, loss and packet sizes are somebody else's business.
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::Tcp)
    }
}
