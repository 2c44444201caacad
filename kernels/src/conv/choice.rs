//! Which method computes a group: the one that is expected to cost least. Costs are counted in multiply-adds of vectors. Their factors
//! are fits to the times of 726 layers on one thread, with AVX-512 and with AVX2 (Zen 5): 2x2 to 56x56 positions, 3 to 1024 channels,
//! 4 to 256 filters, of which all columns or down to a seventh are kept.
//!
//! Two corrections are fits to 203 layers on a Zen 4, of which 1.4 % more time than by the fastest method became 0.8 % with AVX-512, and
//! 7.7 % became 1.8 % with AVX2.
//!
//! Those of 5x5 layers by Winograd are fits to 15 layers on a Zen 4 with AVX-512: 7x7 to 32x32 positions, 3 to 48 channels, 15 to 128
//! filters.
//!
//! No cost falls when filters or columns are added, so a compact layer is never expected to be slower than a dense one.

use super::filter_lanes::FilterLanes;
use super::geometry::{Geometry, KeptGroup};
use super::lowering::{InPlace, Lowering};
use super::stage::Stage;
use super::winograd::Winograd;
use super::{Form, GroupKernel, Method, channel_lanes, depthwise};
use crate::simd::{Isa, MAX_LANES};

/// The wanted method if it applies, else the one that is expected to be fastest.
pub(super) fn choose(
    geometry: &Geometry,
    group: &KeptGroup,
    stage: &Stage,
    lowering: &Lowering,
    isa: Isa,
    threads: usize,
    wanted: Option<Method>,
) -> Form {
    let KeptGroup { filters, columns } = group;
    let winograd = || Winograd::new(geometry, *filters, columns, isa, threads);
    let filter_lanes = || FilterLanes::new(geometry, *filters, columns, isa, threads);
    match wanted {
        Some(Method::Winograd) => winograd().map_or(Form::Packed, |w| Form::Own(Box::new(w))),
        Some(Method::FilterLanes) => Form::Own(Box::new(filter_lanes())),
        Some(Method::ChannelLanes) if channel_lanes::applies(geometry, group) => Form::ChannelLanes,
        Some(Method::Depthwise) if depthwise::applies(geometry, group) => Form::Depthwise,
        Some(Method::InPlace) if !matches!(lowering.in_place, InPlace::No) => Form::InPlace,
        Some(_) => Form::Packed,
        None if channel_lanes::applies(geometry, group) && channel_lanes::pays(geometry) => Form::ChannelLanes,
        None if *filters <= depthwise::FILTERS && depthwise::applies(geometry, group) => Form::Depthwise,
        None => {
            let tiled = |factors: Factors| factors.cost(group, stage, lowering, isa);
            let own = |cost: f64, kernel: Box<dyn GroupKernel>| (cost, Form::Own(kernel));
            let in_place = Factors::in_place(lowering, isa).map(|factors| (tiled(factors), Form::InPlace));
            let lanes = (geometry.output_len() <= MOST_POSITIONS).then(filter_lanes).map(|l| own(l.cost(), Box::new(l)));
            let relative = if isa.in_halves() { WINOGRAD_IN_HALVES } else { 1.0 };
            let winograd = winograd().map(|w| own(relative * w.cost(), Box::new(w)));
            let others = in_place.into_iter().chain(lanes).chain(winograd);
            others
                .fold(
                    (tiled(Factors::packed(lowering, isa)), Form::Packed),
                    |best, other| if other.0 < best.0 { other } else { best },
                )
                .1
        }
    }
}

/// Positions up to which lanes are filters: vectors of more positions are full.
const MOST_POSITIONS: usize = 1024;

/// What Winograd's method costs where the CPU computes vectors in halves, of what it costs elsewhere: much of it is not arithmetic.
const WINOGRAD_IN_HALVES: f64 = 0.87;

/// What the register tile of `tile.rs` costs besides its products.
struct Factors {
    /// A product of a filter's weight and a vector.
    product: f64,
    /// A vector that is gathered.
    gather: f64,
    /// A column of a register tile.
    column: f64,
}

/// Products of a register tile.
fn tile_len(isa: Isa) -> f64 {
    isa.tile().iter().product::<usize>() as f64
}

/// A number of the output.
const OUTPUT: f64 = 0.4;
/// A row of the planes that an image is split into.
const STAGED_ROW: f64 = 40.0;

impl Factors {
    fn packed(lowering: &Lowering, isa: Isa) -> Self {
        let whole_vectors = matches!(lowering.in_place, InPlace::One(_));
        Factors { product: 0.8, gather: if whole_vectors { 9.0 } else { 16.0 }, column: 0.21 * tile_len(isa) }
    }

    /// Unless positions lie in more runs than can be read in place.
    fn in_place(lowering: &Lowering, isa: Isa) -> Option<Self> {
        // Only AVX-512 has masked loads that cost no more than others.
        let has_masks = isa.lanes() == MAX_LANES;
        let of_product = match lowering.in_place {
            InPlace::One(_) if !lowering.masked() && has_masks => 0.45,
            // CPUs without AVX-512 read the second-level cache as a Zen 4 does, at half the rate of those with it.
            InPlace::One(_) if !lowering.masked() => 0.8,
            InPlace::One(_) if has_masks => 0.7,
            InPlace::Two(_) if has_masks => 1.1,
            InPlace::One(_) | InPlace::Two(_) => 1.5,
            InPlace::No => return None,
        };
        Some(Factors { product: 0.57, gather: 0.0, column: of_product * tile_len(isa) })
    }

    fn cost(&self, group: &KeptGroup, stage: &Stage, lowering: &Lowering, isa: Isa) -> f64 {
        let (vectors, positions) = lowering.tiles.last().map_or((0, 0), |t| (t.vectors.end, t.positions.end));
        let tiles = group.filters.div_ceil(isa.tile()[0]) * lowering.tiles.len();
        let of_column = vectors as f64 * (group.filters as f64 * self.product + self.gather) + tiles as f64 * self.column;
        group.columns.len() as f64 * of_column + (positions * group.filters) as f64 * OUTPUT + stage.rows() as f64 * STAGED_ROW
    }
}
