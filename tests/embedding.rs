//! What programs that embed the library rely on: runs that others end, outputs in memory of the caller's, plans and sessions that are
//! used again, and errors that a program can tell apart.

use sslm::{Dim, ErrorKind, Interrupt, Model, Options, PlanCache, TensorInfo, TensorView, TensorViewMut, Threads};
use sslm_tests::file::{repair_checksums, section};
use sslm_tests::onnx::{Net, Value::*};
use sslm_tests::tools::root;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const RESNET: [usize; 4] = [16, 3, 32, 32];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(root().join(name)).expect("the repository has this model")
}

fn model(name: &str) -> Model {
    Model::from_bytes(&file(name)).expect("it is valid")
}

fn tiny() -> Model {
    model("runtime/examples/tiny.sslm")
}

/// The kind of error that reading these bytes ends with.
fn refusal(bytes: &[u8]) -> ErrorKind {
    Model::from_bytes(bytes).expect_err("they are not a valid model").kind().clone()
}

#[test]
fn runs_end_when_they_are_cancelled_or_late() {
    // With images side by side and one after the other.
    for threads in [Threads::Single, Threads::Count(2)] {
        let plan = model("tools/models/resnet20/resnet20.sslm").prepare(&Options::new().batch(16).threads(threads));
        let mut session = plan.expect("it is prepared").session();
        let images = vec![0.5; RESNET.iter().product()];
        let input = TensorView::new(&RESNET, &images).expect("as many elements");
        let expected = session.run(input).expect("it runs").data().to_vec();
        let interrupt = Interrupt::new();
        session.set_interrupt(&interrupt);

        // In the middle of a run, after a time that some run will still be busy at.
        let mut ended = 0;
        for microseconds in [0, 50, 100, 200, 400, 800].into_iter().cycle().take(60) {
            let begin = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| {
                    begin.wait();
                    thread::sleep(Duration::from_micros(microseconds));
                    interrupt.cancel();
                    // Whoever resets at once does not make half a run a whole one.
                    interrupt.reset();
                });
                begin.wait();
                match session.run(input) {
                    Ok(scores) => assert_eq!(scores.data(), expected, "a run that was not ended is whole"),
                    Err(e) => {
                        assert_eq!(*e.kind(), ErrorKind::Cancelled, "{e}");
                        ended += 1;
                    }
                }
            });
        }
        eprintln!("{ended} of 60 runs were cancelled in the middle");

        interrupt.cancel();
        assert_eq!(session.run(input).map(drop).expect_err("it stays cancelled").to_string(), "a run: cancelled");
        interrupt.reset();
        interrupt.set_deadline(Some(Instant::now() + Duration::from_micros(300)));
        let late = session.run(input).map(drop).expect_err("16 images take longer");
        assert_eq!(
            (late.kind(), &*late.to_string()),
            (&ErrorKind::Limit, "a run: expected an end by the deadline, found more to do")
        );
        interrupt.set_deadline(Some(Instant::now() + Duration::from_secs(600)));
        assert_eq!(session.run(input).expect("there is time").data(), expected);
        // A deadline before the interrupt was made has passed, too.
        interrupt.set_deadline(Instant::now().checked_sub(Duration::from_secs(3600)));
        assert_eq!(session.run(input).map(drop).expect_err("it is late").kind(), &ErrorKind::Limit);
    }
}

#[test]
fn outputs_go_into_memory_of_the_callers() {
    let mut session = tiny().prepare(&Options::new().batch(3)).expect("it is prepared").session();
    let images: Vec<f32> = (0..3 * 64).map(|i| (i % 11) as f32).collect();
    let input = TensorView::new(&[3, 1, 8, 8], &images).expect("as many elements");
    let expected = session.run(input).expect("it runs").data().to_vec();
    let mut scores = vec![f32::NAN; 6];
    let mut into = |shape: &[usize], count: usize| {
        let mut views: Vec<TensorViewMut<'_>> = Vec::new();
        let mut rest = &mut scores[..];
        for _ in 0..count {
            let (own, others) = rest.split_at_mut(shape.iter().product());
            views.push(TensorViewMut::new(shape, own).expect("as many elements"));
            rest = others;
        }
        session.run_into(&[input], &mut views)
    };
    for (shape, count, message) in [
        (&[3, 2][..], 0, "outputs: expected 1, found 0"),
        (&[1, 2][..], 2, "outputs: expected 1, found 2"),
        (&[2, 3][..], 1, "shape of output 'scores': expected [3, 2], found [2, 3]"),
    ] {
        assert_eq!(into(shape, count).expect_err("it does not fit").to_string(), message);
    }
    into(&[3, 2], 1).expect("it fits");
    assert_eq!(scores, expected);
}

