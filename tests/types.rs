//! Types of elements: every one in which ONNX files store tensors, quantised tensors, casts, and inputs and outputs that are not
//! `f32`.

use ssl_convert::onnx::proto::*;
use sslm::{ElementType, Model, Options, Outputs, TensorView, TypedView};
use sslm_tests::compare::{compact_equals_dense, convert, kept_channels, refusal, run};
use sslm_tests::file::{repair_checksums, section};
use sslm_tests::onnx::{Net, Value::*, float_tensor};

/// Elements of a type as raw bytes.
type Raw = fn(f32) -> Vec<u8>;

/// Every type that tensors are stored in, with raw bytes of small integers, whether these go into `int32_data`, too, and whether it
/// has negative ones.
const TYPES: [(i32, Raw, bool, bool); 13] = [
    (data_type::FLOAT, |x| x.to_le_bytes().to_vec(), false, true),
    (data_type::DOUBLE, |x| f64::from(x).to_le_bytes().to_vec(), false, true),
    (data_type::FLOAT16, |x| sslm_format::half::to_f16(x).to_le_bytes().to_vec(), true, true),
    (data_type::BFLOAT16, |x| x.to_le_bytes()[2..].to_vec(), true, true),
    (data_type::INT8, |x| (x as i8).to_le_bytes().to_vec(), true, true),
    (data_type::UINT8, |x| (x as u8).to_le_bytes().to_vec(), true, false),
    (data_type::INT16, |x| (x as i16).to_le_bytes().to_vec(), true, true),
    (data_type::UINT16, |x| (x as u16).to_le_bytes().to_vec(), true, false),
    (data_type::INT32, |x| (x as i32).to_le_bytes().to_vec(), true, true),
    (data_type::UINT32, |x| (x as u32).to_le_bytes().to_vec(), false, false),
    (data_type::INT64, |x| (x as i64).to_le_bytes().to_vec(), false, true),
    (data_type::UINT64, |x| (x as u64).to_le_bytes().to_vec(), false, false),
    (data_type::BOOL, |x| vec![u8::from(x != 0.0)], true, false),
];

/// A float32 Cast.
const TO_FLOAT: [(&str, sslm_tests::onnx::Value); 1] = [("to", Int(data_type::FLOAT as i64))];

/// Adds a tensor, as it is.
fn add(net: &mut Net, tensor: TensorProto) -> String {
    let name = format!("t{}", net.graph().initializer.len() + net.graph().sparse_initializer.len());
    net.graph().initializer.push(TensorProto { name: name.clone(), ..tensor });
    name
}

fn raw(data_type: i32, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    TensorProto { data_type, dims: dims.to_vec(), raw_data: raw_data.into(), ..Default::default() }
}

fn int8(dims: &[i64], elements: &[i8]) -> TensorProto {
    raw(data_type::INT8, dims, elements.iter().map(|&n| n as u8).collect())
}

/// The type of an input or output.
fn set_type(info: &mut ValueInfoProto, elem_type: i32) {
    info.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()).expect("a tensor").elem_type = elem_type;
}

fn model_of(proto: &ModelProto) -> Model {
    Model::from_bytes(&convert(proto, false)).expect("valid")
}

/// The elements of the only output for an input of this shape.
fn outputs(proto: &ModelProto, shape: &[usize], x: &[f32]) -> Vec<f32> {
    run(&model_of(proto), shape, x).1
}

/// `x` plus a tensor of three elements, which is cast to float32.
fn sum(tensor: TensorProto) -> ModelProto {
    let mut net = Net::new(&["batch", "3"]);
    let t = add(&mut net, tensor);
    let t = net.node("Cast", &[&t], &TO_FLOAT);
    let y = net.node("Add", &["x", &t], &[]);
    net.finish(&[&y])
}

