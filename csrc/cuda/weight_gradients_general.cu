// Weight gradients (weight_gradients.h) with plain multiply-adds: any sizes, float or bf16. The path for checking, for
// fp32 training and for channel counts that the tensor cores do not take.
//
//   partial[split][o][n] = sum over the span's b, t of gradient[b][t][o] * input[b][t - shift(n)][channel(n)]
//
// A block of 256 threads owns a 64 x 64 tile; a thread 4 x 4 of it (rows y + 16 i, columns x + 16 j), in 16 registers.
// A step brings 16 samples of both operands as float into 8 KiB of shared memory, channels side by side: neighbouring
// threads load neighbouring channels and read neighbouring words; a row's word is the same for 16 threads (broadcast).
// 8 shared loads for 16 multiply-adds: at most half of the multiply-add bound, 50.3 GFLOP of a decoder layer at B = 16,
// T = 16000 in 1.5 ms on an H200 (67 TFLOP/s).
#include "cuda/launch.h"
#include "cuda/weight_gradients_task.cuh"

namespace musicstar::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;
constexpr int kChunk = 16;
constexpr int kSide = 16;             // threads along either side of the tile
constexpr int kEach = kTile / kSide;  // of either side of a thread's part
constexpr int kRowsPerPass = kThreads / kTile;

__device__ float as_float(float value) { return value; }
__device__ float as_float(bf16 value) { return __bfloat162float(value); }

// resources: registers <= 128, shared <= 8 KiB, threads 256
template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    weight_gradient_general_kernel(const __grid_constant__ WeightGradientTask task) {
  float* gradients = dynamic_shared<float>();  // [kChunk][kTile]
  float* inputs = gradients + kChunk * kTile;  // [kChunk][kTile]
  const int thread = static_cast<int>(threadIdx.x);
  const WeightGradientShare share = share_of_block(task);
  const WeightGradientTask::Product& product = task.products[share.product];

  const int column = thread % kTile, first_row = thread / kTile;
  const GradientColumn<T> gradient(product, std::int64_t{share.row_tile} * kTile + column);
  const InputColumn<T> input(product, std::int64_t{share.column_tile} * kTile + column);

  const int x = thread % kSide, y = thread / kSide;
  const bool sums_rows = product.bias_partial != nullptr && share.column_tile == 0 && x == 0;
  float sums[kEach][kEach] = {};
  float row_sums[kEach] = {};
  ChunkPosition at(task, share.first_chunk, kChunk);
  for (std::int64_t chunk = share.first_chunk; chunk < share.last_chunk; ++chunk) {
    __syncthreads();  // the last step's readers are done
#pragma unroll
    for (int row = first_row; row < kChunk; row += kRowsPerPass) {
      const std::int64_t t = at.time + row, from = t - input.shift;
      const bool inside = t < task.time;
      const std::int64_t sample = at.sequence * task.time;
      gradients[row * kTile + column] =
          inside && gradient.present ? as_float(gradient.first[(sample + t) * gradient.pitch]) : 0.0f;
      inputs[row * kTile + column] = inside && input.present && from >= 0 && from < task.time
                                         ? as_float(input.first[(sample + from) * input.pitch])
                                         : 0.0f;
    }
    at.advance(task, kChunk);
    __syncthreads();
#pragma unroll 4
    for (int row = 0; row < kChunk; ++row) {
      float g[kEach], v[kEach];
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        g[i] = gradients[row * kTile + y + i * kSide];
        v[i] = inputs[row * kTile + x + i * kSide];
      }
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) sums[i][j] += g[i] * v[j];
        if (sums_rows) row_sums[i] += g[i];
      }
    }
  }

#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const std::int64_t o = std::int64_t{share.row_tile} * kTile + y + i * kSide;
    if (o >= product.rows) continue;
    float* row = product.partial + (share.split * product.rows + o) * product.columns;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const std::int64_t n = std::int64_t{share.column_tile} * kTile + x + j * kSide;
      if (n < product.columns) row[n] = sums[i][j];
    }
    if (sums_rows) product.bias_partial[share.split * product.rows + o] = row_sums[i];
  }
}

}  // namespace

void launch_weight_gradients_general(const WeightGradientTask& task, const WeightGradientPlan& plan, Element element,
                                     cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(plan.tiles), static_cast<unsigned>(plan.splits));
  shape.block = dim3(kThreads);
  shape.shared_bytes = 2 * kChunk * kTile * sizeof(float);
  if (element == Element::kFloat32) {
    launch(weight_gradient_general_kernel<float>, shape, stream, task);
  } else {
    launch(weight_gradient_general_kernel<bf16>, shape, stream, task);
  }
}

}  // namespace musicstar::cuda