#[test]
fn outputs_are_described_before_they_are_computed() {
    let described = |model: &Model| -> Vec<(String, String)> {
        let dims = |output: &TensorInfo| output.dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
        model.outputs().iter().map(|output| (output.name.clone(), dims(output))).collect()
    };
    assert_eq!(described(&tiny()), [("scores".to_owned(), "N, 2".to_owned())]);
    let mut net = Net::new(&["batch", "3", "height", "width"]);
    let weights = net.weights(&[2, 3, 3, 3], &[0.5; 54]);
    let y = net.node("Conv", &["x", &weights], &[("strides", Ints(&[2, 2])), ("pads", Ints(&[1, 1, 1, 1]))]);
    let flat = net.node("Flatten", &[&y], &[]);
    let file = sslm_tests::compare::convert(&net.finish(&[&y, &flat]), false);
    let model = Model::from_bytes(&file).expect("it is valid");
    let half = |name: &str| format!("floor(({name} + 1)/(2))");
    let shapes: Vec<String> = described(&model).into_iter().map(|(_, dims)| dims).collect();
    assert_eq!(shapes[0], format!("batch, 2, {}, {}", half("height"), half("width")));
    for (height, width) in [(7, 10), (16, 9)] {
        let plan =
            model.prepare(&Options::new().dim("batch", 2).dim("height", height).dim("width", width)).expect("it is prepared");
        let expected = [2, 2, height.div_ceil(2), width.div_ceil(2)];
        assert_eq!(plan.output_shapes().next(), Some(&expected[..]));
    }
}

#[test]
fn outputs_that_are_not_there() {
    let mut session = tiny().prepare(&Options::new()).expect("it is prepared").session();
    let outputs = session.run_all(&[TensorView::new(&[1, 1, 8, 8], &[0.0; 64]).expect("as many elements")]).expect("it runs");
    assert_eq!((outputs.len(), outputs.get(1), outputs.named("score")), (1, None, None));
    assert_eq!(outputs.get(0), outputs.named("scores"));
    assert_eq!(
        outputs.typed::<f32>(1).expect_err("there is one").to_string(),
        "index of an output: expected less than 1, found 1"
    );
}

#[test]
fn plans_are_made_once_and_the_oldest_makes_room() {
    let cache = PlanCache::new(&tiny(), Options::new().threads(Threads::Single), 2);
    let ran = |batch: usize| {
        let (shape, images) = ([batch, 1, 8, 8], vec![1.0; batch * 64]);
        let mut session = cache.session(&[shape]).expect("it is prepared");
        session.run(TensorView::new(&shape, &images).expect("as many elements")).map(|scores| scores.shape()[0])
    };
    // Plans that are the same say so by the place of a shape that they own.
    let place =
        |batch: usize| cache.plan(&[[batch, 1, 8, 8]]).expect("it is prepared").input_shapes().next().map(<[usize]>::as_ptr);
    let (one, two) = (place(1), place(2));
    assert_eq!((ran(1).ok(), ran(2).ok(), place(1), place(2)), (Some(1), Some(2), one, two));
    let kept = cache.plan(&[[1, 1, 8, 8]]).expect("it is there");
    assert_eq!(ran(3).ok(), Some(3));
    assert_eq!(place(1), one, "it was used later than that of 2");
    drop(kept);
    let refused = cache.session(&[[1, 1, 8, 9]]).expect_err("the model takes 8 by 8");
    let expected = ErrorKind::Shape { name: "image".into(), expected: "[N, 1, 8, 8]".into(), found: "[1, 1, 8, 9]".into() };
    assert_eq!(*refused.kind(), expected);
    assert_eq!(place(1), one, "a refusal takes nobody's place for long");
}

#[test]
fn a_session_of_a_cache_comes_without_what_was_asked_of_it_before() {
    let cache = PlanCache::new(&tiny(), Options::new(), 1);
    let (shape, image) = ([1, 1, 8, 8], [0.0; 64]);
    let input = TensorView::new(&shape, &image).expect("as many elements");
    let interrupt = Interrupt::new();
    interrupt.cancel();
    let mut first = cache.session(&[shape]).expect("it is prepared");
    first.set_interrupt(&interrupt);
    first.set_timing(true);
    assert!(first.run(input).is_err());
    drop(first);
    let mut second = cache.session(&[shape]).expect("it is prepared");
    assert!(second.run(input).is_ok());
    assert!(second.step_times().is_empty());
}

#[test]
fn many_threads_share_a_cache() {
    let cache = PlanCache::new(&tiny(), Options::new().threads(Threads::Single), 3);
    thread::scope(|scope| {
        for worker in 0..8 {
            let cache = &cache;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(worker);
                for _ in 0..200 {
                    let batch = random.usize(1..6);
                    let images: Vec<f32> = (0..batch * 64).map(|_| random.f32()).collect();
                    let shape = [batch, 1, 8, 8];
                    let input = TensorView::new(&shape, &images).expect("as many elements");
                    let mut session = cache.session(&[shape]).expect("it is prepared");
                    let found = session.run(input).expect("it runs").data().to_vec();
                    let plan = cache.plan(&[shape]).expect("it is prepared");
                    assert_eq!(found, plan.session().run(input).expect("it runs").data());
                }
            });
        }
    });
}

