//! Arrays of NumPy in and out, by the buffer protocol. Elements are copied while the interpreter is held: what another Python thread does to
//! an array during a run changes nothing, and no `unsafe` is needed. A copy takes about a hundredth of what a network takes to
//! compute with the elements.

use crate::error;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyTuple, PyType};
use sslm::{ElementType, Outputs, TensorView, TypedView};

/// What is used of NumPy.
pub(crate) struct NumPy {
    array: Py<PyType>,
    empty: Py<PyAny>,
    float32: Py<PyAny>,
    from_buffer: Py<PyAny>,
    copy_to: Py<PyAny>,
    /// The package's own functions, in `_arrays.py`.
    as_array: Py<PyAny>,
    as_native: Py<PyAny>,
}

impl NumPy {
    pub(crate) fn get(py: Python<'_>) -> PyResult<&Self> {
        static NUMPY: PyOnceLock<NumPy> = PyOnceLock::new();
        NUMPY.get_or_try_init(py, || {
            let (numpy, own) = (py.import("numpy")?, py.import("sslm._arrays")?);
            let of = |module: &Bound<'_, PyModule>, name| Ok::<_, PyErr>(module.getattr(name)?.unbind());
            Ok(NumPy {
                array: numpy.getattr("ndarray")?.cast_into::<PyType>()?.unbind(),
                empty: of(&numpy, "empty")?,
                float32: numpy.getattr("dtype")?.call1(("float32",))?.unbind(),
                from_buffer: of(&numpy, "frombuffer")?,
                copy_to: of(&numpy, "copyto")?,
                as_array: of(&own, "as_array")?,
                as_native: of(&own, "as_native")?,
            })
        })
    }
}

/// The elements of an input, last axis fastest.
pub(crate) struct Input<'py> {
    pub(crate) shape: Vec<usize>,
    element_type: ElementType,
    elements: Elements<'py>,
}

enum Elements<'py> {
    Floats(Vec<f32>),
    /// In the machine's order.
    Bytes(Bound<'py, PyBytes>),
}

impl<'py> Input<'py> {
    /// What an object holds, which has to be elements of this type: an array of NumPy, or what NumPy can make one of.
    pub(crate) fn read(object: &Bound<'py, PyAny>, name: &str, expected: ElementType) -> PyResult<Self> {
        let py = object.py();
        let numpy = NumPy::get(py)?;
        let array = if object.is_exact_instance(numpy.array.bind(py)) {
            object.clone()
        } else {
            numpy.as_array.bind(py).call1((object, expected.name()))?
        };
        if expected == ElementType::F32
            && let Some((shape, floats)) = floats(&array)?
        {
            return Ok(Input { shape, element_type: expected, elements: Elements::Floats(floats) });
        }
        let found = array.getattr("dtype")?.getattr("name")?.extract::<String>()?;
        if found != expected.name() {
            return Err(error::input(py, format!("elements of input '{name}'"), expected, found));
        }
        let native = numpy.as_native.bind(py).call1((array,))?;
        let bytes = native.call_method0("tobytes")?.cast_into::<PyBytes>()?;
        let shape = native.getattr("shape")?.extract()?;
        Ok(Input { shape, element_type: expected, elements: Elements::Bytes(bytes) })
    }

    /// As the runtime takes elements of which all are `f32`.
    pub(crate) fn plain(&self) -> Option<sslm::Result<TensorView<'_>>> {
        match &self.elements {
            Elements::Floats(floats) => Some(TensorView::new(&self.shape, floats)),
            Elements::Bytes(_) => None,
        }
    }

    /// As the runtime takes elements of any type.
    pub(crate) fn typed(&self) -> sslm::Result<TypedView<'_>> {
        match &self.elements {
            Elements::Floats(floats) => TypedView::new(&self.shape, floats),
            Elements::Bytes(bytes) => TypedView::from_bytes(&self.shape, self.element_type, bytes.as_bytes()),
        }
    }
}

/// Shape and elements of an array of `f32` in row-major order; `None` for all other arrays.
fn floats(array: &Bound<'_, PyAny>) -> PyResult<Option<(Vec<usize>, Vec<f32>)>> {
    let Some(buffer) = native_floats(array).filter(|buffer| buffer.is_c_contiguous()) else { return Ok(None) };
    Ok(Some((buffer.shape().to_vec(), buffer.to_vec(array.py())?)))
}

