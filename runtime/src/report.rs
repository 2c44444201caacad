//! What reports say of layers and steps.

/// One step of a plan, for reports.
#[derive(Clone, Debug)]
pub struct StepInfo<'a> {
    /// Name of the node.
    pub name: &'a str,
    /// What runs, in ONNX's words; `Select` puts removed channels back or leaves unread ones out.
    pub op: &'a str,
    /// What computes it: a convolution's method, register tile and instruction set, such as `packed 8x48 avx512`. The method is the
    /// one that is expected to be fastest; `packed 8x48 avx512, timed` was measured to be.
    pub kernel: String,
    /// Multiply-accumulates of one run of the whole batch.
    pub macs: usize,
    /// Bytes of its inputs, weights and output, each counted once.
    pub bytes: usize,
    /// Threads that share it: one where it is too short for more. Image by image, threads that take images of their own.
    pub threads: usize,
    /// Whether it runs image by image, with the steps before and behind it: images of a batch that is better computed so.
    pub by_image: bool,
}

/// The first step of a run whose output holds NaN or infinities.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotFinite {
    /// Its index in [`Plan::steps`](crate::Plan::steps).
    pub step: usize,
    /// The image of the batch, of a step that runs image by image.
    pub image: Option<usize>,
    /// How many elements of its output are NaN.
    pub nan: usize,
    /// How many are infinite.
    pub infinite: usize,
    /// How many there are: of one image, if that is told, else of the batch.
    pub of: usize,
}

/// One node of a model as its file has it, for reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LayerInfo<'a> {
    /// Name of the node.
    pub name: &'a str,
    /// The operator, in ONNX's words.
    pub op: &'a str,
    /// What it keeps, where it has weights or windows.
    pub sizes: LayerSizes,
    /// Channels of its output, where some are removed. If none is kept, nothing is computed.
    pub channels: Option<KeptCount>,
}

/// What a layer with weights keeps of them, and its window.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LayerSizes {
    /// Its window: `5x5 stride 2 pad 1,1,2,2`, without what is as usual.
    pub window: Option<String>,
    /// Filters, or rows of a fully connected layer.
    pub filters: Option<KeptCount>,
    /// Columns of all groups.
    pub columns: Option<KeptCount>,
    /// Stored weights.
    pub weights: Option<usize>,
    /// Whether constant channels of its input add something that depends on the position.
    pub has_border_constants: bool,
}

/// How many are kept of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptCount {
    /// How many are kept.
    pub kept: usize,
    /// How many there were in the network that was trained.
    pub of: usize,
}
