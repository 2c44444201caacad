//! From what a network yields for an image to the likeliest classes.

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
pub fn likeliest(outputs: &[f32], are_probabilities: bool, count: usize) -> Vec<Class> {
    let max = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = outputs.iter().map(|x| (x - max).exp()).sum();
    let probability = |x: f32| if are_probabilities { x } else { (x - max).exp() / sum };
    let mut order: Vec<usize> = (0..outputs.len()).collect();
    order.sort_by(|&a, &b| outputs[b].total_cmp(&outputs[a]));
    let class = |index: usize| Class { index, probability: probability(outputs[index]), output: outputs[index] };
    order.into_iter().take(count).map(class).collect()
}

/// Whether an output is one element for each class of one image, such as `[1, classes]` or `[1, classes, 1, 1]`.
pub fn is_one_a_class(shape: &[usize]) -> bool {
    matches!(shape, [1, classes, rest @ ..] if *classes > 1 && rest.iter().all(|&extent| extent == 1))
}
