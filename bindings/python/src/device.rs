//! Devices by the names that Python gives them, and the list of GPUs.
//!
//! Before a model is opened; opening is left to `model.rs`.

use crate::{
    compute::compute,
    errors::{About, InputError, wrong},
};
use pyo3::{intern, prelude::*, types::PyDict};
use wingbeat::{CpuOptions, Device};

/// Threads at most, the engine's own limit.
const MOST_THREADS: usize = 1024;

/// The device of `Model.load`'s arguments.
pub(crate) fn device_of(device: &str, threads: Option<i128>, precision: &str) -> PyResult<Device> {
    let threads = match threads.map(usize::try_from) {
        None => None,
        Some(Ok(n)) if (1..=MOST_THREADS).contains(&n) => Some(n),
        Some(_) => {
            let found = threads.unwrap_or_default();
            return Err(wrong("threads", &format!("1 to {MOST_THREADS}, or None"), found));
        }
    };
    let exact = match precision {
        "default" => false,
        "exact" => true,
        other => return Err(wrong("precision", "\"default\" or \"exact\"", format!("{other:?}"))),
    };
    if device.is_empty() {
        return Err(InputError::new_err("device: expected its name, found an empty text"));
    }
    let Ok(device) = device.parse::<Device>();
    Ok(match device {
        Device::Auto(cpu) => Device::Auto(CpuOptions { threads, exact, ..cpu }),
        Device::Cpu(cpu) => Device::Cpu(CpuOptions { threads, exact, ..cpu }),
        Device::Gpu(mut gpu) => {
            gpu.exact = exact;
            Device::Gpu(gpu)
        }
        other => other,
    })
}

/// What is to be done before a model is opened on a device.
pub(crate) fn prepare(py: Python<'_>, device: &Device) -> PyResult<()> {
    match device {
        Device::Auto(_) | Device::Gpu(_) => leave_desktop_out(py),
        _ => Ok(()),
    }
}

/// Mesa's Vulkan layer that sorts GPUs by what the desktop uses complains on standard error where there is no desktop; it is
/// not needed, as they are sorted here. Through Python, which looks after who else reads or sets the environment.
fn leave_desktop_out(py: Python<'_>) -> PyResult<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let environment = py.import(intern!(py, "os"))?.getattr(intern!(py, "environ"))?;
    if !environment.contains(intern!(py, "XDG_RUNTIME_DIR"))? {
        environment.call_method1(intern!(py, "setdefault"), ("NODEVICE_SELECT", "1"))?;
    }
    Ok(())
}

/// The GPUs that there are, whatever their state: a dict each, with `device` as `Model.load` takes it ("gpu:0"), `name`,
/// `driver`, `api`, `kind` and `memory_bytes` (None where the driver does not tell).
#[pyfunction]
pub(crate) fn devices(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    leave_desktop_out(py)?;
    let adapters = compute(py, About::Model, None, |_| Ok(wingbeat::adapters()))?;
    let dict = |(number, adapter): (usize, &wingbeat::AdapterSummary)| {
        let dict = PyDict::new(py);
        dict.set_item("device", format!("gpu:{number}"))?;
        dict.set_item("name", &adapter.name)?;
        dict.set_item("driver", &adapter.driver)?;
        dict.set_item("api", &adapter.api)?;
        dict.set_item("kind", adapter.kind.to_string())?;
        dict.set_item("memory_bytes", adapter.memory_bytes)?;
        Ok(dict)
    };
    adapters.iter().enumerate().map(dict).collect()
}
