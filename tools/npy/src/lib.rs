//! Arrays of float32 elements in `.npy` files, the format of NumPy's `save`: what `ssl-run` reads and writes, and what the tests
//! compare with. It is a crate of its own because those that others maintain read any literal of Python, by a generated parser and
//! integers of any size, which took longer to compile than the rest of `ssl-run` together.

mod header;

pub use header::header;

use anyhow::{Context, Result, ensure};
use header::{Header, MAGIC};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::path::Path;

/// An array in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The extents of its axes.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub elements: Vec<f32>,
}

/// Reads an array of float32 elements, of either byte order, and row-major or column-major. The file may be a pipe.
///
/// # Errors
/// If the file cannot be read, or does not hold exactly one such array.
pub fn read(path: &Path) -> Result<Array> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return parse(BufReader::new(file), metadata.len());
    }
    // A pipe tells its length by ending, and what is no array must not be waited for.
    let mut bytes = Vec::new();
    (&file).take(MAGIC.len() as u64).read_to_end(&mut bytes)?;
    ensure!(bytes == MAGIC, "found something else");
    file.read_to_end(&mut bytes)?;
    let len = bytes.len() as u64;
    parse(Cursor::new(bytes), len)
}

/// An array from `len` bytes, if they hold all of it: its memory is asked for only then.
fn parse(mut from: impl Read, len: u64) -> Result<Array> {
    let Header { shape, big_endian, column_major, bytes } = Header::read(&mut from)?;
    let found = len.saturating_sub(bytes);
    let expected = shape.iter().try_fold(size_of::<f32>() as u64, |bytes, &extent| bytes.checked_mul(extent as u64));
    ensure!(expected == Some(found), "the header says {shape:?}, found {found} bytes of elements");
    let count = shape.iter().product();
    let mut elements = Vec::new();
    elements.try_reserve_exact(count).with_context(|| format!("memory for {count} elements cannot be had"))?;
    elements.resize(count, 0.0);
    let of_bytes = if big_endian { f32::from_be_bytes } else { f32::from_le_bytes };
    let mut buffer = [[0; 4]; 1 << 12];
    for part in elements.chunks_mut(buffer.len()) {
        let buffer = &mut buffer[..part.len()];
        from.read_exact(buffer.as_flattened_mut())?;
        part.iter_mut().zip(buffer).for_each(|(element, bytes)| *element = of_bytes(*bytes));
    }
    let elements = if column_major { row_major(&shape, &elements) } else { elements };
    Ok(Array { shape, elements })
}

/// Column-major elements in row-major order.
fn row_major(shape: &[usize], elements: &[f32]) -> Vec<f32> {
    let mut index = vec![0; shape.len()];
    let at = |index: &[usize]| index.iter().zip(shape).rev().fold(0, |at, (index, extent)| at * extent + index);
    let mut sorted = Vec::with_capacity(elements.len());
    for _ in elements {
        sorted.push(elements[at(&index)]);
        for (index, extent) in index.iter_mut().zip(shape).rev() {
            *index = (*index + 1) % extent;
            if *index != 0 {
                break;
            }
        }
    }
    sorted
}

/// Writes an array of this shape, little-endian and row-major.
///
/// # Errors
/// If it cannot be written.
///
/// # Panics
/// If the shape does not have as many elements as there are.
pub fn write(mut to: impl Write, shape: &[usize], elements: &[f32]) -> io::Result<()> {
    assert_eq!(shape.iter().product::<usize>(), elements.len(), "elements of an array {shape:?}");
    to.write_all(&header("<f4", shape))?;
    let mut buffer = [[0; 4]; 1 << 12];
    for part in elements.chunks(buffer.len()) {
        buffer.iter_mut().zip(part).for_each(|(bytes, element)| *bytes = element.to_le_bytes());
        to.write_all(buffer[..part.len()].as_flattened())?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Array> {
        parse(bytes, bytes.len() as u64)
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [&[][..], &[3], &[2, 3], &[0, 5], &[6000, 2]] {
            let elements: Vec<f32> = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
            let mut bytes = Vec::new();
            write(&mut bytes, shape, &elements).expect("memory takes everything");
            assert_eq!(parsed(&bytes).expect("an array"), Array { shape: shape.to_vec(), elements });
        }
    }

    /// A file with this dictionary, laid out as NumPy does.
    fn file<const N: usize>(dictionary: &str, elements: [[u8; 4]; N]) -> Vec<u8> {
        let dictionary = format!("{dictionary:117}\n");
        [b"\x93NUMPY\x01\0\x76\0", dictionary.as_bytes(), elements.as_flattened()].concat()
    }

    #[test]
    fn other_orders_are_understood() {
        let expected = Array { shape: vec![2, 3], elements: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] };
        let rows = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0f32].map(f32::to_be_bytes);
        let big = file("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", rows);
        assert_eq!(parsed(&big).expect("an array"), expected);
        let columns = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0f32].map(f32::to_le_bytes);
        let fortran = file("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", columns);
        assert_eq!(parsed(&fortran).expect("an array"), expected);
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let refuses = |bytes: &[u8], expected: &str| {
            let message = format!("{:#}", parsed(bytes).expect_err(expected));
            assert!(message.contains(expected), "expected '{expected}' in: {message}");
        };
        let whole = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", [[0; 4]; 2]);
        parsed(&whole).expect("an array");
        refuses(&whole[..whole.len() - 1], "7 bytes");
        refuses(&[&whole[..], &[0]].concat(), "9 bytes");
        refuses(&whole[..4], "the header ends early");
        refuses(&whole[..20], "the header ends early");
        let with = |at: usize, byte: u8| [&whole[..at], &[byte], &whole[at + 1..]].concat();
        refuses(&with(5, b'I'), "found something else");
        refuses(&with(6, 4), "version 4.0");
        refuses(&with(127, b' '), "end with a new line");

        let long = format!("'descr': '<f4', 'fortran_order': False, 'shape': ({}0,)", usize::MAX);
        for (dictionary, expected) in [
            ("'descr': '<f8', 'fortran_order': False, 'shape': (2,)", "found elements of type '<f8'"),
            ("'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)", "descr"),
            ("'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)", "fortran_order"),
            ("'descr': '<f4', 'fortran_order': False, 'shape': (-2,)", "shape"),
            ("'descr': '<f4', 'fortran_order': False, 'shape': [2]", "shape"),
            ("'descr': '<f4', 'fortran_order': False", "no shape"),
            ("'descr': '<f4', 'fortran_order': False, 'size': (2,)", "unknown key 'size'"),
            ("'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x, {", "after its dictionary"),
            ("'descr': '<f4' 'fortran_order': False", "expected '}'"),
            (&long, "shape"),
        ] {
            refuses(&file(&format!("{{{dictionary}}}"), [[0; 4]; 2]), expected);
        }
    }
}
