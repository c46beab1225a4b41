//! The proleptic Gregorian calendar and time zones, on plain numbers.
//!
//! Days count from 1970-01-01. Every function is total: any `i64` that a column can hold has an answer, without overflow.
//! Source of the conversions: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{OffsetName, Tz};

/// Milliseconds of a day.
pub const MILLIS_PER_DAY: i64 = 86_400_000;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year; 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// The calendar day `days` after 1970-01-01.
pub fn civil(days: i64) -> Civil {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u8;
    Civil { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
}

/// Days from 1970-01-01 to a calendar day; a day beyond the month's end counts on into the next month.
pub fn days(year: i64, month: u8, day: i64) -> i64 {
    let year = year.clamp(-300_000_000, 300_000_000) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Days of a month.
pub fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `days` moved by `months`; the day is cut to the month's length.
pub fn add_months(date: i64, months: i64) -> i64 {
    let Civil { year, month, day } = civil(date);
    let total = year.saturating_mul(12).saturating_add(i64::from(month) - 1).saturating_add(months);
    let (year, month) = (total.div_euclid(12), (total.rem_euclid(12) + 1) as u8);
    days(year, month, i64::from(day.min(days_in_month(year, month))))
}

/// Whole months from `from` to `to`, both as (day, time of the day); towards zero.
pub fn months_between(to: (i64, i64), from: (i64, i64)) -> i64 {
    if to < from {
        return -months_between(from, to);
    }
    let (a, b) = (civil(to.0), civil(from.0));
    let mut months = (a.year - b.year) * 12 + i64::from(a.month) - i64::from(b.month);
    while months > 0 && (add_months(from.0, months), from.1) > to {
        months -= 1;
    }
    months
}

/// The day of the week of a day, Monday is 1.
pub fn iso_weekday(days: i64) -> u8 {
    (days.saturating_add(3).rem_euclid(7) + 1) as u8
}

/// The ISO 8601 year and week of a day.
pub fn iso_week(date: i64) -> (i64, u8) {
    // The Thursday of the week lies in the week's year.
    let thursday = date.saturating_add(4 - i64::from(iso_weekday(date)));
    let year = civil(thursday).year;
    (year, ((thursday - days(year, 1, 1)) / 7 + 1) as u8)
}

/// The number of a day within its year, from 1.
pub fn day_of_year(date: i64) -> i64 {
    date - days(civil(date).year, 1, 1) + 1
}

/// The moments that chrono can represent, in seconds; zones have no changing rules beyond.
const CHRONO_SECONDS: i64 = 8_000_000_000_000;

fn naive(seconds: i64) -> NaiveDateTime {
    let seconds = seconds.clamp(-CHRONO_SECONDS, CHRONO_SECONDS);
    DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc()
}

/// Java's short names of zones, which the zone database does not have.
const SHORT_NAMES: [(&str, Tz); 23] = [
    ("ACT", Tz::Australia__Darwin),
    ("AET", Tz::Australia__Sydney),
    ("AGT", Tz::America__Argentina__Buenos_Aires),
    ("ART", Tz::Africa__Cairo),
    ("AST", Tz::America__Anchorage),
    ("BET", Tz::America__Sao_Paulo),
    ("BST", Tz::Asia__Dhaka),
    ("CAT", Tz::Africa__Harare),
    ("CNT", Tz::America__St_Johns),
    ("CST", Tz::America__Chicago),
    ("CTT", Tz::Asia__Shanghai),
    ("EAT", Tz::Africa__Addis_Ababa),
    ("ECT", Tz::Europe__Paris),
    ("IST", Tz::Asia__Kolkata),
    ("JST", Tz::Asia__Tokyo),
    ("MIT", Tz::Pacific__Apia),
    ("NET", Tz::Asia__Yerevan),
    ("NST", Tz::Pacific__Auckland),
    ("PLT", Tz::Asia__Karachi),
    ("PRT", Tz::America__Puerto_Rico),
    ("PST", Tz::America__Los_Angeles),
    ("SST", Tz::Pacific__Guadalcanal),
    ("VST", Tz::Asia__Ho_Chi_Minh),
];

/// A zone's offsets, with the last one remembered: rows near each other share it.
#[derive(Debug)]
pub struct Zone {
    zone: Tz,
    /// Seconds ahead of UTC at any time, where that never changes.
    fixed: Option<i64>,
    /// A quarter of an hour within which the offset does not change, and the offset.
    last: (i64, i64),
    last_local: (i64, i64),
}

impl Zone {
    /// The offsets of `zone`.
    pub fn new(zone: Tz) -> Self {
        let fixed = (zone == Tz::UTC).then_some(0);
        Self { zone, fixed, last: (i64::MIN, 0), last_local: (i64::MIN, 0) }
    }

    /// The zone that Java's `TimeZone` calls `name`: `Asia/Shanghai`, `UTC`, `GMT+8`, `GMT-05:30`, `PST`.
    pub fn named(name: &str) -> Option<Self> {
        if let Some((_, zone)) = SHORT_NAMES.iter().find(|(short, _)| *short == name) {
            return Some(Self::new(*zone));
        }
        let Some(custom) = name.strip_prefix("GMT").filter(|custom| custom.starts_with(['+', '-'])) else {
            return name.parse().ok().map(Self::new);
        };
        let digits = &custom[1..];
        let (hours, minutes) = match digits.split_once(':') {
            Some(parts) => parts,
            None if digits.len() > 2 => digits.split_at_checked(digits.len() - 2)?,
            None => (digits, "00"),
        };
        let number = |text: &str, limit: i64| {
            let plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| text.parse().ok()).flatten().filter(|number: &i64| *number < limit)
        };
        let seconds = number(hours, 24)? * 3_600 + number(minutes, 60).filter(|_| minutes.len() == 2)? * 60;
        let fixed = Some(if custom.starts_with('-') { -seconds } else { seconds });
        Some(Self { fixed, ..Self::new(Tz::UTC) })
    }

    /// The short name at a moment of UTC: `CST`, `CEST`, `GMT+08:00`.
    pub fn short_name(&self, utc_seconds: i64) -> String {
        match self.fixed {
            Some(0) if self.zone == Tz::UTC => "UTC".to_owned(),
            Some(seconds) => {
                let sign = if seconds < 0 { '-' } else { '+' };
                format!("GMT{sign}{:02}:{:02}", seconds.abs() / 3_600, seconds.abs() / 60 % 60)
            }
            None => {
                let offset = self.zone.offset_from_utc_datetime(&naive(utc_seconds));
                offset.abbreviation().unwrap_or("UTC").to_owned()
            }
        }
    }

    /// Seconds to add to UTC at a moment of UTC.
    pub fn offset(&mut self, utc_seconds: i64) -> i64 {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let quarter = utc_seconds.div_euclid(900);
        if self.last.0 == quarter {
            return self.last.1;
        }
        let offset = self.find_offset(utc_seconds);
        // In the 19th century zones changed at odd minutes: such a quarter is not remembered.
        let (first, last) = (quarter.saturating_mul(900), quarter.saturating_mul(900).saturating_add(899));
        if self.find_offset(first) == offset && self.find_offset(last) == offset {
            self.last = (quarter, offset);
        }
        offset
    }

    fn find_offset(&self, utc_seconds: i64) -> i64 {
        self.zone.offset_from_utc_datetime(&naive(utc_seconds)).fix().local_minus_utc().into()
    }

    /// Seconds to subtract from a local time. A time that occurs twice is the earlier one; one that is skipped moves on by
    /// the gap (as `java.time` has it).
    pub fn offset_of_local(&mut self, local_seconds: i64) -> i64 {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let quarter = local_seconds.div_euclid(900);
        if self.last_local.0 == quarter {
            return self.last_local.1;
        }
        let offset = self.find_local(local_seconds);
        let (first, last) = (quarter.saturating_mul(900), quarter.saturating_mul(900).saturating_add(899));
        if self.find_local(first) == offset && self.find_local(last) == offset {
            self.last_local = (quarter, offset);
        }
        offset
    }

    fn find_local(&self, local_seconds: i64) -> i64 {
        match self.zone.offset_from_local_datetime(&naive(local_seconds)).earliest() {
            Some(offset) => offset.fix().local_minus_utc().into(),
            // In a gap the offset before it holds; no zone changes twice within a day.
            None => self.find_offset(local_seconds.saturating_sub(86_400)),
        }
    }

    /// Seconds to subtract from a local time as `java.util.Calendar` has it: a time that occurs twice is the later one.
    pub fn late_offset_of_local(&mut self, local_seconds: i64) -> i64 {
        match self.zone.offset_from_local_datetime(&naive(local_seconds)).latest() {
            Some(offset) if self.fixed.is_none() => offset.fix().local_minus_utc().into(),
            _ => self.offset_of_local(local_seconds),
        }
    }

    /// The local time of a moment, both in units of `per_second`.
    pub fn to_local(&mut self, utc: i64, per_second: i64) -> i64 {
        utc.saturating_add(self.offset(utc.div_euclid(per_second)) * per_second)
    }

    /// The moment of a local time, both in units of `per_second`.
    pub fn to_utc(&mut self, local: i64, per_second: i64) -> i64 {
        local.saturating_sub(self.offset_of_local(local.div_euclid(per_second)) * per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_calendar_agree_over_all_days() {
        for date in (-800_000..800_000).step_by(37) {
            let c = civil(date);
            assert_eq!(days(c.year, c.month, c.day.into()), date);
        }
        assert_eq!(civil(0), Civil { year: 1970, month: 1, day: 1 });
        assert_eq!(days(2000, 2, 29), 11_016);
    }

    #[test]
    fn weeks_follow_iso_8601() {
        assert_eq!(iso_week(days(2021, 1, 3)), (2020, 53));
        assert_eq!(iso_week(days(2024, 12, 30)), (2025, 1));
        assert_eq!(iso_weekday(days(2024, 12, 30)), 1);
        assert_eq!(day_of_year(days(2024, 12, 31)), 366);
    }

    #[test]
    fn months_are_cut_to_their_length() {
        assert_eq!(add_months(days(2024, 1, 31), 1), days(2024, 2, 29));
        assert_eq!(months_between((days(2024, 3, 30), 0), (days(2024, 1, 31), 0)), 1);
        assert_eq!(months_between((days(2024, 1, 31), 0), (days(2024, 3, 30), 0)), -1);
    }

    #[test]
    fn a_skipped_hour_moves_on_and_a_doubled_one_is_the_earlier() {
        let mut zone = Zone::new(Tz::Europe__Berlin);
        let local = |d, h: i64| days(2021, 3, d) * 86_400 + h * 3_600;
        // 2021-03-28 02:30 does not exist in Berlin; it is 03:30 summer time, 01:30 UTC.
        assert_eq!(zone.to_utc(local(28, 2) + 1_800, 1), local(28, 1) + 1_800);
        let doubled = days(2021, 10, 31) * 86_400 + 9_000;
        assert_eq!(zone.to_utc(doubled, 1), doubled - 7_200);
        assert_eq!(zone.late_offset_of_local(doubled), 3_600);
        assert_eq!(zone.late_offset_of_local(local(28, 2) + 1_800), 3_600);
        assert_eq!(zone.to_local(i64::MAX, 1_000_000_000), i64::MAX);
    }

    #[test]
    fn zones_have_the_names_that_java_knows() {
        let offset = |name: &str| Zone::named(name).map(|mut zone| zone.offset(1_720_000_000));
        assert_eq!(offset("GMT+8"), Some(28_800));
        assert_eq!(offset("GMT-08:30"), Some(-30_600));
        assert_eq!(offset("GMT+0530"), Some(19_800));
        assert_eq!(offset("Asia/Shanghai"), Some(28_800));
        assert_eq!(offset("PST"), Some(-25_200));
        assert_eq!(offset("UTC"), Some(0));
        for unknown in ["foo", "+08:00", "GMT+24", "GMT+8:5", "GMT+", "GMT+中"] {
            assert_eq!(offset(unknown), None, "{unknown}");
        }
        assert_eq!(Zone::new(Tz::Europe__Berlin).short_name(1_720_000_000), "CEST");
        assert_eq!(Zone::named("GMT-08:30").map(|zone| zone.short_name(0)).as_deref(), Some("GMT-08:30"));
    }
}
