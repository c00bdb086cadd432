//! Times in result files. `SOURCE_DATE_EPOCH` pins them, so that the bytes of two runs can be compared.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// When the program started, or the time that stands for every time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_at: u64,
    pinned: bool,
}

impl Clock {
    /// Starts.
    pub(crate) fn new() -> Self {
        let pinned: Option<u64> =
            std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse().ok());
        let started_at = pinned.unwrap_or_else(now);
        Self { started: Instant::now(), started_at, pinned: pinned.is_some() }
    }

    /// Whether times are pinned, so that nothing should be timed.
    pub(crate) fn pinned(&self) -> bool {
        self.pinned
    }

    /// When the program started, in UTC.
    pub(crate) fn started(&self) -> String {
        utc(self.started_at)
    }

    /// Now, in UTC.
    pub(crate) fn ended(&self) -> String {
        utc(if self.pinned { self.started_at } else { now() })
    }

    /// Seconds since the start; 0 when pinned.
    pub(crate) fn seconds(&self) -> f64 {
        if self.pinned { 0.0 } else { (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0 }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Seconds since 1970 as `2026-01-31T12:00:00Z`.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // years from March, so that the leap day is the last of its year; eras of 400 years
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(utc(4_102_444_800), "2100-01-01T00:00:00Z");
    }
}
