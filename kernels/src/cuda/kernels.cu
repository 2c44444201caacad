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

// ---- Element by element. The functions stand before this text: `activate`, `unary` and `binary_of`, by their codes.

KERNEL(map, Map) {
    EACH(i, a.count)
    a.out[i] = unary(a.function, a.p, a.q, a.x[i]);
}

// ---- Convolutions. Columns of the lowered matrix are taps.

// What a tap adds to row and column of the input that a position of the output begins at, and with the start of its plane to the
// place of that number.
struct ALIGNED Tap {
    int plane, row, column, at;
};

// Weights of four filters.
struct ALIGNED Four {
    float of[4];
};

// Some filters that follow each other in one group, for a block or a thread.
struct Part {
    // The first one, of all, and how many there are.
    int filter, filters;
    // The group's columns, and where their taps begin.
    int columns, tap;
    // Where the first column's weights begin, and how far apart those of columns lie. Behind the last filter, weights can be read.
    int weight, leading;
};

// Where a position begins: row and column of its image, and that number's place among those of all images.
struct Place {
    unsigned row, column, at;
};

DEVICE struct Place place_of(const struct Conv *a, unsigned image, unsigned position) {
    struct Place p;
    p.row = position / a->out_width * (a->transposed ? 1 : a->stride_h);
    p.column = position % a->out_width * (a->transposed ? 1 : a->stride_w);
    p.at = image * a->image_len + p.row * a->width + p.column;
    return p;
}

// The number that a tap reads, or 0 outside of the image. Whatever overflows in 32 bits: what is read lies within the images.
DEVICE float look_up(const struct Conv *a, struct Place p, struct Tap tap) {
    unsigned row = p.row + tap.row, column = p.column + tap.column;
    return row < (unsigned)a->height && column < (unsigned)a->width ? a->x[p.at + tap.at] : 0.0f;
}

// The same of a transposed convolution, in which a position begins at its own row and column, divided by the strides.
DEVICE float look_up_transposed(const struct Conv *a, unsigned image, struct Place p, struct Tap tap) {
    int row = p.row + tap.row, column = p.column + tap.column;
    if (row < 0 || column < 0 || row % a->stride_h || column % a->stride_w) return 0.0f;
    row /= a->stride_h;
    column /= a->stride_w;
    return row < a->height && column < a->width ? a->x[image * a->image_len + tap.plane + row * a->width + column] : 0.0f;
}

// What constant channels add depends on the class of a position: which taps lie inside the input there.
DEVICE int class_of(const struct Conv *a, int position) {
    if (!a->border) return 0;
    return a->classes[position / a->out_width] * a->column_classes + a->classes[a->out_height + position % a->out_width];
}

// What becomes of the sum of number `i` of the output: plus bias, what constant channels add there, and the residual; then the
// activation.
DEVICE void finish_one(const struct Conv *a, unsigned i, int filter, int kind, float sum) {
    sum += a->bias[filter];
    if (a->border) sum += a->border[filter * a->all_classes + kind];
    if (a->residual) sum += a->residual[i];
    a->out[i] = activate(a->activation, a->p, a->q, sum);
}

#define SAME(x) (x)

// Weights from panels of eight rows, each column by column, to [columns][filters], with columns `leading` apart and zeros between, and
// behind them zeros up to `all_columns`.
#define UNPACK(name, type, as_type) \
    KERNEL(name, Unpack) { \
        EACH(i, a.all_columns * a.leading) \
        int column = i / a.leading, filter = i % a.leading; \
        int first = filter / 8 * 8; \
        int rows = min(8, a.filters - first), exists = filter < a.filters && column < a.columns; \
        float weight = exists ? a.panels[first * a.columns + column * rows + (filter - first)] : 0.0f; \
        ((type *)a.out)[i] = as_type(weight); \
    }
UNPACK(unpack, float, SAME)
UNPACK(unpack_half, HALF, to_half)

// A thread for each number of the output; `parts` are single filters.
KERNEL(conv_direct, Conv) {
    EACH(i, a.images * a.all_filters * a.positions)
    int position = i % a.positions, plane = i / a.positions;
    int filter = plane % a.all_filters, image = plane / a.all_filters;
    const struct Part part = ((const struct Part *)a.parts)[filter];
    const struct Tap *taps = (const struct Tap *)a.taps + part.tap;
    const float *weights = a.weights + part.weight;
    struct Place place = place_of(&a, image, position);
    float sum = 0.0f;
    for (int k = 0; k < part.columns; k++) {
        float x = a.transposed ? look_up_transposed(&a, image, place, taps[k]) : look_up(&a, place, taps[k]);
        sum += weights[k * part.leading] * x;
    }
    finish_one(&a, i, filter, class_of(&a, position), sum);
}

