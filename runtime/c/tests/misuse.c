/* What a C program can do wrong, and what it is told: null pointers, wrong types, shapes and indices, broken files, cancelled runs. Also
 * what it may do in any order: free in any order, keep outputs while other runs go on. Run by tests/c.rs, and under valgrind on demand. */

#include <sslm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect(int line, SslmStatus found, SslmStatus expected, const char *message) {
    if (found != expected || (message != NULL && strstr(sslm_last_error(), message) == NULL)) {
        fprintf(stderr, "line %d: expected status %d and '%s', found %d and '%s'\n", line, (int)expected,
                message ? message : "", (int)found, sslm_last_error());
        exit(1);
    }
}

#define EXPECT(call, status, message) expect(__LINE__, (call), (status), (message))
#define OK(call) expect(__LINE__, (call), SSLM_STATUS_OK, NULL)

int main(int argc, char **argv) {
    if (argc != 2 || strlen(sslm_last_error()) != 0 || strchr(sslm_version(), '.') == NULL) {
        return 2;
    }
    SslmModel *model = NULL;
    EXPECT(sslm_model_read(NULL, &model), SSLM_STATUS_ARGUMENT, "path: expected a text, found NULL");
    EXPECT(sslm_model_read(argv[1], NULL), SSLM_STATUS_ARGUMENT, "model: expected a pointer, found NULL");
    EXPECT(sslm_model_read("\xff", &model), SSLM_STATUS_ARGUMENT, "path: expected UTF-8");
    EXPECT(sslm_model_read("no/such/file", &model), SSLM_STATUS_IO, "no/such/file");
    EXPECT(sslm_model_from_bytes(NULL, 5, &model), SSLM_STATUS_ARGUMENT, "bytes: expected a pointer");
    EXPECT(sslm_model_from_bytes((const uint8_t *)"GIF89a", 6, &model), SSLM_STATUS_NOT_SSLM, "magic");
    EXPECT(sslm_model_from_bytes(NULL, 0, &model), SSLM_STATUS_NOT_SSLM, "magic");
    if (model != NULL) {
        return 3;
    }
    OK(sslm_model_read(argv[1], &model));

    SslmPort port;
    if (!sslm_model_input(model, 0, &port) || strcmp(port.name, "image") != 0 || port.rank != 4 || port.dims[0] != -1 ||
        port.dims[3] != 8 || port.element_type != SSLM_TYPE_F32) {
        return 4;
    }
    if (!sslm_model_output(model, 0, &port) || strcmp(port.name, "scores") != 0 || port.rank != 2 ||
        port.dims[0] != -1 || port.dims[1] != 2 || sslm_model_input(model, 1, &port) ||
        sslm_model_output(model, 1, &port) || sslm_model_input(NULL, 0, &port) || sslm_model_input(model, 0, NULL)) {
        return 5;
    }
    if (strcmp(sslm_model_label(model, 1), "vertical") != 0 || sslm_model_label(model, 2) != NULL ||
        sslm_model_label(NULL, 0) != NULL) {
        return 6;
    }

    SslmRunner *runner = NULL;
    EXPECT(sslm_runner_new(NULL, NULL, &runner), SSLM_STATUS_ARGUMENT, "model");
    SslmOptions options = {0};
    options.max_macs = 10;
    OK(sslm_runner_new(model, &options, &runner));
    float images[3 * 64] = {0};
    size_t dims[] = {1, 1, 8, 8};
    SslmTensor image = {SSLM_TYPE_F32, 4, dims, images};
    SslmOutputs *outputs = NULL, *others = NULL;
    EXPECT(sslm_run(runner, &image, 1, NULL, &outputs), SSLM_STATUS_LIMIT, "multiply-accumulates");
    sslm_runner_free(runner);
    OK(sslm_runner_new(model, NULL, &runner));
    /* A runner needs its model no longer. */
    sslm_model_free(model);

    EXPECT(sslm_run(NULL, &image, 1, NULL, &outputs), SSLM_STATUS_ARGUMENT, "runner");
    EXPECT(sslm_run(runner, NULL, 1, NULL, &outputs), SSLM_STATUS_ARGUMENT, "inputs");
    EXPECT(sslm_run(runner, &image, 1, NULL, NULL), SSLM_STATUS_ARGUMENT, "outputs");
    EXPECT(sslm_run(runner, &image, 0, NULL, &outputs), SSLM_STATUS_INPUT, "expected 1, found 0");
    SslmTensor wrong = image;
    wrong.element_type = 99;
    EXPECT(sslm_run(runner, &wrong, 1, NULL, &outputs), SSLM_STATUS_ARGUMENT, "found 99");
    wrong.element_type = SSLM_TYPE_F64;
    EXPECT(sslm_run(runner, &wrong, 1, NULL, &outputs), SSLM_STATUS_INPUT, "elements of input 'image'");
    wrong = image;
    wrong.rank = 3;
    EXPECT(sslm_run(runner, &wrong, 1, NULL, &outputs), SSLM_STATUS_SHAPE, "shape of input 'image'");
    wrong = image;
    wrong.data = NULL;
    EXPECT(sslm_run(runner, &wrong, 1, NULL, &outputs), SSLM_STATUS_ARGUMENT, "data of an input");
    wrong = image;
    wrong.dims = NULL;
    EXPECT(sslm_run(runner, &wrong, 1, NULL, &outputs), SSLM_STATUS_ARGUMENT, "dims of an input");
    size_t huge[] = {SIZE_MAX / 2, SIZE_MAX / 2, 8, 8};
    wrong.dims = huge;
    EXPECT(sslm_run(runner, &wrong, 1, NULL, &outputs), SSLM_STATUS_ARGUMENT, "extents of what is in memory");
    if (outputs != NULL) {
        return 7;
    }

    SslmInterrupt *interrupt = sslm_interrupt_new();
    sslm_interrupt_cancel(interrupt);
    EXPECT(sslm_run(runner, &image, 1, interrupt, &outputs), SSLM_STATUS_CANCELLED, "cancelled");
    sslm_interrupt_reset(interrupt);
    OK(sslm_run(runner, &image, 1, interrupt, &outputs));
    sslm_interrupt_free(interrupt);

    /* Outputs stay as they are while the runner runs other inputs, and after it was freed. */
    SslmTensor first, second;
    OK(sslm_outputs_get(outputs, 0, &first));
    float before[2];
    memcpy(before, first.data, sizeof before);
    dims[0] = 3;
    for (size_t i = 0; i < 3 * 64; i++) {
        images[i] = (float)(i % 7);
    }
    for (int i = 0; i < 3; i++) {
        OK(sslm_run(runner, &image, 1, NULL, &others));
        dims[0] = 1;
        SslmOutputs *same = NULL;
        OK(sslm_run(runner, &image, 1, NULL, &same));
        dims[0] = 3;
        sslm_outputs_free(same);
        OK(sslm_outputs_get(others, 0, &second));
        if (second.rank != 2 || second.dims[0] != 3 || second.dims[1] != 2 || second.element_type != SSLM_TYPE_F32 ||
            memcmp(before, first.data, sizeof before) != 0) {
            return 8;
        }
        if (i < 2) {
            sslm_outputs_free(others);
        }
    }
    EXPECT(sslm_outputs_get(others, 1, &second), SSLM_STATUS_ARGUMENT, "index of an output: expected less than 1, found 1");
    EXPECT(sslm_outputs_get(others, 0, NULL), SSLM_STATUS_ARGUMENT, "tensor");
    sslm_runner_free(runner);
    if (memcmp(before, first.data, sizeof before) != 0) {
        return 9;
    }
    sslm_outputs_free(outputs);
    sslm_outputs_free(others);

    sslm_model_free(NULL);
    sslm_runner_free(NULL);
    sslm_outputs_free(NULL);
    sslm_interrupt_free(NULL);
    sslm_interrupt_cancel(NULL);
    sslm_interrupt_reset(NULL);
    printf("all as expected\n");
    return 0;
}