#[test]
fn a_program_can_tell_errors_apart() {
    let whole = file("runtime/examples/tiny.sslm");
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        refusal(&bytes)
    };
    let repaired = |change: &dyn Fn(&mut Vec<u8>)| {
        changed(&|bytes| {
            change(bytes);
            repair_checksums(bytes);
        })
    };
    assert_eq!(refusal(b"PK\x03\x04"), ErrorKind::NotSslm);
    assert_eq!(repaired(&|bytes| bytes[8] = 9), ErrorKind::Version);
    let half = whole.len() / 2;
    assert_eq!(changed(&|bytes| bytes.truncate(half)), ErrorKind::Corrupt { offset: Some(half as u64) });
    let graph = section(&whole, "GRPH");
    assert_eq!(changed(&|bytes| bytes[graph.offset as usize] ^= 1), ErrorKind::Corrupt { offset: Some(graph.offset) });
    // The count of blobs, which is the first field, and a text that is none.
    let impossible = repaired(&|bytes| bytes[graph.offset as usize + 3] = 0xFF);
    assert_eq!(impossible, ErrorKind::Corrupt { offset: Some(graph.offset) });
    let at = |text: &str| whole.windows(text.len()).position(|w| w == text.as_bytes()).expect("the file has this text");
    let vertical = at("vertical");
    assert_eq!(repaired(&|bytes| bytes[vertical] = 0xFF), ErrorKind::Corrupt { offset: Some(vertical as u64) });

    // Behind the name of the node 'means' stand its one input, its output, and the code of its operator.
    let node = find_node(&whole, "means");
    let unknown = ErrorKind::Unsupported { op: "code 250".into(), node: "means".into() };
    assert_eq!(repaired(&|bytes| bytes[node + 4 + 4 + 4] = 250), unknown);

    assert_eq!(*Model::read("no/such/file").expect_err("it is not there").kind(), ErrorKind::Io);
    let model = tiny();
    let refused = |options: Options| model.prepare(&options).expect_err("it is refused").kind().clone();
    assert_eq!(refused(Options::new().dim("M", 3)), ErrorKind::Input);
    assert_eq!(refused(Options::new().max_macs(5)), ErrorKind::Limit);
    let mut session = model.prepare(&Options::new()).expect("it is prepared").session();
    let wrong = session.run(TensorView::new(&[1, 64], &[0.0; 64]).expect("as many elements")).map(drop);
    let expected = ErrorKind::Shape { name: "image".into(), expected: "[1, 1, 8, 8]".into(), found: "[1, 64]".into() };
    assert_eq!(*wrong.expect_err("another rank").kind(), expected);
}

/// Where the record of the node of this name goes on behind its name: it is the last place where the name stands in the section.
fn find_node(file: &[u8], name: &str) -> usize {
    let text = [&(name.len() as u32).to_le_bytes()[..], name.as_bytes()].concat();
    let graph = section(file, "GRPH");
    let bytes = &file[graph.offset as usize..(graph.offset + graph.len) as usize];
    let last = bytes.windows(text.len()).rposition(|w| w == text).expect("the graph has a node of this name");
    graph.offset as usize + last + text.len()
}

/// Collects the names of spans as they are entered, with the name of the model or the step.
#[derive(Clone, Default)]
struct Spans {
    seen: Arc<Mutex<Vec<String>>>,
    made: Arc<Mutex<Vec<String>>>,
}

impl tracing::Subscriber for Spans {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        struct Name(String);
        impl tracing::field::Visit for Name {
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                if field.name() == "name" {
                    self.0 = format!(" {value}");
                }
            }

            fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
        }
        let mut name = Name(String::new());
        span.record(&mut name);
        let mut made = self.made.lock().expect("nobody panics");
        made.push(format!("{}{}", span.metadata().name(), name.0));
        tracing::span::Id::from_u64(made.len() as u64)
    }

    fn enter(&self, span: &tracing::span::Id) {
        let name = self.made.lock().expect("nobody panics")[span.into_u64() as usize - 1].clone();
        self.seen.lock().expect("nobody panics").push(name);
    }

    fn exit(&self, _: &tracing::span::Id) {
        self.seen.lock().expect("nobody panics").push("end".to_owned());
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}
}

#[test]
fn observers_see_what_is_done() {
    let spans = Spans::default();
    // Of a single subscriber, `tracing` believes that the thread that comes first to a place speaks for all: with other tests in other
    // threads, which have none, that place would be silent.
    let _other = tracing::Dispatch::new(Spans::default());
    tracing::subscriber::with_default(spans.clone(), || {
        let plan = tiny().prepare(&Options::new().threads(Threads::Single)).expect("it is prepared");
        let steps: Vec<String> = plan.steps().map(|step| format!("step {}", step.name)).collect();
        let image = [0.0; 64];
        plan.session().run(TensorView::new(&[1, 1, 8, 8], &image).expect("as many elements")).expect("it runs");
        let of_steps = steps.into_iter().flat_map(|step| [step, "end".to_owned()]);
        let fixed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let expected: Vec<String> =
            fixed(&["open", "end", "prepare", "end", "run"]).into_iter().chain(of_steps).chain(fixed(&["end"])).collect();
        assert_eq!(*spans.seen.lock().expect("nobody panics"), expected);
    });
}
