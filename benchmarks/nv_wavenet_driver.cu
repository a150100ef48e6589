// nv-wavenet's sampler (github.com/NVIDIA/nv-wavenet, 2018) as a program that a benchmark can start, fill with weights,
// check and time: it is built beside its sources by build_nv_wavenet.sh, and nothing of them is in this repository.
//
//     nv_wavenet INPUTS LAYERS MAX_DILATION LANES LANES_PER_BLOCK SAMPLES persistent|manyblock
//
// R = 128 residual, S = 128 skip and A = 256 audio channels in fp16, which its R = 128 runs only in these two variants.
// INPUTS is a file of float32 (matrices column-major, as nv-wavenet takes them; 2R rows hold the filter, then the
// gate):
//
//     embedding of the previous code [A][R], of the current code [A][R]
//     for each layer: past tap [R][2R], current tap [R][2R], bias [2R], residual [R][R], bias [R], skip [R][S], bias
//     [S] head [S][A], bias [A], logits [A][A], bias [A] projected condition [LAYERS][LANES][2R], the same for every
//     sample, and uniforms [SAMPLES][LANES]
//
// It writes "ready", then answers each line on stdin with one on stdout: "run" decodes SAMPLES samples from the start
// and answers "done"; "codes" does the same and answers with all codes, lane after lane.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "nv_wavenet.cuh"

namespace {

constexpr int kResidual = 128, kSkip = 128, kClasses = 256;
using Inference = nvWavenetInfer<half2, half, kResidual, kSkip, kClasses>;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "nv_wavenet: %s\n", what.c_str());
  std::exit(1);
}

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) fail(std::string(what) + ": " + cudaGetErrorString(status));
}

// The numbers of INPUTS, taken from the front.
class Inputs {
 public:
  explicit Inputs(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (file == nullptr) fail(std::string("cannot read ") + path);
    std::fseek(file, 0, SEEK_END);
    numbers_.resize(static_cast<std::size_t>(std::ftell(file)) / sizeof(float));
    std::rewind(file);
    if (std::fread(numbers_.data(), sizeof(float), numbers_.size(), file) != numbers_.size()) fail("short read");
    std::fclose(file);
  }

  float* take(std::size_t count) {
    if (numbers_.size() - next_ < count) fail("INPUTS ends early");
    float* found = numbers_.data() + next_;
    next_ += count;
    return found;
  }

  bool is_empty() const { return next_ == numbers_.size(); }

 private:
  std::vector<float> numbers_;
  std::size_t next_ = 0;
};

void set_weights(Inference& inference, Inputs& inputs, int layers) {
  float* previous = inputs.take(kClasses * kResidual);
  inference.setEmbeddings(previous, inputs.take(kClasses * kResidual));
  for (int layer = 0; layer < layers; ++layer) {
    float* past = inputs.take(2 * kResidual * kResidual);
    float* current = inputs.take(2 * kResidual * kResidual);
    float* bias = inputs.take(2 * kResidual);
    float* residual = inputs.take(kResidual * kResidual);
    float* residual_bias = inputs.take(kResidual);
    float* skip = inputs.take(kSkip * kResidual);
    inference.setLayerWeights(layer, past, current, bias, residual, residual_bias, skip, inputs.take(kSkip));
  }
  float* head = inputs.take(kClasses * kSkip);
  float* head_bias = inputs.take(kClasses);
  float* logits = inputs.take(kClasses * kClasses);
  inference.setOutWeights(head, head_bias, logits, inputs.take(kClasses));
}

void set_inputs(Inference& inference, Inputs& inputs, int layers, int lanes, int samples) {
  const std::size_t a_sample = static_cast<std::size_t>(layers) * lanes * 2 * kResidual;
  const float* condition = inputs.take(a_sample);
  std::vector<float> every_sample(a_sample * samples);
  for (int i = 0; i < samples; ++i) std::memcpy(&every_sample[i * a_sample], condition, a_sample * sizeof(float));
  inference.setInputs(every_sample.data(), inputs.take(static_cast<std::size_t>(samples) * lanes));
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 8) fail("usage: INPUTS LAYERS MAX_DILATION LANES LANES_PER_BLOCK SAMPLES persistent|manyblock");
  const int layers = std::atoi(arguments[2]), dilation = std::atoi(arguments[3]), lanes = std::atoi(arguments[4]);
  const int lanes_per_block = std::atoi(arguments[5]), samples = std::atoi(arguments[6]);
  const std::string variant = arguments[7];
  if (layers < 1 || dilation < 1 || lanes < 1 || lanes_per_block < 1 || lanes_per_block > 4 || samples < 1 ||
      lanes % lanes_per_block != 0 || (variant != "persistent" && variant != "manyblock")) {
    fail("sizes out of range");
  }
  // Its indices into the condition are 32 bits wide.
  if (static_cast<std::int64_t>(samples) * layers * lanes * 2 * kResidual >= INT32_MAX)
    fail("too many samples x lanes");

  // What nv-wavenet prints goes to stderr; answers go to what was stdout.
  std::FILE* answers = fdopen(dup(STDOUT_FILENO), "w");
  if (answers == nullptr || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) fail("no stdout");

  Inputs inputs(arguments[1]);
  const int implementation = variant == "persistent" ? Inference::PERSISTENT : Inference::MANYBLOCK_NONPERSISTENT;
  // Never destroyed: its destructor frees two buffers twice.
  auto& inference = *new Inference(layers, dilation, lanes, samples, implementation, false);
  set_weights(inference, inputs, layers);
  set_inputs(inference, inputs, layers, lanes, samples);
  if (!inputs.is_empty()) fail("INPUTS is longer than these sizes");
  check(cudaDeviceSynchronize(), "setting up");

  std::vector<int> codes(static_cast<std::size_t>(samples) * lanes);
  std::fprintf(answers, "ready\n");
  std::fflush(answers);
  for (std::string command; std::getline(std::cin, command);) {
    const bool wants_codes = command == "codes";
    if (!inference.run(samples, lanes, wants_codes ? codes.data() : nullptr, lanes_per_block)) fail("it did not start");
    check(cudaDeviceSynchronize(), "running");
    if (wants_codes) {
      for (std::size_t i = 0; i < codes.size(); ++i)
        std::fprintf(answers, "%d%c", codes[i], i + 1 < codes.size() ? ' ' : '\n');
    } else {
      std::fprintf(answers, "done\n");
    }
    std::fflush(answers);
  }
}
