//! What preparing a kernel takes of memory: at most what its task says beforehand, so that limits hold, and in the end just what the kernel
//! says. Sizes are those that make tables long beside what they are for: narrow planes, one filter, many groups, large windows.

use crate::common::allocated::{live, most};
use crate::common::{check_all, every};
use sslm_devices::isas;
use sslm_kernels::channels::{JoinTask, SelectTask, Source};
use sslm_kernels::conv::{Column, ConvTask, Geometry, KeptGroup, Method};
use sslm_kernels::cpu::{Target, Task};
use sslm_kernels::elementwise::GateTask;
use sslm_kernels::fully_connected::GemmTask;
use sslm_kernels::index::TopKTask;
use sslm_kernels::layout::{Extents, Forms, Layouts};
use sslm_kernels::matmul::MatMulTask;
use sslm_kernels::pool::{GlobalPoolTask, GlobalReduce, PoolTask, Reduce};
use sslm_kernels::recurrent::{Cell, RecurrentTask, Way};
use sslm_kernels::remap::{From, RemapTask};
use sslm_kernels::resample::{ResampleTask, Windows};
use sslm_kernels::{Activation, Isa, Task as AnyTask};
use sslm_kernels::{Binary, Unary};
use std::fmt::{self, Debug};

/// A task that is made anew for each way to prepare it.
struct Case {
    name: String,
    make: Box<dyn Fn() -> Box<dyn AnyTask>>,
}

impl Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn case<T: AnyTask + 'static>(name: &str, make: impl Fn() -> T + 'static) -> Case {
    Case { name: name.to_owned(), make: Box::new(move || Box::new(make())) }
}

/// A window of these sizes over planes of `input`, which are padded by half of it.
fn geometry(channels: usize, input: [usize; 2], kernel: [usize; 2], stride: usize, transposed: bool) -> Geometry {
    let pad_before = kernel.map(|extent| extent / 2);
    let axis = |axis: usize| {
        let (size, reach, pad) = (input[axis], kernel[axis], 2 * pad_before[axis]);
        if transposed { ((size - 1) * stride + reach).saturating_sub(pad).max(1) } else { (size + pad - reach) / stride + 1 }
    };
    let (strides, dilations) = ([stride; 2], [1, 1]);
    Geometry { channels, input, output: [axis(0), axis(1)], kernel, strides, dilations, pad_before, transposed }
}

fn conv(
    [groups, filters, channels]: [usize; 3],
    input: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    transposed: bool,
    constants: bool,
) -> Case {
    // Those of the caller, for as long as the test runs.
    let taps: &'static [f32] = vec![0.5; groups * filters * kernel[0] * kernel[1]].leak();
    let make = move || {
        let of_group = |group: usize| {
            let channels = group * channels..(group + 1) * channels;
            let taps = move |channel: usize| (0..kernel[0]).flat_map(move |kh| (0..kernel[1]).map(move |kw| (channel, kh, kw)));
            let columns = channels.flat_map(taps).map(|(channel, kh, kw)| Column { channel, kh, kw }).collect();
            KeptGroup { filters, columns }
        };
        ConvTask {
            images: 1,
            geometry: geometry(groups * channels, input, kernel, stride, transposed),
            groups: (0..groups).map(of_group).collect(),
            taps: constants.then_some(taps),
            activation: Activation::None,
            accumulate: false,
        }
    };
    let kind = if transposed { "transposed" } else { "ordinary" };
    let sizes = format!("{groups} groups of {filters} filters and {channels} channels, {input:?} by {kernel:?}, stride {stride}");
    case(&format!("{kind} convolution of {sizes}, constants {constants}"), make)
}