// A thread for one position and FILTERS filters. Of the eight warps of a block, `turns` share their 32 positions and take the columns
// in turns; what they have is added up at the end. Blocks lie along positions of all images first, then along `parts`.
#define CONV_WARP(name, FILTERS) \
    KERNEL(name, Conv) { \
        SHARED(float, shared, FILTERS * 256) \
        const struct Part part = ((const struct Part *)a.parts)[blockIdx.y]; \
        const struct Tap *taps = (const struct Tap *)a.taps + part.tap; \
        unsigned count = (unsigned)a.images * a.positions; \
        int turn = threadIdx.y % a.turns, tile = threadIdx.y / a.turns; \
        unsigned n = (blockIdx.x * (8 / a.turns) + tile) * 32 + threadIdx.x; \
        unsigned there = n < count ? n : count - 1; \
        unsigned image = there / a.positions, position = there % a.positions; \
        struct Place place = place_of(&a, image, position); \
        float sums[FILTERS]; \
        UNROLL for (int f = 0; f < FILTERS; f++) sums[f] = 0.0f; \
        UNROLL_4 for (int k = turn; k < part.columns; k += a.turns) { \
            const struct Four *weights = (const struct Four *)(a.weights + part.weight + k * part.leading); \
            float x = look_up(&a, place, taps[k]); \
            UNROLL for (int f = 0; f < FILTERS; f += 4) { \
                struct Four four = weights[f / 4]; \
                UNROLL for (int i = 0; i < 4; i++) sums[f + i] += four.of[i] * x; \
            } \
        } \
        UNROLL for (int f = 0; f < FILTERS; f++) shared[(f * 8 + threadIdx.y) * 32 + threadIdx.x] = sums[f]; \
        __syncthreads(); \
        if (n >= count) return; \
        int kind = class_of(&a, position); \
        for (int f = turn; f < min(FILTERS, part.filters); f += a.turns) { \
            float sum = 0.0f; \
            for (int i = 0; i < a.turns; i++) sum += shared[(f * 8 + tile * a.turns + i) * 32 + threadIdx.x]; \
            unsigned plane = image * a.all_filters + part.filter + f; \
            finish_one(&a, plane * a.positions + position, part.filter + f, kind, sum); \
        } \
    }
CONV_WARP(conv_warp_8, 8)
CONV_WARP(conv_warp_16, 16)
CONV_WARP(conv_warp_32, 32)

