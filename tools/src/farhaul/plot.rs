//! `farhaul plot`: a flight record as a picture (SVG) of rate, delay, loss and what limited.

mod chart;
mod columns;
mod scale;
mod svg;

use super::failure::{self, Failure, Kind};
use super::{Ended, text};
use clap::Args;
use farhaul_engine::record::FILE_MAX;
use farhaul_proto::trace::flight::{Flight, FlightReader, LINE_MAX};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// What `farhaul plot --help` says at its end.
pub const HELP: &str = "FILE is what `send --record`, `get --record`, `serve --record-dir` or the \
simulator wrote. The panels show, over time: the rate that was sent, that arrived, that was wanted; \
the round trip and its minimum; packets lost, and sent again or as repair. The band beneath says \
what limited.";

/// `farhaul plot`.
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// The record.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the picture goes; `-` for standard output [default: FILE with .svg behind it].
    #[arg(long, short, value_name = "SVG")]
    pub output: Option<PathBuf>,
}

pub(super) fn run(args: &PlotArgs) -> Ended {
    let flight = read(&args.file)?;
    let picture = chart::draw(&flight);
    let output = args.output.clone().unwrap_or_else(|| {
        let mut beside = args.file.clone().into_os_string();
        beside.push(".svg");
        beside.into()
    });
    if output == Path::new("-") {
        return text::answer(picture.trim_end());
    }
    let written = File::create(&output).and_then(|mut file| file.write_all(picture.as_bytes()));
    written.map_err(|error| failure::disk(output.display(), &error))?;
    text::tell(output.display());
    Ok(())
}

/// Reads a record. One that was cut short in its last line (its writer was killed) is read up to
/// there, and that is said.
fn read(path: &Path) -> Result<Flight, Failure> {
    let file = File::open(path).map_err(|error| failure::disk(path.display(), &error))?;
    let mut file = BufReader::new(file).take(2 * FILE_MAX.get());
    let refused = |error: &dyn std::fmt::Display| {
        let what = format!("{}: {error}", path.display());
        Failure::new(Kind::Usage, what, "name a file that `--record` or `--record-dir` wrote")
    };
    let mut reader = FlightReader::default();
    let mut line = Vec::new();
    loop {
        let more = next_line(&mut file, &mut line);
        if !more.map_err(|error| failure::disk(path.display(), &error))? {
            return reader.finish().map_err(|error| refused(&error));
        }
        let cut = reader.lines() > 0 && line.len() <= LINE_MAX && !line.ends_with(b"\n");
        if cut {
            let path = path.display();
            text::complain(format_args!("farhaul: {path} ends within a line, which is left out"));
            return reader.finish().map_err(|error| refused(&error));
        }
        reader.take(&line).map_err(|error| refused(&error))?;
    }
}

/// The next line, but no more than shows that it is too long; false at the end.
fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = file.take(LINE_MAX as u64 + 1).read_until(b'\n', line)?;
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_line_ends_is_not_read_into_memory() {
        let endless = vec![b'x'; 10 * LINE_MAX];
        let mut line = Vec::new();
        assert!(next_line(&mut &endless[..], &mut line).unwrap());
        assert_eq!(line.len(), LINE_MAX + 1);
    }
}
