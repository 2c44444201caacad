//! The tool as people use it: every kind of input and output, images that cannot be read, calls that are refused, runs that are killed and
//! go on, and how much memory a long stream takes.

use arrow_array::{
    Array, ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, RecordBatch, RecordBatchReader, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssl-score"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Run {
    let output = command(arguments).output().expect("the tool starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    let code = output.status.code().unwrap_or_else(|| panic!("{arguments:?}: {}: {stderr}", output.status));
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    Run { code, stdout, stderr }
}

fn succeeds(arguments: &[&str]) -> String {
    let Run { code, stdout, stderr } = run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    stdout
}

/// Exit code 2, nothing on stdout, one message.
fn refuses(arguments: &[&str], expected: &[&str]) {
    let Run { code, stdout, stderr } = run(arguments);
    assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
    for part in expected {
        assert!(stderr.contains(part), "{arguments:?}: expected '{part}', found: {stderr}");
    }
}

fn lenet() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/lenet")
}

fn model() -> String {
    text(lenet().join("lenet.sslm"))
}

fn digits() -> String {
    text(lenet().join("digits"))
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().expect("a UTF-8 path").to_owned()
}

fn digit(i: usize) -> Vec<u8> {
    std::fs::read(lenet().join(format!("digits/{}.png", i % 10))).expect("a digit")
}

/// A table of so many images, of which each is one of the digits, or damaged.
fn table(rows: usize) -> RecordBatch {
    let damaged = |i: usize| i % 97 == 13;
    let image = |i: usize| if damaged(i) { digit(i)[..50].to_vec() } else { digit(i) };
    let ids: StringArray = (0..rows).map(|i| Some(format!("image {i}"))).collect();
    let images: BinaryArray = (0..rows).map(|i| Some(image(i))).collect();
    RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("image", Arc::new(images))]).expect("columns of one length")
}

fn write_parquet(path: &str, rows: &RecordBatch) {
    // Row groups that end elsewhere than batches and parts.
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let file = File::create(path).expect("a writable folder");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).expect("a writer");
    writer.write(rows).expect("rows");
    writer.close().expect("a writable folder");
}

/// Batches of seven rows.
fn slices(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    (0..rows.num_rows()).step_by(7).map(|first| rows.slice(first, 7.min(rows.num_rows() - first)))
}

fn write_arrow(path: &str, rows: &RecordBatch, is_stream: bool) {
    let file = File::create(path).expect("a writable folder");
    if is_stream {
        let mut writer = StreamWriter::try_new(file, &rows.schema()).expect("a writer");
        slices(rows).for_each(|rows| writer.write(&rows).expect("rows"));
        writer.finish().expect("a writable folder");
    } else {
        let mut writer = FileWriter::try_new(file, &rows.schema()).expect("a writer");
        slices(rows).for_each(|rows| writer.write(&rows).expect("rows"));
        writer.finish().expect("a writable folder");
    }
}

/// A tar file of these members.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, *content).expect("memory takes everything");
    }
    builder.into_inner().expect("memory takes everything")
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All files of a folder by their names, without what is noted of them.
fn files(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{folder}: {e}")).map(|entry| entry.expect("an entry"));
    let file = |entry: std::fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a file"))
    };
    entries.map(file).filter(|(name, _)| !name.starts_with("_ssl-score")).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The same images yield the same results, wherever they lie.
