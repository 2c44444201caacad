//! Which method computes a convolution on a device, by what each is expected to take.
//!
//! All times are nanoseconds on an NVIDIA H200, as the bench `gpu` measured them; on another device, which has other clocks and other
//! memory, they are expected to be in proportion. Of the layers of AlexNet, dense and pruned, on 1 to 256 images, 56 of 60 take within
//! a quarter of what is expected; what is chosen takes 0.4 % longer than the fastest method on average, and 7 % at worst.

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
        /// Positions of a block.
        positions: usize,
    },
    /// A thread for one position and some filters.
    Warp {
        /// Filters of a thread.
        filters: usize,
        /// Warps that share positions and take the columns in turns.
        turns: usize,
    },
}

const fn tile(filters: usize, positions: usize) -> Method {
    Method::Tile { filters, positions }
}

const fn warp(filters: usize, turns: usize) -> Method {
    Method::Warp { filters, turns }
}

impl Method {
    /// Every method.
    #[rustfmt::skip]
    pub const ALL: [Method; 19] = [
        Method::Direct, Method::Library,
        tile(64, 64), tile(64, 128), tile(96, 128), tile(128, 64), tile(128, 128),
        warp(8, 1), warp(8, 2), warp(8, 4), warp(8, 8),
        warp(16, 1), warp(16, 2), warp(16, 4), warp(16, 8),
        warp(32, 1), warp(32, 2), warp(32, 4), warp(32, 8),
    ];

    /// The kernel of our own that multiplies by several filters.
    pub(super) fn kernel(self) -> Option<&'static Kernel> {
        match self {
            Method::Direct | Method::Library => None,
            Method::Tile { filters, positions } => {
                TILES.iter().find(|kernel| [kernel.filters, kernel.positions] == [filters, positions])
            }
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
            Method::Tile { filters, .. } | Method::Warp { filters, .. } => Some(filters),
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
            Method::Tile { filters, positions } => write!(f, "tile {filters}x{positions}"),
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
    /// What a step takes of a multiprocessor's time if others compute there meanwhile, and how long it takes if no others do.
    times: [f64; 2],
    /// What a block takes besides steps.
    once: f64,
    /// Blocks that a multiprocessor has room for.
    resident: usize,
}

static WARPS: [Kernel; 3] = [
    Kernel { name: "conv_warp_8", filters: 8, positions: 256, step: 4, times: [270.0, 1220.0], once: 2000.0, resident: 5 },
    Kernel { name: "conv_warp_16", filters: 16, positions: 256, step: 4, times: [440.0, 1650.0], once: 2000.0, resident: 4 },
    Kernel { name: "conv_warp_32", filters: 32, positions: 256, step: 4, times: [740.0, 1400.0], once: 2000.0, resident: 2 },
];

static TILES: [Kernel; 5] = [
    Kernel { name: "conv_tile_64x64", filters: 64, positions: 64, step: 8, times: [290.0, 465.0], once: 1000.0, resident: 4 },
    Kernel { name: "conv_tile_64x128", filters: 64, positions: 128, step: 8, times: [525.0, 665.0], once: 1500.0, resident: 3 },
    Kernel { name: "conv_tile_96x128", filters: 96, positions: 128, step: 8, times: [670.0, 750.0], once: 2000.0, resident: 2 },
    Kernel { name: "conv_tile_128x64", filters: 128, positions: 64, step: 8, times: [480.0, 620.0], once: 1500.0, resident: 2 },
    Kernel { name: "conv_tile_128x128", filters: 128, positions: 128, step: 8, times: [840.0, 930.0], once: 2500.0, resident: 2 },
];

/// Threads of a block of all of them: of a warp, and warps.
pub(super) const BLOCK: [u32; 2] = [32, WARPS_OF_BLOCK as u32];

/// Warps of a block.
const WARPS_OF_BLOCK: usize = 8;

/// Most blocks of a grid along its second axis.
pub(super) const MOST_BLOCKS_DOWN: usize = 65_535;

/// Groups of fewer filters leave most of what multiplies by several idle.
const SEVERAL: usize = 5;

/// What a multiprocessor takes to multiply 32 elements by a column in `conv_direct`, and how long a column takes there if no others
/// are computed meanwhile.
const DIRECT: [f64; 2] = [5.0, 310.0];

/// From one launch in a graph to the next.
const LAUNCH: f64 = 3200.0;

/// What a multiprocessor takes in cuBLAS to multiply a tile of 128 positions and 64 filters by a column: of floats, and of rounded
/// factors.
const LIBRARY: [f64; 2] = [42.0, 10.0];

/// Positions and filters of such a tile.
const LIBRARY_TILE: [usize; 2] = [128, 64];

/// Of fewer columns, cuBLAS does not make parts that are added up, of tiles that are fewer than multiprocessors.
const LIBRARY_DEPTH: f64 = 128.0;

/// What it takes besides, whatever the size, and for each column.
const LIBRARY_ONCE: [f64; 2] = [2500.0, 4.0];

/// Bytes that memory yields to a multiprocessor in a nanosecond.
const BYTES: f64 = 19.0;

/// A convolution as the choice sees it.
pub(super) struct Shape<'a> {
    pub(super) groups: &'a [KeptGroup],
    pub(super) images: usize,
    /// Positions of the outputs of all images.
    pub(super) positions: usize,
    /// Whether columns are multiplied where they lie.
    pub(super) in_place: bool,
    /// Whether positions are divided by strides.
    pub(super) divides: bool,
    /// Whether cuBLAS can: no group is without columns, and a lowered image can be counted.
    pub(super) by_library: bool,
    pub(super) precision: Precision,
    /// Multiprocessors of the device, at least 1.
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
        all.min_by(|a, b| self.time(*a).total_cmp(&self.time(*b))).unwrap_or(Method::Direct)
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

