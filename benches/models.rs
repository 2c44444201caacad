//! Whole networks with random weights, dense, with the paper's sparsities, and masked, that is with zeros in place; of one image and,
//! but for the masked ones, of eight.
//!
//! ```sh
//! cargo bench -p sslm-benches --bench models                                  # all: some six minutes
//! cargo bench -p sslm-benches --bench models -- --quick                       # no VGG-16, masked ones or batches: half a minute
//! cargo bench -p sslm-benches --bench models -- '(Le|Conv)Net.*/1$'           # by name: net whole network, batch/form/threads
//! ```
//!
//! A network is built when it is first asked for: VGG-16 takes seconds and 600 MB. How times are taken and what the table says: see
//! `layers.rs`. A model's floor counts weights, input and output as its bytes.

use fastrand::Rng;
use ssl_quiet::cores::Cores;
use ssl_report::record::Measure;
use sslm::{Model, TensorView, Threads};
use sslm_benches::compare::{self, Case, Form, Work, as_test, quick};
use sslm_benches::isa;
use sslm_benches::machine;
use sslm_benches::nets::{NETS, Net, is_masked};
use std::cell::LazyCell;

fn main() {
    // Networks for larger images take seconds to build, and VGG-16 as long as all others.
    let nets = NETS.iter().filter(|net| (!as_test() || net.input[1] < 100) && !(quick() && net.name == "VGG-16"));
    let with_models = |net: &'static Net| {
        let models: Vec<_> = net.forms.iter().map(|form| LazyCell::new(|| net.model(form))).collect();
        (net, models)
    };
    let nets: Vec<_> = nets.map(with_models).collect();
    let record = compare::run(|comparisons| {
        let cores = comparisons.cores();
        for (net, models) in &nets {
            for &batch in if quick() { &[1][..] } else { &[1, 8] } {
                let forms = net.forms.iter().zip(models).filter(|(form, _)| batch == 1 && !quick() || !is_masked(form));
                let forms = forms.map(|(name, model)| Form::new(*name, move || run(model, batch, cores)));
                let case = Case { net: net.name, layer: "whole", measure: Measure::Network, batch };
                comparisons.compare(&case, &forms.collect::<Vec<_>>(), 1);
            }
        }
    });
    machine::keep(record);
}

fn run(model: &Model, batch: usize, cores: &Cores) -> Work<'static> {
    let options = isa::options().batch(batch).threads(Threads::Count(cores.count()));
    let plan = cores.adopt(|| model.prepare(&options)).expect("the model prepares");
    let mut session = plan.session();
    let shape = plan.input_shapes().next().expect("the model has an input").to_vec();
    let mut rng = Rng::with_seed(7);
    let images: Vec<f32> = (0..shape.iter().product()).map(|_| rng.f32() * 2.0 - 1.0).collect();
    let outputs: usize = plan.output_shapes().map(|shape| shape.iter().product::<usize>()).sum();
    Work {
        kernel: String::new(),
        macs: plan.steps().map(|step| step.macs).sum(),
        bytes: model.weight_bytes() + (images.len() + outputs) * size_of::<f32>(),
        call: Box::new(move || {
            session.run(TensorView::new(&shape, &images).expect("it fits")).expect("it runs");
        }),
    }
}