#[test]
fn every_kind_of_input() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let (model, out) = (model(), at("out.csv"));
    succeeds(&[&model, &digits(), "-o", &out]);
    let lines: Vec<String> = String::from_utf8(read(&out)).expect("text").lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "key,index_1,label_1,probability_1,output_1,error");
    assert_eq!(lines.len(), 11, "{lines:?}");
    for (i, line) in lines[1..].iter().enumerate() {
        assert!(line.starts_with(&format!("{i}.png,{i},{i},")) && line.ends_with(','), "{line}");
    }
    // All but the key.
    let results =
        |lines: &[String]| lines[1..].iter().map(|line| line.split_once(',').expect("columns").1.to_owned()).collect::<Vec<_>>();
    let images: Vec<Vec<u8>> = (0..10).map(digit).collect();
    let member_names: Vec<String> = (0..10).map(|i| format!("train/sample {i}.img.png")).collect();
    let mut members: Vec<(&str, &[u8])> = Vec::new();
    for (name, image) in member_names.iter().zip(&images) {
        members.extend([(name.as_str(), image.as_slice()), ("train/sample.cls", b"7")]);
    }
    std::fs::write(at("in.tar"), tar(&members)).expect("a writable folder");
    let rows = table(10);
    write_parquet(&at("in.parquet"), &rows);
    write_arrow(&at("in.arrow"), &rows, false);
    write_arrow(&at("in.arrows"), &rows, true);
    for (input, first_key) in [("in.tar", "train/sample 0.img"), ("in.parquet", "0"), ("in.arrow", "0"), ("in.arrows", "0")] {
        for flags in [&["--batch", "3"][..], &["--batch", "4", "--part-rows", "4"], &["--threads", "3"]] {
            succeeds(&[&[&*model, &at(input), "-o", &out], flags].concat());
            let found: Vec<String> = String::from_utf8(read(&out)).expect("text").lines().map(str::to_owned).collect();
            assert_eq!(results(&found), results(&lines), "{input} {flags:?}");
            assert!(found[1].starts_with(&format!("{first_key},")), "{input}: {}", found[1]);
        }
    }
    succeeds(&[&model, &at("in.arrow"), "-o", &out, "--keep", "id"]);
    let found = String::from_utf8(read(&out)).expect("text");
    assert!(found.starts_with("id,index_1,") && found.contains("\nimage 7,7,7,"), "{found}");
    let mut piped =
        command(&[&model, "-", "-o", &out]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the tool starts");
    piped.stdin.take().expect("a pipe").write_all(&tar(&members)).expect("the tool reads");
    assert!(piped.wait().expect("it ends").success());
    let found: Vec<String> = String::from_utf8(read(&out)).expect("text").lines().map(str::to_owned).collect();
    assert_eq!(results(&found), results(&lines));
    assert_eq!(names(folder.path()), ["in.arrow", "in.arrows", "in.parquet", "in.tar", "out.csv"], "parts are gone");
}

/// Tensors in, tensors out: what the library yields for them.
#[test]
fn raw_tensors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let mut random = fastrand::Rng::with_seed(1);
    let (rows, size) = (11, 28 * 28);
    let elements: Vec<f32> = (0..rows * size).map(|_| random.f32()).collect();
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let values = Arc::new(Float32Array::from(elements.clone()));
    let column = FixedSizeListArray::try_new(item, size as i32, values, None).expect("whole tensors");
    let table = RecordBatch::try_from_iter([("x", Arc::new(column) as ArrayRef)]).expect("a column");
    write_parquet(&at("x.parquet"), &table);
    write_arrow(&at("x.arrow"), &table, false);
    let opened = sslm::Model::read(model()).expect("the shipped model");
    let plan = opened.prepare(&sslm::Options::new().batch(4).threads(sslm::Threads::Single)).expect("a plan");
    let mut session = plan.session();
    let mut expected: Vec<f32> = Vec::new();
    for part in elements.chunks(4 * size) {
        let mut part = part.to_vec();
        let real = part.len() / size;
        part.resize(4 * size, 0.0);
        let view = sslm::TensorView::new(&[4, 1, 28, 28], &part).expect("a batch");
        expected.extend(&session.run(view).expect("it runs").data()[..real * 10]);
    }
    for (input, output) in [("x.parquet", "y.parquet"), ("x.arrow", "y.arrow")] {
        succeeds(&[&model(), &at(input), "-o", &at(output), "--raw", "--batch", "4", "--part-rows", "8"]);
        let file = File::open(at(output)).expect("an output");
        let reader: Box<dyn RecordBatchReader> = match output {
            "y.parquet" => {
                Box::new(ParquetRecordBatchReaderBuilder::try_new(file).expect("a sound file").build().expect("a sound file"))
            }
            _ => Box::new(FileReader::try_new(file, None).expect("a sound file")),
        };
        let field = reader.schema().field_with_name("logits").expect("the output's name").clone();
        assert_eq!(field.metadata().get("ARROW:extension:name").map(String::as_str), Some("arrow.fixed_shape_tensor"));
        let mut found: Vec<f32> = Vec::new();
        for rows in reader {
            let rows = rows.expect("sound rows");
            let logits = rows.column_by_name("logits").expect("the output's name");
            let logits = logits.as_any().downcast_ref::<FixedSizeListArray>().expect("tensors");
            found.extend(logits.values().as_any().downcast_ref::<Float32Array>().expect("f32").values());
        }
        assert_eq!(found, expected, "{output}");
    }
    succeeds(&[&model(), &at("x.parquet"), "-o", &at("y.jsonl"), "--raw"]);
    let lines = String::from_utf8(read(&at("y.jsonl"))).expect("text");
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["logits"].as_array().map(Vec::len), Some(10), "{first}");
    refuses(&[&model(), &at("x.parquet"), "-o", &at("y.csv"), "--raw"], &["logits", "columns of lists", "csv"]);
    refuses(&[&model(), &at("x.parquet"), "-o", &at("y.csv"), "--column", "y"], &["x.parquet", "a column 'y'", "found 'x'"]);
}

