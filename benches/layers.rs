//! Single layers, dense and pruned, of the networks in `data/layers.json`: does leaving work out save as much time?
//!
//! ```sh
//! cargo bench -p sslm-benches --bench layers                                              # all: some five minutes
//! cargo bench -p sslm-benches --bench layers -- --quick                                   # all but batches: a minute
//! cargo bench -p sslm-benches --bench layers -- 'AlexNet.*GEMM/.*/1$'    # by name: net layer measure/form/threads
//! ```
//!
//! `convolution` is a layer with its lowering, bias and Relu, one image or eight, on one and two threads that are pinned to cores. There,
//! `packed` is the dense layer as a plain sum of products, `dense` the same by whatever is expected to be fastest; where that is packed
//! too, the two differ by what cannot be measured. Beside them stand factors of low rank with as many multiply-accumulates as what is
//! pruned, and the dense layer by im2col and a library. `GEMM` is the paper's measure: the matrix product alone, with the lowered
//! matrix already there, on one thread; by our kernels, where entries of scattered zeros are sparse rows (CSR), and by the library.
//!
//! `spread` is the distance of the quartiles; `quiet` counts the samples that nobody disturbed, the others are left out. `floor` is
//! what the machine sets: the multiply-adds at the rate of the best burst, or the bytes at that of the best read. Winograd's method
//! has fewer multiply-adds than are counted, so it can be below.
//!
//! `MACs` says how many times fewer MACs there are than in the first row of the layer, `gain` how many times faster they are done,
//! measured in turns, and `least` how many times faster than the fastest dense form.

use ssl_report::record::Measure;
use sslm_benches::compare::{self, Case, Comparisons, Form, quick};
use sslm_benches::machine;
use sslm_benches::shapes::{self, Kept, Net};
use sslm_benches::works::{self, On};
use sslm_kernels::conv::Method;

/// Images of a batch.
const BATCH: usize = 8;

fn main() {
    let record = compare::run(|comparisons| {
        let on = On { isa: comparisons.isa(), cores: comparisons.cores() };
        for net in &shapes::nets() {
            for layer in 0..net.layers.len() {
                // The paper's way, on one thread.
                if on.cores.count() == 1 {
                    products(comparisons, net, layer, on);
                    library_products(comparisons, net, layer);
                }
                convolutions(comparisons, net, layer, on);
                if !quick() {
                    batches(comparisons, net, layer, on);
                }
            }
            for shape in &net.fully_connected {
                let case = Case { net: &net.net, layer: &shape.name, measure: Measure::Convolution, batch: 1 };
                comparisons.compare(&case, &[Form::new("dense", || works::fully_connected(shape, on))], 1);
            }
        }
    });
    machine::keep(record);
}

/// Dense, and what each entry of the paper's tables leaves, with names.
fn entries(net: &Net, layer: usize) -> impl Iterator<Item = (&str, Kept)> {
    let pruned = net.pruned.iter().map(move |pruned| (pruned.name.as_str(), net.kept(pruned, layer)));
    [("dense", net.layers[layer].whole())].into_iter().chain(pruned)
}

fn products(comparisons: &mut Comparisons<'_>, net: &Net, layer: usize, on: On<'_>) {
    let shape = &net.layers[layer];
    let dense = |(name, kept)| Form::new(name, move || works::product(shape.geometry(), &shape.groups(kept), on));
    let sparse = net.sparse.iter().map(|sparse| {
        let zeros = sparse.zeros[layer] / 100.0;
        Form::new(&*sparse.name, move || works::sparse_product(shape.geometry(), &shape.groups(shape.whole()), zeros, on))
    });
    let forms: Vec<Form> = entries(net, layer).map(dense).chain(sparse).collect();
    comparisons.compare(&Case { net: &net.net, layer: &shape.name, measure: Measure::Gemm, batch: 1 }, &forms, 1);
}

fn library_products(comparisons: &mut Comparisons<'_>, net: &Net, layer: usize) {
    let shape = &net.layers[layer];
    let form = |(name, kept)| Form::new(name, move || works::library_product(shape.geometry(), &shape.groups(kept)));
    let forms: Vec<Form> = entries(net, layer).map(form).collect();
    comparisons.compare(&Case { net: &net.net, layer: &shape.name, measure: Measure::LibraryGemm, batch: 1 }, &forms, 1);
}

fn convolutions(comparisons: &mut Comparisons<'_>, net: &Net, layer: usize, on: On<'_>) {
    let shape = &net.layers[layer];
    let form = |name: &str, kept, method| {
        Form::new(name, move || works::convolution(1, shape.geometry(), shape.groups(kept), method, on))
    };
    let mut forms = vec![form("packed", shape.whole(), Some(Method::Packed)), form("dense", shape.whole(), None)];
    forms.extend(net.pruned(layer).iter().map(|(name, kept)| form(name, *kept, None)));
    for pruned in net.pruned.iter().filter(|pruned| pruned.low_rank) {
        let rank = shape.rank(net.kept(pruned, layer));
        let factors = move || works::low_rank(shape.geometry(), shape.groups(shape.whole()), rank, on);
        forms.push(Form::new(format!("{}, low rank", pruned.name), factors));
    }
    if on.cores.count() == 1 {
        let library = || works::library_convolution(shape.geometry(), shape.groups(shape.whole()));
        forms.push(Form::new("dense, im2col and library", library));
    }
    comparisons.compare(&Case { net: &net.net, layer: &shape.name, measure: Measure::Convolution, batch: 1 }, &forms, 2);
}

/// Some images at once: the dense layer, and what is left of it.
fn batches(comparisons: &mut Comparisons<'_>, net: &Net, layer: usize, on: On<'_>) {
    let shape = &net.layers[layer];
    let form =
        |name: &str, kept| Form::new(name, move || works::convolution(BATCH, shape.geometry(), shape.groups(kept), None, on));
    let mut forms = vec![form("dense", shape.whole())];
    forms.extend(net.pruned(layer).iter().map(|(name, kept)| form(name, *kept)));
    comparisons.compare(&Case { net: &net.net, layer: &shape.name, measure: Measure::Convolution, batch: BATCH }, &forms, 1);
}
