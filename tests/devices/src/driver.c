// Stands in for the NVIDIA driver: the functions of it that the CUDA backend calls, by their names, on the emulated kernels of
// libemulated.so. It is written from NVIDIA's documentation of the driver API, whose rules comments give in our words, and not from
// what the backend does.
//
// A call that the documentation does not allow is refused, and said on stderr in a line that begins with "stand-in:"; so is, at
// the end of the process, what nobody gave back. Work is done as late as is allowed: when somebody waits for it, or frees memory.
//
// Environment: STAND_IN_VERSION (of the driver; 12080), STAND_IN_CAPABILITY (of the device; 70), STAND_IN_MEMORY (its bytes), and
// STAND_IN_FAIL, "function:n:error": the n-th call since cuInit of what begins with this name fails by that number; n = 0 stands
// for the n-th call after the n-th cuInit.

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define ERRORS(E) \
    E(SUCCESS, 0, "no error") \
    E(INVALID_VALUE, 1, "invalid argument") \
    E(OUT_OF_MEMORY, 2, "out of memory") \
    E(NOT_INITIALIZED, 3, "initialization error") \
    E(NO_DEVICE, 100, "no CUDA-capable device is detected") \
    E(INVALID_DEVICE, 101, "invalid device ordinal") \
    E(INVALID_IMAGE, 200, "device kernel image is invalid") \
    E(INVALID_CONTEXT, 201, "invalid device context") \
    E(NO_BINARY_FOR_GPU, 209, "no kernel image is available for execution on the device") \
    E(INVALID_PTX, 218, "a PTX JIT compilation failed") \
    E(UNSUPPORTED_PTX_VERSION, 222, "the provided PTX was compiled with an unsupported toolchain.") \
    E(INVALID_HANDLE, 400, "invalid resource handle") \
    E(ILLEGAL_STATE, 401, "the operation cannot be performed in the present state") \
    E(NOT_FOUND, 500, "named symbol not found") \
    E(NOT_READY, 600, "device not ready") \
    E(LAUNCH_OUT_OF_RESOURCES, 701, "too many resources requested for launch") \
    E(CONTEXT_IS_DESTROYED, 709, "context is destroyed") \
    E(LAUNCH_FAILED, 719, "unspecified launch failure") \
    E(NOT_SUPPORTED, 801, "operation not supported") \
    E(STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing") \
    E(STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture") \
    E(STREAM_CAPTURE_WRONG_THREAD, 908, "attempt to terminate a thread-local capture sequence from another thread") \
    E(UNKNOWN, 999, "unknown error")

#define NUMBER(name, number, text) name = number,
enum error { ERRORS(NUMBER) };

// ---- Calls: one at a time, each with the checks that all functions have in common.

enum needs { NOTHING, INIT, CONTEXT };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *function; // that was called
static int inits, calls, calls_to_fail;
static int context, retained;  // the primary context, whose address is its handle, and how often it is held
static __thread void *current; // the context of a thread
static int broken;             // the error after which nothing works any more

static void leave(char *locked) {
    (void)locked;
    pthread_mutex_unlock(&lock);
}

