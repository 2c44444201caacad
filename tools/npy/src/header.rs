//! The header of a `.npy` file: a dictionary, written as Python would, that says of which type the elements are and how many.

use anyhow::{Context, Result, bail, ensure};
use sslm_format::ElementType;
use std::io::Read;

/// How every `.npy` file begins.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// The elements begin at a multiple of this.
const ALIGNMENT: usize = 64;

/// What NumPy calls each type, without the order of its bytes.
const CODES: [(&str, ElementType); 12] = [
    ("f4", ElementType::F32),
    ("f2", ElementType::F16),
    ("f8", ElementType::F64),
    ("u1", ElementType::U8),
    ("i1", ElementType::I8),
    ("u2", ElementType::U16),
    ("i2", ElementType::I16),
    ("u4", ElementType::U32),
    ("i4", ElementType::I32),
    ("u8", ElementType::U64),
    ("i8", ElementType::I64),
    ("b1", ElementType::Bool),
];

/// What NumPy calls little-endian elements of a type.
pub(crate) fn descr(of: ElementType) -> String {
    let code = CODES.iter().find(|(_, known)| *known == of).map_or("V", |(code, _)| code);
    let order = if of.size() == 1 { '|' } else { '<' };
    format!("{order}{code}")
}

/// The bytes before the elements of a row-major array. `descr` is what NumPy calls their type: `<f4` are little-endian float32.
///
/// # Panics
/// If the shape has thousands of axes.
pub fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one element has a comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma})}}", extents.join(", "));
    let before = MAGIC.len() + 4;
    let padding = ALIGNMENT - (before + dictionary.len() + 1) % ALIGNMENT;
    let len = u16::try_from(dictionary.len() + padding + 1).expect("a header of version 1.0");
    [MAGIC, &[1, 0], &len.to_le_bytes(), dictionary.as_bytes(), &vec![b' '; padding], b"\n"].concat()
}

/// What a header says of the elements.
pub(crate) struct Header {
    pub(crate) shape: Vec<usize>,
    pub(crate) element_type: ElementType,
    pub(crate) big_endian: bool,
    pub(crate) column_major: bool,
    /// How many bytes the header took.
    pub(crate) bytes: u64,
}

impl Header {
    pub(crate) fn read(from: &mut impl Read) -> Result<Header> {
        let mut start = [0; 8];
        from.read_exact(&mut start).context("the header ends early")?;
        ensure!(start.starts_with(MAGIC), "found something else");
        let mut len = [0; 4];
        let len_bytes = match start[MAGIC.len()..] {
            [1, 0] => 2,
            [2 | 3, 0] => 4,
            _ => bail!("found version {}.{} of the format: expected 1.0, 2.0 or 3.0", start[6], start[7]),
        };
        from.read_exact(&mut len[..len_bytes]).context("the header ends early")?;
        let len = u64::from(u32::from_le_bytes(len));
        let mut text = Vec::new();
        from.take(len).read_to_end(&mut text)?;
        ensure!(text.len() as u64 == len, "the header ends early");
        ensure!(text.pop() == Some(b'\n'), "the header does not end with a new line");
        let text = str::from_utf8(&text).context("the header is not text")?;
        Header::of(&mut Scanner { rest: text }, (8 + len_bytes) as u64 + len)
    }

    /// What the dictionary says.
    fn of(text: &mut Scanner, bytes: u64) -> Result<Header> {
        let (mut descr, mut column_major, mut shape) = (None, None, None);
        text.expect("{")?;
        while !text.skip("}") {
            let key = text.quoted().context("the header: expected a key")?;
            text.expect(":")?;
            match key {
                "descr" => descr = Some(text.quoted().context("the header: descr")?),
                "fortran_order" => column_major = Some(text.boolean().context("the header: fortran_order")?),
                "shape" => shape = Some(text.tuple().context("the header: shape")?),
                _ => bail!("the header has an unknown key '{}'", key.escape_debug()),
            }
            if !text.skip(",") {
                text.expect("}")?;
                break;
            }
        }
        ensure!(text.ended(), "the header goes on after its dictionary");
        let descr = descr.context("the header has no descr")?;
        let known = descr.split_at_checked(1).and_then(|(order, code)| {
            let (_, element_type) = CODES.iter().find(|(known, _)| *known == code)?;
            ["<", ">", "|"].contains(&order).then_some((order == ">", *element_type))
        });
        let (big_endian, element_type) = known.with_context(|| format!("found elements of type '{}'", descr.escape_debug()))?;
        Ok(Header {
            shape: shape.context("the header has no shape")?,
            element_type,
            big_endian,
            column_major: column_major.context("the header has no fortran_order")?,
            bytes,
        })
    }
}

/// What is left of the dictionary.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// Whether `token` comes next; then it is passed.
    fn skip(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\x0c']);
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        let is_next = self.skip(token);
        let found: String = self.rest.chars().take(20).collect();
        ensure!(is_next, "the header: expected '{token}', found '{}'", found.escape_debug());
        Ok(())
    }

    fn ended(&mut self) -> bool {
        self.skip("");
        self.rest.is_empty()
    }

    fn quoted(&mut self) -> Result<&'a str> {
        let quote = if self.skip("\"") { '"' } else { '\'' };
        if quote == '\'' {
            self.expect("'")?;
        }
        let (text, rest) = self.rest.split_once(quote).context("expected a closing quote")?;
        self.rest = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool> {
        if self.skip("True") {
            return Ok(true);
        }
        self.expect("False")?;
        Ok(false)
    }

    fn tuple(&mut self) -> Result<Vec<usize>> {
        let mut elements = Vec::new();
        self.expect("(")?;
        while !self.skip(")") {
            self.skip("");
            let len = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at(len);
            elements.push(digits.parse().with_context(|| format!("expected an extent, found '{digits}'"))?);
            self.rest = rest;
            if !self.skip(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(elements)
    }
}
