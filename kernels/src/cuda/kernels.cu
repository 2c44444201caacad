// The kernels of the CUDA backend, in the part of CUDA C that is C as well: tests compile this very text for the CPU.
//
// Each kernel takes one structure `a`, whose declaration is made of the Rust one in kernels.rs and stands before this text. Tensors
// are row-major and of less than 2^31 numbers. Unless a kernel says otherwise, a thread computes the number of the output that it
// is the number of, and threads beyond the last one do nothing.

// Which one of all threads of a launch this one is.
#define THREAD (blockIdx.x * blockDim.x + threadIdx.x)

// Begins a kernel of `count` numbers; `i` is this thread's.
#define EACH(i, count) \
    unsigned i = THREAD; \
    if (i >= (unsigned)(count)) return;

#define NONE_LESS (-INFINITY)

// ---- Functions, numbered as in operators.rs; the first four are activations.

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

KERNEL(map, Map) {
    EACH(i, a.count)
    float x = a.x[i];
    float y;
    switch (a.function) {
    case 4: y = 1.0f / (1.0f + expf(-x)); break;
    case 5: y = tanhf(x); break;
    case 6: y = unit(a.p * x + a.q); break;
    case 7: y = x * unit(x * (1.0f / 6.0f) + 0.5f); break;
    case 8: y = x < 0.0f ? a.p * expm1f(x) : x; break;
    case 9: y = mish(x); break;
    case 10: y = sqrtf(x); break;
    default: y = activate(a.function, a.p, a.q, x);
    }
    a.out[i] = y;
}

// ---- Convolutions. A column of the lowered matrix is three numbers of `taps`: where the plane begins, and what is added to row and
// column of an output position, scaled by the strides, to get those of the input. Where taps scatter, strides divide instead.

// Position along an axis of `size` that a tap reads; negative or beyond if it reads nothing.
DEVICE int source(int out, int stride, int shift, int transposed) {
    if (!transposed) return out * stride + shift;
    int spread = out + shift;
    return spread >= 0 && spread % stride == 0 ? spread / stride : -1;
}

// The number that column `tap` contributes at output position (row, column) of an image.
DEVICE float look_up(const struct Conv *a, const float *image, const int *tap, int row, int column) {
    int h = source(row, a->stride_h, tap[1], a->transposed);
    int w = source(column, a->stride_w, tap[2], a->transposed);
    int inside = h >= 0 && h < a->height && w >= 0 && w < a->width;
    return inside ? image[tap[0] + h * a->width + w] : 0.0f;
}

// What constant channels add depends on the class of a position: which taps lie inside the input there.
DEVICE int class_of(const struct Conv *a, int position) {
    if (!a->border) return 0;
    return a->classes[position / a->out_width] * a->column_classes + a->classes[a->out_height + position % a->out_width];
}

// Where the numbers of the launch's first filter begin in the output of an image.
DEVICE unsigned start_of(const struct Conv *a, int image) {
    return ((unsigned)image * a->all_filters + a->first_filter) * a->positions;
}

// What becomes of the sum of number `i` of the output: plus bias, what constant channels add there, and the residual; then the
// activation. `filter` counts within the launch's group.
DEVICE void finish_one(const struct Conv *a, unsigned i, int filter, int kind, float sum) {
    filter += a->first_filter;
    sum += a->bias[filter];
    if (a->border) sum += a->border[filter * a->all_classes + kind];
    if (a->residual) sum += a->residual[i];
    a->out[i] = activate(a->activation, a->p, a->q, sum);
}

#define SAME(x) (x)

// Weights from panels of eight rows, each column by column, to [columns][filters], with columns `leading` apart.
#define UNPACK(name, type, as_type) \
    KERNEL(name, Unpack) { \
        EACH(i, a.filters * a.columns) \
        int column = i / a.filters, filter = i % a.filters; \
        int first = filter / 8 * 8; \
        int rows = min(8, a.filters - first); \
        float weight = a.panels[first * a.columns + column * rows + (filter - first)]; \
        ((type *)a.out)[column * a.leading + filter] = as_type(weight); \
    }
UNPACK(unpack, float, SAME)
UNPACK(unpack_half, HALF, to_half)

// One number for each thread, of any groups: `groups` says for each filter where its taps and weights begin, how many they are, and
// how far apart its weights lie.
KERNEL(conv_direct, Conv) {
    EACH(i, a.images * a.all_filters * a.positions)
    int position = i % a.positions, plane = i / a.positions;
    int filter = plane % a.all_filters, image = plane / a.all_filters;
    int row = position / a.out_width, column = position % a.out_width;
    const float *x = a.x + (unsigned)image * a.image_len;
    const int *group = a.groups + 4 * filter;
    const int *taps = a.taps + 3 * group[0];
    const float *weights = a.weights + group[2];
    float sum = 0.0f;
    for (int k = 0; k < group[1]; k++) {
        sum += weights[k * group[3]] * look_up(&a, x, taps + 3 * k, row, column);
    }
    finish_one(&a, i, filter, class_of(&a, position), sum);
}

