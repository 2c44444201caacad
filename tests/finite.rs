//! Which step is the first whose output is not finite: `Session::set_checking`, and `ssl-run --check-finite`.

use ssl_npy::Array;
use sslm::{Model, Options, TensorView, Threads};
use sslm_tests::compare::convert;
use sslm_tests::onnx::{Net, Value::*};
use sslm_tests::tools::{Run, run};
use std::fs;

/// So few that blocks of channels have lanes behind the last one.
const CHANNELS: usize = 6;
const IMAGE: usize = CHANNELS * 16 * 16;

/// Two convolutions, of which the second one exceeds what `f32` holds where the input is large, and a function that hides that.
fn model() -> Vec<u8> {
    let mut net = Net::new(&["batch", "6", "16", "16"]);
    let (filters, pads) = ([CHANNELS, CHANNELS, 3, 3], [("pads", Ints(&[1; 4]))]);
    let [small, large] = [0.5, 1e30].map(|weight| vec![weight; CHANNELS * CHANNELS * 9]);
    let y = net.conv("x", filters, &small, &[0.0; CHANNELS], &pads);
    let y = net.node("Relu", &[&y], &[]);
    let y = net.conv(&y, filters, &large, &[0.0; CHANNELS], &pads);
    let y = net.node("GlobalAveragePool", &[&y], &[]);
    let y = net.node("Sigmoid", &[&y], &[]);
    convert(&net.finish(&[&y]), true)
}

/// Images of ones, with something else at one place of the image of index 2.
fn images(count: usize, element: f32) -> Vec<f32> {
    let mut x = vec![1.0; count * IMAGE];
    x[2 * IMAGE + 77] = element;
    x
}

#[test]
fn the_first_step_is_found() {
    let model = Model::from_bytes(&model()).expect("what was written is valid");
    let on_cpu =
        sslm_devices::isas().flat_map(|isa| [1, 3].map(|threads| Options::new().isa(isa).threads(Threads::Count(threads))));
    let on_devices = sslm_devices::devices().into_iter().map(|device| Options::new().device(device));
    let mut by_image = 0;
    for options in on_cpu.chain(on_devices) {
        let plan = model.prepare(&options.batch(4)).expect("it can be prepared");
        let mut session = plan.session();
        let mut run = |checking: bool, element: f32| {
            session.set_checking(checking);
            let x = images(4, element);
            let outputs = session.run_all(&[TensorView::new(&[4, CHANNELS, 16, 16], &x).expect("they fit")]).expect("it runs");
            (outputs.not_finite().cloned(), outputs.get(0).expect("an output").data().to_vec())
        };
        let convolution = |index: usize| plan.steps().enumerate().filter(|(_, step)| step.op.starts_with("Conv")).nth(index);
        // A run that nobody looks at finds nothing, and one that somebody looks at yields the same.
        for element in [1.0, 1e12, f32::NAN] {
            let (found, outputs) = run(false, element);
            assert!(found.is_none(), "{plan:?}: {found:?}");
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
            assert!(outputs.iter().zip(&run(true, element).1).all(same), "{plan:?}, {element}");
        }
        assert_eq!(run(true, 1.0).0, None, "{plan:?}");
        for (element, index, nan) in [(1e12, 1, false), (f32::NAN, 0, true), (f32::INFINITY, 0, false)] {
            let found = run(true, element).0.unwrap_or_else(|| panic!("{plan:?}, {element}: nothing is found"));
            let (step, info) = convolution(index).expect("two convolutions");
            // Nine positions see the pixel in each of six channels.
            let (count, images) = (9 * CHANNELS, if info.by_image { 1 } else { 4 });
            let expected =
                (step, info.by_image.then_some(2), if nan { count } else { 0 }, if nan { 0 } else { count }, images * IMAGE);
            let found = (found.step, found.image, found.nan, found.infinite, found.of);
            by_image += usize::from(info.by_image);
            if index == 0 {
                assert_eq!(found, expected, "{plan:?}, {element}");
            } else {
                assert_eq!((found.0, found.1, found.2), (expected.0, expected.1, expected.2), "{plan:?}, {element}");
            }
        }
        assert_eq!(run(true, 1.0).0, None, "{plan:?}: what an earlier run found is forgotten");
    }
    assert!(by_image > 0, "nothing runs image by image");
}

#[test]
fn the_tool_names_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path in UTF-8").to_owned();
    fs::write(path("net.sslm"), model()).expect("it can be written");
    let run_on = |element: f32, more: &[&str]| {
        let x = Array::of_floats(vec![5, CHANNELS, 16, 16], images(5, element));
        ssl_npy::write(fs::File::create(path("x.npy")).expect("it can be written"), &x).expect("it can be written");
        let _ = fs::remove_file(path("y.npy"));
        let (model, input, output) = (path("net.sslm"), path("x.npy"), path("y.npy"));
        run("ssl-run", &[&[&*model, "--input", &*input, "--output", &*output], more].concat())
    };
    let written = || fs::exists(path("y.npy")).expect("a folder");

    let Run { code, stderr, .. } = run_on(1.0, &["--check-finite"]);
    assert!(code == 0 && stderr.contains("every element that a layer yielded is finite") && written(), "{code}, {stderr}");
    let Run { code, stderr, .. } = run_on(f32::NAN, &[]);
    assert!(code == 0 && stderr.is_empty() && written(), "{code}, {stderr}");
    for (element, expected) in [(1e12, "'Conv_2' (Conv)"), (f32::INFINITY, "'Conv_0' (Conv")] {
        for more in [&["--check-finite"][..], &["--check-finite", "--batch", "2"]] {
            let Run { code, stdout, stderr } = run_on(element, more);
            let input = if element.is_finite() { "the input is finite" } else { "so does the input" };
            let has_all = stderr.contains(expected) && stderr.contains("the first layer") && stderr.contains(input);
            assert!(code == 1 && stdout.is_empty() && has_all && !written(), "{element}: {code}, {stdout}{stderr}");
        }
    }
    let Run { code, stderr, .. } = run_on(1.0, &["--check-finite", "--bench", "3"]);
    assert!(code == 2 && stderr.contains("cannot be used with"), "{code}, {stderr}");
}