#[test]
fn tensors_of_every_type_are_read_from_every_place() {
    for (data_type, bytes, in_int32_data, negative) in TYPES {
        let elements = if negative { [1.0, 0.0, -3.0] } else { [1.0, 0.0, 1.0] };
        let of = |tensor: TensorProto| outputs(&sum(tensor), &[1, 3], &[0.0; 3]);
        let stored = raw(data_type, &[3], elements.iter().flat_map(|&x| bytes(x)).collect());
        assert_eq!(of(stored.clone()), elements, "{} as raw data", data_type::name(data_type));

        let mut field = TensorProto { raw_data: Default::default(), ..stored.clone() };
        match data_type {
            data_type::FLOAT => field.float_data = elements.to_vec(),
            data_type::DOUBLE => field.double_data = elements.map(f64::from).to_vec(),
            data_type::INT64 => field.int64_data = elements.map(|x| x as i64).to_vec(),
            data_type::UINT32 | data_type::UINT64 => field.uint64_data = elements.map(|x| x as u64).to_vec(),
            data_type::FLOAT16 | data_type::BFLOAT16 => {
                let bits = |x: f32| i32::from(u16::from_le_bytes(bytes(x).try_into().expect("two bytes")));
                field.int32_data = elements.map(bits).to_vec();
            }
            _ => field.int32_data = elements.map(|x| x as i32).to_vec(),
        }
        assert_eq!(of(field), elements, "{} by its field", data_type::name(data_type));

        let truncated = TensorProto { raw_data: stored.raw_data.slice(1..), ..stored.clone() };
        let message = refusal(&sum(truncated));
        let expected = if bytes(0.0).len() == 1 { "as many elements as dims [3] say, found 2" } else { "expected a multiple of" };
        assert!(message.contains(expected), "{message}");
        if in_int32_data {
            let both = TensorProto { int32_data: vec![1, 0, 1], ..stored };
            assert!(refusal(&sum(both)).contains("expected elements in one place"));
        }
    }
}

#[test]
fn elements_beyond_a_type_are_refused() {
    let rounded = raw(data_type::DOUBLE, &[3], [1e-300, 0.1, 3.4e38].map(f64::to_le_bytes).concat());
    assert_eq!(outputs(&sum(rounded), &[1, 3], &[0.0; 3]), [0.0, 0.1, 3.4e38]);
    let field = |data_type: i32, int32_data: Vec<i32>| TensorProto { data_type, dims: vec![3], int32_data, ..Default::default() };
    let doubles = raw(data_type::DOUBLE, &[3], [1.0f64, 1e39, 0.0].map(f64::to_le_bytes).concat());
    for (tensor, expected) in [
        (doubles, "tensor 't0': expected float64 elements that float32 holds, found 1e39"),
        (field(data_type::INT8, vec![1, 200, 0]), "expected elements of the tensor's type, found 200"),
        (field(data_type::UINT16, vec![1, -1, 0]), "expected elements of the tensor's type, found -1"),
        (raw(data_type::UINT64, &[3], [1u64, u64::MAX, 0].map(u64::to_le_bytes).concat()), "expected integers below 2^63"),
        (field(17, vec![0; 3]), "found float8e4m3fn"),
    ] {
        let message = refusal(&sum(tensor));
        assert!(message.contains(expected), "expected '{expected}' in: {message}");
    }
}

/// A network whose weights are sparse: by position, or by an index for each axis.
fn sparse(dims: &[i64], values: &[f32], index_dims: &[i64], indices: &[i64]) -> ModelProto {
    let mut net = Net::new(&["batch", "2", "3", "3"]);
    let values = Some(float_tensor("w", &[values.len()], values));
    let indices = TensorProto {
        int64_data: indices.to_vec(),
        data_type: data_type::INT64,
        dims: index_dims.to_vec(),
        ..Default::default()
    };
    net.graph().sparse_initializer.push(SparseTensorProto { values, indices: Some(indices), dims: dims.to_vec() });
    let y = net.node("Conv", &["x", "w"], &[]);
    net.finish(&[&y])
}