/// An image that cannot be read is an error in its row, and concerns no other.
#[test]
fn errors_stay_in_their_rows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    write_parquet(&at("in.parquet"), &table(200));
    let Run { code, stdout, stderr } = run(&[&model(), &at("in.parquet"), "-o", &at("out.csv"), "--batch", "8"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stdout.starts_with("200 images in "), "{stdout}");
    assert!(stderr.contains("2 of 200 images could not be scored: the column 'error' of"), "{stderr}");
    let found = String::from_utf8(read(&at("out.csv"))).expect("text");
    for (i, line) in found.lines().skip(1).enumerate() {
        match i {
            13 | 110 => assert!(line.starts_with(&format!("{i},,,,,expected a sound PNG image")), "{line}"),
            _ => assert!(line.starts_with(&format!("{i},{},", i % 10)) && line.ends_with(','), "{line}"),
        }
    }
    // The same outcome, when there is nothing left to do.
    for said in ["200 images in ", "200 images were done before -> "] {
        let Run { code, stdout, .. } = run(&[&model(), &at("in.parquet"), "-o", &at("parts")]);
        assert_eq!(code, 1);
        assert!(stdout.starts_with(said), "{stdout}");
    }
}

#[test]
fn wrong_calls_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let (model, digits, out) = (model(), digits(), at("out.csv"));
    write_parquet(&at("in.parquet"), &table(20));
    let sound = table(2);
    let columns = [0, 0, 1].map(|i| (sound.schema().field(i).name().clone(), Arc::clone(sound.column(i))));
    write_parquet(&at("twice.parquet"), &RecordBatch::try_from_iter(columns).expect("columns of one length"));
    std::fs::create_dir(at("empty")).expect("a writable folder");
    std::fs::write(at("cut.tar"), &tar(&[("0.png", &digit(0))])[..700]).expect("a writable folder");
    std::fs::create_dir(at("full")).expect("a writable folder");
    std::fs::write(at("full/of.txt"), "text").expect("a writable folder");
    std::fs::create_dir(at("folder.csv")).expect("a writable folder");
    let before = names(folder.path());
    for (arguments, expected) in [
        (&[&model, &digits, "-o", &at("folder.csv")][..], &["folder.csv: expected a file, found a folder", "--format csv"][..]),
        (&[&*model, &*digits, "-o", &at("out.txt")][..], &["out.txt", ".parquet, .arrow, .jsonl or .csv"][..]),
        (&[&model, &digits, "-o", &out, "--format", "arrow"], &["--format: expected none"]),
        (&[&model, &digits, "-o", &out, "--batch", "0"], &["--batch: expected at least 1"]),
        (&[&model, &digits, "-o", &out, "--keep", "id"], &["--keep", "expected a table"]),
        (&[&model, &at("empty"), "-o", &out], &["empty", "expected images"]),
        (&[&model, &at("missing"), "-o", &out], &["missing", "cannot read"]),
        (&[&model, &model, "-o", &out], &["lenet.sslm", "expected a folder of images, a tar file"]),
        (&[&digits, &digits, "-o", &out], &["digits"]),
        (&[&model, &at("cut.tar"), "-o", &out], &["cut.tar", "expected a sound tar file", "expected"]),
        (&[&model, &at("in.parquet"), "-o", &out, "--column", "id"], &["column 'id'", "expected binary", "found Utf8"]),
        (&[&model, &at("in.parquet"), "-o", &out, "--keep", "id,id"], &["--keep id: expected each name once, found it twice"]),
        (&[&model, &at("twice.parquet"), "-o", &out, "--keep", "id"], &["expected one column 'id', found several"]),
        (&[&model, &at("in.parquet"), "-o", &at("in.parquet")], &["--output", "INPUT"]),
        (&[&model, &digits, "-o", &at("full")], &["expected a new or empty folder", "of.txt"]),
        (&[&model, &digits, "-o", &at("none/out.csv")], &["expected a folder"]),
        (&[&model, &digits, "-o", &out, "--max-macs", "0"], &["--max-macs"]),
        (&[&model, &digits, "-o", &out, "--top", "1", "--raw"], &["--top", "--raw"]),
    ] {
        refuses(arguments, expected);
        assert_eq!(names(folder.path()), before, "{arguments:?}");
    }
    // Another model, other options and another input do not go on with what is there.
    let parts = at("parts");
    succeeds(&[&model, &digits, "-o", &parts]);
    let convnet = text(lenet().join("../convnet/convnet.sslm"));
    for (arguments, expected) in [
        (&[&*model, &*digits, "-o", &*parts, "--top", "2"][..], "another results"),
        (&[&model, &digits, "-o", &parts, "--isa", "portable"], "another results"),
        (&[&model, &digits, "-o", &parts, "--batch", "2"], "another batch"),
        (&[&model, &digits, "-o", &parts, "--scale", "2"], "another results"),
        (&[&model, &at("in.parquet"), "-o", &parts], "another column"),
        (&[&convnet, &digits, "-o", &parts], "another"),
        (&[&model, &text(lenet().join("..")), "-o", &parts], "another input"),
    ] {
        refuses(arguments, &["was begun with", expected, "remove it"]);
    }
}

