//! Arguments that several commands share, and their values.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ablate::table::Form;
use clap::{Args, ValueEnum};

/// Where a result file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Standard output, instead of tables.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("give a file name, or - for standard output".into()),
            "-" => Ok(Self::Stdout),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// Where a table goes, and which: `heads.parquet`, `heads.csv:attribution.parts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableTarget {
    pub(crate) path: PathBuf,
    pub(crate) form: Form,
    /// The part of the result; the command's main one unless given.
    pub(crate) name: Option<String>,
}

impl FromStr for TableTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // the name is what follows the ending: paths may hold colons too
        let named = text.rsplit_once(':').filter(|(path, _)| Form::of(Path::new(path)).is_some());
        let (path, name) = named.map_or((text, None), |(path, name)| (path, Some(name.to_owned())));
        let form = Form::of(Path::new(path))
            .ok_or("the ending says the form: write FILE.parquet, FILE.arrow or FILE.csv, with :NAME for another table")?;
        if name.as_deref() == Some("") {
            return Err("name the table behind the colon, or leave the colon out".into());
        }
        Ok(Self { path: path.into(), form, name })
    }
}

/// A number of bytes: `512M`, `1.5G`, `1000000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size: write 512M, 1.5G or a number of bytes");
        let plain = text.trim().trim_end_matches(['b', 'B']).trim_end_matches('i');
        let at = plain.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(plain.len());
        let (digits, unit) = plain.split_at(at);
        let factor = match unit.to_ascii_uppercase().as_str() {
            "" => 1.0,
            "K" => 1024.0,
            "M" => 1024.0 * 1024.0,
            "G" => 1024.0 * 1024.0 * 1024.0,
            "T" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong()),
        };
        let value: f64 = digits.trim().parse().map_err(|_| wrong())?;
        let bytes = value * factor;
        if bytes >= 1.0 && bytes < 2f64.powi(62) { Ok(Self(bytes as usize)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum YesNo {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// The data of a run.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Data set: JSON lines, auto-circuit JSON or EAP-IG CSV
    #[arg(value_name = "DATA", help_heading = None)]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) rows: RowArgs,
}

/// Which rows are used, and what is measured on them.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct RowArgs {
    /// logit-diff, prob-diff, logprob, kl, mse or accuracy
    #[arg(long, value_name = "METRIC", default_value = "logit-diff")]
    pub(crate) metric: String,
    /// Use the first N rows only
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<usize>,
    /// Use only rows that the model gets right (logit difference above 0)
    #[arg(long)]
    pub(crate) filter_correct: bool,
    /// Take means over the clean rows of FILE, or over the data's own `corrupt` rows, instead of its clean rows
    #[arg(long, value_name = "FILE|corrupt")]
    pub(crate) mean_data: Option<String>,
}

/// What is ablated and how.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Ablation")]
pub(crate) struct EditArgs {
    /// Nodes: heads, mlps, all, or names and globs such as a9.*,a{7,8}.h3,m0
    #[arg(long, value_name = "SET", default_value = "heads")]
    pub(crate) nodes: String,
    /// zero, mean, mean-positional, resample or resample-other
    #[arg(long, value_name = "SOURCE")]
    pub(crate) ablation: Option<String>,
    /// Replace by this factor times the source
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) scale: f64,
    /// all, last, indices such as 0,2 or the data's named positions such as S2,end
    #[arg(long, value_name = "POSITIONS", default_value = "all")]
    pub(crate) positions: String,
}

#[cfg(test)]
mod tests {
    use ablate::table::Form;

    use super::{Size, TableTarget};

    #[test]
    fn tables() {
        let of =
            |text: &str| text.parse::<TableTarget>().map(|t| (t.path.display().to_string(), t.form, t.name));
        assert_eq!(of("a.parquet"), Ok(("a.parquet".into(), Form::Parquet, None)));
        assert_eq!(of("d:x/a.CSV:lens"), Ok(("d:x/a.CSV".into(), Form::Csv, Some("lens".into()))));
        assert_eq!(of("a:b.arrow"), Ok(("a:b.arrow".into(), Form::Arrow, None)));
        for wrong in ["", "a", "a.xlsx", "a.csv:", "-", "csv"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!("512M".parse(), Ok(Size(512 << 20)));
        assert_eq!("1.5GiB".parse(), Ok(Size(3 << 29)));
        assert_eq!("1000".parse(), Ok(Size(1000)));
        for wrong in ["", "M", "-1M", "0", "1X", "nan", "1e40"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
