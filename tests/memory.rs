//! Where memory comes from: a run allocates nothing, and weights stay in the map of their file. A program without the test
//! harness, whose threads would allocate, too.

use ssl_convert::onnx::proto::ModelProto;
use sslm::{Model, Threads};
use sslm_tests::compare::{convert, input, prepare};
use sslm_tests::onnx::{Net, Value::*};
use sslm_tests::tools::lenet;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, counted.
struct Counted;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

fn main() {
    runs_allocate_nothing();
    weights_stay_where_they_are();
}

fn runs_allocate_nothing() {
    let lenet = Model::open(lenet().join("lenet.sslm")).expect("the model opens");
    let every = Model::from_bytes(&convert(&every_operator(), false)).expect("what was written is valid");
    for threads in [Threads::Single, Threads::Count(2), Threads::Count(3)] {
        for (name, model, shape) in
            [("LeNet", &lenet, [1, 1, 28, 28]), ("LeNet", &lenet, [6, 1, 28, 28]), ("every operator", &every, [1, 4, 33, 32])]
        {
            let (mut session, x) = (prepare(model, &shape, threads).session(), input(&shape));
            let x = [sslm::TensorView::new(&shape, &x).expect("the input fits")];
            session.run_all(&x).expect("it runs");
            let before = ALLOCATIONS.load(Relaxed);
            for _ in 0..200 {
                session.run_all(&x).expect("it runs");
            }
            let allocations = ALLOCATIONS.load(Relaxed) - before;
            assert_eq!(allocations, 0, "{name}, {shape:?}, {threads:?}: allocations of 200 runs");
        }
    }
}

/// A network with every kind of step.
fn every_operator() -> ModelProto {
    let mut net = Net::new(&["batch", "4", "33", "32"]);
    let padded = || ("pads", Ints(&[1; 4]));
    let parameters = [(); 4].map(|()| net.weights(&[4], &[0.5, 1.0, 1.5, 2.0]));
    let [scale, shift, mean, variance] = parameters.each_ref().map(String::as_str);
    let y = net.node("BatchNormalization", &["x", scale, shift, mean, variance], &[]);
    // Filter 2 is zero: its constant reaches the borders of the next convolution, and the LRN wants it back.
    let mut w = net.random(6 * 4 * 9);
    w[2 * 36..3 * 36].fill(0.0);
    let b = net.random(6);
    let y = net.conv(&y, [6, 4, 3, 3], &w, &b, &[padded()]);
    let y = net.node("Elu", &[&y], &[]);
    let w = net.random(6 * 3 * 9);
    let residual = net.conv(&y, [6, 3, 3, 3], &w, &b, &[padded(), ("group", Int(2))]);
    let y = net.node("LRN", &[&y], &[("size", Int(3))]);
    let w = net.random(6 * 6 * 9);
    let y = net.conv(&y, [6, 6, 3, 3], &w, &b, &[padded()]);
    let y = net.node("Add", &[&y, &residual], &[]);
    let y = net.node("Relu", &[&y], &[]);
    let w = net.random(6 * 6);
    let y = net.conv(&y, [6, 6, 1, 1], &w, &b, &[("strides", Ints(&[2, 2]))]);
    let w = net.random(6 * 2 * 4);
    let w = net.weights(&[6, 2, 2, 2], &w);
    let y = net.node("ConvTranspose", &[&y, &w], &[("strides", Ints(&[2, 2]))]);
    let window = || ("kernel_shape", Ints(&[2, 2]));
    let pools = ["MaxPool", "AveragePool"].map(|op| net.node(op, &[&y], &[window()]));
    let y = net.node("Concat", &pools.each_ref().map(String::as_str), &[("axis", Int(1))]);
    let y = net.node("Concat", &[&y, &y], &[("axis", Int(3))]);
    let amounts = net.integers(&[0, 0, 1, 0, 0, 0, 0, 2]);
    let y = net.node("Pad", &[&y, &amounts], &[]);
    let scales = net.weights(&[4], &[1.0, 1.0, 2.0, 2.0]);
    let y = net.node("Resize", &[&y, "", &scales], &[("mode", Text("linear"))]);
    let range = [[1], [9], [2]].map(|n| net.integers(&n));
    let y = net.node("Slice", &[&y, &range[0], &range[1], &range[2]], &[]);
    let y = net.node("InstanceNormalization", &[&y, scale, shift], &[]);
    let w = net.random(4 * 9);
    let y = net.conv(&y, [4, 1, 3, 3], &w, &[0.1; 4], &[padded(), ("group", Int(4))]);
    let gates = ["GlobalAveragePool", "GlobalMaxPool"].map(|op| net.node(op, &[&y], &[]));
    let gate = net.node("Sub", &gates.each_ref().map(String::as_str), &[]);
    let gate = net.node("HardSigmoid", &[&gate], &[]);
    let y = net.node("Mul", &[&y, &gate], &[]);
    let best = net.node("ArgMax", &[&y], &[("axis", Int(1)), ("keepdims", Int(1))]);
    let y = net.node("Transpose", &[&y], &[("perm", Ints(&[0, 2, 3, 1]))]);
    let y = net.node("ReduceMean", &[&y], &[("axes", Ints(&[1])), ("keepdims", Int(0))]);
    let y = net.node("Flatten", &[&y], &[]);
    let w = net.random(7 * 4 * 128);
    let w = net.weights(&[4 * 128, 7], &w);
    let y = net.node("Gemm", &[&y, &w], &[]);
    let y = net.node("Softmax", &[&y], &[]);
    net.finish(&[&y, &best])
}

/// A model whose weights are far more than its activations.
fn weights_stay_where_they_are() {
    let mut net = Net::new(&["batch", "16", "12", "12"]);
    let (w, b) = (net.random(64 * 16 * 9), net.random(64));
    let y = net.conv("x", [64, 16, 3, 3], &w, &b, &[]);
    let y = net.node("Flatten", &[&y], &[]);
    let w = net.random(1000 * 6400);
    let w = net.weights(&[1000, 6400], &w);
    let y = net.node("Gemm", &[&y, &w], &[("transB", Int(1))]);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), convert(&net.finish(&[&y]), false)).expect("a file");

    let before = LIVE_BYTES.load(Relaxed);
    let model = Model::open(file.path()).expect("the model opens");
    let plan = prepare(&model, &[1, 16, 12, 12], Threads::Single);
    let mut session = plan.session();
    let x = input(&[1, 16, 12, 12]);
    session.run(sslm::TensorView::new(&[1, 16, 12, 12], &x).expect("the input fits")).expect("it runs");
    let grown = LIVE_BYTES.load(Relaxed) - before;
    assert!(model.weight_bytes() > 25_000_000, "{} bytes of weights", model.weight_bytes());
    // Activations come from the operating system and are not counted here.
    assert!(grown < model.weight_bytes() / 50, "{grown} bytes of tables");
    assert!(plan.session_bytes() < model.weight_bytes() / 50, "{} bytes of activations", plan.session_bytes());
}
