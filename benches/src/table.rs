//! What was found, for people to read.

use ssl_report::gains::{self, Compared, Gain, Means, Together};
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
        times(|gain| gain.time),
        times(|gain| gain.least),
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
            let Some(Together { layers, work, time, least, summed }) = Together::of(gains) else { continue };
            let [work, time, least] =
                [work, time, least].map(|Means { plain, weighted }| format!("{plain:.2}x / {weighted:.2}x"));
            write!(f, "{net}, {measure}, {form}, mean of {layers} layers / weighted by MACs: ")?;
            writeln!(f, "MACs {work}, gain {time}, least {least}; sums of times {summed:.2}x")?;
        }
        Ok(())
    }
}
