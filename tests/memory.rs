//! Where memory comes from: a run allocates nothing, plans and sessions say what they take, weights stay in the map of their file, and
//! where there is no more memory, a session says so. This program has no test harness, because the harness's threads would allocate, too.

use sslm::{Model, Threads};
use sslm_tests::compare::{convert, input, prepare};
use sslm_tests::nets::every_operator;
use sslm_tests::onnx::{Net, Value::*};
use sslm_tests::tools::{lenet, root};
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
    // Elsewhere a process cannot be given less.
    if cfg!(target_os = "linux") {
        plans_and_sessions_say_what_they_take();
        reserved_memory_is_touched();
        full_memory_is_an_error();
    }
}

fn runs_allocate_nothing() {
    let lenet = Model::read(lenet().join("lenet.sslm")).expect("the model opens");
    let every = Model::from_bytes(&convert(&every_operator(), false)).expect("what was written is valid");
    // The threads that conversion shares its work with allocate when they start: all have started when each has had a turn or two.
    (0..2).for_each(|_| drop(rayon::broadcast(|_| ())));
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
    // SAFETY: nobody else knows the file.
    let model = unsafe { Model::open_mapped(file.path()) }.expect("the model opens");
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

/// What is reserved is there: the first run needs nothing from the system any more.
fn reserved_memory_is_touched() {
    let model = Model::read(lenet().join("lenet.sslm")).expect("the model opens");
    let shape = [20_000, 1, 28, 28];
    let (plan, x) = (prepare(&model, &shape, Threads::Single), input(&shape));
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
        text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a count of pages")
            * rustix::param::page_size()
    };
    let mut session = plan.session();
    let before = resident();
    session.reserve().expect("there is memory");
    let grown = resident().saturating_sub(before);
    let expected = plan.session_bytes();
    assert!(expected > 50_000_000 && grown > expected / 10 * 9, "{grown} of {expected} bytes are there");
    let before = resident();
    session.run(sslm::TensorView::new(&shape, &x).expect("the input fits")).expect("it runs");
    let grown = resident().saturating_sub(before);
    assert!(grown < expected / 10, "{grown} bytes more by the first run");
}

/// Sessions beyond what the system has.
fn full_memory_is_an_error() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let model = Model::read(lenet().join("lenet.sslm")).expect("the model opens");
    let shape = [40_000, 1, 28, 28];
    let (plan, x) = (prepare(&model, &shape, Threads::Single), input(&shape));
    let x = || sslm::TensorView::new(&shape, &x).expect("the input fits");
    let mut session = plan.session();
    let before = getrlimit(Resource::As);
    let limit = |current| setrlimit(Resource::As, Rlimit { current, ..before }).expect("a process may take less");
    limit(Some(1)); // of all addresses; what the process has already stays
    let error = session.run(x()).map(drop);
    limit(before.current);
    let error = error.expect_err("no memory is left");
    assert_eq!(*error.kind(), sslm::ErrorKind::Resources);
    assert!(error.to_string().contains("MiB"), "{error}");
    session.run(x()).expect("there is memory again");
}

/// What plans and sessions say they own is what they take: of the allocator to the byte, of maps to the page.
fn plans_and_sessions_say_what_they_take() {
    for (name, batch, threads) in
        [("lenet", 1, Threads::Single), ("convnet", 1, Threads::Single), ("resnet20", 3, Threads::Single)]
    {
        let model = Model::read(root().join(format!("tools/models/{name}/{name}.sslm"))).expect("the model opens");
        let extent = |dim: &sslm::Dim| if let sslm::Dim::Fixed { size } = dim { *size as usize } else { batch };
        let shape: Vec<usize> = model.inputs()[0].dims.iter().map(extent).collect();
        let x = input(&shape);
        let before = Taken::now();
        let plan = prepare(&model, &shape, threads);
        let prepared = Taken::now();
        let mut session = plan.session();
        session.run(sslm::TensorView::new(&shape, &x).expect("the input fits")).expect("it runs");
        let both = Taken::now();
        for (what, said, taken) in
            [("the plan", plan.prepared_bytes(), prepared - before), ("a session", plan.session_bytes(), both - prepared)]
        {
            let found = taken.allocated + taken.mapped;
            // Maps are whole pages: three of a session, one of a plan.
            let pages = said..=said + 4 * 4096;
            assert!(
                pages.contains(&found),
                "{name}: {what} says {said} bytes, and takes {} and {}",
                taken.allocated,
                taken.mapped
            );
            assert!(taken.allocated <= said, "{name}: {what} says {said} bytes, and takes {} of the allocator", taken.allocated);
        }
    }
}

/// Bytes that the process has of the allocator, and of anonymous maps.
#[derive(Clone, Copy)]
struct Taken {
    allocated: usize,
    mapped: usize,
}

impl Taken {
    fn now() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux says what is mapped");
        // Neither a file nor the heap of the allocator.
        let anonymous = maps.lines().filter(|line| line.split_whitespace().count() == 5);
        let size = |line: &str| {
            let (start, end) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')).expect("a range of addresses");
            let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).expect("an address"));
            end - start
        };
        let mapped = anonymous.map(size).sum();
        Taken { allocated: LIVE_BYTES.load(Relaxed), mapped }
    }
}

impl std::ops::Sub for Taken {
    type Output = Taken;

    fn sub(self, other: Taken) -> Taken {
        Taken { allocated: self.allocated - other.allocated, mapped: self.mapped - other.mapped }
    }
}
