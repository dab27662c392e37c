//! Where the API of the site is, and the token that it wants.

use super::SiteArgs;
use crate::farhaul::failure::{self, Failure, Kind};
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Table;

/// Without a configuration.
const API: &str = "127.0.0.1:7412";
const CONFIG: &str = "/etc/farhaul/farhauld.toml";
const STATE: &str = "/var/lib/farhaul";
const TOKEN: &str = "api-token";
/// Bytes of a configuration and of a token's file.
const CONFIG_MAX: u64 = 1 << 20;
const TOKEN_MAX: u64 = 4096;

/// Where the API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At an address of this machine, for whoever has the token.
    Tcp(SocketAddr, String),
    /// At a socket.
    Unix(PathBuf),
}

impl Place {
    /// Finds out, from the command line, the environment and the configuration, in this order.
    pub(super) fn of(args: &SiteArgs) -> Result<Self, Failure> {
        let configured = configured(args)?;
        let named = args.api.clone().or_else(|| environment("FARHAUL_API"));
        let named = named.or(configured.api).unwrap_or_else(|| API.to_owned());
        if let Some(path) = named.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let named = named.replacen("localhost:", "127.0.0.1:", 1);
        let addr: SocketAddr = named.parse().map_err(|_| {
            let what = format!("`{named}` is no place of an API");
            Failure::new(Kind::Usage, what, "write ADDRESS:PORT, or unix: and the path of a socket")
        })?;
        if !addr.ip().is_loopback() {
            let what = format!("{addr} is not on this machine, and there is no TLS");
            let advice =
                "name an address of loopback; reach another machine's through SSH (ssh -L)";
            return Err(Failure::new(Kind::Usage, what, advice));
        }
        let file = args.token_file.clone();
        let file = file.or_else(|| environment("FARHAUL_API_TOKEN_FILE").map(PathBuf::from));
        let file = file.unwrap_or_else(|| configured.state.join(TOKEN));
        Ok(Self::Tcp(addr, token(&file)?))
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

struct Configured {
    api: Option<String>,
    state: PathBuf,
}

/// What of a configuration is needed; that all of it is right is the site's business.
fn configured(args: &SiteArgs) -> Result<Configured, Failure> {
    let named = args.config.clone().or_else(|| environment("FARHAUL_CONFIG").map(PathBuf::from));
    let without = Configured { api: None, state: STATE.into() };
    let (path, is_named) = match named {
        Some(path) => (path, true),
        None => (PathBuf::from(CONFIG), false),
    };
    let text = match read(&path, CONFIG_MAX) {
        Ok(text) => text,
        // Whoever may not read it may still know the socket.
        Err(_) if !is_named => return Ok(without),
        Err(error) => return Err(failure::disk(path.display(), &error)),
    };
    let table: Table = text.parse().map_err(|error| {
        let what = format!("{}: {error}", path.display());
        Failure::new(Kind::Usage, what, "`farhauld check FILE` says what is wrong in it")
    })?;
    let site = |key: &str| table.get("site")?.get(key)?.as_str().map(str::to_owned);
    let state = site("state").map_or(without.state, PathBuf::from);
    Ok(Configured { api: site("api"), state })
}

fn token(file: &Path) -> Result<String, Failure> {
    match read(file, TOKEN_MAX) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) => {
            let what = format!("the token of the API, {}: {error}", file.display());
            let advice = "run it as the user of the site, name the file with --token-file, or the \
                          site's configuration with --config";
            Err(Failure::new(Kind::Disk, what, advice))
        }
    }
}

fn read(path: &Path, max: u64) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(max).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(api: &str) -> SiteArgs {
        SiteArgs { api: Some(api.to_owned()), token_file: None, config: None, json: false }
    }

    #[test]
    fn a_configuration_says_where_the_api_is_and_its_token() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("farhauld.toml");
        std::fs::write(dir.path().join(TOKEN), "secret\n").expect("written");
        let text = format!("[site]\nstate = {:?}\napi = \"localhost:99\"\n", dir.path());
        std::fs::write(&config, text).expect("written");
        let args = SiteArgs { api: None, config: Some(config), ..args("") };
        let addr = "127.0.0.1:99".parse().expect("an address");
        assert_eq!(Place::of(&args), Ok(Place::Tcp(addr, "secret".to_owned())));
    }

    #[test]
    fn a_socket_needs_no_token_and_other_machines_get_none() {
        assert_eq!(Place::of(&args("unix:/run/x")), Ok(Place::Unix("/run/x".into())));
        for place in ["10.1.2.3:7412", "7412", "example.org:7412"] {
            let failure = Place::of(&args(place)).expect_err("refused");
            assert_eq!(failure.code(), Kind::Usage as u8, "{place}");
        }
    }
}
