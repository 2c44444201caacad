// Runs CUDA kernels on a CPU: what stands before their source instead of kernels/src/cuda/prelude.cu. The threads of a block are
// fibers that take turns on one stack each; a barrier is where one hands over to the next.

#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>

#define THREADS 1024
#define STACK (32 << 10)
#define SHARED_BYTES (48 << 10)

struct index {
    unsigned x, y, z;
};

enum state { WAITS, FINISHED };

struct fiber {
    struct index index;
    enum state state;
    size_t shared_used;
    jmp_buf here;
};

// What launches need, one after the other. Each thread of the test program has one of its own, of zeros before the first.
struct launch {
    void (*kernel)(const void *);
    const void *arguments;
    struct index grid, size, block;
    struct fiber *current;
    int overflow;
    jmp_buf scheduler;
    ucontext_t starter;
    unsigned alive; // so many fibers wait for a block
    _Alignas(16) char shared[SHARED_BYTES];
    struct fiber fibers[THREADS];
    _Alignas(16) char stacks[THREADS][STACK];
};

static __thread struct launch *now;

#define threadIdx (now->current->index)
#define blockIdx (now->block)
#define blockDim (now->size)
#define gridDim (now->grid)
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define __syncthreads() hand_over(WAITS)

#define DEVICE static inline __attribute__((unused))
#define CALLED static __attribute__((unused))
#define KERNEL(name, Arguments) \
    const size_t name##_bytes = sizeof(struct Arguments); \
    static void name##_thread(const struct Arguments a); \
    void name(const void *arguments) { name##_thread(*(const struct Arguments *)arguments); } \
    static void name##_thread(const struct Arguments a)
#define HALF _Float16
#define to_half(x) ((_Float16)(x))
#define ALIGNED __attribute__((aligned(16)))
#define ALIGNED_8 __attribute__((aligned(8)))
#define UNROLL
#define UNROLL_4
#define ROLLED
#define SHARED(type, name, count) type *name = shared_memory(sizeof(type) * (count));

static __attribute__((noinline)) void hand_over(enum state state) {
    now->current->state = state;
    if (_setjmp(now->current->here) == 0) _longjmp(now->scheduler, 1);
}

// All threads ask in the same order, and so get the same addresses.
static __attribute__((noinline)) void *shared_memory(size_t bytes) {
    struct fiber *fiber = now->current;
    char *at = now->shared + fiber->shared_used;
    fiber->shared_used += (bytes + 15) / 16 * 16;
    if (fiber->shared_used > SHARED_BYTES) {
        now->overflow = 1;
        return now->shared;
    }
    return at;
}

static void live(void) {
    struct launch *l = now;
    for (;;) {
        hand_over(FINISHED); // until the next block, of this launch or another one
        l->kernel(l->arguments);
    }
}

// Lets a fiber run until it waits or is finished.
static void resume(struct launch *l, struct fiber *fiber) {
    l->current = fiber;
    if (_setjmp(l->scheduler) == 0) _longjmp(fiber->here, 1);
}

static void start(struct launch *l, int i) {
    static __thread ucontext_t fresh;
    l->current = &l->fibers[i];
    getcontext(&fresh);
    fresh.uc_stack.ss_sp = l->stacks[i];
    fresh.uc_stack.ss_size = STACK;
    fresh.uc_link = NULL;
    makecontext(&fresh, live, 0);
    if (_setjmp(l->scheduler) == 0) swapcontext(&l->starter, &fresh);
}

size_t launch_bytes(void) { return sizeof(struct launch); }

// Runs a kernel block by block, the threads of each in ascending or descending order. Yields 0, or 1 if some threads of a block ended
// where others waited for them, 2 if it has too much shared memory, 3 if its blocks have too many threads.
int emulate(struct launch *l, void (*kernel)(const void *), const void *arguments, const unsigned *sizes, int descending) {
    unsigned threads = sizes[2] * sizes[3];
    if (threads > THREADS) return 3;
    l->kernel = kernel;
    l->arguments = arguments;
    l->grid = (struct index){sizes[0], sizes[1], 1};
    l->size = (struct index){sizes[2], sizes[3], 1};
    l->overflow = 0;
    now = l;
    for (unsigned i = 0; i < threads; i++) {
        l->fibers[i].index = (struct index){i % sizes[2], i / sizes[2], 0};
        if (i >= l->alive) start(l, i);
    }
    l->alive = max(l->alive, threads);
    int error = 0;
    for (unsigned block = 0; block < sizes[0] * sizes[1] && !error; block++) {
        l->block = (struct index){block % sizes[0], block / sizes[0], 0};
        memset(l->shared, 0xff, SHARED_BYTES); // NaN
        for (unsigned i = 0; i < threads; i++) l->fibers[i].shared_used = 0;
        unsigned finished = 0;
        while (finished < threads && !error) {
            finished = 0;
            for (unsigned i = 0; i < threads; i++) {
                struct fiber *fiber = &l->fibers[descending ? threads - 1 - i : i];
                resume(l, fiber);
                finished += fiber->state == FINISHED;
            }
            if (finished && finished < threads) error = 1;
        }
        if (l->overflow) error = 2;
    }
    if (error) l->alive = 0; // some may wait within the kernel
    now = NULL;
    return error;
}

// A number with the 10 bits behind the leading one that tensor cores read, rounded to nearest.
static float tf32(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7f800000) != 0x7f800000) bits = (bits + 0x1000) & ~0x1fffu;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

// As cublasGemmStridedBatchedEx with factors 1 and `add`: all matrices column by column, sums in double. `sizes` are m, n, k and the
// count of products; a matrix is whether it is transposed, its leading dimension, and the distance to the next.
// Element `i` of a factor: a float, one that is rounded, or half a float's memory.
static double factor(const void *matrix, size_t i, int kind) {
    switch (kind) {
    case 0: return ((const float *)matrix)[i];
    case 1: return tf32(((const float *)matrix)[i]);
    default: return (double)((const _Float16 *)matrix)[i];
    }
}

void multiply(const size_t *sizes, const void *a, const size_t *of_a, const void *b, const size_t *of_b, float *c,
              const size_t *of_c, int add, int kind) {
    for (size_t batch = 0; batch < sizes[3]; batch++) {
        size_t first_a = batch * of_a[2], first_b = batch * of_b[2];
        for (size_t j = 0; j < sizes[1]; j++) {
            for (size_t i = 0; i < sizes[0]; i++) {
                float *out = &c[batch * of_c[2] + j * of_c[1] + i];
                double sum = add ? *out : 0.0;
                for (size_t k = 0; k < sizes[2]; k++) {
                    double x = factor(a, first_a + (of_a[0] ? i * of_a[1] + k : k * of_a[1] + i), kind);
                    double y = factor(b, first_b + (of_b[0] ? k * of_b[1] + j : j * of_b[1] + k), kind);
                    sum += x * y;
                }
                *out = (float)sum;
            }
        }
    }
}

