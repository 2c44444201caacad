//! Weights that are transformed before the first run: as many as options allow, the same for all sessions and images, and with the
//! result that weights have which are transformed in every run.

use sslm::{Model, Options, Plan, Threads, TransformedWeights};
use sslm_tests::compare::{convert, input, run_session};
use sslm_tests::onnx::{Net, Value::*};

const CHANNELS: usize = 64;
const SHAPE: [usize; 4] = [1, CHANNELS, 8, 8];
/// Transformed weights of a 3x3 layer, 36 elements for nine, and one sum of squares for each filter.
const LAYER: usize = CHANNELS * (CHANNELS * 36 + 1) * size_of::<f32>();

/// Two 3x3 layers of 64 channels on 8x8 positions, which Winograd's method computes faster if their weights are transformed before.
fn model() -> Model {
    let mut net = Net::new(&["batch", "64", "8", "8"]);
    let mut x = "x".to_owned();
    for _ in 0..2 {
        let (weights, bias) = (net.random(CHANNELS * CHANNELS * 9), net.random(CHANNELS));
        x = net.conv(&x, [CHANNELS, CHANNELS, 3, 3], &weights, &bias, &[("pads", Ints(&[1; 4]))]);
    }
    Model::from_bytes(&convert(&net.finish(&[&x]), true)).expect("what was written is valid")
}

fn plan(model: &Model, images: usize, threads: usize, weights: TransformedWeights) -> Plan {
    let options = Options::new().threads(Threads::Count(threads)).dim("batch", images).transformed_weights(weights);
    model.prepare(&options).expect("the options fit")
}

#[test]
fn as_many_are_kept_as_options_allow() {
    let model = model();
    let prepared = |weights| plan(&model, 1, 1, weights).prepared_bytes();
    // Tables differ by little: methods that transform weights have others.
    let more = |weights| prepared(weights) as f64 - prepared(TransformedWeights::AtMost(0)) as f64;
    let kept = |weights| (more(weights) / LAYER as f64).round() as usize;
    let is_little = |weights| (more(weights) - (kept(weights) * LAYER) as f64).abs() < LAYER as f64 / 8.0;
    let few = model.weight_bytes();
    assert!(few < LAYER && 2 * LAYER < 8 << 20, "{few} bytes of weights: as few as the test needs");
    assert_eq!(kept(TransformedWeights::Auto), 2);
    assert!(is_little(TransformedWeights::Auto), "{} bytes", prepared(TransformedWeights::Auto));
    for (bytes, layers) in [(0, 0), (LAYER - 1, 0), (LAYER, 1), (2 * LAYER - 1, 1), (2 * LAYER, 2), (usize::MAX, 2)] {
        assert_eq!(kept(TransformedWeights::AtMost(bytes)), layers, "{bytes} bytes are allowed");
    }
}

#[test]
fn results_are_those_of_weights_that_are_not_kept() {
    let model = model();
    let x = input(&SHAPE);
    let run = |threads, weights| run_session(&mut plan(&model, 1, threads, weights).session(), &SHAPE, &x).remove(0).2;
    let (expected, found) = (run(1, TransformedWeights::AtMost(0)), run(1, TransformedWeights::Auto));
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let error = expected.iter().zip(&found).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(error <= 1e-5 * largest, "off by {error:e} of {largest}");
    assert!(run(3, TransformedWeights::Auto) == found, "other bits on three threads");

    // Sessions and images share what the plan owns.
    let shape = [3, CHANNELS, 8, 8];
    for threads in [1, 2] {
        let plan = plan(&model, 3, threads, TransformedWeights::Auto);
        assert_eq!(plan.prepared_bytes() / LAYER, 2, "{} bytes", plan.prepared_bytes());
        for _ in 0..2 {
            let all = run_session(&mut plan.session(), &shape, &x.repeat(3)).remove(0).2;
            assert!(all.chunks(found.len()).all(|image| image == found), "other bits in a batch, {threads} threads");
        }
    }
}