__attribute__((format(printf, 2, 3))) static int refuse(int error, const char *why, ...) {
    va_list arguments;
    va_start(arguments, why);
    fprintf(stderr, "stand-in: %s: ", function);
    vfprintf(stderr, why, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    return error;
}

static size_t setting(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

// NOT_INITIALIZED before cuInit; INVALID_CONTEXT in a thread without a context; CONTEXT_IS_DESTROYED in one whose context is gone.
static int not_ready_for(enum needs needs, const char *name) {
    function = name;
    if (needs >= INIT && !inits) return refuse(NOT_INITIALIZED, "cuInit comes first");
    if (needs == CONTEXT && !current) return refuse(INVALID_CONTEXT, "this thread has no context");
    if (needs == CONTEXT && !retained) return refuse(CONTEXT_IS_DESTROYED, "the thread's context was released");
    return SUCCESS;
}

// What this call was chosen to fail with. After LAUNCH_FAILED all else fails the same way.
static int fate(void) {
    char name[64];
    int number, error;
    calls++;
    const char *text = getenv("STAND_IN_FAIL");
    if (broken || !text || sscanf(text, "%63[^:]:%d:%d", name, &number, &error) != 3) return broken;
    if (strncmp(function, name, strlen(name)) || ++calls_to_fail != (number ? number : inits)) return SUCCESS;
    if (error == LAUNCH_FAILED) broken = error;
    return error;
}

#define CHECKS(needs, when_not_ready) \
    pthread_mutex_lock(&lock); \
    __attribute__((cleanup(leave), unused)) char locked; \
    int failure = not_ready_for(needs, __func__); \
    if (failure) return when_not_ready

// A call that does nothing when it fails.
#define CALL(needs) \
    CHECKS(needs, failure); \
    if ((failure = fate())) return failure

// A call that gives something back, even if it fails: its error may be that of work that was started before.
#define GIVES_BACK(needs) \
    CHECKS(needs, failure); \
    failure = fate()

// ---- Objects: what a program has a handle of, which is its address.

enum kind { MEMORY, LOCKED, STREAM, EVENT, MODULE, FUNCTION, GRAPH, EXECUTABLE, BLAS, KINDS };

struct object {
    enum kind kind;
    struct object *next;
};

static struct object *objects;

static void *create(enum kind kind, size_t bytes) {
    struct object *object = calloc(1, bytes);
    *object = (struct object){kind, objects};
    return objects = object;
}

static void *find(enum kind kind, const void *handle) {
    struct object *object = objects;
    while (object && (object->kind != kind || object != handle)) object = object->next;
    return object;
}

static void discard(void *handle) {
    struct object **at = &objects;
    while (*at != handle) at = &(*at)->next;
    *at = (*at)->next;
    free(handle);
}

__attribute__((destructor)) static void report(void) {
    static const char *const NAMES[KINDS] = {"memory",   "locked memory", "stream",     "event", "module",
                                              "function", "graph",         "executable", "cuBLAS"};
    for (struct object *object = objects; object; object = object->next) {
        if (object->kind != FUNCTION) fprintf(stderr, "stand-in: left: %s\n", NAMES[object->kind]);
    }
    for (int i = 0; i < retained; i++) fprintf(stderr, "stand-in: left: context\n");
    if (inits) fprintf(stderr, "stand-in was called %d times since cuInit\n", calls);
}

// ---- Work: what a stream is to do, or a graph holds.

struct work {
    struct work *next;
    void (*act)(void *arguments);
    size_t bytes;
    _Alignas(16) char arguments[];
};

enum capture { NONE, ACTIVE, INVALIDATED };
enum mode { GLOBAL, THREAD_LOCAL, RELAXED };

struct stream {
    struct object object;
    struct work *queue, *captured;
    enum capture capture;
    enum mode mode;
    pthread_t thread;
};

// Of a graph, executable or not.
struct graph {
    struct object object;
    struct work *work;
};

static void *append(struct work **list, void (*act)(void *), size_t bytes) {
    while (*list) list = &(*list)->next;
    struct work *work = malloc(sizeof *work + bytes);
    *work = (struct work){NULL, act, bytes};
    *list = work;
    return work->arguments;
}

static void append_all(struct work **list, const struct work *work) {
    for (; work; work = work->next) memcpy(append(list, work->act, work->bytes), work->arguments, work->bytes);
}

static void drop_first(struct work **list) {
    struct work *first = *list;
    *list = first->next;
    free(first);
}

static void do_all(struct stream *stream) {
    for (; stream->queue; drop_first(&stream->queue)) stream->queue->act(stream->queue->arguments);
}

static void do_all_of_device(void) {
    for (struct object *object = objects; object; object = object->next) {
        if (object->kind == STREAM) do_all((struct stream *)object);
    }
}

// Where a stream's next work goes.
static struct work **end_of(struct stream *stream) { return stream->capture ? &stream->captured : &stream->queue; }

// A capture that was invalidated leaves nothing to do with its streams but to end it.
static int unusable(struct stream *stream) {
    if (!stream) return refuse(INVALID_HANDLE, "no such stream");
    return stream->capture == INVALIDATED ? refuse(STREAM_CAPTURE_INVALIDATED, "the capture is lost") : SUCCESS;
}

static int invalidate(struct stream *stream, const char *why) {
    stream->capture = INVALIDATED;
    return refuse(STREAM_CAPTURE_UNSUPPORTED, "%s", why);
}

// While this thread captures, unless RELAXED, or any other does so in mode GLOBAL, calls that are potentially unsafe are prohibited.
// Which ones is not listed; here they are those that allocate, free, load or wait.
static int prohibited(void) {
    for (struct object *object = objects; object; object = object->next) {
        struct stream *stream = (struct stream *)object;
        if (object->kind != STREAM || !stream->capture || stream->mode == RELAXED) continue;
        if (stream->mode == GLOBAL || pthread_equal(stream->thread, pthread_self())) {
            return invalidate(stream, "prohibited while a stream is captured");
        }
    }
    return SUCCESS;
}

// ---- The driver and its device

// Flags other than 0 are INVALID_VALUE.
int cuInit(unsigned flags) {
    CHECKS(NOTHING, failure);
    inits++;
    calls = calls_to_fail = 0;
    if ((failure = fate())) return failure;
    return flags ? refuse(INVALID_VALUE, "flags") : SUCCESS;
}

// The only function but for those of errors that may be called before cuInit.
int cuDriverGetVersion(int *version) {
    CHECKS(NOTHING, failure);
    *version = (int)setting("STAND_IN_VERSION", 12080);
    return SUCCESS;
}

// Of unknown errors the text is NULL, and the result INVALID_VALUE.
#define NAME(name, number, text) case number: *found = number ? "CUDA_ERROR_" #name : "CUDA_SUCCESS"; return SUCCESS;
int cuGetErrorName(int error, const char **found) {
    switch (error) { ERRORS(NAME) }
    *found = NULL;
    return INVALID_VALUE;
}

#define TEXT(name, number, text) case number: *found = text; return SUCCESS;
int cuGetErrorString(int error, const char **found) {
    switch (error) { ERRORS(TEXT) }
    *found = NULL;
    return INVALID_VALUE;
}

// Devices are counted from 0 on.
int cuDeviceGet(int *device, int ordinal) {
    CALL(INIT);
    *device = ordinal;
    return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}

// At most so many bytes, the NUL included.
int cuDeviceGetName(char *name, int bytes, int device) {
    CALL(INIT);
    if (device) return refuse(INVALID_DEVICE, "device %d", device);
    if (bytes <= 0) return refuse(INVALID_VALUE, "a name of %d bytes", bytes);
    snprintf(name, bytes, "stand-in");
    return SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    CALL(INIT);
    int capability = (int)setting("STAND_IN_CAPABILITY", 70);
    if (device) return refuse(INVALID_DEVICE, "device %d", device);
    switch (attribute) {
    case 16: *value = 4; return SUCCESS; // multiprocessors
    case 75: *value = capability / 10; return SUCCESS;
    case 76: *value = capability % 10; return SUCCESS;
    case 115: *value = 1; return SUCCESS; // memory pools
    default: return refuse(INVALID_VALUE, "attribute %d, which is none that this device knows", attribute);
    }
}

// ---- Contexts

int cuDevicePrimaryCtxRetain(void **handle, int device) {
    CALL(INIT);
    if (device) return refuse(INVALID_DEVICE, "device %d", device);
    retained++;
    *handle = &context;
    return SUCCESS;
}

// Who has not retained it may not release it: INVALID_CONTEXT. With the last one the context ends, and all that is left in it.
int cuDevicePrimaryCtxRelease_v2(int device) {
    GIVES_BACK(INIT);
    if (device) return refuse(INVALID_DEVICE, "device %d", device);
    if (!retained) return refuse(INVALID_CONTEXT, "released more often than retained");
    if (--retained == 0 && objects) refuse(SUCCESS, "there are still objects in the context");
    return failure;
}

// NULL, and no error, in a thread without one.
int cuCtxGetCurrent(void **handle) {
    CHECKS(INIT, failure);
    *handle = current;
    return SUCCESS;
}

int cuCtxSetCurrent(void *handle) {
    CALL(INIT);
    if (handle && (handle != &context || !retained)) return refuse(INVALID_CONTEXT, "no context");
    current = handle;
    return SUCCESS;
}

// ---- Memory. It ends at most 255 bytes before pages that may not be touched, and holds NaN until it is written, or zeros where
// filling it would take longer than all else: in the workspace of cuBLAS.

struct memory {
    struct object object;
    char *start, *pages;
    size_t bytes, mapped;
};

#define PAGE ((size_t)4096)
#define FILLED ((size_t)4 << 20)
#define UP_TO(n, multiple) (((n) + (multiple) - 1) / (multiple) * (multiple))

static size_t allocated;

// Whether so many bytes from `start` on lie in one allocation.
static int lies_in_memory(const void *start, size_t bytes) {
    for (struct object *object = objects; object; object = object->next) {
        const struct memory *memory = (struct memory *)object;
        if (object->kind != MEMORY || (const char *)start < memory->start) continue;
        size_t before = (const char *)start - memory->start;
        if (before <= memory->bytes && bytes <= memory->bytes - before) return 1;
    }
    return 0;
}

// 0 bytes are INVALID_VALUE. Memory is aligned for numbers of every kind, on a device at multiples of 256, and is not cleared.
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    CALL(CONTEXT);
    if ((failure = prohibited())) return failure;
    if (bytes == 0) return refuse(INVALID_VALUE, "no bytes");
    size_t all = setting("STAND_IN_MEMORY", (size_t)16 << 30);
    if (bytes > all - allocated) return OUT_OF_MEMORY;
    size_t inner = UP_TO(bytes, PAGE), mapped = PAGE + inner + PAGE;
    char *pages = mmap(NULL, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + PAGE, inner, PROT_READ | PROT_WRITE)) return OUT_OF_MEMORY;
    struct memory *memory = create(MEMORY, sizeof *memory);
    memory->start = pages + PAGE + inner - UP_TO(bytes, 256);
    memory->pages = pages;
    memory->bytes = bytes;
    memory->mapped = mapped;
    memset(pages + PAGE + (inner > FILLED ? inner - PAGE : 0), 0xff, inner > FILLED ? PAGE : inner);
    allocated += bytes;
    *address = (uint64_t)memory->start;
    return SUCCESS;
}

