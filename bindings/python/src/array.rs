//! Numbers handed to numpy where they lie.
//!
//! An object says by numpy's array interface (`__array_interface__`, version 3) where its values are, in which shape and at
//! which strides; numpy makes an array over them that keeps the object alive. So memory belongs to this side all the while,
//! and no value is copied. Between the engine's results and whoever called.

use pyo3::{IntoPyObjectExt, intern, prelude::*, sync::PyOnceLock, types::PyDict};
use std::sync::Arc;
use wingbeat::State;

/// Little-endian or big-endian float32, as numpy writes it.
const FLOAT32: &str = if cfg!(target_endian = "little") { "<f4" } else { ">f4" };
/// As [`FLOAT32`], of float64.
const FLOAT64: &str = if cfg!(target_endian = "little") { "<f8" } else { ">f8" };

/// A result on its way to numpy.
pub(crate) enum Values {
    /// Of f32, row-major.
    F32(Vec<f32>),
    /// Of f64, row-major.
    F64(Vec<f64>),
}

/// A result that an array was made over.
#[pyclass(frozen, module = "wingbeat._wingbeat", name = "_Values")]
pub(crate) struct Owned {
    values: Values,
    address: usize,
    shape: Vec<usize>,
}

/// A slab of a state in the processor's memory that an array was made over. The state is shared: whoever changes it
/// changes another copy.
#[pyclass(frozen, module = "wingbeat._wingbeat", name = "_SlabView")]
pub(crate) struct Viewed {
    /// Keeps the values where they are.
    _state: Arc<State>,
    address: usize,
    shape: Vec<usize>,
    strides_bytes: Vec<usize>,
}

#[pymethods]
impl Owned {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let kind = match self.values {
            Values::F32(_) => FLOAT32,
            Values::F64(_) => FLOAT64,
        };
        interface(py, kind, self.address, false, &self.shape, None)
    }
}

#[pymethods]
impl Viewed {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        interface(py, FLOAT32, self.address, true, &self.shape, Some(&self.strides_bytes))
    }
}

fn interface<'py>(
    py: Python<'py>,
    kind: &str,
    address: usize,
    is_read_only: bool,
    shape: &[usize],
    strides_bytes: Option<&[usize]>,
) -> PyResult<Bound<'py, PyDict>> {
    let tuple = |numbers: &[usize]| pyo3::types::PyTuple::new(py, numbers);
    let interface = PyDict::new(py);
    interface.set_item(intern!(py, "version"), 3)?;
    interface.set_item(intern!(py, "typestr"), kind)?;
    interface.set_item(intern!(py, "data"), (address, is_read_only))?;
    interface.set_item(intern!(py, "shape"), tuple(shape)?)?;
    if let Some(strides_bytes) = strides_bytes {
        interface.set_item(intern!(py, "strides"), tuple(strides_bytes)?)?;
    }
    Ok(interface)
}

/// An array of these values. shape: their dimensions, row-major; as many values as it says.
pub(crate) fn to_numpy<'py>(
    py: Python<'py>,
    mut values: Values,
    shape: Vec<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let (address, found) = match &mut values {
        Values::F32(values) => (values.as_mut_ptr().expose_provenance(), values.len()),
        Values::F64(values) => (values.as_mut_ptr().expose_provenance(), values.len()),
    };
    debug_assert_eq!(found, shape.iter().product::<usize>());
    as_array(py, Owned { values, address, shape }.into_bound_py_any(py)?)
}

/// A read-only array over a slab where it lies; none where it is not in the processor's memory.
pub(crate) fn view_slab<'py>(
    py: Python<'py>,
    state: &Arc<State>,
    name: &str,
) -> Result<Option<Bound<'py, PyAny>>, ViewError> {
    let Some(view) = state.view(name).map_err(ViewError::Engine)? else { return Ok(None) };
    let address = view.values.as_ptr().expose_provenance();
    let shape = view.shape.to_vec();
    let strides_bytes = view.strides.iter().map(|stride| stride * size_of::<f32>()).collect();
    let viewed = Viewed { _state: Arc::clone(state), address, shape, strides_bytes };
    let array = viewed.into_bound_py_any(py).and_then(|viewed| as_array(py, viewed));
    array.map(Some).map_err(ViewError::Python)
}

/// Why there is no view.
pub(crate) enum ViewError {
    /// There is no such slab.
    Engine(wingbeat::Error),
    /// Numpy cannot be had.
    Python(PyErr),
}

fn as_array<'py>(py: Python<'py>, object: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static AS_ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    AS_ARRAY.import(py, "numpy", "asarray")?.call1((object,))
}
