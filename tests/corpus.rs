//! Hostile `.sslm` files: each broken one gives one clear error, exit code 2, and no panic. Besides named cases, every
//! truncation, every flipped byte, and thousands of random changes with repaired checksums (which reach the rules behind them)
//! are tried; what is then still accepted must also prepare and run.

use sslm::{Model, Options, TensorView, Threads};
use sslm_tests::compare::convert;
use sslm_tests::file::{entry_of, find, repair_checksums, section};
use sslm_tests::onnx::{Net, Value::*};
use sslm_tests::tools::{refuses, root, text};

/// A small model that has every kind of record: groups, kept lists, constants, taps.
fn sample() -> Vec<u8> {
    let mut net = Net::new(&["batch", "2", "6", "6"]);
    let mut w = net.random(6 * 9);
    w[9..27].fill(0.0);
    let y = net.conv("x", [6, 1, 3, 3], &w, &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], &[("group", Int(2)), ("pads", Ints(&[1, 1, 1, 1]))]);
    let w = net.random(3 * 6 * 9);
    let y = net.conv(&y, [3, 6, 3, 3], &w, &[0.1, 0.2, 0.3], &[("pads", Ints(&[1, 0, 0, 1]))]);
    let lrn = net.node("LRN", &[&y], &[("size", Int(3))]);
    let y = net.node("Add", &[&y, &lrn], &[]);
    let pool = [("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))];
    let a = net.node("MaxPool", &[&y], &pool);
    let b = net.node("AveragePool", &[&y], &pool);
    let y = net.node("Concat", &[&a, &b], &[("axis", Int(1))]);
    let parameters = [1.0, 2.0, 0.5].map(|x| net.weights(&[6], &[x; 6]));
    let [scale, shift, variance] = &parameters;
    let y = net.node("BatchNormalization", &[&y, scale, shift, shift, variance], &[]);
    // Over channels, which are the last axis for a while.
    let y = net.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 3, 1]))]);
    let y = net.node("LayerNormalization", &[&y, scale, shift], &[]);
    let y = net.node("Transpose", &[&y], &[("perm", Ints(&[0, 3, 1, 2]))]);
    let y = net.node("Flatten", &[&y], &[]);
    let w = net.random(24 * 5);
    let w = net.weights(&[24, 5], &w);
    let y = net.node("MatMul", &[&y, &w], &[]);
    let y = net.node("Softmax", &[&y], &[]);
    convert(&net.finish(&[&y]), false)
}

/// A small model of sequences: a unit that is 0, and states that are computed.
fn sequences() -> Vec<u8> {
    let mut net = Net::new(&["4", "batch", "3"]);
    let weights = |net: &mut Net, gates: usize, features: usize, hidden: usize| {
        [features, hidden].map(|columns| {
            let rows = 2 * gates * hidden;
            let mut w = net.random(rows * columns);
            (0..w.len()).filter(|i| i / columns % hidden == 1).for_each(|i| w[i] = 0.0);
            net.weights(&[2, gates * hidden, columns], &w)
        })
    };
    let both = ("direction", Text("bidirectional"));
    let [w, r] = weights(&mut net, 4, 3, 3);
    let y = net.node("LSTM", &["x", &w, &r], &[both]);
    let y = net.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 1, 3]))]);
    let joined = net.integers(&[0, 0, -1]);
    let y = net.node("Reshape", &[&y, &joined], &[]);
    let axes = net.integers(&[0]);
    let state = net.node("ReduceMax", &["x", &axes], &[("keepdims", Int(1))]);
    let state = net.node("Concat", &[&state, &state], &[("axis", Int(0))]);
    let [w, r] = weights(&mut net, 3, 6, 3);
    let y = net.node("GRU", &[&y, &w, &r, "", "", &state], &[both]);
    net.model.opset_import[0].version = 18;
    convert(&net.finish(&[&y]), false)
}

