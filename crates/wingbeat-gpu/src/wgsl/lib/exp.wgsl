// e^x for x <= 0 as the samplers of the host have it: the same series, 0 below -87.

fn exp_of(x: f32) -> f32 {
    let clamped = max(x, -87.0);
    let n = round(clamped * 1.4426950408889634);
    let r = (clamped - n * 0.693359375) - n * -2.12194440e-4;
    var series = 1.0 / 5040.0;
    series = series * r + 1.0 / 720.0;
    series = series * r + 1.0 / 120.0;
    series = series * r + 1.0 / 24.0;
    series = series * r + 1.0 / 6.0;
    series = series * r + 0.5;
    series = series * r + 1.0;
    series = series * r + 1.0;
    let power = bitcast<f32>(u32(i32(n) + 127) << 23u);
    return select(series * power, 0.0, x < -87.0);
}
