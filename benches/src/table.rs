//! What benchmarks found, as a table for people to read.

use ssl_report::gains::{self, Compared, Gain, Means, Over};
use ssl_report::record::Row;
use std::fmt;

/// Prints rows, and means over the layers of a net.
pub(crate) struct Table<'r>(pub(crate) &'r [Row]);

const HEADINGS: [&str; 14] = [
    "net", "layer", "measure", "form", "kernel", "MMAC", "us", "spread", "quiet", "floor us", "of floor", "MACs", "gain", "least",
];

fn cells(compared: &Compared<'_>) -> [String; HEADINGS.len()] {
    let (row, gain) = (compared.row, compared.gain());
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let times = |ratio: fn(&Gain) -> f64| gain.as_ref().map_or(String::new(), |gain| format!("{:.2}x", ratio(gain)));
    let batch = if row.batch == 1 { String::new() } else { format!(" batch {}", row.batch) };
    [
        row.net.clone(),
        row.layer.clone(),
        format!("{}{batch}", row.measure),
        row.form.clone(),
        row.kernel.clone(),
        format!("{:.3}", row.macs as f64 / 1e6),
        format!("{:.2}", row.median_us),
        percent(row.spread()),
        format!("{} of {}", row.quiet, row.samples),
        format!("{:.2}", row.floor_us),
        percent(row.of_floor()),
        times(|gain| gain.work),
        times(|gain| gain.time(Over::First)),
        times(|gain| gain.time(Over::Fastest)),
    ]
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compared = gains::compare(self.0);
        let mut table = ssl_cli::table(&HEADINGS, 5);
        for compared in &compared {
            table.add_row(cells(compared));
        }
        writeln!(f, "{table}")?;
        let noisy = compared.iter().filter(|compared| compared.row.quiet == 0).count();
        if noisy > 0 {
            writeln!(f, "rows without a quiet sample, whose times say more about the neighbours: {noisy}")?;
        }
        for ((net, measure, form, _, _), gains) in gains::by_form(&compared).iter().filter(|(_, gains)| gains.len() > 1) {
            let mean = |ratio: fn(&Gain) -> f64| {
                let Means { plain, weighted } = gains::means(gains.iter().map(|gain| (gain.macs, ratio(gain))))?;
                Some(format!("{plain:.2}x / {weighted:.2}x"))
            };
            let [Some(work), Some(time), Some(least)] =
                [mean(|gain| gain.work), mean(|gain| gain.time(Over::First)), mean(|gain| gain.time(Over::Fastest))]
            else {
                continue;
            };
            write!(f, "{net}, {measure}, {form}, mean of {} layers / weighted by MACs: ", gains.len())?;
            writeln!(f, "MACs {work}, gain {time}, least {least}")?;
        }
        Ok(())
    }
}
