//! The adapters of this machine: found, described, chosen by number or name.

use crate::{Capabilities, GpuError, Without};
use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Which adapter to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterChoice {
    /// The most capable: a discrete GPU before an integrated one before one made of software.
    #[default]
    Best,
    /// By its number in [`adapters`].
    Number(usize),
    /// The first whose name contains this, whatever the case.
    Name(String),
}

/// What is known of an adapter before it is used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// Its name, as its driver has it.
    pub name: String,
    /// Driver and version.
    pub driver: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub api: String,
    /// What kind of hardware it is.
    pub kind: AdapterKind,
    /// Bytes of its own memory; none where the API does not tell.
    pub memory_bytes: Option<u64>,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// Kinds of adapters, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A rasterizer on the processor, or something unknown.
    Software,
    /// A virtual machine's.
    Virtual,
    /// Shares the processor's memory.
    Integrated,
    /// Has memory of its own.
    Discrete,
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AdapterKind::Software => "software",
            AdapterKind::Virtual => "virtual GPU",
            AdapterKind::Integrated => "integrated GPU",
            AdapterKind::Discrete => "discrete GPU",
        })
    }
}

/// Every adapter of this machine, the best first. Empty where there is no driver.
pub fn adapters() -> Vec<AdapterSummary> {
    found().iter().map(|adapter| summary(adapter, Without::NOTHING)).collect()
}

/// The adapters themselves, in the order of [`adapters`].
///
/// There is one instance in a process: drivers take long to make one, and some fail after a dozen.
fn found() -> Vec<wgpu::Adapter> {
    static INSTANCE: Mutex<Option<wgpu::Instance>> = Mutex::new(None);
    let mut instance = INSTANCE.lock().unwrap_or_else(PoisonError::into_inner);
    let instance = instance.get_or_insert_with(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        // Neither validation layers nor debug labels, unless the environment asks for them.
        descriptor.flags = wgpu::InstanceFlags::empty().with_env();
        wgpu::Instance::new(descriptor)
    });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    adapters.sort_by_key(|adapter| std::cmp::Reverse(kind(&adapter.get_info())));
    adapters
}

/// The adapter chosen.
pub(crate) fn choose(choice: &AdapterChoice, hardware_only: bool) -> Result<wgpu::Adapter, GpuError> {
    /// Whether a search found no hardware: searching takes some ten milliseconds where a driver of software is.
    static NO_HARDWARE: AtomicBool = AtomicBool::new(false);
    let mut adapters =
        if hardware_only && NO_HARDWARE.load(Ordering::Relaxed) { Vec::new() } else { found() };
    adapters.retain(|adapter| !hardware_only || kind(&adapter.get_info()) > AdapterKind::Software);
    if hardware_only && adapters.is_empty() {
        NO_HARDWARE.store(true, Ordering::Relaxed);
    }
    let names = || adapters.iter().map(|a| a.get_info().name).collect::<Vec<_>>().join(", ");
    let index = match choice {
        AdapterChoice::Best => 0,
        AdapterChoice::Number(number) => *number,
        AdapterChoice::Name(name) => {
            let wanted = name.to_lowercase();
            let position = adapters.iter().position(|a| a.get_info().name.to_lowercase().contains(&wanted));
            position.ok_or_else(|| GpuError::NoAdapter { wanted: format!("`{name}`"), found: names() })?
        }
    };
    if index < adapters.len() {
        return Ok(adapters.swap_remove(index));
    }
    let wanted = if index == 0 { "any".to_owned() } else { format!("number {index}") };
    Err(GpuError::NoAdapter { wanted, found: names() })
}

pub(crate) fn summary(adapter: &wgpu::Adapter, without: Without) -> AdapterSummary {
    let info = adapter.get_info();
    AdapterSummary {
        kind: kind(&info),
        memory_bytes: memory_bytes(adapter),
        capabilities: Capabilities::of(adapter).without(without),
        name: info.name,
        driver: [info.driver, info.driver_info].join(" ").trim().to_owned(),
        api: format!("{:?}", info.backend),
    }
}

fn kind(info: &wgpu::AdapterInfo) -> AdapterKind {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
        wgpu::DeviceType::Cpu | wgpu::DeviceType::Other => AdapterKind::Software,
    }
}

/// The largest heap of the adapter's own memory. WebGPU does not tell, Vulkan does.
fn memory_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: the handle is used to ask, not to change or destroy anything.
    #[allow(unsafe_code)]
    let memory = unsafe {
        let vulkan = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = vulkan.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(vulkan.raw_physical_device())
    };
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`
    const DEVICE_LOCAL: u32 = 1;
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize);
    heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
}
