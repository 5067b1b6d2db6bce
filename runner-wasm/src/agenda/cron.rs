//! Cron expressions, and the next moment that one names. In UTC. Pure: the moment to begin from is passed in.
//!
//! Five fields (minute, hour, day of month, month, day of week), or six with seconds in front. A field is `*`, a number, a name
//! (`jan`, `mon`), a range `1-5`, any of them with a step `*/15`, or a list of these. If both day fields say something, a day that
//! one of them names is meant, as everywhere.

const DAY_S: u64 = 86_400;
/// A 29th of February is at most eight years away: 2096 is followed by 2104.
const DAYS_AHEAD_MAX: u64 = 366 * 9;
/// The end of the year 9999: what lies beyond is no moment that anybody means.
const LAST_S: u64 = 253_402_300_799;
const LIST_MAX: usize = 64;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The numbers that a field names, one bit each.
type Numbers = u64;

pub struct Cron {
    seconds: Numbers,
    minutes: Numbers,
    hours: Numbers,
    days: Numbers,
    months: Numbers,
    weekdays: Numbers,
    /// Both day fields say something.
    either_day: bool,
}

impl Cron {
    pub fn parse(expression: &str) -> Result<Cron, String> {
        let fields: Vec<&str> = expression.split_ascii_whitespace().collect();
        let (seconds, [minutes, hours, days, months, weekdays]) = match *fields.as_slice() {
            [minutes, hours, days, months, weekdays] => ("0", [minutes, hours, days, months, weekdays]),
            [seconds, minutes, hours, days, months, weekdays] => (seconds, [minutes, hours, days, months, weekdays]),
            _ => return Err(format!("a cron expression has five fields, or six with seconds in front; this has {}", fields.len())),
        };
        // Sunday is 0 and 7.
        let weekday_numbers = field("day of week", weekdays, 0, 7, &WEEKDAYS)?;
        let says = |field: &str| !field.starts_with(['*', '?']);
        Ok(Cron {
            seconds: field("second", seconds, 0, 59, &[])?,
            minutes: field("minute", minutes, 0, 59, &[])?,
            hours: field("hour", hours, 0, 23, &[])?,
            days: field("day of month", days, 1, 31, &[])?,
            months: field("month", months, 1, 12, &MONTHS)?,
            weekdays: (weekday_numbers | weekday_numbers >> 7) & 0x7f,
            either_day: says(days) && says(weekdays),
        })
    }

    /// The first moment after this one; none if there is none in the next nine years.
    pub fn next_after_ms(&self, after_ms: u64) -> Option<u64> {
        let from_s = (after_ms / 1000).checked_add(1).filter(|from_s| *from_s <= LAST_S)?;
        let first_day = from_s / DAY_S;
        (first_day..first_day + DAYS_AHEAD_MAX).filter(|day| self.names_day(*day)).find_map(|day| {
            let from_s = if day == first_day { from_s % DAY_S } else { 0 };
            self.time_of_day(from_s).map(|time_s| (day * DAY_S + time_s) * 1000)
        })
    }

    fn names_day(&self, day: u64) -> bool {
        let (month, of_month) = month_and_day(day);
        // 1970-01-01 was a Thursday.
        let by_weekday = self.weekdays & 1 << ((day + 4) % 7) != 0;
        let by_day = self.days & 1 << of_month != 0;
        let named = if self.either_day { by_day || by_weekday } else { by_day && by_weekday };
        named && self.months & 1 << month != 0
    }

    /// The first second of a day, from this one on.
    fn time_of_day(&self, from_s: u64) -> Option<u64> {
        let (hour, minute, second) = (from_s / 3600, from_s / 60 % 60, from_s % 60);
        let later = |numbers, from| first(numbers, from);
        if self.hours & 1 << hour != 0 {
            if self.minutes & 1 << minute != 0
                && let Some(second) = later(self.seconds, second)
            {
                return Some(hour * 3600 + minute * 60 + second);
            }
            if let Some(minute) = later(self.minutes, minute + 1) {
                return Some(hour * 3600 + minute * 60 + first(self.seconds, 0)?);
            }
        }
        let hour = later(self.hours, hour + 1)?;
        Some(hour * 3600 + first(self.minutes, 0)? * 60 + first(self.seconds, 0)?)
    }
}

/// The smallest of the numbers that is not below `from`.
fn first(numbers: Numbers, from: u64) -> Option<u64> {
    let above = numbers.checked_shr(u32::try_from(from).ok()?)? << from;
    (above != 0).then(|| u64::from(above.trailing_zeros()))
}

