//! Months: "January, February, March, April," → " May". See the shared description in `sequence.rs`.
//! "May" and "March" have other senses too; they stay in, as in the published tables.

use super::{
    OptionSpec, Task, TaskRequest, Values,
    sequence::{Sequence, sequence_options},
};
use crate::{dataset::Dataset, error::Result};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Months;

const SEQUENCE: Sequence = Sequence {
    name: "months",
    items: &[
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    decade: 12,
    leads: &[
        "",
        "The months in order: ",
        "Months of the year: ",
        "On the calendar we see ",
        "Name the months: ",
    ],
};

impl Task for Months {
    fn name(&self) -> &'static str {
        SEQUENCE.name
    }

    fn about(&self) -> &'static str {
        "the next month"
    }

    fn options(&self) -> &'static [OptionSpec] {
        sequence_options!("commas", "no")
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        SEQUENCE.generate(self.options(), request)
    }
}
