//! A model that is ready to run: a file, options, and the plans that were made for the shapes of inputs that came so far.

use crate::arrays::{self, Input, Output};
use crate::error;
use crate::pixels;
use crate::shapes;
use crate::signals;
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use serde_json::json;
use ssl_images::Layout;
use ssl_run::Timing;
use sslm::{
    Backend, ElementType, ErrorKind, Interrupt, Options, PlanCache, PooledSession, Session, TensorInfo, TensorView, Threads,
    Tuning, TypedView,
};
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So many runs are timed at most.
const MOST_RUNS: usize = 1_000_000;

/// A `.sslm` model, ready to run. The package's class of the same name adds other sources and what is made of it for people.
#[pyclass(subclass, frozen, module = "sslm._sslm")]
pub(crate) struct Model {
    model: sslm::Model,
    options: Options,
    inputs: Vec<TensorInfo>,
    output_names: Vec<String>,
    output_types: Vec<ElementType>,
    /// Extent of axis 0, where the model leaves it open and nothing else says it.
    batch: usize,
    plans: PlanCache,
    tuned: Mutex<Option<Arc<Tuned>>>,
}

/// The plan by methods that were timed, for the shapes that they were timed with.
struct Tuned {
    shapes: Vec<Vec<usize>>,
    plans: PlanCache,
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (source, *, batch=None, threads=None, backend="cpu", max_memory=None, max_macs=None, max_time=None, reproducible=false, plans=8, tuning=None))]
    #[allow(clippy::too_many_arguments, reason = "keywords of Python")]
    fn new(
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        batch: Option<usize>,
        threads: Option<usize>,
        backend: &str,
        max_memory: Option<usize>,
        max_macs: Option<u64>,
        max_time: Option<f64>,
        reproducible: bool,
        plans: usize,
        tuning: Option<PathBuf>,
    ) -> PyResult<Self> {
        let mut options = Options::new().threads(threads_of(py, threads)?).backend(backend_of(py, backend)?);
        if reproducible {
            options = options.reproducible();
        }
        if let Some(bytes) = max_memory {
            options = options.max_memory(bytes);
        }
        if let Some(macs) = max_macs {
            options = options.max_macs(macs);
        }
        if let Some(seconds) = max_time {
            let time = Duration::try_from_secs_f64(seconds);
            options = options.max_time(time.map_err(|_| error::input(py, "max_time", "seconds of at least 0", seconds))?);
        }
        for (name, given) in [("batch", batch), ("plans", Some(plans))] {
            if given == Some(0) {
                return Err(error::input(py, name, "at least 1", 0));
            }
        }
        let model = open(source)?;
        let this = Model {
            inputs: model.inputs(),
            output_names: model.output_names().into_iter().map(str::to_owned).collect(),
            output_types: model.output_types(),
            batch: batch.unwrap_or(1),
            plans: PlanCache::new(&model, options.clone(), plans),
            tuned: Mutex::default(),
            options,
            model,
        };
        if let (Some(path), Some(shapes)) = (tuning, this.usual_shapes()) {
            match py.detach(|| this.take_tuning(Tuning::open(path)?, shapes)) {
                Err(e) if *e.kind() == ErrorKind::Tuning => warn(py, &format!("tuning is not used: {e}"))?,
                taken => taken.map_err(|e| error::of_library(py, &e))?,
            }
        }
        py.detach(|| {
            // In advance, so that the first call takes no longer than others.
            if batch.is_some()
                && let Some(shapes) = this.usual_shapes()
            {
                this.session(&shapes)?;
            }
            Ok(())
        })
        .map_err(|e| error::of_library(py, &e))?;
        Ok(this)
    }

    /// Runs the network on arrays, in the model's order, or on one dict of them by name. Yields the output, or a dict of all of them.
    #[pyo3(signature = (*inputs))]
    fn __call__<'py>(&self, py: Python<'py>, inputs: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let outputs = self.run(py, inputs)?;
        if let [only] = &outputs[..] {
            return only.to_array(py);
        }
        let all = PyDict::new(py);
        for (name, output) in self.output_names.iter().zip(outputs) {
            all.set_item(name, output.to_array(py)?)?;
        }
        Ok(all.into_any())
    }

    /// As a call, into arrays of the caller's: one, a list in the model's order, or a dict by name, which need not have all.
    fn run_into<'py>(&self, py: Python<'py>, inputs: &Bound<'py, PyAny>, outputs: &Bound<'py, PyAny>) -> PyResult<()> {
        let inputs = match inputs.cast::<PyTuple>().cloned().or_else(|_| Ok(inputs.cast::<PyList>()?.to_tuple())) {
            Ok(several) => several,
            Err::<_, PyErr>(_) => PyTuple::new(py, [inputs])?,
        };
        let targets = self.targets(outputs)?;
        let found = self.run(py, &inputs)?;
        // All or none.
        targets.iter().try_for_each(|(i, target)| found[*i].check(target, &self.output_names[*i]))?;
        targets.iter().try_for_each(|(i, target)| found[*i].write(target))
    }

    /// An image as the model's input: of a file, of what a file holds, or of pixels as (height, width, channels, bytes).
    fn _preprocess<'py>(&self, py: Python<'py>, image: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let image = pixels::Image::of(image)?;
        let load = || {
            let [input] = &self.inputs[..] else {
                anyhow::bail!("the model has {} inputs: expected one, for an image", self.inputs.len())
            };
            let layout = Layout::of(&input.dims, input.element_type)?;
            let rule = layout.rule(self.model.preprocessing())?;
            let (shape, elements) = pixels::load(image, &rule, input, layout)?;
            let mut bytes = Vec::new();
            input.element_type.write(&elements, &mut bytes).map_err(anyhow::Error::msg)?;
            Ok((shape, input.element_type, bytes))
        };
        let (shape, of, bytes) = py.detach(load).map_err(|e| error::of_tools(py, &e, "input"))?;
        arrays::from_bytes(py, &shape, of, &bytes)
    }

    /// Times of whole runs and of steps, as JSON.
    fn _profile(&self, py: Python<'_>, inputs: &Bound<'_, PyTuple>, runs: usize) -> PyResult<String> {
        if !(1..=MOST_RUNS).contains(&runs) {
            return Err(error::input(py, "runs", format!("1 to {MOST_RUNS}"), runs));
        }
        let inputs = self.inputs(inputs)?;
        let (shapes, views) = (shapes_of(&inputs), typed(py, &inputs)?);
        let measured = signals::heeded(py, |interrupt| {
            let mut session = self.session(&shapes)?.plan().session();
            session.set_interrupt(interrupt);
            Timing::of(&mut session, |session| session.run_typed(&views).map(drop), Some(runs))
        })?;
        let timing = measured.map_err(|e| error::of_library(py, &e))?;
        Ok(json!(timing).to_string())
    }

    /// Times every method for inputs of these shapes and takes what is fastest from now on. Yields what was measured as JSON, and
    /// writes the tuning to a file if it is faster.
    fn _tune(&self, py: Python<'_>, shapes: Vec<Vec<usize>>, file: Option<PathBuf>) -> PyResult<String> {
        let tune = |interrupt: &Interrupt| -> anyhow::Result<String> {
            let options = self.options.clone().shapes(&self.model, &shapes)?;
            let (tuning, turns) = self.model.tune(&options, Some(interrupt), |_, _| ())?;
            let mut report: serde_json::Value = serde_json::from_str(&tuning.to_json())?;
            report["kept"] = json!(turns.tuning_is_faster());
            report["turns"] = json!(turns);
            if turns.tuning_is_faster() {
                if let Some(path) = file {
                    let mut file = ssl_cli::file_beside(&path)?;
                    std::io::Write::write_all(&mut file, (tuning.to_json() + "\n").as_bytes())?;
                    ssl_cli::put_in_place(vec![file])?;
                }
                self.take_tuning(tuning, shapes)?;
            }
            Ok(report.to_string())
        };
        signals::heeded(py, tune)?.map_err(|e| error::of_tools(py, &e, "other"))
    }

    /// What the file holds, as JSON.
    fn _describe(&self) -> String {
        shapes::describe(&self.model).to_string()
    }

    /// Name, shape and type of each input; symbolic extents have their names.
    #[getter]
    fn _inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let all: PyResult<Vec<_>> = self.inputs.iter().map(|input| shapes::info(py, input)).collect();
        PyList::new(py, all?)
    }

    /// Name, shape and type of each output; extents that depend on symbolic ones have the expression for a name.
    #[getter]
    fn _outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let all: PyResult<Vec<_>> = self.model.outputs().iter().map(|output| shapes::info(py, output)).collect();
        PyList::new(py, all?)
    }

    /// Names of classes.
    #[getter]
    fn labels(&self) -> Vec<String> {
        self.model.labels().to_vec()
    }

    /// Whether the first output consists of probabilities: the network ends in a Softmax.
    #[getter]
    fn yields_probabilities(&self) -> bool {
        self.model.yields_probabilities()
    }

    /// Shapes of inputs for the model's batch; `None` if the model leaves other extents open.
    #[getter]
    fn _usual_shapes(&self) -> Option<Vec<Vec<usize>>> {
        self.usual_shapes()
    }

    /// Whether methods are used that were timed.
    #[getter]
    fn is_tuned(&self) -> bool {
        self.tuned().is_some()
    }
}

