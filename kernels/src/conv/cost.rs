//! What convolutions are expected to cost: one model for each class of instruction sets. Costs are counted in multiply-adds of
//! vectors, so a factor says how many of these an operation takes as long as.
//!
//! Where nothing else is said, the factors are fits to the times of 726 layers on one thread, with AVX-512 and with AVX2 (Zen 5): 2x2 to
//! 56x56 positions, 3 to 1024 channels, 4 to 256 filters, of which all columns or down to a seventh are kept. Those of 5x5 layers by Winograd's method
//! are fits to 15 layers on a Zen 4 with AVX-512: 7x7 to 32x32 positions, 3 to 48 channels, 15 to 128 filters. What differs between
//! classes stands at the class. Those of blocks of channels and of depthwise layers, by which layouts are chosen, are fits to the
//! layers of MobileNetV2 on an Intel Xeon with AVX-512.
//!
//! No cost falls when filters or columns are added, so a compact layer is never expected to be slower than a dense one.

use crate::simd::{Class, Isa};

/// The factors of a class of instruction sets.
#[derive(Debug)]
pub(super) struct CostModel {
    pub(super) tiles: TileCosts,
    pub(super) filter_lanes: FilterLanesCosts,
    pub(super) winograd: WinogradCosts,
    pub(super) planes: PlanesCosts,
    pub(super) phases: PhasesCosts,
}

/// What the register tile of `tile.rs` costs, and what feeds it.
#[derive(Debug)]
pub(super) struct TileCosts {
    pub(super) packed: PackedCosts,
    pub(super) in_place: InPlaceCosts,
    /// An element of the output.
    pub(super) output: f64,
    /// A row of the planes that an image is split into.
    pub(super) staged_row: f64,
    /// Gathering a column, in rows of weights that are multiplied with it: threads that share an image are given equal parts by
    /// this. A gathered vector takes about as long as four products (AVX-512).
    pub(super) gathering: usize,
}

/// Where columns are gathered first.
#[derive(Debug)]
pub(super) struct PackedCosts {
    /// A product of a filter's weight and a vector.
    pub(super) product: f64,
    /// A vector that is gathered where all positions of a vector lie side by side.
    pub(super) gathered_whole: f64,
    /// A vector that is gathered in several runs.
    pub(super) gathered_in_runs: f64,
    /// A column of a register tile, for each of the tile's products.
    pub(super) column: f64,
}

/// Where columns are read where they lie.
#[derive(Debug)]
pub(super) struct InPlaceCosts {
    /// A product of a filter's weight and a vector.
    pub(super) product: f64,
    /// A column of a register tile, for each of the tile's products, where vectors are one run and no tap falls into padding.
    pub(super) column_of_one_run: f64,
    /// The same where vectors are one run and taps can fall into padding.
    pub(super) column_of_one_masked_run: f64,
    /// The same where vectors are two runs.
    pub(super) column_of_two_runs: f64,
}

/// Where lanes are filters.
#[derive(Debug)]
pub(super) struct FilterLanesCosts {
    /// A product of a vector of weights and a position, where the input lies in planes and where it lies in blocks.
    pub(super) product: f64,
    pub(super) product_in_blocks: f64,
    /// What products cost where all weights are packed before the first run, of what they cost where they are packed in each run, and
    /// where they are not.
    pub(super) packed: [f64; 2],
    /// Reading from another page for a register tile, where planes lie on more pages than a CPU remembers the addresses of: a fit to
    /// nine layers on an Intel Xeon, taken over for other CPUs.
    pub(super) far_page: f64,
    /// A vector of filters at a position, whose sums are transposed.
    pub(super) output: f64,
    /// The same where they are written as they are.
    pub(super) output_to_blocks: f64,
    /// A row of the planes that an image is split into.
    pub(super) staged_row: f64,
    /// Positions up to which this is considered: vectors of more positions are full.
    pub(super) most_positions: usize,
}

