//! What operators say of their axes ([`AxisMap`]) against what they do: where elements at one index of an axis change, only those of the
//! output may change that the map names. How much a map says is compared with the table, since one that says nothing is right, too.

use ssl_convert::slices::{self, Slices};
use sslm::{Options, Session, TensorView, Threads};
use sslm_format::*;
use std::io::Cursor;

/// A node by itself.
struct Case {
    op: Op<Stored>,
    inputs: Vec<Vec<usize>>,
    /// Elements of these inputs are indices below so many, others are any from -1 to 1.
    indices: Vec<(usize, usize)>,
    /// Elements of each of its weights.
    weights: Vec<usize>,
    /// For each input the links of its axes, as [`described`] has them.
    expected: &'static str,
}

fn case(op: impl Into<Op<Stored>>, inputs: &[&[usize]], expected: &'static str) -> Case {
    let inputs = inputs.iter().map(|dims| dims.to_vec()).collect();
    Case { op: op.into(), inputs, indices: Vec::new(), weights: Vec::new(), expected }
}

impl Case {
    fn indices(self, indices: &[(usize, usize)]) -> Self {
        Case { indices: indices.to_vec(), ..self }
    }

    fn weights(self, weights: &[usize]) -> Self {
        Case { weights: weights.to_vec(), ..self }
    }

    /// Any element for this input.
    fn element(&self, input: usize, random: &mut fastrand::Rng) -> f32 {
        match self.indices.iter().find(|(which, _)| *which == input) {
            Some((_, below)) => random.usize(..*below) as f32,
            None => random.f32() * 2.0 - 1.0,
        }
    }

    fn run(&self, session: &mut Session, inputs: &[Vec<f32>]) -> Vec<f32> {
        let views: Vec<TensorView> =
            self.inputs.iter().zip(inputs).map(|(dims, x)| TensorView::new(dims, x).expect("it fits")).collect();
        let outputs = session.run_all(&views).expect("it runs");
        outputs.iter().next().expect("an output").1.data().to_vec()
    }
}

/// What combines, moves and joins elements.
fn cases() -> Vec<Case> {
    let extents = |dims: &[i64]| dims.iter().map(|&dim| Extent::from(dim)).collect::<Vec<_>>();
    let scatter = |axis| ScatterElements { axis, meeting: Meeting::Last };
    vec![
        case(Activation::Tanh, &[&[2, 3, 4]], "=0 =1 =2"),
        case(Binary::Add, &[&[2, 1, 4], &[3, 4]], "=0 ~1 =2, =1 =2"),
        case(Binary::Mul, &[&[4], &[2, 3, 1]], "=2, =0 =1 ~2"),
        case(Where {}, &[&[3, 1], &[2, 3, 4], &[4]], "=1 ~2, =0 =1 =2, =2").indices(&[(0, 2)]),
        case(TopK { axis: 1, k: 2, largest: true, positions: false }, &[&[2, 5, 3]], "=0 windowed1 =2"),
        case(TopK { axis: 2, k: 2, largest: true, positions: false }, &[&[2, 3, 5]], "=0 =1 windowed2"),
        case(TopK { axis: 2, k: 2, largest: false, positions: true }, &[&[2, 3, 5]], "=0 =1 windowed2"),
        case(GatherNd { batch: 0 }, &[&[4, 5, 3], &[6, 2]], "summed summed =1, =0 summed").indices(&[(1, 4)]),
        case(GatherNd { batch: 1 }, &[&[2, 5, 3, 2], &[2, 4, 6, 1]], "=0 summed =3 =4, =0 =1 =2 summed").indices(&[(1, 5)]),
        case(GatherNd { batch: 2 }, &[&[2, 3, 4, 5], &[2, 3, 2]], "=0 =1 summed summed, =0 =1 summed").indices(&[(1, 4)]),
        case(GatherElements { axis: 1 }, &[&[2, 5, 3], &[2, 4, 3]], "=0 windowed1 =2, =0 =1 =2").indices(&[(1, 5)]),
        case(ScatterNd { meeting: Meeting::Last }, &[&[7, 3], &[5, 1], &[5, 3]], "whole0 =1, summed summed, summed =1")
            .indices(&[(1, 7)]),
        case(
            ScatterNd { meeting: Meeting::Sum },
            &[&[4, 5, 2, 3], &[2, 3, 2], &[2, 3, 2, 3]],
            "whole0 whole1 =2 =3, summed summed summed, summed summed =2 =3",
        )
        .indices(&[(1, 4)]),
        case(scatter(0), &[&[4, 3], &[2, 3], &[2, 3]], "windowed0 =1, windowed0 =1, windowed0 =1").indices(&[(1, 4)]),
        case(scatter(1), &[&[2, 5], &[2, 3], &[2, 3]], "=0 windowed1, =0 windowed1, =0 windowed1").indices(&[(1, 5)]),
        case(Concat { axis: 1 }, &[&[2, 2, 3], &[2, 1, 3], &[2, 4, 3]], "=0 joined1@0 =2, =0 joined1@2 =2, =0 joined1@3 =2"),
        case(Concat { axis: 0 }, &[&[1, 2], &[3, 2]], "joined0@0 =1, joined0@1 =1"),
        case(Expand { dims: extents(&[2, 3, 4]) }, &[&[3, 1]], "=1 ~2"),
        case(Flatten { axis: 2 }, &[&[2, 3, 4, 5]], "0..2>0..1 0..2>0..1 2..4>1..2 2..4>1..2"),
        case(Flatten { axis: 1 }, &[&[2, 3, 4]], "=0 1..3>1..2 1..3>1..2"),
        case(Flatten { axis: 2 }, &[&[2, 3, 4]], "0..2>0..1 0..2>0..1 =1"),
        case(Reshape::to(&[0, 3, 8]), &[&[2, 6, 4]], "=0 1..3>1..3 1..3>1..3"),
        case(Reshape::to(&[6, 2, 2, 4]), &[&[2, 3, 4, 4]], "0..2>0..1 0..2>0..1 2..3>1..3 =3"),
    ]
}

