//! Which method computes a convolution on a device, by what each is expected to take.
//!
//! **None of this has been measured.** Instructions are counted in what `ptxas` 12.9 makes of the kernels for `sm_90`. Four warps issue
//! one each in a cycle; shared memory and L1 serve one request of a warp in a cycle, or half of one for 16 bytes that are
//! the same for all threads. Where no other warp has work meanwhile, a step waits for two reads that miss L1. Of cuBLAS
//! it is assumed that it reaches 0.8 of the peak; of memory, that it yields 12 bytes a cycle to each multiprocessor.

use crate::Precision;
use crate::conv::KeptGroup;
use std::fmt::{self, Display};
use std::str::FromStr;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A thread for each element of the output.
    Direct,
    /// Gathered into memory and multiplied by cuBLAS.
    Library,
    /// Gathered into shared memory and multiplied there.
    Tile {
        /// Filters of a block.
        filters: usize,
    },
    /// A thread for one position and some filters.
    Warp {
        /// Filters of a thread.
        filters: usize,
        /// Warps that share positions and take the columns in turns.
        turns: usize,
    },
}

const fn warp(filters: usize, turns: usize) -> Method {
    Method::Warp { filters, turns }
}

impl Method {
    /// Every method.
    #[rustfmt::skip]
    pub const ALL: [Method; 16] = [
        Method::Direct, Method::Library, Method::Tile { filters: 64 }, Method::Tile { filters: 128 },
        warp(8, 1), warp(8, 2), warp(8, 4), warp(8, 8),
        warp(16, 1), warp(16, 2), warp(16, 4), warp(16, 8),
        warp(32, 1), warp(32, 2), warp(32, 4), warp(32, 8),
    ];

    /// The kernel of our own that multiplies by several filters.
    pub(super) fn kernel(self) -> Option<&'static Kernel> {
        match self {
            Method::Direct | Method::Library => None,
            Method::Tile { filters } => TILES.iter().find(|kernel| kernel.filters == filters),
            Method::Warp { filters, .. } => WARPS.iter().find(|kernel| kernel.filters == filters),
        }
    }

    /// Warps that take columns in turns.
    pub(super) fn turns(self) -> usize {
        if let Method::Warp { turns, .. } = self { turns } else { 1 }
    }

    /// Positions of a block.
    pub(super) fn positions(self, kernel: &Kernel) -> usize {
        kernel.positions / self.turns()
    }

    /// Filters that a block, or a thread of [`Method::Direct`], has in common; none where cuBLAS divides them.
    pub(super) fn filters(self) -> Option<usize> {
        match self {
            Method::Direct => Some(1),
            Method::Tile { filters } | Method::Warp { filters, .. } => Some(filters),
            Method::Library => None,
        }
    }

    /// How many columns of a group are stored: with empty ones behind those that are kept, where a kernel knows whole steps only.
    pub(super) fn columns(self, kept: usize) -> usize {
        match (self, self.kernel()) {
            (Method::Tile { .. }, Some(kernel)) => kept.next_multiple_of(kernel.step),
            _ => kept,
        }
    }
}

impl Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::Direct => f.write_str("direct"),
            Method::Library => f.write_str("cublas"),
            Method::Tile { filters } => write!(f, "tile {filters}"),
            Method::Warp { filters, turns } => write!(f, "warp {filters}x{turns}"),
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Method::ALL.into_iter().find(|method| method.to_string() == text);
        named.ok_or_else(|| format!("expected one of {}, found '{text}'", Method::ALL.map(|m| m.to_string()).join(", ")))
    }
}

/// A kernel of our own that multiplies by several filters.
pub(super) struct Kernel {
    pub(super) name: &'static str,
    /// Filters of a block.
    filters: usize,
    /// Positions of a block, where no warps share them.
    positions: usize,
    /// Columns of a step.
    step: usize,
    /// Cycles that a warp keeps its multiprocessor busy in a step, if it has no filters, and if it has.
    cycles: [f64; 2],
    /// Blocks that a multiprocessor has registers for.
    resident: usize,
}

static WARPS: [Kernel; 3] = [
    Kernel { name: "conv_warp_8", filters: 8, positions: 256, step: 4, cycles: [28.0; 2], resident: 5 },
    Kernel { name: "conv_warp_16", filters: 16, positions: 256, step: 4, cycles: [44.0; 2], resident: 3 },
    Kernel { name: "conv_warp_32", filters: 32, positions: 256, step: 4, cycles: [76.0; 2], resident: 2 },
];