/// Winograd's method.
#[derive(Debug)]
pub(super) struct WinogradCosts {
    /// A product of a vector of weights and a tile.
    pub(super) product: f64,
    /// Reading a vector of transformed weights that are kept, from L2, L3 and memory.
    pub(super) kept_weight: [f64; 3],
    /// The transforms of tiles of six elements along an axis (3x3 kernels).
    pub(super) six: TransformCosts,
    /// The transforms of tiles of eight elements along an axis (5x5 kernels).
    pub(super) eight: TransformCosts,
    /// What the whole costs, of what the factors above say: much of it is not arithmetic.
    pub(super) scale: f64,
}

/// The transforms of Winograd's method, for tiles of one size.
#[derive(Debug)]
pub(super) struct TransformCosts {
    /// A tile of a vector of channels, from planes and from blocks.
    pub(super) tile: f64,
    pub(super) tile_in_block: f64,
    /// An element of a square that is transposed.
    pub(super) transposed: f64,
    /// The weights of a channel for a vector of filters.
    pub(super) weights: f64,
    /// The outputs of a tile for a vector of filters, to planes and to blocks.
    pub(super) outputs: f64,
    pub(super) outputs_to_block: f64,
}

/// Where each group reads one plane, plane by plane or with channels as lanes.
#[derive(Debug)]
pub(super) struct PlanesCosts {
    /// Filters of a group up to which going plane by plane is faster than reading columns in place, where more filters share what
    /// is read: on planes of 28x28, four take 41 instead of 54 us, and eight as long.
    pub(super) most_filters: usize,
    /// A tap of a vector of positions, plane by plane, without a horizontal stride and with one.
    pub(super) product: f64,
    pub(super) strided_product: f64,
    /// A tap of a position of a vector of channels, in planes of vectors.
    pub(super) product_of_channels: f64,
    pub(super) in_blocks: BlockCosts,
    /// Transposing a position of a vector of channels.
    pub(super) transposed: f64,
    /// Gathering a weight for each channel of a vector.
    pub(super) gathered: f64,
    /// Copying a row of a plane, in taps that are multiplied with it.
    pub(super) copied_row: usize,
    /// Positions of a padded plane up to which channels as lanes are faster than going plane by plane, with a horizontal stride and
    /// without. Timed with AVX-512 (Zen 5) on 3x3 kernels, with channels as lanes and plane by plane, in us: with a stride of 2,
    /// 576 planes of 14x14 29 and 92, 192 of 28x28 34 and 46, 144 of 56x56 105 and 96; without, 960 of 7x7 29 and 68, 384 of 14x14
    /// 39 and 37.
    pub(super) small_strided: usize,
    pub(super) small: usize,
}

/// Where channels lie in blocks and each group reads one: of a vector of channels, a tap, an element that is read and an output.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockCosts {
    pub(super) product: f64,
    pub(super) read: f64,
    pub(super) output: f64,
}

/// Transposed convolutions, beside what computes their phases.
#[derive(Debug)]
pub(super) struct PhasesCosts {
    /// Copying a vector of the input.
    pub(super) copied: f64,
    /// Moving a vector of phases to its place.
    pub(super) output: f64,
    /// Gathering a weight.
    pub(super) weight: f64,
}

