//! The API over a folder on a real disk, asked in process: who is let in, how requests fail, and that
//! the committed document is that of the routes.

mod calendars;

use super::guard::Guard;
use super::token::Token;
use super::*;
use crate::control::{Control, FolderSetup};
use crate::scan::Rules;
use crate::watch::WatchMode;
use axum::body::Body;
use axum::http::{Method, Response as Answered, header};
use farhaul_api::{FolderState, FolderStatus, Health, Problem, RestorePage, SiteStatus, Why};
use farhaul_engine::identity::Identity;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::path::Path;
use tower::ServiceExt;

/// A site without an engine, with one folder.
struct Site {
    dir: tempfile::TempDir,
    control: Control,
    router: Router,
    token: String,
}

const CONFIG: &str = "[site]\nname = \"berlin\"\nstate = \"/state\"\n\
    [[peer]]\nname = \"tokyo\"\nid = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n\
    [[folder]]\nid = \"photos\"\npath = \"/photos\"\npeers = [\"tokyo\"]\n\
    map-users = { alice = \"al\" }\nmap-groups = { 77 = \"staff\" }\n\
    [[calendar]]\nname = \"days\"\nzone = \"Europe/Berlin\"\n\
    [[calendar.rule]]\nfrom = \"08:00\"\nto = \"18:00\"\nlimit = \"25 %\"\n\
    [[calendar]]\nname = \"never\"\nzone = \"UTC\"\notherwise = \"pause\"\n\
    [[link]]\nname = \"wan\"\nup = \"100 Mbit/s\"\ncalendar = \"days\"\n\
    [link.class.background]\ncalendar = \"never\"\n";

/// The folder of a site that keeps everything beneath `dir`.
fn setup(dir: &Path, config: &Config) -> FolderSetup {
    let (name, rules) = ("photos".to_owned(), Rules::parse(&["*.tmp"]).expect("a pattern"));
    FolderSetup { name, rules, ..crate::sample::setup(dir, config.peers[0].id) }
}

/// What is said of a folder of which no peer is connected.
const ALONE: &str = "no peer that shares it is connected";

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (tree, state) = (dir.path().join("tree"), dir.path().join("state"));
        std::fs::create_dir(&tree).expect("made");
        std::fs::create_dir(&state).expect("made");
        let config = Config::parse(CONFIG).expect("a configuration");
        let identity = Identity::ephemeral().expect("made");
        let setup = setup(dir.path(), &config);
        let control = Control::start(&identity, vec![setup]).expect("its own folder");
        let sources = Sources {
            control: control.asker().clone(),
            sites: SitesView::default(),
            engine: std::sync::Weak::new(),
            me: identity.id(),
            listen: "127.0.0.1:7411".parse().expect("an address"),
            since_millis: 0,
            config: RwLock::new(Arc::new(config)),
            reconfigured: Notify::new(),
        };
        let token = Token::load_or_create(&state).expect("made");
        let text = std::fs::read_to_string(state.join(TOKEN_FILE)).expect("there");
        let router = router(&Guard::Token(Arc::new(token)), Arc::new(sources));
        Self { dir, control, router, token: text.trim_end().to_owned() }
    }

    fn tree(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("tree").join(name)
    }

    async fn send(&self, request: Request) -> Answered<Body> {
        self.router.clone().oneshot(request).await.expect("it always answers")
    }

    fn request(&self, method: Method, address: &str, body: &str) -> Request {
        Request::builder()
            .method(method)
            .uri(address)
            .header(header::HOST, "127.0.0.1:7412")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Body::from(body.to_owned()))
            .expect("a request")
    }

    async fn get<T: DeserializeOwned>(&self, address: &str) -> T {
        let answered = self.send(self.request(Method::GET, address, "")).await;
        assert_eq!(answered.status(), StatusCode::OK, "{address}");
        read(answered).await
    }

    async fn fails(&self, method: Method, address: &str, body: &str) -> Problem {
        let answered = self.send(self.request(method, address, body)).await;
        problem(answered).await
    }

    /// Until a scan that began after this call has ended.
    async fn scan(&self) {
        // Nobody is there to be heard.
        self.control.asker().hear_all().await;
        let mut before: FolderStatus = self.get("/api/v1/folders/photos").await;
        // One that runs may have gone by already.
        while before.scan.running {
            tokio::time::sleep(Duration::from_millis(5)).await;
            before = self.get("/api/v1/folders/photos").await;
        }
        loop {
            let now: FolderStatus = self.get("/api/v1/folders/photos").await;
            if !now.scan.running && now.scan.ended != before.scan.ended {
                return;
            }
            let _ = self.send(self.request(Method::POST, "/api/v1/scan", "")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn read<T: DeserializeOwned>(answered: Answered<Body>) -> T {
    let bytes = answered.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&bytes));
    })
}

