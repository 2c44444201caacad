//! What the paper measured: Wen et al., Learning Structured Sparsity in Deep Neural Networks, NIPS 2016, speedups over the dense layer
//! with the same library, matrix products alone, one image, in `paper.json`.

use serde::Deserialize;

/// A row of one of its tables.
#[derive(Deserialize)]
pub(crate) struct Entry {
    /// The network, as records call it.
    pub(crate) net: String,
    /// The form, as records call it up to a comma.
    pub(crate) form: String,
    pub(crate) title: String,
    pub(crate) layers: Vec<String>,
    /// MKL, one thread of a Xeon.
    pub(crate) cpu: Vec<f64>,
    /// cuBLAS or cuSPARSE, Titan Black.
    pub(crate) gpu: Option<Vec<f64>>,
}

/// All of them.
///
/// # Panics
/// If the file is broken.
pub(crate) fn entries() -> Vec<Entry> {
    serde_json::from_str(include_str!("paper.json")).expect("paper.json is valid")
}

impl Entry {
    /// Whether a form of a record is one of this entry.
    pub(crate) fn covers(&self, net: &str, form: &str) -> bool {
        net == self.net && form.split(',').next() == Some(&self.form)
    }
}