/// Instants of a zone that has a name are the same in UTC, where a format of text has no tables of zones; elsewhere they stay.
#[test]
fn times_of_zones_are_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let time = |zone: &str| {
        let times = TimestampMicrosecondArray::from(vec![Some(1_577_836_800_000_000), None]);
        Arc::new(times.with_timezone(zone)) as ArrayRef
    };
    let within = StructArray::from(vec![(Arc::new(Field::new("t", time("UTC").data_type().clone(), true)), time("UTC"))]);
    let rows = table(2);
    let columns = [
        ("named", time("Europe/Berlin")),
        ("utc", time("UTC")),
        ("offset", time("+02:00")),
        ("within", Arc::new(within)),
        ("image", Arc::clone(rows.column(1))),
    ];
    let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
    write_parquet(&at("in.parquet"), &rows);
    let keep = |format: &str, columns: &str| {
        let out = at(&format!("out.{format}"));
        succeeds(&[&model(), &at("in.parquet"), "-o", &out, "--keep", columns]);
        out
    };
    let csv = String::from_utf8(read(&keep("csv", "named,utc,offset"))).expect("text");
    let expected = "2020-01-01T00:00:00Z,2020-01-01T00:00:00Z,2020-01-01T02:00:00+02:00,0,";
    assert!(csv.lines().nth(1).is_some_and(|line| line.starts_with(expected)), "{csv}");
    assert!(csv.lines().nth(2).is_some_and(|line| line.starts_with(",,,1,")), "{csv}");
    let lines = String::from_utf8(read(&keep("jsonl", "named,utc"))).expect("text");
    assert!(lines.starts_with(r#"{"named":"2020-01-01T00:00:00Z","utc":"2020-01-01T00:00:00Z","#), "{lines}");
    let file = File::open(keep("arrow", "named,within")).expect("a file");
    let found = FileReader::try_new(file, None).expect("Arrow").next().expect("a batch").expect("rows");
    assert!(found.column(0) == rows.column(0) && found.column(1) == rows.column(3), "as they were");
    let out = at("new.jsonl");
    let expected = "column 'within': expected one of parquet and arrow for times of zone 'UTC' within others, found jsonl";
    refuses(&[&model(), &at("in.parquet"), "-o", &out, "--keep", "within"], &[expected]);
    assert!(!Path::new(&out).exists() && !Path::new(&format!("{out}.parts")).exists());
}

/// Damaged files are an error, or errors in rows: never a panic.
#[test]
fn damaged_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let (model, rows, out) = (model(), table(12), at("out.csv"));
    write_parquet(&at("in.parquet"), &rows);
    write_arrow(&at("in.arrow"), &rows, false);
    write_arrow(&at("in.arrows"), &rows, true);
    std::fs::write(at("in.tar"), tar(&[("0.png", &digit(0)), ("1.png", &digit(1))])).expect("a writable folder");
    let mut random = fastrand::Rng::with_seed(7);
    for input in ["in.parquet", "in.arrow", "in.arrows", "in.tar"] {
        let sound = read(&at(input));
        for round in 0..25 {
            let mut damaged = sound.clone();
            if round % 5 == 0 {
                damaged.truncate(random.usize(..sound.len()));
            } else {
                // Most of what a file says of itself stands at its ends.
                let ends = [0..800.min(sound.len()), sound.len().saturating_sub(1500)..sound.len()];
                let place = random.usize(ends[round % 2].clone());
                let any = random.u8(..);
                damaged[place] = random.choice([0, 0x7f, 0xff, any]).expect("one of four");
            }
            std::fs::write(at("damaged"), &damaged).expect("a writable folder");
            let Run { code, stderr, .. } = run(&[&model, &at("damaged"), "-o", &out]);
            assert!((0..=2).contains(&code), "{input}, round {round}: {code}: {stderr}");
            assert_eq!(Path::new(&out).exists(), code < 2, "{input}, round {round}: a file if and only if it succeeds");
            let _ = std::fs::remove_file(&out);
            let _ = std::fs::remove_dir_all(at("out.csv.parts"));
        }
    }
}

