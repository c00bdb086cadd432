//! Days of the week, Monday after Sunday: "Friday, Saturday, Sunday, Monday," → " Tuesday". See the shared description in `sequence.rs`.

use super::{
    OptionSpec, Task, TaskRequest, Values,
    sequence::{Sequence, sequence_options},
};
use crate::{dataset::Dataset, error::Result};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Days;

const SEQUENCE: Sequence = Sequence {
    name: "days",
    items: &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    decade: 7,
    leads: &["", "The days in order: ", "Days of the week: ", "Our plan covers ", "Name the days: "],
};

impl Task for Days {
    fn name(&self) -> &'static str {
        SEQUENCE.name
    }

    fn about(&self) -> &'static str {
        "the next day of the week"
    }

    fn options(&self) -> &'static [OptionSpec] {
        sequence_options!("commas", "yes")
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        SEQUENCE.generate(self.options(), request)
    }
}
