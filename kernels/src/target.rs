//! What kernels are prepared for: an instruction set, threads, layouts, and for convolutions a method.

use crate::Isa;
use crate::layout::Layouts;
use get_size2::GetSize;
use std::fmt;
use std::str::FromStr;

/// Work is shared by as many threads as get this much of it each, in multiply-accumulates: about a microsecond. Measured on two Zen 5
/// cores, sharing costs 0.3 us: steps of 2 us become a sixth faster, those of 0.8 us slower.
const GRAIN: usize = 100_000;

macro_rules! methods {
    ($($(#[doc = $doc:literal])* $method:ident = $name:literal;)*) => {
        /// How the sums of a convolution group are computed.
        #[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Method {
            $($(#[doc = $doc])* $method,)*
        }

        impl Method {
            /// Every method.
            pub const ALL: [Method; [$($name),*].len()] = [$(Method::$method),*];

            /// Its name in reports and files, which stays the same.
            fn name(self) -> &'static str {
                match self { $(Method::$method => $name,)* }
            }
        }
    };
}

methods! {
    /// Each tile's columns are gathered into a block that all panels of weights are multiplied with.
    Packed = "packed";
    /// Columns are read where they lie in the input.
    InPlace = "in place";
    /// By fewer products between transformed tiles.
    Winograd = "winograd";
    /// With filters as lanes.
    FilterLanes = "filter lanes";
    /// Plane by plane.
    Depthwise = "depthwise";
    /// Some planes of a depthwise layer at a time.
    ChannelLanes = "channel lanes";
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Method::name).join(", ");
        let found = Self::ALL.into_iter().find(|m| m.name() == name);
        found.ok_or_else(|| format!("method: expected one of {}, found '{name}'", names()))
    }
}

/// Where weights are expected to come from in a run, by how many a network has.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsFrom {
    /// They stay in L2 from one run to the next.
    L2,
    /// They stay in L3, or a part of it that one core may expect to have.
    L3,
    /// Each run reads them from memory.
    Memory,
}

impl WeightsFrom {
    /// For a network with so many bytes of weights, those that are kept included.
    pub fn of(bytes: usize) -> Self {
        match bytes >> 20 {
            0 | 1 => WeightsFrom::L2,
            2..16 => WeightsFrom::L3,
            _ => WeightsFrom::Memory,
        }
    }
}

/// What kernels are prepared for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The instruction set.
    pub isa: Isa,
    /// Most threads that share a step.
    pub threads: usize,
    /// The method that a convolution is to be computed by wherever it applies; without one, that which is expected to be fastest.
    pub method: Option<Method>,
    /// How what a step reads and writes lies in memory.
    pub layouts: Layouts,
    /// Whether a kernel may keep weights that it transforms before the first run; else it transforms them in every run.
    pub keeps_weights: bool,
    /// Where weights are expected to come from.
    pub weights_from: WeightsFrom,
}

impl Target {
    /// For at most so many threads, in planes, by whatever is expected to be fastest without keeping weights, in a small network.
    pub fn new(isa: Isa, threads: usize) -> Self {
        let (method, layouts, keeps_weights, weights_from) = (None, Layouts::PLANES, false, WeightsFrom::L2);
        Target { isa, threads, method, layouts, keeps_weights, weights_from }
    }

    /// How many threads share so much work, in multiply-accumulates.
    pub fn threads_for(&self, work: usize) -> usize {
        (work / GRAIN).clamp(1, self.threads.max(1))
    }
}
