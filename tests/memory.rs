//! Where memory comes from: a run allocates nothing, plans, sessions and images say what they take, weights stay in the map of their file,
//! and where there is no more memory, a session says so. This program has no test harness, because the harness's threads would allocate,
//! too.

use ssl_convert::emit;
use ssl_convert::onnx::load::OnnxFile;
use ssl_convert::onnx::proto::ModelProto;
use sslm::{Model, Threads};
use sslm_format::{Dim, ElementType, Preprocessing, Resize};
use sslm_tests::compare::{convert, input, prepare};
use sslm_tests::nets::every_operator;
use sslm_tests::onnx::{Net, Value::*, encode};
use sslm_tests::tools::{lenet, root};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, counted.
struct Counted;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
/// The most that were live at a time.
static MOST_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        let live = LIVE_BYTES.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST_BYTES.fetch_max(live, Relaxed);
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
    images_take_what_they_ask_for();
    weights_are_packed_some_at_a_time();
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
fn heavy() -> ModelProto {
    let mut net = Net::new(&["batch", "16", "12", "12"]);
    let (w, b) = (net.random(64 * 16 * 9), net.random(64));
    let y = net.conv("x", [64, 16, 3, 3], &w, &b, &[]);
    let y = net.node("Flatten", &[&y], &[]);
    let w = net.random(1000 * 6400);
    let w = net.weights(&[1000, 6400], &w);
    let y = net.node("Gemm", &[&y, &w], &[("transB", Int(1))]);
    net.finish(&[&y])
}

fn weights_stay_where_they_are() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), convert(&heavy(), false)).expect("a file");

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

