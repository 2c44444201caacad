//! The plain objects that JavaScript is given, and their types.

use js_sys::{Object, Reflect};
use ssl_images::Class;
use sslm::{KeptCount, LayerInfo, StepInfo};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A class of an image. */
export interface Class {
    /** Where it stands in the output. */
    index: number;
    /** Its name, if the file has one. */
    label?: string;
    /** How likely it is, by the network. */
    probability: number;
    /** What the network yields for it: a logit, or the probability itself if it ends in Softmax. */
    output: number;
}

/** How many are kept of how many. */
export interface Kept {
    kept: number;
    of: number;
}

/** A node of the network. */
export interface Layer {
    /** As in the source model. */
    name: string;
    /** The operator, in ONNX's words. */
    op: string;
    /** The window of a convolution or pool, without what is as usual: `5x5 stride 2`. */
    window?: string;
    /** Filters, or rows of a fully connected layer. */
    filters?: Kept;
    /** Columns of the weight matrix. */
    columns?: Kept;
    /** Stored weights. */
    weights?: number;
    /** Multiply-accumulates of a run, if the sizes are known: of the last one, or of one image where the model fixes its size. 0
     * where another layer computes it, or nothing is left to compute. */
    macs?: number;
    /** What computes it, as far as something does: such as `packed 4x8 simd128`. */
    kernel?: string;
}

/** What a model may take, and how it computes. What is left out is not bounded; a model beyond a limit is refused before it takes anything. */
export interface Options {
    /** Bytes, besides the file. */
    memory?: number;
    /** Multiply-accumulates of a run; elements that are read or written count as one each. */
    macs?: number;
    /** Results that are the same to the last bit in every build, on every machine and outside of browsers, for any batch; several times
     * slower. */
    reproducible?: boolean;
}
"#;

/// JavaScript's numbers hold every count that a wasm memory has room for.
pub(crate) fn number(count: usize) -> JsValue {
    JsValue::from_f64(count as f64)
}

/// An object of those of `entries` that are there.
fn object<const N: usize>(entries: [(&str, Option<JsValue>); N]) -> JsValue {
    let object = Object::new();
    for (name, value) in entries {
        if let Some(value) = value {
            // An object that was just made takes any property.
            let _ = Reflect::set(&object, &name.into(), &value);
        }
    }
    object.into()
}

fn kept(count: KeptCount) -> JsValue {
    object([("kept", Some(number(count.kept))), ("of", Some(number(count.of)))])
}

pub(crate) fn class(class: &Class, label: Option<&String>) -> JsValue {
    object([
        ("index", Some(number(class.index))),
        ("label", label.map(JsValue::from)),
        ("probability", Some(class.probability.into())),
        ("output", Some(class.output.into())),
    ])
}

/// A node, with what the steps of a plan say of it, if there is one.
pub(crate) fn layer(layer: &LayerInfo<'_>, steps: &Option<Vec<StepInfo<'_>>>) -> JsValue {
    let own = || steps.iter().flatten().filter(|step| step.name == layer.name);
    let sizes = &layer.sizes;
    object([
        ("name", Some(layer.name.into())),
        ("op", Some(layer.op.into())),
        ("window", sizes.window.as_ref().map(JsValue::from)),
        ("filters", sizes.filters.map(kept)),
        ("columns", sizes.columns.map(kept)),
        ("weights", sizes.weights.map(number)),
        ("macs", steps.as_ref().map(|_| number(own().map(|step| step.macs).sum()))),
        ("kernel", own().max_by_key(|step| step.macs).map(|step| step.kernel.as_str().into())),
    ])
}
