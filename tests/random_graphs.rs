//! Compaction on graphs that nobody thought of: random masked ones keep their function, and on chains built from a known live
//! set exactly that set is kept.
//!
//!     SSLM_GRAPHS=5000 cargo test --release -p sslm-tests --test suite random_graphs::
//!
//! checks more graphs than the 400 of a normal run, from seed 0 on, and lists every seed that fails. `SSLM_FIRST_SEED=1234` starts
//! elsewhere; with `SSLM_GRAPHS=1` it repeats one. What all files of a model have in common is not seen here:
//! `SSLM_SAVE=DIR` writes the graphs as `DIR/SEED.onnx`, for `tests/scripts/fuzz_onnxruntime.py --models DIR`.

use ssl_convert::onnx::proto::ModelProto;
use sslm::{Model, Threads};
use sslm_format::{Kept, Op};
use sslm_tests::compare::{
    Output, all_values, as_imported, compact_equals_dense, convert, input, on_devices, prepare, run_all, run_session,
};
use sslm_tests::onnx::{Net, Value, encode};
use sslm_tests::random::{Case, Random, case};
use std::panic::catch_unwind;
use std::path::PathBuf;

/// Largest difference that is not an error, relative to the largest magnitude of the output, or to [`SMALL`] if that is larger.
/// Folded constants and fewer columns change the order of f32 sums, by about 1e-7 a layer, and some layers amplify what the
/// layers before them did. A wrong tap or channel shows at 1e-3 and more.
const TOLERANCE: f32 = 5e-5;

/// Inputs, weights and so most values are of magnitude 1. An output far below that is what is left of larger elements that
/// cancel, and carries their rounding.
const SMALL: f32 = 0.1;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, found {text}")))
}

#[test]
fn compact_equals_dense_on_random_graphs() {
    let first = from_environment("SSLM_FIRST_SEED", 0);
    let seeds = first..first + from_environment("SSLM_GRAPHS", 400);
    let (mut failures, mut smaller, count) = (Vec::new(), 0, seeds.end - seeds.start);
    let folder = std::env::var_os("SSLM_SAVE").map(PathBuf::from);
    for seed in seeds {
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("{seed}.onnx")), encode(&case(seed).model))
                .expect("SSLM_SAVE is a writable folder");
        }
        let panicked = |panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default())
        };
        match catch_unwind(|| check(&case(seed))).unwrap_or_else(panicked) {
            Ok([compact, dense]) => smaller += u64::from(compact < dense),
            Err(problem) => failures.push(format!("seed {seed}: {problem}")),
        }
    }
    assert!(failures.is_empty(), "{} of {count} graphs:\n{}", failures.len(), failures.join("\n"));
    // The generator would be worthless if its masks removed nothing.
    assert!(count < 100 || smaller > count / 2, "only {smaller} of {count} files became smaller");
}

/// Compares the compact and the dense file of a model with the imported one that fuses nothing, at every shape; yields how many bytes
/// of weights the two have.
fn check(case: &Case) -> Result<[usize; 2], String> {
    let open = |model: &ModelProto, dense| Model::from_bytes(&convert(model, dense)).expect("what was written is valid");
    let (compact, dense) = (open(&case.model, false), open(&case.model, true));
    let reference = Model::from_bytes(&as_imported(&all_values(&case.model))).expect("what was written is valid");
    for shape in &case.shapes {
        let x = input(shape);
        let expected = run_all(&reference, shape, &x);
        for (form, model) in [("compact", &compact), ("dense", &dense)] {
            let cpu = ("CPU".to_owned(), prepare(model, shape, Threads::Single).session());
            for (place, mut session) in on_devices(model, shape).into_iter().chain([cpu]) {
                // Of a device, the run that is a replay of what was recorded.
                run_session(&mut session, shape, &x);
                let found = run_session(&mut session, shape, &x);
                compare(&expected, &found).map_err(|e| format!("{form} on {place} at {shape:?}: {e}"))?;
            }
        }
    }
    Ok([&compact, &dense].map(Model::weight_bytes))
}

fn compare(expected: &[Output], found: &[Output]) -> Result<(), String> {
    for ((name, expected_shape, expected), (_, found_shape, found)) in expected.iter().zip(found) {
        if expected_shape != found_shape {
            return Err(format!("{name}: shape {found_shape:?}, expected {expected_shape:?}"));
        }
        let largest = expected.iter().fold(SMALL, |m, x| m.max(x.abs()));
        let worst = expected.iter().zip(found).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max);
        let finite = found.iter().all(|x| x.is_finite());
        if !finite || worst > TOLERANCE {
            return Err(format!("{name}: relative error {worst:e}, finite: {finite}"));
        }
    }
    Ok(())
}

/// What a filter of a chain is there for.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Read by some live filter of the next layer.
    Live,
    /// Computed from constants or nothing; read by anybody.
    Constant,
    /// Random weights, but read by no live filter.
    Dead,
}

/// One layer of a chain and what must remain of it.
struct Layer {
    roles: Vec<Role>,
    /// For each group, the columns that live filters use.
    columns: Vec<Vec<u32>>,
}

