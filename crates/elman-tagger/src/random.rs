use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// A number in `0..count`: the high half of a 128-bit product with 64 random bits. Written out, because what
/// the rand crate draws may change with its version, and these draws decide what a model becomes.
pub(crate) fn below(rng: &mut ChaCha8Rng, count: usize) -> usize {
    ((u128::from(rng.next_u64()) * count as u128) >> 64) as usize
}
