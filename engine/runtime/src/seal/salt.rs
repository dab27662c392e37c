//! Random bytes for the headers of packets, drawn a page at a time.
//!
//! They make tags that the peer cannot compute: it has the keys and may know the content. It asks
//! for no memory and for few system calls. spec: W-028

use ring::rand::{SecureRandom, SystemRandom};

/// Bytes drawn at once: one system call in so many packets.
const DRAWN: usize = 4096;

/// An endless supply.
#[derive(Debug)]
pub struct Salts {
    drawn: Box<[u8; DRAWN]>,
    used: usize,
}

impl Salts {
    /// Nothing drawn yet.
    pub fn new() -> Self {
        Self { drawn: Box::new([0; DRAWN]), used: DRAWN }
    }

    /// The next byte. Should the system have no random numbers, which stops every handshake as
    /// well, old ones come again.
    #[inline]
    pub fn draw(&mut self) -> u8 {
        if self.used == DRAWN {
            let _ = SystemRandom::new().fill(&mut self.drawn[..]);
            self.used = 0;
        }
        self.used += 1;
        self.drawn[self.used - 1]
    }
}

impl Default for Salts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_do_not_repeat_with_their_page() {
        let mut salts = Salts::new();
        let mut page = || (0..DRAWN).map(|_| salts.draw()).collect::<Vec<u8>>();
        assert_ne!(page(), page());
    }
}
