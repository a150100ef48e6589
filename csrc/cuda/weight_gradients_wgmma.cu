// Weight gradients (weight_gradients.h) on an H100's or H200's tensor cores through wgmma: bf16 operands that tensor
// copies bring, float sums. Compute capability 9.0.
//
//   partial[split][o][n] = sum over the span's b, t of gradient[b][t][o] * input[b][t - shift(n)][channel(n)]
//
// A step is 64 samples. Operands come in boxes of 64 samples by 64 channels (128 bytes, stored with the 128-byte
// swizzle). The sum runs along the rows, so both are MN-major to wgmma, which takes that for bf16: a box is 8 samples
// to an atom (`stride` 1024), the next 64 channels are the next box (`leading` 8192), 16 samples are 2048 bytes on. A
// tap is a shifted box: the copy fills samples before 0 and from T on with zeros, which is the padding.
//
//         standing tile, more than 128 rows            lying tile, at most 128 rows
//                 columns 0..127                        columns 0..127   128..255
//       rows     +---------------+                     +---------------+---------------+
//       0..127   | warpgroup 0   | block 0     rows    | warpgroup 0   | warpgroup 1   |
//                +---------------+             0..127  +---------------+---------------+
//     128..255   | warpgroup 1   | block 1                   block 1         block 2       rows: block 0
//                +---------------+
//                     block 2
//
// Three blocks of 128 channels a step either way, 48 KiB, four steps in flight (192 KiB); a consumer thread holds 128
// sums. Warp 8 produces: each of six lanes looks up one box's source once and then issues its copy every step. Warps 9
// to 11 meanwhile add up the gradient itself over time (biases), out of the same shared memory: the channels are read
// once from memory for everything that is made of them.
//
// Bound, decoder layer at B = 16, T = 16000, 128 channels: 50.3 GFLOP = 64 us at 790 TFLOP/s; 393 MB (dh 131, x, z, dx,
// ds 65.5 each) = 82 us at 4.8 TB/s. Blocks read 3 x 256 bytes for 2 x 256 x 128 operations a sample: 590 MB, 107 us at
// about 5.5 TB/s out of the cache, which is what to expect; shared memory moves 128 bytes a cycle at most, of which the
// products take 96 at full rate and the arriving copies 48: 72 us. Prediction: 107 us; 44 splits of 3 tiles fill 132
// SMs once.
#include "cuda/launch.h"
#include "cuda/tensor_map.h"
#include "cuda/weight_gradients_task.cuh"

namespace musicstar::cuda {

namespace {

constexpr int kConsumerWarps = 8, kSumWarps = 3;
constexpr int kProducerWarp = kConsumerWarps;
constexpr int kThreads = (kProducerWarp + 1 + kSumWarps) * kWarp;
constexpr int kChunk = 64;
constexpr int kStages = 4;
constexpr int kBoxChannels = 64;
constexpr int kBoxBytes = kChunk * kBoxChannels * 2;
constexpr int kBlockChannels = 128;  // two boxes
constexpr int kBlockBytes = 2 * kBoxBytes;
constexpr int kBlocks = 3, kBoxes = 2 * kBlocks;
constexpr int kStageBytes = kBlocks * kBlockBytes;
constexpr int kStepBytes = 16 * kBoxChannels * 2;  // from 16 samples to the next 16
constexpr int kAtomBytes = 8 * kBoxChannels * 2;
constexpr int kMostRows = 2 * kBlockChannels;
constexpr int kSumBarrier = 1;

struct TensorMaps {
  CUtensorMap gradient[WeightGradients::kProducts][WeightGradient::kSources];
  CUtensorMap input[WeightGradients::kProducts];
};

// The block's memory, in this order.
struct Memory {
  unsigned char* stages;  // [kStages][kBlocks][2 boxes][kChunk][64 channels], swizzled
  float* row_sums;        // [kSumWarps][kMostRows]
  Mbarrier* full;         // [kStages]
  Mbarrier* empty;        // [kStages]

  static constexpr std::size_t kBytes =
      kStages * kStageBytes + kSumWarps * kMostRows * sizeof(float) + 2 * kStages * sizeof(Mbarrier);

  __device__ Memory()
      : stages(dynamic_shared<unsigned char>()),
        row_sums(reinterpret_cast<float*>(stages + kStages * kStageBytes)),
        full(reinterpret_cast<Mbarrier*>(row_sums + kSumWarps * kMostRows)),
        empty(full + kStages) {}
};

// What of the product the block's three operand blocks hold (the picture above).
struct Tile {
  bool standing;
  std::int64_t first_row, first_column;

  __device__ Tile(const WeightGradientTask::Product& product, const WeightGradientShare& share)
      : standing(product.rows > kBlockChannels),
        first_row(std::int64_t{share.row_tile} * (standing ? 2 : 1) * kBlockChannels),
        first_column(std::int64_t{share.column_tile} * (standing ? 1 : 2) * kBlockChannels) {}

