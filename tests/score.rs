//! `ssl-score` on what its own tests do not have: networks of open sizes, of a fixed batch, and such as cannot be scored in batches; tar
//! files and folders of strangers, of which nothing may be left out without an error.

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
    for name in ["open", "fixed", "batch", "both"] {
        all_that_is_yielded(&at(&format!("{name}.sslm")), &images, &at("out.jsonl"));
    }
    refuses("ssl-score", &[&at("open.sslm"), &images, "-o", &out, "--batch", "0"], &["--batch"]);
    refuses("ssl-score", &[&at("batch.sslm"), &images, "-o", &out, "--batch", "5"], &["--batch: expected 6"]);
}

/// Tensors of these 21 images, of which the last is none, whatever size the others have: as ssl-run writes them.
fn all_that_is_yielded(sslm: &str, images: &str, out: &str) {
    let Run { code, stderr, .. } = run("ssl-score", &[sslm, images, "-o", out, "--raw"]);
    assert_eq!(code, 1, "{sslm}: {stderr}");
    let lines = std::fs::read_to_string(out).expect("lines");
    let rows: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 21, "{sslm}");
    for (i, row) in rows.iter().enumerate() {
        let row = row.as_object().expect("a row");
        let found = row.iter().find(|(name, _)| !["key", "error"].contains(&name.as_str())).expect("a column of tensors").1;
        if i == 20 {
            assert!(found.is_null() && row["error"].is_string(), "{sslm}: {row:?}");
            continue;
        }
        let shown = succeeds("ssl-run", &[sslm, &format!("{images}/{i:02}.png"), "--format", "csv", "--top", "3"]);
        let shown = shown.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
        assert!(row["error"].is_null(), "{sslm}: {row:?}");
        for class in shown {
            let [place, said] = [class[1], class[4]];
            let found = found[place.parse::<usize>().expect("an index")].as_f64().expect("a number");
            assert!((found - said.parse::<f64>().expect("a number")).abs() < 1e-6, "{sslm}: {row:?}, {class:?}");
        }
    }
}

/// Where a model yields NaN, no class is the likeliest, whatever stands first.
#[test]
fn an_image_of_which_the_model_yields_nan_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let mut net = Net::new(&["N", "3", "2", "2"]);
    let y = net.node("GlobalAveragePool", &["x"], &[]);
    let y = net.node("Flatten", &[&y], &[]);
    let y = net.node("Div", &[&y, &y], &[]);
    let y = net.node("Softmax", &[&y], &[]);
    std::fs::write(at("ratios.onnx"), encode(&net.finish(&[&y]))).expect("a writable folder");
    let (sslm, images, out) = (at("ratios.sslm"), at("images"), at("out.csv"));
    succeeds("ssl-convert", &[&at("ratios.onnx"), "-o", &sslm]);
    std::fs::create_dir(&images).expect("a writable folder");
    write_image(&folder.path().join("images/a.png"), [2, 2], [10, 20, 30]);
    write_image(&folder.path().join("images/b.png"), [2, 2], [10, 0, 30]);
    let Run { code, stderr, .. } = run("ssl-score", &[&sslm, &images, "-o", &out, "--top", "1"]);
    assert_eq!(code, 1, "{stderr}");
    let rows = rows(&out);
    assert!(rows[0][0] == "a.png" && rows[0][1] == "0" && rows[0][4].is_empty(), "{rows:?}");
    assert!(rows[1][0] == "b.png" && rows[1][1].is_empty() && rows[1][4].contains("found NaN for 3 of 3"), "{rows:?}");
    let Run { code, stdout, stderr } = run("ssl-run", &[&sslm, &format!("{images}/a.png"), &format!("{images}/b.png")]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("b.png") && stderr.contains("found NaN for 3 of 3") && stdout.contains("a.png"), "{stdout}{stderr}");
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
    let mut rows = Net::new(&["1", "1", "h", "w"]);
    let y = rows.node("GlobalAveragePool", &["x"], &[]);
    let y = rows.node("Concat", &[&y, &y], &[("axis", Int(0))]);
    let rows = write("rows", rows, &y);
    refuses("ssl-score", &[&maps, &digits, "-o", &out], &["expected outputs of one size", "ssl-convert --dim"]);
    refuses("ssl-score", &[&rows, &digits, "-o", &out], &["a row for each of 1 images", "of [2, 1, 1, 1]"]);
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