// Only what was allocated can be freed. It waits for the device, as it does for all memory but that of cuMemAllocAsync.
int cuMemFree_v2(uint64_t address) {
    GIVES_BACK(CONTEXT);
    int not_now = prohibited();
    if (not_now) return not_now;
    struct object *object = objects;
    while (object && (object->kind != MEMORY || (uint64_t)((struct memory *)object)->start != address)) object = object->next;
    if (!object) return refuse(INVALID_VALUE, "%#llx was not allocated", (unsigned long long)address);
    do_all_of_device();
    struct memory *memory = (struct memory *)object;
    for (const char *at = memory->start + memory->bytes; at < memory->pages + memory->mapped - PAGE; at++) {
        if (*at != (char)0xff) {
            refuse(SUCCESS, "something was written behind %zu bytes", memory->bytes);
            break;
        }
    }
    allocated -= memory->bytes;
    munmap(memory->pages, memory->mapped);
    discard(memory);
    return failure;
}

// Page-locked memory of the host.
struct locked {
    struct object object;
    size_t bytes;
    char start[];
};

// 0 bytes are INVALID_VALUE, as other flags are than portable, mapped and write-combined.
int cuMemHostAlloc(void **start, size_t bytes, unsigned flags) {
    CALL(CONTEXT);
    if ((failure = prohibited())) return failure;
    if (bytes == 0 || flags > 7) return refuse(INVALID_VALUE, "%zu bytes, flags %u", bytes, flags);
    struct locked *area = create(LOCKED, sizeof *area + bytes);
    area->bytes = bytes;
    memset(area->start, 0xff, bytes);
    *start = area->start;
    return SUCCESS;
}