#[test]
fn sparse_tensors_have_their_zeros() {
    let x: Vec<f32> = (0..18).map(|n| n as f32).collect();
    let sum = |scale: f32| x[9..].iter().map(|x| x * scale).collect::<Vec<f32>>();
    let expected = [[0.0; 9].to_vec(), sum(2.0), x[..9].to_vec()].concat();
    let by_position = sparse(&[3, 2, 1, 1], &[2.0, 1.0], &[2], &[3, 4]);
    let by_axis = sparse(&[3, 2, 1, 1], &[2.0, 1.0], &[2, 4], &[1, 1, 0, 0, 2, 0, 0, 0]);
    for model in [by_position, by_axis] {
        assert_eq!(outputs(&model, &[1, 2, 3, 3], &x), expected);
        let graph = compact_equals_dense(&model, &[&[1, 2, 3, 3]]);
        assert_eq!(kept_channels(&graph, "Conv_0"), Some(vec![1, 2]), "a filter of zeros is removed");
    }

    let mut constant = sparse(&[3, 2, 1, 1], &[2.0, 1.0], &[2], &[3, 4]);
    let graph = constant.graph.as_mut().expect("a graph");
    let tensor = graph.sparse_initializer.pop();
    let attribute = AttributeProto { name: "sparse_value".into(), sparse_tensor: tensor, r#type: 11, ..Default::default() };
    let node =
        NodeProto { output: vec!["w".into()], op_type: "Constant".into(), attribute: vec![attribute], ..Default::default() };
    graph.node.insert(0, node);
    assert_eq!(outputs(&constant, &[1, 2, 3, 3], &x), expected);

    for (model, expected) in [
        (sparse(&[3, 2, 1, 1], &[2.0, 1.0], &[2], &[4, 3]), "indices: expected increasing ones"),
        (sparse(&[3, 2, 1, 1], &[2.0, 1.0], &[2], &[3, 6]), "sparse tensor 'w': indices: expected ones within [6], found [6]"),
        (sparse(&[3, 2, 1, 1], &[2.0, 1.0], &[2, 3], &[0; 6]), "or one for each axis, for 2 values, found dims [2, 3]"),
        (sparse(&[1 << 20, 1 << 20, 1, 1], &[2.0, 1.0], &[2], &[3, 4]), "expected at most 16777216 elements for 2 stored ones"),
    ] {
        let message = refusal(&model);
        assert!(message.contains(expected), "expected '{expected}' in: {message}");
    }
}

#[test]
fn quantised_weights_become_numbers() {
    let mut net = Net::new(&["batch", "2", "2", "2"]);
    let w = add(&mut net, int8(&[3, 2, 1, 1], &[7, 5, 3, 3, -1, 9]));
    let zero_point = add(&mut net, int8(&[3], &[5, 3, -1]));
    let scale = net.weights(&[3], &[0.5, 2.0, 0.25]);
    let w = net.node("DequantizeLinear", &[&w, &scale, &zero_point], &[("axis", Int(0))]);
    let bias = add(&mut net, raw(data_type::INT32, &[3], [100i32, 0, -8].map(i32::to_le_bytes).concat()));
    let bias_scale = net.weights(&[], &[0.125]);
    let bias = net.node("DequantizeLinear", &[&bias, &bias_scale], &[]);
    let y = net.node("Conv", &["x", &w, &bias], &[]);
    let model = net.finish(&[&y]);
    let x = [1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 2.0, 2.0];
    let filter = |w: [f32; 2], bias: f32| (0..4).map(|i| w[0] * x[i] + w[1] * x[4 + i] + bias).collect::<Vec<f32>>();
    let expected = [filter([1.0, 0.0], 12.5), vec![0.0; 4], filter([0.0, 2.5], -1.0)].concat();
    assert_eq!(outputs(&model, &[1, 2, 2, 2], &x), expected);
    let graph = compact_equals_dense(&model, &[&[1, 2, 2, 2]]);
    assert_eq!(kept_channels(&graph, "Conv_2"), Some(vec![0, 2]), "a filter that is its zero point is one of zeros");
}

#[test]
fn blocks_share_a_scale() {
    let mut net = Net::new(&["batch", "5"]);
    net.model.opset_import[0].version = 21;
    let (w, z) =
        (add(&mut net, int8(&[2, 5], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])), add(&mut net, int8(&[2, 3], &[0, 0, 1, 2, 0, 0])));
    let scale = net.weights(&[2, 3], &[1.0, 0.5, 2.0, 1.0, 3.0, 0.0625]);
    let w = net.node("DequantizeLinear", &[&w, &scale, &z], &[("axis", Int(1)), ("block_size", Int(2))]);
    let y = net.node("Gemm", &["x", &w], &[("transB", Int(1))]);
    let model = net.finish(&[&y]);
    let rows = [[1.0, 2.0, 1.5, 2.0, 8.0], [4.0, 5.0, 24.0, 27.0, 0.625]];
    let expected: Vec<f32> = rows.iter().map(|row| row.iter().sum()).collect();
    assert_eq!(outputs(&model, &[1, 5], &[1.0; 5]), expected);
    let mut wrong = model;
    wrong.graph.as_mut().expect("a graph").node[0].attribute[1].i = 3;
    assert!(refusal(&wrong).contains("expected a scale and zero point for each 3 indices of axis 1, found dims [2, 3]"));
}

