//! The code that talks to the driver and cuBLAS, on a stand-in for both: runs of every kind, memory that ends, what is missing, and
//! every call that can fail. Each test runs once more in a process of its own, on a stand-in of its own; `cuda.rs` runs there, too.

use ndarray::Axis;
use sslm::{Backend, Device, Error, ErrorKind, Gpu, Model, Options, Plan, Precision, Session, TensorView};
use sslm_devices::{Said, StandIn, stand_in};
use sslm_tests::golden::golden;
use sslm_tests::tools::lenet;
use std::sync::Arc;

/// What this test program calls the test `name` of this file.
fn path(name: &str) -> String {
    let module = module_path!().split_once("::").map_or("", |(_, module)| module);
    format!("{module}::{name}")
}

/// Runs `body` in a process on a stand-in with these settings, which is this test, `name`, once more. There nothing may be called
/// that is not allowed, and nothing be left but what `accepted` names. Yields what that process said.
fn apart(name: &str, settings: &[(&str, &str)], accepted: &[&str], body: impl FnOnce()) -> Option<Said> {
    if StandIn::is_here() {
        body();
        return None;
    }
    Some(stand_in()?.run(&["--exact", &path(name)], settings).check(accepted))
}

fn prepare(options: &Options) -> Result<Plan, Error> {
    Model::read(lenet().join("lenet.sslm"))?.prepare(options)
}

/// Runs the first golden image, which must yield its logits if it yields something.
fn run(session: &mut Session) -> Result<(), Error> {
    let (images, logits) = golden();
    let images = images.slice_axis(Axis(0), (..1).into());
    let found = session.run(TensorView::try_from(&images).expect("a contiguous image"))?;
    for (i, (found, expected)) in found.data().iter().zip(&logits).enumerate() {
        assert!((found - expected).abs() < 0.02, "logit {i}: {found} instead of {expected}");
    }
    Ok(())
}

/// `Ok`, or what `again` yields after an error of this kind.
fn or_again<T>(kind: ErrorKind, mut again: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    again().or_else(|e| {
        assert_eq!(*e.kind(), kind, "{e}");
        again()
    })
}

/// Every kind of run: launched, recorded, timed, replayed; each once more if it fails.
fn run_each_way(gpu: Arc<dyn Device>) -> Result<(), Error> {
    let plan = or_again(ErrorKind::Device, || prepare(&Options::new().device(Arc::clone(&gpu)).precision(Precision::Tf32)))?;
    let mut session = plan.session();
    for timed in [false, false, true, false] {
        session.set_timing(timed);
        or_again(ErrorKind::Device, || run(&mut session))?;
        assert_eq!(session.step_times().len(), if timed { plan.steps().len() } else { 0 });
    }
    Ok(())
}

#[test]
fn runs_of_every_kind_leave_nothing() {
    apart("runs_of_every_kind_leave_nothing", &[], &[], || {
        run_each_way(Arc::new(Gpu::open(0).expect("the stand-in"))).expect("every run");
    });
}

/// One call fails, whichever it is: an error or nothing is said, all else goes on, and nothing is left.
#[test]
fn any_call_may_fail() {
    let attempt = || match Gpu::open(0) {
        Ok(gpu) => run_each_way(Arc::new(gpu)).expect("one failure at most"),
        Err(e) => assert_eq!(*Error::from(e).kind(), ErrorKind::BackendUnavailable),
    };
    let name = "any_call_may_fail";
    let attempts = std::env::var("ATTEMPTS").map_or(1, |n| n.parse().expect("a number"));
    let Some(said) = apart(name, &[], &[], || (0..attempts).for_each(|_| attempt())) else { return };
    let attempts = said.calls().to_string();
    let failing = [("ATTEMPTS", attempts.as_str()), ("STAND_IN_FAIL", "cu:0:999")];
    // Where the device's attributes cannot be had, cudarc forgets the context.
    apart(name, &failing, &["left: context"], || ());
}

