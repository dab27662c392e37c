//! Settings of the kernel and abilities of the processor.

use super::Finding;
use crate::sys;
use std::fs;
use std::path::Path;

/// The settings that systemd/60-farhaul-sysctl.conf makes, as its names and numbers.
const SETTINGS: &str = include_str!("../../../../systemd/60-farhaul-sysctl.conf");

pub(super) fn examine() -> Vec<Finding> {
    let mut findings: Vec<Finding> = wanted(SETTINGS)
        .map(|(name, needed)| setting(name, needed, read(&path_of(name))))
        .collect();
    findings.push(udp_memory(read("/proc/sys/net/ipv4/udp_mem").as_deref()));
    findings.push(clock(sys::clock_is_synchronised().ok()));
    let sources = "/sys/devices/system/clocksource/clocksource0/";
    findings.push(clock_source(read(&format!("{sources}current_clocksource")).as_deref()));
    findings.push(aes(has_aes()));
    let cpu = "/sys/devices/system/cpu/cpu0/cpufreq/";
    let governor = read(&format!("{cpu}scaling_governor"));
    findings.push(frequency(governor.as_deref(), read(&format!("{cpu}scaling_driver")).as_deref()));
    findings
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(path)).ok().map(|text| text.trim().to_owned())
}

fn path_of(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// Names and numbers of a file of settings.
fn wanted(text: &'static str) -> impl Iterator<Item = (&'static str, u64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim(), value.trim().parse().ok()?))
    })
}

fn setting(name: &'static str, needed: u64, value: Option<String>) -> Finding {
    let Some(value) = value else {
        return Finding::note(name, "cannot be read here (a container or a namespace)");
    };
    match value.parse::<u64>() {
        Ok(number) if number >= needed => Finding::good(name, value),
        _ => Finding::slow(
            name,
            format!("{value}, less than {needed}"),
            "above about 1 Gbit/s packets are lost in this host before Farhaul sees them",
            format!("sysctl -w {name}={needed}"),
        ),
    }
}

/// Pages that all UDP sockets may have, of which one asks for 32 MiB.
fn udp_memory(value: Option<&str>) -> Finding {
    const CHECK: &str = "net.ipv4.udp_mem";
    const NEEDED: u64 = 2 * (32 << 20) / 4096;
    let most = value.and_then(|text| text.split_whitespace().nth(2)?.parse::<u64>().ok());
    match most {
        None => Finding::note(CHECK, "cannot be read here (a container or a namespace)"),
        Some(pages) if pages >= NEEDED => Finding::good(CHECK, format!("{pages} pages at most")),
        Some(pages) => Finding::slow(
            CHECK,
            format!("{pages} pages at most, less than {NEEDED}"),
            "all UDP sockets together may not have the memory that one fast path needs",
            format!("sysctl -w net.ipv4.udp_mem=\"{} {} {NEEDED}\"", NEEDED / 2, NEEDED * 3 / 4),
        ),
    }
}

fn clock(synchronised: Option<bool>) -> Finding {
    const CHECK: &str = "clock";
    match synchronised {
        Some(true) => Finding::good(CHECK, "synchronised"),
        Some(false) => Finding::slow(
            CHECK,
            "not synchronised",
            "records and logs of two sites do not fit together, and times of files drift",
            "timedatectl set-ntp true",
        ),
        None => Finding::note(CHECK, "whether it is synchronised cannot be told here"),
    }
}

fn clock_source(source: Option<&str>) -> Finding {
    const CHECK: &str = "clock source";
    match source {
        None => Finding::note(CHECK, "cannot be read here"),
        Some(slow @ ("hpet" | "acpi_pm" | "jiffies" | "refined-jiffies")) => Finding::slow(
            CHECK,
            slow,
            "reading the time is a slow access to a device, and it is read for every packet",
            "boot with `tsc=reliable` if the processor's counter is stable (dmesg | grep -i tsc)",
        ),
        Some(source) => Finding::good(CHECK, source),
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> Option<bool> {
    Some(std::arch::is_x86_feature_detected!("aes"))
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> Option<bool> {
    Some(std::arch::is_aarch64_feature_detected!("aes"))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> Option<bool> {
    None
}

fn aes(has: Option<bool>) -> Finding {
    const CHECK: &str = "AES instructions";
    match has {
        Some(true) => Finding::good(CHECK, "present"),
        Some(false) => Finding::slow(
            CHECK,
            "absent",
            "encryption takes ten times the processor time, and limits at about 1 Gbit/s",
            "let the virtual machine see the host's processor (e.g. `cpu host`), or use another host",
        ),
        None => Finding::note(CHECK, "not known for this processor"),
    }
}

fn frequency(governor: Option<&str>, driver: Option<&str>) -> Finding {
    const CHECK: &str = "CPU frequency";
    match (governor, driver.unwrap_or_default()) {
        (None, _) => Finding::note(CHECK, "not controlled from here"),
        // With these drivers `powersave` follows the load.
        (Some("powersave"), driver) if driver.contains("pstate") => {
            Finding::good(CHECK, format!("powersave by {driver}, which follows the load"))
        }
        (Some(low @ ("powersave" | "userspace")), _) => Finding::slow(
            CHECK,
            low,
            "the processor stays at a low frequency, however much there is to do",
            "cpupower frequency-set -g schedutil",
        ),
        (Some(governor), _) => Finding::good(CHECK, governor),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn settings_come_from_the_file_that_is_installed() {
        let names: Vec<&str> = wanted(SETTINGS).map(|(name, _)| name).collect();
        let expected = [
            "net.core.rmem_max",
            "net.core.wmem_max",
            "net.core.netdev_max_backlog",
            "fs.inotify.max_user_watches",
            "fs.inotify.max_queued_events",
        ];
        assert_eq!(names, expected);
        assert_eq!(path_of(names[0]), "/proc/sys/net/core/rmem_max");
    }

    #[test]
    fn a_setting_that_is_too_small_comes_with_the_command_that_mends_it() {
        let small = setting("net.core.rmem_max", 100, Some("99".to_owned()));
        assert_eq!((small.level, &*small.mend), (Level::Slow, "sysctl -w net.core.rmem_max=100"));
        assert_eq!(setting("x", 100, Some("100".to_owned())).level, Level::Good);
        assert_eq!(setting("x", 100, None).level, Level::Note);
    }

    #[test]
    fn each_check_tells_good_from_slow_and_from_unknown() {
        use Level::{Good, Note, Slow};
        assert_eq!(udp_memory(Some("1 2 100000")).level, Good);
        assert_eq!(udp_memory(Some("1 2 300")).level, Slow);
        assert_eq!(udp_memory(Some("nonsense")).level, Note);
        assert_eq!(clock(Some(false)).level, Slow);
        assert_eq!(clock(None).level, Note);
        assert_eq!(clock_source(Some("hpet")).level, Slow);
        assert_eq!(clock_source(Some("kvm-clock")).level, Good);
        assert_eq!(aes(Some(false)).level, Slow);
        assert_eq!(frequency(Some("powersave"), Some("intel_pstate")).level, Good);
        assert_eq!(frequency(Some("powersave"), Some("acpi-cpufreq")).level, Slow);
        assert_eq!(frequency(None, None).level, Note);
    }
}
