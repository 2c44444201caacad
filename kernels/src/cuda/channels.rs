//! Moving whole channels on a device: as [`crate::channels`] on the CPU.

use super::device::{Result, Stream};
use super::launch::{Arguments, Floats, Output, Source, arguments, count_pieces, int, launch_each};
use super::task::{Call, Kernel, Preparing, Task};
use crate::channels::{ConcatTask, JoinTask, SelectTask, Source as Channel};
use crate::remap::{From, RemapTask};

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[INSERT];

/// Channels are an axis that is rebuilt.
impl Task for SelectTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        let from = |source: &Channel| match *source {
            Channel::Channel(channel) => From::Position(channel),
            Channel::Constant(value) => From::Constant(value),
        };
        let sources = self.sources.iter().map(from).collect();
        RemapTask { extent: self.channels, inner: self.plane, sources, in_planes: None }.prepare(preparing)
    }
}

arguments! {
    /// One part of a concatenation.
    InsertArguments { x: Floats, out: Output, count: i32, len: i32, total: i32, offset: i32 }
}

const INSERT: Source = Source {
    declaration: InsertArguments::DECLARATION,
    kernels: &["insert"],
    text: r#"
// A part of a concatenation, [outer][len], to its place in [outer][total].
KERNEL(insert, InsertArguments) {
    EACH(i, a.count)
    a.out[i / a.len * a.total + a.offset + i % a.len] = a.x[i];
}
"#,
};

impl Task for JoinTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        self.in_planes().prepare(preparing)
    }
}

impl Kernel for ConcatTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let (parts, total) = self.parts();
        let outer = count_pieces("output", out, total);
        for (index, len, offset) in parts {
            let part = reads[index];
            part.expect_len("part", outer * len);
            let [count, len, total, offset] = [part.len(), len, total, offset].map(int);
            let arguments = InsertArguments { x: part.address(), out: out.address(), count, len, total, offset };
            // SAFETY: there are `outer` of both, and the part ends within the whole.
            unsafe { launch_each(stream, "insert", part.len(), &arguments) }?;
        }
        Ok(())
    }
}