/// After such an error, here in the second run, a device is lost to the process.
#[test]
fn a_lost_device_is_an_error_for_ever() {
    apart("a_lost_device_is_an_error_for_ever", &[("STAND_IN_FAIL", "cuStreamEndCapture:1:719")], &[], || {
        let gpu = Arc::new(Gpu::open(0).expect("the stand-in"));
        let mut session = prepare(&Options::new().device(gpu.clone())).expect("it can be prepared").session();
        run(&mut session).expect("nothing is recorded yet");
        for _ in 0..3 {
            assert_eq!(run(&mut session).err().map(|e| e.kind().clone()), Some(ErrorKind::Device));
        }
        let auto = prepare(&Options::new().backend(Backend::Auto)).expect("the CPU computes");
        assert!(auto.fallback().is_some_and(|why| why.contains("CUDA_ERROR_LAUNCH_FAILED")));
    });
}

#[test]
fn full_memory_is_an_error() {
    apart("full_memory_is_an_error", &[("STAND_IN_MEMORY", "50000000")], &[], || {
        let gpu = Arc::new(Gpu::open(0).expect("the stand-in"));
        let options = Options::new().device(gpu.clone());
        // No room for weights.
        let hog = gpu.allocate(12_480_000).expect("there is room");
        let error = prepare(&options).expect_err("no room");
        assert_eq!(*error.kind(), ErrorKind::Resources, "{error}");
        let auto = prepare(&options.clone().backend(Backend::Auto)).expect("the CPU has room");
        assert!(auto.device().is_none() && auto.fallback().is_some_and(|why| why.contains("memory")));
        drop(hog);
        // None for cuBLAS to work in.
        let mut session = prepare(&options).expect("there is room").session();
        let hog = gpu.allocate(8_000_000).expect("there is room");
        assert_eq!(run(&mut session).err().map(|e| e.kind().clone()), Some(ErrorKind::Resources));
        drop(hog);
        run(&mut session).expect("there is room again");
    });
}

#[test]
fn what_is_missing_is_named() {
    if StandIn::is_here() {
        let expected = std::env::var("EXPECTED").expect("set below");
        let error = prepare(&Options::new().backend(Backend::Cuda)).expect_err("no device");
        assert_eq!(*error.kind(), ErrorKind::BackendUnavailable, "{error}");
        assert!(error.to_string().contains(&expected), "{error}: no '{expected}'");
        let auto = prepare(&Options::new().backend(Backend::Auto)).expect("the CPU computes");
        assert_eq!((auto.device(), auto.fallback()), (None, Some(error.to_string().as_str())));
        return;
    }
    let check = |stand_in: StandIn, expected: &str, settings: &[(&str, &str)]| {
        let settings = [settings, &[("EXPECTED", expected)]].concat();
        stand_in.run(&["--exact", &path("what_is_missing_is_named")], &settings).check(&[]);
    };
    let Some([no_driver, no_cublas]) = stand_in().zip(stand_in()).map(<[StandIn; 2]>::from) else { return };
    check(no_driver.without_driver(), "libcuda", &[]);
    check(no_cublas.without_cublas(), "libcublas", &[]);
    let settings = [
        ("for CUDA 12.7, and 12.8", ("STAND_IN_VERSION", "12070")),
        ("compute capability 6.1, and 7.0", ("STAND_IN_CAPABILITY", "61")),
        ("CUDA_ERROR_NO_DEVICE", ("STAND_IN_FAIL", "cuInit:1:100")),
        ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION", ("STAND_IN_FAIL", "cuModuleLoadData:1:222")),
        ("CUDA_ERROR_NOT_FOUND", ("STAND_IN_FAIL", "cuModuleGetFunction:1:500")),
    ];
    for (expected, setting) in settings {
        let stand_in = stand_in().expect("there was one");
        check(stand_in, expected, &[setting]);
    }
}

#[test]
fn there_is_one_device() {
    apart("there_is_one_device", &[], &[], || {
        let error = Gpu::open(1).map_err(Error::from).expect_err("no second device");
        assert_eq!(*error.kind(), ErrorKind::BackendUnavailable);
        assert!(error.to_string().contains("device 1: invalid device ordinal"), "{error}");
    });
}
