//! The command-line options that describe a link, turned into a [`Change`].

use super::profile::{Change, LabProfile, ProfileError};
use clap::Args;
use std::fs;
use std::path::PathBuf;
use toml::{Table, Value};

/// What the link is like. Rates need a unit (`500Mbit/s`), spans too (`200ms`), shares a percent
/// sign; `none` takes a limit away.
#[derive(Args, Clone, Debug, Default)]
pub struct LinkOptions {
    /// Bottleneck rate of both directions, counted at IP level.
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,
    /// Round trip: half of it is the delay of each direction.
    #[arg(long, value_name = "SPAN", conflicts_with = "delay")]
    pub rtt: Option<String>,
    /// One-way delay.
    #[arg(long, value_name = "SPAN")]
    pub delay: Option<String>,
    /// Random loss in each direction, behind the bottleneck.
    #[arg(long, value_name = "SHARE")]
    pub loss: Option<String>,
    /// Mean length of a run of lost packets, for --loss.
    #[arg(long, value_name = "PACKETS", requires = "loss")]
    pub burst: Option<f64>,
    /// Drop-tail queue in front of the bottleneck, as time or size.
    #[arg(long, value_name = "SPAN|SIZE")]
    pub queue: Option<String>,
    /// Varying delay, of this mean.
    #[arg(long, value_name = "SPAN")]
    pub jitter: Option<String>,
    /// Lets jitter reorder packets.
    #[arg(long, requires = "jitter")]
    pub jitter_reorder: bool,
    /// Share of packets that are held back and so overtaken.
    #[arg(long, value_name = "SHARE")]
    pub reorder: Option<String>,
    /// Longest time they are held back (5 ms if not given).
    #[arg(long, value_name = "SPAN")]
    pub reorder_by: Option<String>,
    /// Share of packets that arrive twice.
    #[arg(long, value_name = "SHARE")]
    pub duplicate: Option<String>,
    /// Share of packets that arrive with a wrong bit (UDP: with a matching checksum).
    #[arg(long, value_name = "SHARE")]
    pub corrupt: Option<String>,
    /// Token bucket in front of the queue; the bucket is 50 ms deep if not given.
    #[arg(long, value_name = "RATE[,SPAN]")]
    pub policer: Option<String>,
    /// Lets TCP pass the token bucket: only the rest is policed.
    #[arg(long, requires = "policer")]
    pub policer_spares_tcp: bool,
    /// Early drop: from where, to where, and its probability there.
    #[arg(long, value_name = "SPAN,SPAN,SHARE")]
    pub red: Option<String>,
    /// Silently drops packets above this size.
    #[arg(long, value_name = "BYTES")]
    pub black_hole_mtu: Option<u16>,
    /// Answers packets above the size of --black-hole-mtu with an ICMP message instead.
    #[arg(long, requires = "black_hole_mtu")]
    pub mtu_told: bool,
    /// Rate from B to A.
    #[arg(long, value_name = "RATE")]
    pub reverse_rate: Option<String>,
    /// Delay from B to A.
    #[arg(long, value_name = "SPAN")]
    pub reverse_delay: Option<String>,
    /// Loss from B to A.
    #[arg(long, value_name = "SHARE")]
    pub reverse_loss: Option<String>,
    /// Queue from B to A.
    #[arg(long, value_name = "SPAN|SIZE")]
    pub reverse_queue: Option<String>,
    /// A file with the same keys and a table [reverse]; options override it.
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
}

/// Why the options do not describe a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What it or the options say is wrong.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// An option with several parts has too few or too many.
    #[error("--{option} takes {form}")]
    Form {
        /// The option.
        option: &'static str,
        /// What it takes.
        form: &'static str,
    },
}

impl LinkOptions {
    /// The changes that the options ask for, those of the profile file not included.
    ///
    /// # Errors
    /// [`OptionError::Form`]; values are judged when the change is applied.
    pub fn change(&self) -> Result<Change, OptionError> {
        let mut both = Table::new();
        let plain = [
            ("rate", &self.rate),
            ("rtt", &self.rtt),
            ("delay", &self.delay),
            ("queue", &self.queue),
            ("reorder", &self.reorder),
            ("reorder_by", &self.reorder_by),
            ("duplicate", &self.duplicate),
            ("corrupt", &self.corrupt),
        ];
        insert_all(&mut both, plain);
        self.insert_compound(&mut both)?;
        let mut reverse = Table::new();
        let plain = [
            ("rate", &self.reverse_rate),
            ("delay", &self.reverse_delay),
            ("loss", &self.reverse_loss),
            ("queue", &self.reverse_queue),
        ];
        insert_all(&mut reverse, plain);
        Ok(Change { both, reverse, ..Change::default() })
    }