fn field(what: &str, text: &str, min: u64, max: u64, names: &[&str]) -> Result<Numbers, String> {
    if text.split(',').count() > LIST_MAX {
        return Err(format!("the {what} field lists more than {LIST_MAX} values"));
    }
    let wrong = || format!("`{}` is not a {what}: it is {min} to {max}, a range, a list, or * with a step", shown(text));
    let number = |text: &str| {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name)).map(|at| at as u64 + min);
        let plain = || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        named.or_else(plain).filter(|number| (min..=max).contains(number))
    };
    let mut numbers = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (min, max),
            Some((from, to)) => (number(from).ok_or_else(wrong)?, number(to).ok_or_else(wrong)?),
            // `5/10` is every tenth from the fifth on.
            None => number(range).map(|from| (from, if step.is_some() { max } else { from })).ok_or_else(wrong)?,
        };
        let step =
            step.map_or(Some(1), |step| step.parse::<u64>().ok().filter(|step| (1..=max).contains(step))).ok_or_else(wrong)?;
        if from > to {
            return Err(wrong());
        }
        for value in (from..=to).step_by(step as usize) {
            numbers |= 1 << value;
        }
    }
    Ok(numbers)
}

/// Of a day since 1970-01-01, by counting in eras of 400 years that begin in March, so that a leap day is the last of its year.
fn month_and_day(day: u64) -> (u64, u64) {
    let day_of_era = (day + 719_468) % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    (if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 }, of_month)
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 was a Sunday, 00:00:00.
    const SUNDAY_S: u64 = 1_795_305_600;
    const MINUTE_S: u64 = 60;
    const HOUR_S: u64 = 3600;

    #[test]
    fn the_next_moment_is_the_first_that_every_field_names() {
        let rows: [(&str, u64, u64); 17] = [
            ("* * * * *", 0, MINUTE_S),
            ("* * * * * *", 0, 1),
            ("*/15 * * * *", 16 * MINUTE_S, 30 * MINUTE_S),
            ("5/20 * * * *", 26 * MINUTE_S, 45 * MINUTE_S),
            ("30 */5 * * * *", 31, 5 * MINUTE_S + 30),
            ("0 0 * * *", 1, DAY_S),
            ("59 23 * * *", 0, DAY_S - MINUTE_S),
            ("0 9-17/4 * * *", 10 * HOUR_S, 13 * HOUR_S),
            ("0 9 * * mon-fri", 0, DAY_S + 9 * HOUR_S),
            ("0 9 * * 0", 0, 9 * HOUR_S),
            ("0 9 * * 7", 9 * HOUR_S, 7 * DAY_S + 9 * HOUR_S),
            ("0 0 1 * *", 0, 9 * DAY_S),
            // The first of the month, or any Tuesday.
            ("0 0 1 * TUE", 0, 2 * DAY_S),
            ("0 0 1 jan *", 0, 40 * DAY_S),
            ("0 0 ? * *", 0, DAY_S),
            ("0 0 29 2 *", 0, 464 * DAY_S),
            ("0,20,40 1,3 * * *", HOUR_S + 40 * MINUTE_S, 3 * HOUR_S),
        ];
        for (expression, after_s, next_s) in rows {
            let cron = Cron::parse(expression).unwrap_or_else(|refusal| panic!("{expression}: {refusal}"));
            let next = cron.next_after_ms((SUNDAY_S + after_s) * 1000 + 999).map(|ms| ms / 1000 - SUNDAY_S);
            assert_eq!(next, Some(next_s), "{expression}");
        }
    }

    #[test]
    fn a_moment_that_never_comes_is_none() {
        for (expression, after_ms) in
            [("0 0 30 2 *", 0), ("0 0 31 4,6 *", 0), ("* * * * *", u64::MAX), ("* * * * *", LAST_S * 1000)]
        {
            let cron = Cron::parse(expression).expect("it is well formed");
            assert_eq!(cron.next_after_ms(after_ms), None, "{expression}");
        }
        // The longest that a leap day is away.
        let leap = Cron::parse("0 0 29 2 *").expect("it is well formed");
        assert_eq!(leap.next_after_ms(3_981_312_000_000), Some(4_233_686_400_000));
    }

    #[test]
    fn what_is_not_an_expression_is_refused_in_words() {
        let rows = [
            ("", "this has 0"),
            ("* * * *", "this has 4"),
            ("* * * * * * *", "this has 7"),
            ("60 * * * *", "`60` is not a minute"),
            ("* 24 * * *", "is not a hour"),
            ("* * 0 * *", "day of month"),
            ("* * * 13 *", "is not a month"),
            ("* * * * 8", "day of week"),
            ("5-1 * * * *", "`5-1`"),
            ("*/0 * * * *", "`*/0`"),
            ("+5 * * * *", "`+5`"),
            ("a * * * *", "`a`"),
            ("1,,2 * * * *", "`1,,2`"),
            ("99999999999999999999999 * * * *", "minute"),
        ];
        for (expression, words) in rows {
            let refusal = Cron::parse(expression).err().unwrap_or_else(|| panic!("{expression} was taken"));
            assert!(refusal.contains(words), "{expression}: {refusal}");
        }
        assert!(Cron::parse(&format!("{} * * * *", vec!["1"; LIST_MAX + 1].join(","))).is_err());
    }
}