#[test]
fn activations_are_quantised_as_defined() {
    for (of, least, most, zero_point) in [
        (data_type::UINT8, 0.0, 255.0, 3.0f32),
        (data_type::INT8, -128.0, 127.0, -5.0),
        (data_type::UINT16, 0.0, 65535.0, 0.0),
        (data_type::INT16, -32768.0, 32767.0, 7.0),
    ] {
        let (_, bytes, ..) = TYPES.into_iter().find(|(data_type, ..)| *data_type == of).expect("a type");
        let mut net = Net::new(&["batch", "2", "3"]);
        let scale = net.weights(&[2], &[0.5, 0.25]);
        let z = add(&mut net, raw(of, &[2], [zero_point, zero_point].into_iter().flat_map(bytes).collect()));
        let y = net.node("QuantizeLinear", &["x", &scale, &z], &[("axis", Int(1))]);
        let back = net.node("DequantizeLinear", &[&y, &scale, &z], &[("axis", Int(1))]);
        let mut model = net.finish(&[&y, &back]);
        set_type(&mut model.graph.as_mut().expect("a graph").output[0], of);
        let x = [0.25, 0.75, -1e6, 0.3, -0.125, 1e6];
        let quantised = |(i, x): (usize, &f32)| {
            let scale = [0.5, 0.25][i / 3];
            ((x / scale).round_ties_even() + zero_point).clamp(least, most)
        };
        let quantised: Vec<f32> = x.iter().enumerate().map(quantised).collect();
        let numbers: Vec<f32> = quantised.iter().enumerate().map(|(i, q)| (q - zero_point) * [0.5, 0.25][i / 3]).collect();
        let model = model_of(&model);
        let mut session = model.prepare(&Options::new()).expect("it can be prepared").session();
        let found = session.run_typed(&[TypedView::new(&[1, 2, 3], &x).expect("six elements")]).expect("it runs");
        assert_eq!(
            (output(&found, 0).data(), output(&found, 1).data()),
            (&quantised[..], &numbers[..]),
            "{}",
            data_type::name(of)
        );
        assert_eq!(model.output_types(), [data_type::element_type(of).expect("a type"), ElementType::F32]);
    }
}

#[test]
fn scales_that_follow_from_the_elements() {
    let mut net = Net::new(&["batch", "1", "2", "3"]);
    let y = net.node("DynamicQuantizeLinear", &["x"], &[]);
    net.last_node().output = vec![y.clone(), "scale".into(), "zero_point".into()];
    let back = net.node("DequantizeLinear", &[&y, "scale", "zero_point"], &[]);
    let mut model = net.finish(&[&y, "scale", "zero_point", &back]);
    let declared = &mut model.graph.as_mut().expect("a graph").output;
    set_type(&mut declared[0], data_type::UINT8);
    set_type(&mut declared[2], data_type::UINT8);
    // The case of the specification.
    let x = [0.0f32, 2.0, -3.0, -2.5, 1.34, 0.5];
    let model = model_of(&model);
    let mut session = model.prepare(&Options::new()).expect("it can be prepared").session();
    let found = session.run_typed(&[TypedView::new(&[1, 1, 2, 3], &x).expect("six elements")]).expect("it runs");
    assert_eq!(found.typed::<u8>(0).expect("bytes"), [153, 255, 0, 26, 221, 179]);
    let scale = 5.0 / 255.0;
    assert_eq!(
        (output(&found, 1).shape(), output(&found, 1).data(), found.typed::<u8>(2).expect("a byte")),
        (&[][..], &[scale][..], vec![153])
    );
    assert!(output(&found, 3).data().iter().zip(x).all(|(found, x)| (found - x).abs() <= scale / 2.0 + 1e-6));

    let zeros = session.run_typed(&[TypedView::new(&[1, 1, 2, 3], &[0.0f32; 6]).expect("six elements")]).expect("it runs");
    assert_eq!((zeros.typed::<u8>(0).expect("bytes"), output(&zeros, 3).data()), (vec![0; 6], &[0.0; 6][..]));
}

