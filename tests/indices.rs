//! Computed indices, from the heads of detectors, by what they yield and by what is refused.

use ssl_convert::onnx::load::OnnxFile;
use sslm::Model;
use sslm_tests::compare::{compact_equals_dense, convert, run};
use sslm_tests::onnx::{Net, Value::*, encode};
use std::path::PathBuf;

/// The elements of the first output.
fn outputs(net: Net, y: &str, shape: &[usize], x: &[f32]) -> (Vec<usize>, Vec<f32>) {
    run(&Model::from_bytes(&convert(&net.finish(&[y]), false)).expect("valid"), shape, x)
}

const X: [f32; 6] = [3.0, 9.0, 5.0, 7.0, 7.0, -1.0];

#[test]
fn the_largest_and_where_they_stand() {
    for (largest, elements, places) in
        [(1, [9.0, 5.0, 7.0, 7.0], [1.0, 2.0, 0.0, 1.0]), (0, [3.0, 5.0, -1.0, 7.0], [0.0, 2.0, 2.0, 0.0])]
    {
        let net = |which: usize| {
            let mut net = Net::new(&["batch", "3"]);
            let k = net.integers(&[2]);
            let y = net.node("TopK", &["x", &k], &[("largest", Int(largest))]);
            net.last_node().output.push("places".into());
            let y = [y, "places".into()][which].clone();
            outputs(net, &y, &[2, 3], &X)
        };
        assert_eq!(net(0), (vec![2, 2], elements.to_vec()));
        assert_eq!(net(1), (vec![2, 2], places.to_vec()));
    }
}

/// Windows over planes of 5x4, by what the definition says; two channels and two images lie before others.
#[test]
fn where_the_largest_of_a_window_stands() {
    let x: Vec<f32> = (0..80).map(|i| (i * 37 % 23) as f32 - 11.0).collect();
    // Kernel, strides, dilations, pads, rows and columns of windows, and whether elements are counted by columns.
    let cases = [
        ([2, 2], [2, 2], [1, 1], [0, 0, 0, 0], [2, 2], 0),
        ([3, 2], [1, 1], [1, 1], [1, 1, 1, 0], [5, 4], 0),
        ([2, 3], [2, 1], [2, 1], [1, 1, 0, 1], [2, 4], 0),
        ([2, 2], [1, 2], [1, 1], [0, 0, 0, 0], [4, 2], 1),
    ];
    for (kernel, strides, dilations, pads, windows, by_columns) in cases {
        let mut net = Net::new(&["batch", "2", "5", "4"]);
        let attributes = [
            ("kernel_shape", Ints(&kernel)),
            ("strides", Ints(&strides)),
            ("dilations", Ints(&dilations)),
            ("pads", Ints(&pads)),
            ("storage_order", Int(by_columns)),
        ];
        net.node("MaxPool", &["x"], &attributes);
        net.last_node().output.push("places".into());
        let mut expected = Vec::new();
        for (plane, row, column) in
            (0..4).flat_map(|p| (0..windows[0]).flat_map(move |r| (0..windows[1]).map(move |c| (p, r, c))))
        {
            let taps = (0..kernel[0]).flat_map(|i| (0..kernel[1]).map(move |j| (i, j)));
            let inside = taps.filter_map(|(i, j)| {
                let at = [
                    row as i64 * strides[0] + i * dilations[0] - pads[0],
                    column as i64 * strides[1] + j * dilations[1] - pads[1],
                ];
                ((0..5).contains(&at[0]) && (0..4).contains(&at[1])).then_some(at)
            });
            let element = |at: [i64; 2]| x[(plane * 20 + at[0] * 4 + at[1]) as usize];
            let best = inside.reduce(|best, at| if element(at) > element(best) { at } else { best }).expect("one inside");
            let index = if by_columns == 1 { best[1] * 5 + best[0] } else { best[0] * 4 + best[1] };
            expected.push((plane * 20 + index) as f32);
        }
        let found = outputs(net, "places", &[2, 2, 5, 4], &x);
        assert_eq!(found, (vec![2, 2, windows[0], windows[1]], expected), "{kernel:?} {pads:?}");
    }
}

