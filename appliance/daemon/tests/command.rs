//! The `farhauld` command as scripts and service managers see it: exit codes, signals, the log.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use tempfile::TempDir;

const ID: &str = "baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// As in the examples.
const PLACEHOLDER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn farhauld() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farhauld"));
    command.env_remove("FARHAUL_LOG");
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("it ends by itself"), text(stdout), text(stderr))
}

/// A directory with a configuration that listens at any port of loopback.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        std::fs::create_dir(place.path("photos")).expect("made");
        place.write("127.0.0.1:0", ID, "");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("farhauld.toml")
    }

    fn write(&self, listen: &str, peer: &str, more: &str) {
        let (state, photos) = (self.path("state"), self.path("photos"));
        let text = format!(
            "[site]\nname = \"berlin\"\nstate = {state:?}\nlisten = \"{listen}\"\n\
             api = \"127.0.0.1:0\"\nbuffers = \"32 MiB\"\n[[peer]]\nname = \"tokyo\"\nid = \"{peer}\"\n\
             [[folder]]\nid = \"photos\"\npath = {photos:?}\npeers = [\"tokyo\"]\n{more}"
        );
        std::fs::write(self.file(), text).expect("written");
    }

    /// A configuration that has commented out its folder.
    fn write_without_folder(&self) {
        let text = std::fs::read_to_string(self.file()).expect("written before");
        let (site, _) = text.split_once("[[folder]]").expect("it has one");
        std::fs::write(self.file(), site).expect("written");
    }

    fn check(&self) -> (i32, String, String) {
        run(farhauld().arg("check").arg(self.file()))
    }
}

/// A site that runs; it ends with the test.
struct Site {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Site {
    fn start(file: &Path, format: &str) -> Self {
        let mut command = farhauld();
        command.arg("--config").arg(file).args(["--log-format", format]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, log }
    }