/// AVX-512 on AMD's CPUs with whole vectors (Zen 5). It has masked loads that cost no more than others. Weights stream from its L3 as
/// fast as from L2, and from memory at 40 GB/s: 24 layers of 64 channels of 8x8, whose transformed weights take 14 MB, need 9.7 us each,
/// as 6 of them do; 12 of 128 channels of 28x28, whose weights take 28 MB, need 334 us each, and 2 of them 277.
const AVX512_OF_AMD: CostModel = CostModel {
    tiles: TileCosts {
        packed: PackedCosts { product: 0.8, gathered_whole: 9.0, gathered_in_runs: 16.0, column: 0.21 },
        in_place: InPlaceCosts { product: 0.57, column_of_one_run: 0.45, column_of_one_masked_run: 0.7, column_of_two_runs: 1.1 },
        output: 0.4,
        staged_row: 40.0,
        gathering: 4,
    },
    filter_lanes: FilterLanesCosts {
        product: 1.07,
        product_in_blocks: 1.07,
        packed: [0.94, 0.87],
        far_page: 9.0,
        output: 30.0,
        output_to_blocks: 7.5,
        staged_row: 50.0,
        most_positions: 1024,
    },
    winograd: WinogradCosts {
        product: 1.2,
        kept_weight: [2.0, 2.5, 15.0],
        six: TransformCosts {
            tile: 330.0,
            tile_in_block: 400.0,
            transposed: 12.0,
            weights: 330.0,
            outputs: 420.0,
            outputs_to_block: 300.0,
        },
        eight: TransformCosts {
            tile: 350.0,
            tile_in_block: 900.0,
            transposed: 16.0,
            weights: 600.0,
            outputs: 950.0,
            outputs_to_block: 510.0,
        },
        scale: 1.0,
    },
    planes: PlanesCosts {
        most_filters: 4,
        product: 3.7,
        strided_product: 11.0,
        product_of_channels: 3.5,
        in_blocks: BlockCosts { product: 1.5, read: 1.5, output: 3.5 },
        transposed: 16.0,
        gathered: 10.0,
        copied_row: 2,
        small_strided: 2048,
        small: 128,
    },
    phases: PhasesCosts { copied: 10.0, output: 10.0, weight: 1.5 },
};

/// AVX-512 on other CPUs: a fit to 1213 times on an Intel Xeon (Emerald Rapids), of 126 layers of 1x1 to 11x11 kernels that keep all,
/// half or a quarter of their columns, by every method and in every layout. In planes, the choice took 6.1 % more time than the fastest
/// method by the factors of Zen 5, and takes 0.9 %. What weights from memory cost is a guess from what they cost from L3
/// before they were fetched ahead.
const AVX512: CostModel = CostModel {
    tiles: TileCosts {
        packed: PackedCosts { product: 0.77, gathered_whole: 10.0, gathered_in_runs: 16.6, column: 0.19 },
        in_place: InPlaceCosts {
            product: 0.67,
            column_of_one_run: 0.48,
            column_of_one_masked_run: 0.64,
            column_of_two_runs: 1.34,
        },
        output: 0.5,
        staged_row: 38.0,
        ..AVX512_OF_AMD.tiles
    },
    filter_lanes: FilterLanesCosts {
        product: 1.08,
        output: 33.0,
        output_to_blocks: 8.2,
        staged_row: 37.0,
        ..AVX512_OF_AMD.filter_lanes
    },
    winograd: WinogradCosts {
        product: 1.27,
        kept_weight: [2.6, 5.5, 39.0],
        six: TransformCosts {
            tile: 350.0,
            tile_in_block: 530.0,
            transposed: 13.0,
            weights: 370.0,
            outputs: 540.0,
            outputs_to_block: 400.0,
        },
        eight: TransformCosts {
            tile: 365.0,
            tile_in_block: 1030.0,
            transposed: 19.0,
            weights: 900.0,
            outputs: 1070.0,
            outputs_to_block: 590.0,
        },
        scale: 1.0,
    },
    ..AVX512_OF_AMD
};

/// AVX-512 on CPUs that compute a vector as two halves (Zen 4), beside which what is not arithmetic costs less. It is fitted to
/// 203 layers, on which the choice took 1.4 % more time than the fastest method, and takes 0.8 %.
const AVX512_IN_HALVES: CostModel = CostModel {
    winograd: WinogradCosts { kept_weight: [2.0, 8.5, 36.0], scale: 0.87, ..AVX512_OF_AMD.winograd },
    ..AVX512_OF_AMD
};