/// A member of a tar file as its header says it: of this kind, and of so many bytes.
fn said_member(name: &[u8], kind: u8, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name);
    header[124..136].copy_from_slice(format!("{size:012o}").as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut member = [&header, content].concat();
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

fn member(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    said_member(name, kind, content.len() as u64, content)
}

/// What PAX says of the member behind it.
fn pax(kind: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let len = 5 + key.len() + value.len() + 2;
        content.extend([format!("{len:04} {key}=").as_bytes(), value, b"\n"].concat());
    }
    member(b"pax", kind, &content)
}

const END: [u8; 1024] = [0; 1024];

/// What bears an image's name and is no file is an error in its row; what bears another name is passed over.
#[test]
fn members_of_other_kinds_are_errors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let digit = std::fs::read(lenet().join("digits/7.png")).expect("a digit");
    let members = [
        member(b"first.png", b'0', &digit),
        member(b"hard.png", b'1', b""),
        member(b"symbolic.png", b'2', b""),
        member(b"device.png", b'3', b""),
        member(b"folder.png/", b'5', b""),
        member(b"pipe.png", b'6', b""),
        member(b"contiguous.png", b'7', &digit),
        member(b"holes.png", b'S', b"12345"),
        member(b"other.png", b'Z', b"12345"),
        [pax(b'x', &[("GNU.sparse.major", b"1"), ("GNU.sparse.name", b"sparse.png")]), member(b"q", b'0', &digit)].concat(),
        member(b"notes.txt", b'2', b""),
        [member(b"", b'L', &[&[b'n'; 300], &b".png\0"[..]].concat()), member(b"n", b'0', &digit)].concat(),
        [pax(b'x', &[("path", b"of pax.png"), ("size", digit.len().to_string().as_bytes())]), said_member(b"n", b'0', 0, &digit)]
            .concat(),
        member(b"\xff.png", b'0', &digit),
        member(b"\xfe.png", b'0', &digit),
        END.to_vec(),
    ];
    std::fs::write(at("in.tar"), members.concat()).expect("a writable folder");
    let (model, out) = (text(lenet().join("lenet.sslm")), at("out.csv"));
    let Run { code, stderr, .. } = run("ssl-score", &[&model, &at("in.tar"), "-o", &out]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("9 of 13 images could not be scored"), "{stderr}");
    let long = "n".repeat(300);
    let expected = [
        ("first", ""),
        ("hard", "expected a file, found a hard link"),
        ("symbolic", "expected a file, found a symbolic link"),
        ("device", "expected a file, found a device"),
        ("pipe", "expected a file, found a pipe"),
        ("contiguous", ""),
        ("holes", "expected a file, found a sparse file"),
        ("other", "expected a file, found a member of another kind"),
        ("sparse", "expected a file, found a sparse file"),
        (&*long, ""),
        ("of pax", ""),
        ("\u{fffd}", r"expected a name in UTF-8, found '\xff.png'"),
        ("\u{fffd}", r"expected a name in UTF-8, found '\xfe.png'"),
    ];
    let found = rows(&out);
    assert_eq!(found.iter().map(|row| (&*row[0], &*row[5])).collect::<Vec<_>>(), expected);
    assert!(found.iter().all(|row| (row[1] == "7") == row[5].is_empty()), "{found:?}");
}

