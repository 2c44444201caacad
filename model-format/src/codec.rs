//! Records to bytes and back. One definition of a record (by [`record!`], [`choice!`], or in the list of operators) yields its Rust
//! type and both directions, so reader and writer cannot drift apart. Everything is little-endian; see `docs/sslm-format.md`,
//! section 3.

use crate::error::{Error, Result};

/// Strings are names and labels: none is longer than this many bytes.
const MAX_STRING: usize = 1 << 16;

/// Expressions are inside each other at most so often, so that reading them takes little stack.
const MAX_DEPTH: usize = 32;

/// A cursor over untrusted bytes that knows how to say where it is.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    section: &'static str,
    at: usize,
    /// Where the integer or text begins that was read last, or could not be.
    field: usize,
    /// How many records that contain their own kind are open.
    depth: usize,
    /// Whether extents may be expressions of symbols.
    symbols: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(section: &'static str, bytes: &'a [u8]) -> Self {
        Reader { bytes, section, at: 0, field: 0, depth: 0, symbols: true }
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Where the reader stands, for error messages.
    pub(crate) fn place(&self) -> String {
        format!("section {} at byte {}", self.section, self.at)
    }

    /// Where in the section the integer or text begins that was read last, or could not be.
    pub(crate) fn field_start(&self) -> usize {
        self.field
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        self.field = self.at;
        if n > self.remaining() {
            return Err(Error::invalid(self.place(), format!("{n} more bytes"), format!("{} bytes", self.remaining())));
        }
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    /// What `read` reads, where extents may be expressions of symbols or, as before version 0.4, are integers.
    pub(crate) fn with_symbols<T>(&mut self, symbols: bool, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.symbols = symbols;
        read(self)
    }

    /// Whether extents may be expressions of symbols.
    pub(crate) fn has_symbols(&self) -> bool {
        self.symbols
    }

    /// A record that contains its own kind begins.
    pub(crate) fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return Ok(());
        }
        Err(Error::invalid(self.place(), format!("at most {MAX_DEPTH} expressions inside each other"), "more"))
    }

    /// It ends.
    pub(crate) fn shallower(&mut self) {
        self.depth -= 1;
    }

    /// Every byte of a section belongs to a record.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.field = self.at;
        if self.remaining() == 0 {
            return Ok(());
        }
        Err(Error::invalid(self.place(), "end of section", format!("{} trailing bytes", self.remaining())))
    }
}

/// A type with a fixed place in the encoding.
pub(crate) trait Field: Sized {
    /// No encoding of this type is shorter: bounds how many can follow a count.
    const MIN_SIZE: usize;
    fn write(&self, out: &mut Vec<u8>);
    fn read(r: &mut Reader) -> Result<Self>;
}

macro_rules! number_fields {
    ($($t:ty)*) => { $(
        impl Field for $t {
            const MIN_SIZE: usize = size_of::<$t>();
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn read(r: &mut Reader) -> Result<Self> {
                let mut bytes = [0; size_of::<$t>()];
                bytes.copy_from_slice(r.take(size_of::<$t>())?);
                Ok(<$t>::from_le_bytes(bytes))
            }
        }
    )* };
}
number_fields!(u8 u32 u64 i64 f32);

impl Field for bool {
    const MIN_SIZE: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(r: &mut Reader) -> Result<Self> {
        let place = r.place();
        match u8::read(r)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Error::invalid(place, "0 or 1", other)),
        }
    }
}

impl Field for String {
    const MIN_SIZE: usize = 4;
    fn write(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).write(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn read(r: &mut Reader) -> Result<Self> {
        let place = r.place();
        let len = u32::read(r)? as usize;
        if len > MAX_STRING {
            return Err(Error::invalid(place, format!("a string of at most {MAX_STRING} bytes"), len));
        }
        match std::str::from_utf8(r.take(len)?) {
            Ok(s) => Ok(s.to_owned()),
            Err(e) => Err(Error::invalid(place, "UTF-8", e)),
        }
    }
}

impl<T: Field> Field for Vec<T> {
    const MIN_SIZE: usize = 4;
    fn write(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).write(out);
        self.iter().for_each(|x| x.write(out));
    }
    fn read(r: &mut Reader) -> Result<Self> {
        let place = r.place();
        let count = u32::read(r)? as usize;
        let room = r.remaining() / T::MIN_SIZE;
        if count > room {
            return Err(Error::invalid(place, format!("a count of at most {room} (the bytes that remain)"), count));
        }
        (0..count).map(|_| T::read(r)).collect()
    }
}

