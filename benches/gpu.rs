//! Layers and whole networks on a CUDA device, timed by its own events, as JSON: dense and pruned, by every method, lowering included,
//! and the matrix product alone.
//!
//! ```sh
//! cargo bench -p sslm-benches --bench gpu -- --json gpu.json
//! ```
//!
//! Each layer runs as it does in a session: recorded once, several times in a row, and replayed. Nothing is measured without `--json`,
//! and it is an error if there is no device; as a test, a small layer runs on an emulated one. `gpu_peers.py` times PyTorch on the
//! same.

use fastrand::Rng;
use ssl_report::gpu::{LayerTime, Measure, NetworkTime, Report};
use sslm::{Model, Options, TensorView};
use sslm_benches::compare::as_test;
use sslm_benches::machine;
use sslm_benches::nets::{NETS, is_masked};
use sslm_benches::shapes::{ConvShape, Kept, Net, nets};
use sslm_kernels::Activation;
use sslm_kernels::conv::ConvTask;
use sslm_kernels::cuda::{Buffer, Choice, Device, Gemm, Gpu, Matrix, Method, Precision, PreparedConv, Result, Stream, Tensors};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is left of AlexNet, as the paper's table 4 calls it.
const ENTRIES: [&str; 2] = ["entry 2", "entry 5"];
const BATCHES: [usize; 4] = [1, 32, 128, 256];
/// Replays that are timed.
const SAMPLES: usize = 11;
/// About how long one replay takes.
const REPLAY: Duration = Duration::from_millis(1);
/// Most images of what threads of single positions are timed on: beyond, tiles of many positions are faster.
const FEW: usize = 8;

fn main() {
    if as_test() {
        return smoke_test();
    }
    let Some(path) = std::env::args().skip_while(|a| a != "--json").nth(1) else {
        return eprintln!("gpu: nothing was measured: expected --json FILE");
    };
    let device: Arc<dyn Device> = match Gpu::open(0) {
        Ok(gpu) => Arc::new(gpu),
        Err(e) => {
            eprintln!("gpu: nothing was measured: {e}");
            std::process::exit(1);
        }
    };
    // Time on a GPU can end early: what has been measured is written.
    let write = |report: &Report| {
        std::fs::write(&path, serde_json::to_string_pretty(report).expect("text and figures")).expect("the file can be written");
    };
    let mut report = Report { device: device.name(), notes: machine::gpu_notes(), layers: Vec::new(), networks: Vec::new() };
    let all = nets();
    let alexnet = all.iter().find(|net| net.net == "AlexNet").expect("layers.json has AlexNet");
    for batch in BATCHES {
        for (layer, shape) in alexnet.layers.iter().enumerate() {
            for (form, kept) in forms(alexnet, layer) {
                let times = time_layer(&*device, alexnet, shape, &form, kept, batch);
                report.layers.extend(times.unwrap_or_else(|e| panic!("{} {form}, batch {batch}: {e}", shape.name)));
            }
        }
        eprintln!("layers, batch {batch}");
        write(&report);
    }
    report.networks = time_networks(&device).unwrap_or_else(|e| panic!("{e}"));
    write(&report);
}

/// Everything, and what is left by each entry.
fn forms(net: &Net, layer: usize) -> Vec<(String, Kept)> {
    let pruned = net.pruned.iter().filter(|p| ENTRIES.contains(&p.name.as_str())).map(|p| (p.name.clone(), net.kept(p, layer)));
    [("dense".to_owned(), net.layers[layer].whole())].into_iter().chain(pruned).collect()
}

/// The emulated device takes the way of the real one.
fn smoke_test() {
    let all = nets();
    let net = &all[0];
    for device in sslm_devices::emulated().into_iter().take(1) {
        let times = time_layer(&device, net, &net.layers[0], "dense", net.layers[0].whole(), 1).expect("it runs");
        assert!(times.iter().all(|t| t.median_us >= t.min_us));
    }
}

