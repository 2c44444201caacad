//! Whether a JPEG file holds the whole image. JPEG has no checksums, and decoders make up what is missing, so that a file that was cut off
//! at a tenth would be classified like any other. Here the coded blocks are counted, without decoding them: a scan must have as many as
//! its frame says, each code must be one of its table, and nothing may be left over. What is damaged and still fits all of that is an
//! image like any other to every decoder.

use crate::Admit;
use crate::size::{ask, ensure_size};
use anyhow::{Context, Error, Result, bail, ensure};

/// Refuses a file that ends before its image does, or whose scans are damaged.
///
/// # Errors
/// If it does, or holds more pixels than it may, or there is no room to decode them.
pub(crate) fn ensure_whole(file: &[u8], admit: &mut Admit<'_>) -> Result<()> {
    let mut walk = Walk { file, admit, at: 2, frame: None, tables: Default::default(), restart_interval: 0 };
    while walk.segment()? {}
    let frame = walk.frame.context("expected a frame, found none")?;
    ensure!(frame.components.iter().all(|c| c.is_there), "expected a scan of each component, found none of some");
    Ok(())
}

/// The way through the segments of a file.
struct Walk<'a, 'b> {
    file: &'a [u8],
    /// Asked for what decoding takes, as soon as it is known.
    admit: &'a mut Admit<'b>,
    at: usize,
    frame: Option<Frame>,
    /// Huffman tables of DC and of AC coefficients.
    tables: [[Option<Table>; 4]; 2],
    /// MCUs between restart markers; 0: there are none.
    restart_interval: usize,
}

/// What is said of the image.
struct Frame {
    is_progressive: bool,
    components: Vec<Component>,
    /// Width and height.
    size: [usize; 2],
    /// MCUs in a row, and rows of them.
    mcus: [usize; 2],
}

struct Component {
    id: u8,
    /// Blocks in an MCU, horizontally and vertically.
    sampling: [usize; 2],
    /// Blocks that hold pixels, in a row, and rows of them.
    blocks: [usize; 2],
    /// One bit for each coefficient of each block that is not zero yet, which a progressive file refines.
    nonzero: Vec<u64>,
    is_there: bool,
}

/// What of the coefficients a scan holds, and of which components.
struct Scan {
    /// The indices of its components, with their tables of DC and of AC coefficients.
    components: Vec<(usize, [usize; 2])>,
    /// The first and the last coefficient.
    band: [usize; 2],
    /// Whether it adds a bit to what came before.
    is_refinement: bool,
}

impl Walk<'_, '_> {
    /// The next segment, with the scan behind it if it begins one; false at the end of the image.
    fn segment(&mut self) -> Result<bool> {
        let file = self.file;
        // Zeros and FF may fill up before a marker.
        let marker =
            file.get(self.at..).unwrap_or_default().windows(2).position(|pair| pair[0] == 0xff && ![0, 0xff].contains(&pair[1]));
        self.at += marker.context("the file ends before its image: expected an end marker, found none")?;
        let marker = file[self.at + 1];
        self.at += 2;
        match marker {
            0xd9 => return Ok(false),
            // Markers that stand alone.
            0x01 | 0xd0..=0xd8 => return Ok(true),
            _ => {}
        }
        let ends = "the file ends within a header";
        let len = file.get(self.at..self.at + 2).map(|len| usize::from(u16::from_be_bytes([len[0], len[1]]))).context(ends)?;
        let body = file.get(self.at + 2..self.at + len.max(2)).context(ends)?;
        self.at += len.max(2);
        match marker {
            0xc4 => self.huffman_tables(body)?,
            0xc0..=0xc2 => self.frame = Some(Frame::of(body, marker == 0xc2, file, self.admit).context("the frame")?),
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => bail!("expected baseline or progressive coding, found another one"),
            0xdd => {
                let interval = body.first_chunk().context("the restart interval ends early")?;
                self.restart_interval = usize::from(u16::from_be_bytes(*interval));
            }
            0xda => self.scan(body).context("a scan")?,
            _ => {}
        }
        Ok(true)
    }

    fn huffman_tables(&mut self, mut body: &[u8]) -> Result<()> {
        while let Some((head, rest)) = body.split_at_checked(17) {
            let count = head[1..].iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(count).context("a Huffman table ends early")?;
            let [class, index] = [head[0] >> 4, head[0] & 15].map(usize::from);
            let place = self.tables.get_mut(class).and_then(|tables| tables.get_mut(index));
            *place.with_context(|| format!("expected a Huffman table 0 to 3, found {index}"))? =
                Some(Table::of(&head[1..], symbols)?);
            body = rest;
        }
        Ok(())
    }

