//! The arrows between crates point one way. A new one needs a line here, and so a reason.

use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::BTreeSet;
use std::process::Command;

/// Who may use whom (tests and benches may use everything).
const ARROWS: [(&str, &[&str]); 19] = [
    ("sslm-basics", &[]),
    ("sslm-format", &["sslm-basics"]),
    ("sslm-kernels", &["sslm-basics"]),
    ("sslm", &["sslm-format", "sslm-kernels"]),
    ("sslm-c", &["sslm"]),
    ("ssl-cli", &["sslm"]),
    ("ssl-images", &["sslm-format"]),
    ("ssl-npy", &["sslm-format"]),
    // The runtime, because a file is certified by running it.
    ("ssl-convert", &["ssl-cli", "ssl-images", "ssl-npy", "sslm", "sslm-format"]),
    ("ssl-inspect", &["ssl-cli", "sslm"]),
    // Bursts of each instruction set tell quiet moments from others.
    ("ssl-quiet", &["sslm-kernels"]),
    // A model is timed beside its dense form.
    ("ssl-report", &["ssl-cli", "ssl-convert", "ssl-quiet", "sslm"]),
    ("ssl-run", &["ssl-cli", "ssl-images", "ssl-npy", "sslm"]),
    ("ssl-score", &["ssl-cli", "ssl-images", "sslm"]),
    ("ssl-serve", &["ssl-cli", "ssl-images", "sslm"]),
    // Pixels come from a canvas: no decoders.
    ("sslm-web", &["ssl-images", "sslm"]),
    // The Python package has all of it in one library.
    ("sslm-python", &["ssl-cli", "ssl-convert", "ssl-images", "ssl-inspect", "ssl-report", "ssl-run", "sslm"]),
    // Emulated and real devices, for the tests of the kernels too.
    ("sslm-devices", &["sslm-kernels"]),
    (
        "sslm-tests",
        &["ssl-convert", "ssl-images", "ssl-npy", "ssl-report", "ssl-score", "ssl-serve", "sslm", "sslm-devices", "sslm-format"],
    ),
];

#[test]
fn crates_depend_only_downwards() {
    let metadata = MetadataCommand::new()
        .manifest_path(sslm_tests::tools::root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let ours: BTreeSet<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    let mut problems = Vec::new();
    for package in &metadata.packages {
        if package.name.as_str() == "sslm-benches" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name.as_str()) else {
            problems.push(format!("crate {} has no line in ARROWS", package.name));
            continue;
        };
        let used = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development && ours.contains(&d.name));
        problems.extend(used.filter(|d| !allowed.contains(&d.name.as_str())).map(|d| format!("{} -> {}", package.name, d.name)));
    }
    assert!(problems.is_empty(), "new arrows between crates: {problems:?}");
}

/// A test builds the tools. If dependencies had other features then, nearly everything would be compiled a second time.
#[test]
fn dev_dependencies_add_no_features() {
    let features = |edges: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(sslm_tests::tools::root()).args([
            "tree",
            "--locked",
            "--workspace",
            "--prefix=none",
            "--format={p} {f}",
        ]);
        let output = cargo.args(["--edges", edges]).output().expect("cargo starts");
        assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).expect("cargo writes text");
        lines.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect::<BTreeSet<String>>()
    };
    let (programs, tests) = (features("normal,build"), features("normal,build,dev"));
    let others: Vec<&String> = programs.difference(&tests).collect();
    assert!(others.is_empty(), "in tests these have other features, by dev-dependencies: {others:#?}");
}

/// The library leaves out what is not asked for. A tool that forgot to ask would be slow, and nothing else would show it.
#[test]
fn tools_have_all_instruction_sets() {
    for tool in ["ssl-convert", "ssl-report", "ssl-run", "ssl-score", "ssl-serve", "sslm-c", "sslm-python"] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(sslm_tests::tools::root()).args([
            "tree",
            "--locked",
            "--edges=normal",
            "--prefix=none",
            "--format={p} {f}",
        ]);
        let output = cargo.arg(format!("--package={tool}")).output().expect("cargo starts");
        let lines = String::from_utf8(output.stdout).expect("cargo writes text");
        let kernels = lines.lines().find(|line| line.starts_with("sslm-kernels ")).unwrap_or_default();
        assert!(kernels.contains("avx2") && kernels.contains("avx512"), "{tool}: '{kernels}'");
    }
}