// Only what was allocated can be freed. It does not wait: what a stream has yet to read there is gone.
int cuMemFreeHost(void *start) {
    GIVES_BACK(CONTEXT);
    for (struct object *object = objects; object; object = object->next) {
        struct locked *area = (struct locked *)object;
        if (object->kind != LOCKED || area->start != start) continue;
        memset(area->start, 0xff, area->bytes);
        discard(area);
        return failure;
    }
    return refuse(INVALID_VALUE, "%p was not allocated", start);
}

static int lies_in_locked_memory(const char *start, size_t bytes) {
    for (struct object *object = objects; object; object = object->next) {
        const struct locked *area = (struct locked *)object;
        if (object->kind != LOCKED || start < area->start) continue;
        size_t before = start - area->start;
        if (before <= area->bytes && bytes <= area->bytes - before) return 1;
    }
    return 0;
}

// From `data` if the source was copied there, else from the source.
struct upload {
    char *to;
    const void *from;
    size_t bytes;
    char data[];
};

static void upload(void *arguments) {
    struct upload *upload = arguments;
    if (upload->from && !lies_in_locked_memory(upload->from, upload->bytes)) refuse(SUCCESS, "page-locked memory is gone");
    else memcpy(upload->to, upload->from ? upload->from : upload->data, upload->bytes);
}