    /// Counts the blocks of a scan.
    fn scan(&mut self, header: &[u8]) -> Result<()> {
        let frame = self.frame.as_mut().context("expected a frame before it, found none")?;
        let scan = Scan::of(header, frame)?;
        if scan.components.len() < frame.components.len() {
            ask(self.admit, self.file, frame.bytes(true))?;
        }
        let mcus = match &scan.components[..] {
            [(only, _)] => frame.components[*only].blocks,
            _ => frame.mcus,
        };
        let all = mcus[0] * mcus[1];
        let mut bits = Bits { bytes: &self.file[self.at..], at: 0, buffer: 0, count: 0 };
        let mut coder = Coder { tables: &self.tables, scan: &scan, is_progressive: frame.is_progressive, run: 0 };
        for mcu in 0..all {
            if self.restart_interval > 0 && mcu > 0 && mcu % self.restart_interval == 0 {
                bits.restart()?;
                coder.run = 0;
            }
            let read = coder.mcu(&mut bits, frame, [mcu % mcus[0], mcu / mcus[0]]);
            read.map_err(Error::msg).with_context(|| format!("expected {all} MCUs, found {mcu}"))?;
        }
        for &(index, _) in &scan.components {
            frame.components[index].is_there |= scan.band[0] == 0;
        }
        self.at += bits.end()?;
        Ok(())
    }
}

impl Frame {
    fn of(body: &[u8], is_progressive: bool, file: &[u8], admit: &mut Admit<'_>) -> Result<Frame> {
        let (&[_, h0, h1, w0, w1, count], list) = body.split_first_chunk().context("it ends early")?;
        let [width, height] = [[w0, w1], [h0, h1]].map(u16::from_be_bytes);
        ensure_size(width.into(), height.into(), file)?;
        let (list, _) = list.as_chunks::<3>();
        ensure!((1..=4).contains(&count) && list.len() >= count.into(), "expected 1 to 4 components, found {count}");
        let list = &list[..count.into()];
        let sampling = |entry: &[u8; 3]| [entry[1] >> 4, entry[1] & 15].map(usize::from);
        ensure!(list.iter().flat_map(sampling).all(|s| (1..=4).contains(&s)), "expected sampling factors of 1 to 4");
        let largest = [0, 1].map(|axis| list.iter().map(|entry| sampling(entry)[axis]).max().unwrap_or(1));
        // Decoders do not expect it, and would mix up where their pixels are.
        ensure!(sampling(&list[0]) == largest, "expected no component larger than the first, found one");
        let size = [width, height].map(usize::from);
        let mcus = [0, 1].map(|axis| size[axis].div_ceil(8 * largest[axis]));
        let component = |entry: &[u8; 3]| {
            let sampling = sampling(entry);
            let blocks = [0, 1].map(|axis| (size[axis] * sampling[axis]).div_ceil(8 * largest[axis]));
            Component { id: entry[0], sampling, blocks, nonzero: Vec::new(), is_there: false }
        };
        let mut frame = Frame { is_progressive, components: list.iter().map(component).collect(), size, mcus };
        ask(admit, file, frame.bytes(is_progressive))?;
        if is_progressive {
            frame.components.iter_mut().for_each(|c| c.nonzero = vec![0; mcus[0] * c.sampling[0] * mcus[1] * c.sampling[1]]);
        }
        Ok(frame)
    }

    /// What decoding takes: pixels, some rows of MCUs as they are scaled to the same size, and, if it `keeps` them since they come by several
    /// scans, all coefficients.
    fn bytes(&self, keeps: bool) -> u64 {
        const COEFFICIENT: u64 = 2;
        let [wide, high] = self.mcus.map(|count| count as u64);
        let blocks = |component: &Component| component.sampling[0] as u64 * component.sampling[1] as u64;
        let of_block = 64 * COEFFICIENT;
        let colors = if self.components.len() == 1 { 1 } else { 3 };
        let rows = 3 * self.components.len() as u64 * wide * blocks(&self.components[0]) * of_block;
        let kept = if keeps { wide * high * self.components.iter().map(blocks).sum::<u64>() * of_block } else { 0 };
        self.size[0] as u64 * self.size[1] as u64 * colors + rows + kept
    }
}