    /// The profile of a new lab: the file's, changed by the options.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn profile(&self) -> Result<LabProfile, OptionError> {
        let base = self.file()?.unwrap_or_default().apply(&LabProfile::default())?;
        Ok(self.change()?.apply(&base)?)
    }

    /// What the profile file says, if one is given.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn file(&self) -> Result<Option<Change>, OptionError> {
        let Some(path) = &self.profile else { return Ok(None) };
        let text = fs::read_to_string(path)
            .map_err(|source| OptionError::File { path: path.clone(), source })?;
        let both = text.parse().map_err(ProfileError::Text)?;
        Ok(Some(Change { both, ..Change::default() }.split_reverse()?))
    }

    fn insert_compound(&self, table: &mut Table) -> Result<(), OptionError> {
        if let Some(mean) = &self.loss {
            let value = match self.burst {
                None => Value::from(mean.as_str()),
                Some(burst) => {
                    nested([("mean", Value::from(mean.as_str())), ("burst", burst.into())])
                }
            };
            table.insert("loss".to_owned(), value);
        }
        if let Some(amplitude) = &self.jitter {
            let reorder = Value::from(self.jitter_reorder);
            let value =
                nested([("amplitude", Value::from(amplitude.as_str())), ("reorder", reorder)]);
            let value = if amplitude == "none" { Value::from("none") } else { value };
            table.insert("jitter".to_owned(), value);
        }
        if let Some(text) = &self.policer {
            table.insert("policer".to_owned(), policer(text));
            table.insert("policer_spares_tcp".to_owned(), self.policer_spares_tcp.into());
        }
        if let Some(text) = &self.red {
            table.insert("red".to_owned(), red(text)?);
        }
        if let Some(mtu) = self.black_hole_mtu {
            table.insert("mtu".to_owned(), Value::from(i64::from(mtu)));
            table.insert("mtu_told".to_owned(), Value::from(self.mtu_told));
        }
        Ok(())
    }
}

fn insert_all<const N: usize>(table: &mut Table, options: [(&str, &Option<String>); N]) {
    for (key, value) in options {
        if let Some(value) = value {
            table.insert(key.to_owned(), Value::from(value.as_str()));
        }
    }
}

fn nested<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn policer(text: &str) -> Value {
    if text == "none" {
        return Value::from("none");
    }
    let (rate, bucket) = text.split_once(',').unwrap_or((text, "50ms"));
    nested([("rate", Value::from(rate)), ("bucket", Value::from(bucket))])
}

fn red(text: &str) -> Result<Value, OptionError> {
    if text == "none" {
        return Ok(Value::from("none"));
    }
    let parts: Vec<&str> = text.split(',').collect();
    let [min, max, ceiling] = parts[..] else {
        return Err(OptionError::Form { option: "red", form: "MIN,MAX,SHARE" });
    };
    Ok(nested([("min", min.into()), ("max", max.into()), ("ceiling", ceiling.into())]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use farhaul_proto::units::{BitRate, Ratio};
    use farhaul_sim::profile::{Loss, Policer};
    use std::time::Duration;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        link: LinkOptions,
    }

    fn profile(line: &str) -> Result<LabProfile, OptionError> {
        let words = std::iter::once("wanem").chain(line.split_whitespace());
        Command::try_parse_from(words).expect("well-formed").link.profile()
    }

    #[test]
    fn options_describe_both_directions() {
        let profile = profile(
            "--rate 500Mbit/s --rtt 200ms --loss 2% --burst 10 --policer 20Mbit/s \
             --reverse-rate 50Mbit/s --red 3ms,20ms,10% --black-hole-mtu 1300",
        )
        .expect("allowed");
        assert_eq!(profile.forward.rate, Some(BitRate::mbps(500)));
        assert_eq!(profile.reverse.rate, Some(BitRate::mbps(50)));
        assert_eq!(profile.reverse.delay, Duration::from_millis(100));
        let loss = Loss::GilbertElliott { mean: Ratio::new(0.02), burst: 10.0 };
        assert_eq!(profile.forward.loss, loss);
        let policer = Policer { rate: BitRate::mbps(20), bucket: Duration::from_millis(50) };
        assert_eq!(profile.reverse.policer, Some(policer));
        assert_eq!(profile.forward.mtu, Some(1300));
    }

    #[test]
    fn options_without_units_or_with_missing_parts_are_refused() {
        for bad in ["--rate 500", "--loss 0.02", "--red 3ms,20ms", "--rtt 200"] {
            assert!(profile(bad).is_err(), "{bad} was accepted");
        }
    }
}