impl<T: Field, const N: usize> Field for [T; N] {
    const MIN_SIZE: usize = T::MIN_SIZE * N;
    fn write(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|x| x.write(out));
    }
    fn read(r: &mut Reader) -> Result<Self> {
        let items: Vec<T> = (0..N).map(|_| T::read(r)).collect::<Result<_>>()?;
        let place = r.place();
        items.try_into().map_err(|_| Error::invalid(place, N, "another count"))
    }
}

impl<T: Field> Field for Option<T> {
    const MIN_SIZE: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(x) = self {
            x.write(out);
        }
    }
    fn read(r: &mut Reader) -> Result<Self> {
        Ok(if bool::read(r)? { Some(T::read(r)?) } else { None })
    }
}

/// Declares structs whose encoding is their fields, in order. A struct with weights is generic in what those are; only the form in
/// which a file has them is encoded.
macro_rules! record {
    ($($(#[$meta:meta])* pub struct $name:ident $(<$w:ident>)? { $($(#[$fmeta:meta])* pub $field:ident: $t:ty,)* })*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name $(<$w: $crate::Weights = $crate::Stored>)? { $($(#[$fmeta])* pub $field: $t,)* }
        impl $(<$w: $crate::InFile>)? $crate::codec::Field for $name $(<$w>)? {
            const MIN_SIZE: usize = 0 $(+ <$t as $crate::codec::Field>::MIN_SIZE)*;
            #[allow(unused_variables, reason = "some records have no fields")]
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::codec::Field::write(&self.$field, out);)*
            }
            #[allow(unused_variables, reason = "some records have no fields")]
            fn read(r: &mut $crate::codec::Reader) -> $crate::Result<Self> {
                Ok($name { $($field: $crate::codec::Field::read(r)?,)* })
            }
        }
    )* };
}

/// Declares an enum as a one-byte code followed by the chosen variant's fields.
macro_rules! choice {
    ($(#[$meta:meta])* pub enum $name:ident: $what:literal {
        $($(#[$vmeta:meta])* $code:literal => $variant:ident $({ $($(#[$fmeta:meta])* $field:ident: $t:ty,)* })? $(($inner:ty))?,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name { $($(#[$vmeta])* $variant $({ $($(#[$fmeta])* $field: $t,)* })? $(($inner))?,)* }
        impl $crate::codec::Field for $name {
            const MIN_SIZE: usize = 1;
            fn write(&self, out: &mut Vec<u8>) {
                match self { $(
                    choice!(@pattern $variant $({ $($field)* })? $(($inner) inner)?) => {
                        out.push($code);
                        $($($crate::codec::Field::write($field, out);)*)?
                        $(<$inner as $crate::codec::Field>::write(inner, out);)?
                    }
                )* }
            }
            fn read(r: &mut $crate::codec::Reader) -> $crate::Result<Self> {
                let place = r.place();
                Ok(match <u8 as $crate::codec::Field>::read(r)? {
                    $($code => $name::$variant
                        $({ $($field: $crate::codec::Field::read(r)?,)* })?
                        $((<$inner as $crate::codec::Field>::read(r)?))?,)*
                    other => return Err($crate::Error::new(
                        $crate::ErrorKind::Version, place, concat!("a known ", $what), format!("code {other}"))),
                })
            }
        }
    };
    (@pattern $variant:ident) => { Self::$variant };
    (@pattern $variant:ident { $($field:ident)* }) => { Self::$variant { $($field),* } };
    (@pattern $variant:ident ($inner:ty) $name:ident) => { Self::$variant($name) };
}

pub(crate) use {choice, record};