/// A window that is not as high as it is wide.
fn window() -> Window {
    Window {
        kernel: [3, 2],
        strides: [2, 1],
        dilations: [1, 1],
        padding: Padding::Explicit { top: 1, left: 0, bottom: 1, right: 1 },
    }
}

/// What has weights.
fn layers() -> Vec<Case> {
    let [scale, shift] = [BlobId(0), BlobId(1)];
    let conv = Conv {
        group: 1,
        channels: 3,
        filters: 4,
        window: window(),
        columns: vec![Kept::All],
        weights: scale,
        bias: shift,
        taps: None,
    };
    // Two slices of two rows each.
    let volume = VolumeConv {
        depth: Depth { kernel: 2, stride: 1, dilation: 1, before: 0, after: 0 },
        conv: Conv { window: Window { kernel: [4, 2], ..window() }, ..conv.clone() },
    };
    let recurrent = Recurrent {
        cell: Cell::Tanh,
        direction: Direction::Forward,
        yields_cells: false,
        features: 3,
        hidden: 4,
        columns: Kept::All,
        units: Kept::All,
        weights: scale,
        recurrent: shift,
        bias: BlobId(2),
        reset_bias: None,
    };
    vec![
        case(BatchNorm { scale, shift }, &[&[2, 3, 4, 2]], "=0 =1 =2 =3").weights(&[3, 3]),
        case(InstanceNorm { scale, shift, epsilon: 1e-5 }, &[&[2, 3, 4, 2]], "=0 =1 whole2 whole3").weights(&[3, 3]),
        case(LayerNorm { axis: 2, scale, shift, epsilon: 1e-5 }, &[&[2, 3, 4, 2]], "=0 =1 whole2 whole3").weights(&[8, 8]),
        case(ChannelNorm { scale, shift, epsilon: 1e-5 }, &[&[2, 3, 4, 2]], "=0 whole1 =2 =3").weights(&[3, 3]),
        case(GroupNorm { groups: 2, scale, shift, epsilon: 1e-5 }, &[&[2, 4, 3]], "=0 whole1 whole2").weights(&[4, 4]),
        case(conv.clone(), &[&[2, 3, 7, 6]], "=0 summed windowed2 windowed3").weights(&[72, 4]),
        case(ConvTranspose { conv, output_padding: [0, 0] }, &[&[2, 3, 4, 4]], "=0 summed windowed2 windowed3").weights(&[72, 4]),
        case(Gemm { features: 4, rows: 3, columns: Kept::All, weights: scale, bias: shift }, &[&[2, 5, 4]], "=0 =1 summed")
            .weights(&[12, 3]),
        case(volume, &[&[2, 3, 4, 5, 3]], "=0 summed windowed2 windowed3 windowed4").weights(&[96, 4]),
        case(recurrent, &[&[2, 3, 5], &[2, 4]], "=0 summed whole2, =0 summed").weights(&[12, 16, 4]),
    ]
}