/// A run that is killed again and again, and the same call again after it, write what one that is left alone does: in every format, to
/// a folder and to one file.
#[test]
fn killed_at_any_moment_it_goes_on_exactly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    let rows = table(3000);
    write_parquet(&at("in.parquet"), &rows);
    write_arrow(&at("in.arrow"), &rows, false);
    let images: Vec<(String, Vec<u8>)> = (0..3000).map(|i| (format!("{i:05}.png"), digit(i))).collect();
    std::fs::write(at("in.tar"), tar(&images.iter().map(|(name, image)| (&**name, &**image)).collect::<Vec<_>>()))
        .expect("a writable folder");
    std::fs::create_dir(at("images")).expect("a writable folder");
    images
        .iter()
        .step_by(2)
        .for_each(|(name, image)| std::fs::write(at(&format!("images/{name}")), image).expect("a writable folder"));
    let mut random = fastrand::Rng::with_seed(3);
    let mut gone_on = 0;
    for (input, output, format) in [
        ("in.parquet", "parts", "parquet"),
        ("in.parquet", "out.parquet", ""),
        ("in.arrow", "out.arrow", ""),
        ("in.tar", "out.csv", ""),
        ("images", "parts", "csv"),
        ("in.tar", "out.jsonl", ""),
    ] {
        let [undisturbed, killed] = ["undisturbed", "killed"].map(|kind| at(&format!("{kind}-{output}")));
        let format = if format.is_empty() { vec![] } else { vec!["--format", format] };
        let (model, input) = (model(), at(input));
        let arguments = |output| [&[&*model, &*input, "-o", output, "--part-rows", "64", "--batch", "16"], &format[..]].concat();
        let whole = run(&arguments(&undisturbed));
        let mut kills = 0;
        let last = loop {
            let mut child =
                command(&arguments(&killed)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool starts");
            // Where a machine is slow, some part has to become complete in the end.
            std::thread::sleep(Duration::from_millis(random.u64(10..60 + kills * 10)));
            if let Some(status) = child.try_wait().expect("a process") {
                break (status.code(), said(&mut child));
            }
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            kills += 1;
        };
        assert_eq!(last.0, Some(whole.code), "{output}: {}", last.1);
        assert!(kills > 0, "{output}: it was killed");
        gone_on += u32::from(last.1.contains("images were done before"));
        if Path::new(&undisturbed).is_dir() {
            let [expected, found] = [files(&undisturbed), files(&killed)];
            assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{output}: names");
            assert!(expected == found, "{output}: other bytes");
            std::fs::remove_dir_all(undisturbed).expect("a folder");
            std::fs::remove_dir_all(killed).expect("a folder");
        } else {
            assert!(read(&undisturbed) == read(&killed), "{output}: other bytes");
            assert!(!Path::new(&format!("{killed}.parts")).exists(), "{output}: parts are gone");
        }
    }
    assert!(gone_on >= 3, "runs that went on after parts: {gone_on} of 6");
}