/// The output of this index.
fn output<'a>(outputs: &Outputs<'a>, index: usize) -> TensorView<'a> {
    outputs.get(index).expect("the model has this output")
}

/// What casts to these types one after the other make of `x`, whose type `from` is.
fn cast(from: i32, to: &[i32], x: &[f32]) -> Vec<f32> {
    let mut net = Net::new(&["batch", "n"]);
    let mut y = "x".to_owned();
    for &to in to.iter().chain(&[data_type::FLOAT]) {
        y = net.node("Cast", &[&y], &[("to", Int(to.into()))]);
    }
    let mut model = net.finish(&[&y]);
    set_type(&mut model.graph.as_mut().expect("a graph").input[0], from);
    outputs(&model, &[1, x.len()], x)
}

#[test]
fn casts_of_what_is_computed() {
    use data_type::*;
    let x = [2.75, -2.75, 0.5, -0.5, 0.0, 200.0];
    assert_eq!(cast(FLOAT, &[INT32], &x), [2.0, -2.0, 0.0, 0.0, 0.0, 200.0]);
    assert_eq!(cast(FLOAT, &[BOOL], &x), [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]);
    assert_eq!(cast(FLOAT, &[FLOAT16, DOUBLE, BFLOAT16], &x), x, "floating-point numbers are computed as they are");
    let n = [300.0, -1.0, 128.0, -200.0, 65536.0, 5.0];
    assert_eq!(cast(INT64, &[UINT8], &n), [44.0, 255.0, 128.0, 56.0, 0.0, 5.0]);
    assert_eq!(cast(INT64, &[INT8], &n), [44.0, -1.0, -128.0, 56.0, 0.0, 5.0]);
    assert_eq!(cast(INT32, &[INT16], &n), [300.0, -1.0, 128.0, -200.0, 0.0, 5.0]);
    assert_eq!(cast(INT32, &[UINT16], &n), [300.0, 65535.0, 128.0, 65336.0, 0.0, 5.0]);
    assert_eq!(cast(INT32, &[INT64, UINT32, BOOL], &n), [1.0; 6]);
    assert_eq!(cast(BOOL, &[UINT8], &[0.0, 1.0]), [0.0, 1.0]);

    // As the type of another tensor.
    let mut net = Net::new(&["batch", "3"]);
    let like = add(&mut net, int8(&[1], &[0]));
    let y = net.node("CastLike", &["x", &like], &[]);
    let y = net.node("Cast", &[&y], &TO_FLOAT);
    assert_eq!(outputs(&net.finish(&[&y]), &[1, 3], &[1.5, -1.5, 0.25]), [1.0, -1.0, 0.0]);
}

/// A network of one input of these integers, and what `build` makes of it and of a stored tensor of the type.
fn of_integers(of: i32, stored: i64, build: impl Fn(&mut Net, &str, &str) -> String) -> ModelProto {
    let mut net = Net::new(&["batch", "n"]);
    let tensor = TensorProto { data_type: data_type::INT64, dims: vec![1], int64_data: vec![stored], ..Default::default() };
    let tensor = add(&mut net, tensor);
    let tensor = net.node("Cast", &[&tensor], &[("to", Int(of.into()))]);
    let y = build(&mut net, "x", &tensor);
    let mut model = net.finish(&[&y]);
    set_type(&mut model.graph.as_mut().expect("a graph").input[0], of);
    model
}