/// The best of each row picks from a table, from a row, and is marked.
#[test]
fn elements_at_computed_indices() {
    let best = |net: &mut Net, keep: i64| net.node("ArgMax", &["x"], &[("axis", Int(1)), ("keepdims", Int(keep))]);
    let mut net = Net::new(&["batch", "3"]);
    let best_of_row = best(&mut net, 0);
    let table = net.weights(&[3, 2], &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0]);
    let y = net.node("Gather", &[&table, &best_of_row], &[]);
    assert_eq!(outputs(net, &y, &[2, 3], &X), (vec![2, 2], vec![10.0, 11.0, 0.0, 1.0]));

    let mut net = Net::new(&["batch", "3"]);
    let best_of_row = best(&mut net, 1);
    let y = net.node("GatherElements", &["x", &best_of_row], &[("axis", Int(1))]);
    assert_eq!(outputs(net, &y, &[2, 3], &X), (vec![2, 1], vec![9.0, 7.0]));

    let mut net = Net::new(&["batch", "3"]);
    let best_of_row = best(&mut net, 1);
    let y = net.node("GatherND", &["x", &best_of_row], &[("batch_dims", Int(1))]);
    assert_eq!(outputs(net, &y, &[2, 3], &X), (vec![2], vec![9.0, 7.0]));

    let mut net = Net::new(&["2", "3"]);
    let best_of_row = best(&mut net, 1);
    let (tens, add) = (net.weights(&[2, 1], &[10.0, 20.0]), [("axis", Int(1)), ("reduction", Text("add"))]);
    let y = net.node("ScatterElements", &["x", &best_of_row, &tens], &add);
    assert_eq!(outputs(net, &y, &[2, 3], &X).1, [3.0, 19.0, 5.0, 27.0, 7.0, -1.0]);

    let mut net = Net::new(&["2", "3"]);
    let rows = net.integers(&[1]);
    let shape = net.integers(&[1, 1]);
    let rows = net.node("Reshape", &[&rows, &shape], &[]);
    let zeros = net.weights(&[1, 3], &[0.0; 3]);
    let y = net.node("ScatterND", &["x", &rows, &zeros], &[]);
    assert_eq!(outputs(net, &y, &[2, 3], &X).1, [3.0, 9.0, 5.0, 0.0, 0.0, 0.0]);

    let mut net = Net::new(&["2", "3"]);
    let best_of_row = best(&mut net, 0);
    let (depth, values) = (net.integers(&[3]), net.weights(&[2], &[-1.0, 4.0]));
    let y = net.node("OneHot", &[&best_of_row, &depth, &values], &[]);
    assert_eq!(outputs(net, &y, &[2, 3], &X).1, [-1.0, 4.0, -1.0, 4.0, -1.0, -1.0]);
}

#[test]
fn copies_and_triangles() {
    let mut net = Net::new(&["batch", "3", "1"]);
    let times = net.integers(&[1, 2, 2]);
    let y = net.node("Tile", &["x", &times], &[]);
    let expected = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0].repeat(2);
    assert_eq!(outputs(net, &y, &[1, 3, 1], &[1.0, 2.0, 3.0]), (vec![1, 6, 2], expected));

    let mut net = Net::new(&["2", "2"]);
    let ones = net.weights(&[2, 2], &[1.0; 4]);
    let (eye, lower) = (net.node("EyeLike", &["x"], &[]), net.node("Trilu", &[&ones], &[("upper", Int(0))]));
    let sum = net.node("Add", &[&eye, &lower], &[]);
    let y = net.node("Mul", &["x", &sum], &[]);
    assert_eq!(outputs(net, &y, &[2, 2], &[1.0; 4]).1, [2.0, 0.0, 1.0, 2.0]);
}

/// Behind a layer with a removed filter, whose constant may be among the largest.
#[test]
fn the_largest_of_compact_channels() {
    let mut net = Net::new(&["batch", "2", "3", "3"]);
    let mut w = net.random(4 * 2);
    w[2..4].fill(0.0);
    let y = net.conv("x", [4, 2, 1, 1], &w, &[0.1, 0.4, 0.0, -0.2], &[]);
    let k = net.integers(&[2]);
    let best = net.node("TopK", &[&y, &k], &[("axis", Int(1))]);
    net.last_node().output.push("places".into());
    let picked = net.node("GatherElements", &[&y, "places"], &[("axis", Int(1))]);
    let both = net.node("Sub", &[&best, &picked], &[]);
    let all = net.node("Concat", &[&best, &both], &[("axis", Int(1))]);
    compact_equals_dense(&net.finish(&[&all]), &[&[1, 2, 3, 3], &[2, 2, 3, 3]]);
}

/// Of a matrix of 1 to 9, by what the definition says.
#[test]
fn sums_of_products_by_letters() {
    let x: Vec<f32> = (1..=9).map(|n| n as f32).collect();
    let at = |i: usize, j: usize| x[3 * i + j];
    let all = |of: &dyn Fn(usize) -> f32| (0..3).map(of).collect::<Vec<f32>>();
    let trace = at(0, 0) + at(1, 1) + at(2, 2);
    let cases: [(&str, usize, Vec<f32>); 9] = [
        ("ii->i", 1, all(&|i| at(i, i))),
        ("ii", 1, vec![trace]),
        ("ij->", 1, vec![45.0]),
        ("ij->j", 1, all(&|j| (0..3).map(|i| at(i, j)).sum())),
        // Without an arrow, in the alphabet's order.
        ("ji", 1, (0..9).map(|n| at(n % 3, n / 3)).collect()),
        ("ij->ji", 1, (0..9).map(|n| at(n % 3, n / 3)).collect()),
        // The second operand alone has k, which is summed.
        ("ij,ik->ij", 2, (0..9).map(|n| at(n / 3, n % 3) * (0..3).map(|k| at(n / 3, k)).sum::<f32>()).collect()),
        ("ij,jk,kl->il", 3, {
            let square = |i: usize, l: usize| (0..3).map(|k| at(i, k) * at(k, l)).sum::<f32>();
            (0..9).map(|n| (0..3).map(|k| square(n / 3, k) * at(k, n % 3)).sum()).collect()
        }),
        ("ii,jj->ij", 2, (0..9).map(|n| at(n / 3, n / 3) * at(n % 3, n % 3)).collect()),
    ];
    for (equation, operands, expected) in cases {
        let mut net = Net::new(&["3", "3"]);
        let y = net.node("Einsum", &vec!["x"; operands], &[("equation", Text(equation))]);
        assert_eq!(outputs(net, &y, &[3, 3], &x).1, expected, "{equation}");
    }
}