/// An archive that is cut off anywhere, goes on behind its end, or asks for much memory by its headers is refused, and nothing is left.
#[test]
fn unsound_archives_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let digit = std::fs::read(lenet().join("digits/7.png")).expect("a digit");
    let good = member(b"a.png", b'0', &digit);
    let mut damaged = good.clone();
    damaged[0] = b'b';
    let before_good = |first: Vec<u8>| [&first, &good[..], &END].concat();
    let long = member(b"", b'L', b"name.png\0");
    let (model, input, out) = (text(lenet().join("lenet.sslm")), at("in.tar"), at("out.csv"));
    for (name, archive, expected) in [
        ("cut between members", good.clone(), "expected an end marker"),
        ("cut in the marker", [&good[..], &END[..512]].concat(), "expected an end marker of two blocks"),
        ("cut in a header", [&good[..], &good[..200]].concat(), "expected a header of 512 bytes, found 200"),
        ("cut in a member", good[..700].to_vec(), "found 188: it was cut off"),
        ("cut in another", said_member(b"a.txt", b'0', 5000, b"text"), "expected 5120 more bytes of a member, found 512"),
        ("more members", [&good[..], &END, &good].concat(), "expected nothing behind the end marker"),
        ("more, behind one block", [&good[..], &END[..512], &good].concat(), "expected nothing behind the end marker"),
        ("more, behind many blocks", [&good[..], &[0; 40_960], b"x"].concat(), "expected nothing behind the end marker"),
        ("a damaged header", before_good(damaged), "expected the header of a member"),
        (
            "a long name",
            before_good(said_member(b"", b'L', 1 << 30, b"")),
            "expected a name of at most 65536 bytes, found 1073741824",
        ),
        ("a long name of a link", before_good(said_member(b"", b'K', 65_537, b"")), "expected a name of at most"),
        (
            "a long name by PAX",
            before_good(said_member(b"", b'x', 1 << 30, b"")),
            "expected a PAX header of at most 1048576 bytes",
        ),
        ("a long name for all", before_good(said_member(b"", b'g', 1 << 30, b"")), "expected a PAX header of at most"),
        ("two names", before_good([&long[..], &long].concat()), "expected one long name for a member"),
        ("a name of nothing", [&long[..], &END].concat(), "expected a member behind what is said of it"),
        ("one name for all", before_good(pax(b'g', &[("path", b"same.png")])), "for all members without 'path'"),
        ("a size that is none", before_good(pax(b'x', &[("size", b"-5")])), "a number as size: found '-5'"),
        ("a size beyond", before_good(pax(b'x', &[("size", b"99999999999999999999")])), "a number as size"),
        ("the largest size", before_good(pax(b'x', &[("size", b"18446744073709551615")])), "expected a size, found"),
        ("records of no length", before_good(member(b"", b'x', b"0 =\n")), "records with their lengths"),
        ("records beyond", before_good(member(b"", b'x', b"999 path=x\n")), "records with their lengths"),
    ] {
        std::fs::write(&input, archive).expect("a writable folder");
        let Run { code, stderr, .. } = run("ssl-score", &[&model, &input, "-o", &out]);
        assert_eq!(code, 2, "{name}: {stderr}");
        assert!(stderr.contains("in.tar: expected a sound tar file: ") && stderr.contains(expected), "{name}: {stderr}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "{name}: something is left");
    }
}