static int refuse_copy(struct stream *stream, uint64_t address, size_t bytes) {
    int failure = unusable(stream);
    if (failure) return failure;
    if (stream->capture) return refuse(NOT_SUPPORTED, "the stand-in captures no copies");
    return lies_in_memory((void *)address, bytes) ? SUCCESS : refuse(INVALID_VALUE, "%zu bytes that are no memory", bytes);
}

// The driver stages what comes from pageable memory. So the source may change when this returns, and the destination does when the
// stream comes to it. Page-locked memory is read then.
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *handle) {
    CALL(CONTEXT);
    struct stream *stream = find(STREAM, handle);
    if ((failure = refuse_copy(stream, to, bytes))) return failure;
    int late = lies_in_locked_memory(from, bytes);
    struct upload *arguments = append(&stream->queue, upload, sizeof *arguments + (late ? 0 : bytes));
    *arguments = (struct upload){(char *)to, late ? from : NULL, bytes};
    if (!late) memcpy(arguments->data, from, bytes);
    return SUCCESS;
}

// To pageable memory, it returns when the copy is complete.
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *handle) {
    CALL(CONTEXT);
    struct stream *stream = find(STREAM, handle);
    if ((failure = refuse_copy(stream, from, bytes))) return failure;
    do_all(stream);
    memcpy(to, (const void *)from, bytes);
    return broken;
}

// ---- Streams. There is no default stream: nobody should use it who has one of his own.

int cuStreamCreate(void **handle, unsigned flags) {
    CALL(CONTEXT);
    if (flags > 1) return refuse(INVALID_VALUE, "flags %u", flags);
    *handle = create(STREAM, sizeof(struct stream));
    return SUCCESS;
}

// It does not wait: what the stream has to do is done all the same.
int cuStreamDestroy_v2(void *handle) {
    GIVES_BACK(CONTEXT);
    struct stream *stream = find(STREAM, handle);
    if (!stream) return refuse(INVALID_HANDLE, "no such stream");
    if (stream->capture) failure = refuse(ILLEGAL_STATE, "the stream is being captured");
    do_all(stream);
    while (stream->captured) drop_first(&stream->captured);
    discard(stream);
    return failure;
}

// Nobody can wait for a stream that is being captured.
int cuStreamSynchronize(void *handle) {
    CALL(CONTEXT);
    struct stream *stream = find(STREAM, handle);
    if ((failure = unusable(stream))) return failure;
    if (stream->capture) return invalidate(stream, "the stream is being captured");
    if ((failure = prohibited())) return failure;
    do_all(stream);
    return broken;
}