/// Overwrites bytes.
fn set(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Appends four bytes `file` never asked for and says so in the header.
fn grow(file: &mut Vec<u8>) {
    file.extend([0; 4]);
    let len = file.len() as u64;
    set(file, 16, &len.to_le_bytes());
}

struct Case {
    name: &'static str,
    /// Part of the message.
    expected: &'static str,
    /// Whether checksums are made to fit again.
    repair: bool,
    change: fn(&mut Vec<u8>),
}

/// `[0, 1, 2]` and its like as the file stores a list.
fn list(indices: &[u32]) -> Vec<u8> {
    let count = indices.len() as u32;
    [count].iter().chain(indices).flat_map(|n| n.to_le_bytes()).collect()
}

const CASES: &[Case] = &[
    Case { name: "empty", expected: "magic", repair: false, change: |f| f.clear() },
    Case { name: "wrong-magic", expected: "magic", repair: false, change: |f| f[1] = b'X' },
    Case { name: "text-transfer", expected: "magic", repair: false, change: |f| f[5] = b' ' },
    Case { name: "newer-major", expected: "format major version: expected 0, found 1", repair: true, change: |f| f[8] = 1 },
    Case { name: "cut-in-header", expected: "header: expected 32 bytes, found 20", repair: false, change: |f| f.truncate(20) },
    Case { name: "cut-in-table", expected: "file length", repair: false, change: |f| f.truncate(80) },
    Case {
        name: "cut-in-graph",
        expected: "file length",
        repair: false,
        change: |f| f.truncate(section(f, "GRPH").offset as usize + 9),
    },
    Case { name: "cut-in-weights", expected: "file length", repair: false, change: |f| f.truncate(f.len() - 1) },
    Case {
        name: "too-many-sections",
        expected: "section count: expected at most 64",
        repair: true,
        change: |f| set(f, 12, &65u32.to_le_bytes()),
    },
    Case { name: "sections-beyond-file", expected: "section", repair: true, change: |f| set(f, 12, &64u32.to_le_bytes()) },
    Case {
        name: "flipped-header",
        expected: "header and section table: expected checksum",
        repair: false,
        change: |f| f[28] ^= 1,
    },
    Case {
        name: "flipped-table",
        expected: "header and section table: expected checksum",
        repair: false,
        change: |f| f[40] ^= 0x40,
    },
    Case {
        name: "flipped-graph",
        expected: "section GRPH: expected checksum",
        repair: false,
        change: |f| {
            let at = section(f, "GRPH").offset as usize;
            f[at + 100] ^= 1;
        },
    },
    Case {
        name: "flipped-weights",
        expected: "section WGTS: expected checksum",
        repair: false,
        change: |f| {
            let at = section(f, "WGTS").offset as usize;
            f[at + 5] ^= 0x10;
        },
    },
    Case {
        name: "section-outside",
        expected: "section WGTS: offset",
        repair: true,
        change: |f| {
            let at = entry_of(f, "WGTS");
            set(f, at + 8, &(1u64 << 40).to_le_bytes());
        },
    },
    Case {
        name: "section-too-long",
        expected: "section WGTS: length",
        repair: true,
        change: |f| {
            let at = entry_of(f, "WGTS");
            set(f, at + 16, &u64::MAX.to_le_bytes());
        },
    },
    Case {
        name: "unknown-section",
        expected: "section XXXX: expected a known section",
        repair: true,
        change: |f| {
            let at = entry_of(f, "GRPH");
            set(f, at, b"XXXX");
        },
    },
    Case { name: "bytes-behind", expected: "last section", repair: true, change: grow },
    Case {
        name: "oversized-count",
        expected: "a count of at most",
        repair: true,
        change: |f| {
            let at = section(f, "GRPH").offset as usize;
            set(f, at, &u32::MAX.to_le_bytes());
        },
    },
    Case {
        name: "oversized-string",
        expected: "a string of at most",
        repair: true,
        change: |f| {
            let at = find(f, "GRPH", b"\x06\0\0\0Conv_0\x01\x06");
            set(f, at, &(1u32 << 30).to_le_bytes());
        },
    },
    Case {
        name: "not-utf8",
        expected: "expected UTF-8",
        repair: true,
        change: |f| {
            let at = find(f, "GRPH", b"\x06\0\0\0Conv_0\x01\x06");
            f[at + 4] = 0xff;
        },
    },
    Case {
        name: "no-channels",
        expected: "input 0: expected extents of at least 1, found 0",
        repair: true,
        change: |f| {
            let at = find(f, "GRPH", b"\0\x02\0\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\0\x06");
            f[at + 1] = 0;
        },
    },
    Case {
        name: "kept-out-of-order",
        expected: "kept channels: expected strictly increasing indices, found 4 before 3",
        repair: true,
        change: |f| {
            let at = find(f, "GRPH", &list(&[0, 3, 4, 5]));
            set(f, at, &list(&[0, 4, 3, 5]));
        },
    },
    Case {
        name: "kept-outside",
        expected: "kept channels: expected indices below 6, found 9",
        repair: true,
        change: |f| {
            let at = find(f, "GRPH", &list(&[0, 3, 4, 5]));
            set(f, at, &list(&[0, 3, 4, 9]));
        },
    },
    Case {
        name: "kept-column-of-absent-channel",
        expected: "only columns of channels that the input keeps",
        repair: true,
        change: |f| {
            let at = find(f, "GRPH", &list(&[0, 3, 4, 5]));
            set(f, at, &list(&[1, 3, 4, 5]));
        },
    },
    Case {
        name: "blob-outside",
        expected: "blob 0: expected",
        repair: true,
        change: |f| {
            let at = section(f, "GRPH").offset as usize;
            set(f, at + 4, &(1u64 << 30).to_le_bytes());
        },
    },
    Case {
        name: "blob-unaligned",
        expected: "blob 1: expected a multiple of 64",
        repair: true,
        change: |f| {
            let at = section(f, "GRPH").offset as usize;
            set(f, at + 20, &4u64.to_le_bytes());
        },
    },
    Case {
        name: "unknown-operator",
        expected: "a newer sslm may read this file",
        repair: true,
        change: |f| {
            // The record of LRN: name, one input, the output, code 7, size 3.
            let at = find(f, "GRPH", b"\x07\x03\0\0\0");
            f[at] = 250;
        },
    },
];

#[test]
fn every_broken_file_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for case in CASES {
        let mut file = sample();
        (case.change)(&mut file);
        if case.repair {
            repair_checksums(&mut file);
        }
        let path = text(folder.path().join(case.name).with_extension("sslm"));
        std::fs::write(&path, &file).expect("a writable folder");
        let name = format!("{}.sslm", case.name);
        for tool in ["ssl-inspect", "ssl-run"] {
            let arguments = [&path, "--bench", "1"];
            let message = refuses(tool, if tool == "ssl-run" { &arguments } else { &arguments[..1] }, &[&name, case.expected]);
            assert_eq!(message.lines().count(), 1, "{}: one message: {message}", case.name);
        }
    }
}

