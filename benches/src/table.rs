//! What was found, for people to read.

use crate::quiet::Sample;
use std::collections::BTreeMap;
use std::fmt;

/// Times of one form.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    /// Seconds.
    pub(crate) median: f64,
    /// Between the quartiles, relative to the median.
    relative: f64,
    /// How many samples this is of: the quiet ones, or all where there is no quiet one.
    quiet: usize,
    all: usize,
}

impl Spread {
    /// Of some samples; `None` of none.
    pub(crate) fn of(samples: &[Sample]) -> Option<Self> {
        let seconds = |quiet: bool| samples.iter().filter(move |s| s.quiet || !quiet).map(|s| s.seconds);
        let quiet = seconds(true).count();
        let mut times: Vec<f64> = seconds(quiet > 0).collect();
        times.sort_by(f64::total_cmp);
        let at = |quarter: usize| Some(*times.get((times.len().checked_sub(1)?) * quarter / 4)?);
        let median = at(2)?;
        Some(Spread { median, relative: (at(3)? - at(1)?) / median, quiet, all: samples.len() })
    }
}

/// What was found of one form of one layer.
pub(crate) struct Row {
    pub(crate) net: String,
    pub(crate) layer: String,
    pub(crate) form: String,
    pub(crate) kernel: String,
    pub(crate) macs: usize,
    pub(crate) time: Spread,
    /// Seconds that it takes at least.
    pub(crate) floor: f64,
    /// Those that it is compared with, timed in turns with it.
    pub(crate) others: Vec<Other>,
}

/// A form that another one is compared with.
pub(crate) struct Other {
    pub(crate) time: Spread,
    pub(crate) macs: usize,
}

/// What one form has over others.
struct Gain {
    /// Multiply-accumulates of the first other one.
    macs: f64,
    /// How many times as many that is.
    work: f64,
    /// How many times as long the first other one takes.
    time: f64,
    /// How many times as long the fastest other one takes.
    least: f64,
}

impl Row {
    /// Only quiet samples tell.
    fn gain(&self) -> Option<Gain> {
        let all_quiet = self.time.quiet > 0 && self.others.iter().all(|other| other.time.quiet > 0);
        let first = self.others.first().filter(|_| all_quiet)?;
        let times = || self.others.iter().map(|other| other.time.median / self.time.median);
        let macs = first.macs as f64;
        Some(Gain { macs, work: macs / self.macs as f64, time: times().next()?, least: times().fold(f64::INFINITY, f64::min) })
    }

    fn cells(&self) -> [String; HEADINGS.len()] {
        let Spread { median, relative, quiet, all } = self.time;
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let gain = self.gain();
        let times = |ratio: fn(&Gain) -> f64| gain.as_ref().map_or(String::new(), |gain| format!("{:.2}x", ratio(gain)));
        [
            self.net.clone(),
            self.layer.clone(),
            self.form.clone(),
            self.kernel.clone(),
            format!("{:.3}", self.macs as f64 / 1e6),
            format!("{:.2}", median * 1e6),
            percent(relative),
            format!("{quiet} of {all}"),
            format!("{:.2}", self.floor * 1e6),
            percent(self.floor / median),
            times(|gain| gain.work),
            times(|gain| gain.time),
            times(|gain| gain.least),
        ]
    }
}

const HEADINGS: [&str; 13] =
    ["net", "layer", "form", "kernel", "MMAC", "us", "spread", "quiet", "floor us", "of floor", "MACs", "gain", "least"];

/// Rows, and means over the layers of a net.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    /// The gains of each form of each net.
    fn gains(&self) -> BTreeMap<(&str, &str), Vec<Gain>> {
        let mut gains: BTreeMap<_, Vec<Gain>> = BTreeMap::new();
        for row in &self.0 {
            gains.entry((row.net.as_str(), row.form.as_str())).or_default().extend(row.gain());
        }
        gains
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = ssl_cli::table(&HEADINGS, 4);
        for row in &self.0 {
            table.add_row(row.cells());
        }
        writeln!(f, "{table}")?;
        let noisy = self.0.iter().filter(|row| row.time.quiet == 0).count();
        if noisy > 0 {
            writeln!(f, "rows without a quiet sample, whose times say more about the neighbours: {noisy}")?;
        }
        for ((net, form), gains) in self.gains().iter().filter(|(_, gains)| gains.len() > 1) {
            // What all layers together gain, if each takes time as it has multiply-accumulates at first.
            let macs: f64 = gains.iter().map(|g| g.macs).sum();
            let means = |ratio: fn(&Gain) -> f64| {
                let mean = gains.iter().map(ratio).sum::<f64>() / gains.len() as f64;
                let weighted = macs / gains.iter().map(|g| g.macs / ratio(g)).sum::<f64>();
                format!("{mean:.2}x / {weighted:.2}x")
            };
            let (work, time, least) = (means(|g| g.work), means(|g| g.time), means(|g| g.least));
            let count = gains.len();
            writeln!(f, "{net}, {form}, mean of {count} layers / weighted by MACs: MACs {work}, gain {time}, least {least}")?;
        }
        Ok(())
    }
}
