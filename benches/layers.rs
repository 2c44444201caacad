//! Single layers, dense and pruned, of the networks in `data/layers.json`: does leaving work out save as much time?
//!
//! ```sh
//! cargo bench -p sslm-benches --bench layers                                              # all: some six minutes
//! cargo bench -p sslm-benches --bench layers -- --quick                                   # all: a minute
//! cargo bench -p sslm-benches --bench layers -- 'AlexNet.*/(dense|entry 2, random)/1$'    # by name: net layer/form/threads
//! ```
//!
//! Every row is a layer with its lowering, bias and Relu, one image, on one and two threads that are pinned to cores. `packed` is the
//! dense layer as a plain sum of products, `dense` the same by whatever is expected to be fastest; where that is packed too, the two
//! differ by what cannot be measured. `spread` is the distance of the quartiles; `quiet` counts the samples that nobody disturbed, the
//! others are left out. `floor` is what the machine sets: the multiply-adds at the rate of the best burst, or the bytes at that of
//! the best read. Winograd's method has fewer multiply-adds than are counted, so it can be below.
//!
//! `MACs` says how many times fewer MACs there are than in the first row of the layer, `gain` how many times faster they are done,
//! measured in turns, and `least` how many times faster than the fastest dense form.

use fastrand::Rng;
use sslm_benches::compare::{self, Form, Work};
use sslm_benches::cores::Cores;
use sslm_benches::shapes::{self, ConvShape, FullyConnectedShape, Kept};
use sslm_kernels::conv::{Conv, Layer, Method};
use sslm_kernels::fully_connected::{self, FullyConnected};
use sslm_kernels::{Activation, Isa};
use std::collections::BTreeSet;

fn main() {
    compare::run(|comparisons| {
        let (isa, cores) = (comparisons.isa(), comparisons.cores());
        for net in shapes::nets() {
            for (i, shape) in net.layers.iter().enumerate() {
                let form = |name: &str, kept, method| Form::new(name, move || convolution(shape, kept, method, isa, cores));
                let mut forms = vec![form("packed", shape.whole(), Some(Method::Packed)), form("dense", shape.whole(), None)];
                forms.extend(net.pruned(i).iter().map(|(name, kept)| form(name, *kept, None)));
                comparisons.compare(&net.net, &shape.name, &forms, 2);
            }
            for shape in &net.fully_connected {
                let dense = Form::new("dense", || fully_connected(shape, isa, cores));
                comparisons.compare(&net.net, &shape.name, &[dense], 1);
            }
        }
    });
}

fn numbers(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.f32() - 0.5).collect()
}

fn convolution<'c>(shape: &ConvShape, kept: Kept, method: Option<Method>, isa: Isa, cores: &'c Cores) -> Work<'c> {
    let (geometry, groups) = (shape.geometry(), shape.groups(kept));
    let rng = &mut Rng::with_seed(7);
    let [image, positions] = [geometry.input, geometry.output].map(|[height, width]| height * width);
    let filters: usize = groups.iter().map(|g| g.filters).sum();
    let read: BTreeSet<usize> = groups.iter().flat_map(|g| &g.columns).map(|c| c.channel).collect();
    let x = numbers(rng, geometry.channels * image);
    let weights = numbers(rng, groups.iter().map(|g| g.filters * g.columns.len()).sum());
    let bias = numbers(rng, filters);
    let mut out = vec![0.0; filters * positions];
    let bytes = (read.len() * image + weights.len() + bias.len() + out.len()) * size_of::<f32>();
    let layer = Layer { geometry, groups, taps: None, activation: Activation::Relu, accumulate: false };
    let conv = match method {
        None => Conv::new(layer, isa, cores.count()),
        Some(method) => Conv::with_method(layer, isa, cores.count(), method),
    };
    let mut scratch = vec![0.0; conv.scratch_len()];
    Work {
        kernel: conv.describe(),
        macs: conv.macs(),
        bytes,
        call: Box::new(move || conv.run(&x, &weights, &bias, &mut out, &mut scratch, cores.threading())),
    }
}

fn fully_connected<'c>(shape: &FullyConnectedShape, isa: Isa, cores: &'c Cores) -> Work<'c> {
    let FullyConnectedShape { features, rows, .. } = *shape;
    let rng = &mut Rng::with_seed(8);
    let (x, weights, bias) = (numbers(rng, features), numbers(rng, rows * features), numbers(rng, rows));
    let mut out = vec![0.0; rows];
    let bytes = (x.len() + weights.len() + bias.len() + out.len()) * size_of::<f32>();
    let layer =
        fully_connected::Layer { batch: 1, features, rows, columns: (0..features).collect(), activation: Activation::Relu };
    let layer = FullyConnected::new(layer, isa, cores.count());
    let mut scratch = vec![0.0; layer.scratch_len()];
    Work {
        kernel: String::new(),
        macs: layer.macs(),
        bytes,
        call: Box::new(move || layer.run(&x, &weights, &bias, &mut out, &mut scratch, cores.threading())),
    }
}
