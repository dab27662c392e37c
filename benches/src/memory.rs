//! What a process takes of memory.

use std::fs;
use std::io;

/// Bytes of a process that are in memory now.
///
/// # Errors
/// If there is no such process.
pub fn resident(pid: u32) -> io::Result<u64> {
    told(pid, "VmRSS:")
}

/// The most that ever were.
///
/// # Errors
/// As [`resident`].
pub fn resident_max(pid: u32) -> io::Result<u64> {
    told(pid, "VmHWM:")
}

fn told(pid: u32, name: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("a process without memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_process_is_told() {
        assert!(resident(std::process::id()).expect("our own") > 1 << 20);
    }

    #[test]
    fn what_was_given_back_counts_for_the_most() {
        let much = vec![1_u8; 64 << 20];
        assert!(much.iter().all(|byte| *byte == 1));
        drop(much);
        assert!(resident_max(std::process::id()).expect("our own") >= 64 << 20);
    }
}
