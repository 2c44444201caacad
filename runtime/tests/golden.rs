//! LeNet's golden logits in every instruction set of the machine that this runs on. It needs nothing but the library, so that it can be
//! run for any machine; `tests/golden.rs` has what needs the tools.

use sslm::{Isa, Model, Options, TensorView, Threads};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Largest allowed difference of a logit.
const TOLERANCE: f32 = 1e-4;

/// The elements of an `.npy` file of `f32`.
fn golden(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(format!("{ROOT}/tests/golden/lenet/{name}.npy")).expect("a golden array");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[start..].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn lenet_answers_as_onnxruntime_did() {
    let (images, logits) = (golden("images"), golden("logits"));
    assert!(logits.len() >= 128 * 10 && images.len() * 10 == logits.len() * 28 * 28);
    let model = Model::read(format!("{ROOT}/tools/models/lenet/lenet.sslm")).expect("the repository has this model");
    let mut wrong = Vec::new();
    for isa in Isa::available() {
        for batch in [1, 32, 128] {
            let options = Options::new().isa(isa).threads(Threads::Single).batch(batch);
            let mut session = model.prepare(&options).expect("it is prepared").session();
            for (images, logits) in images.chunks_exact(batch * 28 * 28).zip(logits.chunks_exact(batch * 10)) {
                let shape = [batch, 1, 28, 28];
                let images = TensorView::new(&shape, images).expect("as many elements");
                let found = session.run(images).expect("it runs");
                assert_eq!(found.shape(), [batch, 10]);
                let differences = found.data().iter().zip(logits).map(|(found, expected)| (found - expected).abs());
                // NaN is the largest of all.
                let worst = differences.max_by(f32::total_cmp).expect("logits");
                if worst.total_cmp(&TOLERANCE).is_gt() {
                    wrong.push(format!("{isa}, batch {batch}: logits differ by {worst:e}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
