//! Layers and what pruning leaves of them, from `data/layers.json`: facts, each with its source.

use fastrand::Rng;
use serde::Deserialize;
use sslm_kernels::conv::{Column, Geometry, KeptGroup};

/// Some layers of a network.
#[derive(Deserialize)]
pub struct Net {
    /// Its name.
    pub net: String,
    /// Convolutions.
    pub layers: Vec<ConvShape>,
    /// Layers behind them.
    #[serde(default)]
    pub fully_connected: Vec<FullyConnectedShape>,
    /// What is left of the convolutions when they are pruned, in several ways.
    pub pruned: Vec<Pruned>,
    /// What is left of them when zeros may be anywhere.
    #[serde(default)]
    pub sparse: Vec<Sparse>,
}

/// What is left of the convolutions when zeros may be anywhere.
#[derive(Deserialize)]
pub struct Sparse {
    /// How its source calls it.
    pub name: String,
    /// Percent of the weights of each convolution that are zero.
    pub zeros: Vec<f64>,
}

/// A convolution of square images.
#[derive(Deserialize)]
pub struct ConvShape {
    /// Its name.
    pub name: String,
    /// Channels of the input.
    pub channels: usize,
    /// Filters of all groups.
    pub filters: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Height and width of the input.
    pub input: usize,
    /// Stride in both directions.
    #[serde(default = "one")]
    pub stride: usize,
    /// Padding on every side.
    #[serde(default)]
    pub pad: usize,
    /// Count of groups.
    #[serde(default = "one")]
    pub groups: usize,
}

/// A fully connected layer.
#[derive(Deserialize)]
pub struct FullyConnectedShape {
    /// Its name.
    pub name: String,
    /// Inputs.
    pub features: usize,
    /// Outputs.
    pub rows: usize,
}

/// What is left of each convolution.
#[derive(Deserialize)]
pub struct Pruned {
    /// How its source calls it.
    pub name: String,
    /// Filters of all groups.
    pub filters: Vec<usize>,
    /// Input channels that columns are left of, where the source says so.
    pub channels: Option<Vec<usize>>,
    /// Columns of each group.
    pub columns: Vec<usize>,
    /// Whether factors of low rank with as many multiply-accumulates are timed beside it.
    #[serde(default)]
    pub low_rank: bool,
}

/// What is kept of one convolution.
#[derive(Clone, Copy)]
pub struct Kept {
    /// Filters of all groups.
    pub filters: usize,
    /// Input channels of each group that columns are kept of: the first ones.
    pub channels: usize,
    /// Columns of each group, at random among those of the channels.
    pub columns: usize,
}

fn one() -> usize {
    1
}

/// All networks.
///
/// # Panics
/// If the file is broken.
pub fn nets() -> Vec<Net> {
    serde_json::from_str(include_str!("../data/layers.json")).expect("layers.json is valid")
}

impl Net {
    /// What pruning leaves of convolution `layer`, with names. Where the source does not say which columns are left, there are two
    /// forms: columns at random, and about as many in whole channels.
    pub fn pruned(&self, layer: usize) -> Vec<(String, Kept)> {
        let taps = self.layers[layer].kernel.pow(2);
        let forms = |pruned: &Pruned| {
            let (name, kept) = (&pruned.name, self.kept(pruned, layer));
            if pruned.channels.is_some() {
                return vec![(name.clone(), kept)];
            }
            let channels = ((kept.columns + taps / 2) / taps).max(1);
            vec![
                (format!("{name}, random"), kept),
                (format!("{name}, aligned"), Kept { filters: kept.filters, channels, columns: channels * taps }),
            ]
        };
        self.pruned.iter().flat_map(forms).collect()
    }

    /// What `pruned` leaves of convolution `layer`: exactly so many columns.
    pub fn kept(&self, pruned: &Pruned, layer: usize) -> Kept {
        let channels = pruned.channels.as_ref().map_or(self.layers[layer].whole().channels, |channels| channels[layer]);
        Kept { filters: pruned.filters[layer], channels, columns: pruned.columns[layer] }
    }
}

impl ConvShape {
    /// Everything is kept.
    pub fn whole(&self) -> Kept {
        let channels = self.channels / self.groups;
        Kept { filters: self.filters, channels, columns: channels * self.kernel.pow(2) }
    }

    /// The shapes, as kernels want them.
    pub fn geometry(&self) -> Geometry {
        let output = (self.input + 2 * self.pad - self.kernel) / self.stride + 1;
        Geometry {
            channels: self.channels,
            input: [self.input; 2],
            output: [output; 2],
            kernel: [self.kernel; 2],
            strides: [self.stride; 2],
            dilations: [1, 1],
            pad_before: [self.pad; 2],
            transposed: false,
        }
    }

    /// Channels between the two factors of each group that have about as many multiply-accumulates as what is kept.
    pub fn rank(&self, kept: Kept) -> usize {
        let (filters, columns) = (self.filters / self.groups, self.whole().columns);
        (kept.filters / self.groups * kept.columns / (filters + columns)).max(1)
    }

    /// What each group keeps; the same in every run.
    pub fn groups(&self, kept: Kept) -> Vec<KeptGroup> {
        let (channels, taps) = (self.channels / self.groups, self.kernel * self.kernel);
        let mut rng = Rng::with_seed(2016);
        let group = |group: usize| {
            let filters = (group + 1) * kept.filters / self.groups - group * kept.filters / self.groups;
            let mut columns = rng.choose_multiple(0..kept.channels * taps, kept.columns);
            columns.sort_unstable();
            let column =
                |i: usize| Column { channel: group * channels + i / taps, kh: i % taps / self.kernel, kw: i % self.kernel };
            KeptGroup { filters, columns: columns.into_iter().map(column).collect() }
        };
        (0..self.groups).map(group).collect()
    }
}
