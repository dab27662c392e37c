//! Which start of this machine it is, and when that was: what a power cut can have damaged was
//! written before it.

use std::fs;

/// A start of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Its number: random, never 0 or 1. `None` where the kernel does not tell.
    pub(crate) id: Option<u64>,
    /// When it was, in seconds since 1970 by today's clock. Before all time where the kernel does not
    /// tell: then nothing is older, and what a user wrote is never taken for damage.
    pub(crate) at_secs: i64,
}

impl Boot {
    /// This one.
    pub(crate) fn this() -> Self {
        #[cfg(test)]
        if let Some(boot) = tests::SAID.get() {
            return boot;
        }
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let stat = fs::read_to_string("/proc/stat").ok();
        let at_secs = stat.as_deref().and_then(began).unwrap_or(i64::MIN);
        Self { id: id.as_deref().and_then(number), at_secs }
    }
}

/// The first digits of the kernel's identifier, as a number that means nothing else.
fn number(id: &str) -> Option<u64> {
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).ok().filter(|&number| digits.len() == 16 && number > 1)
}

fn began(stat: &str) -> Option<i64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|at| at.trim().parse().ok())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// What this thread takes for the start of the machine.
        pub(crate) static SAID: Cell<Option<Boot>> = const { Cell::new(None) };
    }

    #[test]
    fn a_start_has_a_number_and_a_time() {
        let id = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\n";
        assert_eq!(number(id), Some(0x0f1e_2d3c_4b5a_6978));
        assert_eq!([number(""), number("zz"), number(&"0".repeat(32))], [None; 3]);
        assert_eq!(began("cpu 1 2\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000));
        assert_eq!(began("btime x\n"), None);
        let (one, two) = (Boot::this(), Boot::this());
        assert_eq!(one.id, two.id);
    }
}
