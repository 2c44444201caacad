/* tslint:disable */
/* eslint-disable */

/** A class of an image. */
export interface Class {
    /** Where it stands in the output. */
    index: number;
    /** Its name, if the file has one. */
    label?: string;
    /** How likely it is, by the network. */
    probability: number;
    /** What the network yields for it: a logit, or the probability itself if it ends in Softmax. */
    output: number;
}

/** How many are kept of how many. */
export interface Kept {
    kept: number;
    of: number;
}

/** A node of the network. */
export interface Layer {
    /** As in the source model. */
    name: string;
    /** The operator, in ONNX's words. */
    op: string;
    /** The window of a convolution or pool, without what is as usual: `5x5 stride 2`. */
    window?: string;
    /** Filters, or rows of a fully connected layer. */
    filters?: Kept;
    /** Columns of the weight matrix. */
    columns?: Kept;
    /** Stored weights. */
    weights?: number;
    /** Multiply-accumulates of a run, if the sizes are known: of the last one, or of one image where the model fixes its size. 0
     * where another layer computes it, or nothing is left to compute. */
    macs?: number;
    /** What computes it, as far as something does: such as `packed 4x8 simd128`. */
    kernel?: string;
}

/** What a model may take, and how it computes. What is left out is not bounded; a model beyond a limit is refused before it takes anything. */
export interface Options {
    /** Bytes, besides the file. */
    memory?: number;
    /** Multiply-accumulates of a run; elements that are read or written count as one each. */
    macs?: number;
    /** Results that are the same to the last bit in every build, on every machine and outside of browsers, for any batch; several times
     * slower. */
    reproducible?: boolean;
}



/**
 * An open model, with the memory that its runs need. Call `free()` when it is of no use any more; engines that can do so also free
 * what nobody refers to.
 */
export class Model {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * The likeliest classes of an image, `count` or five of them, the likeliest first. The image is cut, scaled and normalised as
     * the model's file says; alpha is dropped.
     */
    classify(image: ImageData, count?: number | null): Class[];
    /**
     * The network's nodes in the order in which they are computed, with what each keeps and what it takes.
     */
    layers(): Layer[];
    /**
     * Runs a network of one input and yields the elements of its first output. The batch follows from how many elements there are;
     * where the model leaves other sizes open, `shape` says them.
     */
    run(input: Float32Array | number[], shape?: ArrayLike<number>): Float32Array;
    /**
     * The extents of the input; `undefined` where the model leaves one open, such as the batch.
     */
    readonly inputShape: (number | undefined)[];
    /**
     * The names of the classes, in the order of the output; none, if the file has none.
     */
    readonly labels: string[];
}

/**
 * Opens a model: checks every byte of a `.sslm` file and copies it. Throws an `Error` that says what is wrong with it. Of a model
 * by a stranger, `options` bound what it may take.
 */
export function load(bytes: Uint8Array | ArrayBuffer, options?: Options): Model;