#[test]
fn integers_of_few_bits_lose_the_upper_ones() {
    use data_type::*;
    let x = [7.0, 100.0, 3.0];
    for (op, of, stored, expected) in [
        ("Sub", UINT8, 10, [253.0, 90.0, 249.0]),
        ("Add", UINT8, 200, [207.0, 44.0, 203.0]),
        ("Mul", UINT8, 51, [101.0, 236.0, 153.0]),
        ("Add", INT8, 100, [107.0, -56.0, 103.0]),
        ("Mul", INT8, -3, [-21.0, -44.0, -9.0]),
        ("Sub", UINT16, 10, [65533.0, 90.0, 65529.0]),
        ("Add", INT16, 32700, [32707.0, -32736.0, 32703.0]),
    ] {
        let model = of_integers(of, stored, |net, x, stored| {
            let y = net.node(op, &[x, stored], &[]);
            net.node("Cast", &[&y], &TO_FLOAT)
        });
        assert_eq!(outputs(&model, &[1, 3], &x), expected, "{op} of {}", name(of));
    }
    let squares = of_integers(UINT8, 2, |net, x, two| {
        let y = net.node("Pow", &[x, two], &[]);
        net.node("Cast", &[&y], &TO_FLOAT)
    });
    assert_eq!(outputs(&squares, &[1, 3], &x), [49.0, 16.0, 9.0]);
}

#[test]
fn powers_of_integers_are_cut_off() {
    let mut net = Net::new(&["batch", "3"]);
    let powers = net.weights(&[3], &[0.5, 2.5, 3.0]);
    let y = net.node("Pow", &["x", &powers], &[]);
    let y = net.node("Cast", &[&y], &TO_FLOAT);
    let mut model = net.finish(&[&y]);
    set_type(&mut model.graph.as_mut().expect("a graph").input[0], data_type::INT32);
    assert_eq!(outputs(&model, &[1, 3], &[2.0, 3.0, -2.0]), [1.0, 15.0, -8.0]);
}

/// What float32 may have rounded is not computed with; it may leave the network, where it is looked at.
#[test]
fn integers_that_float32_may_lack_are_not_computed_with() {
    use data_type::*;
    let product = |net: &mut Net, x: &str, stored: &str| net.node("Mul", &[x, stored], &[]);
    let beyond = "input 0: expected int32 of magnitude at most 16777216 (what is computed with is float32), found what may be";
    for (of, op, first, message) in [
        (INT32, "Mod", "Mul", beyond),
        (INT32, "Div", "Mul", beyond),
        (INT32, "Less", "Add", beyond),
        (UINT32, "Add", "Sub", "input 0: expected uint32 that is not negative for sure, found a difference"),
        (UINT64, "Cast", "Sub", "input 0: expected uint64 that is not negative for sure, found a difference"),
        (INT16, "Add", "Mul", "input 0: expected int16 of magnitude at most 16777216"),
    ] {
        let model = of_integers(of, 5003, |net, x, stored| {
            let y = net.node(first, &[x, stored], &[]);
            let shape = net.integers(&[-1]);
            let y = net.node("Reshape", &[&y, &shape], &[]);
            if op == "Cast" { net.node(op, &[&y], &TO_FLOAT) } else { net.node(op, &[&y, stored], &[]) }
        });
        let said = refusal(&model);
        assert!(said.contains(message), "{op} of {first}: {said}");
    }
    let narrow = of_integers(INT64, 5003, |net, x, stored| {
        let y = product(net, x, stored);
        net.node("Cast", &[&y], &[("to", Int(UINT8.into()))])
    });
    assert!(refusal(&narrow).contains("input 0: expected int64 of magnitude at most 16777216"));
    let as_float = of_integers(INT64, 5003, |net, x, stored| {
        let y = product(net, x, stored);
        net.node("Cast", &[&y], &TO_FLOAT)
    });
    assert_eq!(outputs(&as_float, &[1, 1], &[5001.0]), [(5001i64 * 5003) as f32]);
    // As an output, it is looked at.
    let model = model_of(&of_integers(INT64, 5003, product));
    let mut session = model.prepare(&Options::new().dim("n", 1)).expect("it can be prepared").session();
    let mut of = |n: i64| session.run_typed(&[TypedView::new(&[1, 1], &[n]).expect("one")]).and_then(|y| y.typed::<i64>(0));
    assert_eq!(of(3).expect("it is exact"), [15009]);
    let message = of(5001).expect_err("it is not exact").to_string();
    assert!(message.contains("int64 of magnitude at most 16777216"), "{message}");
}