static TILES: [Kernel; 2] = [
    Kernel { name: "conv_tile_64", filters: 64, positions: 256, step: 8, cycles: [34.0, 182.0], resident: 2 },
    Kernel { name: "conv_tile_128", filters: 128, positions: 128, step: 8, cycles: [22.0, 166.0], resident: 2 },
];

/// Threads of a block of all of them: of a warp, and warps.
pub(super) const BLOCK: [u32; 2] = [32, WARPS_OF_BLOCK as u32];

/// Warps of a block.
const WARPS_OF_BLOCK: usize = 8;

/// Most blocks of a grid along its second axis.
pub(super) const MOST_BLOCKS_DOWN: usize = 65_535;

/// Groups of fewer filters leave most of what multiplies by several idle.
const SEVERAL: usize = 5;

/// Cycles that a warp of `conv_direct` keeps its multiprocessor busy for a column: 15.5 instructions; and columns of a step.
const DIRECT: [f64; 2] = [3.9, 4.0];

/// Cycles that a step waits for memory.
const LATENCY: f64 = 700.0;

/// Cycles from one launch in a graph to the next, and of what a kernel does once.
const LAUNCH: f64 = 4000.0;

/// Multiply-adds of a multiprocessor in a cycle by cuBLAS: of floats, and of rounded factors.
const LIBRARY: [f64; 2] = [0.8 * 128.0, 0.8 * 1024.0];

/// Bytes that memory yields to a multiprocessor in a cycle.
const BYTES: f64 = 12.0;

/// A convolution as the choice sees it.
pub(super) struct Shape<'a> {
    pub(super) groups: &'a [KeptGroup],
    /// Positions of the outputs of all images.
    pub(super) positions: usize,
    /// Whether columns are multiplied where they lie.
    pub(super) in_place: bool,
    /// Whether positions are divided by strides.
    pub(super) divides: bool,
    /// Whether cuBLAS can: no group is without columns, and a lowered image can be counted.
    pub(super) by_library: bool,
    pub(super) precision: Precision,
    /// Multiprocessors of the device.
    pub(super) processors: usize,
}

