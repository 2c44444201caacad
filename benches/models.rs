//! Whole models, dense and compact, one thread: `cargo bench --bench models`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sslm::{Options, TensorView, Threads};

fn lenet(c: &mut Criterion) {
    let mut group = c.benchmark_group("lenet");
    let models = [
        ("dense", sslm_benches::converted("lenet/lenet.onnx", true)),
        ("compact", sslm_benches::converted("lenet/lenet.onnx", false)),
    ];
    for batch in [1, 32] {
        group.throughput(Throughput::Elements(batch as u64));
        for (form, model) in &models {
            let plan = model.prepare(&Options::new().batch(batch).threads(Threads::Single)).expect("LeNet prepares");
            let (mut session, shape) = (plan.session(), [batch, 1, 28, 28]);
            let image: Vec<f32> = (0..batch * 784).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
            group.bench_function(BenchmarkId::new(*form, batch), |b| {
                b.iter(|| session.run(TensorView::new(&shape, &image).expect("it fits")).map(|y| y.data()[0]).expect("it runs"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, lenet);
criterion_main!(benches);
