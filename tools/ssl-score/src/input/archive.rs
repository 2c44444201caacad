//! Members of a tar file, one after the other, from its beginning to its end marker. Names and headers have a bound, so no archive takes
//! more memory than that and one member; and nothing is left out without an error, be it cut off anywhere or go on behind its end.

use anyhow::{Context, Result, bail, ensure};
use std::io::{self, Read};

/// Everything in a tar file fills blocks of so many bytes.
const BLOCK: usize = 512;
/// A name has at most so many bytes.
const MAX_NAME: u64 = 1 << 16;
/// What PAX says of a member has at most so many bytes.
const MAX_HEADER: u64 = 1 << 20;

/// A tar file on its way.
pub(crate) struct Archive<R> {
    reader: R,
    /// Bytes up to the next header.
    left: u64,
    is_over: bool,
}

/// A member of a tar file.
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Bytes of its content.
    pub(crate) size: u64,
}

/// What a member is.
pub(crate) enum Kind {
    File,
    Folder,
    /// What has no content of its own that could be read, and what it is.
    Other(&'static str),
}

/// What stands before a member and is of it.
#[derive(Default)]
struct Said {
    /// By GNU tar, and by PAX, which counts more.
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

/// What PAX says of a member, as far as it matters here.
#[derive(Default)]
struct Pax {
    name: Option<Vec<u8>>,
    /// The name of what is stored with holes.
    sparse_name: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(reader: R) -> Self {
        Archive { reader, left: 0, is_over: false }
    }

    /// The next member; `None` from the end on.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        let mut said = Said::default();
        while !self.is_over {
            self.pass_over()?;
            let block =
                self.block()?.context("expected an end marker (blocks of zeros), found the end of the file: it was cut off")?;
            if is_zero(&block) {
                ensure!(said.is_nothing(), "expected a member behind what is said of it, found the end marker");
                self.expect_end()?;
                self.is_over = true;
                break;
            }
            let (kind, size) = (block[156], header_size(&block)?);
            self.go_on_after(size)?;
            match kind {
                b'L' => once(&mut said.long_name, self.name(size)?, "long name")?,
                b'K' => once(&mut said.long_link, self.name(size)?, "long name of a link")?,
                b'x' | b'X' => once(&mut said.pax, Pax::of(&self.header(size)?)?, "PAX header")?,
                b'g' => {
                    let Pax { name, sparse_name, size, .. } = Pax::of(&self.header(size)?)?;
                    let is_of_one = name.is_some() || sparse_name.is_some() || size.is_some();
                    ensure!(!is_of_one, "expected a PAX header for all members without 'path' and 'size', found one with it");
                }
                _ => return self.member(&block, size, said).map(Some),
            }
        }
        Ok(None)
    }

    /// What the member holds that was just yielded.
    pub(crate) fn content(&mut self, member: &Member) -> Result<Vec<u8>> {
        self.bytes(member.size).with_context(|| format!("member {}", String::from_utf8_lossy(&member.name)))
    }

    /// The member that this header and what was said before it tell of.
    fn member(&mut self, block: &[u8; BLOCK], size: u64, said: Said) -> Result<Member> {
        let pax = said.pax.unwrap_or_default();
        let size = pax.size.unwrap_or(size);
        self.go_on_after(size)?;
        let kind = match block[156] {
            b'0' | b'\0' | b'7' if !pax.is_sparse => Kind::File,
            b'5' => Kind::Folder,
            b'S' => {
                // Where its holes are may fill further blocks.
                let mut goes_on = block[482] != 0;
                while goes_on {
                    goes_on =
                        self.block()?.context("expected where a sparse file has holes, found the end of the file")?[504] != 0;
                }
                Kind::Other("a sparse file")
            }
            b'0' | b'\0' | b'7' => Kind::Other("a sparse file"),
            b'1' => Kind::Other("a hard link"),
            b'2' => Kind::Other("a symbolic link"),
            b'3' | b'4' => Kind::Other("a device"),
            b'6' => Kind::Other("a pipe"),
            _ => Kind::Other("a member of another kind"),
        };
        let name = pax.sparse_name.or(pax.name).or(said.long_name).unwrap_or_else(|| header_name(block));
        Ok(Member { name, kind, size })
    }

    /// Notes that content of so many bytes follows.
    fn go_on_after(&mut self, size: u64) -> Result<()> {
        self.left =
            size.checked_next_multiple_of(BLOCK as u64).with_context(|| format!("expected a size, found {size} bytes"))?;
        Ok(())
    }

    fn name(&mut self, size: u64) -> Result<Vec<u8>> {
        ensure!(size <= MAX_NAME, "expected a name of at most {MAX_NAME} bytes, found {size}");
        Ok(until_zero(&self.bytes(size)?))
    }

    fn header(&mut self, size: u64) -> Result<Vec<u8>> {
        ensure!(size <= MAX_HEADER, "expected a PAX header of at most {MAX_HEADER} bytes, found {size}");
        self.bytes(size)
    }

