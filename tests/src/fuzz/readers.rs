//! What reads bytes and computes nothing.

use super::reached::Stage;
use super::sections::Sections;
use crate::file::repair_checksums;
use ssl_convert::metadata;
use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::tensor::Tensor;
use ssl_images::Layout;
use ssl_report::record::Record;
use sslm::Tuning;
use sslm_format::{BlobId, Color, Dim, ElementType, Loaded, Preprocessing, Resize};
use std::io::Cursor;
use std::path::PathBuf;

/// Larger images take long and show nothing more.
const MOST_PIXELS: usize = 1 << 14;

/// The outside of a `.sslm` file: header, section table and checksums, byte by byte as the fuzzer has them. Checksums are made to fit,
/// or nothing would get behind the first.
///
/// # Panics
/// If a reader does, or says what is not so.
pub fn container(data: &[u8]) {
    let _ = sslm_format::sections(data);
    let mut file = data.to_vec();
    repair_checksums(&mut file);
    if let Ok((_, sections)) = sslm_format::sections(&file) {
        assert!(sections.iter().all(|s| s.offset + s.len <= file.len() as u64), "sections lie inside of the file");
        if let Ok(loaded) = sslm_format::validate(&file) {
            loaded.verify_weights(&file).expect("its checksum was made to fit");
        }
    }
}

/// The records of a `.sslm` file and every rule about them.
///
/// # Panics
/// As [`container`].
pub fn records(data: &[u8]) {
    static VALID: Stage = Stage::new("valid");
    if sslm_format::validate(&Sections::decode(data).to_file()).is_ok() {
        VALID.reach();
    }
}

/// What is read can be written, and reads as the same again, to the last bit.
///
/// # Panics
/// If it does not.
pub fn round_trip(data: &[u8]) {
    static WRITTEN: Stage = Stage::new("written");
    let file = Sections::decode(data).to_file();
    let Ok(loaded) = sslm_format::validate(&file) else { return };
    let Ok(first) = written(&loaded, &file) else { return };
    WRITTEN.reach();
    let again = sslm_format::validate(&first).expect("what was written is valid");
    again.verify_weights(&first).expect("what was written is whole");
    // By their text, in which NaN equals itself.
    assert_eq!(format!("{:?}", loaded.model.graph), format!("{:?}", again.model.graph));
    assert!(written(&again, &first).expect("it was written before") == first, "the same bytes");
}

/// The file that the writer makes of a model. It lays blobs out one behind the other, and refuses models that have them elsewhere.
fn written(loaded: &Loaded, file: &[u8]) -> sslm_format::Result<Vec<u8>> {
    let mut out = Cursor::new(Vec::new());
    sslm_format::write(&mut out, &loaded.model, |blob, sink| sink(loaded.blob(file, BlobId(blob as u32))))?;
    Ok(out.into_inner())
}

/// ONNX files as messages: decoding, the elements of every tensor, and what files say of labels and preprocessing.
///
/// # Panics
/// As [`container`].
pub fn onnx_messages(data: &[u8]) {
    // A folder that is not there: weights in other files are not looked for elsewhere.
    let Ok(mut file) = OnnxFile::decode(data.to_vec().into(), PathBuf::from("/nowhere")) else { return };
    let graph = file.model.graph.as_ref().expect("every model has one");
    for tensor in &graph.initializer {
        if let Ok(Some(floats)) = Tensor::from_proto(tensor, &mut file.external).map(|tensor| tensor.floats().ok().cloned()) {
            let _ = floats.is_finite();
        }
    }
    // Elements that are left out cost nothing to state.
    for tensor in graph.sparse_initializer.iter().filter(|t| t.dims.len() < 4 && t.dims.iter().all(|dim| *dim < 64)) {
        let _ = Tensor::from_sparse(tensor, &mut file.external);
    }
    let _ = (metadata::labels(&file.model), metadata::preprocessing(&file.model));
}

/// Arrays in `.npy` files and in `.npz` archives: what is read, is written and read as the same.
///
/// # Panics
/// If it is not.
pub fn npy(data: &[u8]) {
    static READ: Stage = Stage::new("read");
    if data.starts_with(b"PK") {
        if let Ok(arrays) = ssl_npy::parse_all(data, 1 << 26) {
            READ.reach();
            let arrays = arrays.iter().map(|(name, array)| (&name[..], array));
            ssl_npy::write_all(Vec::new(), arrays).expect("memory takes everything");
        }
        return;
    }
    let Ok(array) = ssl_npy::parse(data) else { return };
    READ.reach();
    let mut written = Vec::new();
    ssl_npy::write(&mut written, &array).expect("its elements are of its type");
    let again = ssl_npy::parse(&written).expect("what was written is an array");
    assert_eq!((again.shape, again.element_type), (array.shape, array.element_type));
    // What a NaN carries besides is lost where it is made narrower or wider.
    let bits = |elements: &[f32]| -> Vec<u32> {
        elements.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
    };
    assert_eq!(bits(&again.elements), bits(&array.elements));
}