impl Model {
    /// Reads inputs, and runs the network while other Python threads go on.
    fn run(&self, py: Python<'_>, inputs: &Bound<'_, PyTuple>) -> PyResult<Vec<Output>> {
        let inputs = self.inputs(inputs)?;
        let shapes = shapes_of(&inputs);
        let plain: Option<sslm::Result<Vec<TensorView<'_>>>> = inputs.iter().map(Input::plain).collect();
        let outputs = match plain.transpose() {
            Ok(Some(views)) => self.call(py, &shapes, |session| Output::all(session.run_all(&views)?, &self.output_types))?,
            Ok(None) => {
                let views = typed(py, &inputs)?;
                self.call(py, &shapes, |session| Output::all(session.run_typed(&views)?, &self.output_types))?
            }
            Err(e) => Err(e),
        };
        outputs.map_err(|e| error::of_library(py, &e))
    }

    /// Runs by a session for inputs of these shapes, while other Python threads go on; a run that may take long ends by signals, too.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        shapes: &[&[usize]],
        run: impl FnOnce(&mut Session) -> sslm::Result<T> + Send,
    ) -> PyResult<sslm::Result<T>> {
        enum Begun<T, R> {
            Done(T),
            Long(PooledSession, R),
        }
        let begin = || {
            let mut session = self.session(shapes)?;
            let is_long = session.plan().macs() >= signals::MANY_MACS;
            Ok(if is_long { Begun::Long(session, run) } else { Begun::Done(run(&mut session)?) })
        };
        let (mut session, run) = match py.detach(begin) {
            Ok(Begun::Long(session, run)) => (session, run),
            Ok(Begun::Done(done)) => return Ok(Ok(done)),
            Err(e) => return Ok(Err(e)),
        };
        signals::heeded(py, |interrupt| {
            session.set_interrupt(interrupt);
            run(&mut session)
        })
    }

    /// The inputs of a call, in the model's order.
    fn inputs<'py>(&self, given: &Bound<'py, PyTuple>) -> PyResult<Vec<Input<'py>>> {
        let py = given.py();
        if given.len() == 1
            && let Ok(by_name) = given.get_item(0)?.cast::<PyDict>()
        {
            return self.inputs_by_name(by_name);
        }
        if given.len() != self.inputs.len() {
            return Err(error::input(py, "inputs", self.inputs.len(), given.len()));
        }
        given.iter().zip(&self.inputs).map(|(object, info)| Input::read(&object, &info.name, info.element_type)).collect()
    }

    fn inputs_by_name<'py>(&self, given: &Bound<'py, PyDict>) -> PyResult<Vec<Input<'py>>> {
        let py = given.py();
        let names = || self.inputs.iter().map(|input| format!("'{}'", input.name)).collect::<Vec<_>>().join(", ");
        for name in given.keys() {
            let name = name.str()?.to_string();
            if self.inputs.iter().all(|input| input.name != name) {
                return Err(error::input(py, "inputs", names(), format!("'{name}'")));
            }
        }
        let read = |info: &TensorInfo| match given.get_item(&info.name)? {
            Some(object) => Input::read(&object, &info.name, info.element_type),
            None => Err(error::input(py, "inputs", names(), format!("none of the name '{}'", info.name))),
        };
        self.inputs.iter().map(read).collect()
    }

    /// The arrays that outputs go to, by the outputs' indices.
    fn targets<'py>(&self, given: &Bound<'py, PyAny>) -> PyResult<Vec<(usize, Bound<'py, PyAny>)>> {
        let py = given.py();
        if let Ok(by_name) = given.cast::<PyDict>() {
            let index = |(name, target): (Bound<'py, PyAny>, Bound<'py, PyAny>)| {
                let name = name.str()?.to_string();
                let names = || self.output_names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
                let found = self.output_names.iter().position(|own| *own == name);
                found.map(|i| (i, target)).ok_or_else(|| error::input(py, "outputs", names(), format!("'{name}'")))
            };
            return by_name.iter().map(index).collect();
        }
        let several: Vec<Bound<'py, PyAny>> = if let Ok(list) = given.cast::<PyList>() {
            list.iter().collect()
        } else if let Ok(tuple) = given.cast::<PyTuple>() {
            tuple.iter().collect()
        } else {
            vec![given.clone()]
        };
        if several.len() != self.output_names.len() {
            return Err(error::input(py, "arrays for outputs", self.output_names.len(), several.len()));
        }
        Ok(several.into_iter().enumerate().collect())
    }

    /// A session for inputs of these shapes, by methods that were timed with them if there are such.
    fn session<S: AsRef<[usize]>>(&self, shapes: &[S]) -> sslm::Result<PooledSession> {
        let is_for = |tuned: &Arc<Tuned>| tuned.shapes.iter().map(Vec::as_slice).eq(shapes.iter().map(AsRef::as_ref));
        match self.tuned().filter(is_for) {
            Some(tuned) => tuned.plans.session(shapes),
            None => self.plans.session(shapes),
        }
    }

    /// Uses a tuning for inputs of these shapes from now on.
    fn take_tuning(&self, tuning: Tuning, shapes: Vec<Vec<usize>>) -> sslm::Result<()> {
        let plans = PlanCache::new(&self.model, self.options.clone().tuning(tuning), 1);
        plans.session(&shapes)?;
        *self.tuned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(Tuned { shapes, plans }));
        Ok(())
    }

    fn tuned(&self) -> Option<Arc<Tuned>> {
        self.tuned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn usual_shapes(&self) -> Option<Vec<Vec<usize>>> {
        self.inputs.iter().map(|input| shapes::usual(input, self.batch)).collect()
    }
}