/// What computes sums, means and the like, and what picks positions.
fn other_cases() -> Vec<Case> {
    let planes = "=0 =1 windowed2 windowed3";
    let slice = |axis, start: i64, end: i64, step| Slice { axis, start: start.into(), end: end.into(), step };
    let resample = |axes: &[u32]| Resample {
        axes: axes.iter().map(|&axis| ResampledAxis { axis, target: AxisTarget::Factor { factor: 1.5 } }).collect(),
        coordinates: Coordinates::HalfPixel,
        interpolation: Interpolation::Linear,
        antialias: false,
        exclude_outside: false,
    };
    let pad = |amounts: &[[u32; 2]], fill| Pad { amounts: amounts.to_vec(), fill };
    let product = |transposed| MatMul { transposed, alpha: 1.0 };
    vec![
        case(Transpose { axes: vec![2, 0, 1] }, &[&[2, 3, 4]], "=1 =2 =0"),
        case(Transpose { axes: vec![2, 1, 0] }, &[&[2, 3, 4]], "=2 =1 =0"),
        case(product([false; 2]), &[&[2, 3, 4], &[2, 4, 5]], "=0 =1 summed, =0 summed =2"),
        case(product([true, false]), &[&[2, 4, 3], &[4, 5]], "=0 summed =1, summed =2"),
        case(product([false, true]), &[&[3, 4], &[2, 5, 4]], "=1 summed, =0 =2 summed"),
        case(product([true; 2]), &[&[2, 1, 4, 3], &[3, 5, 4]], "=0 ~1 summed =2, =1 =3 summed"),
        case(Lrn { size: 3, alpha: 0.5, beta: 0.75, bias: 1.0 }, &[&[2, 6, 2, 2]], "=0 near1-1+1 =2 =3"),
        case(Lrn { size: 4, alpha: 0.5, beta: 0.75, bias: 1.0 }, &[&[1, 6, 2, 2]], "=0 near1-1+2 =2 =3"),
        case(Softmax { start: 1, end: 2 }, &[&[2, 3, 4]], "=0 whole1 =2"),
        case(Softmax { start: 1, end: 3 }, &[&[2, 3, 4]], "=0 whole1 whole2"),
        case(LogSoftmax { start: 2, end: 3 }, &[&[2, 3, 4]], "=0 =1 whole2"),
        case(slice(1, 1, 6, 2), &[&[2, 7, 3]], "=0 picked1(1, 3, 5) =2"),
        case(slice(2, -1, -5, -1), &[&[2, 3, 6]], "=0 =1 picked2(5, 4, 3, 2)"),
        case(Gather { axis: 1, indices: vec![2, 0, -1, 2] }, &[&[2, 4, 3]], "=0 picked1(2, 0, 3, 2) =2"),
        case(Gather { axis: 0, indices: vec![1, 0] }, &[&[3, 2]], "picked0(1, 0) =1"),
        case(MaxPool { window: window(), ceil_mode: false }, &[&[2, 3, 7, 6]], planes),
        case(AveragePool { window: window(), ceil_mode: false, count_include_pad: true }, &[&[2, 3, 7, 6]], planes),
        case(GlobalAveragePool {}, &[&[2, 3, 4, 5]], "=0 =1 summed summed"),
        case(GlobalMaxPool {}, &[&[2, 3, 4, 5]], "=0 =1 summed summed"),
        case(ReduceMean { axes: vec![2], keep: false }, &[&[2, 3, 4, 5]], "=0 =1 summed =2"),
        case(ReduceMean { axes: vec![1, 3], keep: true }, &[&[2, 3, 4, 5]], "=0 summed =2 summed"),
        case(Reduce { reduction: Reduction::Max, axes: vec![0, 2], keep: false }, &[&[2, 3, 4, 5]], "summed =0 summed =1"),
        case(Reduce { reduction: Reduction::Sum, axes: vec![3], keep: true }, &[&[2, 3, 4, 5]], "=0 =1 =2 summed"),
        case(Reduce { reduction: Reduction::Product, axes: vec![2], keep: true }, &[&[2, 3, 4]], "=0 =1 summed"),
        case(Reduce { reduction: Reduction::Max, axes: vec![2], keep: true }, &[&[2, 3, 4]], "=0 =1 summed"),
        case(ArgMax { axis: 1, keep: false, last: false }, &[&[2, 3, 4]], "=0 summed =1"),
        case(ArgMax { axis: 1, keep: true, last: true }, &[&[2, 3, 4]], "=0 summed =2"),
        case(pad(&[[0, 0], [2, 1], [0, 0]], Fill::Constant { value: 0.5 }), &[&[2, 3, 4]], "=0 joined1@2 =2"),
        case(pad(&[[0, 0], [2, 1], [1, 0]], Fill::Reflect), &[&[2, 4, 3]], "=0 picked1(2, 1, 0, 1, 2, 3, 2) windowed2"),
        case(pad(&[[0, 0], [1, 2], [0, 0]], Fill::Edge), &[&[2, 3, 2]], "=0 picked1(0, 0, 1, 2, 2, 2) =2"),
        case(pad(&[[1, 0], [2, 1], [0, 0]], Fill::Wrap), &[&[2, 3, 2]], "windowed0 picked1(1, 2, 0, 1, 2, 0) =2"),
        case(resample(&[2, 3]), &[&[2, 3, 4, 4]], planes),
        case(resample(&[1]), &[&[2, 4, 3]], "=0 windowed1 =2"),
        case(
            Resample { coordinates: Coordinates::TfCropAndResize { regions: vec![[-0.5, 1.5]], outside: 0.5 }, ..resample(&[2]) },
            &[&[2, 3, 4]],
            "=0 =1 windowed2",
        ),
        case(
            Resize2d {
                coordinates: Coordinates::Asymmetric,
                interpolation: Interpolation::Floor,
                target: Target::Sizes { extents: [7, 2] },
            },
            &[&[2, 3, 4, 4]],
            planes,
        ),
        case(
            GridSample { between: Between::Linear, outside: Outside::Zeros, align_corners: false },
            &[&[2, 3, 4, 5], &[2, 3, 2, 2]],
            "=0 =1 windowed2 windowed3, =0 =2 =3 summed",
        ),
        case(
            RoiAlign { size: [2, 3], samples: 2, scale: 1.0, half_pixel: false, largest: false },
            &[&[2, 3, 4, 5], &[4, 4], &[4]],
            "summed =1 windowed2 windowed3, =0 summed, =0",
        )
        .indices(&[(2, 2)]),
        case(DepthToSpace { block: 2, neighbours: true }, &[&[2, 8, 3, 2]], "=0 windowed1 windowed2 windowed3"),
        case(SpaceToDepth { block: 2 }, &[&[2, 3, 4, 2]], "=0 picked1(0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2) windowed2 windowed3"),
    ]
}

