// What comes of a row's token: it becomes the row's last one, which the next step's embedding reads, is added to the ring of
// ids and to the counts of what was said, and the row's number of steps grows. One thread a row.

// In place of a token: a logit is no number, or none is above -infinity. The host finds the words.
const NO_TOKEN = 0xffffffffu;

fn record(row: u32, token: u32) {
    let step = sampling[p.places.x + row];
    sampling[row] = token;
    sampling[p.places.z + (step % p.at.w) * p.flags.y + row] = token;
    sampling[p.places.x + row] = step + 1u;
    if p.more.y != 0u && token < p.at.y {
        let place = p.more.y + row * p.at.y + token;
        sampling[place] = bitcast<u32>(max(bitcast<f32>(sampling[place]), 0.0) + 1.0);
    }
}
