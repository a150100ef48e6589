// Weight gradients (weight_gradients.h): how the work is cut, and the second kernel, which adds the spans' partial
// results in their order.
//
//   weight[o][i][k] = sum over splits of partial[split][o][k * I + i]          bias[o] likewise
//
// A thread adds one number, neighbours neighbouring ones, four loads under way. A decoder layer of 128 channels has
// 98,304 of them in 44 splits: 17 MB written and read, 4 us each way at 4.8 TB/s (they fit the cache of an H200, so
// less).
#include "cuda/weight_gradients.h"

#include <algorithm>

#include "cuda/launch.h"
#include "cuda/weight_gradients_task.cuh"

namespace musicstar::cuda {

namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kAligned = 256;  // bytes

std::int64_t ceiling(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t aligned(std::int64_t bytes) { return ceiling(bytes, kAligned) * kAligned; }

struct Reduction {
  struct Product {
    const float* partial;
    const float* bias_partial;
    std::int64_t rows, columns, input_channels;
    std::int64_t channels;  // of the first source
    int taps;
    float* weight[WeightGradient::kSources];
    float* bias[WeightGradient::kSources];
  };
  Product products[WeightGradients::kProducts];
  int splits;
};

__device__ float sum_of_splits(const float* first, std::int64_t stride, int splits) {
  float sum = 0.0f;
#pragma unroll 4
  for (int split = 0; split < splits; ++split) sum += first[split * stride];
  return sum;
}

// blockIdx.y: the product. resources: registers <= 48, shared <= 0 KiB, threads 256
__global__ void __launch_bounds__(kThreads) weight_gradient_sum_kernel(const __grid_constant__ Reduction task) {
  const Reduction::Product& product = task.products[blockIdx.y];
  const std::int64_t count = product.rows * product.columns;
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index < count) {
    const std::int64_t o = index / product.columns, n = index % product.columns;
    const std::int64_t tap = n / product.input_channels, i = n % product.input_channels;
    const bool second = o >= product.channels;
    const std::int64_t row = second ? o - product.channels : o;
    float* weight = second ? product.weight[1] : product.weight[0];
    if (weight != nullptr) {
      weight[(row * product.input_channels + i) * product.taps + tap] =
          sum_of_splits(product.partial + index, count, task.splits);
    }
  } else if (index < count + product.rows) {
    const std::int64_t o = index - count;
    const bool second = o >= product.channels;
    float* bias = second ? product.bias[1] : product.bias[0];
    if (bias != nullptr) {
      bias[second ? o - product.channels : o] = sum_of_splits(product.bias_partial + o, product.rows, task.splits);
    }
  }
}

bool has_bias(const WeightGradient& product) {
  return product.sources[0].bias != nullptr || product.sources[1].bias != nullptr;
}

bool channels_divide(const WeightGradients& work, std::int64_t by) {
  for (int p = 0; p < work.count; ++p) {
    const WeightGradient& product = work.products[p];
    for (const auto& source : product.sources) {
      if (source.channels % by != 0) return false;
    }
    if (product.input_channels % by != 0) return false;
  }
  return true;
}

// Tiles down and across one product.
struct Tiling {
  std::int64_t down = 0, across = 0;
};

Tiling tiling_of(const WeightGradient& product, const WeightGradientPlan& plan) {
  std::int64_t rows = plan.tile_rows, columns = plan.tile_columns;
  if (plan.path == StackPath::kWgmma && product.rows() <= columns) std::swap(rows, columns);  // lying tiles
  return {ceiling(product.rows(), rows), ceiling(product.columns(), columns)};
}

}  // namespace

StackPath weight_gradient_path(const WeightGradients& work, StackPath wanted) {
  constexpr std::int64_t kMostTime = std::int64_t{1} << 30;  // the tensor-core kernels count samples in 32 bits
  if (wanted == StackPath::kGeneral || work.element != Element::kBfloat16 || work.time > kMostTime) {
    return StackPath::kGeneral;
  }
  if (wanted == StackPath::kWgmma && channels_divide(work, 64)) return wanted;
  return channels_divide(work, 8) ? StackPath::kMma : StackPath::kGeneral;
}

