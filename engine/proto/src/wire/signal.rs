//! The sealed payloads of the small packet kinds: padding, path challenge and response, close.
//!
//! Feedback has a file of its own. Does not decide when to challenge or to close.

use thiserror::Error;

/// Random bytes of a path challenge.
pub const TOKEN_LEN: usize = 8;
/// Payload of a close packet: the reason.
pub const CLOSE_LEN: usize = 2;

/// The random bytes by which a response is matched to its challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathToken(pub [u8; TOKEN_LEN]);

/// Why a session ends at once (`spec: W-047`). Codes of a newer peer are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// All work is done.
    Done,
    /// The user or the program on the other side stopped.
    Cancelled,
    /// The peer broke the protocol.
    Protocol,
    /// Too many packets failed to open.
    ForgeryLimit,
    /// The side that closes has a fault of its own.
    Internal,
    /// A code that this version does not know.
    Other(u16),
}

/// Why an authenticated payload was refused; the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The payload has another length than its kind asks for.
    #[error("payload of {len} bytes has the wrong length")]
    Length {
        /// Bytes of payload.
        len: usize,
    },
    /// Padding holds something other than zeros.
    #[error("padding is not zero")]
    Padding,
}

impl PathToken {
    /// Fills a challenge's or response's whole payload: the token, then zeros.
    ///
    /// # Panics
    /// When `payload` is shorter than the token.
    pub fn encode(self, payload: &mut [u8]) {
        let (token, padding) = payload.split_at_mut(TOKEN_LEN);
        token.copy_from_slice(&self.0);
        padding.fill(0);
    }

    /// Reads an opened challenge or response.
    ///
    /// # Errors
    /// The payload is too short or its padding is not zero (`spec: W-046`).
    pub fn decode(payload: &[u8]) -> Result<Self, SignalError> {
        let Some((token, padding)) = payload.split_first_chunk() else {
            return Err(SignalError::Length { len: payload.len() });
        };
        check_padding(padding)?;
        Ok(Self(*token))
    }
}

impl CloseReason {
    /// The code on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::Done => 0,
            Self::Cancelled => 1,
            Self::Protocol => 2,
            Self::ForgeryLimit => 3,
            Self::Internal => 4,
            Self::Other(code) => code,
        }
    }

    /// The reason that a code stands for.
    pub const fn from_code(code: u16) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Cancelled,
            2 => Self::Protocol,
            3 => Self::ForgeryLimit,
            4 => Self::Internal,
            _ => Self::Other(code),
        }
    }

    /// The payload of a close packet.
    pub const fn encode(self) -> [u8; CLOSE_LEN] {
        self.code().to_be_bytes()
    }

    /// Reads an opened close packet.
    ///
    /// # Errors
    /// The payload is not two bytes long.
    pub fn decode(payload: &[u8]) -> Result<Self, SignalError> {
        let code = payload.try_into().map_err(|_| SignalError::Length { len: payload.len() })?;
        Ok(Self::from_code(u16::from_be_bytes(code)))
    }
}

/// Checks the opened payload of a padding packet (`spec: W-045`).
///
/// # Errors
/// A byte is not zero.
pub fn check_padding(payload: &[u8]) -> Result<(), SignalError> {
    if payload.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(SignalError::Padding) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_padding() {
        let mut payload = [0xff; 40];
        PathToken([1, 2, 3, 4, 5, 6, 7, 8]).encode(&mut payload);
        assert_eq!(PathToken::decode(&payload), Ok(PathToken([1, 2, 3, 4, 5, 6, 7, 8])));
    }

    #[test]
    fn a_challenge_with_something_hidden_in_its_padding_is_refused() {
        let mut payload = [0; 40];
        payload[39] = 1;
        assert_eq!(PathToken::decode(&payload), Err(SignalError::Padding));
        assert_eq!(PathToken::decode(&payload[..7]), Err(SignalError::Length { len: 7 }));
    }

    #[test]
    fn every_close_code_survives() {
        for code in 0..=u16::MAX {
            let reason = CloseReason::from_code(code);
            assert_eq!(CloseReason::decode(&reason.encode()), Ok(reason));
            assert_eq!(reason.code(), code);
        }
    }

    #[test]
    fn a_close_of_another_length_is_refused() {
        assert_eq!(CloseReason::decode(&[0]), Err(SignalError::Length { len: 1 }));
        assert_eq!(CloseReason::decode(&[0, 1, 2]), Err(SignalError::Length { len: 3 }));
    }
}