/// What is done to a file, and what a message has to say of it.
type Harm = (fn(&mut Vec<u8>), &'static str);

/// Parts that were damaged or edited since they were complete become a part of nothing, whether all are there or some.
#[test]
fn parts_that_changed_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| text(folder.path().join(name));
    write_parquet(&at("in.parquet"), &table(3000));
    let harms: [Harm; 4] = [
        (|bytes| bytes.clear(), "found 0"),
        (|bytes| bytes.truncate(bytes.len() - 1), "as when it was complete, found"),
        (|bytes| bytes[9] ^= 4, "expected the checksum"),
        (|bytes| bytes.extend(*b"\n"), "as when it was complete, found"),
    ];
    for (output, format) in [("out", "parquet"), ("rows", "csv"), ("out.csv", ""), ("out.jsonl", ""), ("out.arrow", "")] {
        let (model, input, out) = (model(), at("in.parquet"), at(output));
        let format = if format.is_empty() { vec![] } else { vec!["--format", format] };
        let arguments = [&[&*model, &*input, "-o", &*out, "--part-rows", "96"], &format[..]].concat();
        let parts = if format.is_empty() { format!("{out}.parts") } else { out.clone() };
        let mut child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the tool starts");
        let is_begun = || Path::new(&parts).is_dir() && names(Path::new(&parts)).iter().any(|name| name.contains("00003"));
        while !is_begun() && child.try_wait().expect("a process").is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().expect("a process");
        child.wait().expect("it ends");
        let part = names(Path::new(&parts)).into_iter().find(|name| name.contains("00001")).expect("a part");
        let path = format!("{parts}/{part}");
        let sound = read(&path);
        for (harm, expected) in harms {
            let mut bytes = sound.clone();
            harm(&mut bytes);
            std::fs::write(&path, bytes).expect("a writable folder");
            refuses(&arguments, &[&part, expected, "remove it to begin anew"]);
            assert_eq!(Path::new(&out).exists(), !parts.ends_with(".parts"), "{output}");
        }
        std::fs::write(&path, sound).expect("a writable folder");
        assert_eq!(run(&arguments).code, 1, "{output}: damaged images, and sound parts");
        if output == "out" {
            // All are there, and none is scored again.
            std::fs::write(&path, "").expect("a writable folder");
            refuses(&arguments, &[&part, "found 0", "remove it to begin anew"]);
        }
    }
}

