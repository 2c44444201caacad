//! The shipped LeNet against outputs that onnxruntime computed from its masked ONNX: the `.sslm` in the repository (which also
//! freezes the format: later readers must keep reading it), a fresh conversion, and the dense one; and all shipped models against
//! what the converter writes.

use ndarray::Axis;
use sslm::{Model, Options, TensorView, Threads};
use sslm_tests::golden::golden;
use sslm_tests::tools::{lenet, root};
use std::path::Path;

/// Largest allowed difference of a logit.
const TOLERANCE: f32 = 1e-4;

fn argmax(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("at least one class")
}

fn check(path: &Path, threads: Threads, batch: usize) {
    let (images, logits) = golden();
    assert!(images.len_of(Axis(0)) >= 100, "at least 100 images");
    let model = Model::read(path).expect("the model opens");
    let mut session = model.prepare(&Options::new().batch(batch).threads(threads)).expect("it can be prepared").session();
    let chunks = images.axis_chunks_iter(Axis(0), batch).zip(logits.axis_chunks_iter(Axis(0), batch));
    for (images, logits) in chunks.filter(|(images, _)| images.len_of(Axis(0)) == batch) {
        let found = session.run(TensorView::try_from(&images).expect("contiguous images")).expect("it runs");
        assert_eq!(found.shape(), logits.shape());
        for (found, expected) in found.data().chunks(10).zip(logits.rows()) {
            let expected = expected.as_slice().expect("contiguous logits");
            let error = found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(error < TOLERANCE, "{}: difference {error:e}", path.display());
            assert_eq!(argmax(found), argmax(expected), "{}", path.display());
        }
    }
}

#[test]
fn the_shipped_file_matches_onnxruntime() {
    for (threads, batch) in [(Threads::Single, 1), (Threads::Single, 32), (Threads::Count(2), 7), (Threads::Auto, 128)] {
        check(&lenet().join("lenet.sslm"), threads, batch);
    }
}

#[test]
fn fresh_conversions_match_onnxruntime() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for dense in [false, true] {
        let path = folder.path().join("lenet.sslm");
        let options = ssl_convert::Options { dense, ..Default::default() };
        ssl_convert::convert(&lenet().join("lenet.onnx"), &path, &options).expect("the shipped ONNX converts");
        check(&path, Threads::Single, 16);
    }
}

#[test]
fn every_shipped_file_is_what_the_converter_writes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let models = std::fs::read_dir(root().join("tools/models")).expect("the shipped models");
    let mut seen = 0;
    for model in models.map(|entry| entry.expect("a model's folder").path()).filter(|path| path.is_dir()) {
        let name = model.file_name().expect("a name").to_str().expect("in UTF-8");
        let shipped = model.join(format!("{name}.sslm"));
        let path = folder.path().join(name);
        ssl_convert::convert(&model.join(format!("{name}.onnx")), &path, &ssl_convert::Options::default())
            .unwrap_or_else(|e| panic!("{name}: {e:#}"));
        let same = std::fs::read(&path).expect("the conversion") == std::fs::read(&shipped).expect("the shipped file");
        assert!(same, "{} is stale: convert its ONNX anew", shipped.display());
        seen += 1;
    }
    assert!(seen > 0, "no models found");
}

#[test]
fn threads_do_not_change_a_bit() {
    let (images, _) = golden();
    let model = Model::read(lenet().join("lenet.sslm")).expect("the model opens");
    let run = |threads| {
        let plan = model.prepare(&Options::new().batch(128).threads(threads)).expect("it can be prepared");
        plan.session().run(TensorView::try_from(&images).expect("contiguous")).expect("it runs").data().to_vec()
    };
    let one = run(Threads::Single);
    for threads in [2, 3] {
        assert_eq!(run(Threads::Count(threads)), one, "{threads} threads");
    }
}

#[test]
fn only_long_runs_are_shared() {
    let model = Model::read(lenet().join("lenet.sslm")).expect("the model opens");
    let threads = |batch| model.prepare(&Options::new().batch(batch)).expect("it can be prepared").threads();
    assert_eq!(threads(1), 1);
    assert_eq!(threads(512), std::thread::available_parallelism().map_or(1, usize::from));
}

#[test]
fn sessions_of_one_plan_run_side_by_side() {
    let (images, logits) = golden();
    let model = Model::read(lenet().join("lenet.sslm")).expect("the model opens");
    let plan = model.prepare(&Options::new().threads(Threads::Single)).expect("it can be prepared");
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (plan, images, logits) = (&plan, &images, &logits);
            scope.spawn(move || {
                let mut session = plan.session();
                for i in (part..images.len_of(Axis(0))).step_by(4) {
                    let image = images.slice_axis(Axis(0), (i..=i).into());
                    let found = session.run(TensorView::try_from(&image).expect("contiguous")).expect("it runs");
                    assert_eq!(argmax(found.data()), argmax(logits.row(i).as_slice().expect("contiguous")), "image {i}");
                }
            });
        }
    });
}