/// Sides of a diagonal and running sums, of computed tensors, of known sizes and of open ones.
#[test]
fn triangles_of_computed_matrices() {
    let x: Vec<f32> = (1..=12).map(|n| n as f32).collect();
    for dims in [["2", "2", "3"], ["batch", "height", "width"]] {
        for (upper, k) in [(1, 0), (1, 1), (1, -1), (0, 0), (0, 1), (0, -1)] {
            let mut net = Net::new(&dims);
            let diagonal = net.integers(&[k]);
            let y = net.node("Trilu", &["x", &diagonal], &[("upper", Int(upper))]);
            let stays = |row: i64, column: i64| if upper == 1 { column - row >= k } else { column - row <= k };
            let expected: Vec<f32> = (0..12).map(|i| if stays(i / 3 % 2, i % 3) { x[i as usize] } else { 0.0 }).collect();
            assert_eq!(outputs(net, &y, &[2, 2, 3], &x).1, expected, "{dims:?}, {upper}, {k}");
        }
        for (axis, exclusive, reverse, first) in [
            (1, 0, 0, [1.0, 2.0, 3.0, 5.0, 7.0, 9.0]),
            (2, 0, 0, [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]),
            (2, 1, 0, [0.0, 1.0, 3.0, 0.0, 4.0, 9.0]),
            (2, 0, 1, [6.0, 5.0, 3.0, 15.0, 11.0, 6.0]),
            (2, 1, 1, [5.0, 3.0, 0.0, 11.0, 6.0, 0.0]),
        ] {
            let mut net = Net::new(&dims);
            let along = net.integers(&[axis]);
            let y = net.node("CumSum", &["x", &along], &[("exclusive", Int(exclusive)), ("reverse", Int(reverse))]);
            assert_eq!(outputs(net, &y, &[2, 2, 3], &x).1[..6], first, "{dims:?}, {axis}, {exclusive}, {reverse}");
        }
    }
}

/// Places of stored elements that are not 0, and one of several marks, of open sizes.
#[test]
fn places_and_marks() {
    let mut net = Net::new(&["1", "3"]);
    let stored = net.weights(&[2, 3], &[0.0, 1.0, 0.0, 2.0, 0.0, -1.0]);
    let places = net.node("NonZero", &[&stored], &[]);
    let places = net.node("Cast", &[&places], &[("to", Int(1))]);
    let y = net.node("Add", &[&places, "x"], &[]);
    assert_eq!(outputs(net, &y, &[1, 3], &[0.0; 3]), (vec![2, 3], vec![0.0, 1.0, 1.0, 1.0, 0.0, 2.0]));

    // One counted from the end, one from the start, and one that is none.
    for (axis, expected) in
        [(-1, [5.0, 5.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0]), (0, [5.0, 1.0, 5.0, 5.0, 5.0, 5.0, 1.0, 5.0, 5.0])]
    {
        let mut net = Net::new(&["batch"]);
        let (depth, values) = (net.integers(&[3]), net.weights(&[2], &[5.0, 1.0]));
        let y = net.node("OneHot", &["x", &depth, &values], &[("axis", Int(axis))]);
        assert_eq!(outputs(net, &y, &[3], &[-1.0, 0.0, 3.0]).1, expected);
    }
}

/// Adds nodes that read `x`; returns what they yield.
type Nodes = fn(&mut Net) -> String;

#[test]
fn refused_with_a_reason() {
    let cases: [(&str, Nodes); 4] = [
        ("k: expected at most 3, found 4", |net| {
            let k = net.integers(&[4]);
            net.node("TopK", &["x", &k], &[])
        }),
        ("indices (input 1): expected integers, found others", |net| net.node("GatherElements", &["x", "x"], &[])),
        ("repeats: expected 2 of them, found 1", |net| {
            let times = net.integers(&[2]);
            net.node("Tile", &["x", &times], &[])
        }),
        ("equation: expected letters of the operands in the result, found 'ij->k'", |net| {
            net.node("Einsum", &["x"], &[("equation", Text("ij->k"))])
        }),
    ];
    for (expected, node) in cases {
        let mut net = Net::new(&["3", "3"]);
        let y = node(&mut net);
        let mut file = OnnxFile::decode(encode(&net.finish(&[&y])), PathBuf::new()).expect("it decodes");
        let said = ssl_convert::network(&mut file, false).err().map(|e| format!("{e:#}")).expect("it is refused");
        assert!(said.contains(expected), "expected '{expected}' in: {said}");
    }
}