/// The links of each input, of an output of `dims`.
fn described(maps: &[AxisMap], dims: &[usize]) -> String {
    let link = |link: &Link| match link {
        Link::Alike { to } => format!("={to}"),
        Link::Broadcast { to } => format!("~{to}"),
        Link::Near { to, before, after } => format!("near{to}-{before}+{after}"),
        Link::Whole { to } => format!("whole{to}"),
        Link::Windowed { to } => format!("windowed{to}"),
        Link::Picked { to, pick } => {
            let indices: Vec<String> = (0..dims[*to]).map(|i| pick.index(i).to_string()).collect();
            format!("picked{to}({})", indices.join(", "))
        }
        Link::Joined { to, first } => format!("joined{to}@{first}"),
        Link::Regrouped { from, to } => format!("{from:?}>{to:?}"),
        Link::Summed => "summed".to_owned(),
    };
    let map = |map: &AxisMap| map.links.iter().map(link).collect::<Vec<_>>().join(" ");
    maps.iter().map(map).collect::<Vec<_>>().join(", ")
}

/// Where an element of this place, in row-major order, lies on each axis.
fn indices(dims: &[usize], mut place: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = dims
        .iter()
        .rev()
        .map(|&extent| {
            let index = place % extent;
            place /= extent;
            index
        })
        .collect();
    indices.reverse();
    indices
}

