//! What fuzzing begins with, a folder for each target:
//!
//!     cargo run -p sslm-tests --example fuzz_seeds -- tests/fuzz/corpus
//!
//! Corpora that are checked in are what is left of these, and of what was found from them, when `cargo fuzz cmin` is done.

use jpeg_encoder::{ColorType, Encoder};
use png::{BitDepth, ColorType as PngColor};
use sslm_format::ElementType;
use sslm_tests::compare::convert;
use sslm_tests::fuzz::sections::Sections;
use sslm_tests::nets::every_operator;
use sslm_tests::onnx::encode;
use sslm_tests::random::case;
use std::fs;
use std::path::{Path, PathBuf};

/// How many random graphs become seeds.
const GRAPHS: u64 = 60;

/// Larger models would only be slow.
const MOST_BYTES: usize = 32 << 10;

fn main() {
    let root = PathBuf::from(std::env::args_os().nth(1).expect("the folder of corpora"));
    models(&root);
    arrays(&root);
    images(&root);
    texts(&root);
}

fn put(root: &Path, target: &str, name: &str, bytes: &[u8]) {
    let folder = root.join(target);
    fs::create_dir_all(&folder).expect("a writable folder");
    fs::write(folder.join(name), bytes).expect("a writable folder");
}

fn models(root: &Path) {
    let every = every_operator();
    let random = (0..GRAPHS).map(|seed| (seed.to_string(), case(seed).model));
    for (name, model) in random.chain([("every".to_owned(), every)]) {
        let onnx = encode(&model);
        if onnx.len() > MOST_BYTES {
            continue;
        }
        put(root, "onnx", &name, &onnx);
        put(root, "onnx_messages", &name, &onnx);
        for dense in [true, false] {
            let file = convert(&model, dense);
            let name = format!("{name}-{dense}");
            put(root, "container", &name, &file);
            let sections = Sections { setup: [4, 2], ..Sections::of_file(&file) }.encode();
            ["records", "sslm", "round_trip"].iter().for_each(|target| put(root, target, &name, &sections));
        }
    }
    for seed in 0..GRAPHS {
        let mut random = fastrand::Rng::with_seed(seed);
        let bytes: Vec<u8> = (0..random.usize(10..200)).map(|_| random.u8(..)).collect();
        put(root, "graph", &seed.to_string(), &bytes);
    }
}

fn arrays(root: &Path) {
    let array = |element_type| ssl_npy::Array { shape: vec![2, 3], element_type, elements: vec![1.0, 0.0, 1.0, 0.0, 1.0, 1.0] };
    let all: Vec<(String, ssl_npy::Array)> = ElementType::ALL.iter().map(|of| (of.to_string(), array(*of))).collect();
    for (name, array) in &all {
        let mut bytes = Vec::new();
        ssl_npy::write(&mut bytes, array).expect("memory takes everything");
        put(root, "npy", name, &bytes);
    }
    let mut archive = Vec::new();
    ssl_npy::write_all(&mut archive, all[..2].iter().map(|(name, array)| (&name[..], array))).expect("memory takes everything");
    put(root, "npy", "archive", &archive);
    let columns = b"\x93NUMPY\x01\0\x76\0{'descr': '>f4', 'fortran_order': True, 'shape': (2, 1), }";
    let mut file = columns.to_vec();
    file.resize(127, b' ');
    file.extend(b"\n\x3f\x80\0\0\x40\0\0\0");
    put(root, "npy", "columns", &file);
}