/// What bears an image's name below a folder is a row, be it a file or not, and nothing that is none is waited for.
#[cfg(unix)]
#[test]
fn what_is_no_file_below_a_folder_is_an_error() {
    use sslm_tests::tools::make_pipe;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let digit = lenet().join("digits/7.png");
    std::fs::create_dir_all(at("in/folder.png")).expect("a writable folder");
    for name in [&b"a.png"[..], b"folder.png/b.png", b"\xfe.png", b"\xff.png"] {
        // Not all systems have such names.
        let copied = std::fs::copy(&digit, at("in").join(std::ffi::OsStr::from_bytes(name)));
        assert!(copied.is_ok() || !name.is_ascii(), "{copied:?}");
    }
    // What is hidden is left out, and counted.
    std::fs::create_dir(at("in/.sub")).expect("a writable folder");
    for name in [".h.png", ".sub/b.png", ".notes.txt"] {
        std::fs::copy(&digit, at("in").join(name)).expect("a writable folder");
    }
    make_pipe(&at("in/pipe.png"));
    for (name, target) in [("dangling.png", "nothing"), ("zero.png", "/dev/zero"), ("link.png", "a.png"), ("up.png", "..")] {
        std::os::unix::fs::symlink(target, at("in").join(name)).expect("a writable folder");
    }
    let errors = [
        ("dangling.png", "cannot open what it links to"),
        ("pipe.png", "expected a file, found a pipe or a device"),
        ("up.png", "expected a file, found a folder"),
        ("zero.png", "expected a file, found a pipe or a device"),
    ];
    let (model, input, out) = (text(lenet().join("lenet.sslm")), text(at("in")), text(at("out.csv")));
    let Run { code, stderr, .. } = run("ssl-score", &[&model, &input, "-o", &out]);
    assert_eq!(code, 1, "{stderr}");
    let left_out = "in: one hidden image and one hidden folder left out: names that begin with a dot";
    assert!(stderr.contains(left_out), "{stderr}");
    let found = rows(&out);
    let error = |key: &str| found.iter().find(|row| row[0] == key).map(|row| &*row[5]);
    for key in ["a.png", "folder.png/b.png", "link.png"] {
        assert_eq!(error(key), Some(""), "{key}");
    }
    for (key, expected) in errors {
        assert!(error(key).is_some_and(|error| error.starts_with(expected)), "{key}: {:?}", error(key));
    }
    let nameless: Vec<&str> = found.iter().filter(|row| row[0].contains('\u{fffd}')).map(|row| &*row[5]).collect();
    assert_eq!(nameless.len(), found.len() - 7, "{found:?}");
    assert!(nameless.iter().all(|error| error.starts_with("expected a name in UTF-8, found '\\xf")), "{nameless:?}");
    // ssl-run says the same, whether a folder or a pattern names what is no file or has no name in UTF-8.
    for images in [input.clone(), format!("{input}/*.png")] {
        let Run { code, stdout, stderr } = run("ssl-run", &[&model, &images, "--format", "csv", "--top", "1"]);
        assert_eq!(code, 1, "{stderr}");
        for key in ["a.png", "folder.png/b.png", "link.png"] {
            assert!(stdout.contains(&format!("{input}/{key},7,")), "{stdout}");
        }
        assert_eq!(stderr.contains(left_out), images == input, "{stderr}");
        let named = format!("{input}/\u{fffd}.png,");
        let unnamed: Vec<&str> = stdout.lines().filter(|line| line.starts_with(&named)).collect();
        assert_eq!(unnamed.len(), nameless.len(), "{images}: {stdout}");
        assert!(unnamed.iter().all(|line| line.contains("expected a name in UTF-8, found '")), "{unnamed:?}");
        for (name, expected) in errors.into_iter().filter(|(name, _)| images == input || *name != "up.png") {
            assert!(stderr.contains(&format!("{name}: {expected}")), "expected {name}: {expected}, found {stderr}");
        }
    }
    // For people, a name that is shown another way is no reason to show nothing.
    let Run { code, stdout, .. } = run("ssl-run", &[&model, &input, "--top", "1"]);
    let shown = stdout.lines().filter(|line| *line == format!("{input}/\u{fffd}.png")).count();
    assert_eq!((code, shown), (1, nameless.len()), "{stdout}");
    std::fs::remove_dir_all(at("in")).expect("a folder");
    std::fs::create_dir_all(at("in/.sub")).expect("a writable folder");
    for tool in ["ssl-score", "ssl-run"] {
        let output = if tool == "ssl-score" { vec!["-o", &*out] } else { vec![] };
        refuses(tool, &[&[&*model, &*input], &output[..]].concat(), &["found none (one hidden folder left out"]);
    }
}
