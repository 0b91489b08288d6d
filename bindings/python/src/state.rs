//! A document's state as a Python value: named arrays, files, pickles, forks.
//!
//! A state that Python holds never changes where it lies: arrays may look at it. What extends or writes works on a copy and
//! puts that in its place when it is complete. So a view stays as it was when it was made, a call that fails or is
//! interrupted leaves the state as it was, and a fork costs nothing until one of the two goes on.

use crate::{
    array::{Values, ViewError, to_numpy, view_slab},
    compute::{Watch, compute},
    errors::{About, InputError, StateError, exception, wrong},
    model::{Opened, PyModel, shapes},
    text::Text,
};
use pyo3::{
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyTuple},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, TryLockError},
};
use wingbeat::State;

/// What a model remembers of a text: named slabs of numbers.
///
/// `state["wkv"]` is a slab as a numpy array (float32, read-only): on the CPU a view without a copy, from a GPU a copy.
/// Views keep their values when the state goes on. A state belongs to its model; `save`, `Model.load_state` and pickle
/// keep it for later.
#[pyclass(frozen, weakref, module = "wingbeat", name = "State")]
pub(crate) struct PyState {
    pub(crate) opened: Arc<Opened>,
    kept: Mutex<Arc<State>>,
    /// Held by the one call that changes it.
    changing: Mutex<()>,
}

impl PyState {
    /// A state of an open model.
    pub(crate) fn new(opened: &Arc<Opened>, state: State) -> PyState {
        PyState { opened: Arc::clone(opened), kept: Mutex::new(Arc::new(state)), changing: Mutex::new(()) }
    }

    /// The state as it is now, which nothing changes any more.
    pub(crate) fn snapshot(&self) -> Arc<State> {
        Arc::clone(&self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it by `change`, wholly or not at all.
    fn change<T: Send>(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut State, &mut Watch) -> Result<T, wingbeat::Error> + Send,
    ) -> PyResult<T> {
        self.opened.to_run()?;
        let _changing = match self.changing.try_lock() {
            Ok(changing) => changing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::new_err("the state is being changed by another thread"));
            }
        };
        let before = self.snapshot();
        let (state, result) = compute(py, About::Model, None, |watch| {
            let mut state = before.fork()?;
            let result = change(&mut state, watch)?;
            Ok((state, result))
        })?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        Ok(result)
    }

    fn slab<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.opened.to_run()?;
        let state = self.snapshot();
        match view_slab(py, &state, name) {
            Ok(Some(view)) => Ok(view),
            Ok(None) => {
                let slab = compute(py, About::State, None, |_| state.read(name))?;
                read_only(to_numpy(py, Values::F32(slab.values), slab.shape)?)
            }
            Err(ViewError::Engine(error)) => Err(exception(error, About::State)),
            Err(ViewError::Python(error)) => Err(error),
        }
    }
}

#[pymethods]
impl PyState {
    /// Reads a state that `save` wrote; it must be one of `model`.
    #[staticmethod]
    fn load(py: Python<'_>, model: &PyModel, path: PathBuf) -> PyResult<PyState> {
        model.load_state(py, path)
    }