fn images(root: &Path) {
    let pixels: Vec<u8> = (0..=255).cycle().take(9 * 7 * 8).collect();
    for (name, color, samples) in
        [("gray", PngColor::Grayscale, 1), ("alpha", PngColor::GrayscaleAlpha, 2), ("rgb", PngColor::Rgb, 3)]
    {
        for (depth, bytes) in [(BitDepth::Eight, 1), (BitDepth::Sixteen, 2)] {
            let mut file = vec![0b11];
            let mut encoder = png::Encoder::new(&mut file, 9, 7);
            encoder.set_color(color);
            encoder.set_depth(depth);
            let mut writer = encoder.write_header().expect("memory takes everything");
            writer.write_image_data(&pixels[..9 * 7 * samples * bytes]).expect("memory takes everything");
            drop(writer);
            put(root, "image", &format!("{name}{bytes}.png"), &file);
        }
    }
    for (name, color, samples, progressive) in
        [("gray", ColorType::Luma, 1, false), ("rgb", ColorType::Rgb, 3, false), ("progressive", ColorType::Rgb, 3, true)]
    {
        let mut file = vec![0b1_0001];
        let mut encoder = Encoder::new(&mut file, 80);
        encoder.set_progressive(progressive);
        encoder.encode(&pixels[..9 * 7 * samples], 9, 7, color).expect("memory takes everything");
        put(root, "image", &format!("{name}.jpeg"), &file);
    }
    other_images(root, &pixels);
}

fn other_images(root: &Path, pixels: &[u8]) {
    let mut webp = vec![0b11];
    let encoder = image_webp::WebPEncoder::new(&mut webp);
    encoder.encode(&pixels[..9 * 7 * 3], 9, 7, image_webp::ColorType::Rgb8).expect("memory takes everything");
    put(root, "image", "lossless.webp", &webp);

    let mut gif = vec![0b11];
    let mut encoder = gif::Encoder::new(&mut gif, 9, 7, &pixels[..12]).expect("memory takes everything");
    let indices: Vec<u8> = pixels[..20].iter().map(|p| p % 4).collect();
    let frame = gif::Frame { left: 2, top: 1, width: 5, height: 4, buffer: indices.into(), ..gif::Frame::default() };
    encoder.write_frame(&frame).expect("memory takes everything");
    drop(encoder);
    put(root, "image", "part.gif", &gif);

    let mut tiff = std::io::Cursor::new(Vec::new());
    let encoder = tiff::encoder::TiffEncoder::new(&mut tiff).expect("memory takes everything");
    let mut encoder = encoder.with_compression(tiff::encoder::Compression::Lzw);
    let inks = encoder.write_image::<tiff::encoder::colortype::CMYK8>(9, 7, &pixels[..9 * 7 * 4]);
    inks.expect("memory takes everything");
    put(root, "image", "inks.tiff", &[&[0b11], &tiff.into_inner()[..]].concat());

    // Runs of indices of eight bits.
    let header = b"BM\0\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0\x03\0\0\0\x02\0\0\0\x01\0\x08\0\x01";
    let runs = b"\x01\0\x02\x01\0\0\0\x03\x01\0\0\0\0\x01";
    put(root, "image", "runs.bmp", &[&[0b11], &header[..], &[0; 23], &pixels[..8], runs].concat());
}

fn texts(root: &Path) {
    let record = "# cpu: a, b: c\nnet,layer,measure,form,beside,threads,batch,kernel,macs,bytes,floor_us,median_us,lower_quartile_us,\
                  upper_quartile_us,quiet,samples\nN,\"a, b\",GEMM,dense,,1,8,\"k \"\"1\"\"\",1000,10,0.5,2,1,2.5,3,4\n\
                  N,b,load,dense,x,1,8,k,0,10,0.5,2,1,2.5,3,4\n";
    put(root, "record", "rows", record.as_bytes());
    let tuning = r#"{"made_for":{"sslm":"0.1.0","model":"0-0","inputs":[[1,2]],"isa":"avx2","threads":1,"cpu":"c"},"expected_us":1.0,
        "tuned_us":1.0,"layers":[{"name":"a","node":0,"expected":"packed","expected_us":1.0,"tuned":"winograd","tuned_us":1.0}]}"#;
    put(root, "json", "tuning", tuning.as_bytes());
    let rule = r#"{"color":"rgb","resize":"crop:5","scale":0.1,"mean":[1,2,3],"std":[1,1,1]}"#;
    put(root, "json", "preprocessing", rule.as_bytes());
}
