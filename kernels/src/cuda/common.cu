// What all kernels share. It stands before their pieces of source.

// Which one of all threads of a launch this one is.
#define THREAD (blockIdx.x * blockDim.x + threadIdx.x)

// Begins a kernel of `count` elements; `i` is this thread's.
#define EACH(i, count) \
    unsigned i = THREAD; \
    if (i >= (unsigned)(count)) return;

#define NONE_LESS (-INFINITY)

// ---- Functions by their codes, as elementwise.rs has them; the first four are activations.

DEVICE float activate(int function, float p, float q, float x) {
    switch (function) {
    case 1: return fmaxf(x, 0.0f);
    case 2: return fminf(fmaxf(x, p), q);
    case 3: return x < 0.0f ? p * x : x;
    default: return x;
    }
}

// `x` between 0 and 1; NaN stays.
DEVICE float unit(float x) { return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x; }

DEVICE float mish(float x) {
    // The tangent of ln(1 + e^x) is (e^2 + 2 e) / (e^2 + 2 e + 2), which is 1 to the last bit from 20 on.
    float e = expf(x > 20.0f ? 20.0f : x);
    float part = e * (e + 2.0f);
    return x * (part / (part + 2.0f));
}