  __device__ int blocks_of_rows() const { return standing ? 2 : 1; }
  // First row (or column) of the part that a warpgroup makes, and the blocks of its operands.
  __device__ std::int64_t row_of(int group) const { return first_row + (standing ? group * kBlockChannels : 0); }
  __device__ std::int64_t column_of(int group) const { return first_column + (standing ? 0 : group * kBlockChannels); }
  __device__ int gradient_block(int group) const { return standing ? group : 0; }
  __device__ int input_block(int group) const { return standing ? 2 : 1 + group; }
};

// The three roles; compiled for other architectures, whose kernel is empty, nobody plays them.
[[maybe_unused]] __device__ void produce(const WeightGradientTask& task, const TensorMaps& maps,
                                         const WeightGradientShare& share, const WeightGradientTask::Product& product,
                                         const Tile& tile, const Memory& memory, int lane) {
  // One lane, one box of 64 channels.
  const int block = lane / 2;
  const bool of_gradient = block < tile.blocks_of_rows();
  const std::int64_t offset =
      std::int64_t{of_gradient ? block : block - tile.blocks_of_rows()} * kBlockChannels + lane % 2 * kBoxChannels;
  const CUtensorMap* map = nullptr;
  int channel = 0;
  std::int64_t shift = 0;
  bool present = lane < kBoxes;
  if (present && of_gradient) {
    const std::int64_t o = tile.first_row + offset;
    present = o < product.rows;
    const int source = o >= product.channels[0] ? 1 : 0;
    map = &maps.gradient[share.product][source];
    channel = static_cast<int>(source != 0 ? o - product.channels[0] : o);
  } else if (present) {
    const std::int64_t n = tile.first_column + offset;
    present = n < product.columns;
    map = &maps.input[share.product];
    channel = static_cast<int>(n % product.input_channels);
    shift = product.first_shift - n / product.input_channels * product.step;
    // Further than a sequence is as good as that far: everything outside.
    const std::int64_t most = task.time + kChunk;
    shift = shift > most ? most : (shift < -most ? -most : shift);
  }
  const std::uint32_t bytes = static_cast<std::uint32_t>(__popc(__ballot_sync(kAllLanes, present))) * kBoxBytes;

  ChunkPosition at(task, share.first_chunk, kChunk);
  const int steps = static_cast<int>(share.last_chunk - share.first_chunk);
  for (int step = 0; step < steps; ++step) {
    const int stage = step % kStages;
    mbarrier_wait(memory.empty + stage, (step / kStages & 1) ^ 1);  // the first round finds them empty
    if (lane == 0) mbarrier_arrive_expect(memory.full + stage, bytes);
    __syncwarp();
    if (present) {
      tensor_copy_3d(memory.stages + stage * kStageBytes + lane * kBoxBytes, map, channel,
                     static_cast<int>(at.time - shift), static_cast<int>(at.sequence), memory.full + stage);
    }
    at.advance(task, kChunk);
  }
}

// Adds up the gradient's channels over the span: each warp a third of the samples, a lane eight channels.
[[maybe_unused]] __device__ void sum_rows(const WeightGradientShare& share, const WeightGradientTask::Product& product,
                                          const Tile& tile, const Memory& memory, int warp, int lane) {
  constexpr int kEach = 8;
  const bool present =
      lane * kEach < tile.blocks_of_rows() * kBlockChannels && tile.first_row + lane * kEach < product.rows;
  const int box = lane / 8, piece = lane % 8;
  float sums[kEach] = {};
  const int steps = static_cast<int>(share.last_chunk - share.first_chunk);
  for (int step = 0; step < steps; ++step) {
    const int stage = step % kStages;
    mbarrier_wait(memory.full + stage, step / kStages & 1);
    if (present) {
      const unsigned char* from = memory.stages + stage * kStageBytes + box * kBoxBytes;
      for (int sample = warp; sample < kChunk; sample += kSumWarps) {
        const uint4 values =
            *reinterpret_cast<const uint4*>(from + sample * kBoxChannels * 2 + (piece ^ (sample & 7)) * 16);
        const std::uint32_t pairs[kEach / 2] = {values.x, values.y, values.z, values.w};
#pragma unroll
        for (int i = 0; i < kEach / 2; ++i) {
          const float2 pair = unpack_bf16(pairs[i]);
          sums[2 * i] += pair.x;
          sums[2 * i + 1] += pair.y;
        }
      }
    }
    __syncwarp();
    if (lane == 0) mbarrier_arrive(memory.empty + stage);
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) memory.row_sums[warp * kMostRows + lane * kEach + i] = sums[i];
  named_barrier_sync(kSumBarrier, kSumWarps * kWarp);
  const int rows = tile.blocks_of_rows() * kBlockChannels;
  for (int row = warp * kWarp + lane; row < rows; row += kSumWarps * kWarp) {
    const std::int64_t o = tile.first_row + row;
    if (o >= product.rows) break;
    float sum = memory.row_sums[row];
#pragma unroll
    for (int from = 1; from < kSumWarps; ++from) sum += memory.row_sums[from * kMostRows + row];
    product.bias_partial[share.split * product.rows + o] = sum;
  }
}

[[maybe_unused]] __device__ void multiply(const WeightGradientShare& share, const WeightGradientTask::Product& product,
                                          const Tile& tile, const Memory& memory, int warp, int lane) {
  constexpr int kHalves = kBlockChannels / 64;  // wgmma makes 64 rows
  const int group = warp / 4;
  const std::int64_t first_row = tile.row_of(group), first_column = tile.column_of(group);
  const bool active = first_row < product.rows && first_column < product.columns;
  float sums[kHalves][kBlockChannels / 2] = {};

  const int steps = static_cast<int>(share.last_chunk - share.first_chunk);
  for (int step = 0; step < steps; ++step) {
    const int stage = step % kStages;
    mbarrier_wait(memory.full + stage, step / kStages & 1);
    if (active) {
      const unsigned char* gradients = memory.stages + stage * kStageBytes + tile.gradient_block(group) * kBlockBytes;
      const unsigned char* inputs = memory.stages + stage * kStageBytes + tile.input_block(group) * kBlockBytes;
#pragma unroll
      for (int half = 0; half < kHalves; ++half) keep_registers(sums[half]);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < kChunk / 16; ++k) {
        const std::uint64_t b = shared_descriptor(inputs + k * kStepBytes, kBoxBytes, kAtomBytes);
#pragma unroll
        for (int half = 0; half < kHalves; ++half) {
          const std::uint64_t a =
              shared_descriptor(gradients + half * kBoxBytes + k * kStepBytes, kBoxBytes, kAtomBytes);
          wgmma_bf16<kBlockChannels, true, true>(sums[half], a, b);
        }
      }
      wgmma_commit();
      wgmma_wait<1>();  // the step before this one
    }
    __syncwarp();  // without products nothing else holds a warp together, and a lane left behind would miss its phase
    if (step > 0 && lane == 0) mbarrier_arrive(memory.empty + (step - 1) % kStages);
  }
  wgmma_wait<0>();
#pragma unroll
  for (int half = 0; half < kHalves; ++half) keep_registers(sums[half]);

#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
#pragma unroll
    for (int lower = 0; lower < 2; ++lower) {
      const std::int64_t o = first_row + half * 64 + warp % 4 * 16 + lower * 8 + lane / 4;
      if (o >= product.rows) continue;
      float* row = product.partial + (share.split * product.rows + o) * product.columns;
#pragma unroll
      for (int j = 0; j < kBlockChannels / 8; ++j) {
        const std::int64_t n = first_column + j * 8 + lane % 4 * 2;
        if (n < product.columns) {
          *reinterpret_cast<float2*>(row + n) =
              make_float2(sums[half][4 * j + 2 * lower], sums[half][4 * j + 2 * lower + 1]);
        }
      }
    }
  }
}