impl Shape<'_> {
    /// `asked` if it applies, or what is expected to be fastest.
    pub(super) fn choose(&self, asked: Option<Method>) -> Method {
        let several = self.groups.iter().any(|group| group.filters >= SEVERAL);
        let asked = match (asked, self.precision) {
            (None, Precision::Tf32 | Precision::Fp16) if several => Some(Method::Library), // no other rounds factors
            (asked, _) => asked,
        };
        if let Some(asked) = asked.filter(|method| self.applies(*method)) {
            return asked;
        }
        let all = Method::ALL.into_iter().filter(|method| self.applies(*method));
        all.min_by(|a, b| self.cycles(*a).total_cmp(&self.cycles(*b))).unwrap_or(Method::Direct)
    }

    fn applies(&self, method: Method) -> bool {
        match method.kernel() {
            Some(kernel) => {
                let blocks: usize = self.groups.iter().map(|group| group.filters.div_ceil(kernel.filters)).sum();
                Method::ALL.contains(&method) && !self.divides && blocks <= MOST_BLOCKS_DOWN
            }
            None => method == Method::Direct || method == Method::Library && self.by_library,
        }
    }

    /// Expected cycles.
    fn cycles(&self, method: Method) -> f64 {
        let (positions, processors) = (self.positions as f64, self.processors.max(1) as f64);
        let of_groups = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            self.groups.iter().map(|group| of(group.filters as f64, group.columns.len() as f64)).sum()
        };
        let weights = of_groups(&|filters, columns| filters * columns);
        if let Some(kernel) = method.kernel() {
            return self.cycles_of_blocks(method, kernel, processors);
        }
        if method == Method::Direct {
            let [cycles, step] = DIRECT;
            let busy = weights * positions / 32.0 * cycles / processors;
            let steps = self.groups.iter().map(|group| group.columns.len()).max().unwrap_or(0) as f64 / step;
            return LAUNCH + busy.max(steps * LATENCY);
        }
        let multiplied = LIBRARY[usize::from(self.precision != Precision::Fp32)];
        let lowered = of_groups(&|_, columns| if self.in_place { 0.0 } else { columns * positions });
        let sums = of_groups(&|filters, _| filters * positions);
        // Lowered matrices are written and read, sums are read and written again.
        let moved = 4.0 * 2.0 * (lowered + sums) / BYTES;
        let launches = self.groups.len() as f64 * if self.in_place { 2.0 } else { 3.0 };
        launches * LAUNCH + ((weights * positions / multiplied).max(4.0 * weights / BYTES) + moved) / processors
    }

    /// Of a kernel of our own: what all multiprocessors are busy, or what blocks take if they run by themselves, round after round.
    fn cycles_of_blocks(&self, method: Method, kernel: &Kernel, processors: f64) -> f64 {
        let tiles = self.positions.div_ceil(method.positions(kernel)) as f64;
        let filters_of_warp = kernel.filters.div_ceil(WARPS_OF_BLOCK);
        let (mut busy, mut blocks, mut longest) = (0.0, 0.0, 0.0f64);
        for group in self.groups {
            let steps = group.columns.len().div_ceil(kernel.step * method.turns()) as f64;
            for first in (0..group.filters).step_by(kernel.filters) {
                let filters = kernel.filters.min(group.filters - first);
                let [idle, multiplies] = kernel.cycles;
                let warps = filters.div_ceil(filters_of_warp) as f64;
                let cycles = steps * (warps * multiplies + (WARPS_OF_BLOCK as f64 - warps) * idle);
                busy += tiles * cycles;
                blocks += tiles;
                longest = longest.max(cycles.max(steps * LATENCY));
            }
        }
        let rounds = (blocks / (processors * kernel.resident as f64)).ceil();
        LAUNCH + (busy / processors).max(rounds * longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::Column;

    fn group(filters: usize, columns: usize) -> KeptGroup {
        KeptGroup { filters, columns: vec![Column { channel: 0, kh: 0, kw: 0 }; columns] }
    }

    fn shape(groups: &[KeptGroup], positions: usize) -> Shape<'_> {
        let precision = Precision::Fp32;
        Shape { groups, positions, in_place: false, divides: false, by_library: true, precision, processors: 132 }
    }

    #[test]
    fn what_is_asked_for_is_taken_where_it_applies() {
        let groups = [group(9, 20), group(4, 0)];
        let all = shape(&groups, 50);
        let none = Shape { divides: true, by_library: false, ..shape(&groups, 50) };
        for method in Method::ALL {
            assert_eq!(method.to_string().parse(), Ok(method));
            assert_eq!(all.choose(Some(method)), method);
            assert_eq!(none.choose(Some(method)), Method::Direct);
        }
        assert_ne!(all.choose(Some(Method::Tile { filters: 65 })), Method::Tile { filters: 65 });
        assert_ne!(all.choose(Some(Method::Warp { filters: 8, turns: 3 })), Method::Warp { filters: 8, turns: 3 });
        let rounded = Shape { precision: Precision::Tf32, ..shape(&groups, 50) };
        assert_eq!(rounded.choose(None), Method::Library);
        // 65536 blocks of eight filters are more than a grid has.
        let wide = [group(8 * 65_536, 1)];
        assert_ne!(shape(&wide, 50).choose(Some(Method::Warp { filters: 8, turns: 1 })), Method::Warp { filters: 8, turns: 1 });
    }

    /// A layer that keeps less is never expected to take longer.
    #[test]
    fn costs_do_not_fall_where_work_is_added() {
        let sizes = [1, 5, 8, 9, 31, 64, 65, 127, 128, 129, 384];
        for positions in [1, 49, 169, 729 * 32, 3025 * 128] {
            let cost = |filters: usize, columns: usize| {
                let groups = [group(filters, columns), group(filters, columns)];
                let shape = shape(&groups, positions);
                shape.cycles(shape.choose(None))
            };
            for pair in sizes.windows(2) {
                for &other in &sizes {
                    assert!(
                        cost(pair[0], other) <= cost(pair[1], other),
                        "{pair:?} filters, {other} columns, {positions} positions"
                    );
                    assert!(
                        cost(other, pair[0]) <= cost(other, pair[1]),
                        "{other} filters, {pair:?} columns, {positions} positions"
                    );
                }
            }
        }
    }
}