fn shapes_of<'a>(inputs: &'a [Input<'_>]) -> Vec<&'a [usize]> {
    inputs.iter().map(|input| &*input.shape).collect()
}

fn typed<'a>(py: Python<'_>, inputs: &'a [Input<'_>]) -> PyResult<Vec<TypedView<'a>>> {
    let views: sslm::Result<_> = inputs.iter().map(Input::typed).collect();
    views.map_err(|e| error::of_library(py, &e))
}

/// Opens and checks all of a model: a file, or what a file holds.
fn open(source: &Bound<'_, PyAny>) -> PyResult<sslm::Model> {
    let py = source.py();
    let opened = if let Ok(bytes) = source.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        py.detach(|| sslm::Model::from_bytes(bytes).and_then(|model| model.verify_weights().map(|()| model)))
    } else {
        let path = source.extract::<PathBuf>()?;
        py.detach(|| sslm::Model::read(path).and_then(|model| model.verify_weights().map(|()| model)))
    };
    opened.map_err(|e| error::of_library(py, &e))
}

/// Says something to whoever called.
fn warn(py: Python<'_>, message: &str) -> PyResult<()> {
    let message = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
    PyErr::warn(py, &py.get_type::<PyUserWarning>(), &message, 2)
}

fn threads_of(py: Python<'_>, threads: Option<usize>) -> PyResult<Threads> {
    match threads {
        None => Ok(Threads::Auto),
        Some(0) => Err(error::input(py, "threads", "at least 1", 0)),
        Some(n) => Ok(Threads::Count(n)),
    }
}

fn backend_of(py: Python<'_>, backend: &str) -> PyResult<Backend> {
    match backend {
        "cpu" => Ok(Backend::Cpu),
        "cuda" => Ok(Backend::Cuda),
        "auto" => Ok(Backend::Auto),
        _ => Err(error::input(py, "backend", "'cpu', 'cuda' or 'auto'", format!("'{backend}'"))),
    }
}
