// What all kernels share. It stands before their pieces of source.

// Which one of all threads of a launch this one is.
#define THREAD (blockIdx.x * blockDim.x + threadIdx.x)

// Begins a kernel of `count` elements; `i` is this thread's.
#define EACH(i, count) \
    unsigned i = THREAD; \
    if (i >= (unsigned)(count)) return;

#define NONE_LESS (-INFINITY)

// The larger one; NaN if either is.
DEVICE float maximum(float a, float b) { return b > a || b != b ? b : a; }

