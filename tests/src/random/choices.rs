//! Where random graphs take their choices from: a seed, or the bytes that a fuzzer changes one by one, so that what it learns of one
//! graph helps it with the next.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Choices, all from one seed or one list of bytes.
pub struct Random {
    /// What is left of the bytes; absent where all comes from the seed.
    bytes: Option<VecDeque<u8>>,
    seeded: fastrand::Rng,
}

impl Random {
    /// Everything is chosen by a seed.
    pub fn of_seed(seed: u64) -> Self {
        Random { bytes: None, seeded: fastrand::Rng::with_seed(seed) }
    }

    /// The first byte is the seed of elements, and every other one a choice of structure. Where there are no more of them, the first of
    /// all possibilities is chosen.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let (seed, choices) = bytes.split_first().unwrap_or((&0, &[]));
        Random { bytes: Some(choices.iter().copied().collect()), seeded: fastrand::Rng::with_seed((*seed).into()) }
    }

    /// The next byte; `None` where choices come from the seed.
    fn byte(&mut self) -> Option<u8> {
        self.bytes.as_mut().map(|bytes| bytes.pop_front().unwrap_or(0))
    }

    /// Any integer of a range, ends included. From a byte, only the first 256.
    pub fn between(&mut self, range: RangeInclusive<usize>) -> usize {
        match self.byte() {
            Some(byte) => range.start() + usize::from(byte) % (range.end() - range.start() + 1),
            None => self.seeded.usize(range),
        }
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        match self.byte() {
            Some(byte) => f64::from(byte) >= 256.0 * (1.0 - probability),
            None => self.seeded.f64() < probability,
        }
    }

    /// So many chances. One byte chooses how probable all of them are.
    pub fn chances(&mut self, probability: f64, count: usize) -> Vec<bool> {
        let probability = match self.byte() {
            Some(byte) => [0.0, probability, 0.5, 0.9][usize::from(byte) % 4],
            None => probability,
        };
        (0..count).map(|_| self.seeded.f64() < probability).collect()
    }

    /// One of several.
    ///
    /// # Panics
    /// If there is none.
    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.between(0..=choices.len() - 1)].clone()
    }

    /// An element of at least 0 and below 1.
    pub fn share(&mut self) -> f32 {
        self.seeded.f32()
    }

    /// An element between -1 and 1, never 0.
    pub fn element(&mut self) -> f32 {
        (1.0 - self.seeded.f32()) * if self.seeded.bool() { 1.0 } else { -1.0 }
    }

    /// Elements between `-scale` and `scale`.
    pub fn elements(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.element() * scale).collect()
    }

    /// Another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.seeded.shuffle(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_choose_structure_and_their_end_chooses_the_first() {
        let mut random = Random::of_bytes(&[7, 5, 255, 2]);
        assert_eq!((random.between(1..=3), random.chance(0.1)), (3, true));
        assert_eq!(random.chances(0.0, 100).len(), 100);
        assert_eq!((random.between(4..=9), random.chance(0.9), random.of(&["a", "b"])), (4, false, "a"));
        let element = random.element();
        assert!(element != 0.0 && element.abs() <= 1.0);
    }
}