#[test]
fn exactly_the_live_set_is_kept() {
    for seed in 0..150 {
        let mut random = Random::of_seed(seed);
        let mut net = Net::new(&["batch", "4", "height", "width"]);
        let (mut x, mut roles, mut layers) = ("x".to_owned(), vec![Role::Live; 4], Vec::new());
        let depth = random.between(2..=5);
        for i in 0..depth {
            let layer;
            (x, layer) = add_layer(&mut net, &mut random, &x, &roles, i + 1 == depth);
            roles.clone_from(&layer.roles);
            layers.push(layer);
        }
        let graph = compact_equals_dense(&net.finish(&[&x]), &[&[1, 4, 9, 12], &[2, 4, 11, 10]]);
        let convs = graph.nodes.iter().filter_map(|n| if let Op::Conv(conv) = &n.op { Some((conv, n.output)) } else { None });
        for (i, ((conv, output), layer)) in convs.zip(&layers).enumerate() {
            let total = layer.roles.len();
            let live: Vec<u32> = (0..total).filter(|&f| layer.roles[f] == Role::Live).map(|f| f as u32).collect();
            let kept = graph.values[output.index()].compaction.as_ref().map(|c| c.kept.clone());
            assert_eq!(kept, (live.len() < total).then_some(live), "seed {seed}, filters of layer {i}");
            let columns: Vec<Vec<u32>> = conv.columns.iter().map(|k: &Kept| list(k, conv.columns_per_group())).collect();
            assert_eq!(columns, layer.columns, "seed {seed}, columns of layer {i}");
        }
    }
}

fn list(kept: &Kept, total: usize) -> Vec<u32> {
    kept.iter(total).map(|c| c as u32).collect()
}

/// A convolution of one or two groups behind channels with `roles`, and perhaps a layer that computes channel by channel.
fn add_layer(net: &mut Net, random: &mut Random, x: &str, roles: &[Role], last: bool) -> (String, Layer) {
    let group = random.of(&[1, 2]);
    let kernel = random.of(&[1, 2, 3]);
    let taps = kernel * kernel;
    let per_group = roles.len() / group * taps;
    let pad = random.between(0..=kernel - 1) as i64;
    let filters = 2 * random.between(1..=5);
    // Each half has a live filter, so that either grouping of the next layer has something to read.
    let half = filters / 2;
    let always = [random.between(0..=half - 1), half + random.between(0..=half - 1)];
    let unread = if last { Role::Constant } else { Role::Dead }; // all filters of the last layer are outputs
    let role = |f: usize, random: &mut Random| match always.contains(&f) {
        true => Role::Live,
        false => random.of(&[Role::Live, Role::Constant, unread]),
    };
    let mine: Vec<Role> = (0..filters).map(|f| role(f, random)).collect();
    let mut weights = vec![0.0; filters * per_group];
    let mut columns = vec![Vec::new(); group];
    for g in 0..group {
        let role_of = |column: usize| roles[g * roles.len() / group + column / taps];
        let rows = |role: Role| (g * filters / group..(g + 1) * filters / group).filter(|&f| mine[f] == role).collect::<Vec<_>>();
        let live = rows(Role::Live);
        // At least one tap of every live channel is used.
        let fixed: Vec<usize> = (0..per_group / taps).map(|c| c * taps + random.between(0..=taps - 1)).collect();
        let used = |c: &usize, random: &mut Random| role_of(*c) == Role::Live && (fixed.contains(c) || random.chance(0.4));
        let used: Vec<usize> = (0..per_group).filter(|c| used(c, random)).collect();
        // Every used column has a filter and every live filter a column; the other places are zero as often as not.
        for i in 0..used.len().max(live.len()) {
            weights[live[i % live.len()] * per_group + used[i % used.len()]] = random.element();
        }
        for &f in &live {
            for c in 0..per_group {
                if (used.contains(&c) || role_of(c) == Role::Constant) && random.chance(0.5) {
                    weights[f * per_group + c] = random.element();
                }
            }
        }
        // Without padding, what reads constants alone is constant.
        for f in rows(Role::Constant).into_iter().filter(|_| pad == 0) {
            for c in (0..per_group).filter(|&c| role_of(c) == Role::Constant) {
                weights[f * per_group + c] = random.element();
            }
        }
        for f in rows(Role::Dead) {
            weights[f * per_group..(f + 1) * per_group].copy_from_slice(&random.elements(per_group, 1.0));
        }
        columns[g] = used.iter().map(|&c| c as u32).collect();
    }
    let bias = random.elements(filters, 1.0);
    let attributes = [("group", Value::Int(group as i64)), ("pads", Value::Ints(&[pad; 4]))];
    let y = net.conv(x, [filters, roles.len() / group, kernel, kernel], &weights, &bias, &attributes);
    let y = match random.between(0..=3) {
        0 => net.node("Relu", &[&y], &[]),
        1 => net.node("MaxPool", &[&y], &[("kernel_shape", Value::Ints(&[2, 2])), ("pads", Value::Ints(&[1, 0, 0, 1]))]),
        _ => y,
    };
    (y, Layer { roles: mine, columns })
}