impl Scan {
    fn of(header: &[u8], frame: &Frame) -> Result<Scan> {
        let (&count, rest) = header.split_first().context("its header ends early")?;
        let (list, rest) = rest.split_at_checked(2 * usize::from(count)).context("its header ends early")?;
        let &[first, last, bits] = rest.first_chunk().context("its header ends early")?;
        let mut components = Vec::new();
        for entry in list.as_chunks::<2>().0 {
            let index = frame.components.iter().position(|component| component.id == entry[0]);
            let index = index.with_context(|| format!("expected a component of the frame, found {}", entry[0]))?;
            components.push((index, [entry[1] >> 4, entry[1] & 15].map(usize::from)));
        }
        let [first, last] = if frame.is_progressive { [first.into(), last.into()] } else { [0, 63] };
        let is_whole = !frame.is_progressive || last == 0 || first > 0 && components.len() == 1;
        ensure!(first <= last && last < 64 && is_whole, "expected a band of coefficients, found {first} to {last}");
        ensure!((1..=4).contains(&components.len()), "expected 1 to 4 components, found {}", components.len());
        Ok(Scan { components, band: [first, last], is_refinement: frame.is_progressive && bits >> 4 > 0 })
    }
}

/// What is read bit by bit: errors are texts, which cost nothing where there are none.
type Read<T> = std::result::Result<T, &'static str>;

/// What is passed over of a scan.
struct Coder<'a> {
    tables: &'a [[Option<Table>; 4]; 2],
    scan: &'a Scan,
    is_progressive: bool,
    /// For how many blocks more no new coefficient comes.
    run: u32,
}

