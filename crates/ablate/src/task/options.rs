//! Options of tasks: `key=value`, each with its allowed values and default.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Values that an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these words.
    Words(&'static [&'static str]),
    /// A whole number within these bounds, both included.
    Number(usize, usize),
}

/// One option of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// The values it takes.
    pub values: Values,
    /// The value it has unless given.
    pub default: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
}

/// Options given by the user, as text.
pub type Options = BTreeMap<String, String>;

/// Reads `key=value` items.
pub fn parse_options<S: AsRef<str>>(items: &[S]) -> Result<Options> {
    let mut options = Options::new();
    for item in items {
        let item = item.as_ref();
        let Some((key, value)) = item.split_once('=') else {
            return Err(Error::argument(
                format!("`{item}` is not an option"),
                "write key=value, as corruption=order",
            ));
        };
        if options.insert(key.trim().into(), value.trim().into()).is_some() {
            return Err(Error::argument(
                format!("option `{}` is given twice", key.trim()),
                "give each option once",
            ));
        }
    }
    Ok(options)
}

/// The options of one request, checked, defaults filled in.
#[derive(Clone, Debug)]
pub(crate) struct Chosen(BTreeMap<&'static str, String>);

impl Chosen {
    pub(crate) fn new(task: &str, specs: &[OptionSpec], given: &Options) -> Result<Self> {
        if let Some(name) = given.keys().find(|k| !specs.iter().any(|s| s.name == **k)) {
            return Err(Error::unknown(format!("option of task {task}"), name, specs.iter().map(|s| s.name)));
        }
        let mut chosen = BTreeMap::new();
        for spec in specs {
            let value = given.get(spec.name).map_or(spec.default, String::as_str);
            let wrong = |allowed: String| {
                Err(Error::argument(
                    format!("option {} of task {task} cannot be `{value}`", spec.name),
                    format!("allowed: {allowed}"),
                ))
            };
            match spec.values {
                Values::Words(words) if !words.contains(&value) => return wrong(words.join(", ")),
                Values::Number(min, max) if !value.parse().is_ok_and(|n: usize| (min..=max).contains(&n)) => {
                    return wrong(format!("whole numbers from {min} to {max}"));
                }
                _ => {}
            }
            chosen.insert(spec.name, value.to_string());
        }
        Ok(Self(chosen))
    }

    /// The value of an option that the task declares.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> usize {
        self.get(name).parse().unwrap_or_default()
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        self.0.iter().map(|(&k, v)| (k.to_string(), serde_json::Value::from(v.as_str()))).collect()
    }
}
