//! Which device a model runs on.

use std::{fmt, str::FromStr};
use wingbeat_cpu::CpuOptions;

/// A device to run a model on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Device {
    /// This machine's processor.
    Cpu(CpuOptions),
    /// The reference implementation: plain loops with sums in f64. Slow; for checking.
    Reference,
}

impl Default for Device {
    fn default() -> Device {
        Device::Cpu(CpuOptions::default())
    }
}

/// A device name that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDeviceError(String);

impl fmt::Display for ParseDeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown device `{}`; known are auto, cpu, reference", self.0)
    }
}

impl std::error::Error for ParseDeviceError {}

impl FromStr for Device {
    type Err = ParseDeviceError;

    fn from_str(name: &str) -> Result<Device, ParseDeviceError> {
        match name {
            "auto" | "cpu" => Ok(Device::default()),
            "reference" => Ok(Device::Reference),
            other => Err(ParseDeviceError(other.to_owned())),
        }
    }
}
