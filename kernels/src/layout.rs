//! How activations lie in memory, and what tasks say of it.

use crate::Isa;
use get_size2::GetSize;

/// How the channels of an activation lie in memory.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One after the other (NCHW): `[images][channels][plane]`.
    Planes,
    /// In blocks of as many channels as a vector has lanes (NCHW8c, NCHW16c): `[images][blocks][plane][lanes]`. Lanes behind the last
    /// channel may hold anything.
    Blocks,
}

impl Layout {
    /// Channels whose elements lie side by side.
    pub fn lanes(self, isa: Isa) -> usize {
        match self {
            Layout::Planes => 1,
            Layout::Blocks => isa.lanes(),
        }
    }
}

/// Those of what a step reads and of what it writes.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layouts {
    /// Of the input.
    pub reads: Layout,
    /// Of the output, and of what it is added to.
    pub writes: Layout,
}

impl Layouts {
    /// Planes throughout.
    pub const PLANES: Layouts = Layouts { reads: Layout::Planes, writes: Layout::Planes };
    /// Blocks throughout.
    pub const BLOCKS: Layouts = Layouts { reads: Layout::Blocks, writes: Layout::Blocks };
    /// Every combination.
    pub const ALL: [Layouts; 4] = [
        Layouts::PLANES,
        Layouts { reads: Layout::Planes, writes: Layout::Blocks },
        Layouts::BLOCKS,
        Layouts { reads: Layout::Blocks, writes: Layout::Planes },
    ];

    /// Of the input of this index: all but the first lie as the output does.
    pub fn of_read(self, index: usize) -> Layout {
        if index == 0 { self.reads } else { self.writes }
    }

    /// For reports: behind a method's name.
    pub(crate) fn describe(self) -> &'static str {
        match (self.reads, self.writes) {
            (Layout::Planes, Layout::Planes) => "",
            (Layout::Planes, Layout::Blocks) => " to blocks",
            (Layout::Blocks, Layout::Blocks) => " in blocks",
            (Layout::Blocks, Layout::Planes) => " from blocks",
        }
    }
}

/// Sizes of an activation.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Images of the batch.
    pub images: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Elements of a channel.
    pub plane: usize,
}

impl Extents {
    /// Elements that it takes up in a layout.
    pub fn len(&self, layout: Layout, isa: Isa) -> usize {
        self.images * self.channels.next_multiple_of(layout.lanes(isa)) * self.plane
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images * self.channels * self.plane == 0
    }

    /// What converting it from one layout into the other is expected to cost, in multiply-adds of vectors.
    pub fn conversion_cost(&self, isa: Isa) -> f64 {
        20.0 * (self.len(Layout::Blocks, isa) / isa.lanes()) as f64
    }
}

/// The layouts in which a task can be computed.
#[derive(Clone, Debug)]
pub enum Forms {
    /// It reads and writes planes.
    Planes,
    /// Each element of the output depends on the elements at its own place: all may lie in any layout, if it is the same one.
    Alike,
    /// It knows its inputs, and its output, by their channels. All inputs but the first lie as its output does.
    Some {
        /// Sizes of each input.
        reads: Vec<Extents>,
        /// Sizes of the output.
        writes: Extents,
        /// What it is expected to cost in each of the layouts, in multiply-adds of vectors.
        costs: Vec<(Layouts, f64)>,
    },
}

impl Forms {
    /// Those of an axis that is rebuilt, if it lies inside of channels' planes, whose sizes are `in_planes` of input and output. In blocks,
    /// what lies side by side are elements of channels, and each vector of the output costs `operations`. In planes it costs `single` times
    /// as much where the axis is the last one, so that elements are taken one by one.
    pub(crate) fn of_axis(in_planes: Option<[Extents; 2]>, inner: usize, operations: usize, single: f64, isa: Isa) -> Forms {
        let Some([reads, writes]) = in_planes else { return Forms::Planes };
        let blocks = (writes.len(Layout::Blocks, isa) / isa.lanes() * operations) as f64;
        let planes = if inner == 1 { single * blocks } else { blocks };
        Forms::Some { reads: vec![reads], writes, costs: vec![(Layouts::PLANES, planes), (Layouts::BLOCKS, blocks)] }
    }
}
