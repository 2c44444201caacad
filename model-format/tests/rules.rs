//! Every rule about a file's outside and about graphs: one change that breaks it, and what the message says. `tests/scripts/mutants.sh`
//! finds rules that nothing here would miss.

#[path = "../../tests/src/file.rs"]
#[allow(dead_code, unreachable_pub, reason = "the whole-system tests need more of it")]
mod file;

use file::{entry_of, find, repair_checksums, section};
use sslm_format::*;
use std::io::Cursor;

/// A model that has a part of every kind.
fn model() -> Model {
    let value = |name: &str| Value { name: name.to_owned(), compaction: None };
    let compacted = Compaction { logical: 4, kept: vec![0, 2], constants: vec![0.5, 0.0] };
    let node = |name: &str, inputs: &[u32], output: u32, op: Op| Node {
        name: name.to_owned(),
        inputs: inputs.iter().map(|&v| ValueId(v)).collect(),
        output: ValueId(output),
        op,
    };
    let n = || Dim::Symbolic { name: "n".to_owned() };
    let graph = Graph {
        blobs: vec![Blob { offset: 0, len: 6 }, Blob { offset: 64, len: 1 }],
        values: vec![value("x"), Value { compaction: Some(compacted), ..value("y") }, value("c"), value("z"), value("d")],
        inputs: vec![Input { value: ValueId(0), dims: vec![n(), Dim::Fixed { size: 4 }, Dim::Fixed { size: 6 }] }],
        outputs: vec![ValueId(1), ValueId(2), ValueId(3)],
        nodes: vec![
            node("relu", &[0], 1, Op::Activation(Activation::Relu)),
            node("constant", &[], 2, Constant { dims: vec![2, 3], data: BlobId(0) }.into()),
            node("another", &[], 4, Constant { dims: vec![1], data: BlobId(1) }.into()),
            node("expression", &[0], 3, Reshape { dims: vec![Extent::symbol("n"), Extent::from(24i64)] }.into()),
        ],
    };
    Model {
        graph,
        types: Some(ElementTypes {
            inputs: vec![ElementType::U8],
            outputs: vec![ElementType::F32, ElementType::F32, ElementType::I64],
        }),
        output_names: ["a", "b", "c"].map(str::to_owned).to_vec(),
        labels: vec!["cat".to_owned(), String::new()],
        preprocessing: Some(Preprocessing {
            color: Color::Rgb,
            resize: Resize::CenterCrop { short_side: 1 },
            scale: -1.0,
            mean: vec![0.0; 3],
            std: vec![1.0, -2.0, 1.0],
        }),
        provenance: Some(Provenance {
            tool: "t".to_owned(),
            source: "s".to_owned(),
            source_bytes: 1 << 40,
            source_sha256: std::array::from_fn(|i| i as u8),
            dense: true,
        }),
    }
}

fn written(model: &Model) -> Result<Vec<u8>> {
    let mut out = Cursor::new(Vec::new());
    write(&mut out, model, |blob, sink| {
        let len = model.graph.blobs[blob].len as usize;
        (0..len).try_for_each(|i| sink(&[(blob + i) as f32]))
    })?;
    Ok(out.into_inner())
}

fn whole() -> Vec<u8> {
    written(&model()).expect("the model keeps every rule")
}