// Not of a stream that is being captured already.
int cuStreamBeginCapture_v2(void *handle, int mode) {
    CALL(CONTEXT);
    struct stream *stream = find(STREAM, handle);
    if ((failure = unusable(stream))) return failure;
    if (stream->capture) return refuse(ILLEGAL_STATE, "the stream is being captured already");
    if (mode < GLOBAL || mode > RELAXED) return refuse(INVALID_VALUE, "mode %d", mode);
    stream->capture = ACTIVE;
    stream->mode = mode;
    stream->thread = pthread_self();
    return SUCCESS;
}

// On the stream where it began, and unless RELAXED in the thread where it began. If it was invalidated, the graph is NULL.
int cuStreamEndCapture(void *handle, void **graph) {
    GIVES_BACK(CONTEXT);
    *graph = NULL;
    struct stream *stream = find(STREAM, handle);
    if (!stream) return refuse(INVALID_HANDLE, "no such stream");
    if (!stream->capture) return refuse(ILLEGAL_STATE, "the stream is not being captured");
    if (stream->mode != RELAXED && !pthread_equal(stream->thread, pthread_self())) {
        return refuse(STREAM_CAPTURE_WRONG_THREAD, "another thread began it");
    }
    if (stream->capture == INVALIDATED) failure = STREAM_CAPTURE_INVALIDATED;
    stream->capture = NONE;
    if (failure) {
        while (stream->captured) drop_first(&stream->captured);
        return failure;
    }
    struct graph *made = create(GRAPH, sizeof *made);
    made->work = stream->captured;
    stream->captured = NULL;
    *graph = made;
    return SUCCESS;
}

// ---- Graphs

static int destroy_graph(enum kind kind, void *handle, int failure) {
    struct graph *graph = find(kind, handle);
    if (!graph) return refuse(INVALID_VALUE, "no such graph");
    while (graph->work) drop_first(&graph->work);
    discard(graph);
    return failure;
}

int cuGraphDestroy(void *handle) {
    GIVES_BACK(CONTEXT);
    return destroy_graph(GRAPH, handle, failure);
}

int cuGraphExecDestroy(void *handle) {
    GIVES_BACK(CONTEXT);
    return destroy_graph(EXECUTABLE, handle, failure);
}

// The executable graph is independent of the graph. There are four flags.
int cuGraphInstantiateWithFlags(void **handle, void *of, unsigned long long flags) {
    CALL(CONTEXT);
    struct graph *graph = find(GRAPH, of);
    if (!graph || flags > 15) return refuse(INVALID_VALUE, "no such graph, or flags %llu", flags);
    struct graph *made = create(EXECUTABLE, sizeof *made);
    append_all(&made->work, graph->work);
    *handle = made;
    return SUCCESS;
}

// It runs behind what its stream has to do, and behind earlier launches of this graph, which is only seen to where all are in one
// stream.
int cuGraphLaunch(void *of, void *handle) {
    CALL(CONTEXT);
    struct graph *graph = find(EXECUTABLE, of);
    struct stream *stream = find(STREAM, handle);
    if ((failure = unusable(stream))) return failure;
    if (!graph) return refuse(INVALID_VALUE, "no such graph");
    if (stream->capture) return refuse(NOT_SUPPORTED, "the stand-in captures no graphs");
    append_all(&stream->queue, graph->work);
    return SUCCESS;
}

// ---- Events

struct event {
    struct object object;
    unsigned flags;
    unsigned long long record; // index of the last one, from 1; 0 before it
    int complete;
    struct stream *stream;
    double ms;
};

struct mark {
    struct event *event;
    unsigned long long record;
};

#define DISABLE_TIMING 2

static void reach(void *arguments) {
    struct mark *mark = arguments;
    struct event *event = find(EVENT, mark->event);
    if (!event || event->record != mark->record) return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    event->ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
    event->complete = 1;
}

