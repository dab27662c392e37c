//! How long each limit applied, on the wire: milliseconds by the limits' numbers, trailing zeros
//! left out. Numbers of a newer peer mean nothing and are dropped.

use crate::trace::{Limit, Spent};
use core::time::Duration;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Limits that a list may name.
pub const LIMITED_MAX: u64 = 64;

/// See the module (`spec: W-087`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limited([u32; Limit::ALL.len()]);

impl From<&Spent> for Limited {
    fn from(spent: &Spent) -> Self {
        Self(spent.map(|span| u32::try_from(span.as_millis()).unwrap_or(u32::MAX)))
    }
}

impl From<&Limited> for Spent {
    fn from(limited: &Limited) -> Self {
        limited.0.map(|millis| Duration::from_millis(u64::from(millis)))
    }
}

impl<C> Encode<C> for Limited {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        let len = self.0.iter().rposition(|&millis| millis > 0).map_or(0, |last| last + 1);
        encoder.array(len as u64)?;
        for &millis in &self.0[..len] {
            encoder.u32(millis)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Limited {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let at = decoder.position();
        let len = decoder.array()?.filter(|&len| len <= LIMITED_MAX);
        let Some(len) = len else {
            return Err(DecodeError::message("too many limits").at(at));
        };
        let mut limited = Self::default();
        for index in 0..len {
            let millis = decoder.u32()?;
            let known = usize::try_from(index).ok().and_then(|index| limited.0.get_mut(index));
            if let Some(known) = known {
                *known = millis;
            }
        }
        Ok(limited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_wire_to_the_millisecond_and_unknown_limits_mean_nothing() {
        let mut spent = Spent::default();
        spent[Limit::StartUp as usize] = Duration::from_micros(12_345);
        let bytes = minicbor::to_vec(Limited::from(&spent)).unwrap();
        assert_eq!(bytes.len(), 10);
        let limited: Limited = minicbor::decode(&bytes).unwrap();
        assert_eq!(Spent::from(&limited)[Limit::StartUp as usize], Duration::from_millis(12));
        let newer = minicbor::to_vec([7u32; 20]).unwrap();
        let limited: Limited = minicbor::decode(&newer).unwrap();
        assert_eq!(limited, Limited([7; Limit::ALL.len()]));
        let endless = minicbor::to_vec([0u8; 65]).unwrap();
        assert!(minicbor::decode::<Limited>(&endless).is_err());
    }
}