// The lowered matrices of `images` images: [images][columns][positions], with columns `leading` and images `between` apart.
#define LOWER(name, type, as_type) \
    KERNEL(name, Conv) { \
        EACH(i, a.images * a.columns * a.positions) \
        int position = i % a.positions, line = i / a.positions; \
        int column = line % a.columns, image = line / a.columns; \
        const float *x = a.x + (unsigned)image * a.image_len; \
        float number = look_up(&a, x, a.taps + 3 * column, position / a.out_width, position % a.out_width); \
        ((type *)a.lowered)[(unsigned)image * a.between + column * a.leading + position] = as_type(number); \
    }
LOWER(lower, float, SAME)
LOWER(lower_half, HALF, to_half)

// Finishes the sums of one group that the output holds.
KERNEL(finish, Conv) {
    EACH(i, a.images * a.filters * a.positions)
    int position = i % a.positions, plane = i / a.positions;
    int filter = plane % a.filters, image = plane / a.filters;
    unsigned at = start_of(&a, image) + filter * a.positions + position;
    finish_one(&a, at, filter, class_of(&a, position), a.out[at]);
}

// One group's product without a lowered matrix in memory. A block computes 8 * HEIGHT filters x 128 positions of all images in a
// row, 16 columns at a time: its 32 x 8 threads gather these into shared memory, and each then multiplies HEIGHT filters by 4
// positions that lie 32 apart. Blocks lie along positions first, then along filters.
#define DEPTH 16
#define WIDTH 128
#define CONV_TILE(name, HEIGHT) \
    KERNEL(name, Conv) { \
        SHARED(float, rows, DEPTH * 8 * HEIGHT) \
        SHARED(float, positions, DEPTH * WIDTH) \
        int thread = threadIdx.y * 32 + threadIdx.x; \
        unsigned count = (unsigned)a.images * a.positions; \
        unsigned first = blockIdx.x * WIDTH; \
        int first_filter = blockIdx.y * 8 * HEIGHT; \
        /* The position that this thread gathers. */ \
        unsigned gathered = first + thread % WIDTH; \
        int row = 0, column = 0; \
        const float *x = a.x; \
        if (gathered < count) { \
            int position = gathered % a.positions; \
            row = position / a.out_width; \
            column = position % a.out_width; \
            x += gathered / a.positions * a.image_len; \
        } \
        float sums[HEIGHT][4]; \
        UNROLL for (int h = 0; h < HEIGHT; h++) \
            UNROLL for (int j = 0; j < 4; j++) sums[h][j] = 0.0f; \
        for (int start = 0; start < a.columns; start += DEPTH) { \
            for (int i = thread; i < DEPTH * 8 * HEIGHT; i += 256) { \
                int k = start + i / (8 * HEIGHT), filter = first_filter + i % (8 * HEIGHT); \
                int exists = k < a.columns && filter < a.filters; \
                rows[i] = exists ? a.weights[k * a.filters + filter] : 0.0f; \
            } \
            for (int i = thread; i < DEPTH * WIDTH; i += 256) { \
                int k = start + i / WIDTH; \
                int exists = k < a.columns && gathered < count; \
                positions[i] = exists ? look_up(&a, x, a.taps + 3 * k, row, column) : 0.0f; \
            } \
            __syncthreads(); \
            UNROLL_4 for (int k = 0; k < DEPTH; k++) { \
                UNROLL for (int h = 0; h < HEIGHT; h++) { \
                    float weight = rows[(k * 8 + threadIdx.y) * HEIGHT + h]; \
                    UNROLL for (int j = 0; j < 4; j++) sums[h][j] += weight * positions[k * WIDTH + 32 * j + threadIdx.x]; \
                } \
            } \
            __syncthreads(); \
        } \
        UNROLL for (int j = 0; j < 4; j++) { \
            unsigned n = first + 32 * j + threadIdx.x; \
            if (n < count) { \
                int position = n % a.positions, kind = class_of(&a, position); \
                unsigned start = start_of(&a, n / a.positions) + position; \
                /* By way of memory that is free now: registers have no numbers to loop over. */ \
                UNROLL for (int h = 0; h < HEIGHT; h++) positions[h * 256 + thread] = sums[h][j]; \
                ROLLED for (int h = 0; h < HEIGHT; h++) { \
                    int filter = first_filter + threadIdx.y * HEIGHT + h; \
                    if (filter >= a.filters) break; \
                    finish_one(&a, start + filter * a.positions, filter, kind, positions[h * 256 + thread]); \
                } \
            } \
        } \
    }
