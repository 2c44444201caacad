//! Memory that a session computes in: activations and scratch.

use std::io;

/// Zeroed elements at the beginning of a page. They come from the operating system as they are touched, in huge pages where it has
/// them: kernels walk dozens of planes at a time, more pages than the processor remembers the places of. Without an operating system, as
/// in a browser, they are the allocator's.
pub(crate) struct Memory(Pages);

#[cfg(any(unix, windows))]
type Pages = memmap2::MmapMut;
#[cfg(not(any(unix, windows)))]
type Pages = allocated::Pages;

impl Memory {
    /// Bytes that are asked for, for so many elements.
    pub(crate) fn bytes_of(len: usize) -> usize {
        len.max(1).saturating_mul(size_of::<f32>())
    }

    /// # Errors
    /// If there is no room for `len` elements.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let map = Pages::map_anon(Self::bytes_of(len))?;
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

#[cfg(not(any(unix, windows)))]
mod allocated {
    use crate::map::Line;
    use std::io;
    use std::ops::{Deref, DerefMut};

    /// What takes the place of anonymous maps.
    pub(super) struct Pages {
        lines: Vec<Line>,
        bytes: usize,
    }

    impl Pages {
        pub(super) fn map_anon(bytes: usize) -> io::Result<Self> {
            let (mut lines, count) = (Vec::new(), bytes.div_ceil(size_of::<Line>()));
            lines.try_reserve_exact(count).map_err(|e| io::Error::new(io::ErrorKind::OutOfMemory, e))?;
            lines.resize(count, Line::ZERO);
            Ok(Pages { lines, bytes })
        }
    }

    impl Deref for Pages {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.lines)[..self.bytes]
        }
    }

    impl DerefMut for Pages {
        fn deref_mut(&mut self) -> &mut [u8] {
            &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.bytes]
        }
    }
}