impl Coder<'_> {
    /// The blocks of the MCU in this column and row.
    fn mcu(&mut self, bits: &mut Bits<'_>, frame: &mut Frame, [column, row]: [usize; 2]) -> Read<()> {
        let is_single = self.scan.components.len() == 1;
        for &(index, tables) in &self.scan.components {
            let component = &mut frame.components[index];
            let [wide, high] = component.sampling;
            let stride = frame.mcus[0] * wide;
            let [across, down] = if is_single { [1, 1] } else { [wide, high] };
            for block in 0..across * down {
                let at = (row * down + block / across) * stride + column * across + block % across;
                let mut unused = 0;
                let nonzero = component.nonzero.get_mut(at).unwrap_or(&mut unused);
                self.block(bits, tables, nonzero)?;
            }
        }
        Ok(())
    }

    fn table(&self, class: usize, index: usize) -> Read<&Table> {
        self.tables[class].get(index).and_then(Option::as_ref).ok_or("expected a Huffman table, found none")
    }

    fn block(&mut self, bits: &mut Bits<'_>, [dc, ac]: [usize; 2], nonzero: &mut u64) -> Read<()> {
        let [first, last] = self.scan.band;
        if first == 0 {
            let len = if self.scan.is_refinement { 1 } else { bits.symbol(self.table(0, dc)?)? };
            // Tables may name any; those of eight and of twelve bits need no more (T.81, table F.1).
            if len > 15 {
                return Err("expected a difference of at most 15 bits, found a longer one");
            }
            bits.take(len.into())?;
        }
        if last == 0 {
            return Ok(());
        }
        let table = self.table(1, ac)?;
        let (mut at, refined) = (first.max(1), if self.scan.is_refinement { *nonzero } else { 0 });
        while self.run == 0 && at <= last {
            let symbol = bits.symbol(table)?;
            let (mut zeros, len) = (symbol >> 4, symbol & 15);
            if len == 0 && zeros < 15 {
                if !self.is_progressive && zeros > 0 {
                    return Err("expected a code of a coefficient, found another one");
                }
                self.run = (1 << zeros) + bits.take(zeros.into())?;
                break;
            }
            bits.take(len.into())?;
            if refined >> at == 0 {
                at += usize::from(zeros);
                zeros = 0;
            }
            // Past coefficients that are zero, and those that are not and are refined by a bit.
            while at <= last && (zeros > 0 || refined >> at & 1 == 1) {
                if refined >> at & 1 == 1 {
                    bits.take(1)?;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if at > last {
                return Err("expected a coefficient of the band, found one behind it");
            }
            *nonzero |= u64::from(len > 0) << at;
            at += 1;
        }
        if self.run > 0 {
            self.run -= 1;
            let rest = if at <= last { refined >> at << at & u64::MAX >> (63 - last) } else { 0 };
            for _ in 0..rest.count_ones() {
                bits.take(1)?;
            }
        }
        Ok(())
    }
}

/// Codes that are looked up at once have at most so many bits.
const SHORT: usize = 9;

/// A Huffman table: which symbol each code stands for.
struct Table {
    /// By the next [`SHORT`] bits: the symbol and how many of them are its code; none if that is longer.
    short: [(u8, u8); 1 << SHORT],
    /// For each length: the first 16 bits that are beyond its codes, and what turns a code into the index of its symbol.
    long: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Table {
    fn of(counts: &[u8], symbols: &[u8]) -> Result<Table> {
        let mut table = Table { short: [(0, 0); 1 << SHORT], long: [(0, 0); 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0u32, 0usize);
        for (len, &count) in (1..).zip(counts) {
            table.long[len].1 = index as i32 - code as i32;
            for _ in 0..count {
                ensure!(code < 1 << len, "expected a Huffman table, found more codes than there are");
                if len <= SHORT {
                    let first = (code as usize) << (SHORT - len);
                    table.short[first..first + (1 << (SHORT - len))].fill((symbols[index], len as u8));
                }
                (code, index) = (code + 1, index + 1);
            }
            table.long[len].0 = code << (16 - len);
            code <<= 1;
        }
        Ok(table)
    }
}

/// The bits of a scan, up to the next marker.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The first byte that is not in the buffer.
    at: usize,
    /// Bits that come next, the last ones in its lowest places.
    buffer: u64,
    count: u32,
}

impl Bits<'_> {
    /// Has at least 32 bits in the buffer, if there are any.
    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            if byte == 0xff && self.bytes.get(self.at + 1) != Some(&0) {
                return;
            }
            self.at += if byte == 0xff { 2 } else { 1 };
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    /// The next bits, at most 32.
    #[inline]
    fn take(&mut self, count: u32) -> Read<u32> {
        if count == 0 {
            return Ok(0);
        }
        if self.count < count {
            self.fill();
            if self.count < count {
                return Err("the data end early");
            }
        }
        self.count -= count;
        Ok((self.buffer >> self.count & ((1 << count) - 1)) as u32)
    }

    #[inline]
    fn symbol(&mut self, table: &Table) -> Read<u8> {
        if self.count < 16 {
            self.fill();
        }
        // At the end, ones are added, which are no code.
        let next = if self.count >= 16 {
            (self.buffer >> (self.count - 16)) as u32 & 0xffff
        } else {
            let missing = 16 - self.count;
            ((self.buffer as u32) << missing | ((1 << missing) - 1)) & 0xffff
        };
        let (symbol, len) = table.short[next as usize >> (16 - SHORT)];
        if len > 0 {
            self.take(len.into())?;
            return Ok(symbol);
        }
        let none = "expected a Huffman code, found none";
        let len = (SHORT + 1..=16).find(|&len| next < table.long[len].0).ok_or(none)?;
        self.take(len as u32)?;
        let index = (next >> (16 - len)) as i32 + table.long[len].1;
        table.symbols.get(index as usize).copied().ok_or(none)
    }

    /// Passes a restart marker, which must come next.
    fn restart(&mut self) -> Result<()> {
        self.at = self.end()?;
        let marker = self.bytes.get(self.at + 1);
        ensure!(marker.is_some_and(|marker| (0xd0..=0xd7).contains(marker)), "expected a restart marker, found none");
        self.at += 2;
        (self.buffer, self.count) = (0, 0);
        Ok(())
    }

    /// Where the next marker is, which must come next but for bytes that fill up.
    fn end(&mut self) -> Result<usize> {
        self.fill();
        let rest = self.bytes[self.at..].windows(2).position(|pair| pair[0] == 0xff && ![0, 0xff].contains(&pair[1]));
        let end = self.at + rest.context("the file ends before its image: expected an end marker, found none")?;
        let in_buffer = (0..self.count / 8).map(|i| (self.buffer >> (8 * i)) as u8);
        let mut left = in_buffer.chain(self.bytes[self.at..end].iter().copied());
        ensure!(left.all(|byte| [0, 0xff].contains(&byte)), "expected its end, found more data");
        Ok(end)
    }
}
