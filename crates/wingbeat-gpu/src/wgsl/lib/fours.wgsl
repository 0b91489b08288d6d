// Four consecutive values, for kernels of lib/shift.wgsl.

fn acts4(at: u32) -> vec4<f32> {
    return vec4<f32>(acts[at], acts[at + 1u], acts[at + 2u], acts[at + 3u]);
}

fn states4(at: u32) -> vec4<f32> {
    return vec4<f32>(states[at], states[at + 1u], states[at + 2u], states[at + 3u]);
}

fn vectors4(at: u32) -> vec4<f32> {
    return vec4<f32>(vectors[at], vectors[at + 1u], vectors[at + 2u], vectors[at + 3u]);
}
