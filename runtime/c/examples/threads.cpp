// Runs batches of several sizes from several threads that share one runner. Handles free themselves.
//
//     threads tiny.sslm

#include <sslm.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

struct Free {
    void operator()(SslmModel *model) const { sslm_model_free(model); }
    void operator()(SslmRunner *runner) const { sslm_runner_free(runner); }
    void operator()(SslmOutputs *outputs) const { sslm_outputs_free(outputs); }
};

void check(SslmStatus status) {
    if (status != SSLM_STATUS_OK) {
        throw std::runtime_error(sslm_last_error());
    }
}

// The handle that `make` writes.
template <typename T, typename Make>
std::unique_ptr<T, Free> handle(Make make) {
    T *made = nullptr;
    check(make(&made));
    return std::unique_ptr<T, Free>(made);
}

// How many of `batch` images with a vertical line are said to have one.
std::size_t run(const SslmRunner &runner, std::size_t batch) {
    std::vector<float> images(batch * 64);
    for (std::size_t i = 0; i < images.size(); i++) {
        images[i] = i % 8 == 3 ? 1.0F : 0.0F;
    }
    const std::size_t dims[] = {batch, 1, 8, 8};
    const SslmTensor input = {SSLM_TYPE_F32, 4, dims, images.data()};
    auto outputs = handle<SslmOutputs>([&](SslmOutputs **made) { return sslm_run(&runner, &input, 1, nullptr, made); });
    SslmTensor scores;
    check(sslm_outputs_get(outputs.get(), 0, &scores));
    const auto *data = static_cast<const float *>(scores.data);
    std::size_t vertical = 0;
    for (std::size_t image = 0; image < batch; image++) {
        vertical += data[2 * image + 1] > data[2 * image] ? 1 : 0;
    }
    return vertical;
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: threads MODEL.sslm\n");
        return 2;
    }
    try {
        auto model = handle<SslmModel>([&](SslmModel **made) { return sslm_model_read(argv[1], made); });
        SslmOptions options = {};
        options.threads = 1;
        auto runner = handle<SslmRunner>([&](SslmRunner **made) { return sslm_runner_new(model.get(), &options, made); });
        std::vector<std::size_t> found(4);
        std::vector<std::thread> threads;
        for (std::size_t i = 0; i < found.size(); i++) {
            threads.emplace_back([&found, &runner, i] {
                for (std::size_t batch = 1; batch <= 10; batch++) {
                    found[i] += run(*runner, batch);
                }
            });
        }
        for (auto &thread : threads) {
            thread.join();
        }
        for (auto vertical : found) {
            std::printf("%zu of 55 images show a vertical line\n", vertical);
        }
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