// resources: registers <= 168, shared <= 196 KiB, threads 384
__global__ void __launch_bounds__(kThreads, 1)
    weight_gradient_wgmma_kernel(const __grid_constant__ WeightGradientTask task,
                                 const __grid_constant__ TensorMaps maps) {
#ifdef MUSICSTAR_SM90A
  const Memory memory;
  const int warp = warp_of_thread(), lane = lane_of_thread();
  const WeightGradientShare share = share_of_block(task);
  const WeightGradientTask::Product& product = task.products[share.product];
  const Tile tile(product, share);
  const bool sums_rows = product.bias_partial != nullptr && share.column_tile == 0;

  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrier_init(memory.full + stage, 1);
      mbarrier_init(memory.empty + stage, kConsumerWarps + (sums_rows ? kSumWarps : 0));
    }
    fence_mbarrier_init();
  }
  __syncthreads();

  if (warp < kConsumerWarps) {
    multiply(share, product, tile, memory, warp, lane);
  } else if (warp == kProducerWarp) {
    produce(task, maps, share, product, tile, memory, lane);
  } else if (sums_rows) {
    sum_rows(share, product, tile, memory, warp - kProducerWarp - 1, lane);
  }
#endif
}

CUtensorMap map_of(const void* data, std::int64_t channels, const WeightGradientTask& task) {
  TensorShape shape;
  shape.x = shape.stride_y = channels;
  shape.y = task.time;
  shape.z = task.batch;
  shape.stride_z = task.time * channels;
  shape.box_x = kBoxChannels;
  shape.box_y = kChunk;
  return make_tensor_map_3d(data, shape, Swizzle::k128);
}

}  // namespace

void launch_weight_gradients_wgmma(const WeightGradientTask& task, const WeightGradientPlan& plan,
                                   cudaStream_t stream) {
  TensorMaps maps = {};
  for (int p = 0; p < WeightGradients::kProducts; ++p) {
    const WeightGradientTask::Product& product = task.products[p];
    if (product.rows == 0) continue;
    for (int s = 0; s < WeightGradient::kSources; ++s) {
      if (product.channels[s] > 0) maps.gradient[p][s] = map_of(product.gradient[s], product.channels[s], task);
    }
    maps.input[p] = map_of(product.input, product.input_channels, task);
  }
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(plan.tiles), static_cast<unsigned>(plan.splits));
  shape.block = dim3(kThreads);
  shape.shared_bytes = Memory::kBytes;
  launch(weight_gradient_wgmma_kernel, shape, stream, task, maps);
}

}  // namespace musicstar::cuda