/// Images of all formats, from bytes to the input of a network. The first byte says what that is. The decoders leave checksums alone when
/// they are fuzzed.
///
/// # Panics
/// As [`container`].
pub fn image(data: &[u8]) {
    static READ: Stage = Stage::new("read");
    let Some((&setup, image)) = data.split_first() else { return };
    if pixels(image) > MOST_PIXELS {
        return;
    }
    let channels = if setup & 1 == 0 { 1 } else { 3 };
    let side = |open: bool, size| if open { Dim::Symbolic { name: "side".to_owned() } } else { Dim::Fixed { size } };
    let dims = [Dim::Fixed { size: 1 }, Dim::Fixed { size: channels }, side(setup & 2 == 0, 5), side(setup & 4 == 0, 8)];
    let layout = Layout::of(&dims, ElementType::F32).expect("dims of an image");
    let short_side = 1 + u32::from(setup >> 5);
    let rule = Preprocessing {
        color: match (channels, setup & 8) {
            (1, _) => Color::Gray,
            (_, 0) => Color::Rgb,
            _ => Color::Bgr,
        },
        resize: if setup & 16 == 0 { Resize::Stretch } else { Resize::CenterCrop { short_side } },
        ..layout.plain()
    };
    if let Ok((shape, elements)) = ssl_images::read(Cursor::new(image), &rule, &dims, layout) {
        READ.reach();
        assert_eq!(shape.iter().product::<usize>(), elements.len(), "as many elements as the shape says");
        assert!(elements.iter().all(|x| (0.0..=1.0).contains(x)), "pixels become 0 to 1");
    }
}

/// The size that the headers of an image name, as far as they are where most files have them.
fn pixels(image: &[u8]) -> usize {
    let byte_at = |at: usize| image.get(at).map_or(0, |&byte| usize::from(byte));
    let u16_at = |at: usize| byte_at(at) << 8 | byte_at(at + 1);
    let u32_at = |at: usize| u16_at(at) << 16 | u16_at(at + 2);
    let little_at = |at: usize, bytes: usize| (0..bytes).fold(0, |all, i| all | byte_at(at + i) << (8 * i));
    match image {
        [0x89, b'P', ..] => u32_at(16).saturating_mul(u32_at(20)),
        [b'B', b'M', ..] => little_at(18, 4).saturating_mul((little_at(22, 4) as i32).unsigned_abs() as usize),
        [b'G', b'I', ..] => little_at(6, 2) * little_at(8, 2),
        [b'R', b'I', ..] => match image.get(12..16) {
            Some(b"VP8X") => (little_at(24, 3) + 1) * (little_at(27, 3) + 1),
            Some(b"VP8L") => ((little_at(21, 4) & 0x3fff) + 1) * ((little_at(21, 4) >> 14 & 0x3fff) + 1),
            _ => (little_at(26, 2) & 0x3fff) * (little_at(28, 2) & 0x3fff),
        },
        [b'I', b'I', ..] | [b'M', b'M', ..] => {
            let number = |at: usize| if image[0] == b'M' { u16_at(at) } else { little_at(at, 2) };
            let value = |at: usize| if image[0] == b'M' { u32_at(at).max(u16_at(at)) } else { little_at(at, 4) };
            let most = |tag| (8..image.len()).filter(|&at| number(at) == tag).map(|at| value(at + 8)).max().unwrap_or(0);
            most(256).saturating_mul(most(257))
        }
        _ => {
            let is_frame = |&i: &usize| image[i] == 0xff && (0xc0..0xd0).contains(&byte_at(i + 1));
            (0..image.len()).filter(is_frame).map(|i| u16_at(i + 5) * u16_at(i + 7)).max().unwrap_or(0)
        }
    }
}

/// Records of benchmarks: what is read can be joined with itself, and named.
///
/// # Panics
/// As [`container`].
pub fn record(data: &[u8]) {
    static READ: Stage = Stage::new("read");
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(mut record) = Record::parse(text) else { return };
    READ.reach();
    let rows = record.rows.len();
    record.merge(record.clone());
    assert_eq!(record.rows.len(), rows, "its own rows take their places");
    for row in &record.rows {
        let _ = (row.name(), row.spread(), row.of_floor());
    }
}

/// The small JSON texts that tools read: tunings of models, and rules of preprocessing.
///
/// # Panics
/// As [`container`].
pub fn json(data: &[u8]) {
    static READ: Stage = Stage::new("read");
    if let Ok(tuning) = serde_json::from_slice::<Tuning>(data) {
        READ.reach();
        let again: Tuning = serde_json::from_str(&tuning.to_json()).expect("what was written is a tuning");
        assert_eq!(tuning.layers.len(), again.layers.len());
    }
    let _ = str::from_utf8(data).map(ssl_convert::metadata::parse_preprocessing);
}
