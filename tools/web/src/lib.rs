//! The runtime for JavaScript: bytes of a `.sslm` file in, and what a network answers out, as arrays and plain objects. This file
//! is what JavaScript sees; its comments are the documentation in `sslm_web.d.ts`, which is made of it.

mod objects;
mod runner;

use anyhow::Error;
use js_sys::{Array, ArrayBuffer, Object, Reflect, Uint8Array, Uint8ClampedArray};
use runner::{Options, Runner};
use wasm_bindgen::prelude::*;

/// As many classes as people want to read.
const CLASSES: usize = 5;

/// An open model, with the memory that its runs need. Call `free()` when it is of no use any more; engines that can do so also free
/// what nobody refers to.
#[wasm_bindgen]
pub struct Model {
    runner: Runner,
}

/// Opens a model: checks every byte of a `.sslm` file and copies it. Throws an `Error` that says what is wrong with it. Of a model
/// by a stranger, `options` bound what it may take.
#[wasm_bindgen]
pub fn load(
    #[wasm_bindgen(unchecked_param_type = "Uint8Array | ArrayBuffer")] bytes: &JsValue,
    #[wasm_bindgen(unchecked_optional_param_type = "Options")] options: &JsValue,
) -> Result<Model, JsError> {
    let bytes = match bytes.dyn_ref::<Uint8Array>() {
        Some(bytes) => bytes.to_vec(),
        None if bytes.is_instance_of::<ArrayBuffer>() => Uint8Array::new(bytes).to_vec(),
        None => return Err(JsError::new("load: expected a Uint8Array or an ArrayBuffer, found something else")),
    };
    let options = Options {
        memory: limit(options, "memory")?,
        macs: limit(options, "macs")?,
        reproducible: property(options, "reproducible").is_truthy(),
    };
    Ok(Model { runner: Runner::new(&bytes, options).map_err(thrown)? })
}

#[wasm_bindgen]
impl Model {
    /// Runs a network of one input and yields the elements of its first output. The batch follows from how many elements there are;
    /// where the model leaves other sizes open, `shape` says them.
    pub fn run(
        &mut self,
        input: &[f32],
        #[wasm_bindgen(unchecked_optional_param_type = "ArrayLike<number>")] shape: Option<Vec<u32>>,
    ) -> Result<Vec<f32>, JsError> {
        let shape = shape.map(|shape| shape.into_iter().map(|extent| extent as usize).collect());
        self.runner.run(input, shape).map(|(_, elements)| elements).map_err(thrown)
    }

    /// The likeliest classes of an image, `count` or five of them, the likeliest first. The image is cut, scaled and normalised as
    /// the model's file says; alpha is dropped.
    #[wasm_bindgen(unchecked_return_type = "Class[]")]
    pub fn classify(
        &mut self,
        #[wasm_bindgen(unchecked_param_type = "ImageData")] image: &JsValue,
        count: Option<u32>,
    ) -> Result<Array, JsError> {
        let size = [side(image, "width")?, side(image, "height")?];
        let pixels = property(image, "data");
        let pixels = pixels.dyn_ref::<Uint8ClampedArray>();
        let pixels = pixels.ok_or_else(|| JsError::new("image.data: expected a Uint8ClampedArray, found something else"))?;
        let count = count.map_or(CLASSES, |count| count as usize);
        let found = self.runner.classify(size, pixels.to_vec(), count).map_err(thrown)?;
        let labels = self.runner.model().labels();
        Ok(found.iter().map(|class| objects::class(class, labels.get(class.index))).collect())
    }

    /// The extents of the input; `undefined` where the model leaves one open, such as the batch.
    #[wasm_bindgen(getter, js_name = inputShape, unchecked_return_type = "(number | undefined)[]")]
    pub fn input_shape(&self) -> Array {
        self.runner.input_shape().into_iter().map(|extent| extent.map_or(JsValue::UNDEFINED, objects::number)).collect()
    }

    /// The names of the classes, in the order of the output; none, if the file has none.
    #[wasm_bindgen(getter)]
    pub fn labels(&self) -> Vec<String> {
        self.runner.model().labels().to_vec()
    }

    /// The network's nodes in the order in which they are computed, with what each keeps and what it takes.
    #[wasm_bindgen(unchecked_return_type = "Layer[]")]
    pub fn layers(&self) -> Array {
        let steps = self.runner.steps();
        self.runner.model().layers().map(|layer| objects::layer(&layer, &steps)).collect()
    }
}

/// What JavaScript catches.
fn thrown(error: Error) -> JsError {
    JsError::new(&format!("{error:#}"))
}

/// A property of an object; `undefined` if there is none.
fn property(of: &JsValue, name: &str) -> JsValue {
    of.dyn_ref::<Object>().and_then(|object| Reflect::get(object, &name.into()).ok()).unwrap_or(JsValue::UNDEFINED)
}

/// A side of an image in pixels.
fn side(image: &JsValue, name: &str) -> Result<u32, JsError> {
    let found = property(image, name).as_f64().filter(|side| *side >= 1.0 && *side <= f64::from(u32::MAX) && side.fract() == 0.0);
    found.map(|side| side as u32).ok_or_else(|| JsError::new(&format!("image.{name}: expected a count of pixels, found none")))
}

/// A limit, if there is one.
fn limit(options: &JsValue, name: &str) -> Result<Option<u64>, JsError> {
    let found = property(options, name);
    if found.is_undefined() {
        return Ok(None);
    }
    let limit = found.as_f64().filter(|limit| *limit >= 0.0);
    limit.map(|limit| Some(limit as u64)).ok_or_else(|| JsError::new(&format!("options.{name}: expected a number of at least 0")))
}