fn said(child: &mut Child) -> String {
    let mut said = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
    said
}

/// The most memory that a process had so far.
#[cfg(target_os = "linux")]
fn peak_kib(child: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("Linux has it");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Adds so many images to a tar file that is piped, each of so many bytes: what follows the end of a PNG image is not read.
#[cfg(target_os = "linux")]
fn pipe_images(pipe: &mut tar::Builder<impl Write>, names: std::ops::Range<usize>, bytes: usize) {
    let mut image = digit(4);
    image.resize(bytes, 0);
    for i in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes as u64);
        header.set_cksum();
        pipe.append_data(&mut header, format!("{i}.png"), &image[..]).expect("the tool reads");
    }
}

/// A stream of some 300 MB takes no more than a few batches of it.
#[cfg(target_os = "linux")]
#[test]
fn long_streams_take_little_memory() {
    const IMAGES: usize = 10_000;
    const BYTES: usize = 30_000;
    /// For the program, its threads and the model, besides what the help says that batches take.
    const BESIDES_KIB: usize = 60 << 10;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = text(folder.path().join("out.parquet"));
    let (batch, threads) = (32, 2);
    let arguments = [&*model(), "-", "-o", &out, "--batch", &batch.to_string(), "--threads", &threads.to_string()];
    let mut child = command(&arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the tool starts");
    let mut pipe = tar::Builder::new(child.stdin.take().expect("a pipe"));
    let mut peak = 0;
    for i in (0..IMAGES).step_by(100) {
        pipe_images(&mut pipe, i..i + 100, BYTES);
        peak = peak_kib(&child);
    }
    drop(pipe.into_inner().expect("the tool reads"));
    assert!(child.wait().expect("it ends").success());
    let of_batches = (threads + 2) * batch * (BYTES + 28 * 28 * 4) / 1024;
    println!("{peak} KiB of {} KiB; {of_batches} KiB in batches", IMAGES * BYTES / 1024);
    assert!(peak < of_batches + BESIDES_KIB, "{peak} KiB; expected {of_batches} for batches and {BESIDES_KIB} besides");
    assert!(peak > 0);
}

/// Large files take as much memory as chunks may have, not what a batch of them has; parts have the rows that were asked for.
#[cfg(target_os = "linux")]
#[test]
fn large_files_take_bounded_memory() {
    const MIB: usize = 1 << 20;
    /// What the help says of each chunk.
    const CHUNK_MIB: usize = 64;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = text(folder.path().join("out"));
    let threads = 2;
    let arguments = [&*model(), "-", "-o", &out, "--threads", &threads.to_string(), "--part-rows", "32", "--format", "csv"];
    let mut child = command(&arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the tool starts");
    let mut pipe = tar::Builder::new(child.stdin.take().expect("a pipe"));
    pipe_images(&mut pipe, 0..30, 30 * MIB);
    pipe_images(&mut pipe, 30..34, 65 * MIB);
    pipe_images(&mut pipe, 34..40, 30_000);
    let peak = peak_kib(&child) / 1024;
    drop(pipe.into_inner().expect("the tool reads"));
    assert!(child.wait().expect("it ends").success());
    // Each thread has one file more, as it decodes it, and some room to read it into.
    let most = (threads + 2) * CHUNK_MIB + threads * 2 * CHUNK_MIB + 60;
    println!("{peak} MiB of {}; {most} are allowed", 30 * 30 + 4 * 65);
    assert!(peak < most, "{peak} MiB; expected at most {most}");
    for (part, rows) in [("part-00000.csv", 0..32), ("part-00001.csv", 32..40)] {
        let found = String::from_utf8(read(&format!("{out}/{part}"))).expect("text");
        let keys: Vec<String> = found.lines().skip(1).map(|line| line.split(',').next().expect("a key").to_owned()).collect();
        assert_eq!(keys, rows.map(|i| i.to_string()).collect::<Vec<_>>(), "{part}");
        assert!(found.lines().skip(1).all(|line| line.contains(",4,4,")), "{found}");
    }
}
