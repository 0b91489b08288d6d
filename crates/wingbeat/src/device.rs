//! Which device a model runs on.

use std::{convert::Infallible, str::FromStr};
use wingbeat_cpu::CpuOptions;
use wingbeat_gpu::{AdapterChoice, GpuOptions};

/// A device to run a model on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Device {
    /// A GPU where there is one with room for the model, else the processor. An adapter made of software is no GPU.
    /// The options are those of the processor, and say for both whether products are exact.
    Auto(CpuOptions),
    /// This machine's processor.
    Cpu(CpuOptions),
    /// A GPU, through Vulkan, Metal or DirectX 12.
    Gpu(GpuOptions),
    /// The reference implementation: plain loops with sums in f64. Slow; for checking.
    Reference,
}

impl Default for Device {
    fn default() -> Device {
        Device::Auto(CpuOptions::default())
    }
}

impl FromStr for Device {
    type Err = Infallible;

    /// `auto`, `cpu`, `reference`, `gpu` (the best adapter), `gpu:N` (by number), and anything else is a part of an
    /// adapter's name, with or without `gpu:` before it.
    fn from_str(text: &str) -> Result<Device, Infallible> {
        let gpu = |adapter| {
            let mut options = GpuOptions::default();
            options.adapter = adapter;
            Device::Gpu(options)
        };
        Ok(match text {
            "auto" => Device::default(),
            "cpu" => Device::Cpu(CpuOptions::default()),
            "reference" => Device::Reference,
            "gpu" => gpu(AdapterChoice::Best),
            other => {
                let name = other.strip_prefix("gpu:").unwrap_or(other);
                match name.parse() {
                    Ok(number) => gpu(AdapterChoice::Number(number)),
                    Err(_) => gpu(AdapterChoice::Name(name.to_owned())),
                }
            }
        })
    }
}