    /// The next `size` bytes of what follows a header.
    fn bytes(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(usize::try_from(size)?)
            .with_context(|| format!("expected memory for {size} bytes, found less"))?;
        let found = self.reader.by_ref().take(size).read_to_end(&mut bytes)? as u64;
        ensure!(found == size, "expected {size} bytes, found {found}: it was cut off");
        self.left -= size;
        Ok(bytes)
    }

    /// Passes over what is left of a member.
    fn pass_over(&mut self) -> Result<()> {
        let left = std::mem::take(&mut self.left);
        let found = io::copy(&mut self.reader.by_ref().take(left), &mut io::sink())?;
        ensure!(found == left, "expected {left} more bytes of a member, found {found}: it was cut off");
        Ok(())
    }

    /// The next block; `None` if there is nothing more.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = Vec::with_capacity(BLOCK);
        self.reader.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        match <[u8; BLOCK]>::try_from(block) {
            Ok(block) => Ok(Some(block)),
            Err(none) if none.is_empty() => Ok(None),
            Err(part) => bail!("expected a header of {BLOCK} bytes, found {}: it was cut off", part.len()),
        }
    }

    /// That there is nothing behind a block of zeros but at least one more: they fill what a tape writes at once.
    fn expect_end(&mut self) -> Result<()> {
        let second = self.block()?.context("expected an end marker of two blocks of zeros, found one: it was cut off")?;
        let mut is_end = is_zero(&second);
        let mut buffer = [0; 1 << 14];
        while is_end {
            match self.reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(len) => is_end = is_zero(&buffer[..len]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        bail!("expected nothing behind the end marker, found more (several archives are several inputs)")
    }
}

impl Said {
    fn is_nothing(&self) -> bool {
        self.long_name.is_none() && self.long_link.is_none() && self.pax.is_none()
    }
}

impl Pax {
    /// Of records such as `18 path=a/b.png\n`, each of which begins with its own length.
    fn of(mut records: &[u8]) -> Result<Self> {
        let mut pax = Pax::default();
        while !records.is_empty() {
            let (key, value, rest) =
                record(records).context("expected a PAX header of records with their lengths, found another")?;
            match key {
                b"path" => pax.name = Some(value.to_vec()),
                b"GNU.sparse.name" => pax.sparse_name = Some(value.to_vec()),
                b"size" => {
                    let size = number(value, 10).with_context(|| format!("found '{}'", value.escape_ascii()));
                    pax.size = Some(size.context("expected a PAX header with a number as size")?);
                }
                _ => {}
            }
            pax.is_sparse |= key.starts_with(b"GNU.sparse.");
            records = rest;
        }
        for name in [&pax.name, &pax.sparse_name].into_iter().flatten() {
            ensure!(name.len() as u64 <= MAX_NAME, "expected a name of at most {MAX_NAME} bytes, found {}", name.len());
        }
        Ok(pax)
    }
}

/// The first record of PAX: its key, its value, and what follows it.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let at = records.iter().position(|&byte| byte == b' ')?;
    let len = usize::try_from(number(&records[..at], 10)?).ok()?;
    let (record, rest) = records.split_at_checked(len)?;
    let text = record.get(at + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|&byte| byte == b'=')?;
    Some((&text[..equals], &text[equals + 1..], rest))
}

/// Sets what may be said once of a member.
fn once<T>(place: &mut Option<T>, said: T, what: &str) -> Result<()> {
    ensure!(place.is_none(), "expected one {what} for a member, found two");
    *place = Some(said);
    Ok(())
}

/// The size that a header says, if its checksum is right.
fn header_size(block: &[u8; BLOCK]) -> Result<u64> {
    let field = |from: usize, len: usize| {
        let text = until_zero(&block[from..from + len]);
        number(text.trim_ascii(), 8)
    };
    let sum = block.iter().enumerate().map(|(i, &byte)| u64::from(if (148..156).contains(&i) { b' ' } else { byte })).sum();
    ensure!(field(148, 8) == Some(sum), "expected the header of a member, found another checksum than {sum}");
    let (high, low) = block[124..136].split_at(4);
    let size = match high {
        // What has too many digits is binary.
        [0x80, 0, 0, 0] => low.try_into().ok().map(u64::from_be_bytes),
        _ => field(124, 12),
    };
    size.with_context(|| format!("expected a size in the header of a member, found '{}'", block[124..136].escape_ascii()))
}

fn header_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_zero(&block[..100]);
    let prefix = if block[257..263] == *b"ustar\0" { until_zero(&block[345..500]) } else { Vec::new() };
    if prefix.is_empty() { name } else { [prefix, name].join(&b'/') }
}

/// Digits of this base, at least one and nothing else.
fn number(digits: &[u8], base: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    u64::from_str_radix(text, base).ok()
}

fn until_zero(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}
