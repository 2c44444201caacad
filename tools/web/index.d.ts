import type { load } from './sslm_web.js';
export type { Class, Kept, Layer, Model, Options } from './sslm_web.js';

/**
 * `plain` runs everywhere; `simd` has vectors; `relaxed` also rounds products and sums at once where the machine can, so that it is faster
 * there, and its last bits differ from machine to machine.
 */
export type Build = 'plain' | 'simd' | 'relaxed';

/** Whether this engine can run a build. */
export function isSupported(build: Build): boolean;

/** Loads a build: `simd` where the engine can run it, or else `plain`, unless another is asked for. */
export function init(build?: Build): Promise<{
    /** Which one it is. */
    build: Build;
    /** Opens a model. */
    load: typeof load;
}>;
