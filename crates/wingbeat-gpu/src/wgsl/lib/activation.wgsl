// What happens to a product before it is stored (ops/linear.rs numbers them).

fn sigmoid(z: f32) -> f32 {
    return 1.0 / (1.0 + exp(-z));
}

// before: what the output holds now; bias: offset of the bias vector.
fn activate(kind: u32, z: f32, before: f32, bias: u32, row: u32) -> f32 {
    switch kind {
        case 1u: { return before + z; }
        // Bounded, so that the exponential stays finite.
        case 2u: { return 1.0 - 2.0 / (exp(2.0 * clamp(z, -15.0, 15.0)) + 1.0); }
        case 3u: { return sigmoid(z); }
        case 4u: { let r = max(z, 0.0); return r * r; }
        case 5u: { return sigmoid(z + vectors[bias + row]); }
        case 6u: { return exp(-0.60653066 * sigmoid(z + vectors[bias + row])); }
        case 7u: { return z * sigmoid(z); }
        // Long before the bound the result is zero.
        case 8u: { return exp(-exp(min(z + vectors[bias + row], 80.0))); }
        default: { return z; }
    }
}