/// The place among these axes, in row-major order.
fn joined(dims: &[usize], axes: &std::ops::Range<usize>, indices: &[usize]) -> usize {
    axes.clone().fold(0, |place, axis| place * dims[axis] + indices[axis])
}

/// Whether an element of the output may depend on one of the input, by the link of the input's axis.
fn may_depend(link: &Link, axis: usize, dims: [&[usize]; 2], own: &[usize], out: &[usize]) -> bool {
    let i = own[axis];
    match link {
        Link::Alike { to } => out[*to] == i,
        Link::Broadcast { to } => dims[0][axis] == 1 || out[*to] == i,
        Link::Near { to, before, after } => (i.saturating_sub(*after)..=i + before).contains(&out[*to]),
        Link::Picked { to, pick } => pick.index(out[*to]) == i,
        Link::Joined { to, first } => out[*to] == first + i,
        Link::Regrouped { from, to } => joined(dims[0], from, own) == joined(dims[1], to, out),
        Link::Whole { .. } | Link::Windowed { .. } | Link::Summed => true,
    }
}

/// The model of a node alone, and the extents of its output.
fn model_of(case: &Case) -> (sslm::Model, Vec<usize>) {
    let shapes: Vec<shape::Shape> = case.inputs.iter().map(|dims| shape::of(dims)).collect();
    let output = case.op.shape(&shapes.iter().collect::<Vec<_>>()).unwrap_or_else(|e| panic!("{:?}: {e}", case.op));
    let places = (0..case.inputs.len() as u32).map(ValueId);
    let mut blobs: Vec<Blob> = Vec::new();
    for &len in &case.weights {
        let end = blobs.last().map_or(0, |blob| blob.offset + blob.len * 4);
        blobs.push(Blob { offset: end.next_multiple_of(64), len: len as u64 });
    }
    let input = |(value, dims): (ValueId, &Vec<usize>)| Input {
        value,
        dims: dims.iter().map(|&size| Dim::Fixed { size: size as u64 }).collect(),
    };
    let graph = Graph {
        blobs,
        values: (0..=case.inputs.len()).map(|i| Value { name: format!("v{i}"), compaction: None }).collect(),
        inputs: places.clone().zip(&case.inputs).map(input).collect(),
        outputs: vec![ValueId(case.inputs.len() as u32)],
        nodes: vec![Node {
            name: "node".into(),
            inputs: places.collect(),
            output: ValueId(case.inputs.len() as u32),
            op: case.op.clone(),
        }],
    };
    let mut file = Cursor::new(Vec::new());
    let model = Model { graph, ..Model::default() };
    let written = write(&mut file, &model, |i, sink| {
        sink(&(0..case.weights[i]).map(|k| 0.1 + (i + k) as f32 / 64.0).collect::<Vec<f32>>())
    });
    written.unwrap_or_else(|e| panic!("{:?}: {e}", case.op));
    let known = output.iter().map(|extent| extent.known().expect("a known extent")).collect();
    (sslm::Model::from_bytes(&file.into_inner()).expect("what was written is valid"), known)
}

