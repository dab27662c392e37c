//! Files through the links of `profiles/`: what arrives is what was sent, whatever the link, the
//! disk engine and the use of repair symbols.

use farhaul_netem_tests::content::{self, MIB};
use farhaul_netem_tests::require::io_uring;
use farhaul_netem_tests::{Report, Sites, cell, require};

/// Sends a file through a cell, gets it back, and compares all three.
fn there_and_back(test: &str, name: char, len: usize) {
    let sites = require!(test, Sites::start(&cell(name)));
    let source = sites.file("data.bin", content::bytes(u64::from(name), len));
    let _server = sites.serve();
    let sent = sites.send(&source, "in/box", &[]);
    content::assert_same(&source, &sites.root().join("in/box/data.bin"));
    assert_plausible(&sent, len, name);
    let got = sites.get("in/box/data.bin", sites.path("back"), &[]);
    content::assert_same(&source, &sites.path("back/data.bin"));
    assert_eq!((got.bytes, got.files, got.files_failed), (len as u64, 1, 0));
}

/// What physics and the contract say about the report of a file sent.
fn assert_plausible(report: &Report, len: usize, name: char) {
    let len = len as u64;
    assert_eq!((report.bytes, report.files), (len, 1));
    assert_eq!((report.files_skipped, report.files_failed, report.resumed_bytes), (0, 0, 0));
    assert!(report.failed.is_empty());
    assert!(report.wire_bytes_sent > len, "{report:?}");
    assert!(report.symbols_source * 1408 >= len, "{report:?}");
    let delay = cell(name).forward.delay + cell(name).reverse.delay;
    assert!(report.rtt_min_ms >= delay.as_secs_f64() * 1e3 * 0.99, "{report:?}");
    assert!(report.queue_delay_p95_ms >= 0.0, "{report:?}");
    assert!((0.0..1.0).contains(&report.loss_ratio), "{report:?}");
    assert!(report.seconds > 0.0 && report.goodput_bps > 0, "{report:?}");
    assert!(["uring", "threads"].contains(&report.disk.as_str()), "{report:?}");
    assert!(!report.limited_by.is_empty());
}

#[test]
fn a_file_crosses_cell_a_and_comes_back() {
    there_and_back("a_file_crosses_cell_a_and_comes_back", 'a', 16 * MIB);
}

#[test]
fn a_file_crosses_cell_b_and_comes_back() {
    there_and_back("a_file_crosses_cell_b_and_comes_back", 'b', 16 * MIB + 1);
}

#[test]
fn a_file_crosses_cell_c_and_comes_back() {
    there_and_back("a_file_crosses_cell_c_and_comes_back", 'c', 8 * MIB - 1);
}

#[test]
fn a_file_crosses_cell_d_and_comes_back() {
    there_and_back("a_file_crosses_cell_d_and_comes_back", 'd', 8 * MIB);
}

#[test]
fn a_file_crosses_cell_e_and_comes_back() {
    there_and_back("a_file_crosses_cell_e_and_comes_back", 'e', 4 * MIB);
}

/// Sends and gets with each of `values` for `option` on both sides.
fn carry_with_each(sites: &Sites, option: &str, values: &[&str]) -> Vec<[Report; 2]> {
    let source = sites.file("data.bin", content::bytes(7, 3 * MIB + 17));
    let carry = |value: &&str| {
        let _server = sites.serve_with(&[&sites.client], &[option, value]);
        let sent = sites.send(&source, value, &[option, value]);
        content::assert_same(&source, &sites.root().join(value).join("data.bin"));
        let back = sites.path(&format!("back-{value}"));
        let got = sites.get(&format!("{value}/data.bin"), &back, &[option, value]);
        content::assert_same(&source, &back.join("data.bin"));
        [sent, got]
    };
    values.iter().map(carry).collect()
}

#[test]
fn both_disk_engines_give_the_same_files() {
    let test = "both_disk_engines_give_the_same_files";
    require!(test, io_uring());
    let sites = require!(test, Sites::start(&cell('c')));
    let engines = ["uring", "threads"];
    let reports = carry_with_each(&sites, "--disk", &engines);
    for (engine, report) in engines.iter().zip(&reports) {
        assert_eq!([&report[0].disk, &report[1].disk], [engine, engine]);
    }
}

#[test]
fn files_are_the_same_with_and_without_repair_symbols() {
    let test = "files_are_the_same_with_and_without_repair_symbols";
    let sites = require!(test, Sites::start(&cell('c')));
    let reports = carry_with_each(&sites, "--fec", &["off", "always", "auto"]);
    let repair: Vec<u64> = reports.iter().map(|[sent, _]| sent.symbols_repair).collect();
    assert!(repair[0] == 0 && repair[1] > 0, "{repair:?}");
}