#[test]
fn what_is_written_is_read() {
    let file = whole();
    let loaded = validate(&file).expect("what was written is valid");
    assert_eq!(loaded.model, model());
    assert_eq!(loaded.version, VERSION);
    assert_eq!(loaded.weight_bytes(), 68);
    assert_eq!(loaded.blob(&file, BlobId(0)), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(loaded.blob(&file, BlobId(1)), [1.0]);
    loaded.verify_weights(&file).expect("the weights are whole");
    let (version, sections) = sections(&file).expect("a valid file");
    assert_eq!(version, VERSION);
    let all: Vec<(String, bool, u64)> = sections.iter().map(|s| (s.name(), s.must_understand(), s.offset % 64)).collect();
    let expected = ["GRPH!", "TYPE!", "OUTN", "LABL", "PREP", "PROV", "WGTS!"];
    assert_eq!(all, expected.map(|name| (name[..4].to_owned(), name.ends_with('!'), 0)));
    assert_eq!(sections[6].offset % WEIGHT_ALIGN, 0);
    // A model without options is as valid, and so is one without weights.
    let plain = Model { graph: model().graph, ..Model::default() };
    assert_eq!(validate(&written(&plain).expect("it keeps every rule")).expect("valid").model, plain);
}

/// Breaks a rule about models: writing says so, since it checks what reading does.
fn breaks(expected: &str, change: impl Fn(&mut Model)) {
    let mut broken = model();
    change(&mut broken);
    match written(&broken) {
        Ok(_) => panic!("expected an error: {expected}"),
        Err(e) => assert!(e.to_string().contains(expected), "expected '{expected}' in: {e}"),
    }
}

fn keeps(change: impl Fn(&mut Model)) {
    let mut changed = model();
    change(&mut changed);
    let file = written(&changed).unwrap_or_else(|e| panic!("it keeps every rule: {e}"));
    assert_eq!(validate(&file).expect("what was written is valid").model, changed);
}

#[test]
fn rules_about_values() {
    let compaction =
        |change: fn(&mut Compaction)| move |m: &mut Model| change(m.graph.values[1].compaction.as_mut().expect("it has one"));
    breaks("value 1 'y': logical channels: expected less than 268435456, found 268435456", compaction(|c| c.logical = 1 << 28));
    breaks(
        "value 1 'y': kept channels: expected strictly increasing indices, found 2 before 2",
        compaction(|c| c.kept = vec![2, 2]),
    );
    breaks("value 1 'y': kept channels: expected indices below 4, found 4", compaction(|c| c.kept = vec![0, 4]));
    breaks("value 1 'y': constants: expected 2, found 1", compaction(|c| c.constants.truncate(1)));
    breaks("value 1 'y': constants: expected 1, found 2", compaction(|c| c.kept = vec![0, 1, 2]));
    breaks("value 1 'y': constants: expected finite numbers, found NaN", compaction(|c| c.constants[1] = f32::NAN));
    breaks("value 'y': expected axis 1 of extent 5", compaction(|c| (c.logical, c.constants) = (5, vec![0.0; 3])));
    keeps(compaction(|c| (c.kept, c.constants) = (vec![3], vec![f32::MIN_POSITIVE, -1.0, 0.0])));
    // A value without an axis 1, and one of an axis 1 whose extent is not known.
    breaks("value 'd': expected axis 1 of extent 1", |m| {
        m.graph.nodes[2].op = Op::from(Reshape { dims: vec![Extent::from(-1i64)] });
        m.graph.nodes[2].inputs = vec![ValueId(0)];
        m.graph.values[4].compaction = Some(Compaction { logical: 1, kept: vec![0], constants: vec![] });
    });
    breaks("value 'y': expected axis 1 of extent 4", |m| m.graph.inputs[0].dims[1] = Dim::Symbolic { name: "c".to_owned() });
}

#[test]
fn rules_about_the_flow() {
    breaks("input 0: expected a value below 5, found 5", |m| m.graph.inputs[0].value = ValueId(5));
    breaks("node 'constant': expected a value that nothing else defines, found value 1", |m| {
        m.graph.nodes[1].output = ValueId(1);
    });
    breaks("input 1: expected a value that nothing else defines, found value 0", |m| {
        m.graph.inputs.push(m.graph.inputs[0].clone());
    });
    breaks("input 0: expected every channel present, found a kept list", |m| {
        m.graph.values[0].compaction = m.graph.values[1].compaction.clone();
    });
    breaks("input 0: expected extents of at least 1, found 0", |m| m.graph.inputs[0].dims[2] = Dim::Fixed { size: 0 });
    breaks("node 'relu': expected inputs that are defined before it, found value 5", |m| m.graph.nodes[0].inputs[0] = ValueId(5));
    breaks("node 'relu': expected inputs that are defined before it, found value 1", |m| m.graph.nodes[0].inputs[0] = ValueId(1));
    breaks("node 'relu': expected inputs that are defined before it, found value 2", |m| m.graph.nodes[0].inputs[0] = ValueId(2));
    // The first node may be read by the second, and the second by the third.
    keeps(|m| m.graph.nodes.swap(0, 2));
    keeps(|m| {
        let relu = |name: &str, input, output| Node {
            name: name.to_owned(),
            inputs: vec![ValueId(input)],
            output: ValueId(output),
            op: Op::Activation(Activation::Relu),
        };
        m.graph.nodes[1] = relu("second", 1, 2);
        m.graph.nodes[2] = relu("third", 2, 4);
        m.graph.blobs.clear();
    });
    breaks("outputs: expected values that an input or a node defines, found value 5", |m| m.graph.outputs[0] = ValueId(5));
    breaks("outputs: expected values that an input or a node defines, found value 4", |m| {
        m.graph.outputs[0] = ValueId(4);
        m.graph.nodes.remove(2);
    });
    breaks("value 4 'd': expected a definition, found none", |m| drop(m.graph.nodes.remove(2)));
    breaks("graph: expected at least one input and one output, found 1 inputs, 0 outputs", |m| {
        m.graph.outputs.clear();
        m.output_names.clear();
    });
    breaks("found 0 inputs, 1 outputs", |m| {
        m.graph.inputs.clear();
        m.graph.nodes.retain(|node| node.inputs.is_empty());
        m.graph.outputs = vec![ValueId(2)];
        m.output_names.truncate(1);
    });
    keeps(|m| m.graph.outputs[2] = ValueId(0));
}

#[test]
fn rules_about_nodes_and_what_is_beside_them() {
    breaks("node 'relu' (Relu): inputs: expected 1 to 1, found 2", |m| m.graph.nodes[0].inputs.push(ValueId(0)));
    breaks("node 'constant' (Constant): data: expected as many elements as dims [2, 4] say, found 6", |m| {
        m.graph.nodes[1].op = Constant { dims: vec![2, 4], data: BlobId(0) }.into();
    });
    breaks("node 'constant' (Constant): data: expected a blob below 2, found 2", |m| {
        m.graph.nodes[1].op = Constant { dims: vec![2, 3], data: BlobId(2) }.into();
    });
    breaks("(Reshape): extents: expected symbolic dims of inputs, found 'm'", |m| {
        m.graph.nodes[3].op = Reshape { dims: vec![Extent::symbol("m"), Extent::from(24i64)] }.into();
    });
    for other in ["", "xyzzy"] {
        breaks("extents: expected symbolic dims of inputs", |m| {
            m.graph.nodes[3].op = Reshape { dims: vec![Extent::symbol(other), Extent::from(24i64)] }.into();
        });
    }
    breaks("output names: expected 3, found 2", |m| m.output_names.truncate(2));
    breaks("types of inputs: expected 1, found 2", |m| m.types.iter_mut().for_each(|types| types.inputs.push(ElementType::F32)));
    breaks("types of outputs: expected 3, found 2", |m| m.types.iter_mut().for_each(|types| types.outputs.truncate(2)));
    let rule = |change: fn(&mut Preprocessing)| move |m: &mut Model| change(m.preprocessing.as_mut().expect("it has one"));
    breaks("preprocessing: length of mean: expected 3, found 1", rule(|p| p.mean.truncate(1)));
    breaks("preprocessing: length of std: expected 3, found 1", rule(|p| p.std.truncate(1)));
    breaks("preprocessing: length of mean: expected 1, found 3", rule(|p| p.color = Color::Gray));
    keeps(rule(|p| (p.color, p.mean, p.std) = (Color::Gray, vec![1.0], vec![1.0])));
    let unusable: [fn(&mut Preprocessing); 5] =
        [|p| p.scale = 0.0, |p| p.scale = f32::NAN, |p| p.std[1] = 0.0, |p| p.std[2] = f32::INFINITY, |p| p.mean[0] = f32::NAN];
    for change in unusable {
        breaks("preprocessing: expected finite numbers, and neither scale nor std 0", rule(change));
    }
    breaks("preprocessing: short_side: expected at least 1, found 0", rule(|p| p.resize = Resize::CenterCrop { short_side: 0 }));
    breaks("preprocessing: short_side: expected less than", rule(|p| p.resize = Resize::CenterCrop { short_side: u32::MAX }));
    keeps(rule(|p| p.resize = Resize::Stretch));
    breaks("strin", |m| m.labels[0] = "a".repeat((1 << 16) + 1));
    keeps(|m| m.labels[0] = "a".repeat(1 << 16));
}

/// Changes the bytes of a file: reading says what is wrong.
fn refuses(expected: &str, kind: ErrorKind, change: impl Fn(&mut Vec<u8>)) {
    let mut file = whole();
    change(&mut file);
    let e = match validate(&file).and_then(|loaded| loaded.verify_weights(&file)) {
        Ok(()) => panic!("expected an error: {expected}"),
        Err(e) => e,
    };
    assert!(e.to_string().contains(expected), "expected '{expected}' in: {e}");
    assert_eq!(e.kind(), kind, "{e}");
}

/// The same with checksums that are right.
fn refuses_repaired(expected: &str, kind: ErrorKind, change: impl Fn(&mut Vec<u8>)) {
    refuses(expected, kind, |file| {
        change(file);
        repair_checksums(file);
    });
}

fn set(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn rules_about_the_outside() {
    use ErrorKind::*;
    refuses("magic (first 8 bytes): expected \"\\x89SSLM", NotSslm, |f| f[0] = 0);
    refuses("found \"\\x89SSL\"", NotSslm, |f| f.truncate(4));
    for len in [8, 31] {
        refuses(&format!("header: expected 32 bytes, found {len}"), Truncated, |f| f.truncate(len));
    }
    refuses_repaired("format major version: expected 0, found 1", Version, |f| f[8] = 1);
    refuses("file length: expected", Truncated, |f| f.truncate(32));
    refuses("bytes (by its header), found", Truncated, |f| f.push(0));
    refuses_repaired("section count: expected at most 64, found 65", Invalid, |f| f[12] = 65);
    // With so many sections, the table would go beyond the file's end; with one more, it is too long in any case.
    let short = |f: &mut Vec<u8>| {
        f.truncate(100);
        set(f, 16, &100u64.to_le_bytes());
        f[12] = 64;
    };
    refuses("section table: expected 2080 bytes, found 100", Truncated, short);
    refuses("header and section table: expected checksum", Checksum, |f| f[24] ^= 1);
    refuses("header and section table: expected checksum", Checksum, |f| f[40] ^= 1);
    refuses_repaired("header: reserved: expected 0, found 1", Invalid, |f| f[28] = 1);
    let at = |f: &[u8], name: &str, field: usize| entry_of(f, name) + field;
    refuses_repaired("section GRPH: offset: expected 256, found 320", Invalid, |f| {
        let at = at(f, "GRPH", 8);
        set(f, at, &320u64.to_le_bytes());
    });
    let longest = |f: &[u8]| f.len() as u64 - section(f, "WGTS").offset;
    refuses_repaired("section WGTS: length: expected at most 68 (the file's end), found 69", Invalid, |f| {
        let (at, len) = (at(f, "WGTS", 16), longest(f) + 1);
        set(f, at, &len.to_le_bytes());
    });
    refuses_repaired("last section: expected to end at byte", Invalid, |f| {
        let (at, len) = (at(f, "WGTS", 16), longest(f) - 1);
        set(f, at, &len.to_le_bytes());
    });
    refuses_repaired("section LABL: flags and reserved: expected 0 or 1, and 0, found 2 and 0", Invalid, |f| {
        let at = at(f, "LABL", 4);
        f[at] = 2;
    });
    refuses_repaired("section LABL: flags and reserved: expected 0 or 1, and 0, found 0 and 7", Invalid, |f| {
        let at = at(f, "LABL", 28);
        f[at] = 7;
    });
    refuses_repaired("section LABL: tag: expected one section of each kind", Invalid, |f| {
        let at = at(f, "PREP", 0);
        set(f, at, b"LABL");
    });
    refuses_repaired("section WGTS: alignment before it: expected zero bytes", Invalid, |f| {
        let at = section(f, "WGTS").offset as usize - 1;
        f[at] = 1;
    });
    refuses("section LABL: expected checksum", Checksum, |f| {
        let at = section(f, "LABL").offset as usize;
        f[at + 8] ^= 1;
    });
    refuses("section WGTS: expected checksum", Checksum, |f| {
        let at = section(f, "WGTS").offset as usize;
        f[at] ^= 1;
    });
    refuses_repaired("section NEWS: expected a known section, found one that needs a newer sslm", Version, |f| {
        let at = at(f, "TYPE", 0);
        set(f, at, b"NEWS");
    });
    refuses_repaired("section table: expected a section GRPH, found none", Invalid, |f| {
        let at = at(f, "GRPH", 0);
        set(f, at, b"NEWS");
        f[at + 4] = 0;
    });
    refuses_repaired("section table: expected a section WGTS, found none", Invalid, |f| {
        // The weights are the last section; without them the table has zeros at its end.
        let end = section(f, "PROV").offset + section(f, "PROV").len;
        f.truncate(end as usize);
        set(f, 16, &end.to_le_bytes());
        let at = 32 + 6 * 32;
        f[at..at + 32].fill(0);
        f[12] = 6;
    });
}

#[test]
fn rules_about_records() {
    use ErrorKind::*;
    let graph = |f: &[u8]| section(f, "GRPH").offset as usize;
    refuses_repaired("section GRPH at byte 0: expected a count of at most", Invalid, |f| {
        let at = graph(f);
        set(f, at, &u32::MAX.to_le_bytes());
    });
    for (field, bytes) in [(4, 4u64), (12, 18), (12, u64::MAX), (4, 1 << 63)] {
        refuses_repaired("blob 0: expected a multiple of 64 and an end within the 68 bytes of weights", Invalid, |f| {
            let at = graph(f) + field;
            set(f, at, &bytes.to_le_bytes());
        });
    }
    // A blob may end where the weights do, and not one element later.
    refuses_repaired("blob 1: expected a multiple of 64", Invalid, |f| {
        let at = graph(f) + 28;
        set(f, at, &2u64.to_le_bytes());
    });
    // The end of a section.
    let labels = |f: &[u8]| section(f, "LABL").offset as usize;
    refuses_repaired("section LABL at byte 8: expected 8 more bytes, found 7 bytes", Invalid, |f| {
        let at = labels(f);
        f[at + 4] = 8;
    });
    refuses_repaired("section LABL at byte 8: expected end of section, found 7 trailing bytes", Invalid, |f| {
        let at = labels(f);
        set(f, at, &[1, 0, 0, 0, 0]);
    });
    refuses_repaired("section LABL at byte 0: expected a count of at most 2 (the bytes that remain), found 3", Invalid, |f| {
        let at = labels(f);
        f[at] = 3;
    });
    refuses_repaired("section LABL at byte 4: expected a string of at most 65536 bytes, found 65537", Invalid, |f| {
        let at = labels(f);
        set(f, at + 4, &65537u32.to_le_bytes());
    });
    refuses_repaired("section LABL at byte 4: expected UTF-8", Invalid, |f| {
        let at = labels(f);
        f[at + 8] = 0xff;
    });
    refuses_repaired("expected a known colour order, found code 3", Version, |f| {
        let at = section(f, "PREP").offset as usize;
        f[at] = 3;
    });
    let dense = |f: &[u8]| (section(f, "PROV").offset + section(f, "PROV").len) as usize - 1;
    refuses_repaired("expected 0 or 1, found 2", Invalid, |f| {
        let at = dense(f);
        f[at] = 2;
    });
    let mut file = whole();
    let at = dense(&file);
    file[at] = 0;
    repair_checksums(&mut file);
    assert!(!validate(&file).expect("valid").model.provenance.expect("it has one").dense);
}

/// What a layer says of its channels is what its values say.
#[test]
fn layers_agree_with_their_values() {
    // Two of three rows are kept, and all of four features.
    let gemm = |m: &mut Model, rows: u32| {
        let compaction = Some(Compaction { logical: 3, kept: vec![0, 2], constants: vec![1.0] });
        m.graph.inputs[0].dims.truncate(2);
        m.graph.blobs = vec![Blob { offset: 0, len: 8 }, Blob { offset: 64, len: 2 }];
        m.graph.values.truncate(2);
        m.graph.values[1].compaction = compaction;
        m.graph.nodes.truncate(1);
        let (weights, bias) = (BlobId(0), BlobId(1));
        m.graph.nodes[0].op = Gemm { features: 4, rows, columns: Kept::All, weights, bias }.into();
        (m.graph.outputs, m.output_names, m.types) = (vec![ValueId(1)], Vec::new(), None);
    };
    keeps(|m| gemm(m, 3));
    breaks("node 'relu' (Gemm): logical channels of the output: expected 4, found 3", |m| gemm(m, 4));
    breaks("(Gemm): elements of weights: expected 8, found 7", |m| {
        gemm(m, 3);
        m.graph.blobs[0].len = 7;
    });
    breaks("(Gemm): rows: expected at least 1, found 0", |m| gemm(m, 0));
    breaks("(Gemm): rows: expected less than 268435456, found 268435456", |m| gemm(m, 1 << 28));
}

/// Weights end where the last blob does, also where that is the only one.
#[test]
fn one_blob_is_all_of_the_weights() {
    keeps(|m| {
        m.graph.blobs.truncate(1);
        m.graph.values.truncate(4);
        m.graph.nodes.remove(2);
    });
}

/// Operators as they were before version 0.4 have another code, behind which no expression stands.
#[test]
fn expressions_have_codes_of_their_own() {
    let mut file = whole();
    // The record of the Reshape: name, one input, the output, code 44, two dims.
    let at = find(&file, "GRPH", b"expression\x01\0\0\0\0\0\0\0\x03\0\0\0\x2c\x02\0\0\0") + 22;
    assert_eq!(file[at], 44, "the code of Reshape with expressions");
    file[at] = 11;
    repair_checksums(&mut file);
    validate(&file).expect_err("an expression is no integer");
}

/// Expressions inside each other, as many as there may be and one more.
#[test]
fn expressions_are_not_deep_without_end() {
    let nested = |depth: usize| {
        let mut extent = Extent::symbol("n");
        for _ in 0..depth {
            extent = extent.quotient(&Extent::from(2i64)).greatest(&Extent::from(1i64));
        }
        extent
    };
    let of_depth = |depth: usize| {
        let mut deep = model();
        deep.graph.nodes[3].op = Reshape { dims: vec![nested(depth), Extent::from(-1i64)] }.into();
        written(&deep)
            .map(|file| validate(&file).map(|loaded| assert_eq!(loaded.model, deep)).expect("what was written is valid"))
    };
    for depth in 1..8 {
        of_depth(depth).unwrap_or_else(|e| panic!("{depth}: {e}"));
    }
    // One behind the other is not inside each other.
    let mut wide = model();
    wide.graph.nodes[3].op =
        Reshape { dims: (0..8).map(|i| if i < 7 { nested(6) } else { Extent::from(-1i64) }).collect() }.into();
    validate(&written(&wide).expect("it keeps every rule")).expect("what was written is valid");
    let e = (8..40).find_map(|depth| of_depth(depth).err()).expect("there is a limit");
    assert!(e.to_string().contains("expressions inside each other"), "{e}");
}