/// Building takes a Rust toolchain and nothing else. Reading archives is what tends to bring in C; `deny.toml` has the same list for all
/// crates.
#[test]
fn no_tool_needs_a_compiler_of_c() {
    const CALLERS: [&str; 10] =
        ["cc", "cmake", "bindgen", "pkg-config", "openssl-sys", "zstd-sys", "bzip2-sys", "lzma-sys", "libz-sys", "libz-ng-sys"];
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(sslm_tests::tools::root()).args([
        "tree",
        "--locked",
        "--edges=normal,build",
        "--prefix=none",
        "--format={p}",
    ]);
    const TOOLS: [&str; 7] = ["sslm", "ssl-run", "ssl-convert", "ssl-inspect", "ssl-report", "ssl-score", "ssl-serve"];
    cargo.args(TOOLS.map(|tool| format!("--package={tool}")));
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("cargo writes text");
    let crates: BTreeSet<&str> = lines.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("rawzip"), "the list has what reads archives: {crates:?}");
    let found: Vec<&str> = CALLERS.into_iter().filter(|caller| crates.contains(caller)).collect();
    assert!(found.is_empty(), "crates that call a compiler of C: {found:?}");
}

#[test]
fn unsafe_stays_where_it_is_expected() {
    // Everything else is safe code; these files hold the invariants.
    const EXPECTED: [&str; 46] = [
        // Replaying what was recorded on a device.
        "benches/gpu.rs",
        // Models in the maps of their files.
        "benches/load.rs",
        // A library's matrix product, to compare with.
        "benches/src/library.rs",
        // Vectors of each instruction set and of weights, the register tiles, gathering into blocks, threads and what each of them
        // may write.
        "kernels/src/conv/methods/channel_lanes/blocks.rs",
        "kernels/src/conv/packing.rs",
        // CUDA: launches, for which lengths were checked, and the driver.
        "kernels/src/cuda/axis.rs",
        "kernels/src/cuda/channels.rs",
        "kernels/src/cuda/conv.rs",
        "kernels/src/cuda/device.rs",
        "kernels/src/cuda/elementwise.rs",
        "kernels/src/cuda/gpu.rs",
        "kernels/src/cuda/index.rs",
        "kernels/src/cuda/launch.rs",
        "kernels/src/cuda/lines.rs",
        "kernels/src/cuda/matmul.rs",
        "kernels/src/cuda/normalize.rs",
        "kernels/src/cuda/pool.rs",
        "kernels/src/cuda/recurrent.rs",
        "kernels/src/cuda/resample.rs",
        "kernels/src/cuda/volume.rs",
        "kernels/src/filter_tile.rs",
        "kernels/src/parallel.rs",
        "kernels/src/simd/avx2.rs",
        "kernels/src/simd/avx512.rs",
        "kernels/src/simd/grid.rs",
        "kernels/src/simd/mod.rs",
        "kernels/src/simd/neon.rs",
        "kernels/src/simd/portable.rs",
        "kernels/src/simd/simd128.rs",
        "kernels/src/simd/stored.rs",
        "kernels/src/team.rs",
        "kernels/src/tile.rs",
        // Counting what tests take of memory.
        "kernels/tests/common/allocated.rs",
        // Replaying what was recorded on a device.
        "runtime/src/backends/cuda.rs",
        // Pointers of C.
        "runtime/c/src/handles.rs",
        "runtime/c/src/model.rs",
        "runtime/c/src/runner.rs",
        // Memory maps.
        "runtime/src/map.rs",
        "runtime/src/model.rs",
        // Compiled kernels; buffers between pages that may not be touched; loading NVRTC, where it is; what is said when a test program ends.
        "tests/devices/src/emulated.rs",
        "tests/devices/src/lib.rs",
        "tests/devices/src/pages.rs",
        "tests/devices/src/require.rs",
        // Calling the C interface.
        "tests/src/fuzz/c.rs",
        // Models that are too large to be copied.
        "tools/cli/src/model.rs",
        // Asking the system for another scheduling of threads.
        "tools/ssl-serve/src/scheduling.rs",
    ];
    let root = sslm_tests::tools::root();
    let keywords = ["{", "fn", "impl", "extern"].map(|what| ["unsafe", what].join(" "));
    let mut found = BTreeSet::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder").map(|e| e.expect("an entry").path()) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(entry);
            } else if name.ends_with(".rs") && entry.parent() != Some(&root.join("tests")) {
                let text = std::fs::read_to_string(&entry).expect("a readable file");
                if keywords.iter().any(|keyword| text.contains(keyword)) {
                    found.insert(entry.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned());
                }
            }
        }
    }
    assert_eq!(found, BTreeSet::from(EXPECTED.map(str::to_owned)), "files with unsafe code");
}