int cuEventCreate(void **handle, unsigned flags) {
    CALL(CONTEXT);
    if (flags > 7) return refuse(INVALID_VALUE, "flags %u", flags);
    struct event *event = create(EVENT, sizeof *event);
    event->flags = flags;
    *handle = event;
    return SUCCESS;
}

// It need not be complete, and nobody waits for it.
int cuEventDestroy_v2(void *handle) {
    GIVES_BACK(CONTEXT);
    if (!find(EVENT, handle)) return refuse(INVALID_HANDLE, "no such event");
    discard(handle);
    return failure;
}

int cuEventRecord(void *handle, void *of) {
    CALL(CONTEXT);
    static unsigned long long records;
    struct event *event = find(EVENT, handle);
    struct stream *stream = find(STREAM, of);
    if ((failure = unusable(stream))) return failure;
    if (!event) return refuse(INVALID_HANDLE, "no such event");
    if (stream->capture) return refuse(NOT_SUPPORTED, "the stand-in captures no events");
    event->record = ++records;
    event->complete = 0;
    event->stream = stream;
    *(struct mark *)append(&stream->queue, reach, sizeof(struct mark)) = (struct mark){event, event->record};
    return SUCCESS;
}

// An event that was not recorded is nothing to wait for.
int cuEventSynchronize(void *handle) {
    CALL(CONTEXT);
    struct event *event = find(EVENT, handle);
    if (!event) return refuse(INVALID_HANDLE, "no such event");
    if ((failure = prohibited())) return failure;
    if (event->record && !event->complete) do_all(event->stream);
    return broken;
}

// INVALID_HANDLE of events that were not recorded or take no time; NOT_READY of those that are not complete.
int cuEventElapsedTime_v2(float *ms, void *from, void *to) {
    CALL(CONTEXT);
    struct event *events[] = {find(EVENT, from), find(EVENT, to)};
    for (int i = 0; i < 2; i++) {
        if (!events[i]) return refuse(INVALID_HANDLE, "no such event");
        if (!events[i]->record) return refuse(INVALID_HANDLE, "an event was not recorded");
        if (events[i]->flags & DISABLE_TIMING) return refuse(INVALID_HANDLE, "an event takes no time");
        if (!events[i]->complete) return refuse(NOT_READY, "an event is not complete");
    }
    *ms = (float)(events[1]->ms - events[0]->ms);
    return SUCCESS;
}

// ---- Modules

struct module {
    struct object object;
    char *ptx;
};

typedef void (*kernel)(const void *);

struct function {
    struct object object;
    struct module *module;
    kernel kernel;
    size_t bytes;     // of its one parameter
    unsigned threads; // of a block, at most
};

// From libemulated.so, whose names are those of emulate.c.
static void *emulated(const char *name) {
    static void *library;
    if (!library) library = dlopen("libemulated.so", RTLD_NOW);
    return library ? dlsym(library, name) : NULL;
}

// PTX runs on devices of its target's capability or more (else NO_BINARY_FOR_GPU), and drivers refuse PTX of versions newer than
// theirs (UNSUPPORTED_PTX_VERSION): 8.7 is that of CUDA 12.8.
int cuModuleLoadData(void **handle, const void *image) {
    CALL(CONTEXT);
    if ((failure = prohibited())) return failure;
    const char *version = strstr(image, "\n.version "), *target = strstr(image, "\n.target sm_");
    int major, minor, capability;
    if (!version || !target || sscanf(version, " .version %d.%d", &major, &minor) != 2 ||
        sscanf(target, " .target sm_%d", &capability) != 1) {
        return refuse(INVALID_PTX, "no version or no target");
    }
    if (10 * major + minor > 87) return refuse(UNSUPPORTED_PTX_VERSION, "version %d.%d", major, minor);
    if (capability > (int)setting("STAND_IN_CAPABILITY", 70)) return refuse(NO_BINARY_FOR_GPU, "target sm_%d", capability);
    struct module *module = create(MODULE, sizeof *module);
    module->ptx = strdup(image);
    *handle = module;
    return SUCCESS;
}