#[test]
fn stored_tensors_are_cast_at_once() {
    for (to, expected) in [
        (data_type::UINT8, [2.0, 254.0, 0.0]),
        (data_type::INT32, [2.0, -2.0, 0.0]),
        (data_type::BOOL, [1.0, 1.0, 1.0]),
        (data_type::FLOAT16, [2.5, -2.5, 0.25]),
    ] {
        let mut net = Net::new(&["batch", "3"]);
        let t = net.weights(&[3], &[2.5, -2.5, 0.25]);
        let t = net.node("Cast", &[&t], &[("to", Int(to.into()))]);
        let t = net.node("Cast", &[&t], &TO_FLOAT);
        let y = net.node("Add", &["x", &t], &[]);
        assert_eq!(outputs(&net.finish(&[&y]), &[1, 3], &[0.0; 3]), expected, "{}", data_type::name(to));
    }
}

/// A network that takes pixels and yields where each image is brightest, and which pixels are not black.
fn pixels() -> ModelProto {
    let mut net = Net::new(&["batch", "4"]);
    let x = net.node("Cast", &["x"], &TO_FLOAT);
    let brightest = net.node("ArgMax", &[&x], &[("axis", Int(1))]);
    let white = net.node("Cast", &["x"], &[("to", Int(data_type::BOOL.into()))]);
    let half = net.node("Cast", &[&x], &[("to", Int(data_type::FLOAT16.into()))]);
    let mut model = net.finish(&[&brightest, &white, &half]);
    let graph = model.graph.as_mut().expect("a graph");
    set_type(&mut graph.input[0], data_type::UINT8);
    for (output, of) in graph.output.iter_mut().zip([data_type::INT64, data_type::BOOL, data_type::FLOAT16]) {
        set_type(output, of);
    }
    model
}

#[test]
fn sessions_take_and_yield_what_the_model_says() {
    let model = model_of(&pixels());
    assert_eq!(model.version(), [0, 4]);
    assert_eq!(model.inputs()[0].element_type, ElementType::U8);
    assert_eq!(model.output_types(), [ElementType::I64, ElementType::Bool, ElementType::F16]);
    let mut session = model.prepare(&Options::new().batch(2)).expect("it can be prepared").session();
    let x = [3u8, 0, 255, 1, 9, 8, 7, 0];
    let outputs = session.run_typed(&[TypedView::new(&[2, 4], &x).expect("eight elements")]).expect("it runs");
    assert_eq!(outputs.typed::<i64>(0).expect("integers"), [2, 0]);
    assert_eq!(outputs.typed::<bool>(1).expect("bools"), [true, false, true, true, true, true, true, false]);
    let halves: Vec<u8> = x.iter().flat_map(|&p| sslm_format::half::to_f16(p.into()).to_ne_bytes()).collect();
    assert_eq!(outputs.typed_bytes(2).expect("halves"), halves);
    let message = outputs.typed::<f32>(0).expect_err("another type").to_string();
    assert!(message.contains("expected int64, found float32"), "{message}");

    let message = session.run_typed(&[TypedView::new(&[2, 4], &[0f32; 8]).expect("eight elements")]).expect_err("another type");
    assert!(message.to_string().contains("elements of input 'x': expected uint8, found float32"), "{message}");
    let shape = session.run_typed(&[TypedView::new(&[4, 2], &x).expect("eight elements")]).expect_err("another shape");
    assert!(shape.to_string().contains("expected [2, 4], found [4, 2]"), "{shape}");
    assert!(TypedView::new(&[2, 3], &x).is_err());
    assert!(TypedView::from_bytes(&[2, 4], ElementType::F16, &x).is_err());
}

