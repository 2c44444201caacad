//! Whole models on CUDA devices: emulated ones on any machine, a real one where there is one. What single kernels compute is tested in
//! `kernels/tests`; that random and tricky graphs keep their function on devices, in `parity.rs`, `fusion.rs` and `random_graphs.rs`.

use ndarray::Axis;
use sslm::{Backend, Device, ErrorKind, Model, Options, Precision, TensorView, Threads};
use sslm_devices::{Emulated, StandIn, devices, emulated, gpu, stand_in};
use sslm_tests::compare::{convert, input, on_devices, prepare, run_session};
use sslm_tests::golden::golden;
use sslm_tests::nets::every_operator;
use sslm_tests::onnx::Net;
use sslm_tests::tools::lenet;
use std::sync::Arc;

fn shipped() -> Model {
    Model::read(lenet().join("lenet.sslm")).expect("the model opens")
}

/// The largest difference from onnxruntime's logits over two batches.
fn error_of(options: &Options, batch: usize) -> f32 {
    let (images, logits) = golden();
    let mut session = shipped().prepare(&options.clone().batch(batch)).expect("it can be prepared").session();
    let chunks = images.axis_chunks_iter(Axis(0), batch).zip(logits.axis_chunks_iter(Axis(0), batch));
    let of_chunk = |(images, logits)| {
        let found = session.run(TensorView::try_from(&images).expect("contiguous images")).expect("it runs");
        found.data().iter().zip(&logits).fold(0f32, |m, (a, b): (&f32, &f32)| m.max((a - b).abs()))
    };
    chunks.take(3).map(of_chunk).fold(0.0, f32::max)
}

#[test]
fn lenet_matches_onnxruntime() {
    for device in devices() {
        for batch in [1, 7, 32] {
            let error = error_of(&Options::new().device(Arc::clone(&device)), batch);
            assert!(error < 1e-4, "{device:?}, batch {batch}: difference {error:e}");
        }
    }
}

/// TF32 and fp16 round factors to 2^-11 of their size.
#[test]
fn precision_is_what_was_asked_for() {
    for device in devices() {
        let options = Options::new().device(Arc::clone(&device));
        let [full, tf32, fp16] = [Precision::Fp32, Precision::Tf32, Precision::Fp16]
            .map(|precision| error_of(&options.clone().precision(precision), 16));
        println!("{device:?}: logits of LeNet are off by {full:e} in fp32, {tf32:e} in tf32, {fp16:e} in fp16");
        assert!(full < 1e-4, "{device:?}: {full:e}");
        for rounded in [tf32, fp16] {
            assert!(rounded > full && rounded < 0.1, "{device:?}: {full:e} and {rounded:e}");
        }
    }
}

#[test]
fn every_operator_runs_there() {
    let model = Model::from_bytes(&convert(&every_operator(), false)).expect("what was written is valid");
    for shape in [[1, 4, 33, 32], [3, 4, 33, 32]] {
        let x = input(&shape);
        let expected = run_session(&mut prepare(&model, &shape, Threads::Single).session(), &shape, &x);
        for (place, mut session) in on_devices(&model, &shape) {
            let found = run_session(&mut session, &shape, &x);
            // Equal probabilities may differ in the last bits, and so in which one is largest: only the first output is compared.
            for (a, b) in expected[0].2.iter().zip(&found[0].2) {
                assert!((a - b).abs() < 1e-5, "{place}: {b} instead of {a}");
            }
            assert_eq!(run_session(&mut session, &shape, &x), found, "{place}: recorded");
            session.set_timing(true);
            assert_eq!(run_session(&mut session, &shape, &x), found, "{place}: timed");
            assert_eq!(session.step_times().len(), session.plan().steps().len());
            session.set_timing(false);
            assert_eq!(run_session(&mut session, &shape, &x), found, "{place}: replayed");
        }
    }
}

/// Nothing is launched, recorded or replayed.
#[test]
fn an_output_may_be_an_input() {
    let mut net = Net::new(&["batch", "3"]);
    let y = net.node("Identity", &["x"], &[]);
    let model = Model::from_bytes(&convert(&net.finish(&[&y]), false)).expect("what was written is valid");
    let x = input(&[2, 3]);
    for (place, mut session) in on_devices(&model, &[2, 3]) {
        for _ in 0..3 {
            assert_eq!(run_session(&mut session, &[2, 3], &x)[0].2, x, "{place}");
        }
    }
}

