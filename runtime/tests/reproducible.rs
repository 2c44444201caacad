//! Results that are the same to the last bit on every machine: digests of what the shipped models yield, which every instruction set,
//! thread count and batch must meet, and every architecture that this program is run on.

use sslm::{Backend, ErrorKind, Model, Options, TensorView, Threads};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const IMAGES: usize = 6;

/// Models, with the digest of what they yield for the images below. The test of the browser's package reads the same file.
fn digests() -> Vec<(String, u64)> {
    let lines = std::fs::read_to_string(format!("{ROOT}/tests/golden/digests.txt")).expect("the repository has digests");
    let entry = |line: &str| {
        let (name, digest) = line.split_once(" 0x").expect("a model's name and its digest");
        (name.to_owned(), u64::from_str_radix(digest, 16).expect("a digest"))
    };
    lines.lines().map(entry).collect()
}

fn model(name: &str) -> Model {
    Model::read(format!("{ROOT}/tools/models/{name}/{name}.sslm")).expect("the repository has this model")
}

/// Elements between -1 and 1, by a linear congruential generator.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What the model yields for all images, so many at a time.
fn outputs(model: &Model, threads: Threads, batch: usize) -> Vec<f32> {
    let plan = model.prepare(&Options::new().reproducible().threads(threads).batch(batch)).expect("it is prepared");
    let shape = plan.input_shapes().next().expect("an input").to_vec();
    let mut session = plan.session();
    let images = noise(IMAGES * shape[1..].iter().product::<usize>());
    let run = |images: &[f32]| {
        session.run(TensorView::new(&shape, images).expect("as many elements")).expect("it runs").data().to_vec()
    };
    images.chunks_exact(shape.iter().product()).flat_map(run).collect()
}

/// FNV-1a of the elements' bits.
fn digest(elements: &[f32]) -> u64 {
    let bytes = elements.iter().flat_map(|x| x.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Asserts that all models yield what is stored.
fn check(runs: &[(Threads, usize)]) {
    let digests = digests();
    assert_eq!(digests.len(), 6);
    let mut wrong = Vec::new();
    for (name, expected) in digests {
        let model = model(&name);
        for &(threads, batch) in runs {
            let found = digest(&outputs(&model, threads, batch));
            if found != expected {
                wrong.push(format!("{name}, {threads:?}, batch {batch}: {found:#018x}"));
            }
        }
    }
    assert!(wrong.is_empty(), "other bits than those that are stored:\n{}", wrong.join("\n"));
}

#[test]
fn the_same_bits_everywhere() {
    check(&[(Threads::Single, 1)]);
}

#[test]
fn the_same_bits_for_any_threads_and_batch() {
    let all = |threads| [1, 2, 3, 6].map(|batch| (threads, batch));
    check(&[Threads::Single, Threads::Count(2), Threads::Count(3)].map(all).concat());
}

/// What a batch that is run one by one says of itself: times of all steps, where a value is not finite, and what it takes.
#[test]
fn a_batch_is_watched_and_limited_as_a_whole() {
    let model = model("resnet20");
    let options = Options::new().reproducible().threads(Threads::Single).batch(3);
    let plan = model.prepare(&options).expect("it is prepared");
    let macs: usize = plan.steps().map(|step| step.macs).sum();
    assert_eq!(plan.input_shapes().next(), Some(&[3, 3, 32, 32][..]));
    assert_eq!(plan.output_shapes().next(), Some(&[3, 10][..]));
    let one = model.prepare(&options.clone().batch(1)).expect("it is prepared");
    assert_eq!(macs, 3 * one.steps().map(|step| step.macs).sum::<usize>());
    assert_eq!(plan.session_bytes(), one.session_bytes() + 3 * 10 * size_of::<f32>());

    let mut session = plan.session();
    let mut images = noise(3 * 3 * 32 * 32);
    let shape = [3, 3, 32, 32];
    session.set_timing(true);
    session.run(TensorView::new(&shape, &images).expect("as many elements")).expect("it runs");
    assert!(session.step_times().len() == plan.steps().len() && session.step_times().iter().all(|time| !time.is_zero()));
    session.set_checking(true);
    images[3 * 32 * 32..].fill(f32::NAN);
    let outputs = session.run_all(&[TensorView::new(&shape, &images).expect("as many elements")]).expect("it runs");
    assert_eq!(outputs.not_finite().map(|found| (found.step, found.image)), Some((0, Some(1))));

    let limited = model.prepare(&options.max_macs(1000)).map(drop).expect_err("that is too few");
    assert_eq!(*limited.kind(), ErrorKind::Limit);
    let on_a_device = model.prepare(&Options::new().reproducible().backend(Backend::Cuda)).map(drop).expect_err("devices differ");
    assert_eq!(on_a_device.to_string(), "backend of reproducible results: expected the CPU, found CUDA");
}
