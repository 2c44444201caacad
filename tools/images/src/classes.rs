//! From what a network yields for an image to the likeliest classes.

use anyhow::{Result, ensure};

/// A class of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// Where it stands in the output.
    pub index: usize,
    /// How likely it is, by the network.
    pub probability: f32,
    /// What the network yields for it: a logit, or the probability itself if it ends in Softmax.
    pub output: f32,
}

/// The likeliest of all classes first, at most `count` of them, by one output for each class.
///
/// # Errors
/// If an output is NaN, which says nothing of any class.
pub fn likeliest(outputs: &[f32], are_probabilities: bool, count: usize) -> Result<Vec<Class>> {
    let nan = outputs.iter().filter(|x| x.is_nan()).count();
    ensure!(nan == 0, "the model's output: expected a number for each class, found NaN for {nan} of {}", outputs.len());
    let max = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = outputs.iter().map(|x| (x - max).exp()).sum();
    let probability = |x: f32| if are_probabilities { x } else { (x - max).exp() / sum };
    let mut order: Vec<usize> = (0..outputs.len()).collect();
    order.sort_by(|&a, &b| outputs[b].total_cmp(&outputs[a]));
    let class = |index: usize| Class { index, probability: probability(outputs[index]), output: outputs[index] };
    Ok(order.into_iter().take(count).map(class).collect())
}

/// Whether an output is one element for each class of one image, such as `[1, classes]` or `[1, classes, 1, 1]`.
pub fn is_one_a_class(shape: &[usize]) -> bool {
    matches!(shape, [1, classes, rest @ ..] if *classes > 1 && rest.iter().all(|&extent| extent == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_is_first() {
        let indices = |outputs: &[f32]| -> Vec<usize> {
            likeliest(outputs, false, 2).expect("numbers").iter().map(|class| class.index).collect()
        };
        assert_eq!(indices(&[0.0, 3.0, -1.0, 2.0]), [1, 3]);
        assert_eq!(indices(&[f32::NEG_INFINITY, 1.0, 1.0]), [1, 2]);
        let classes = likeliest(&[0.0, 0.0], false, 5).expect("numbers");
        assert_eq!(classes.iter().map(|class| class.probability).collect::<Vec<_>>(), [0.5, 0.5]);
    }

    #[test]
    fn nothing_is_likely_where_an_output_is_nan() {
        let message = likeliest(&[0.0, f32::NAN, 1.0], true, 1).expect_err("no class").to_string();
        assert!(message.contains("found NaN for 1 of 3"), "{message}");
    }
}
