//! Norms: how far the filters and columns of a layer are from zero, and the cut through them. By default only exact zeros go;
//! a threshold is a choice of the user, who must see what lies on both of its sides.

use crate::compact::compact;
use crate::graph::Graph;
use crate::weights::Layer;
use anyhow::{Result, ensure};
use serde::Serialize;
use std::collections::BTreeMap;

/// Euclidean norms of a layer's filters and columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Norms {
    /// One for each filter.
    pub filters: Vec<f64>,
    /// One for each column, group after group.
    pub columns: Vec<f64>,
}

impl Norms {
    /// Reads all weights of `layer` once, in the order in which they are stored.
    pub fn of(layer: &Layer) -> Self {
        let matrix = layer.matrix;
        let mut norms = Norms { filters: vec![0.0; matrix.rows], columns: vec![0.0; layer.groups * matrix.columns] };
        let mut add = |row: usize, column: usize| {
            let square = f64::from(matrix.at(row, column)).powi(2);
            norms.filters[row] += square;
            norms.columns[row / layer.filters * matrix.columns + column] += square;
        };
        if matrix.transposed {
            (0..matrix.columns).for_each(|column| (0..matrix.rows).for_each(|row| add(row, column)));
        } else {
            (0..matrix.rows).for_each(|row| (0..matrix.columns).for_each(|column| add(row, column)));
        }
        norms.filters.iter_mut().chain(&mut norms.columns).for_each(|n| *n = n.sqrt());
        norms
    }
}

/// Norms up to this count as zero: `tolerance` times the largest one. Nothing does where that is no number.
fn limit(norms: &[f64], tolerance: f64) -> f64 {
    let limit = tolerance * norms.iter().copied().fold(0.0, f64::max);
    if limit.is_finite() { limit } else { 0.0 }
}

/// Makes every filter and column whose norm is at most `tolerance` times the largest of its kind in its layer read as zero.
pub fn cut(g: &mut Graph, tolerance: f64) {
    for i in 0..g.graph.nodes.len() {
        let Some(layer) = g.layer(i) else { continue };
        let (filters, columns) = (layer.filters, layer.columns);
        let norms = Norms::of(&layer);
        let small = |norms: &[f64]| {
            let limit = limit(norms, tolerance);
            norms.iter().map(|&n| n <= limit).collect::<Vec<_>>()
        };
        let (small_filters, small_columns) = (small(&norms.filters), small(&norms.columns));
        if let Some(matrix) = g.op_mut(i).matrix_mut() {
            matrix.mask(|row, column| small_filters[row] || small_columns[row / filters * columns + column]);
        }
    }
}

/// The smallest tolerance, to a hundredth of itself, under which what is left has at most `share` of all multiply-accumulates.
///
/// # Errors
/// If no tolerance below 1 does that.
pub fn for_macs(g: &Graph, share: f64) -> Result<f64> {
    let left = |tolerance: f64| -> Result<f64> {
        let mut g = g.clone();
        cut(&mut g, tolerance);
        compact(&mut g);
        let macs = (0..g.graph.nodes.len()).filter(|&i| g.layer(i).is_some()).map(|i| g.macs(i));
        let [before, after] = macs.flatten().fold([0, 0], |[b, a], (before, after)| [b + before, a + after]);
        Ok(after as f64 / before.max(1) as f64)
    };
    if left(0.0)? <= share {
        return Ok(0.0);
    }
    const MOST: f64 = 0.999;
    ensure!(left(MOST)? <= share, "no cut leaves at most {share} of the multiply-accumulates");
    // By the tolerance's magnitude: what matters lies between 1e-6 and 1.
    let (mut low, mut high) = (1e-6f64, MOST);
    while high / low > 1.01 {
        let middle = (low * high).sqrt();
        if left(middle)? <= share { high = middle } else { low = middle }
    }
    Ok(high)
}

/// How the norms of a layer's filters, or of its columns, are distributed, and where the cut goes through.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// How many norms are exactly zero.
    pub zeros: usize,
    /// The others: how many norms are at least 10^key and less than 10^(key + 1).
    pub decades: BTreeMap<i32, usize>,
    /// What lies on both sides of the cut. Absent where all norms lie on one side.
    pub gap: Option<Gap>,
}

/// The distance between the norms that were taken for zero and the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// The largest norm that was taken for zero.
    pub largest_removed: f64,
    /// The smallest norm that was not.
    pub smallest_kept: f64,
    /// How many times the latter is the former. Absent where only exact zeros were removed: the gap is as wide as can be.
    pub ratio: Option<f64>,
}

impl Histogram {
    /// The distribution of `norms`, cut at `tolerance` times the largest.
    pub fn new(norms: &[f64], tolerance: f64) -> Self {
        let limit = limit(norms, tolerance);
        let (removed, kept): (Vec<f64>, Vec<f64>) = norms.iter().partition(|n| **n <= limit);
        let mut decades = BTreeMap::new();
        for norm in norms.iter().filter(|n| **n > 0.0) {
            *decades.entry(norm.log10().floor() as i32).or_default() += 1;
        }
        let gap = removed.into_iter().reduce(f64::max).zip(kept.into_iter().reduce(f64::min));
        Histogram {
            zeros: norms.iter().filter(|n| **n == 0.0).count(),
            decades,
            gap: gap.map(|(largest_removed, smallest_kept)| Gap {
                largest_removed,
                smallest_kept,
                ratio: (largest_removed > 0.0).then(|| smallest_kept / largest_removed),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_have_a_bin_of_their_own_and_decades_close_below() {
        let h = Histogram::new(&[0.0, 0.01, 0.099, 0.1, 1.0, 0.0, 9.9, 1000.0], 0.0);
        assert_eq!(h.zeros, 2);
        assert_eq!(h.decades, BTreeMap::from([(-2, 2), (-1, 1), (0, 2), (3, 1)]));
        assert_eq!(h.gap, Some(Gap { largest_removed: 0.0, smallest_kept: 0.01, ratio: None }));
    }

    #[test]
    fn the_gap_lies_around_the_cut() {
        let h = Histogram::new(&[0.5, 8.0, 2.0, 0.25], 0.0625);
        assert_eq!(h.gap, Some(Gap { largest_removed: 0.5, smallest_kept: 2.0, ratio: Some(4.0) }));
        assert_eq!(Histogram::new(&[0.5, 8.0], 0.0).gap, None, "nothing is removed");
        assert_eq!(Histogram::new(&[0.0, 0.0], 0.5).gap, None, "nothing is kept");
        assert_eq!(Histogram::new(&[], 0.0).gap, None);
    }

    #[test]
    fn an_infinite_norm_cuts_nothing() {
        assert_eq!(Histogram::new(&[1.0, f64::INFINITY], 0.5).gap, None);
    }
}
