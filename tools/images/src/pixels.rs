//! Pixels in memory, and how they are cut and scaled: bilinear, as Pillow and the `image` crate do it, so that networks see what they
//! were trained on.

/// Pixels of 8 bits a channel, row by row, with the channels of a pixel beside each other.
#[derive(Clone)]
pub(crate) struct Pixels {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) channels: usize,
    pub(crate) bytes: Vec<u8>,
}

/// From which extent to which other one axis is scaled, and what each new index takes from the old ones.
struct Share {
    /// The first index that it takes from.
    first: usize,
    /// What it takes from that one and those after it; the sum is 1.
    weights: Vec<f32>,
}

impl Pixels {
    /// The part whose corner is at `left` and `top`.
    pub(crate) fn crop(&self, left: u32, top: u32, width: u32, height: u32) -> Pixels {
        let row = self.width as usize * self.channels;
        let columns = left as usize * self.channels..(left + width) as usize * self.channels;
        let rows = self.bytes.chunks_exact(row).skip(top as usize).take(height as usize);
        Pixels { width, height, channels: self.channels, bytes: rows.flat_map(|row| &row[columns.clone()]).copied().collect() }
    }

    /// What scaling to this size takes: its pixels, sums of a row, and what each new index takes from the old ones.
    pub(crate) fn scaling(&self, width: u32, height: u32) -> u64 {
        let of_axis = |from: u32, to: u32| {
            let weights = 2 * (u64::from(from) + 2 * u64::from(to));
            weights * size_of::<f32>() as u64 + u64::from(to) * size_of::<Share>() as u64
        };
        let (pixels, sums) = (u64::from(width) * u64::from(height), u64::from(self.width) * size_of::<f32>() as u64);
        (pixels + sums) * self.channels as u64 + of_axis(self.width, width) + of_axis(self.height, height)
    }

    /// Bilinear, widened when shrinking so that every pixel counts.
    pub(crate) fn scale(&self, width: u32, height: u32) -> Pixels {
        let row = self.width as usize * self.channels;
        let columns = shares(self.width, width);
        let mut bytes = Vec::with_capacity(width as usize * height as usize * self.channels);
        let mut sums = vec![0f32; row];
        for share in shares(self.height, height) {
            sums.fill(0.0);
            for (row, weight) in self.bytes.chunks_exact(row).skip(share.first).zip(&share.weights) {
                sums.iter_mut().zip(row).for_each(|(sum, &byte)| *sum += f32::from(byte) * weight);
            }
            for share in &columns {
                let pixels = &sums[share.first * self.channels..];
                for channel in 0..self.channels {
                    let column = pixels[channel..].iter().step_by(self.channels);
                    let sum = column.zip(&share.weights).fold(0f32, |sum, (value, weight)| sum + value * weight);
                    bytes.push(sum.round() as u8);
                }
            }
        }
        Pixels { width, height, channels: self.channels, bytes }
    }
}

/// For each index of an axis of `to` pixels, what it takes of one of `from`: each pixel counts by its distance, up to the width of a
/// pixel of the coarser axis.
fn shares(from: u32, to: u32) -> Vec<Share> {
    let ratio = from as f32 / to as f32;
    let reach = ratio.max(1.0);
    let share = |index: u32| {
        let middle = (index as f32 + 0.5) * ratio;
        let first = ((middle - reach).floor() as i64).clamp(0, i64::from(from) - 1);
        let end = ((middle + reach).ceil() as i64).clamp(first + 1, i64::from(from));
        let weight = |index: i64| (1.0 - ((index as f32 - (middle - 0.5)) / reach).abs()).max(0.0);
        let mut weights: Vec<f32> = (first..end).map(weight).collect();
        let sum: f32 = weights.iter().fold(0.0, |sum, weight| sum + weight);
        weights.iter_mut().for_each(|weight| *weight /= sum);
        Share { first: first as usize, weights }
    };
    (0..to).map(share).collect()
}
