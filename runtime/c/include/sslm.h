/* sslm: runs convolutional networks pruned with Structured Sparsity Learning from .sslm files.
 *
 * A model is opened once, a runner of it runs inputs of any shape that it takes, and a run yields outputs:
 *
 *     SslmModel *model;
 *     SslmRunner *runner;
 *     SslmOutputs *outputs;
 *     SslmTensor scores;
 *     size_t dims[] = {1, 1, 8, 8};
 *     SslmTensor image = {SSLM_TYPE_F32, 4, dims, pixels};
 *     if (sslm_model_read("tiny.sslm", &model) || sslm_runner_new(model, NULL, &runner) ||
 *         sslm_run(runner, &image, 1, NULL, &outputs) || sslm_outputs_get(outputs, 0, &scores))
 *         fprintf(stderr, "%s\n", sslm_last_error());
 *
 * Every function that can fail returns an SslmStatus; sslm_last_error() then says what, where, what was expected and what was found.
 * Handles belong to the caller until the function that frees them; models, runners and interrupts may be shared by threads.
 * This file is made from runtime/c/src by cbindgen: do not edit it. */

#ifndef SSLM_H
#define SSLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What became of a call. Values stay as they are; new ones may come.
typedef enum {
  // All is well.
  SSLM_STATUS_OK = 0,
  // A file could not be read.
  SSLM_STATUS_IO = 1,
  // A file is no .sslm file.
  SSLM_STATUS_NOT_SSLM = 2,
  // A file needs a newer sslm.
  SSLM_STATUS_VERSION = 3,
  // A file is cut off or damaged.
  SSLM_STATUS_CORRUPT = 4,
  // A file has an operator that this sslm does not know.
  SSLM_STATUS_UNSUPPORTED = 5,
  // An input has a shape that the model does not take.
  SSLM_STATUS_SHAPE = 6,
  // Options or inputs do not fit the model in another way.
  SSLM_STATUS_INPUT = 7,
  // Memory or threads could not be had.
  SSLM_STATUS_RESOURCES = 8,
  // More memory, work or time is needed than the options allow.
  SSLM_STATUS_LIMIT = 9,
  // The run was cancelled.
  SSLM_STATUS_CANCELLED = 10,
  // A pointer is null that must not be, or a text is not UTF-8.
  SSLM_STATUS_ARGUMENT = 11,
  // Something else, which the message names.
  SSLM_STATUS_OTHER = 12,
} SslmStatus;

// Types of elements.
typedef enum {
  // float
  SSLM_TYPE_F32 = 1,
  // double
  SSLM_TYPE_F64 = 2,
  // IEEE 754 half precision, as 16 bits
  SSLM_TYPE_F16 = 3,
  // uint8_t
  SSLM_TYPE_U8 = 4,
  // int8_t
  SSLM_TYPE_I8 = 5,
  // uint16_t
  SSLM_TYPE_U16 = 6,
  // int16_t
  SSLM_TYPE_I16 = 7,
  // uint32_t
  SSLM_TYPE_U32 = 8,
  // int32_t
  SSLM_TYPE_I32 = 9,
  // uint64_t
  SSLM_TYPE_U64 = 10,
  // int64_t
  SSLM_TYPE_I64 = 11,
  // A byte that is 0 or 1
  SSLM_TYPE_BOOL = 12,
} SslmType;

// Ends runs from another thread.
typedef struct SslmInterrupt SslmInterrupt;

// An open model. Threads may share it.
typedef struct SslmModel SslmModel;

// What a run has yielded, until it is freed. Its memory serves later runs then.
typedef struct SslmOutputs SslmOutputs;

// Runs a model on inputs of any shape that it takes. Each shape is prepared when it is met first. Threads may share a runner: runs go on
// side by side.
typedef struct SslmRunner SslmRunner;

// An input or an output of a model. What it points to lives as long as the model.
typedef struct {
  // Its name in the source model.
  const char *name;
  // The type of its elements.
  SslmType element_type;
  // How many axes it has.
  size_t rank;
  // Extents, axis 0 (the batch) first; -1 of an input where the caller chooses, and of an output where that depends on such.
  const int64_t *dims;
} SslmPort;

// Choices for a runner. All zero is what most programs want.
typedef struct {
  // Threads that compute a run; 0 chooses: all, or one for small models.
  size_t threads;
  // How many shapes of inputs stay prepared; 0 is 8.
  size_t shapes;
  // The most bytes that a prepared shape and one run may take together; 0 is any.
  size_t max_memory;
  // The most multiply-accumulates of a run; 0 is any.
  uint64_t max_macs;
  // The most milliseconds that preparing may take, and again each run; 0 is any.
  uint64_t max_milliseconds;
} SslmOptions;