#[test]
fn steps_say_what_computes_them() {
    for device in devices() {
        let plan = shipped().prepare(&Options::new().device(Arc::clone(&device))).expect("it can be prepared");
        assert_eq!((plan.device(), plan.fallback()), (Some(device.name()), None));
        assert!(plan.steps().all(|step| step.kernel.ends_with("cuda")));
        assert!(plan.session_bytes() > 0);
    }
}

#[test]
fn sessions_of_one_plan_run_side_by_side() {
    let (images, _) = golden();
    for device in devices() {
        let plan = shipped().prepare(&Options::new().device(device)).expect("it can be prepared");
        let image = |i: usize| images.slice_axis(Axis(0), (i..=i).into());
        let alone: Vec<Vec<f32>> = (0..8)
            .map(|i| plan.session().run(TensorView::try_from(&image(i)).expect("contiguous")).expect("it runs").data().to_vec())
            .collect();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (plan, alone) = (&plan, &alone);
                scope.spawn(move || {
                    let mut session = plan.session();
                    for (i, expected) in alone.iter().enumerate() {
                        let found = session.run(TensorView::try_from(&image(i)).expect("contiguous")).expect("it runs");
                        assert_eq!(found.data(), expected, "image {i}");
                    }
                });
            }
        });
    }
}

#[test]
fn full_memory_is_an_error_and_nothing_is_lost() {
    let model = shipped();
    let on = |device: &Emulated| Options::new().device(Arc::new(device.clone()));
    for device in emulated() {
        let tiny = device.clone().with_memory(100_000);
        let error = model.prepare(&on(&tiny)).expect_err("the weights do not fit");
        assert_eq!(*error.kind(), ErrorKind::Resources, "{error}");
        assert!(error.to_string().contains("no device memory"), "{error}");
        assert_eq!(tiny.free_bytes(), 100_000);

        // `auto` takes the CPU then.
        let plan = model.prepare(&on(&tiny).backend(Backend::Auto)).expect("the CPU has room");
        assert!(plan.device().is_none() && plan.fallback().is_some_and(|why| why.contains("memory")));

        let small = device.with_memory(20 << 20);
        let plan = model.prepare(&on(&small)).expect("there is room");
        let hog = small.allocate(small.free_bytes() / 4).expect("there is room");
        let (image, mut session) = (vec![0.5; 28 * 28], plan.session());
        let image = TensorView::new(&[1, 1, 28, 28], &image).expect("it fits");
        assert_eq!(session.run(image).err().map(|e| e.kind().clone()), Some(ErrorKind::Resources));
        drop(hog);
        session.run(image).expect("there is room again");
    }
}

#[test]
fn sizes_that_kernels_cannot_count_are_refused() {
    for device in devices() {
        let error = shipped().prepare(&Options::new().device(device).batch(1 << 24)).expect_err("more than 2^31 elements");
        assert_eq!(*error.kind(), ErrorKind::Resources, "{error}");
        assert!(error.to_string().contains("less than 2^31"), "{error}");
    }
}

/// `cuda` never means the CPU; `auto` may, and says why.
#[test]
fn what_is_missing_is_named() {
    let (model, real) = (shipped(), gpu());
    let plan = |backend| model.prepare(&Options::new().backend(backend));
    let auto = plan(Backend::Auto).expect("one of the two computes");
    match (plan(Backend::Cuda), &real) {
        (Ok(plan), Some(gpu)) => {
            assert_eq!((plan.device(), auto.device()), (Some(gpu.name()), Some(gpu.name())));
        }
        (Err(e), None) => {
            assert_eq!(*e.kind(), ErrorKind::BackendUnavailable, "{e}");
            assert_eq!((auto.device(), auto.fallback()), (None, Some(e.to_string().as_str())));
        }
        (plan, gpu) => panic!("{:?} on {gpu:?}", plan.map(drop)),
    }
}

/// A tuning is of the CPU.
#[test]
fn tunings_are_not_for_devices() {
    let model = shipped();
    let (tuning, _) = model.tune(&Options::new().threads(Threads::Single), None, |_, _| {}).expect("it can be tuned");
    for device in devices() {
        let error = model.prepare(&Options::new().tuning(tuning.clone()).device(device)).expect_err("another backend");
        assert_eq!(*error.kind(), ErrorKind::Tuning, "{error}");
    }
}

/// By the code that talks to the driver. The device that all tests share is never closed.
#[test]
fn all_of_this_on_a_stand_in() {
    if let Some(stand_in) = stand_in().filter(|_| !StandIn::is_here()) {
        stand_in.run(&["cuda::", "--skip", "cuda::tunings"], &[]).check(&["left: module", "left: context"]);
    }
}
