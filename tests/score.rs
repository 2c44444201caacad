//! `ssl-score` on networks that its own tests do not have: of open sizes, of a fixed batch, and such as cannot be scored in batches.

use sslm_tests::onnx::{Net, Value::*, encode};
use sslm_tests::tools::{Run, lenet, refuses, run, succeeds, text};
use std::path::Path;

/// A network of three classes that ends in `last`, as a file.
fn classifier(folder: &Path, name: &str, dims: &[&str], last: &str) -> String {
    let mut net = Net::new(dims);
    let y = net.node("GlobalAveragePool", &["x"], &[]);
    let y = net.node("Flatten", &[&y], &[]);
    let y = net.node(last, &[&y], &[]);
    let [onnx, sslm] = ["onnx", "sslm"].map(|extension| text(folder.join(name).with_extension(extension)));
    std::fs::write(&onnx, encode(&net.finish(&[&y]))).expect("a writable folder");
    succeeds("ssl-convert", &[&onnx, "-o", &sslm]);
    sslm
}

/// An image of one color.
fn write_image(path: &Path, size: [u32; 2], color: [u8; 3]) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).expect("a writable folder"), size[0], size[1]);
    encoder.set_color(png::ColorType::Rgb);
    let pixels = color.repeat((size[0] * size[1]) as usize);
    encoder.write_header().and_then(|mut file| file.write_image_data(&pixels)).expect("a writable folder");
}

/// Rows of a table without its headings.
fn rows(path: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(path).expect("a table");
    reader.records().map(|row| row.expect("a row").iter().map(str::to_owned).collect()).collect()
}

#[test]
fn images_of_any_size_and_batches_that_are_fixed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    std::fs::create_dir(at("images")).expect("a writable folder");
    for i in 0..20u32 {
        let mut color = [20, 40, 60];
        color[i as usize % 3] = 250;
        write_image(&folder.path().join(format!("images/{i:02}.png")), [2 + i % 5, 3 + i % 2], color);
    }
    std::fs::write(at("images/20.png"), "no image").expect("a writable folder");
    let (images, out) = (at("images"), at("out.csv"));
    for (name, dims) in [
        ("open", ["N", "3", "h", "w"]),
        ("fixed", ["N", "3", "4", "4"]),
        ("batch", ["6", "3", "4", "4"]),
        ("both", ["6", "3", "h", "w"]),
    ] {
        let sslm = classifier(folder.path(), name, &dims, "Softmax");
        let Run { code, stderr, .. } = run("ssl-score", &[&sslm, &images, "-o", &out, "--top", "2"]);
        assert_eq!(code, 1, "{name}: {stderr}");
        let rows = rows(&out);
        assert_eq!(rows.len(), 21, "{name}");
        for (i, row) in rows[..20].iter().enumerate() {
            let shown = succeeds("ssl-run", &[&sslm, &format!("{images}/{i:02}.png"), "--format", "csv", "--top", "2"]);
            let shown: Vec<Vec<&str>> = shown.lines().skip(1).map(|line| line.split(',').collect()).collect();
            assert_eq!(row[0], format!("{i:02}.png"));
            assert_eq!(row[1], (i % 3).to_string(), "{name}: the color that is strongest");
            // Index, probability and output of each class, as ssl-run says.
            for (place, class) in shown.iter().enumerate() {
                let found = [&row[1 + 3 * place], &row[2 + 3 * place], &row[3 + 3 * place]];
                assert_eq!(*found[0], class[1], "{name}: {row:?}, {class:?}");
                for (found, said) in found[1..].iter().zip(&class[3..5]) {
                    let [found, said] = [found.as_str(), said].map(|text| text.parse::<f32>().expect("a number"));
                    assert!((found - said).abs() < 1e-6, "{name}: {row:?}, {class:?}");
                }
            }
        }
        assert!(rows[20][1].is_empty() && rows[20][7].starts_with("expected a PNG"), "{name}: {:?}", rows[20]);
    }
    refuses("ssl-score", &[&at("open.sslm"), &images, "-o", &out, "--batch", "0"], &["--batch"]);
    refuses("ssl-score", &[&at("batch.sslm"), &images, "-o", &out, "--batch", "5"], &["--batch: expected 6"]);
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let (digits, out) = (text(lenet().join("digits")), at("out.jsonl"));
    let write = |name: &str, net: Net, y: &str| {
        let [onnx, sslm] = ["onnx", "sslm"].map(|extension| at(&format!("{name}.{extension}")));
        std::fs::write(&onnx, encode(&net.finish(&[y]))).expect("a writable folder");
        succeeds("ssl-convert", &[&onnx, "-o", &sslm]);
        sslm
    };
    let mut mixes = Net::new(&["N", "1", "2", "2"]);
    let y = mixes.node("Softmax", &["x"], &[("axis", Int(0))]);
    let mixes = write("mixes", mixes, &y);
    let mut maps = Net::new(&["N", "1", "h", "w"]);
    let y = maps.node("Relu", &["x"], &[]);
    let maps = write("maps", maps, &y);
    let mut plain = Net::new(&["N", "1", "2", "2"]);
    let y = plain.node("Relu", &["x"], &[]);
    let plain = write("plain", plain, &y);
    refuses("ssl-score", &[&mixes, &digits, "-o", &out], &["mixes the images of a batch", "--batch 1"]);
    refuses("ssl-score", &[&maps, &digits, "-o", &out], &["expected outputs of one size", "ssl-convert --dim"]);
    refuses("ssl-score", &[&plain, &digits, "-o", &out, "--top", "1"], &["--top", "one number a class", "[32, 1, 2, 2]"]);
    assert!(!Path::new(&out).exists());
    // One at a time, nothing is mixed; and what yields no classes yields tensors.
    for sslm in [&mixes, &plain] {
        succeeds("ssl-score", &[sslm, &digits, "-o", &out, "--batch", "1"]);
        let lines = std::fs::read_to_string(&out).expect("lines");
        let row: serde_json::Value = serde_json::from_str(lines.lines().next().expect("a row")).expect("JSON");
        let tensor = row.as_object().and_then(|row| row.values().find_map(serde_json::Value::as_array));
        assert_eq!(tensor.map(Vec::len), Some(4), "{row}");
    }
}

/// The same bits in any batch, where they are asked for.
#[test]
fn reproducible_results_do_not_depend_on_the_batch() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (model, digits) = (text(lenet().join("lenet.sslm")), text(lenet().join("digits")));
    let scores = |batch: &str| {
        let out = text(folder.path().join(format!("{batch}.csv")));
        succeeds("ssl-score", &[&model, &digits, "-o", &out, "--batch", batch, "--reproducible", "--top", "10"]);
        std::fs::read(out).expect("a table")
    };
    let expected = scores("1");
    for batch in ["3", "10", "32"] {
        assert!(scores(batch) == expected, "batch {batch}");
    }
}
