//! How much a model may take of the machine that runs it. A file of a few kilobytes can ask for hours and for all memory, so tools refuse
//! what is out of proportion to the file and to what its user gave it to work on.

use clap::Args;
use sslm::{Model, Options};
use std::time::Duration;

/// Elements that a model is expected to be given, if it is not known: for most of those that fix the size of their input that is no less
/// than a third of it.
const USUAL_INPUT: usize = 1 << 16;
/// Bytes that the smallest file may take.
const SMALLEST_MEMORY: usize = 400 << 20;
/// Multiply-accumulates that the smallest file may take.
const SMALLEST_MACS: u64 = 4_000_000_000;
/// A machine that computes fewer multiply-accumulates in a second is not expected to be asked for as many as limits allow.
const SLOWEST: u64 = 400_000_000;

/// Flags of tools that run models.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Refuse a model that takes more memory than so many MiB, besides its file [default: 400, and more for larger models and inputs]
    #[arg(long, value_name = "MIB")]
    max_memory: Option<usize>,
    /// Refuse runs of more than so many millions of multiply-accumulates, or of what takes as long [default: 4000, and more for larger
    /// models and inputs]
    #[arg(long, value_name = "MILLIONS")]
    max_macs: Option<u64>,
    /// End preparing a model, or a run, after so many seconds [default: 10, and more where more multiply-accumulates are allowed]
    #[arg(long, value_name = "SECONDS")]
    max_time: Option<u64>,
}

impl Limits {
    /// These limits instead of the default ones, for callers that have no command line: bytes, multiply-accumulates and seconds.
    pub fn new(max_memory: Option<usize>, max_macs: Option<u64>, max_time: Option<u64>) -> Self {
        Limits {
            max_memory: max_memory.map(|bytes| bytes.div_ceil(1 << 20)),
            max_macs: max_macs.map(|macs| macs.div_ceil(1_000_000)),
            max_time,
        }
    }

    /// `options` with these limits, for a model that is given so many elements by its user for each run, or of whose inputs nothing is
    /// known but that they are `batch` images or the like.
    ///
    /// A convolution multiplies each weight once for each position, and positions are hardly more than the input has elements. So
    /// weights times elements are more than networks take, by a factor of about a thousand for images of usual sizes. Activations are
    /// up to 64 channels of the input's size, some of which lie in memory together.
    pub fn apply(&self, options: Options, model: &Model, given: usize, batch: usize) -> Options {
        let elements = given.max(USUAL_INPUT.saturating_mul(batch));
        let memory = || {
            let of_elements = elements.saturating_mul(128 * size_of::<f32>());
            SMALLEST_MEMORY.saturating_add(model.file_bytes().saturating_mul(8)).saturating_add(of_elements)
        };
        let memory = self.max_memory.map_or_else(memory, |mib| mib.saturating_mul(1 << 20));
        let weights = (model.weight_bytes() / size_of::<f32>()) as u64;
        let macs = || SMALLEST_MACS.saturating_add((weights + 1024).saturating_mul(elements as u64));
        let macs = self.max_macs.map_or_else(macs, |millions| millions.saturating_mul(1_000_000));
        // However few are allowed: what is told of a run that has more is to be their count.
        let usual = macs.max(SMALLEST_MACS) / SLOWEST;
        let time = Duration::from_secs(self.max_time.unwrap_or(usual));
        options.max_memory(memory).max_macs(macs).max_time(time)
    }

    /// How many bytes files of so many bytes may become that are unpacked.
    pub fn unpacked(&self, packed: u64) -> u64 {
        let usual = || (SMALLEST_MEMORY as u64).saturating_add(packed.saturating_mul(16));
        self.max_memory.map_or_else(usual, |mib| (mib as u64).saturating_mul(1 << 20))
    }

    /// What to do about a limit that is too low.
    pub(crate) const HINT: &str = "if that is meant to be, --max-memory, --max-macs or --max-time allows more";
}
