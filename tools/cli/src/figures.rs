//! How figures are printed: with their unit, and with as many digits as mean something.

/// `1234567` as `1 234 567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut triples: Vec<&str> = (first..digits.len()).step_by(3).map(|i| &digits[i..i + 3]).collect();
    if first > 0 {
        triples.insert(0, &digits[..first]);
    }
    triples.join(" ")
}

/// `kept of all`, or just the one count where they are the same.
pub fn kept_of(kept: usize, all: usize) -> String {
    if kept == all { all.to_string() } else { format!("{kept} of {all}") }
}

/// A count in three digits: `640`, `36.9 k`, `2.36 M`.
pub fn short(count: u64) -> String {
    const UNITS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if count < 1000 {
        return count.to_string();
    }
    scaled(count as f64 / 1e3, &UNITS)
}

/// A time in three digits: `7.50 us`, `1.23 ms`.
pub fn time(seconds: f64) -> String {
    if seconds < 999.5e-9 {
        return format!("{:.0} ns", seconds * 1e9);
    }
    scaled(seconds * 1e6, &["us", "ms", "s"])
}

/// How much of something there is in a second, in three digits: `313 GFLOP/s`.
pub fn rate(per_second: f64, what: &str) -> String {
    format!("{}{what}/s", scaled(per_second / 1e6, &["M", "G", "T"]))
}

/// A value in three digits, in the first of `units`, each of which is a thousand of the one before, in which it is below a thousand.
fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        (value, unit) = (value / 1e3, unit + 1);
    }
    let decimals = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_groups_by_three() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (12345, "12 345"), (1234567, "1 234 567")] {
            assert_eq!(thousands(n), text);
        }
    }

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (n, text) in
            [(0, "0"), (999, "999"), (1000, "1.00 k"), (99_960, "100 k"), (2_359_296, "2.36 M"), (999_600_000, "1.00 G")]
        {
            assert_eq!(short(n), text);
        }
        for (seconds, text) in [
            (0.0, "0 ns"),
            (4.2e-8, "42 ns"),
            (7.5e-6, "7.50 us"),
            (0.000_147_9, "148 us"),
            (0.0123, "12.3 ms"),
            (4000.0, "4000 s"),
        ] {
            assert_eq!(time(seconds), text);
        }
        for (per_second, text) in [(313.3e9, "313 GFLOP/s"), (4.2e6, "4.20 MFLOP/s"), (2e12, "2.00 TFLOP/s")] {
            assert_eq!(rate(per_second, "FLOP"), text);
        }
    }
}
