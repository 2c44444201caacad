//! Times on a GPU: the file that the bench `gpu` writes, PyTorch's beside it, and what they say.

use crate::document::{Part, Section, Table};
use crate::json::{check, read};
use crate::lines::{Cell, Line, gains_table, times};
use crate::paper;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// What the bench measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What the device calls itself.
    pub device: String,
    /// On what machine, when and of what: keys and values.
    #[serde(default)]
    pub notes: Vec<(String, String)>,
    /// Single layers.
    pub layers: Vec<LayerTime>,
    /// Whole networks.
    pub networks: Vec<NetworkTime>,
}

/// Times of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerTime {
    /// Its network.
    pub net: String,
    /// Its name.
    pub layer: String,
    /// `dense`, or what an entry of the paper's tables keeps.
    pub form: String,
    /// Images.
    pub batch: usize,
    /// What was timed.
    pub measure: Measure,
    /// What computes it.
    pub method: String,
    /// `fp32`, `tf32` or `fp16`.
    pub precision: String,
    /// Whether this method is the one that is expected to be fastest.
    pub expected: bool,
    /// Multiply-accumulates.
    pub macs: usize,
    /// The shortest sample, in microseconds.
    pub min_us: f64,
    /// The median of all samples, in microseconds.
    pub median_us: f64,
}

/// What was timed of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// From image to image, lowering included.
    Layer,
    /// The matrix product alone, by cuBLAS.
    Product,
}

/// Times of a whole network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NetworkTime {
    /// Its name.
    pub net: String,
    /// `dense`, or what is left of it.
    pub form: String,
    /// Images.
    pub batch: usize,
    /// `fp32`, `tf32` or `fp16`.
    pub precision: String,
    /// Multiply-accumulates of the batch.
    pub macs: usize,
    /// Time of a whole run, with copying input and output, in microseconds.
    pub median_us: f64,
    /// Time of all steps, launched one by one, in microseconds.
    pub steps_us: f64,
}

/// What PyTorch took on the same device.
#[derive(Clone, Debug, Deserialize)]
pub struct PyTorch {
    /// The device.
    pub device: String,
    /// PyTorch's version.
    pub torch: String,
    /// cuDNN's version.
    pub cudnn: u64,
    /// Single layers.
    pub layers: Vec<PyTorchTime>,
    /// Whole networks.
    pub networks: Vec<PyTorchTime>,
}

/// Times of a layer or of a network there.
#[derive(Clone, Debug, Deserialize)]
pub struct PyTorchTime {
    /// Its network.
    pub net: String,
    /// Its name, if it is one.
    pub layer: Option<String>,
    /// As a [`LayerTime`]'s; what is pruned is there as zeros.
    pub form: String,
    /// Images.
    pub batch: usize,
    /// Order of the elements in memory, such as NCHW.
    pub format: String,
    /// `fp32` or `tf32`.
    pub precision: String,
    /// The median time, in microseconds.
    pub median_us: f64,
}

