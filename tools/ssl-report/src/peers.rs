//! Other runtimes' times, as the peers' harness writes them.

use crate::json;
use anyhow::{Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A session of the harness.
#[derive(Deserialize)]
pub struct Peers {
    /// Times by `model.form.bBATCH`.
    pub results: BTreeMap<String, Model>,
    /// The version of each peer.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// The harness's command line.
    #[serde(default)]
    pub args: String,
}

/// Times of a model.
#[derive(Deserialize)]
pub struct Model {
    /// Times by peer and by `tTHREADS`.
    pub peers: BTreeMap<String, BTreeMap<String, Time>>,
}

/// A time; absent where the peer failed.
#[derive(Deserialize)]
pub struct Time {
    /// The median, of the quiet samples if there are enough.
    pub ms: Option<f64>,
}

impl Peers {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self> {
        let peers: Peers = json::read(path)?;
        for (model, peer, ms) in peers.times() {
            ensure!(ms.is_finite() && ms > 0.0, "{}: {model}, {peer}: expected milliseconds above 0, found {ms}", path.display());
        }
        Ok(peers)
    }

    /// Models, peers and milliseconds.
    fn times(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        self.results.iter().flat_map(|(name, model)| {
            model.peers.iter().flat_map(move |(peer, times)| {
                times.values().filter_map(move |time| Some((name.as_str(), peer.as_str(), time.ms?)))
            })
        })
    }
}

/// What records call a model of the harness: net in small letters without hyphens, layer, form and batch; `None` where records have no
/// such model.
pub(crate) fn known_as(model: &str) -> Option<(&str, &str, &'static str, usize)> {
    let (name, rest) = model.split_once('.')?;
    let (form, batch) = rest.rsplit_once(".b")?;
    let (net, layer) = name.split_once('_').unwrap_or((name, "whole"));
    let form = match (net, form) {
        (_, "dense") => "dense",
        ("lenet", "masked-f3-12" | "compact-f3-12") => "LeNet 3",
        ("alexnet", "masked-rand" | "compact-rand") if layer != "whole" => "entry 2, random",
        ("alexnet", "masked-chan" | "compact-chan") if layer != "whole" => "entry 2, aligned",
        _ => return None,
    };
    Some((net, layer, form, batch.parse().ok()?))
}