/// Times by every method that is worth it, and of the matrix products alone.
fn time_layer(device: &dyn Device, net: &Net, shape: &ConvShape, form: &str, kept: Kept, batch: usize) -> Result<Vec<LayerTime>> {
    let (rng, stream) = (&mut Rng::with_seed(11), &mut *device.stream()?);
    let layer = ConvTask {
        images: batch,
        geometry: shape.geometry(),
        groups: shape.groups(kept),
        taps: None,
        activation: Activation::Relu,
        accumulate: false,
    };
    let positions = layer.geometry.output[0] * layer.geometry.output[1];
    let filters: usize = layer.groups.iter().map(|g| g.filters).sum();
    let elements = |rng: &mut Rng, len: usize| (0..len).map(|_| rng.f32() * 2.0 - 1.0).collect::<Vec<f32>>();
    let weights = elements(rng, layer.groups.iter().map(|g| g.filters * g.columns.len()).sum());
    let bias = elements(rng, filters);
    let x = put(device, stream, &elements(rng, batch * layer.geometry.channels * shape.input * shape.input))?;
    let out = device.allocate(batch * filters * positions)?;
    let macs = batch * weights.len() * positions;
    let row = |measure, method: String, precision: Precision, expected, times: [f64; 2]| LayerTime {
        net: net.net.clone(),
        layer: shape.name.clone(),
        form: form.to_owned(),
        batch,
        measure,
        method,
        precision: format!("{precision:?}").to_lowercase(),
        expected,
        macs,
        min_us: times[0],
        median_us: times[1],
    };

    let own = PreparedConv::new(&layer, [&weights, &bias], Choice::default(), device, stream)?.describe();
    let mut rows = Vec::new();
    let all = Method::ALL
        .map(|method| (method, Precision::Fp32))
        .into_iter()
        .chain([Precision::Tf32, Precision::Fp16].map(|precision| (Method::Library, precision)));
    for (method, precision) in all {
        // One thread for each element takes long where elements are sums of many products.
        if method == Method::Direct && form == "dense" || matches!(method, Method::Warp { .. }) && batch > FEW {
            continue;
        }
        let choice = Choice { precision, method: Some(method) };
        let conv = PreparedConv::new(&layer, [&weights, &bias], choice, device, stream)?;
        if conv.method() != method {
            continue;
        }
        let scratch = device.allocate(conv.scratch_len())?;
        let tensors = Tensors { x: x.view(), residual: None, out: out.view(), scratch: scratch.view() };
        let times = time(stream, |stream| conv.run(stream, tensors))?;
        rows.push(row(Measure::Layer, method.to_string(), precision, conv.describe() == own, times));
    }

    let largest = layer.groups.iter().map(|g| g.filters * g.columns.len()).max().unwrap_or(0);
    let columns = layer.groups.iter().map(|g| g.columns.len()).max().unwrap_or(0);
    let (left, right) = (device.allocate(batch * columns * positions)?, put(device, stream, &elements(rng, largest))?);
    // Products of zeros are faster than others.
    let some = elements(rng, 1 << 20);
    for start in (0..batch * columns * positions).step_by(some.len()) {
        let part = start..(start + some.len()).min(batch * columns * positions);
        stream.upload(&some[..part.len()], left.part(part))?;
    }
    for precision in [Precision::Fp32, Precision::Tf32] {
        let times = time(stream, |stream| {
            layer.groups.iter().try_for_each(|group| {
                let (m, n, k) = (batch * positions, group.filters, group.columns.len());
                let matrix = |view, leading| Matrix { view, transposed: false, leading, stride: 0 };
                let factors = [matrix(left.view(), m), Matrix { transposed: true, ..matrix(right.view(), n) }];
                stream.gemm(&Gemm { m, n, k, factors, out: matrix(out.view(), m), add: false, batch: 1, precision })
            })
        })?;
        rows.push(row(Measure::Product, "cublas".to_owned(), precision, false, times));
    }
    Ok(rows)
}

fn put(device: &dyn Device, stream: &mut dyn Stream, elements: &[f32]) -> Result<Buffer> {
    let buffer = device.allocate(elements.len())?;
    stream.upload(elements, buffer.view())?;
    Ok(buffer)
}

/// Least and median microseconds of one `work`.
fn time(stream: &mut dyn Stream, work: impl Fn(&mut dyn Stream) -> Result<()>) -> Result<[f64; 2]> {
    work(stream)?; // makes libraries ready
    stream.mark()?;
    work(stream)?;
    stream.mark()?;
    let once = stream.laps()?[0].max(Duration::from_nanos(100));
    let repeats = (REPLAY.as_nanos() / once.as_nanos()).clamp(1, 100) as usize;
    stream.begin_recording()?;
    let recorded = (0..repeats).try_for_each(|_| work(stream));
    stream.end_recording()?;
    recorded?;
    let mut samples = Vec::with_capacity(SAMPLES);
    for sample in 0..=SAMPLES {
        stream.mark()?;
        // SAFETY: what `work` borrows is there until this function returns.
        unsafe { stream.replay() }?;
        stream.mark()?;
        let lap = stream.laps()?[0].as_secs_f64() * 1e6 / repeats as f64;
        if sample > 0 {
            samples.push(lap);
        }
    }
    samples.sort_by(f64::total_cmp);
    Ok([samples[0], samples[SAMPLES / 2]])
}

fn time_networks(device: &Arc<dyn Device>) -> sslm::Result<Vec<NetworkTime>> {
    let mut rows = Vec::new();
    for net in NETS.iter().filter(|net| ["AlexNet", "ResNet-50"].contains(&net.name)) {
        for form in net.forms.iter().filter(|form| !is_masked(form)) {
            let model = net.model(form);
            for batch in BATCHES {
                for precision in [Precision::Fp32, Precision::Tf32, Precision::Fp16] {
                    let options = Options::new().device(Arc::clone(device)).precision(precision);
                    let [median_us, steps_us] = time_network(&model, net.input, batch, &options)?;
                    let macs = model.prepare(&Options::new().batch(1))?.steps().map(|step| step.macs).sum::<usize>() * batch;
                    let (net, form) = (net.name.to_owned(), (*form).to_owned());
                    let precision = format!("{precision:?}").to_lowercase();
                    rows.push(NetworkTime { net, form, batch, precision, macs, median_us, steps_us });
                }
            }
            eprintln!("{} {form}", net.name);
        }
    }
    Ok(rows)
}

/// Median microseconds of a run, and of all of its steps.
fn time_network(model: &Model, [c, h, w]: [usize; 3], batch: usize, options: &Options) -> sslm::Result<[f64; 2]> {
    let (shape, mut rng) = ([batch, c, h, w], Rng::with_seed(7));
    let images: Vec<f32> = (0..shape.iter().product()).map(|_| rng.f32() * 2.0 - 1.0).collect();
    let images = TensorView::new(&shape, &images)?;
    let mut session = model.prepare(&options.clone().batch(batch))?.session();
    // The first run makes libraries ready, the second one records.
    session.run(images)?;
    session.run(images)?;
    let mut runs = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let start = Instant::now();
        session.run(images)?;
        runs.push(start.elapsed());
    }
    session.set_timing(true);
    let mut steps = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        session.run(images)?;
        steps.push(session.step_times().iter().sum::<Duration>());
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[SAMPLES / 2].as_secs_f64() * 1e6
    };
    Ok([median(runs), median(steps)])
}