async fn problem(answered: Answered<Body>) -> Problem {
    let status = answered.status();
    let kind = answered.headers().get(header::CONTENT_TYPE).expect("a type").clone();
    assert_eq!(kind, "application/problem+json", "{status}");
    let problem: Problem = read(answered).await;
    assert_eq!(problem.status, status.as_u16());
    assert!(!problem.title.is_empty() && !problem.detail.is_empty() && !problem.next.is_empty());
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_halts_does_not_keep_the_site_from_being_told_of() {
    let site = Site::new();
    std::fs::rename(site.tree(""), site.dir.path().join("aside")).expect("renamed");
    std::fs::create_dir(site.tree("")).expect("made");
    let status = loop {
        let _ = site.send(site.request(Method::POST, "/api/v1/scan", "")).await;
        let status: SiteStatus = site.get("/api/v1/status").await;
        if status.folders[0].state == FolderState::Halted {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.folders[0].reason.is_some() && status.folders[0].contents.is_none());
    let _: Vec<FolderStatus> = site.get("/api/v1/folders").await;
    let one: FolderStatus = site.get("/api/v1/folders/photos").await;
    assert_eq!(one.state, FolderState::Halted);
    let metrics = site.send(site.request(Method::GET, "/metrics", "")).await;
    assert_eq!(metrics.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_without_the_token_or_under_a_strange_name() {
    let site = Site::new();
    let ask = |host: &str, token: Option<&str>, address: &str| {
        let mut request = Request::builder().uri(address).header(header::HOST, host);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Body::empty()).expect("a request")
    };
    let (here, token) = ("localhost:7412", Some(site.token.as_str()));
    assert_eq!(site.send(ask(here, token, "/api/v1/status")).await.status(), 200);
    for address in ["/api/v1/status", "/metrics", "/api/v1/events", "/nowhere"] {
        for token in [None, Some(""), Some("wrong")] {
            let answered = site.send(ask(here, token, address)).await;
            assert_eq!(answered.headers()[header::WWW_AUTHENTICATE], "Bearer");
            assert_eq!(problem(answered).await.status, 401, "{address} {token:?}");
        }
        let answered = site.send(ask("evil.example:7412", token, address)).await;
        assert_eq!(problem(answered).await.status, 421, "{address}");
    }
    let answered = site.send(ask("evil.example", None, "/healthz")).await;
    assert_eq!(problem(answered).await.status, 421);
    assert_ne!(site.send(ask(here, None, "/healthz")).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_told_what_why_and_what_next() {
    let site = Site::new();
    let folder = "/api/v1/folders/photos";
    for (method, address, body, status) in [
        (Method::GET, "/nowhere".to_owned(), "", 404),
        (Method::DELETE, "/api/v1/status".to_owned(), "", 405),
        (Method::GET, "/api/v1/folders/other".to_owned(), "", 404),
        (Method::GET, format!("{folder}/why"), "", 400),
        (Method::GET, format!("{folder}/why?path=..%2Fpasswd"), "", 400),
        (Method::GET, format!("{folder}/why?path=%2Fetc"), "", 400),
        (Method::GET, format!("{folder}/why?path=a%5Cn"), "", 400),
        (Method::GET, format!("{folder}/why?path=a&x=1"), "", 400),
        (Method::GET, format!("{folder}/content?path=.farhaul%2Ffolder"), "", 400),
        (Method::GET, format!("{folder}/content?path=a&kept=..%2F..%2Ffolder"), "", 404),
        (Method::GET, "/api/v1/events?since=x".to_owned(), "", 400),
        (Method::POST, format!("{folder}/restore"), "{", 400),
        (Method::POST, format!("{folder}/restore"), "{\"at\":\"now\"}", 400),
        (Method::POST, format!("{folder}/conflicts/resolve"), "{\"copy\":\"a\"}", 422),
        (
            Method::POST,
            format!("{folder}/conflicts/resolve"),
            "{\"copy\":\"a\",\"keep\":\"copy\"}",
            404,
        ),
    ] {
        let problem = site.fails(method, &address, body).await;
        assert_eq!(problem.status, status, "{address}: {problem:?}");
    }
    let long = "x".repeat(BODY_MAX + 1);
    let problem = site.fails(Method::POST, &format!("{folder}/restore"), &long).await;
    assert_eq!(problem.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_folder_holds_is_counted_and_a_path_explained() {
    let site = Site::new();
    std::fs::write(site.tree("a"), b"five!").expect("written");
    std::fs::write(site.tree("b.tmp"), b"left out").expect("written");
    site.scan().await;
    let why: Why = site.get("/api/v1/folders/photos/why?path=a").await;
    // Nobody says how it is elsewhere.
    assert_eq!((why.in_sync, why.reasons), (false, vec![ALONE.to_owned()]));
    assert_eq!(why.on_disk.as_ref().and_then(|version| version.size), Some(5));
    assert_eq!(why.versions[0].version.author.name.as_deref(), Some("berlin"));
    assert_eq!(why.sites[0].site.name.as_deref(), Some("tokyo"));
    let left_out: Why = site.get("/api/v1/folders/photos/why?path=b.tmp").await;
    assert!(!left_out.in_sync && left_out.reasons[1].contains("ignore"), "{left_out:?}");
    let unknown: Why = site.get("/api/v1/folders/photos/why?path=never").await;
    assert!(unknown.reasons[1].contains("nothing is known"), "{unknown:?}");
    std::fs::write(site.tree("a"), b"edited since").expect("written");
    let edited: Why = site.get("/api/v1/folders/photos/why?path=a").await;
    assert!(edited.reasons[1].contains("changed on this disk"), "{edited:?}");
    let status: SiteStatus = site.get("/api/v1/status").await;
    assert_eq!((status.name.as_str(), status.folders.len(), status.peers.len()), ("berlin", 1, 1));
    assert_eq!(status.peers[0].folders, ["photos"]);
    let folder = &status.folders[0];
    assert_eq!((folder.state, folder.reason.as_deref()), (FolderState::Waiting, Some(ALONE)));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_folder_is_watched_is_shown_and_changes_while_it_runs() {
    let site = Site::new();
    let config = Config::parse(CONFIG).expect("a configuration");
    for mode in [WatchMode::Inotify, WatchMode::Off, WatchMode::Inotify] {
        let setup = FolderSetup { watch: mode, ..setup(site.dir.path(), &config) };
        let failed = site.control.asker().configure(vec![setup], BTreeSet::new()).await;
        assert_eq!(failed.expect("it runs"), []);
        loop {
            let watch = site.get::<FolderStatus>("/api/v1/folders/photos").await.watch;
            let is_so = match mode {
                WatchMode::Off => watch.by == "nothing" && watch.watches == 0,
                _ => watch.by == mode.name() && watch.watches > 0,
            };
            if is_so {
                assert_eq!(watch.reason.is_some(), mode == WatchMode::Off, "{watch:?}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_folder_changes_nothing_and_stays_paused_over_a_restart() {
    let site = Site::new();
    let post = |what: &str| {
        site.request(
            Method::POST,
            &format!("/api/v1/folders/photos/{what}"),
            "{\"at\":\"2026-11-22T00:00:00Z\"}",
        )
    };
    assert_eq!(site.send(post("pause")).await.status(), 200);
    let paused: FolderStatus = site.get("/api/v1/folders/photos").await;
    assert_eq!(paused.state, FolderState::Paused);
    assert_eq!(problem(site.send(post("scan")).await).await.status, 409);
    assert!(site.dir.path().join("state/paused").exists());
    assert_eq!(site.send(post("resume")).await.status(), 200);
    assert!(!site.dir.path().join("state/paused").exists());
    let resumed: FolderStatus = site.get("/api/v1/folders/photos").await;
    assert_ne!(resumed.state, FolderState::Paused);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_have_no_names_of_files_and_probes_say_what_is_wrong() {
    let site = Site::new();
    std::fs::write(site.tree("secret name"), b"x").expect("written");
    site.scan().await;
    let answered = site.send(site.request(Method::GET, "/metrics", "")).await;
    assert_eq!(answered.status(), 200);
    let bytes = answered.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    assert!(text.contains("farhaul_folder_state{folder=\"photos\",state=\"waiting\"} 1"), "{text}");
    assert!(text.contains("farhaul_folder_peers_connected{folder=\"photos\"} 0"), "{text}");
    assert!(text.contains("farhaul_folder_watch_overflows_total{folder=\"photos\"} 0"), "{text}");
    assert!(text.contains("farhaul_folder_scan_ended_seconds{folder=\"photos\"} 1"), "{text}");
    assert!(text.contains("farhaul_folder_lacking{folder=\"photos\",kind=\"owner\"} 0"), "{text}");
    assert!(text.contains("farhaul_peer_connected{peer=\"tokyo\"} 0"), "{text}");
    assert!(text.ends_with("# EOF\n") && !text.contains("secret"), "{text}");
    // There is no engine here.
    let answered = site.send(site.request(Method::GET, "/readyz", "")).await;
    assert_eq!(answered.status(), 503);
    let health: Health = read(answered).await;
    assert_eq!((health.ok, health.why), (false, vec!["the engine has ended".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_where_they_were_left() {
    let site = Site::new();
    std::fs::write(site.tree("a"), b"x").expect("written");
    site.scan().await;
    let log = site.control.asker().log().clone();
    let first = log.since(crate::events::From::Number(0), 1).events[0].id.clone();
    for (since, expected) in [("start", true), (first.as_str(), false), ("0-5", true)] {
        let address = format!("/api/v1/events?once=true&folder=photos&since={since}");
        let answered = site.send(site.request(Method::GET, &address, "")).await;
        assert_eq!(answered.headers()[header::CONTENT_TYPE], "text/event-stream");
        let bytes = answered.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        assert_eq!(text.contains(&format!("id: {first}\n")), expected, "{since}: {text}");
        assert!(text.contains("event: scan-ended\n"), "{text}");
        assert_eq!(text.contains("event: gap\n"), since == "0-5", "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_loop_is_over_whoever_asks_is_told() {
    let site = Site::new();
    let Site { dir: _dir, control, router, token } = site;
    tokio::task::spawn_blocking(move || drop(control)).await.expect("it ends");
    let request = Request::builder()
        .uri("/api/v1/status")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .expect("a request");
    let answered = router.oneshot(request).await.expect("it answers");
    assert_eq!(problem(answered).await.status, 503);
}

/// `farhauld openapi > appliance/api/openapi.json` after a change of routes or types.
#[test]
fn the_committed_document_is_that_of_the_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == openapi(),
        "openapi.json is not that of the routes: farhauld openapi > appliance/api/openapi.json"
    );
}

#[tokio::test]
async fn a_socket_is_for_this_user_and_its_group_and_a_public_address_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("api");
    let place = crate::config::ApiPlace::Unix(path.clone());
    let listening = Listening::at(&place, dir.path()).await.expect("it listens");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let second = Listening::at(&place, dir.path()).await.expect_err("somebody listens");
    assert!(second.to_string().contains("another program listens there"), "{second}");
    drop(listening);
    Listening::at(&place, dir.path()).await.expect("what a stop left behind is replaced");
    std::fs::remove_file(&path).expect("there");
    std::fs::write(&path, b"a file").expect("written");
    let file = Listening::at(&place, dir.path()).await.expect_err("not a socket");
    assert!(file.to_string().contains("something else stands there"), "{file}");
    let public = crate::config::ApiPlace::Tcp("0.0.0.0:0".parse().expect("an address"));
    let refused = Listening::at(&public, dir.path()).await.expect_err("for others to read");
    assert!(matches!(refused, ServeError::Public { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_told_records_is_told_who_the_names_in_them_are_here() {
    let site = Site::new();
    site.scan().await;
    for (records, users, groups) in [("true", 1, 1), ("false", 0, 0)] {
        let order = format!(
            "{{\"at\": \"2026-11-22T14:30:00Z\", \"dry_run\": true, \"records\": {records}}}"
        );
        let address = "/api/v1/folders/photos/restore";
        let answered = site.send(site.request(Method::POST, address, &order)).await;
        assert_eq!(answered.status(), StatusCode::OK);
        let page: RestorePage = read(answered).await;
        assert_eq!((page.map_users.len(), page.map_groups.len()), (users, groups));
        if records == "true" {
            assert_eq!(page.map_users["alice"], "al");
            assert_eq!(page.map_groups["77"], "staff");
        }
    }
}
