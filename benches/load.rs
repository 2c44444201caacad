//! From a file to the first answer: `cargo bench --bench load`.

use criterion::{Criterion, criterion_group, criterion_main};
use sslm::{Model, Options, TensorView, Threads};
use std::path::Path;

fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("load");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/models/lenet/lenet.sslm");
    let options = Options::new().threads(Threads::Single);
    let image = vec![0.5; 784];
    group.bench_function("open", |b| b.iter(|| Model::open(&path).expect("it opens")));
    let model = Model::open(&path).expect("it opens");
    group.bench_function("prepare", |b| b.iter(|| model.prepare(&options).expect("it prepares")));
    group.bench_function("open, prepare, first run", |b| {
        b.iter(|| {
            let plan = Model::open(&path).and_then(|m| m.prepare(&options)).expect("it prepares");
            let mut session = plan.session();
            session.run(TensorView::new(&[1, 1, 28, 28], &image).expect("it fits")).map(|y| y.data()[0]).expect("it runs")
        });
    });
    group.finish();
}

criterion_group!(benches, load);
criterion_main!(benches);
