// Penalties and biases on a logit, in place:
//   count >= 0 (said before): logit -= presence + count * frequency;  count *= decay
//   logit += bias (-infinity: banned)

// A count below this is 0, as on the host.
const NEGLIGIBLE = 1e-30;

// The logit of a token, whose bits are known already, with penalties and bias, as a key; counts decay.
fn penalised(row: u32, id: u32, bits: u32) -> u32 {
    let before = key_of(bits);
    var key = before;
    let finite = key >= LEAST_KEY && key < INFINITE_KEY;
    if p.more.y != 0u {
        let place = p.more.y + row * p.at.y + id;
        let count = bitcast<f32>(sampling[place]);
        if count >= 0.0 {
            if finite {
                key = key_of(bitcast<u32>(bitcast<f32>(bits) - (p.penalties.x + count * p.penalties.y)));
            }
            let faded = count * p.penalties.z;
            sampling[place] = bitcast<u32>(select(faded, 0.0, faded < NEGLIGIBLE));
        }
    }
    if p.more.z != 0u && key != NAN_KEY {
        let bias = sampling[p.more.z + id];
        if bias == 0xff800000u {
            key = ~bias;
        } else if finite {
            key = key_of(bitcast<u32>(value_of(key) + bitcast<f32>(bias)));
        }
    }
    if key != before {
        acts[p.at.x + row * p.at.y + id] = value_of(key);
    }
    return key;
}
