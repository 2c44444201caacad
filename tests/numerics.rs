//! What NaN and infinities become (`docs/numerics.md`): networks of each operator against onnxruntime's answers, which
//! `tests/scripts/special_values.py` has recorded. They run with everything fused that can be and with nothing fused, in every
//! instruction set and on every device.

use prost::Message;
use serde_json::Value;
use ssl_convert::onnx::proto::ModelProto;
use sslm::{Model, Options, TensorView, Threads};
use sslm_tests::compare::{all_values, as_imported, convert};
use sslm_tests::tools::root;

/// A tensor with a name.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    elements: Vec<f32>,
}

/// A network, what it is given, and what it answers.
struct Case {
    name: String,
    model: ModelProto,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn tensors(value: &Value) -> Vec<Tensor> {
    let tensor = |(name, tensor): (&String, &Value)| Tensor {
        name: name.clone(),
        shape: serde_json::from_value(tensor["shape"].clone()).expect("sizes"),
        elements: text(&tensor["elements"]).split_whitespace().map(|x| x.parse().expect("a number")).collect(),
    };
    value.as_object().expect("tensors by name").iter().map(tensor).collect()
}

fn cases() -> Vec<Case> {
    let file = std::fs::read(root().join("tests/golden/special-values.json")).expect("the recorded answers");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    let case = |case: &Value| {
        let digits = text(&case["model"]);
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits of a byte");
        let model: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        Case {
            name: text(&case["name"]).to_owned(),
            model: ModelProto::decode(&*model).expect("a model"),
            inputs: tensors(&case["inputs"]),
            outputs: tensors(&case["outputs"]),
        }
    };
    file["cases"].as_array().expect("cases").iter().map(case).collect()
}

/// The same special element, or about the same number. Recorded numbers have six digits.
fn is_close(found: f32, expected: f32) -> bool {
    found == expected || found.is_nan() && expected.is_nan() || (found - expected).abs() <= 3e-5 * (expected.abs() + 1.0)
}

/// What is wrong with one run, if something is.
fn differs(model: &Model, options: &Options, case: &Case) -> Option<String> {
    let mut session = model.prepare(options).unwrap_or_else(|e| panic!("{}: {e}", case.name)).session();
    let given = |name: &str| case.inputs.iter().find(|input| input.name == name).expect("an input of this name");
    let inputs: Vec<TensorView<'_>> = (model.inputs().iter())
        .map(|port| given(&port.name))
        .map(|input| TensorView::new(&input.shape, &input.elements).expect("as many elements"))
        .collect();
    let found = session.run_all(&inputs).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    case.outputs.iter().find_map(|expected| {
        let (_, found) = found.iter().find(|(name, _)| *name == expected.name).expect("an output of this name");
        assert_eq!(found.shape(), expected.shape, "{}: shape of {}", case.name, expected.name);
        let pairs = || found.data().iter().zip(&expected.elements);
        let wrong = pairs().filter(|(found, expected)| !is_close(**found, **expected)).count();
        let (at, (found, wanted)) = pairs().enumerate().find(|(_, (found, expected))| !is_close(**found, **expected))?;
        Some(format!("{}[{at}] is {found} instead of {wanted}, and so are {wrong} elements", expected.name))
    })
}

#[test]
fn special_values_become_what_they_are_to_become() {
    let mut failures = Vec::new();
    let cases = cases();
    for case in &cases {
        let files = [("dense", convert(&case.model, true)), ("nothing fused", as_imported(&all_values(&case.model)))];
        for (form, file) in files {
            let model = Model::from_bytes(&file).expect("what was written is valid");
            let on_isas = sslm_devices::isas().map(|isa| (isa.to_string(), Options::new().isa(isa).threads(Threads::Single)));
            let devices = sslm_devices::devices().into_iter();
            let on_devices = devices.map(|device| (format!("{device:?}"), Options::new().device(device)));
            let failure = |(place, options): (String, Options)| {
                let difference = differs(&model, &options, case)?;
                Some(format!("{}, {form}, {place}: {difference}", case.name))
            };
            failures.extend(on_isas.chain(on_devices).filter_map(failure));
        }
    }
    assert!(cases.len() > 250, "{} cases", cases.len());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