WeightGradientPlan plan_weight_gradients(const WeightGradients& work, StackPath wanted, int multiprocessors) {
  WeightGradientPlan plan;
  plan.path = weight_gradient_path(work, wanted);
  int blocks = 1;  // that an SM holds
  if (plan.path == StackPath::kWgmma) {
    plan.tile_rows = 256;
    plan.tile_columns = 128;
    plan.chunk = 64;
  } else if (plan.path == StackPath::kMma) {
    int tile = 128;
    for (int p = 0; p < work.count; ++p) {
      if (work.products[p].rows() < 128 || work.products[p].columns() < 128) tile = 64;
    }
    plan.tile_rows = plan.tile_columns = tile;
    plan.chunk = 32;
    blocks = 2;
  } else {
    plan.tile_rows = plan.tile_columns = 64;
    plan.chunk = 16;
    blocks = 2;
  }
  plan.chunks = work.batch * ceiling(work.time, plan.chunk);

  std::int64_t tiles = 0, numbers = 0, bias_numbers = 0;
  for (int p = 0; p < work.count; ++p) {
    const WeightGradient& product = work.products[p];
    const Tiling tiling = tiling_of(product, plan);
    tiles += tiling.down * tiling.across;
    numbers += product.rows() * product.columns();
    bias_numbers += has_bias(product) ? product.rows() : 0;
  }
  plan.tiles = static_cast<int>(tiles);
  // One wave of blocks, each with several steps to hide its first loads behind.
  constexpr std::int64_t kFewestSteps = 4;
  const std::int64_t wave = std::int64_t{multiprocessors} * blocks / std::max<std::int64_t>(tiles, 1);
  const std::int64_t most = std::min<std::int64_t>(ceiling(plan.chunks, kFewestSteps), 65535);
  plan.splits = static_cast<int>(std::min(std::max<std::int64_t>(wave, 1), most));
  plan.scratch_bytes = aligned(plan.splits * numbers * std::int64_t{sizeof(float)}) +
                       aligned(plan.splits * bias_numbers * std::int64_t{sizeof(float)});
  return plan;
}

void launch_weight_gradients(const WeightGradients& work, const WeightGradientPlan& plan, void* scratch,
                             cudaStream_t stream) {
  WeightGradientTask task = {};
  Reduction reduction = {};
  task.batch = work.batch;
  task.time = work.time;
  task.chunks = plan.chunks;
  task.chunks_per_sequence = ceiling(work.time, plan.chunk);
  task.splits = reduction.splits = plan.splits;

  float* next = static_cast<float*>(scratch);
  int tile = 0;
  std::int64_t most = 0;
  for (int p = 0; p < WeightGradients::kProducts; ++p) {
    WeightGradientTask::Product& to = task.products[p];
    to.first_tile = tile;
    if (p >= work.count) continue;  // no tile of it
    const WeightGradient& from = work.products[p];
    Reduction::Product& sum = reduction.products[p];
    for (int s = 0; s < WeightGradient::kSources; ++s) {
      to.gradient[s] = from.sources[s].gradient;
      to.channels[s] = from.sources[s].channels;
      sum.weight[s] = from.sources[s].weight;
      sum.bias[s] = from.sources[s].bias;
    }
    to.input = from.input;
    to.input_channels = sum.input_channels = from.input_channels;
    to.first_shift = from.first_shift;
    to.step = from.step;
    to.rows = sum.rows = from.rows();
    to.columns = sum.columns = from.columns();
    sum.channels = from.sources[0].channels;
    sum.taps = from.taps;
    const Tiling tiling = tiling_of(from, plan);
    to.tiles_across = static_cast<int>(tiling.across);
    tile += static_cast<int>(tiling.down * tiling.across);
    to.partial = next;
    sum.partial = next;
    next += plan.splits * to.rows * to.columns;
    most = std::max(most, to.rows * to.columns + to.rows);
  }
  next = static_cast<float*>(scratch) +
         aligned((next - static_cast<float*>(scratch)) * std::int64_t{sizeof(float)}) / std::int64_t{sizeof(float)};
  for (int p = 0; p < work.count; ++p) {
    if (!has_bias(work.products[p])) continue;
    task.products[p].bias_partial = next;
    reduction.products[p].bias_partial = next;
    next += plan.splits * task.products[p].rows;
  }

  if (plan.splits > 0) {
    if (plan.path == StackPath::kWgmma) {
      launch_weight_gradients_wgmma(task, plan, stream);
    } else if (plan.path == StackPath::kMma) {
      launch_weight_gradients_mma(task, plan, stream);
    } else {
      launch_weight_gradients_general(task, plan, work.element, stream);
    }
  }
  if (most == 0) return;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(ceiling(most, kThreads)), static_cast<unsigned>(work.count));
  shape.block = dim3(kThreads);
  launch(weight_gradient_sum_kernel, shape, stream, reduction);
}

}  // namespace musicstar::cuda
