/* Says whether an image of 8x8 pixels shows horizontal or vertical lines: opens a model, runs it, reads its scores.
 *
 *     classify tiny.sslm
 */

#include <sslm.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program if a call has failed. */
static void check(SslmStatus status) {
    if (status != SSLM_STATUS_OK) {
        fprintf(stderr, "error %d: %s\n", (int)status, sslm_last_error());
        exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: classify MODEL.sslm\n");
        return 2;
    }
    SslmModel *model;
    check(sslm_model_read(argv[1], &model));

    SslmPort input;
    for (size_t i = 0; sslm_model_input(model, i, &input); i++) {
        printf("input %s:", input.name);
        for (size_t axis = 0; axis < input.rank; axis++) {
            printf(" %lld", (long long)input.dims[axis]);
        }
        printf("\n");
    }

    /* Threads may share it; it prepares each shape of inputs once. */
    SslmRunner *runner;
    check(sslm_runner_new(model, NULL, &runner));

    /* A batch of two: a line in row 2, and one in column 5. */
    float images[2][8][8] = {{{0}}};
    for (int i = 0; i < 8; i++) {
        images[0][2][i] = 1;
        images[1][i][5] = 1;
    }
    const size_t dims[] = {2, 1, 8, 8};
    const SslmTensor tensor = {SSLM_TYPE_F32, 4, dims, images};
    SslmOutputs *outputs;
    check(sslm_run(runner, &tensor, 1, NULL, &outputs));

    SslmTensor scores;
    check(sslm_outputs_get(outputs, 0, &scores));
    const size_t classes = scores.dims[1];
    for (size_t image = 0; image < scores.dims[0]; image++) {
        const float *row = (const float *)scores.data + image * classes;
        size_t best = 0;
        for (size_t i = 1; i < classes; i++) {
            best = row[i] > row[best] ? i : best;
        }
        printf("image %zu: %s (%.3f)\n", image, sslm_model_label(model, best), row[best]);
    }

    sslm_outputs_free(outputs);
    sslm_runner_free(runner);
    sslm_model_free(model);
    return 0;
}