    /// Reads the log up to the line that has `what`.
    fn line_with(&mut self, what: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).expect("text");
            assert!(read > 0, "it ended without a line with {what:?}:\n{seen}");
            if line.contains(what) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_good_configuration_is_ok_and_its_meaning_is_told() {
    let place = Place::new();
    let (code, told, complained) = place.check();
    assert_eq!((code, complained.as_str()), (0, ""));
    let mut lines = told.lines();
    assert_eq!(lines.next(), Some("ok"));
    let peer = format!("peer tokyo, {ID}, at where it calls from");
    assert!(told.lines().any(|line| line == peer), "{told}");
    let photos = place.path("photos");
    let folder = format!("folder photos, {}, read-write, with tokyo", photos.display());
    assert_eq!(lines.last(), Some(folder.as_str()));
    assert!(!place.path("state").exists(), "a check changes nothing");
}

#[test]
fn calendars_and_links_of_a_configuration_are_told_with_who_goes_by_them() {
    let place = Place::new();
    let more = "[[calendar]]\nname = \"nights\"\nzone = \"Asia/Tokyo\"\n\
                [[link]]\nname = \"wan\"\nup = \"9 Mbit/s\"\ncalendar = \"nights\"\n";
    place.write("127.0.0.1:0", ID, more);
    let (code, told, complained) = place.check();
    assert_eq!((code, complained.as_str()), (0, ""));
    assert!(told.contains("\ncalendar nights, Asia/Tokyo, 0 rules\n"), "{told}");
    assert!(told.contains("\nlink wan, 9.0 Mbit/s by nights, to tokyo\n"), "{told}");
    let (_, told, _) = run(farhauld().arg("check").arg(place.file()).arg("--json"));
    let told: serde_json::Value = serde_json::from_str(&told).expect("an object");
    assert_eq!(told["links"][0]["up_bps"], 9_000_000);
    assert_eq!(told["calendars"][0]["zone"], "Asia/Tokyo");
}

#[test]
fn every_fault_of_a_configuration_is_told_and_the_exit_code_is_2() {
    let place = Place::new();
    place.write("7411", ID, "scan-every = \"1\"\nrole = 1\n");
    let (code, told, complained) = place.check();
    assert_eq!((code, told.as_str()), (2, ""));
    let at = |line: usize, column: usize| format!("{}:{line}:{column}: ", place.file().display());
    let lines: Vec<&str> = complained.lines().collect();
    assert_eq!(lines.len(), 3, "{complained}");
    for (line, begins) in lines.iter().zip([at(4, 10), at(14, 14), at(15, 8)]) {
        assert!(line.starts_with(&begins), "{line}");
    }
    let (code, told, complained) = run(farhauld().arg("--config").arg(place.file()));
    assert_eq!((code, told.as_str(), complained.lines().count()), (2, "", 3), "{complained}");
    assert!(!place.path("state").exists(), "nothing is begun");
}

#[test]
fn what_a_configuration_names_and_is_not_there_is_told_with_its_place() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let token = place.path("state/api-token");
    std::fs::create_dir(place.path("state")).expect("made");
    std::fs::write(&token, "\n").expect("written");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).expect("ours");
    std::fs::remove_dir(place.path("photos")).expect("empty");
    place.write("127.0.0.1:0", PLACEHOLDER, "ignore = [\"a\", \"[a-\"]\n");
    let (code, told, complained) = place.check();
    assert_eq!((code, told.as_str()), (2, ""), "{complained}");
    let lines: Vec<&str> = complained.lines().collect();
    assert_eq!(lines.len(), 4, "{complained}");
    for (line, (at, what, advice)) in lines.iter().zip([
        ("3:9", "api-token: it is empty", "remove that file"),
        ("9:6", "placeholder", "farhaul id"),
        ("12:8", "does not exist", "mkdir"),
        ("14:16", "ignore pattern 2", ".gitignore"),
    ]) {
        assert!(line.starts_with(&format!("{}:{at}: ", place.file().display())), "{line} {at}");
        assert!(line.contains(what) && line.contains(advice), "{line}");
    }
    let (code, told, _) = run(farhauld().arg("check").arg(place.file()).arg("--json"));
    let told: serde_json::Value = serde_json::from_str(&told).expect("an object");
    assert_eq!((code, &told["ok"], &told["faults"][1]["line"]), (2, &false.into(), &9.into()));
    // Once all is there.
    std::fs::create_dir(place.path("photos")).expect("made");
    std::fs::remove_file(&token).expect("there");
    place.write("127.0.0.1:0", ID, "");
    let (code, told, _) = run(farhauld().arg("check").arg(place.file()).arg("--json"));
    let told: serde_json::Value = serde_json::from_str(&told).expect("an object");
    assert_eq!((code, &told["ok"], &told["folders"][0]["id"]), (0, &true.into(), &"photos".into()));
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_mistake_of_usage() {
    for arguments in [&[][..], &["--config"], &["chekc", "x"], &["--config", "x", "check", "x"]] {
        assert_eq!(run(farhauld().args(arguments)).0, 2, "{arguments:?}");
    }
    assert_eq!(run(farhauld().args(["check", "/nonexistent/farhauld.toml"])).0, 2);
    let (code, told, _) = run(farhauld().arg("--version"));
    assert_eq!((code, told), (0, format!("farhauld {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_site_runs_until_it_is_told_to_stop() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let mut site = Site::start(&place.file(), "text");
        let line = site.line_with("listening");
        assert!(line.contains("udp=127.0.0.1:"), "{line}");
        assert!(site.line_with("kept folder=photos").contains("read-write"));
        assert_eq!(site.stop(signal), Some(0));
        assert!(place.path("state/identity.key").exists());
    }
}

/// spec: S-175, S-38
#[test]
fn a_site_that_runs_without_a_folder_notes_that_it_is_out_of_service() {
    let place = Place::new();
    let unkept = place.path("state/folders/photos/unkept");
    let mut site = Site::start(&place.file(), "text");
    site.line_with("kept folder=photos");
    assert!(!unkept.exists());
    // While it runs, or at its next start.
    place.write_without_folder();
    kill_process(Pid::from_child(&site.child), Signal::HUP).expect("it runs");
    site.line_with("the configuration was read again");
    assert!(unkept.exists());
    assert_eq!(site.stop(Signal::TERM), Some(0));
    std::fs::remove_file(&unkept).expect("there");
    let mut site = Site::start(&place.file(), "text");
    site.line_with("photos is not kept any more");
    assert_eq!(site.stop(Signal::TERM), Some(0));
    assert!(unkept.exists());
    place.write("127.0.0.1:0", ID, "");
    let mut site = Site::start(&place.file(), "text");
    site.line_with("it was not kept for a while; nothing of it is gone");
    assert_eq!(site.stop(Signal::TERM), Some(0));
    assert!(!unkept.exists());
}

#[test]
fn the_log_can_be_an_object_a_line() {
    let place = Place::new();
    let mut site = Site::start(&place.file(), "json");
    let line = site.line_with("listening");
    assert!(line.starts_with('{') && line.trim_end().ends_with('}'), "{line}");
    assert!(line.contains("\"site\":\"berlin\""), "{line}");
    assert_eq!(site.stop(Signal::TERM), Some(0));
}

#[test]
fn two_sites_do_not_share_a_state() {
    let place = Place::new();
    let mut site = Site::start(&place.file(), "text");
    site.line_with("listening");
    let (code, _, complained) = run(farhauld().arg("--config").arg(place.file()));
    assert_eq!(code, 4, "{complained}");
    assert!(complained.contains("another process works with this state"), "{complained}");
    assert_eq!(site.stop(Signal::TERM), Some(0));
    // What was killed left no lock behind.
    let mut site = Site::start(&place.file(), "text");
    site.line_with("listening");
    assert_eq!(site.stop(Signal::KILL), None);
    let mut site = Site::start(&place.file(), "text");
    site.line_with("listening");
}

#[test]
fn a_site_is_no_peer_of_itself() {
    let place = Place::new();
    let mut site = Site::start(&place.file(), "text");
    let line = site.line_with("listening");
    assert_eq!(site.stop(Signal::TERM), Some(0));
    let id = line.split("id=").nth(1).and_then(|rest| rest.split_whitespace().next());
    place.write("127.0.0.1:0", id.expect("its id"), "");
    let (code, _, complained) = run(farhauld().arg("--config").arg(place.file()));
    assert_eq!(code, 2, "{complained}");
    assert!(complained.contains("peer `tokyo` has the id of this site"), "{complained}");
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let place = Place::new();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound");
    place.write(&addr.to_string(), ID, "");
    let (code, _, complained) = run(farhauld().arg("--config").arg(place.file()));
    assert_eq!(code, 1, "{complained}");
    assert!(complained.contains(&format!("cannot listen on {addr}")), "{complained}");
    assert!(complained.contains("another address in `listen`"), "{complained}");
}

#[test]
fn a_state_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    std::fs::create_dir(place.path("state")).expect("a fresh directory");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(place.path("state"), open).expect("own directory");
    let (code, _, complained) = run(farhauld().arg("--config").arg(place.file()));
    assert_eq!(code, 4, "{complained}");
    assert!(complained.contains("chmod 700"), "{complained}");
}

/// The rows of a table of the folder's index.
fn rows(place: &Place, table: &str) -> Option<u64> {
    let index = place.path("state/folders/photos/index");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(index, flags).ok()?;
    let sql = format!("SELECT count(*) FROM {table}");
    db.query_row(&sql, [], |row| row.get::<_, i64>(0)).ok().map(i64::unsigned_abs)
}

/// A site that scanned for the first time until it was killed, and how many files it had noted.
fn killed_amid_its_first_scan(files: u64) -> (Place, u64) {
    let place = Place::new();
    place.write("127.0.0.1:0", ID, "watch = \"off\"\n");
    for n in 0..files {
        let text = format!("{n} ").repeat(500);
        std::fs::write(place.path("photos").join(format!("file {n}")), text).expect("written");
    }
    // Its peer is away, so nothing is published: all that it finds waits.
    let site = Site::start(&place.file(), "text");
    while rows(&place, "looks").unwrap_or(0) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    site.stop(Signal::KILL);
    let noted = rows(&place, "looks").expect("it is there");
    (place, noted)
}

/// spec: S-168
#[test]
fn a_first_scan_that_is_killed_in_the_middle_is_taken_up_where_it_was() {
    const FILES: u64 = 6000;
    // On a machine that is busy with other things it may have been over before the kill.
    let mut tries = (0..5).map(|_| killed_amid_its_first_scan(FILES));
    let (place, noted) = tries.find(|(_, noted)| *noted < FILES).expect("killed amid it");
    let mut site = Site::start(&place.file(), "text");
    let line = site.line_with("were read by the scan");
    assert!(line.contains(&format!("files={}", FILES - noted)), "{noted} were noted: {line}");
    assert_eq!(site.stop(Signal::TERM), Some(0));
    assert_eq!((rows(&place, "looks"), rows(&place, "versions")), (Some(FILES), Some(0)));
}
