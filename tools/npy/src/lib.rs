//! Arrays in `.npy` files, the format of NumPy's `save`, and in `.npz` files, that of `savez`: what `ssl-run` reads and writes, and what
//! the tests compare with. It is a crate of its own because those that others maintain read any literal of Python, by a generated
//! parser and integers of any size, which took longer to compile than the rest of `ssl-run` together.
//!
//! Elements of every type are read as `f32`, exactly or not at all, with the type that the file says.

mod archive;
mod header;

pub use archive::{parse_all, read_all, write_all};
pub use header::header;

use anyhow::{Context, Result, ensure};
use header::{Header, MAGIC};
use sslm_format::ElementType;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

/// Elements that are converted at a time.
const PART: usize = 1 << 12;

/// An array in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The extents of its axes.
    pub shape: Vec<usize>,
    /// Of which type its elements are in files.
    pub element_type: ElementType,
    /// Its elements in row-major order.
    pub elements: Vec<f32>,
}

impl Array {
    /// An array whose elements are float32 in files, too.
    pub fn of_floats(shape: Vec<usize>, elements: Vec<f32>) -> Array {
        Array { shape, element_type: ElementType::F32, elements }
    }
}

/// Reads an array of numbers or bools, of either byte order, and row-major or column-major. The file may be a pipe.
///
/// # Errors
/// If the file cannot be read, does not hold exactly one such array, or an element is none that `f32` holds.
pub fn read(path: &Path) -> Result<Array> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return parse_from(BufReader::new(file), metadata.len());
    }
    // A pipe tells its length by ending, and what is no array must not be waited for.
    let mut bytes = Vec::new();
    (&file).take(MAGIC.len() as u64).read_to_end(&mut bytes)?;
    ensure!(bytes == MAGIC, "found something else");
    file.read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// As [`read`], from the bytes of a file.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8]) -> Result<Array> {
    parse_from(bytes, bytes.len() as u64)
}

/// An array from `len` bytes, if they hold all of it: its memory is asked for only then.
fn parse_from(mut from: impl Read, len: u64) -> Result<Array> {
    let Header { shape, element_type, big_endian, column_major, bytes } = Header::read(&mut from)?;
    let (found, size) = (len.saturating_sub(bytes), element_type.size());
    let expected = shape.iter().try_fold(size as u64, |bytes, &extent| bytes.checked_mul(extent as u64));
    ensure!(expected == Some(found), "the header says {shape:?} of {element_type}, found {found} bytes of elements");
    let count: usize = shape.iter().product();
    let mut elements = Vec::new();
    elements.try_reserve_exact(count).with_context(|| format!("memory for {count} elements cannot be had"))?;
    let mut buffer = vec![0; size * PART];
    while elements.len() < count {
        let part = &mut buffer[..size * PART.min(count - elements.len())];
        from.read_exact(part)?;
        if big_endian != cfg!(target_endian = "big") {
            part.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        element_type.read(part, &mut elements)?;
    }
    let elements = if column_major { row_major(&shape, &elements) } else { elements };
    Ok(Array { shape, element_type, elements })
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

/// Writes an array, little-endian and row-major.
///
/// # Errors
/// If it cannot be written, or an element is none of the array's type.
///
/// # Panics
/// If the shape does not have as many elements as there are.
pub fn write(mut to: impl Write, array: &Array) -> Result<()> {
    let Array { shape, element_type, elements } = array;
    assert_eq!(shape.iter().product::<usize>(), elements.len(), "elements of an array {shape:?}");
    to.write_all(&header(&header::descr(*element_type), shape))?;
    let mut bytes = Vec::new();
    for part in elements.chunks(PART) {
        bytes.clear();
        element_type.write(part, &mut bytes)?;
        if cfg!(target_endian = "big") {
            bytes.chunks_exact_mut(element_type.size()).for_each(<[u8]>::reverse);
        }
        to.write_all(&bytes)?;
    }
    Ok(to.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for shape in [&[][..], &[3], &[2, 3], &[0, 5], &[6000, 2]] {
            let elements: Vec<f32> = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
            let array = Array::of_floats(shape.to_vec(), elements);
            let mut bytes = Vec::new();
            write(&mut bytes, &array).expect("memory takes everything");
            assert_eq!(parse(&bytes).expect("an array"), array);
        }
        for &element_type in ElementType::ALL {
            let array = Array { shape: vec![2, 2], element_type, elements: vec![0.0, 1.0, 1.0, 0.0] };
            let mut bytes = Vec::new();
            write(&mut bytes, &array).expect("every type has them");
            assert_eq!(parse(&bytes).expect("an array"), array, "{element_type}");
        }
    }

    /// A file with this dictionary, laid out as NumPy does.
    fn file<const N: usize>(dictionary: &str, elements: [[u8; 4]; N]) -> Vec<u8> {
        let dictionary = format!("{dictionary:117}\n");
        [b"\x93NUMPY\x01\0\x76\0", dictionary.as_bytes(), elements.as_flattened()].concat()
    }

    #[test]
    fn other_orders_are_understood() {
        let expected = Array::of_floats(vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let rows = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0f32].map(f32::to_be_bytes);
        let big = file("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", rows);
        assert_eq!(parse(&big).expect("an array"), expected);
        let columns = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0f32].map(f32::to_le_bytes);
        let fortran = file("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", columns);
        assert_eq!(parse(&fortran).expect("an array"), expected);
    }

    #[test]
    fn elements_of_other_types_are_exact_or_refused() {
        let header = "{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }";
        let big = file(header, [1i32.to_be_bytes(), (-2i32).to_be_bytes()]);
        let expected = Array { shape: vec![2], element_type: ElementType::I32, elements: vec![1.0, -2.0] };
        assert_eq!(parse(&big).expect("an array"), expected);
        let beyond = file(header, [1i32.to_be_bytes(), 16_777_217i32.to_be_bytes()]);
        let message = format!("{:#}", parse(&beyond).expect_err("it is not exact"));
        assert!(message.contains("int32") && message.contains("found 16777217"), "{message}");
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let refuses = |bytes: &[u8], expected: &str| {
            let message = format!("{:#}", parse(bytes).expect_err(expected));
            assert!(message.contains(expected), "expected '{expected}' in: {message}");
        };
        let whole = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", [[0; 4]; 2]);
        parse(&whole).expect("an array");
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
            ("'descr': '<c8', 'fortran_order': False, 'shape': (2,)", "found elements of type '<c8'"),
            ("'descr': '=f4', 'fortran_order': False, 'shape': (2,)", "found elements of type '=f4'"),
            ("'descr': '<f8', 'fortran_order': False, 'shape': (2,)", "the header says [2] of float64, found 8 bytes"),
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