/// The buffer of an array of `f32` in the machine's order, if it is one and has an axis.
fn native_floats(array: &Bound<'_, PyAny>) -> Option<PyBuffer<f32>> {
    // What bytes in another order look like: PyO3 takes them for the machine's.
    let is_foreign = |format: &[u8]| matches!(format.first(), Some(b'>' | b'!'));
    PyBuffer::<f32>::get(array).ok().filter(|buffer| cfg!(target_endian = "little") && !is_foreign(buffer.format().to_bytes()))
}

/// What a run yielded of an output, taken out of the session while other Python threads go on.
pub(crate) struct Output {
    shape: Vec<usize>,
    element_type: ElementType,
    elements: Owned,
}

enum Owned {
    Floats(Vec<f32>),
    /// In the machine's order.
    Bytes(Vec<u8>),
}

impl Output {
    /// The outputs of a run, in the model's order, which have elements of these types.
    pub(crate) fn all(outputs: Outputs<'_>, types: &[ElementType]) -> sslm::Result<Vec<Output>> {
        let of = |(i, (view, &element_type)): (usize, (TensorView<'_>, &ElementType))| {
            let elements = match element_type {
                ElementType::F32 => Owned::Floats(view.data().to_vec()),
                _ => Owned::Bytes(outputs.typed_bytes(i)?),
            };
            Ok(Output { shape: view.shape().to_vec(), element_type, elements })
        };
        outputs.iter().map(|(_, view)| view).zip(types).enumerate().map(of).collect()
    }

    /// As a new array.
    pub(crate) fn to_array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.elements {
            Owned::Floats(floats) if !self.shape.is_empty() => {
                let numpy = NumPy::get(py)?;
                let array = numpy.empty.bind(py).call1((PyTuple::new(py, &self.shape)?, &numpy.float32))?;
                PyBuffer::<f32>::get(&array)?.copy_from_slice(py, floats)?;
                Ok(array)
            }
            Owned::Floats(floats) => from_bytes(py, &self.shape, self.element_type, bytemuck::cast_slice(floats)),
            Owned::Bytes(bytes) => from_bytes(py, &self.shape, self.element_type, bytes),
        }
    }

    /// That an array of the caller's takes it, which is the output of this name.
    pub(crate) fn check(&self, target: &Bound<'_, PyAny>, name: &str) -> PyResult<()> {
        let py = target.py();
        if self.at_once(target).is_some() {
            return Ok(());
        }
        if !target.is_instance(NumPy::get(py)?.array.bind(py))? {
            let found = target.get_type().name()?;
            return Err(error::input(py, format!("where output '{name}' goes"), "an array of NumPy", found));
        }
        let shape = target.getattr("shape")?.extract::<Vec<usize>>()?;
        if shape != self.shape {
            let [expected, found] = [&self.shape, &shape].map(|shape| format!("{shape:?}"));
            return Err(error::input(py, format!("shape of the array for output '{name}'"), expected, found));
        }
        let found = target.getattr("dtype")?.getattr("name")?.extract::<String>()?;
        if found != self.element_type.name() {
            return Err(error::input(py, format!("elements of the array for output '{name}'"), self.element_type, found));
        }
        if !target.getattr("flags")?.getattr("writeable")?.is_truthy()? {
            return Err(error::input(py, format!("the array for output '{name}'"), "one that can be written", "a read-only one"));
        }
        Ok(())
    }

    /// Writes it into an array that was checked.
    pub(crate) fn write(&self, target: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = target.py();
        match self.at_once(target) {
            Some((buffer, floats)) => buffer.copy_from_slice(py, floats),
            None => NumPy::get(py)?.copy_to.bind(py).call1((target, self.to_array(py)?)).map(drop),
        }
    }

    /// The memory of an array of this shape in row-major order, and what goes there, if both are `f32`.
    fn at_once(&self, target: &Bound<'_, PyAny>) -> Option<(PyBuffer<f32>, &[f32])> {
        let Owned::Floats(floats) = &self.elements else { return None };
        let buffer = native_floats(target)?;
        let fits = buffer.shape() == self.shape && buffer.is_c_contiguous() && !buffer.readonly();
        fits.then_some((buffer, floats))
    }
}

/// A new array of elements of any type, from their bytes in the machine's order.
pub(crate) fn from_bytes<'py>(py: Python<'py>, shape: &[usize], of: ElementType, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let shape = PyTuple::new(py, shape)?;
    if bytes.is_empty() {
        return NumPy::get(py)?.empty.bind(py).call1((shape, of.name()));
    }
    let all = NumPy::get(py)?.from_buffer.bind(py).call1((PyByteArray::new(py, bytes), of.name()))?;
    all.call_method1("reshape", (shape,))
}