    /// The weighted sum of states of one model, slab by slab.
    ///
    /// states: pairs of a state and its weight, at least one.
    #[staticmethod]
    fn blend(py: Python<'_>, states: Vec<(PyRef<'_, PyState>, f32)>) -> PyResult<PyState> {
        let Some((first, _)) = states.first() else {
            return Err(wrong("states", "at least one pair of a state and its weight", "none"));
        };
        let opened = Arc::clone(&first.opened);
        opened.to_run()?;
        let kept: Vec<(Arc<State>, f32)> =
            states.iter().map(|(state, weight)| (state.snapshot(), *weight)).collect();
        drop(states);
        let blended = compute(py, About::State, None, |_| {
            let states: Vec<(&State, f32)> = kept.iter().map(|(state, weight)| (&**state, *weight)).collect();
            State::blend(&states)
        })?;
        Ok(PyState::new(&opened, blended))
    }

    /// The model that it belongs to.
    #[getter]
    fn model(&self) -> PyModel {
        PyModel { opened: Arc::clone(&self.opened) }
    }

    /// How many tokens it has taken in since the zero state.
    #[getter]
    fn n_tokens(&self) -> u64 {
        self.snapshot().n_tokens()
    }

    /// Bytes of its values.
    #[getter]
    fn nbytes(&self) -> usize {
        self.opened.model.state_layout().len_bytes()
    }

    /// Names of the slabs, e.g. ("att_shift", "wkv", "ffn_shift").
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.opened.model.state_layout().slabs.iter().map(|slab| slab.name))
    }

    /// Shapes of the slabs by name, layers first, e.g. {"wkv": (L, H, N, N)} with [value][key].
    #[getter]
    fn shapes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        shapes(py, &self.opened.model)
    }

    /// Names of the slabs, as of a dict: `dict(state)` has all of them.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.opened.model.state_layout().slabs.iter().map(|slab| slab.name))
    }

    fn __len__(&self) -> usize {
        self.opened.model.state_layout().slabs.len()
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> bool {
        name.extract::<String>().is_ok_and(|name| self.opened.model.state_layout().find(&name).is_some())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.names(py)?.try_iter()?.into_any())
    }

    /// A slab as a read-only float32 array in its shape: on the CPU a view, from a GPU a copy.
    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.slab(py, name)
    }

    /// All slabs by name, as `state[name]` gives them; from a GPU in one transfer.
    fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.opened.to_run()?;
        let (state, slabs) = (self.snapshot(), PyDict::new(py));
        for slab in state.slabs() {
            match view_slab(py, &state, slab.name) {
                Ok(Some(view)) => slabs.set_item(slab.name, view)?,
                Ok(None) => return copies(py, &state),
                Err(ViewError::Engine(error)) => return Err(exception(error, About::State)),
                Err(ViewError::Python(error)) => return Err(error),
            }
        }
        Ok(slabs)
    }

    /// Replaces a slab. array: float32 in the slab's shape, any strides; every value a finite number.
    fn write(&self, py: Python<'_>, name: &str, array: &Bound<'_, PyAny>) -> PyResult<()> {
        let values = values_of(&self.opened, name, array)?;
        self.change(py, |state, _| state.write(name, &values))
    }

    fn __setitem__(&self, py: Python<'_>, name: &str, array: &Bound<'_, PyAny>) -> PyResult<()> {
        self.write(py, name, array)
    }

    /// A copy that goes its own way from here.
    fn fork(&self) -> PyState {
        // The values are shared until one of the two changes.
        let kept = Mutex::new(self.snapshot());
        PyState { opened: Arc::clone(&self.opened), kept, changing: Mutex::new(()) }
    }

    fn __copy__(&self) -> PyState {
        self.fork()
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> PyState {
        self.fork()
    }

    /// Takes in more text (str, bytes or token ids); returns the number of tokens. Interrupted, it leaves the state as it
    /// was.
    fn extend(&self, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        let (py, text) = (text.py(), Text::extract(text, "text")?);
        self.change(py, |state, watch| {
            let tokens = text.tokens(&self.opened.model)?;
            state.extend_tokens(&tokens, &mut watch.progress())?;
            Ok(tokens.len())
        })
    }

    /// Saves it as a safetensors file, complete or not at all.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.opened.to_run()?;
        let state = self.snapshot();
        compute(py, About::State, None, |_| state.save(&path))
    }

    /// The bytes that `save` would write.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.opened.to_run()?;
        let state = self.snapshot();
        Ok(PyBytes::new(py, &compute(py, About::State, None, |_| state.to_bytes())?))
    }

    /// Reads what `to_bytes` gave; it must be of `model`.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, model: &PyModel, data: &[u8]) -> PyResult<PyState> {
        restore(py, &model.opened, data)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let restore = py.import(intern!(py, "wingbeat._wingbeat"))?.getattr(intern!(py, "_restore_state"))?;
        let model = &self.opened.model;
        let arguments = (self.to_bytes(py)?, model.fingerprint(), &model.config().name);
        Ok((restore, arguments.into_pyobject(py)?))
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<PyState>() else { return Ok(py.NotImplemented()) };
        let (ours, theirs) = (self.snapshot(), other.get().snapshot());
        let is_same =
            Arc::ptr_eq(&ours, &theirs) || compute(py, About::State, None, |_| ours.is_same(&theirs))?;
        Ok(is_same.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __repr__(&self) -> String {
        let model = &self.opened.model;
        let slabs = model.state_layout().slabs.iter();
        let slabs: Vec<String> = slabs.map(|slab| format!("{} {:?}", slab.name, slab.shape)).collect();
        let n_tokens = self.snapshot().n_tokens();
        format!("<wingbeat.State of {:?}: {n_tokens} tokens, {}>", model.config().name, slabs.join(", "))
    }
}

