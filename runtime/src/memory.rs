//! Memory that a session computes in: activations and scratch.

use std::io;

/// Zeroed elements at the beginning of a page. They come from the operating system as they are touched, in huge pages where it has
/// them: kernels walk dozens of planes at a time, more pages than the processor remembers the places of.
pub(crate) struct Memory(memmap2::MmapMut);

impl Memory {
    /// Bytes that are asked for, for so many elements.
    pub(crate) fn bytes_of(len: usize) -> usize {
        len.max(1).saturating_mul(size_of::<f32>())
    }

    /// # Errors
    /// If there is no room for `len` elements.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let bytes = Self::bytes_of(len);
        let map = memmap2::MmapMut::map_anon(bytes)?;
        // Advice: without huge pages everything works as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Memory(map))
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }
}