/// Bytes that came over a network begin at any address.
#[test]
fn float32_is_read_wherever_it_lies() {
    let mut net = Net::new(&["batch", "3"]);
    let y = net.node("Neg", &["x"], &[]);
    let mut session = model_of(&net.finish(&[&y])).prepare(&Options::new().batch(2)).expect("it can be prepared").session();
    for round in 0..2u8 {
        for before in 0..size_of::<f32>() {
            let x = [1.5, -0.0, f32::MIN_POSITIVE, 3e38, f32::INFINITY, f32::from(round)];
            let mut bytes = vec![0xA5; before];
            bytes.extend(x.iter().flat_map(|x| x.to_ne_bytes()));
            let view = TypedView::from_bytes(&[2, 3], ElementType::F32, &bytes[before..]).expect("six elements");
            let found = session.run_typed(&[view]).expect("it runs");
            assert_eq!(output(&found, 0).data(), x.map(|x| -x), "{before} bytes before");
        }
    }
}

#[test]
fn what_float32_does_not_hold_is_refused_at_the_border() {
    let mut net = Net::new(&["batch", "1"]);
    let y = net.node("Identity", &["x"], &[]);
    let mut model = net.finish(&[&y]);
    let graph = model.graph.as_mut().expect("a graph");
    set_type(&mut graph.input[0], data_type::INT64);
    set_type(&mut graph.output[0], data_type::INT64);
    let mut session = model_of(&model).prepare(&Options::new()).expect("it can be prepared").session();
    let mut of = |n: i64| session.run_typed(&[TypedView::new(&[1, 1], &[n]).expect("one")]).and_then(|y| y.typed::<i64>(0));
    assert_eq!([1 << 24, -(1 << 24)].map(|n| of(n).expect("exact")), [[1 << 24], [-(1 << 24)]]);
    let message = of((1 << 24) + 1).expect_err("not exact").to_string();
    assert!(message.contains("input 'x'") && message.contains("at most 16777216") && message.contains("16777217"), "{message}");
}

#[test]
fn scalars_are_inputs_and_outputs() {
    let mut net = Net::new(&[]);
    let two = net.weights(&[], &[2.0]);
    let y = net.node("Mul", &["x", &two], &[]);
    assert_eq!(run(&model_of(&net.finish(&[&y])), &[], &[1.5]), (vec![], vec![3.0]));

    // Beside a batch of images.
    let mut net = Net::new(&["batch", "1", "2", "2"]);
    net.graph().input.push(sslm_tests::onnx::value_info("factor", &[]));
    let y = net.node("Mul", &["x", "factor"], &[]);
    let model = model_of(&net.finish(&[&y]));
    for batch in [1, 2, 16] {
        let (shape, x) = ([batch, 1, 2, 2], vec![1.5f32; 4 * batch]);
        let mut session =
            model.prepare(&Options::new().shapes(&model, &[&shape[..], &[]]).expect("they fit")).expect("it runs").session();
        let inputs = [TypedView::new(&shape, &x), TypedView::new(&[], &[2.0f32])].map(|view| view.expect("as many elements"));
        assert_eq!(output(&session.run_typed(&inputs).expect("it runs"), 0).data(), vec![3.0; 4 * batch]);
    }
}

/// Files of the minor versions before have no types, and say so.
#[test]
fn types_are_a_section_of_their_own() {
    let mut net = Net::new(&["batch", "4"]);
    let y = net.node("Relu", &["x"], &[]);
    let plain = convert(&net.finish(&[&y]), false);
    let names = |file: &[u8]| Model::from_bytes(file).expect("valid").sections().iter().map(|s| s.name()).collect::<Vec<_>>();
    assert!(!names(&plain).contains(&"TYPE".to_owned()));
    assert_eq!(Model::from_bytes(&plain).expect("valid").version(), [0, 1]);

    let typed = convert(&pixels(), false);
    let types = section(&typed, "TYPE");
    assert!(types.must_understand() && types.len == 4 + 1 + 4 + 3);
    let refuses = |at: usize, byte: u8, expected: &str| {
        let mut file = typed.clone();
        file[types.offset as usize + at] = byte;
        repair_checksums(&mut file);
        let message = Model::from_bytes(&file).expect_err(expected).to_string();
        assert!(message.contains(expected), "expected '{expected}' in: {message}");
    };
    refuses(4, 12, "section TYPE at byte 4: expected a known type of elements, found code 12");
    refuses(0, 9, "a count of at most");
    refuses(0, 0, "bytes");
    refuses(5, 2, "end of section");
}