// A tensor: elements in row-major order, last axis fastest.
typedef struct {
  // The type of the elements, an SslmType.
  int32_t element_type;
  // How many axes there are.
  size_t rank;
  // The extent of each axis.
  const size_t *dims;
  // The elements, aligned as their type is.
  const void *data;
} SslmTensor;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What went wrong in the last call of this thread that returned an error: what, where, what was expected and what was found. Empty if
// there was none. Valid until the next call of this thread.
const char *sslm_last_error(void);

// The version of the library, such as "0.2.0".
const char *sslm_version(void);

// Reads the .sslm file at `path` (UTF-8) and checks it. Whatever becomes of the file afterwards, the model stays as it is.
//
// # Safety
// `path` is a text that ends with a zero byte; `model` may be written.
SslmStatus sslm_model_read(const char *path,
                           SslmModel **model);

// A model from the `len` bytes of a .sslm file in memory, which are copied.
//
// # Safety
// There are `len` bytes at `bytes`; `model` may be written.
SslmStatus sslm_model_from_bytes(const uint8_t *bytes, size_t len, SslmModel **model);

// Frees a model; runners made of it live on. NULL is nothing.
//
// # Safety
// `model` is NULL or was not freed before, and nobody uses it any more.
void sslm_model_free(SslmModel *model);

// What the input of this index takes. Returns false if there is none, or a pointer is NULL.
//
// # Safety
// `model` is valid; `port` may be written.
bool sslm_model_input(const SslmModel *model, size_t index, SslmPort *port);

// What the output of this index yields. Returns false if there is none, or a pointer is NULL.
//
// # Safety
// `model` is valid; `port` may be written.
bool sslm_model_output(const SslmModel *model, size_t index, SslmPort *port);

// The name of the class of this index, in the order of the output's last axis; NULL if the model names no such class. Valid as long as
// the model.
//
// # Safety
// `model` is NULL or valid.
const char *sslm_model_label(const SslmModel *model,
                             size_t index);

// A runner of a model. `options` may be NULL.
//
// # Safety
// `model` is valid, `options` is NULL or valid, `runner` may be written.
SslmStatus sslm_runner_new(const SslmModel *model, const SslmOptions *options, SslmRunner **runner);

// Frees a runner. NULL is nothing. Outputs of its runs live on.
//
// # Safety
// `runner` is NULL or was not freed before, and nobody uses it any more.
void sslm_runner_free(SslmRunner *runner);

// Runs the model on all its inputs, in its order. `interrupt` may be NULL; else the run ends early, with SSLM_STATUS_CANCELLED, once it is
// cancelled.
//
// # Safety
// `runner` is valid; there are `count` tensors at `inputs`, each with as many dims and elements as it says; `outputs` may be written.
SslmStatus sslm_run(const SslmRunner *runner,
                    const SslmTensor *inputs,
                    size_t count,
                    const SslmInterrupt *interrupt,
                    SslmOutputs **outputs);

// The output of this index. What `tensor` points to lives until the outputs are freed.
//
// # Safety
// `outputs` is valid; `tensor` may be written.
SslmStatus sslm_outputs_get(const SslmOutputs *outputs, size_t index, SslmTensor *tensor);

// Frees outputs. NULL is nothing.
//
// # Safety
// `outputs` is NULL or was not freed before, and nobody uses it any more.
void sslm_outputs_free(SslmOutputs *outputs);

// An interrupt, which ends nothing yet. Any number of runs may have it.
SslmInterrupt *sslm_interrupt_new(void);

// Ends runs that have this interrupt, those that go on (when the layer that they compute is done) and those that begin later. From any
// thread. NULL is nothing.
//
// # Safety
// `interrupt` is NULL or valid.
void sslm_interrupt_cancel(const SslmInterrupt *interrupt);

// Lets runs that begin from now on go to their end again. NULL is nothing.
//
// # Safety
// `interrupt` is NULL or valid.
void sslm_interrupt_reset(const SslmInterrupt *interrupt);

// Frees an interrupt. NULL is nothing.
//
// # Safety
// `interrupt` is NULL or was not freed before, and no call has it any more.
void sslm_interrupt_free(SslmInterrupt *interrupt);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SSLM_H */