#[test]
fn every_truncation_and_every_flipped_byte_is_noticed() {
    let file = sample();
    for len in 0..file.len() {
        assert!(sslm_format::validate(&file[..len]).is_err(), "cut at {len}");
    }
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        let noticed = sslm_format::validate(&changed).and_then(|loaded| loaded.verify_weights(&changed));
        assert!(noticed.is_err(), "byte {at}");
    }
}

#[test]
fn newer_minor_versions_and_optional_sections_are_accepted() {
    let mut file = std::fs::read(root().join("tools/models/lenet/lenet.sslm")).expect("the shipped model");
    let at = entry_of(&file, "PROV");
    set(&mut file, at, b"NEWS");
    set(&mut file, 10, &7u16.to_le_bytes());
    repair_checksums(&mut file);
    let model = Model::from_bytes(&file).expect("unknown optional sections are skipped");
    assert_eq!(model.version(), [0, 7]);
    assert_eq!(model.provenance(), None);
}

#[test]
fn random_changes_behind_valid_checksums_do_not_panic() {
    for (file, changes) in [(sample(), 30_000), (sequences(), 10_000)] {
        survives_changes(&file, changes);
    }
}

/// Changes some bytes of a file, so many times.
fn survives_changes(file: &[u8], changes: usize) {
    let end = section(file, "WGTS").offset as usize;
    let mut random = fastrand::Rng::with_seed(11);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..changes {
        let mut changed = file.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(8..end);
            changed[at] = match random.u8(..4) {
                0 => random.u8(..),
                1 => changed[at].wrapping_add(1),
                2 => changed[at].wrapping_sub(1),
                _ => changed[at] ^ (1 << random.u8(..8)),
            };
        }
        repair_checksums(&mut changed);
        match Model::from_bytes(&changed) {
            Err(e) => {
                assert_ne!(*e.kind(), sslm::ErrorKind::Io, "{e}");
                refused += 1;
            }
            Ok(model) => {
                accepted += 1;
                // Large planes are legal but would only cost time here.
                let Ok(plan) = model.prepare(&Options::new().threads(Threads::Single)) else { continue };
                if plan.session_bytes() > 1 << 24 || plan.input_shapes().len() != 1 {
                    continue;
                }
                let shape = plan.input_shapes().next().unwrap_or_default().to_vec();
                let x = vec![0.5; shape.iter().product()];
                plan.session().run(TensorView::new(&shape, &x).expect("it fits")).expect("a prepared plan runs");
            }
        }
    }
    // Both happen, or the test would test nothing.
    assert!(accepted > 100 && refused > changes / 3, "{accepted} accepted, {refused} refused");
}