// A block for 32 * WIDTH positions and 8 * HEIGHT filters, by 32 x 8 threads. DEPTH columns at a time are gathered into shared memory
// while those before them are multiplied there: by each thread HEIGHT filters and WIDTH positions that lie 32 apart. Warps without
// filters only gather. Blocks lie as those of `conv_warp`. The columns are a multiple of DEPTH: the last ones may read and weigh nothing.
#define DEPTH 8
#define CONV_TILE(name, HEIGHT, WIDTH) \
    KERNEL(name, Conv) { \
        enum { ROWS = 8 * HEIGHT, ACROSS = 32 * WIDTH, CHUNK = DEPTH * (ROWS + ACROSS) }; \
        /* Columns that are gathered side by side, and what each thread then loads of a chunk. */ \
        enum { BESIDE = 256 / ACROSS, NUMBERS = DEPTH / BESIDE, FOURS = (DEPTH * ROWS / 4 + 255) / 256 }; \
        SHARED(float, shared, 2 * CHUNK) \
        const struct Part part = ((const struct Part *)a.parts)[blockIdx.y]; \
        int thread = threadIdx.y * 32 + threadIdx.x, multiplies = (int)threadIdx.y * HEIGHT < part.filters; \
        unsigned count = (unsigned)a.images * a.positions, first = blockIdx.x * ACROSS; \
        unsigned there = min(first + thread % ACROSS, count - 1); \
        const struct Tap *taps = (const struct Tap *)a.taps + part.tap + thread / ACROSS; \
        struct Place place = place_of(&a, there / a.positions, there % a.positions); \
        float sums[HEIGHT][WIDTH]; \
        UNROLL for (int h = 0; h < HEIGHT; h++) \
            UNROLL for (int j = 0; j < WIDTH; j++) sums[h][j] = 0.0f; \
        for (int start = 0; start < part.columns + DEPTH; start += DEPTH) { \
            float *filled = shared + start / DEPTH % 2 * CHUNK, *ready = shared + (start / DEPTH + 1) % 2 * CHUNK; \
            float numbers[NUMBERS]; \
            struct Four weights[FOURS]; \
            int more = start < part.columns; \
            if (more) { \
                UNROLL for (int i = 0; i < NUMBERS; i++) numbers[i] = look_up(&a, place, taps[start + BESIDE * i]); \
                UNROLL for (int i = 0; i < FOURS; i++) { \
                    int four = 256 * i + thread, k = start + four / (ROWS / 4); \
                    const float *row = a.weights + part.weight + k * part.leading; \
                    if (four < DEPTH * ROWS / 4) weights[i] = ((const struct Four *)row)[four % (ROWS / 4)]; \
                } \
            } \
            if (multiplies && start > 0) { \
                const float *rows = ready + threadIdx.y * HEIGHT, *positions = ready + DEPTH * ROWS + threadIdx.x; \
                UNROLL for (int k = 0; k < DEPTH; k++) \
                    UNROLL for (int h = 0; h < HEIGHT; h++) \
                        UNROLL for (int j = 0; j < WIDTH; j++) sums[h][j] += rows[k * ROWS + h] * positions[k * ACROSS + 32 * j]; \
            } \
            if (more) { \
                float *position = filled + DEPTH * ROWS + thread; \
                UNROLL for (int i = 0; i < NUMBERS; i++) position[i * 256] = numbers[i]; \
                UNROLL for (int i = 0; i < FOURS; i++) { \
                    if (256 * i + thread < DEPTH * ROWS / 4) ((struct Four *)filled)[256 * i + thread] = weights[i]; \
                } \
            } \
            __syncthreads(); \
        } \
        UNROLL for (int j = 0; j < WIDTH; j++) { \
            unsigned n = first + 32 * j + threadIdx.x; \
            if (n < count) { \
                unsigned image = n / a.positions, position = n % a.positions; \
                int kind = class_of(&a, position); \
                /* By way of memory that is free now: registers have no numbers to loop over. */ \
                UNROLL for (int h = 0; h < HEIGHT; h++) shared[h * 256 + thread] = sums[h][j]; \
                ROLLED for (int h = 0; h < HEIGHT; h++) { \
                    int filter = threadIdx.y * HEIGHT + h; \
                    if (filter >= part.filters) break; \
                    unsigned plane = image * a.all_filters + part.filter + filter; \
                    finish_one(&a, plane * a.positions + position, part.filter + filter, kind, shared[h * 256 + thread]); \
                } \
            } \
        } \
    }
CONV_TILE(conv_tile_64, 8, 8)
CONV_TILE(conv_tile_128, 16, 4)

// The lowered matrix of all images, [columns][images][positions], with columns `leading` apart. A thread gathers LOWERED columns of a
// position (as conv.rs has it); blocks lie along positions of all images first, then along columns.
#define LOWERED 16
#define LOWER(name, type, as_type) \
    KERNEL(name, Conv) { \
        EACH(n, a.images * a.positions) \
        unsigned image = n / a.positions; \
        const struct Tap *taps = (const struct Tap *)a.taps; \
        struct Place place = place_of(&a, image, n % a.positions); \
        type *lowered = (type *)a.lowered + n; \
        for (int first = blockIdx.y * LOWERED; first < a.columns; first += gridDim.y * LOWERED) { \
            UNROLL_4 for (int k = first; k < min(first + LOWERED, a.columns); k++) { \
                float x = a.transposed ? look_up_transposed(&a, image, place, taps[k]) : look_up(&a, place, taps[k]); \
                lowered[(unsigned)k * a.leading] = as_type(x); \
            } \
        } \
    }
LOWER(lower, float, SAME)
LOWER(lower_half, HALF, to_half)

// Finishes the sums of one group.
KERNEL(finish, Conv) {
    EACH(i, a.images * a.filters * a.positions)
    int position = i % a.positions, plane = i / a.positions;
    int filter = plane % a.filters;
    unsigned image = plane / a.filters;
    float sum = a.sums[image * a.sums_of_image + (unsigned)filter * a.sums_of_filter + position];
    filter += a.first_filter;
    finish_one(&a, (image * a.all_filters + filter) * a.positions + position, filter, class_of(&a, position), sum);
}

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

// ---- Element by element, of several tensors.

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
    float z = binary_of(a.function, a.x[at_x], a.y[at_y]);
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