CONV_TILE(conv_tile_1, 1)
CONV_TILE(conv_tile_2, 2)
CONV_TILE(conv_tile_4, 4)
CONV_TILE(conv_tile_8, 8)

// ---- Windows.

KERNEL(pool, Pool) {
    EACH(i, a.planes * a.out_height * a.out_width)
    int column = i % a.out_width, row = i / a.out_width % a.out_height;
    const float *x = a.x + i / (a.out_width * a.out_height) * (a.height * a.width);
    int top = row * a.stride_h - a.pad_h, left = column * a.stride_w - a.pad_w;
    float all = a.reduce == 0 ? NONE_LESS : 0.0f;
    int rows = 0, columns = 0;
    for (int r = 0; r < a.kernel_h; r++) {
        int h = top + r * a.dilation_h;
        // Positions behind the padding's end belong to no mean.
        rows += a.reduce == 1 ? h >= 0 && h < a.height : h < a.padded_h;
        columns = 0;
        for (int c = 0; c < a.kernel_w; c++) {
            int w = left + c * a.dilation_w;
            columns += a.reduce == 1 ? w >= 0 && w < a.width : w < a.padded_w;
            if (h < 0 || h >= a.height || w < 0 || w >= a.width) continue;
            float v = x[h * a.width + w];
            // NaN loses against every number.
            all = a.reduce != 0 ? all + v : v > all ? v : all;
        }
    }
    if (a.reduce != 0) all /= fmaxf((float)rows * (float)columns, 1.0f);
    a.out[i] = activate(a.activation, a.p, a.q, all);
}

KERNEL(lrn, Lrn) {
    EACH(i, a.count)
    int channel = i / a.plane % a.channels;
    int before = (a.size - 1) / 2;
    int first = max(channel - before, 0), end = min(channel + a.size - before, a.channels);
    const float *x = a.x + (i - (unsigned)channel * a.plane);
    float squares = 0.0f;
    for (int c = first; c < end; c++) squares += x[c * a.plane] * x[c * a.plane];
    float base = a.bias + a.scale * squares;
    // A power that is a root, by roots: that is the usual one.
    float power = a.beta == 0.75f ? sqrtf(base) * sqrtf(sqrtf(base)) : powf(base, a.beta);
    a.out[i] = a.x[i] / power;
}

// ---- Number by number.

KERNEL(scale_shift, ScaleShift) {
    EACH(i, a.count)
    int channel = i / a.plane % a.channels;
    a.out[i] = a.scale[channel] * a.x[i] + a.shift[channel];
}

// Axes begin with the innermost one.
KERNEL(binary, Binary) {
    EACH(i, a.count)
    unsigned rest = i, at_x = 0, at_y = 0;
    UNROLL for (int axis = 0; axis < 8; axis++) {
        if (axis >= a.rank) break;
        unsigned position = rest % a.extent[axis];
        rest /= a.extent[axis];
        at_x += position * a.stride_x[axis];
        at_y += position * a.stride_y[axis];
    }
    float x = a.x[at_x], y = a.y[at_y], z;
    switch (a.operation) {
    case 0: z = x + y; break;
    case 1: z = x - y; break;
    case 2: z = x * y; break;
    case 3: z = x / y; break;
    case 4: z = powf(x, y); break;
    default: z = x < 0.0f ? x * y : x;
    }
    a.out[i] = a.relu ? fmaxf(z, 0.0f) : z;
}

// ---- Moving numbers.

// [outer][extent][inner] to [outer][positions][inner]. Position p is the old one from[2 p], mixed with from[2 p + 1] by its share
// unless that is negative; if both are, it is the number `share` everywhere.
KERNEL(remap, Remap) {
    EACH(i, a.count)
    unsigned inner = i % a.inner, position = i / a.inner % a.positions;
    const float *x = a.x + i / a.inner / a.positions * ((unsigned)a.extent * a.inner) + inner;
    int first = a.from[2 * position], second = a.from[2 * position + 1];
    float share = a.share[position];
    if (first < 0) a.out[i] = share;
    else if (second < 0) a.out[i] = x[(unsigned)first * a.inner];
    else a.out[i] = x[(unsigned)first * a.inner] * (1.0f - share) + x[(unsigned)second * a.inner] * share;
}

// A part of a concatenation, [outer][len], to its place in [outer][total].
KERNEL(insert, Insert) {
    EACH(i, a.count)
    a.out[i / a.len * a.total + a.offset + i % a.len] = a.x[i];
}

// Axes begin with the innermost one.
KERNEL(strided_copy, StridedCopy) {
    EACH(i, a.count)
    unsigned rest = i, at = 0;
    UNROLL for (int axis = 0; axis < 8; axis++) {
        if (axis >= a.rank) break;
        at += rest % a.extent[axis] * a.stride[axis];
        rest /= a.extent[axis];
    }
    a.out[i] = a.x[at];
}