#[test]
fn output_names_are_as_many_as_outputs() {
    let mut net = Net::new(&["batch", "2", "4", "4"]);
    let y = net.node("Relu", &["x"], &[]);
    let again = net.node("Identity", &[&y], &[]);
    let file = convert(&net.finish(&[&y, &again]), false);
    let model = Model::from_bytes(&file).expect("valid");
    assert_eq!((model.version(), model.output_names()), ([0, 4], vec!["Relu_0", "Identity_1"]));
    // A file that needs no such names has no section for them.
    let mut net = Net::new(&["batch", "2", "4", "4"]);
    let y = net.node("Relu", &["x"], &[]);
    assert_eq!(Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("valid").version(), [0, 1]);

    let mut broken = file.clone();
    let at = section(&file, "OUTN").offset as usize;
    // One name, which takes the bytes of both.
    set(&mut broken, at, &1u32.to_le_bytes());
    let bytes = section(&file, "OUTN").len as u32 - 8;
    set(&mut broken, at + 4, &bytes.to_le_bytes());
    broken[at + 8..at + 8 + bytes as usize].fill(b'a');
    repair_checksums(&mut broken);
    let message = Model::from_bytes(&broken).expect_err("it is refused").to_string();
    assert!(message.contains("output names: expected 2, found 1"), "{message}");
}

/// Each of these lists fits, but not all of them.
#[test]
fn lists_of_all_nodes_count_together() {
    let mut net = Net::new(&["1", "1", "1", "3"]);
    let mut y = "x".to_owned();
    for extent in [1 << 22, 1, 1 << 22, 3] {
        let sizes = net.integers(&[extent]);
        y = net.node("Resize", &[&y, "", "", &sizes], &[("axes", Ints(&[3])), ("mode", Text("linear"))]);
    }
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), true)).expect("what was written is valid");
    let prepare = |mib: usize| model.prepare(&Options::new().max_memory(mib << 20));
    let error = prepare(300).expect_err("the lists are too long");
    assert_eq!(*error.kind(), sslm::ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("memory for lists of positions: expected at most 300.0 MiB, found"), "{error}");
    prepare(2000).expect("there is room");
}
