//! Values of a graph and what physically exists of them: blobs of the weight section, kept channels and their constants, kept lists.

use crate::codec::{choice, record};

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident)*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);
        impl $name {
            /// As an index into the table this id belongs to.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
        impl crate::codec::Field for $name {
            const MIN_SIZE: usize = 4;
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(r: &mut crate::codec::Reader) -> crate::Result<Self> {
                u32::read(r).map($name)
            }
        }
    )* };
}

ids! {
    /// Index into [`crate::Graph::values`].
    ValueId
    /// Index into [`crate::Graph::blobs`].
    BlobId
}

record! {
    /// `len` f32 elements at byte `offset` of the weight section; `offset` is a multiple of 64.
    pub struct Blob {
        /// Bytes from the start of the weight section.
        pub offset: u64,
        /// Count of f32 elements.
        pub len: u64,
    }

    /// One tensor. `compaction` is absent where every position physically exists.
    pub struct Value {
        /// Name, as in the source model where there was one.
        pub name: String,
        /// Which channels (axis 1) exist.
        pub compaction: Option<Compaction>,
    }

    /// Which of the `logical` channels on axis 1 are stored; each other one equals its constant at every position.
    pub struct Compaction {
        /// Extent of axis 1 in the original network.
        pub logical: u32,
        /// Channels that physically exist, strictly increasing, as logical indices.
        pub kept: Vec<u32>,
        /// One element for each channel that is not kept, in increasing channel order. Of a channel that nobody reads it is any.
        pub constants: Vec<f32>,
    }
}

choice! {
    /// Which of a known count of things exist.
    pub enum Kept: "kind of kept list" {
        /// All of them.
        0 => All,
        /// The listed ones, strictly increasing.
        1 => List(Vec<u32>),
    }
}

impl Kept {
    /// How many of `total` are kept.
    pub fn count(&self, total: usize) -> usize {
        match self {
            Kept::All => total,
            Kept::List(list) => list.len(),
        }
    }

    /// The kept ones of `total`, increasing.
    pub fn iter(&self, total: usize) -> impl Iterator<Item = usize> + '_ {
        let (all, list) = match self {
            Kept::All => (0..total, &[][..]),
            Kept::List(list) => (0..0, &list[..]),
        };
        all.chain(list.iter().map(|&i| i as usize))
    }

    /// Whether this one is kept.
    pub fn contains(&self, index: usize) -> bool {
        match self {
            Kept::All => true,
            Kept::List(list) => list.binary_search(&(index as u32)).is_ok(),
        }
    }

    /// `All` if nothing of `total` is missing, else the list.
    pub fn from_list(list: Vec<u32>, total: usize) -> Self {
        if list.len() == total { Kept::All } else { Kept::List(list) }
    }
}

impl Compaction {
    /// Whether logical channel `channel` physically exists.
    pub fn keeps(&self, channel: usize) -> bool {
        self.kept.binary_search(&(channel as u32)).is_ok()
    }

    /// Whether the kept channels are `run` neighbouring ones for each that `before` keeps: what flattening makes of a channel.
    pub fn keeps_runs_of(&self, before: &Compaction, run: usize) -> bool {
        let runs = before.kept.iter().flat_map(|&c| c as usize * run..(c as usize + 1) * run);
        self.kept.len() == before.kept.len() * run && runs.eq(self.kept.iter().map(|&c| c as usize))
    }

    /// The constant of every logical channel; `None` where the channel is kept.
    pub fn constant_of(&self) -> Vec<Option<f32>> {
        let mut kept = self.kept.iter().copied().peekable();
        let mut constants = self.constants.iter().copied();
        (0..self.logical).map(|c| if kept.next_if_eq(&c).is_some() { None } else { constants.next().or(Some(0.0)) }).collect()
    }
}
