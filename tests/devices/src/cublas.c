// Stands in for cuBLAS, behind the text of driver.c, by the same rules: the functions that the CUDA backend calls. All that it
// multiplies, a loop of emulate.c does.

enum status { NO_HANDLE = 1, ALLOC_FAILED = 3, WRONG_VALUE = 7, EXECUTION_FAILED = 13, UNSUPPORTED = 15 };

#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define BLAS_CALL() \
    CHECKS(CONTEXT, NO_HANDLE); \
    if ((failure = fate())) return EXECUTION_FAILED

struct blas {
    struct object object;
    struct stream *stream;
    void *workspace; // of the user
    size_t workspace_bytes;
};

int cublasCreate_v2(void **handle) {
    BLAS_CALL();
    // It allocates memory.
    if (prohibited()) return ALLOC_FAILED;
    *handle = create(BLAS, sizeof(struct blas));
    return SUCCESS;
}

// It synchronises the device, so its stream must be there.
int cublasDestroy_v2(void *handle) {
    CHECKS(CONTEXT, NO_HANDLE);
    failure = fate() || prohibited() ? EXECUTION_FAILED : SUCCESS;
    struct blas *blas = find(BLAS, handle);
    if (!blas) return refuse(NO_HANDLE, "no such handle");
    if (blas->stream && !find(STREAM, blas->stream)) failure = refuse(EXECUTION_FAILED, "its stream is gone");
    do_all_of_device();
    discard(blas);
    return failure;
}

// From then on the workspace is cuBLAS's own again.
int cublasSetStream_v2(void *handle, void *stream) {
    BLAS_CALL();
    struct blas *blas = find(BLAS, handle);
    if (!blas || !find(STREAM, stream)) return refuse(NO_HANDLE, "no such handle or stream");
    blas->stream = stream;
    blas->workspace = NULL;
    return SUCCESS;
}

// At a multiple of 256 bytes, else INVALID_VALUE. 16 KiB are enough for any product to work.
int cublasSetWorkspace_v2(void *handle, void *workspace, size_t bytes) {
    BLAS_CALL();
    struct blas *blas = find(BLAS, handle);
    if (!blas) return refuse(NO_HANDLE, "no such handle");
    if ((uintptr_t)workspace % 256) return refuse(WRONG_VALUE, "the workspace is not aligned");
    if (bytes < 16 << 10 || !lies_in_memory(workspace, bytes)) return refuse(WRONG_VALUE, "no memory, or too little of it");
    blas->workspace = workspace;
    blas->workspace_bytes = bytes;
    return SUCCESS;
}

// What `multiply` of emulate.c takes.
struct product {
    size_t sizes[4], of_a[3], of_b[3], of_c[3];
    const void *a, *b;
    void *c;
    int add, kind;
};

static void multiply_all(void *arguments) {
    typedef const size_t *layout;
    typedef void multiply(layout, const void *, layout, const void *, layout, void *, layout, int, int);
    const struct product *p = arguments;
    ((multiply *)emulated("multiply"))(p->sizes, p->a, p->of_a, p->b, p->of_b, p->c, p->of_c, p->add, p->kind);
}

// Whether `batch` matrices with elements of so many bytes lie in memory as `layout` says: transposed, leading dimension, stride.
static int fits(const void *matrix, size_t rows, size_t columns, size_t batch, const size_t *layout, size_t bytes) {
    size_t end = (batch - 1) * layout[2] + (columns - 1) * layout[1] + rows;
    return (uintptr_t)matrix % bytes == 0 && lies_in_memory(matrix, end * bytes);
}

// INVALID_VALUE if a size is negative, if a leading dimension is less than the rows of its matrix or than 1, or without alpha or beta;
// NOT_SUPPORTED for types that the table does not combine. Matrices C must not overlap. A capture holds the values of alpha and beta
// where these lie in the host's memory.
int cublasGemmStridedBatchedEx(void *handle, int transa, int transb, int m, int n, int k, const void *alpha, const void *a,
                               int type_a, int lda, long long stride_a, const void *b, int type_b, int ldb, long long stride_b,
                               const void *beta, void *c, int type_c, int ldc, long long stride_c, int batch, int compute,
                               int algorithm) {
    enum { FLOAT = 0, HALF = 2, COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77, ALGORITHM_DEFAULT = -1 };
    BLAS_CALL();
    struct blas *blas = find(BLAS, handle);
    struct stream *stream = blas ? find(STREAM, blas->stream) : NULL;
    if (!blas || !stream) return refuse(NO_HANDLE, "no such handle, or no stream that is still there");
    if (unusable(stream)) return EXECUTION_FAILED;
    // Captured without a workspace of the user, it may put allocations into the graph.
    if (stream->capture && !blas->workspace) return refuse(ALLOC_FAILED, "captured without a workspace");
    int workspace_lost = blas->workspace && !lies_in_memory(blas->workspace, blas->workspace_bytes);
    if (workspace_lost) return refuse(EXECUTION_FAILED, "the workspace is gone");
    if (transa < 0 || transa > 2 || transb < 0 || transb > 2) return refuse(WRONG_VALUE, "transpositions");
    if (m < 0 || n < 0 || k < 0 || batch < 0) return refuse(WRONG_VALUE, "%d products of %d x %d x %d", batch, m, n, k);
    int narrow = lda < MAX(1, transa ? k : m) || ldb < MAX(1, transb ? n : k) || ldc < MAX(1, m);
    if (narrow) return refuse(WRONG_VALUE, "leading dimensions %d, %d, %d", lda, ldb, ldc);
    if (!alpha || !beta) return refuse(WRONG_VALUE, "no alpha or no beta");
    int floats = type_a == FLOAT && (compute == COMPUTE_32F || compute == COMPUTE_32F_FAST_TF32);
    int halves = type_a == HALF && compute == COMPUTE_32F;
    if (type_b != type_a || type_c != FLOAT || !(floats || halves)) return refuse(UNSUPPORTED, "types");
    float factors[] = {*(const float *)alpha, *(const float *)beta};
    if (factors[0] != 1 || (factors[1] != 0 && factors[1] != 1) || algorithm != ALGORITHM_DEFAULT) {
        return refuse(UNSUPPORTED, "the stand-in has no such factors or algorithms");
    }
    if (!m || !n || !k || !batch) return refuse(UNSUPPORTED, "the stand-in has no empty products");
    struct product product = {
        .sizes = {m, n, k, batch},
        .of_a = {transa != 0, lda, stride_a},
        .of_b = {transb != 0, ldb, stride_b},
        .of_c = {0, ldc, stride_c},
        .a = a,
        .b = b,
        .c = c,
        .add = factors[1] != 0,
        .kind = halves ? 2 : compute == COMPUTE_32F_FAST_TF32,
    };
    size_t bytes = halves ? 2 : sizeof(float);
    int inside = fits(a, transa ? k : m, transa ? m : k, batch, product.of_a, bytes) &&
                 fits(b, transb ? n : k, transb ? k : n, batch, product.of_b, bytes) &&
                 fits(c, m, n, batch, product.of_c, sizeof(float));
    if (!inside) return refuse(WRONG_VALUE, "a matrix leaves its memory");
    int apart = stride_c >= (n - 1LL) * ldc + m, in_turns = stride_c >= m && ldc >= (batch - 1LL) * stride_c + m;
    if (batch > 1 && !apart && !in_turns) return refuse(WRONG_VALUE, "matrices C overlap");
    *(struct product *)append(end_of(stream), multiply_all, sizeof product) = product;
    return SUCCESS;
}