// ---- Along an axis: [outer][extent][inner]. A block of 256 threads sees some neighbouring lines, one for each threadIdx.x; the
// threads along y take the numbers of a line in turns. Its launch says how many lines that are, always a power of two.

#define LINES \
    unsigned tiles = (a.inner + blockDim.x - 1) / blockDim.x; \
    unsigned outer = blockIdx.x / tiles, inner = blockIdx.x % tiles * blockDim.x + threadIdx.x; \
    int exists = inner < (unsigned)a.inner; \
    unsigned line = outer * (unsigned)a.extent * a.inner + inner; \
    unsigned slot = threadIdx.y * blockDim.x + threadIdx.x;

#define ALONG(i) for (int i = threadIdx.y; exists && i < a.extent; i += blockDim.y)

// Leaves in the first row of `shared` what `JOIN(mine, other)` makes of each line's values.
#define REDUCE(JOIN) \
    __syncthreads(); \
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) { \
        if (threadIdx.y < half) { \
            unsigned other = slot + half * blockDim.x; \
            JOIN \
        } \
        __syncthreads(); \
    }

// The sum of all threads of a line.
#define SUM(shared, mine, total) \
    shared[slot] = mine; \
    REDUCE(shared[slot] += shared[other];) \
    total = shared[threadIdx.x]; \
    __syncthreads();

#define LARGEST(shared, mine, total) \
    shared[slot] = mine; \
    REDUCE(shared[slot] = fmaxf(shared[slot], shared[other]);) \
    total = shared[threadIdx.x]; \
    __syncthreads();

KERNEL(mean, Line) {
    SHARED(double, shared, 256)
    LINES
    double sum = 0.0;
    ALONG(i) sum += a.x[line + (unsigned)i * a.inner];
    SUM(shared, sum, sum)
    if (exists && threadIdx.y == 0) a.out[outer * a.inner + inner] = (float)(sum / a.extent);
}

KERNEL(largest, Line) {
    SHARED(float, shared, 256)
    LINES
    float largest = NONE_LESS;
    ALONG(i) largest = fmaxf(largest, a.x[line + (unsigned)i * a.inner]);
    LARGEST(shared, largest, largest)
    if (exists && threadIdx.y == 0) a.out[outer * a.inner + inner] = largest;
}

// Whether `x` at position `i` comes before the best so far; a position of -1 says that there is none.
DEVICE int wins(float x, int i, float best, int position, int last) {
    if (i < 0 || x != x) return 0;
    if (position < 0 || x > best) return 1;
    return x == best && (last ? i > position : i < position);
}

KERNEL(arg_max, Line) {
    SHARED(float, bests, 256)
    SHARED(int, places, 256)
    LINES
    float best = 0.0f;
    int position = -1;
    ALONG(i) {
        float x = a.x[line + (unsigned)i * a.inner];
        if (wins(x, i, best, position, a.last)) {
            best = x;
            position = i;
        }
    }
    bests[slot] = best;
    places[slot] = position;
    REDUCE(if (wins(bests[other], places[other], bests[slot], places[slot], a.last)) {
        bests[slot] = bests[other];
        places[slot] = places[other];
    })
    // Where all are NaN, none is found.
    if (exists && threadIdx.y == 0) a.out[outer * a.inner + inner] = (float)max(places[slot], 0);
}

KERNEL(softmax, Line) {
    SHARED(float, shared, 256)
    LINES
    float largest = NONE_LESS;
    ALONG(i) largest = fmaxf(largest, a.x[line + (unsigned)i * a.inner]);
    LARGEST(shared, largest, largest)
    float sum = 0.0f;
    ALONG(i) {
        unsigned at = line + (unsigned)i * a.inner;
        a.out[at] = expf(a.x[at] - largest);
        sum += a.out[at];
    }
    SUM(shared, sum, sum)
    ALONG(i) a.out[line + (unsigned)i * a.inner] /= sum;
}

// Lines are planes here. In double: a variance far below the square of the mean survives.
KERNEL(instance_norm, Line) {
    SHARED(double, shared, 256)
    LINES
    double mean = 0.0, variance = 0.0;
    ALONG(i) mean += a.x[line + (unsigned)i * a.inner];
    SUM(shared, mean, mean)
    mean /= a.extent;
    ALONG(i) {
        double d = a.x[line + (unsigned)i * a.inner] - mean;
        variance += d * d;
    }
    SUM(shared, variance, variance)
    int channel = outer % a.channels;
    double factor = a.scale[channel] / sqrt(variance / a.extent + a.epsilon);
    ALONG(i) {
        unsigned at = line + (unsigned)i * a.inner;
        a.out[at] = (float)((a.x[at] - mean) * factor + a.shift[channel]);
    }
}