int cuModuleUnload(void *handle) {
    GIVES_BACK(CONTEXT);
    struct module *module = find(MODULE, handle);
    if (!module) return refuse(INVALID_HANDLE, "no such module");
    for (struct object *object = objects, *next; object; object = next) {
        next = object->next;
        if (object->kind == FUNCTION && ((struct function *)object)->module == module) discard(object);
    }
    free(module->ptx);
    discard(module);
    return failure;
}

// NOT_FOUND where the module has no such kernel. The PTX has the parameter's size.
int cuModuleGetFunction(void **handle, void *of, const char *name) {
    CALL(CONTEXT);
    struct module *module = find(MODULE, of);
    if (!module) return refuse(INVALID_HANDLE, "no such module");
    char text[128];
    snprintf(text, sizeof text, ".entry %s(", name);
    const char *entry = strstr(module->ptx, text);
    if (!entry) return refuse(NOT_FOUND, "no kernel %s", name);
    const char *parameter = strstr(entry, "_param_0["), *threads = strstr(entry, ".maxntid ");
    snprintf(text, sizeof text, "%s_bytes", name);
    const size_t *bytes = emulated(text);
    if (!bytes || !parameter || strtoul(parameter + strlen("_param_0["), NULL, 10) != *bytes) {
        return refuse(INVALID_IMAGE, "%s has another parameter than its source", name);
    }
    struct function *made = create(FUNCTION, sizeof *made);
    made->module = module;
    made->kernel = (kernel)emulated(name);
    made->bytes = *bytes;
    made->threads = threads ? strtoul(threads + strlen(".maxntid "), NULL, 10) : 1024;
    *handle = made;
    return SUCCESS;
}

struct launch {
    kernel kernel;
    unsigned sizes[4];
    _Alignas(16) char arguments[];
};

static void run(void *arguments) {
    static void *space;
    size_t (*bytes)(void) = (size_t (*)(void))emulated("launch_bytes");
    int (*emulate)(void *, kernel, const void *, const unsigned *, int) =
        (int (*)(void *, kernel, const void *, const unsigned *, int))emulated("emulate");
    struct launch *launch = arguments;
    if (broken) return;
    if (!space) space = calloc(1, bytes());
    int error = emulate(space, launch->kernel, launch->arguments, launch->sizes, 1);
    if (error) broken = refuse(LAUNCH_FAILED, "a kernel failed, for reason %d of emulate.c", error);
}

// Limits of all devices: 2^31 - 1 blocks along x, 65535 along y and z; 1024 threads along x and y, 64 along z, and in all no more
// than 1024 or what the PTX allows. Parameters are given in one of two ways, not both; the driver copies them, by their sizes in
// the PTX.
int cuLaunchKernel(void *of, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z,
                   unsigned shared_bytes, void *handle, void **parameters, void **extra) {
    CALL(CONTEXT);
    struct function *made = find(FUNCTION, of);
    struct stream *stream = find(STREAM, handle);
    if (!made) return refuse(INVALID_HANDLE, "no such function");
    if ((failure = unusable(stream))) return failure;
    if (!grid_x || !grid_y || !grid_z || !x || !y || !z) return refuse(INVALID_VALUE, "an empty grid or block");
    if (grid_x > INT32_MAX || grid_y > 65535 || grid_z > 65535) return refuse(INVALID_VALUE, "a grid of %u rows", grid_y);
    if (x > 1024 || y > 1024 || z > 64 || (uint64_t)x * y * z > made->threads) return refuse(INVALID_VALUE, "too many threads");
    if (!parameters || !parameters[0] || extra) return refuse(INVALID_VALUE, "parameters");
    if (grid_z > 1 || z > 1 || shared_bytes) return refuse(NOT_SUPPORTED, "the stand-in has two axes, and no such memory");
    struct launch *launch = append(end_of(stream), run, sizeof *launch + made->bytes);
    *launch = (struct launch){made->kernel, {grid_x, grid_y, x, y}};
    memcpy(launch->arguments, parameters[0], made->bytes);
    return SUCCESS;
}
