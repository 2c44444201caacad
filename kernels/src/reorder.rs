//! How activations get from one layout into the other.

use crate::cpu::{Call, Kernel};
use crate::layout::{Extents, Layout};
use crate::simd::{MAX_LANES, Simd, Vectorized};
use crate::tile::each_column;
use crate::{Exec, Task, expect_len};
use get_size2::GetSize;

/// The same elements in the other layout.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct ReorderTask {
    /// Sizes.
    pub extents: Extents,
    /// The layout that they get.
    pub to: Layout,
}

impl Task for ReorderTask {
    fn kind(&self) -> &'static str {
        match self.to {
            Layout::Planes => "blocks to planes",
            Layout::Blocks => "planes to blocks",
        }
    }
}

impl Kernel for ReorderTask {
    fn compute(&self, call: Call<'_>) {
        reorder(call.reads.get(0), self.extents, self.to, call.out, call.exec);
    }
}

/// Devices compute on planes alone.
#[cfg(feature = "cuda")]
impl crate::cuda::Task for ReorderTask {
    fn prepare(&self, _: &mut crate::cuda::Preparing<'_>) -> crate::cuda::Result<Box<dyn crate::cuda::Kernel>> {
        Err(crate::cuda::Error::Failed("blocks of channels: expected planes on devices".to_owned()))
    }
}

/// Writes what `x` holds in the other layout. Lanes behind the last channel become 0.
///
/// # Panics
/// If a slice has another length than the extents call for.
pub fn reorder(x: &[f32], extents: Extents, to: Layout, out: &mut [f32], exec: Exec) {
    if extents.is_empty() {
        return;
    }
    let Extents { channels, plane, .. } = extents;
    let (isa, lanes) = (exec.isa, exec.isa.lanes());
    let from = match to {
        Layout::Planes => Layout::Blocks,
        Layout::Blocks => Layout::Planes,
    };
    expect_len("input", x, extents.len(from, isa));
    expect_len("output", out, extents.len(to, isa));
    let blocks = channels.div_ceil(lanes);
    match to {
        Layout::Blocks => exec.threading.for_each_chunk(out, lanes * plane, |i, out| {
            let (image, first) = (i / blocks, i % blocks * lanes);
            let planes = &x[(image * channels + first) * plane..][..lanes.min(channels - first) * plane];
            isa.dispatch(ToBlock { planes, plane, out });
        }),
        // Blocks are not equally long in planes: one image after the other, each as its blocks, of which the last may be shorter.
        Layout::Planes => {
            for (image, out) in out.chunks_exact_mut(channels * plane).enumerate() {
                let x = &x[image * blocks * lanes * plane..];
                exec.threading.for_each_chunk(out, lanes * plane, |block, planes| {
                    isa.dispatch(ToPlanes { block: &x[block * lanes * plane..][..lanes * plane], plane, planes });
                });
            }
        }
    }
}

/// Planes of at most as many channels as a vector has lanes, which become a block.
struct ToBlock<'a> {
    planes: &'a [f32],
    plane: usize,
    out: &'a mut [f32],
}

impl Vectorized for ToBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || {
                for (i, out) in self.out.chunks_mut(S::LANES * S::LANES).enumerate() {
                    let mut square = [simd.splat(0.0); MAX_LANES];
                    for (vector, plane) in square[..S::LANES].iter_mut().zip(self.planes.chunks_exact(self.plane)) {
                        *vector = simd.get_first(&plane[i * S::LANES..]);
                    }
                    simd.transpose(&mut square);
                    for (out, x) in out.chunks_exact_mut(S::LANES).zip(square) {
                        simd.put(out, x);
                    }
                }
            },
        );
    }
}

/// A block, which becomes planes of those of its channels that exist.
struct ToPlanes<'a> {
    block: &'a [f32],
    plane: usize,
    planes: &'a mut [f32],
}

impl Vectorized for ToPlanes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || {
                for (i, block) in self.block.chunks(S::LANES * S::LANES).enumerate() {
                    each_column(
                        simd,
                        block,
                        S::LANES,
                        #[inline(always)]
                        |lane, x| {
                            let place = lane * self.plane + i * S::LANES..(lane + 1) * self.plane;
                            if let Some(out) = self.planes.get_mut(place) {
                                simd.put_first(out, x);
                            }
                        },
                    );
                }
            },
        );
    }
}