    /// How long it is expected to take.
    fn time(&self, method: Method) -> f64 {
        let of_groups = |of: &dyn Fn(&KeptGroup) -> f64| -> f64 { self.groups.iter().map(of).sum() };
        if let Some(kernel) = method.kernel() {
            return self.time_of_blocks(method, kernel);
        }
        let (positions, processors) = (self.positions as f64, self.processors as f64);
        let columns = |group: &KeptGroup| group.columns.len() as f64;
        if method == Method::Direct {
            let weights = of_groups(&|group| group.filters as f64 * columns(group));
            let longest = self.groups.iter().map(columns).fold(0.0, f64::max);
            let [busy, alone] = DIRECT;
            return LAUNCH + (weights * positions / 32.0 * busy / processors).max(longest * alone);
        }
        // Lowered matrices are written; sums are written, read and written again. What cuBLAS reads is part of its time.
        let moved = of_groups(&|group| {
            let lowered = if self.in_place { 0.0 } else { columns(group) };
            4.0 * positions * (lowered + 3.0 * group.filters as f64) / BYTES / processors
        });
        let launches = self.groups.len() as f64 * if self.in_place { 1.0 } else { 2.0 };
        launches * LAUNCH + moved + of_groups(&|group| self.time_of_product(group))
    }

    /// Of a group's product by cuBLAS. Images whose columns are multiplied where they lie are products of their own, unless they are of
    /// one position.
    fn time_of_product(&self, group: &KeptGroup) -> f64 {
        let [across, down] = LIBRARY_TILE;
        let tiles_of = |across_of: usize, down_of: usize| across_of.div_ceil(across) * down_of.div_ceil(down);
        let tiles = match self.positions / self.images.max(1) {
            1 if self.in_place => tiles_of(group.filters, self.positions),
            of_image if self.in_place => self.images * tiles_of(of_image, group.filters),
            _ => tiles_of(self.positions, group.filters),
        };
        let (columns, share) = (group.columns.len() as f64, tiles as f64 / self.processors as f64);
        let deep = if share > 1.0 { share.ceil() * columns } else { (share * columns).max(columns.min(LIBRARY_DEPTH)) };
        let [once, of_column] = LIBRARY_ONCE;
        once + columns * of_column + deep * LIBRARY[usize::from(self.precision != Precision::Fp32)]
    }

    /// Of a kernel of our own: what the multiprocessor that has most blocks computes, or what blocks take one after the other, each as
    /// if by itself, where there is room for few at a time.
    fn time_of_blocks(&self, method: Method, kernel: &Kernel) -> f64 {
        let tiles = self.positions.div_ceil(method.positions(kernel)) as f64;
        let [busy, alone] = kernel.times;
        let (mut blocks, mut all, mut longest) = (0.0, 0.0, 0.0f64);
        for group in self.groups {
            let steps = group.columns.len().div_ceil(kernel.step * method.turns()) as f64;
            let of_group = tiles * group.filters.div_ceil(kernel.filters) as f64;
            blocks += of_group;
            all += of_group * (steps * busy + kernel.once);
            longest = longest.max(steps);
        }
        let processors = self.processors as f64;
        let most = (blocks / processors).ceil() * all / blocks.max(1.0);
        let rounds = (blocks / (processors * kernel.resident as f64)).ceil();
        LAUNCH + most.max(rounds * longest * alone + kernel.once)
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
        Shape { groups, images: 1, positions, in_place: false, divides: false, by_library: true, precision, processors: 132 }
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
        assert_ne!(all.choose(Some(tile(65, 64))), tile(65, 64));
        assert_ne!(all.choose(Some(Method::Warp { filters: 8, turns: 3 })), Method::Warp { filters: 8, turns: 3 });
        let rounded = Shape { precision: Precision::Tf32, ..shape(&groups, 50) };
        assert_eq!(rounded.choose(None), Method::Library);
        // 65536 blocks of eight filters are more than a grid has.
        let wide = [group(8 * 65_536, 1)];
        assert_ne!(shape(&wide, 50).choose(Some(Method::Warp { filters: 8, turns: 1 })), Method::Warp { filters: 8, turns: 1 });
    }

    /// The fully connected layers of AlexNet, which are columns of images of one position.
    #[test]
    fn fully_connected_layers_are_the_librarys() {
        for images in [1, 32, 128, 256] {
            for (rows, features) in [(4096, 9216), (4096, 4096), (1000, 4096)] {
                let groups = [group(rows, features)];
                let shape = Shape { images, in_place: true, ..shape(&groups, images) };
                assert_eq!(shape.choose(None), Method::Library, "{rows} rows, {features} features, {images} images");
            }
        }
    }

    /// A layer that keeps less is never expected to take longer.
    #[test]
    #[cfg_attr(miri, ignore = "many sums, and nothing in memory")]
    fn costs_do_not_fall_where_work_is_added() {
        let sizes = [1, 5, 8, 9, 31, 64, 65, 127, 128, 129, 384];
        for positions in [1, 49, 169, 729 * 32, 3025 * 128] {
            let cost = |filters: usize, columns: usize| {
                let groups = [group(filters, columns), group(filters, columns)];
                let shape = shape(&groups, positions);
                shape.time(shape.choose(None))
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
