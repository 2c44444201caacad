// ---- Convolutions. Columns of the lowered matrix are taps.

// What a tap adds to row and column of the input that a position of the output begins at, and with the start of its plane to the
// index of that element.
struct ALIGNED Tap {
    int plane, row, column, at;
};

// Weights of four filters.
struct ALIGNED Four {
    float of[4];
};

// Weights of two.
struct ALIGNED_8 Two {
    float of[2];
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

// Where a position begins: row and column of its image, and that element's index among those of all images.
struct Place {
    unsigned row, column, at;
};

DEVICE struct Place place_of(const struct ConvArguments *a, unsigned image, unsigned position) {
    struct Place p;
    p.row = position / a->out_width * (a->transposed ? 1 : a->stride_h);
    p.column = position % a->out_width * (a->transposed ? 1 : a->stride_w);
    p.at = image * a->image_len + p.row * a->width + p.column;
    return p;
}

// The element that a tap reads, or 0 outside of the image. Whatever overflows in 32 bits: what is read lies within the images.
DEVICE float look_up(const struct ConvArguments *a, struct Place p, struct Tap tap) {
    unsigned row = p.row + tap.row, column = p.column + tap.column;
    return row < (unsigned)a->height && column < (unsigned)a->width ? a->x[p.at + tap.at] : 0.0f;
}

// The same of a transposed convolution, in which a position begins at its own row and column, divided by the strides.
DEVICE float look_up_transposed(const struct ConvArguments *a, unsigned image, struct Place p, struct Tap tap) {
    int row = p.row + tap.row, column = p.column + tap.column;
    if (row < 0 || column < 0 || row % a->stride_h || column % a->stride_w) return 0.0f;
    row /= a->stride_h;
    column /= a->stride_w;
    return row < a->height && column < a->width ? a->x[image * a->image_len + tap.plane + row * a->width + column] : 0.0f;
}

// What constant channels add depends on the class of a position: which taps lie inside the input there.
DEVICE int class_of(const struct ConvArguments *a, int position) {
    if (!a->border) return 0;
    return a->classes[position / a->out_width] * a->column_classes + a->classes[a->out_height + position % a->out_width];
}

// What becomes of the sum at index `i` of the output: plus bias, what constant channels add there, and the residual; then the
// activation.
DEVICE void finish_one(const struct ConvArguments *a, unsigned i, int filter, int kind, float sum) {
    sum += a->bias[filter];
    if (a->border) sum += a->border[filter * a->all_classes + kind];
    if (a->residual) sum += a->residual[i];
    a->out[i] = activate(a->activation, a->p, a->q, sum);
}

#define SAME(x) (x)

// Weights from panels of eight rows, each column by column, to [columns][filters], with columns `leading` apart and zeros between, and
// behind them zeros up to `all_columns`.
#define UNPACK(name, type, as_type) \
    KERNEL(name, UnpackArguments) { \
        EACH(i, a.all_columns * a.leading) \
        int column = i / a.leading, filter = i % a.leading; \
        int first = filter / 8 * 8; \
        int rows = min(8, a.filters - first), exists = filter < a.filters && column < a.columns; \
        float weight = exists ? a.panels[first * a.columns + column * rows + (filter - first)] : 0.0f; \
        ((type *)a.out)[i] = as_type(weight); \
    }
UNPACK(unpack, float, SAME)
UNPACK(unpack_half, HALF, to_half)

// A thread for each element of the output; `parts` are single filters.
KERNEL(conv_direct, ConvArguments) {
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
    KERNEL(name, ConvArguments) { \
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

// A block for 16 * HEIGHT filters and 16 * WIDTH positions, by 32 x 8 threads, each of which multiplies HEIGHT filters by WIDTH
// positions. DEPTH columns at a time are gathered, while those before them are multiplied out of shared memory; their taps are there
// before, so that no gathering waits for two reads. Blocks lie as those of `conv_warp`. The columns are a multiple of DEPTH: the last
// ones may read and weigh nothing.
//
// A warp has 4 x 8 threads, and the block 4 x 2 warps. A thread's filters are four that lie side by side and, 16 behind the first of
// them, as many as are left; its positions are 8 apart, and four of them lie side by side in shared memory, so that both are read
// four at a time. Of 16 bytes, shared memory serves a whole warp at once only if each two lanes that are neighbours, or each two that
// are two apart, read the same: so rows differ in the first and the last bit of the lane, and columns in those between them.
#define DEPTH 8
#define FILTER(h) ((h) < 4 ? row + (h) : further_row + (h) - 4)
#define CONV_TILE(name, HEIGHT, WIDTH) \
    KERNEL(name, ConvArguments) { \
        enum { ROWS = 16 * HEIGHT, ACROSS = 16 * WIDTH, CHUNK = DEPTH * (ROWS + ACROSS) }; \
        /* Columns that are gathered side by side, and how many each thread gathers. */ \
        enum { BESIDE = 256 / ACROSS, GATHERED = DEPTH / BESIDE }; \
        SHARED(float, shared, 2 * CHUNK) \
        SHARED(struct Tap, taps, 2 * DEPTH) \
        const struct Part part = ((const struct Part *)a.parts)[blockIdx.y]; \
        int thread = threadIdx.y * 32 + threadIdx.x, chunks = part.columns / DEPTH; \
        const struct Tap *taps_left = (const struct Tap *)a.taps + part.tap + thread; \
        const float *weights_left = a.weights + part.weight + thread / (ROWS / 4) * part.leading + thread % (ROWS / 4) * 4; \
        int across = thread % ACROSS, beside = thread / ACROSS, loads_weights = thread < DEPTH * ROWS / 4; \
        int slot = across / 32 * 32 + across % 8 * 4 + across / 8 % 4; \
        unsigned count = (unsigned)a.images * a.positions, first = blockIdx.x * ACROSS; \
        unsigned there = min(first + across, count - 1); \
        struct Place place = place_of(&a, there / a.positions, there % a.positions); \
        /* Where this thread's filters and positions are in a block. */ \
        int lane_row = threadIdx.x % 2 + threadIdx.x / 16 * 2, lane_column = threadIdx.x / 2 % 8; \
        int row = threadIdx.y / 2 * 4 * HEIGHT + lane_row * 4; \
        int further_row = threadIdx.y / 2 * 4 * HEIGHT + 16 + lane_row * (HEIGHT - 4); \
        int column = threadIdx.y % 2 * 8 * WIDTH, slots = DEPTH * ROWS + column + lane_column * 4; \
        float gathered[GATHERED], sums[HEIGHT][WIDTH]; \
        struct Four weights; \
        struct Tap tap; \
        UNROLL for (int h = 0; h < HEIGHT; h++) \
            UNROLL for (int j = 0; j < WIDTH; j++) sums[h][j] = 0.0f; \
        if (thread < DEPTH && chunks > 0) taps[thread] = *taps_left; \
        /* Of each two places for chunks and taps, where the chunk before this one is, and this one's taps. */ \
        int before_at = 0, taps_at = 0; \
        for (int chunk = 0; chunk <= chunks; chunk++) { \
            /* The chunk before this one is stored, this one loaded, that one multiplied. */ \
            float *before = shared + before_at; \
            if (chunk > 0) { \
                float *own = before + (DEPTH * ROWS + beside * ACROSS + slot); \
                UNROLL for (int i = 0; i < GATHERED; i++) own[BESIDE * i * ACROSS] = gathered[i]; \
                if (loads_weights) ((struct Four *)before)[thread] = weights; \
            } \
            __syncthreads(); \
            int takes_tap = thread < DEPTH && chunk + 1 < chunks; \
            if (chunk < chunks) { \
                const struct Tap *own = taps + taps_at + beside; \
                UNROLL for (int i = 0; i < GATHERED; i++) gathered[i] = look_up(&a, place, own[BESIDE * i]); \
                if (loads_weights) weights = *(const struct Four *)weights_left; \
                if (takes_tap) tap = taps_left[DEPTH]; \
                weights_left += DEPTH * part.leading; \
                taps_left += DEPTH; \
            } \
            if (chunk > 0) { \
                const float *rows = before + row, *further_rows = before + further_row, *positions = before + slots; \
                UNROLL for (int k = 0; k < DEPTH; k++) { \
                    struct Four w[2], x[2]; \
                    w[0] = *(const struct Four *)(rows + k * ROWS); \
                    if (HEIGHT == 6) { \
                        struct Two two = *(const struct Two *)(further_rows + k * ROWS); \
                        w[1].of[0] = two.of[0], w[1].of[1] = two.of[1]; \
                    } \
                    if (HEIGHT == 8) w[1] = *(const struct Four *)(further_rows + k * ROWS); \
                    UNROLL for (int j = 0; j < WIDTH / 4; j++) x[j] = *(const struct Four *)(positions + k * ACROSS + j * 32); \
                    UNROLL for (int h = 0; h < HEIGHT; h++) \
                        UNROLL for (int j = 0; j < WIDTH; j++) sums[h][j] += w[h / 4].of[h % 4] * x[j / 4].of[j % 4]; \
                } \
            } \
            taps_at = DEPTH - taps_at; \
            if (takes_tap) taps[taps_at + thread] = tap; \
            if (chunk > 0) before_at = CHUNK - before_at; \
        } \
        __syncthreads(); \
        float bias[HEIGHT]; \
        UNROLL for (int h = 0; h < HEIGHT; h++) bias[h] = FILTER(h) < part.filters ? a.bias[part.filter + FILTER(h)] : 0.0f; \
        UNROLL for (int j = 0; j < WIDTH; j++) { \
            unsigned n = first + column + j / 4 * 32 + j % 4 * 8 + lane_column; \
            if (n < count) { \
                unsigned image = n / a.positions, position = n % a.positions; \
                unsigned at = (image * a.all_filters + part.filter) * a.positions + position; \
                int kind = class_of(&a, position); \
                /* What is read is read for all filters before anything is written, which could be the same memory. */ \
                UNROLL for (int h = 0; h < HEIGHT; h++) { \
                    if (FILTER(h) < part.filters) { \
                        sums[h][j] += bias[h]; \
                        if (a.border) sums[h][j] += a.border[(part.filter + FILTER(h)) * a.all_classes + kind]; \
                        if (a.residual) sums[h][j] += a.residual[at + (unsigned)FILTER(h) * a.positions]; \
                    } \
                } \
                if (a.activation == RELU) { \
                    UNROLL for (int h = 0; h < HEIGHT; h++) sums[h][j] = activate(RELU, 0.0f, 0.0f, sums[h][j]); \
                } else if (a.activation != NO_ACTIVATION) { \
                    /* By way of memory that is free now: registers have no indices to loop over. */ \
                    UNROLL for (int h = 0; h < HEIGHT; h++) shared[h * 256 + thread] = sums[h][j]; \
                    ROLLED for (int h = 0; h < HEIGHT; h++) { \
                        float *sum = shared + (h * 256 + thread); \
                        *sum = activate(a.activation, a.p, a.q, *sum); \
                    } \
                    UNROLL for (int h = 0; h < HEIGHT; h++) sums[h][j] = shared[h * 256 + thread]; \
                } \
                UNROLL for (int h = 0; h < HEIGHT; h++) { \
                    if (FILTER(h) < part.filters) a.out[at + (unsigned)FILTER(h) * a.positions] = sums[h][j]; \
                } \
            } \
        } \
    }
CONV_TILE(conv_tile_64x64, 4, 4)
CONV_TILE(conv_tile_64x128, 4, 8)
CONV_TILE(conv_tile_96x128, 6, 8)
CONV_TILE(conv_tile_128x64, 8, 4)
CONV_TILE(conv_tile_128x128, 8, 8)

// The lowered matrix of all images, [columns][images][positions], with columns `leading` apart. A thread gathers LOWERED columns of a
// position (as conv.rs has it); blocks lie along positions of all images first, then along columns.
#define LOWERED 16
#define LOWER(name, type, as_type) \
    KERNEL(name, ConvArguments) { \
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
KERNEL(finish, ConvArguments) {
    EACH(i, a.images * a.filters * a.positions)
    int position = i % a.positions, plane = i / a.positions;
    int filter = plane % a.filters;
    unsigned image = plane / a.filters;
    float sum = a.sums[image * a.sums_of_image + (unsigned)filter * a.sums_of_filter + position];
    filter += a.first_filter;
    finish_one(&a, (image * a.all_filters + filter) * a.positions + position, filter, class_of(&a, position), sum);
}

