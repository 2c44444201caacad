//! Whether whole runs are faster one way than another, beyond what noise does. Both are timed in turns, so that what disturbs the
//! machine for a while disturbs both, and it is the ratio within each turn that counts.

/// Turns whose gain is less may owe it to where memory happens to lie.
const LEAST_GAIN: f64 = 0.01;

/// Times of whole runs, taken in turns: by the methods that were expected to be fastest, and by those of a
/// [`Tuning`](crate::Tuning).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "tuning", derive(serde::Serialize))]
pub struct Turns {
    /// How many turns each of them had.
    pub count: usize,
    /// Microseconds of a run by the expected methods: the lower quartile, the median and the upper quartile of all turns.
    pub expected_us: [f64; 3],
    /// The same by the tuning's.
    pub tuned_us: [f64; 3],
    /// Which share of the time the tuning's methods saved in a turn, below 0 where they took longer: the same three.
    pub gain: [f64; 3],
}

impl Turns {
    /// Of each turn the time by the expected methods and by the tuning's, both above 0. `None` without a turn.
    pub(crate) fn of(turns: &[[f64; 2]]) -> Option<Self> {
        let of = |value: fn(&[f64; 2]) -> f64| quartiles(turns.iter().map(value).collect());
        Some(Turns {
            count: turns.len(),
            expected_us: of(|turn| turn[0])?,
            tuned_us: of(|turn| turn[1])?,
            gain: of(|turn| 1.0 - turn[1] / turn[0])?,
        })
    }

    /// Whether a run by the tuning is faster beyond noise: it took 1 % or more less in the median of the turns, and less at all in three
    /// quarters of them. Of two that are equally fast, either is so in one of a hundred comparisons of 16 turns, and in far
    /// fewer of more turns.
    pub fn tuning_is_faster(&self) -> bool {
        let [lower, median, _] = self.gain;
        lower > 0.0 && median >= LEAST_GAIN
    }
}

fn quartiles(mut values: Vec<f64>) -> Option<[f64; 3]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some([1, 2, 3].map(|quarter| values[last * quarter / 4]))
}

#[cfg(test)]
mod tests {
    use super::Turns;

    /// Whether turns are faster in which the tuning takes as many times as long as `ratio` says, in turns between 100 and 1000 us.
    fn is_faster(count: usize, ratio: impl Fn(usize) -> f64) -> bool {
        let turns: Vec<[f64; 2]> = (0..count)
            .map(|turn| {
                let disturbed = 100.0 + (turn * 7919 % 900) as f64;
                [disturbed, disturbed * ratio(turn)]
            })
            .collect();
        Turns::of(&turns).expect("there are turns").tuning_is_faster()
    }

    #[test]
    fn only_what_is_faster_beyond_noise_is_kept() {
        // What disturbs both alike does not hide a gain.
        assert!(is_faster(16, |_| 0.95));
        assert!(is_faster(400, |turn| 0.93 + 0.05 * (turn % 10) as f64 / 10.0));
        // Nor do a few turns in which only one was disturbed.
        assert!(is_faster(40, |turn| if turn % 8 == 0 { 3.0 } else { 0.95 }));

        assert!(!is_faster(400, |_| 1.0), "the same");
        assert!(!is_faster(400, |_| 1.02), "always slower");
        assert!(!is_faster(400, |_| 0.995), "always faster, by less than memory's place makes");
        assert!(!is_faster(400, |turn| if turn % 3 == 0 { 1.05 } else { 0.9 }), "slower in a third of the turns");
        assert!(!is_faster(400, |turn| if turn % 8 == 0 { 0.2 } else { 1.02 }), "faster in a few turns only");
        assert!(!is_faster(16, |turn| if turn % 4 == 0 { 1.01 } else { 0.9 }), "12 of 16 turns may be chance");
    }

    #[test]
    fn figures_are_quartiles() {
        let turns = Turns::of(&[[4.0, 3.0], [1.0, 1.5], [2.0, 1.0], [5.0, 5.0], [3.0, 2.25]]);
        let expected = Turns { count: 5, expected_us: [2.0, 3.0, 4.0], tuned_us: [1.5, 2.25, 3.0], gain: [0.0, 0.25, 0.25] };
        assert_eq!(turns, Some(expected));
        assert_eq!(Turns::of(&[]), None);
    }
}