/// AVX2, where masking a vector takes an operation of its own. CPUs without AVX-512 read L2 at half the rate of those with it. So
/// does a Zen 4, and the first factor of what is read in place is fitted to 203 layers on one: the choice took 7.7 % more time than
/// the fastest method, and takes 1.8 %.
///
/// The factors of Winograd's method are fits to 20 layers of 3x3 and 20 of 5x5 kernels, in every layout, on an Intel Xeon (Sapphire
/// Rapids): they say between 0.93 and 1.11 of the measured times of the first, and 0.76 and 1.13 of the second. Those of gathered
/// columns and of products where lanes are filters are fits to 20 layers of every kind there.
const AVX2: CostModel = CostModel {
    tiles: TileCosts {
        packed: PackedCosts { product: 0.86, column: 0.23, ..AVX512_OF_AMD.tiles.packed },
        in_place: InPlaceCosts {
            column_of_one_run: 0.8,
            column_of_one_masked_run: 1.5,
            column_of_two_runs: 1.5,
            ..AVX512_OF_AMD.tiles.in_place
        },
        ..AVX512_OF_AMD.tiles
    },
    filter_lanes: FilterLanesCosts { product: 1.15, product_in_blocks: 1.03, ..AVX512_OF_AMD.filter_lanes },
    winograd: WinogradCosts {
        product: 1.15,
        kept_weight: [2.0, 3.3, 18.0],
        six: TransformCosts {
            tile: 75.0,
            tile_in_block: 270.0,
            transposed: 18.0,
            weights: 380.0,
            outputs: 570.0,
            outputs_to_block: 440.0,
        },
        eight: TransformCosts {
            tile: 900.0,
            tile_in_block: 560.0,
            transposed: 2.0,
            weights: 790.0,
            outputs: 840.0,
            outputs_to_block: 650.0,
        },
        scale: 1.0,
    },
    phases: PhasesCosts { copied: 5.0, output: 4.0, ..AVX512_OF_AMD.phases },
    ..AVX512_OF_AMD
};

/// NEON. It was not measured on any CPU: the factors are those of AVX2 where instructions are alike, and else follow from counts of
/// instructions and from what Arm's optimisation guides say of Neoverse N1 and V1 and of Cortex-A76 and A55. The first three start two
/// multiply-adds and two loads a cycle, as the CPUs do that AVX2 was measured on, so that most ratios are the same. The register tile is
/// as large as AVX-512's (24 of 32 registers are sums), so a column of it costs as much less. Masking a vector takes three operations beside
/// the load (broadcast, test, and), on the pipelines that multiply. A55 starts one multiply-add of four lanes a cycle and one load, of
/// half a vector: all is about twice as long there, ratios are not far off. `Model::tune` finds out on the machine at hand.
const NEON: CostModel = CostModel {
    tiles: TileCosts {
        packed: PackedCosts { product: 0.8, column: 0.21, ..AVX2.tiles.packed },
        in_place: InPlaceCosts {
            column_of_one_run: 0.45,
            column_of_one_masked_run: 1.9,
            column_of_two_runs: 1.9,
            ..AVX2.tiles.in_place
        },
        ..AVX2.tiles
    },
    ..AVX2
};

/// Plain Rust and WebAssembly are taken for AVX2: nothing was fitted to them.
const PORTABLE: CostModel = AVX2;

impl CostModel {
    /// The model of an instruction set.
    pub(super) fn of(isa: Isa) -> &'static Self {
        match isa.class() {
            Class::Avx512 => const { &AVX512 },
            Class::Avx512OfAmd => const { &AVX512_OF_AMD },
            Class::Avx512InHalves => const { &AVX512_IN_HALVES },
            Class::Avx2 => const { &AVX2 },
            Class::Neon => const { &NEON },
            Class::Portable => const { &PORTABLE },
        }
    }
}