impl Report {
    /// A note's value, if there is such a note.
    fn note(&self, key: &str) -> &str {
        self.notes.iter().find(|note| note.0 == key).map_or("not recorded", |note| &note.1)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self> {
        let report: Report = read(path)?;
        let times = report.layers.iter().map(|l| l.median_us).chain(report.networks.iter().map(|n| n.median_us.min(n.steps_us)));
        check(path, times)?;
        Ok(report)
    }
}

impl PyTorch {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self> {
        let times: PyTorch = read(path)?;
        check(path, times.layers.iter().chain(&times.networks).map(|t| t.median_us))?;
        Ok(times)
    }
}

/// What the files say. Everything is in fp32: the dense layer is lowered and multiplied by cuBLAS.
pub(crate) fn section(report: &Report, torch: Option<&PyTorch>) -> Section {
    let torch = torch.filter(|torch| torch.device == report.device);
    let mut text = format!(
        "Measured on {} by events of the device. Gains are over the dense layer, lowered and multiplied by cuBLAS, in fp32; product is \
         the matrix product alone, without lowering, as the paper measured it. Versions: sslm {}, driver {}, cuBLAS {}.",
        report.device,
        report.note("sslm"),
        report.note("driver"),
        report.note("cuBLAS"),
    );
    if let Some(PyTorch { torch, cudnn, .. }) = torch {
        text += &format!(
            " PyTorch {torch} with cuDNN {cudnn} took everything in its faster memory format, with zeros for what is pruned."
        );
    }
    let mut parts = vec![Part::Text(text)];
    for entry in paper::entries() {
        let of_entry = |l: &&LayerTime| entry.covers(&l.net, &l.form);
        let batches: BTreeSet<usize> = report.layers.iter().filter(of_entry).map(|l| l.batch).collect();
        for batch in batches {
            let lines = lines(report, torch, &entry, batch);
            let caption = format!("{}: gains of {} on the GPU, batch {batch}", entry.net, entry.form);
            parts.push(Part::Table(gains_table(&caption, &entry.layers, &lines)));
        }
    }
    if !report.networks.is_empty() {
        parts.push(Part::Table(networks(report, torch)));
    }
    Section { title: "On a GPU".to_owned(), parts }
}

fn lines(report: &Report, torch: Option<&PyTorch>, entry: &paper::Entry, batch: usize) -> Vec<Line> {
    let find = |layer: &str, form: &str, measure: Measure, is: &dyn Fn(&LayerTime) -> bool| {
        let same =
            |l: &&LayerTime| (l.net.as_str(), l.layer.as_str(), l.form.as_str(), l.batch) == (&*entry.net, layer, form, batch);
        report.layers.iter().filter(same).find(|l| l.measure == measure && l.precision == "fp32" && is(l))
    };
    let line = |title: &str, change: &dyn Fn(&str) -> Option<Change>| {
        let changes: Vec<Option<Change>> = entry.layers.iter().map(|layer| change(layer)).collect();
        let cell = |change: &Option<Change>| {
            change.as_ref().map_or(Cell::Missing, |c| Cell::Ratio { macs: c.macs as f64, ratio: c.before / c.after })
        };
        let sums = changes.iter().flatten().fold([0.0, 0.0], |sums, c| [sums[0] + c.before, sums[1] + c.after]);
        let summed = (sums[1] > 0.0).then(|| sums[0] / sums[1]);
        Line { title: title.to_owned(), cells: changes.iter().map(cell).collect(), summed, colour: None }
    };
    let dense = |layer: &str| find(layer, "dense", Measure::Layer, &|l| l.method == "cublas");
    let own = |layer: &str| find(layer, &entry.form, Measure::Layer, &|l| l.expected);
    let product = |layer: &str, form: &str| find(layer, form, Measure::Product, &|_| true);
    let work = line("MACs: what could be gained", &|layer| {
        let (dense, own) = (dense(layer)?, own(layer)?);
        Some(Change { macs: dense.macs, before: dense.macs as f64, after: own.macs as f64 })
    });
    // Sums of multiply-accumulates are no times, and the paper tells none.
    let mut lines = vec![Line { summed: None, ..work }];
    if let Some(gpu) = &entry.gpu {
        let paper = line("paper, GPU, one image", &|layer| {
            let i = entry.layers.iter().position(|l| l == layer)?;
            Some(Change { macs: dense(layer)?.macs, before: gpu[i], after: 1.0 })
        });
        lines.push(Line { summed: None, ..paper });
    }
    lines.push(line("product", &|layer| {
        let (dense, own) = (product(layer, "dense")?, product(layer, &entry.form)?);
        Some(Change { macs: dense.macs, before: dense.median_us, after: own.median_us })
    }));
    lines.push(line("layer", &|layer| {
        let (dense, own) = (dense(layer)?, own(layer)?);
        Some(Change { macs: dense.macs, before: dense.median_us, after: own.median_us })
    }));
    if let Some(torch) = torch {
        for (title, form) in [("layer, over PyTorch's dense", "dense"), ("layer, over PyTorch's with zeros", &*entry.form)] {
            lines.push(line(title, &|layer| {
                let before = fastest(&torch.layers, [&entry.net, form, "fp32"], batch, Some(layer))?;
                Some(Change { macs: dense(layer)?.macs, before, after: own(layer)?.median_us })
            }));
        }
    }
    lines
}

/// Microseconds of this net, form and precision, in whichever memory format is faster.
fn fastest(times: &[PyTorchTime], names: [&str; 3], batch: usize, layer: Option<&str>) -> Option<f64> {
    let same =
        |t: &&PyTorchTime| [t.net.as_str(), &t.form, &t.precision] == names && t.batch == batch && t.layer.as_deref() == layer;
    times.iter().filter(same).map(|t| t.median_us).reduce(f64::min)
}

/// A ratio of a layer that had so many multiply-accumulates.
struct Change {
    macs: usize,
    before: f64,
    after: f64,
}

fn networks(report: &Report, torch: Option<&PyTorch>) -> Table {
    let headings = ["net", "form", "precision", "batch", "us", "us of all steps", "Gop/s", "gain", "us by PyTorch"];
    let caption = "Whole networks on the GPU; runs copy input and output, steps and PyTorch do not";
    let mut table = Table::new(caption, &headings, 3);
    for net in &report.networks {
        let same =
            |n: &&NetworkTime| (&n.net, &n.precision, n.batch) == (&net.net, &net.precision, net.batch) && n.form == "dense";
        let gain = report.networks.iter().find(same).map_or("-".to_owned(), |dense| times(dense.median_us / net.median_us));
        let rate = 2.0 * net.macs as f64 / net.median_us / 1e3;
        let theirs = torch.and_then(|t| fastest(&t.networks, [&net.net, &net.form, &net.precision], net.batch, None));
        table.rows.push(vec![
            net.net.clone(),
            net.form.clone(),
            net.precision.clone(),
            net.batch.to_string(),
            format!("{:.1}", net.median_us),
            format!("{:.1}", net.steps_us),
            format!("{rate:.0}"),
            gain,
            theirs.map_or("-".to_owned(), |us| format!("{us:.1}")),
        ]);
    }
    table
}
