// Inside wkv7_chunks: a third of the threads brings columns of α~ and r~, one of β~ and k~, one of v, as fours of tokens, and
// shares those that products need. With KEYS this is where v7_keys is done.
    let first = map[p.out.y + group.y * 2u];
    let n_tokens = map[p.out.y + group.y * 2u + 1u];
    let last = n_tokens - 1u;
    let part = thread / N;
    let n = thread % N;
    let channel = group.x * N + n;
    let at = first * p.more.w + channel;
    let block = p.out.x + (group.y * groups.x + group.x) * BLOCK;
    // α~ and r~, β~ and k~, or v: later X and R, B and K, or Q v.
//!for q L4
    var a_@q = vec4<f32>();
    var b_@q = vec4<f32>();
    var v_@q = vec4<f32>();
    let there_@q = vec4<u32>(@qu * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(n_tokens);
//!end
    var through = 1.0;
    if part == 0u {
//!if KEYS
        let k_k = vectors[p.keys.z + channel];
//!end
//!for q L4
//!if KEYS
        let k_@q = column(p.at.z + at, @qu * 4u, last);
//!else
        let k_@q = column(p.more.x + at, @qu * 4u, last);
//!end
        let w_@q = column(p.at.y + at, @qu * 4u, last);
        let r_@q = column(p.at.x + at, @qu * 4u, last);
//!end
//!for q L4
//!if KEYS
        let kk_@q = select(vec4<f32>(), k_@q * k_k, there_@q);
        mats[n * L4 + @qu] = kk_@q * kk_@q;
//!else
        let kk_@q = select(vec4<f32>(), k_@q, there_@q);
//!end
        let decay_@q = select(vec4<f32>(1.0), w_@q, there_@q);
        let rs_@q = select(vec4<f32>(), r_@q, there_@q);
//!for e 4
        a_@q[@eu] = -kk_@q[@eu] * through;
        through *= decay_@q[@eu];
        b_@q[@eu] = rs_@q[@eu] * through;
//!end
        left[n * LEFT + @qu] = a_@q;
        left[n * LEFT + L4 + @qu] = b_@q;
//!end
    } else if part == 1u {
//!if KEYS
        let k_k = vectors[p.keys.z + channel];
        let k_a = vectors[p.keys.w + channel];
//!end
//!for q L4
        let w_@q = column(p.at.y + at, @qu * 4u, last);
        let k_@q = column(p.at.z + at, @qu * 4u, last);
        let rate_@q = column(p.more.y + at, @qu * 4u, last);
//!if KEYS
//!else
        let removal_@q = column(p.more.x + at, @qu * 4u, last);
//!end
//!end
//!for q L4
        let decay_@q = select(vec4<f32>(1.0), w_@q, there_@q);
//!if KEYS
        let ks_@q = select(vec4<f32>(), k_@q * (1.0 + (rate_@q - 1.0) * k_a), there_@q);
        let bs_@q = select(vec4<f32>(), k_@q * k_k * rate_@q, there_@q);
//!else
        let ks_@q = select(vec4<f32>(), k_@q, there_@q);
        let bs_@q = select(vec4<f32>(), removal_@q * rate_@q, there_@q);
//!end
//!for e 4
        through *= decay_@q[@eu];
        a_@q[@eu] = bs_@q[@eu] / through;
        b_@q[@eu] = ks_@q[@eu] / through;
//!end
        right[n * RIGHT + @qu * 2u] = a_@q.xy;
        right[n * RIGHT + @qu * 2u + 1u] = a_@q.zw;
        right[n * RIGHT + (L4 + @qu) * 2u] = b_@q.xy;
        right[n * RIGHT + (L4 + @qu) * 2u + 1u] = b_@q.zw;
//!end
        acts[block + 4u * L * N + n] = through;
    } else {
//!for q L4
        v_@q = column(p.at.w + at, @qu * 4u, last);
//!end
//!if KEYS
        r_k[n] = vectors[p.bonus.x + channel];
//!if GATE
//!for q L4
        let v_first_@q = column(p.keys.x + at, @qu * 4u, last);
        let gate_@q = column(p.keys.y + at, @qu * 4u, last);
//!end
        let v_to = p.at.w + at;
//!else
        let v_to = p.keys.x + at;
//!end
//!for q L4
//!if GATE
        v_@q += (v_first_@q - v_@q) * gate_@q;
//!end
//!for e 4
        if there_@q[@eu] {
            acts[v_to + (@qu * 4u + @eu) * p.more.w] = v_@q[@eu];
        }
//!end
//!end
//!end
    }
