//! Gains, layer by layer, and what sums them up: how pages set what was measured beside the paper.

use crate::charts::Colour;
use crate::document::Table;
use crate::gains;

/// Ratios, layer by layer.
pub(crate) struct Line {
    pub(crate) title: String,
    pub(crate) cells: Vec<Cell>,
    /// The ratio of summed times.
    pub(crate) summed: Option<f64>,
    /// Its colour in charts, if they show it.
    pub(crate) colour: Option<Colour>,
}

/// A ratio, with the multiply-accumulates before anything was removed.
#[derive(Clone, Copy)]
pub(crate) enum Cell {
    Ratio { macs: f64, ratio: f64 },
    Disturbed,
    Missing,
}

impl Line {
    fn ratios(&self) -> impl Iterator<Item = (f64, f64)> {
        self.cells.iter().filter_map(|cell| if let Cell::Ratio { macs, ratio } = cell { Some((*macs, *ratio)) } else { None })
    }

    /// Layers, then what sums them up.
    fn texts(&self) -> Vec<String> {
        let text = |cell: &Cell| match cell {
            Cell::Ratio { ratio, .. } => times(*ratio),
            Cell::Disturbed => "disturbed".to_owned(),
            Cell::Missing => "-".to_owned(),
        };
        let count = self.ratios().count();
        let mean = |mean: Option<f64>| match mean {
            Some(mean) if count == self.cells.len() => times(mean),
            Some(mean) => format!("{} ({count})", times(mean)),
            None => "-".to_owned(),
        };
        let means = gains::means(self.ratios());
        let sums = [means.map(|means| means.plain), means.map(|means| means.weighted), self.summed];
        self.cells.iter().map(text).chain(sums.map(mean)).collect()
    }
}

/// Lines as a table.
pub(crate) fn gains_table(caption: &str, layers: &[String], lines: &[Line]) -> Table {
    let layers = layers.iter().map(String::as_str);
    let headings: Vec<&str> = ["gain"].into_iter().chain(layers).chain(["mean", "weighted by MACs", "summed times"]).collect();
    let mut table = Table::new(caption, &headings, 1);
    table.rows = lines.iter().map(|line| [line.title.clone()].into_iter().chain(line.texts()).collect()).collect();
    table.sums = 3;
    table
}

pub(crate) fn times(ratio: f64) -> String {
    format!("{ratio:.2}x")
}