/// Whoever decodes an image is told what it takes before it is taken: enough, and not far more.
fn images_take_what_they_ask_for() {
    let fixed = |size: [u64; 4]| size.map(|size| Dim::Fixed { size });
    let open = |axis: &str| Dim::Symbolic { name: axis.to_owned() };
    let inputs = [
        ("gray", fixed([1, 1, 28, 28]), Resize::Stretch),
        ("cropped", fixed([1, 3, 24, 24]), Resize::CenterCrop { short_side: 28 }),
        ("as large as the image", [open("n"), Dim::Fixed { size: 3 }, open("h"), open("w")], Resize::Stretch),
    ];
    let mut wrong = Vec::new();
    for (name, file) in image_files() {
        for (input, dims, resize) in &inputs {
            let layout = ssl_images::Layout::of(dims, ElementType::F32).expect("dims of images");
            let rule = Preprocessing { resize: resize.clone(), ..layout.plain() };
            let mut asked = 0;
            let mut admit = |bytes| {
                asked = asked.max(bytes);
                Ok(())
            };
            let before = LIVE_BYTES.load(Relaxed);
            MOST_BYTES.store(before, Relaxed);
            let read = ssl_images::read_within(&file, &rule, dims, layout, &mut admit);
            let took = MOST_BYTES.load(Relaxed) - before;
            drop(read.unwrap_or_else(|e| panic!("{name}: {e:#}")));
            // What is smaller than a page is not asked for.
            if took as u64 > asked + 4096 || asked > 3 * took as u64 + (1 << 20) {
                wrong.push(format!("{name}, {input}: expected to take the {asked} bytes that it asked for, found {took}"));
            }
            // Whoever is refused has not taken much.
            MOST_BYTES.store(before, Relaxed);
            let refused =
                ssl_images::read_within(&file, &rule, dims, layout, &mut |_| Err(std::io::Error::other("no room").into()));
            let took = MOST_BYTES.load(Relaxed) - before;
            assert!(refused.is_err() && took < 400_000, "{name}, {input}: {took} bytes taken before it was refused");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Images of every format, large enough that pixels are most of what they take, and thin ones, of which rows are.
fn image_files() -> Vec<(String, Vec<u8>)> {
    use jpeg_encoder::SamplingFactor::{F_1_1, F_2_2, F_4_1};
    let mut files = Vec::new();
    for (width, height) in [(1200u32, 900u32), (8, 60_000), (60_000, 8)] {
        let size = format!("{width}x{height}");
        let pixels = |samples: usize| vec![90u8; width as usize * height as usize * samples];
        let mut add = |what: &str, file: Vec<u8>| files.push((format!("{what} of {size}"), file));
        for (color, samples) in [(png::ColorType::Grayscale, 1), (png::ColorType::Rgb, 3), (png::ColorType::Rgba, 4)] {
            for (depth, bytes) in [(png::BitDepth::Eight, 1), (png::BitDepth::Sixteen, 2)] {
                let mut file = Vec::new();
                let mut encoder = png::Encoder::new(&mut file, width, height);
                encoder.set_color(color);
                encoder.set_depth(depth);
                let written = encoder.write_header().and_then(|mut file| file.write_image_data(&pixels(samples * bytes)));
                written.expect("memory takes everything");
                add(&format!("PNG {color:?} {depth:?}"), file);
            }
        }
        for (color, samples) in
            [(jpeg_encoder::ColorType::Luma, 1), (jpeg_encoder::ColorType::Rgb, 3), (jpeg_encoder::ColorType::CmykAsYcck, 4)]
        {
            for (sampling, is_progressive) in [(F_1_1, false), (F_2_2, false), (F_4_1, false), (F_1_1, true), (F_2_2, true)] {
                let mut file = Vec::new();
                let mut encoder = jpeg_encoder::Encoder::new(&mut file, 80);
                encoder.set_sampling_factor(sampling);
                encoder.set_progressive(is_progressive);
                encoder.encode(&pixels(samples), width as u16, height as u16, color).expect("memory takes everything");
                add(&format!("JPEG {color:?} {sampling:?} {is_progressive}"), file);
            }
        }
        let mut file = Vec::new();
        let mut encoder = gif::Encoder::new(&mut file, width as u16, height as u16, &[90; 6]).expect("memory takes everything");
        let buffer = vec![1; width as usize * height as usize].into();
        let frame = gif::Frame { width: width as u16, height: height as u16, buffer, ..gif::Frame::default() };
        encoder.write_frame(&frame).expect("memory takes everything");
        drop(encoder);
        add("GIF", file);
        let mut bmp = b"BM\0\0\0\0\0\0\0\0".to_vec();
        bmp.extend([54, 40, width, height, 1 | 24 << 16, 0, 0, 0, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes));
        add("BMP", [bmp, pixels(3)].concat());
        if width.max(height) < 1 << 14 {
            for (color, samples) in [(image_webp::ColorType::Rgb8, 3), (image_webp::ColorType::Rgba8, 4)] {
                let mut file = Vec::new();
                image_webp::WebPEncoder::new(&mut file).encode(&pixels(samples), width, height, color).expect("it has a size");
                add(&format!("WebP {samples}"), file);
            }
        }
        add("TIFF RGB", tiff_file::<tiff::encoder::colortype::RGB8>([width, height], &pixels(3)));
        let wide: Vec<u16> = pixels(4).into_iter().map(|sample| u16::from(sample) * 257).collect();
        add("TIFF CMYK of 16 bits", tiff_file::<tiff::encoder::colortype::CMYK16>([width, height], &wide));
    }
    files
}

fn tiff_file<C: tiff::encoder::colortype::ColorType>([width, height]: [u32; 2], samples: &[C::Inner]) -> Vec<u8>
where
    [C::Inner]: tiff::encoder::TiffValue,
{
    let mut file = std::io::Cursor::new(Vec::new());
    let encoder = tiff::encoder::TiffEncoder::new(&mut file).expect("memory takes everything");
    let mut encoder = encoder.with_compression(tiff::encoder::Compression::Lzw);
    encoder.write_image::<C>(width, height, samples).expect("memory takes everything");
    file.into_inner()
}

/// A file is written while the network that it is made of is in memory: of its weights, once.
fn weights_are_packed_some_at_a_time() {
    let mut onnx = OnnxFile::decode(encode(&heavy()), PathBuf::new()).expect("it decodes");
    for dense in [true, false] {
        let graph = ssl_convert::network(&mut onnx, dense).expect("it converts");
        let mut file = tempfile::tempfile().expect("a temporary file");
        let before = LIVE_BYTES.load(Relaxed);
        MOST_BYTES.store(before, Relaxed);
        emit::write(&graph, emit::Metadata::default(), &mut file).expect("there is room for it");
        let (taken, written) = (MOST_BYTES.load(Relaxed) - before, file.metadata().expect("a size").len() as usize);
        assert!(written > 25_000_000 && taken < written / 20, "{taken} bytes to write {written}");
    }
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
