//! What an adapter can do, as data: kernels are chosen by it, and tests take parts of it away.
//!
//! Every kernel has a plain variant that needs nothing of this: it runs under WebGPU's default limits.

use std::{fmt, str::FromStr};

/// What an adapter offers beyond WebGPU's defaults, as far as a kernel makes use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Lanes of a subgroup, where every subgroup has as many; none: no subgroup operations.
    pub subgroup: Option<u32>,
    /// Half-precision arithmetic in shaders.
    pub f16: bool,
    /// 16 x 16 cooperative matrices: products of `f16`, sums in `f32`.
    pub cooperative: bool,
    /// Fast products of packed int8.
    pub packed_dot: bool,
    /// Time stamps, for profiles.
    pub timestamps: bool,
    /// Compiled pipelines can be kept.
    pub pipeline_cache: bool,
    /// Bytes that a workgroup can share.
    pub workgroup_bytes: u32,
    /// Threads of a workgroup.
    pub workgroup_threads: u32,
    /// Bytes of a buffer that a kernel can see.
    pub binding_bytes: u64,
}

/// What can be done without: to force a kernel's plainer variants, in tests and to get round a driver's fault.
///
/// The text form is a list of names between commas: `subgroup`, `f16`, `cooperative`, `packed-dot`, `timestamps`,
/// `pipeline-cache`, `limits` (WebGPU's default limits instead of the adapter's), or `all` of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without {
    flags: [bool; NAMES.len()],
}

const NAMES: [&str; 7] =
    ["subgroup", "f16", "cooperative", "packed-dot", "timestamps", "pipeline-cache", "limits"];

/// A name that stands for nothing an adapter has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown adapter capability `{name}`; known are {}, all", NAMES.join(", "))]
pub struct ParseWithoutError {
    name: String,
}

impl Without {
    /// Nothing is left out.
    pub const NOTHING: Without = Without { flags: [false; NAMES.len()] };
    /// Everything is: the plain kernels under WebGPU's default limits.
    pub const ALL: Without = Without { flags: [true; NAMES.len()] };

    pub(crate) fn has(self, name: &str) -> bool {
        NAMES.iter().zip(self.flags).any(|(n, flag)| *n == name && flag)
    }
}

impl FromStr for Without {
    type Err = ParseWithoutError;

    fn from_str(text: &str) -> Result<Without, ParseWithoutError> {
        let mut without = Without::NOTHING;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match NAMES.iter().position(|n| *n == name) {
                Some(index) => without.flags[index] = true,
                None if name == "all" => without = Without::ALL,
                None => return Err(ParseWithoutError { name: name.chars().take(40).collect() }),
            }
        }
        Ok(without)
    }
}

impl Capabilities {
    /// Of an adapter, as far as its driver tells.
    pub(crate) fn of(adapter: &wgpu::Adapter) -> Capabilities {
        let (info, features, limits) = (adapter.get_info(), adapter.features(), adapter.limits());
        let has = |feature| features.contains(feature);
        let one_size = info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size >= 4;
        let subgroup = (has(wgpu::Features::SUBGROUP) && one_size).then_some(info.subgroup_min_size);
        let f16 = has(wgpu::Features::SHADER_F16);
        let of_16 = |p: &wgpu::CooperativeMatrixProperties| {
            (p.m_size, p.n_size, p.k_size) == (16, 16, 16)
                && p.ab_type == wgpu::CooperativeScalarType::F16
                && p.cr_type == wgpu::CooperativeScalarType::F32
        };
        let cooperative = has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
            && adapter.cooperative_matrix_properties().iter().any(of_16);
        Capabilities {
            subgroup,
            f16,
            // The kernels share work out by subgroups of 32.
            cooperative: cooperative && f16 && subgroup == Some(32) && has(wgpu::Features::SUBGROUP_BARRIER),
            // Every adapter has the operation; where hardware lacks it, it is made of several.
            packed_dot: true,
            timestamps: has(wgpu::Features::TIMESTAMP_QUERY),
            pipeline_cache: has(wgpu::Features::PIPELINE_CACHE),
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_threads: limits.max_compute_invocations_per_workgroup,
            binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        }
    }

    /// What is left without some of them.
    pub(crate) fn without(self, without: Without) -> Capabilities {
        let mut left = self;
        if without.has("subgroup") {
            (left.subgroup, left.cooperative) = (None, false);
        }
        if without.has("f16") {
            (left.f16, left.cooperative) = (false, false);
        }
        left.cooperative &= !without.has("cooperative");
        left.packed_dot &= !without.has("packed-dot");
        left.timestamps &= !without.has("timestamps");
        left.pipeline_cache &= !without.has("pipeline-cache");
        if without.has("limits") {
            let default = wgpu::Limits::default();
            left.workgroup_bytes = default.max_compute_workgroup_storage_size;
            left.workgroup_threads = default.max_compute_invocations_per_workgroup;
            left.binding_bytes = default.max_storage_buffer_binding_size;
            left.cooperative = false;
        }
        left
    }

    /// The features to ask a device for.
    pub(crate) fn features(&self) -> wgpu::Features {
        let mut features = wgpu::Features::empty();
        features.set(wgpu::Features::SUBGROUP, self.subgroup.is_some());
        features.set(wgpu::Features::SHADER_F16, self.f16);
        features.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, self.cooperative);
        features.set(wgpu::Features::SUBGROUP_BARRIER, self.cooperative);
        features.set(wgpu::Features::TIMESTAMP_QUERY, self.timestamps);
        features.set(wgpu::Features::PIPELINE_CACHE, self.pipeline_cache);
        features
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subgroup {
            Some(lanes) => write!(f, "subgroups of {lanes}")?,
            None => write!(f, "no subgroups")?,
        }
        for (name, has) in [
            ("f16", self.f16),
            ("cooperative matrices", self.cooperative),
            ("packed int8 products", self.packed_dot),
            ("time stamps", self.timestamps),
            ("pipeline cache", self.pipeline_cache),
        ] {
            if has {
                write!(f, ", {name}")?;
            }
        }
        Ok(())
    }
}