fn cases() -> Vec<Case> {
    let mut cases = every(|c| {
        let groups = c.of(&[[1, 1, 1], [1, 9, 3], [33, 1, 1], [3, 2, 2]]);
        let input = c.of(&[[400, 1], [1, 400], [20, 21], [200, 3]]);
        let kernel = c.of(&[[1, 1], [3, 3], [40, 2]]);
        conv(groups, input, kernel, c.of(&[1, 2]), c.of(&[false, true]), c.of(&[false, true]))
    });
    let extents = |plane: usize| Extents { images: 1, channels: 16, plane };
    let windows = || {
        let mut windows = Windows::default();
        (0..1000).for_each(|i| windows.push(0.0, i, [0.5, 0.5]));
        windows
    };
    cases.extend([
        case("select", || SelectTask {
            images: 1,
            channels: 9,
            plane: 1,
            sources: (0..1000).map(|i| Source::Channel(i % 9)).collect(),
        }),
        case("select whole blocks", || SelectTask {
            images: 1,
            channels: 64,
            plane: 1,
            sources: (16..48).map(Source::Channel).collect(),
        }),
        case("join", || JoinTask { images: 1, channels: vec![1; 500], plane: 1 }),
        case("gate", move || GateTask { function: Binary::Mul, extents: extents(7), relu: false }),
        case("top k", || TopKTask { outer: 9, extent: 1000, inner: 1, k: 5, largest: true, positions: false }),
        case("remap", || RemapTask {
            extent: 1000,
            inner: 1,
            sources: (0..5000).map(|i| From::Position(i * i % 997)).collect(),
            in_planes: None,
        }),
        case("resample", move || ResampleTask { extent: 1001, inner: 1, windows: windows(), in_planes: None }),
        case("global pool", || GlobalPoolTask { images: 1, channels: 16, plane: 9, reduce: GlobalReduce::Max }),
        case("a function", || sslm_kernels::elementwise::MapTask { function: Unary::Relu }),
    ]);
    for (batch, features, rows) in [(1, 1, 1), (1, 5000, 1), (300, 3, 2), (3, 200, 2000)] {
        let make = move || GemmTask { batch, features, rows, columns: (0..features).collect(), activation: Activation::None };
        cases.push(case(&format!("fully connected {batch} x {features} x {rows}"), make));
    }
    for [rows, inner, columns] in [[1, 1, 1], [5000, 1, 1], [1, 5000, 1], [1, 1, 5000], [64, 65, 66]] {
        let make = move || MatMulTask::new([&[3, rows, inner], &[3, inner, columns]], [false, false], 1.0);
        cases.push(case(&format!("matrix product {rows} x {inner} x {columns}"), make));
    }
    for (input, kernel, stride) in [([2000, 1], [3, 1], 1), ([1, 2000], [1, 900], 1), ([30, 30], [2, 2], 2)] {
        let make = move || PoolTask {
            images: 1,
            geometry: geometry(4, input, kernel, stride, false),
            reduce: Reduce::Mean,
            activation: Activation::None,
        };
        cases.push(case(&format!("pool {input:?} by {kernel:?}"), make));
    }
    for (steps, batch, units) in [(500, 1, 1), (3, 100, 2), (20, 2, 64)] {
        let way = move |backward: bool| Way { units, backward };
        let make = move || RecurrentTask {
            cell: Cell::GruOfStates,
            steps,
            batch,
            ways: vec![way(false), way(true)],
            yields_cells: false,
        };
        cases.push(case(&format!("recurrence {steps} x {batch} x {units}"), make));
    }
    cases
}

/// The ways to prepare it that are worth comparing.
fn targets(case: &Case, isa: Isa) -> Vec<Target> {
    let task: Box<dyn AnyTask> = (case.make)();
    let is_conv = task.kind() == "convolution";
    let methods = [None].into_iter().chain(Method::ALL.map(Some)).take(if is_conv { usize::MAX } else { 1 });
    let mut targets = Vec::new();
    for method in methods {
        for (threads, keeps_weights) in [(1, false), (3, true)] {
            let target = Target { method, threads, keeps_weights, ..Target::new(isa, threads) };
            let layouts: Vec<Layouts> = match Task::forms(&*task, &target) {
                Forms::Some { costs, .. } => costs.into_iter().map(|(layouts, _)| layouts).collect(),
                Forms::Planes | Forms::Alike => vec![Layouts::PLANES],
            };
            targets.extend(layouts.into_iter().map(|layouts| Target { layouts, ..target }));
        }
    }
    targets
}

#[test]
fn tables_take_what_is_said() {
    let cases = cases();
    check_all(&cases, |case| {
        for target in isas().flat_map(|isa| targets(case, isa)) {
            let before = live();
            let task: Box<dyn Task> = (case.make)();
            let said = task.most_table_bytes(&target);
            let (kernel, taken) = most(|| {
                drop((task.forms(&target), task.kept_weights(&target)));
                task.prepare(&target)
            });
            if taken as usize > said {
                return Err(format!("{target:?}: {taken} bytes taken, {said} expected"));
            }
            let (owned, own) = ((live() - before) as usize, size_of_val(&*kernel) + kernel.table_bytes());
            if owned != own {
                return Err(format!("{target:?}: the kernel owns {owned} bytes, and says {own}"));
            }
        }
        Ok(())
    });
}