/// What is wrong with a case.
fn problems(case: &Case) -> Vec<String> {
    let (model, dims) = model_of(case);
    let shapes: Vec<shape::Shape> = case.inputs.iter().map(|dims| shape::of(dims)).collect();
    let maps = case.op.axes(&shapes.iter().collect::<Vec<_>>(), &shape::of(&dims));
    let found = described(&maps, &dims);
    let mut problems = Vec::new();
    if found != case.expected {
        problems.push(format!("expected {}, found {found}", case.expected));
    }
    let mut random = fastrand::Rng::with_seed(1);
    let mut element = |input: usize| case.element(input, &mut random);
    let mut session = model.prepare(&Options::new().threads(Threads::Single)).expect("it is prepared").session();
    let mut run = |inputs: &[Vec<f32>]| case.run(&mut session, inputs);
    let inputs: Vec<Vec<f32>> =
        case.inputs.iter().enumerate().map(|(i, dims)| (0..dims.iter().product()).map(|_| element(i)).collect()).collect();
    let before = run(&inputs);
    assert_eq!(before.len(), dims.iter().product::<usize>());
    for (input, (map, own)) in maps.iter().zip(&case.inputs).enumerate() {
        let mut changes = 0;
        for place in 0..inputs[input].len() {
            let at = indices(own, place);
            let mut changed = inputs.clone();
            changed[input][place] = element(input);
            let after = run(&changed);
            for (k, (a, b)) in before.iter().zip(&after).enumerate().filter(|(_, (a, b))| a.to_bits() != b.to_bits()) {
                changes += 1;
                let out = indices(&dims, k);
                for (axis, link) in map.links.iter().enumerate() {
                    if !may_depend(link, axis, [own, &dims], &at, &out) {
                        problems.push(format!("input {input}, axis {axis}: {out:?} depends on {at:?} ({a}, {b})"));
                    }
                }
            }
        }
        if changes == 0 {
            problems.push(format!("input {input}: expected some change, found none"));
        }
    }
    problems.truncate(4);
    problems
}

/// Whether a case yields the constants that its operator says it does, where some channels of its inputs are constant; counts them.
fn constants(case: &Case, count: &mut usize) -> Result<(), String> {
    let (model, dims) = model_of(case);
    let shapes: Vec<shape::Shape> = case.inputs.iter().map(|dims| shape::of(dims)).collect();
    let output = shape::of(&dims);
    let mut session = model.prepare(&Options::new().threads(Threads::Single)).expect("it is prepared").session();
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..40 {
        // Often all of them are, and equal.
        let one = [0.0, 1.0, -2.0, 0.5][random.usize(..4)];
        let mut constant = |input: usize| match random.u8(..4) {
            _ if case.indices.iter().any(|(which, _)| *which == input) => None,
            0 if one != 0.0 => None,
            1 => Some(0.0),
            _ => Some(one),
        };
        let all: Vec<Option<Vec<Option<f32>>>> = shapes
            .iter()
            .enumerate()
            .map(|(input, shape)| Some((0..slices::count(shape)?).map(|_| constant(input)).collect()))
            .collect();
        let inputs: Vec<Vec<f32>> = (0..shapes.len())
            .map(|input| {
                let own = &case.inputs[input];
                let known = |place: usize| all[input].as_ref().and_then(|all| all[indices(own, place)[1]]);
                let elements = 0..own.iter().product();
                elements.map(|place| known(place).unwrap_or_else(|| case.element(input, &mut random))).collect()
            })
            .collect();
        let known: Vec<Slices> = shapes.iter().zip(&all).map(|(shape, all)| Slices::new(shape, all.as_deref())).collect();
        let unknown = vec![None; slices::count(&output).unwrap_or(0)];
        let said = slices::follow(&case.op, &known, &Slices::new(&output, slices::count(&output).map(|_| &unknown[..])));
        *count += said.iter().flatten().count();
        for (place, found) in case.run(&mut session, &inputs).into_iter().enumerate() {
            let Some(&Some(expected)) = indices(&dims, place).get(1).and_then(|&channel| said.get(channel)) else { continue };
            if (found - expected).abs() > 1e-5 * expected.abs() {
                return Err(format!("{:?} of {all:?}: {:?}: expected {expected}, found {found}", case.op, indices(&dims, place)));
            }
        }
    }
    Ok(())
}

/// How many channels are found constant in all: fewer would be a loss.
const CONSTANT_CHANNELS: usize = 3982;

#[test]
fn constants_are_what_operators_yield() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for case in cases().iter().chain(&other_cases()).chain(&layers()) {
        wrong.extend(constants(case, &mut count).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(count, CONSTANT_CHANNELS);
}

#[test]
fn axes_are_what_operators_do() {
    let wrong: Vec<String> = cases()
        .iter()
        .chain(&other_cases())
        .chain(&layers())
        .map(|case| (format!("{:?}", case.op), problems(case)))
        .filter(|(_, problems)| !problems.is_empty())
        .map(|(op, problems)| format!("{op}:\n    {}", problems.join("\n    ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