/// All slabs of a state, brought to the host.
fn copies<'py>(py: Python<'py>, state: &State) -> PyResult<Bound<'py, PyDict>> {
    let slabs = PyDict::new(py);
    for slab in compute(py, About::State, None, |_| state.read_all())? {
        let array = to_numpy(py, Values::F32(slab.values), slab.shape)?;
        slabs.set_item(slab.name, read_only(array)?)?;
    }
    Ok(slabs)
}

/// As a view on the CPU is: writing to it would change no state.
fn read_only(array: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = array.py();
    array.call_method1(intern!(py, "setflags"), (false,))?;
    Ok(array)
}

/// Values for a slab, row-major, of an array that fits it.
fn values_of(opened: &Opened, name: &str, array: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let py = array.py();
    let slabs = &opened.model.state_layout().slabs;
    let Some(slab) = slabs.iter().find(|slab| slab.name == name) else {
        let names: Vec<&str> = slabs.iter().map(|slab| slab.name).collect();
        return Err(InputError::new_err(format!("no slab `{name}`: there are {}", names.join(", "))));
    };
    let numpy = py.import(intern!(py, "numpy"))?;
    if !array.is_instance(&numpy.getattr(intern!(py, "ndarray"))?)? {
        let found = array.get_type().name()?;
        return Err(wrong(&format!("slab `{name}`"), "a numpy array of float32", found));
    }
    let dtype = array.getattr(intern!(py, "dtype"))?;
    if !dtype.eq(numpy.getattr(intern!(py, "float32"))?)? {
        return Err(wrong(&format!("slab `{name}`"), "float32 (see ndarray.astype)", dtype));
    }
    let shape: Vec<usize> = array.getattr(intern!(py, "shape"))?.extract()?;
    if shape != slab.shape {
        let expected = format!("shape {:?}", slab.shape);
        return Err(wrong(&format!("slab `{name}`"), &expected, format!("{shape:?}")));
    }
    let bytes = array.call_method0(intern!(py, "tobytes"))?;
    let bytes = bytes.cast::<PyBytes>()?.as_bytes();
    Ok(bytes.as_chunks().0.iter().map(|&bytes| f32::from_ne_bytes(bytes)).collect())
}

fn restore(py: Python<'_>, opened: &Arc<Opened>, bytes: &[u8]) -> PyResult<PyState> {
    let model = opened.to_run()?;
    let state = compute(py, About::State, None, |_| model.state_from_bytes(bytes))?;
    Ok(PyState::new(opened, state))
}

/// A state out of a pickle: of the model of that fingerprint, which must be open.
#[pyfunction]
pub(crate) fn _restore_state(
    py: Python<'_>,
    data: &[u8],
    fingerprint: &str,
    name: &str,
) -> PyResult<PyState> {
    let Some(opened) = Opened::find(fingerprint) else {
        return Err(StateError::new_err(format!(
            "a pickled state of the model {name:?} ({fingerprint}): that model is not open in this process; open it first, \
             with wingbeat.Model.load"
        )));
    };
    restore(py, &opened, data)
}
