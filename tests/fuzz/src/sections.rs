//! Mutations of `.sslm` files section by section, so that lengths stay right.

use fastrand::Rng;
use libfuzzer_sys::fuzzer_mutate;
use sslm_tests::fuzz::sections::Sections;

/// How many bytes a mutation may add.
const ROOM: usize = 64;

/// Mutates one section, mostly the graph: for `libfuzzer_sys::fuzz_mutator!`.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Rng::with_seed(seed.into());
    let mut parts = Sections::decode(&data[..size]);
    if parts.sections.is_empty() || random.u8(..) < 8 {
        return fuzzer_mutate(data, size, max_size);
    }
    if random.u8(..) < 16 {
        parts.setup[random.usize(..2)] = random.u8(..);
    } else {
        let graph = parts.sections.iter().position(|(kind, _)| *kind == 0).filter(|_| random.u8(..) < 200);
        let chosen = graph.unwrap_or_else(|| random.usize(..parts.sections.len()));
        let body = &mut parts.sections[chosen].1;
        for _ in 0..random.usize(1..4) {
            if body.len() < 4 || random.u8(..) < 64 {
                let len = body.len();
                body.resize(len + ROOM, 0);
                let len = fuzzer_mutate(body, len, len + ROOM);
                body.truncate(len);
            } else {
                change(body, &mut random);
            }
        }
    }
    let encoded = parts.encode();
    if encoded.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..encoded.len()].copy_from_slice(&encoded);
    encoded.len()
}

/// Changes a field, or a part of one: most of what results still is a list of records.
fn change(body: &mut [u8], random: &mut Rng) {
    let at = random.usize(..body.len());
    match random.u8(..6) {
        0 => body[at] = random.u8(..),
        1 => body[at] = body[at].wrapping_add(1),
        2 => body[at] = body[at].wrapping_sub(1),
        3 => body[at] ^= 1 << random.u8(..8),
        4 => body[at] = random.u8(..4),
        _ => {
            let (from, to) = (random.usize(..=body.len() - 4), random.usize(..=body.len() - 4));
            body.copy_within(from..from + 4, to);
        }
    }
}
