//! What a form gains over the baselines that it was timed in turns with. Tables, pages and means all get their figures here.

use crate::record::{Measure, Row};
use std::collections::BTreeMap;

/// A row beside the times of its baselines.
pub struct Compared<'r> {
    /// What was measured.
    pub row: &'r Row,
    /// The same layer in other forms, timed in turns with it. Gains are over the first one.
    pub baselines: Vec<&'r Row>,
}

/// Which baseline a gain is over.
#[derive(Clone, Copy)]
pub enum Over {
    /// The first one.
    First,
    /// The fastest one.
    Fastest,
}

/// What a form has over its baselines.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gain {
    /// Multiply-accumulates of the first baseline.
    pub macs: f64,
    /// How many times as many multiply-accumulates the baseline has: what could be gained.
    pub work: f64,
    /// The form's time, in microseconds.
    pub us: f64,
    /// The first baseline's time, in microseconds.
    pub first_us: f64,
    /// The fastest baseline's time, in microseconds.
    pub fastest_us: f64,
}

impl Gain {
    /// How many times as long a baseline takes.
    pub fn time(&self, over: Over) -> f64 {
        self.baseline_us(over) / self.us
    }

    fn baseline_us(&self, over: Over) -> f64 {
        match over {
            Over::First => self.first_us,
            Over::Fastest => self.fastest_us,
        }
    }
}

/// Each measured form with its baselines.
pub fn compare(rows: &[Row]) -> Vec<Compared<'_>> {
    let mut baselines: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.beside.is_empty()) {
        baselines.entry((place(row), row.beside.as_str())).or_default().push(row);
    }
    let compared =
        |row| Compared { row, baselines: baselines.get(&(place(row), row.form.as_str())).cloned().unwrap_or_default() };
    rows.iter().filter(|row| row.beside.is_empty()).map(compared).collect()
}

fn place(row: &Row) -> (&str, &str, Measure, usize, usize) {
    (&row.net, &row.layer, row.measure, row.threads, row.batch)
}

impl Compared<'_> {
    /// What it gains; `None` without a baseline, or where one of them has no quiet sample.
    pub fn gain(&self) -> Option<Gain> {
        let first = self.baselines.first()?;
        if self.row.quiet == 0 || self.baselines.iter().any(|baseline| baseline.quiet == 0) {
            return None;
        }
        Some(Gain {
            macs: first.macs as f64,
            work: first.macs as f64 / self.row.macs as f64,
            us: self.row.median_us,
            first_us: first.median_us,
            fastest_us: self.baselines.iter().map(|baseline| baseline.median_us).fold(f64::INFINITY, f64::min),
        })
    }
}

/// Means of ratios over layers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Means {
    /// The paper's mean, in which each layer counts the same.
    pub plain: f64,
    /// What all layers together gain if each takes as much time as it has multiply-accumulates at first.
    pub weighted: f64,
}

/// The means of one `ratio` of some layers, whose multiply-accumulates before anything was removed are `macs`; `None` of no layer.
pub fn means(layers: impl IntoIterator<Item = (f64, f64)>) -> Option<Means> {
    let layers: Vec<(f64, f64)> = layers.into_iter().collect();
    let macs: f64 = layers.iter().map(|(macs, _)| macs).sum();
    let plain = layers.iter().map(|(_, ratio)| ratio).sum::<f64>() / layers.len() as f64;
    let weighted = macs / layers.iter().map(|(macs, ratio)| macs / ratio).sum::<f64>();
    (!layers.is_empty()).then_some(Means { plain, weighted })
}

/// The sum of the baselines' times divided by the sum of the forms' times; `None` if there is no gain.
pub fn summed(gains: &[Gain], over: Over) -> Option<f64> {
    let [baselines, own] = [gains.iter().map(|gain| gain.baseline_us(over)).sum::<f64>(), gains.iter().map(|gain| gain.us).sum()];
    (!gains.is_empty()).then_some(baselines / own)
}

/// What is the same for all layers of a form: net, measure, form, threads and batch.
pub type Form<'r> = (&'r str, Measure, &'r str, usize, usize);

/// The gains of all layers of each form.
pub fn by_form<'r>(compared: &[Compared<'r>]) -> BTreeMap<Form<'r>, Vec<Gain>> {
    let mut gains: BTreeMap<_, Vec<Gain>> = BTreeMap::new();
    for compared in compared {
        let row = compared.row;
        let form = (row.net.as_str(), row.measure, row.form.as_str(), row.threads, row.batch);
        gains.entry(form).or_default().extend(compared.gain());
    }
    gains
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(layer: &str, form: &str, beside: &str, macs: u64, median_us: f64) -> Row {
        Row {
            net: "N".to_owned(),
            layer: layer.to_owned(),
            measure: Measure::Gemm,
            form: form.to_owned(),
            beside: beside.to_owned(),
            threads: 1,
            batch: 1,
            kernel: String::new(),
            macs,
            bytes: 1,
            floor_us: 1.0,
            median_us,
            lower_quartile_us: median_us,
            upper_quartile_us: median_us,
            quiet: 1,
            samples: 1,
        }
    }

    #[test]
    fn gains_are_over_what_was_timed_in_turns() {
        let mut rows = vec![
            row("a", "packed", "", 100, 50.0),
            row("a", "dense", "", 100, 40.0),
            row("a", "small", "", 25, 20.0),
            row("a", "packed", "small", 100, 60.0),
            row("a", "dense", "small", 100, 30.0),
        ];
        let gain = |rows: &[Row]| compare(rows)[2].gain();
        let expected = Gain { macs: 100.0, work: 4.0, us: 20.0, first_us: 60.0, fastest_us: 30.0 };
        assert_eq!(gain(&rows), Some(expected));
        assert_eq!((expected.time(Over::First), expected.time(Over::Fastest)), (3.0, 1.5));
        assert_eq!(summed(&[expected, Gain { us: 10.0, ..expected }], Over::First), Some(4.0));
        assert_eq!(summed(&[], Over::First), None);
        assert_eq!(compare(&rows)[0].gain(), None);
        rows[4].quiet = 0;
        assert_eq!(gain(&rows), None);
    }

    #[test]
    fn means_of_the_paper_are_those_that_it_states() {
        // Table 4, entry 2, on the CPU; multiply-accumulates of the dense layers.
        let layers = [(105415200.0, 1.05), (223948800.0, 3.37), (149520384.0, 6.27), (112140288.0, 9.73), (74760192.0, 4.93)];
        let Means { plain, weighted } = means(layers).expect("five layers");
        assert_eq!(format!("{plain:.2} {weighted:.2}"), "5.07 3.06");
        assert_eq!(means([]), None);
    }
}
