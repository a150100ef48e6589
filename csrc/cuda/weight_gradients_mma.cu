// Weight gradients (weight_gradients.h) on tensor cores through mma.sync, for compute capability 8.0 and above: bf16
// operands, float sums.
//
//   partial[split][o][n] = sum over the span's b, t of gradient[b][t][o] * input[b][t - shift(n)][channel(n)]
//
// The sum runs over time, and both operands have time as their slow dimension, channels side by side: to the tensor
// cores both are transposed, which ldmatrix.trans undoes between shared memory and registers. A block of 8 warps owns a
// square tile of 128 (or 64) gradient channels by as many (tap, input channel) columns; a warp half the rows and a
// quarter of the columns. A step is 32 samples: 2 x 8 KiB through cp.async, 4 steps in flight. Every 16-byte piece of a
// tile's row has one source for the whole run (a channel of one gradient; a tap and a channel of the input), so its
// thread looks it up once; samples outside the sequence are zero-filled by the copy. Pieces are stored at
// piece ^ (sample % 8), so that the eight samples of an 8 x 8 matrix lie in different banks.
//
// The sums over time of the gradient itself (biases) are products with ones, a block of 16 rows to each of the warps
// that share rows, in the tiles of the first columns.
//
// Budget for 128: 4 stages x 16 KiB = 64 KiB shared memory, 64 sums a thread, 128 registers: two blocks an SM.
// Bound, decoder layer at B = 16, T = 16000, 128 channels: 50.3 GFLOP = 64 us at 790 TFLOP/s (161 us at A100's 312);
// 393 MB (dh 131, x, z, dx, ds 65.5 each) = 82 us at 4.8 TB/s (193 us at 2.04 TB/s). Through the cache each block reads
// 2 x 256 bytes for 2 x 128 x 128 operations a sample: 786 MB, about 145 us at 5.5 TB/s: what this path can reach on an
// H200, not counting mma.sync's own limit there (about 60 % of wgmma's rate: 105 us).
#include "cuda/launch.h"
#include "cuda/weight_gradients_task.cuh"

namespace musicstar::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 32;
constexpr int kStages = 4;
constexpr int kWarpsDown = 2, kWarpsAcross = 4;
constexpr std::uint32_t kOnes = 0x3F803F80;  // two bf16 1.0

// Where a 16-byte piece of a sample's row lies in a tile of shared memory, in elements.
template <int kTile>
__device__ int swizzled(int sample, int piece) {
  return sample * kTile + (piece ^ (sample & 7)) * 8;
}

// Queues the copies of one step of both operands. A thread copies one column of pieces, and keeps where its next sample
// lies: 32-bit times and pitches (the plan sees to that) leave the registers to the sums.
template <int kTile>
class Loader {
 public:
  static constexpr int kPieces = kTile / 8;
  static constexpr int kSamplesPerPass = kThreads / kPieces;

  __device__ Loader(const WeightGradientTask& task, const WeightGradientTask::Product& product,
                    const WeightGradientShare& share, int thread)
      : piece_(thread % kPieces), first_sample_(thread / kPieces), length_(static_cast<int>(task.time)) {
    const GradientColumn<bf16> gradient(product, std::int64_t{share.row_tile} * kTile + piece_ * 8);
    const InputColumn<bf16> input(product, std::int64_t{share.column_tile} * kTile + piece_ * 8);
    const ChunkPosition at(task, share.first_chunk, kChunk);
    time_ = static_cast<int>(at.time) + first_sample_;
    gradient_pitch_ = static_cast<int>(gradient.pitch);
    input_pitch_ = static_cast<int>(input.pitch);
    // A shift beyond the sequence reads nothing, however far.
    const bool inside = input.shift < task.time && input.shift > -task.time;
    shift_ = inside ? static_cast<int>(input.shift) : 0;
    has_gradient_ = gradient.present;
    has_input_ = input.present && inside;
    const std::int64_t sample = at.sequence * task.time + time_;
    gradient_ = gradient.first + sample * gradient_pitch_;
    input_ = input.first + (sample - shift_) * input_pitch_;
  }

  __device__ void load(bf16* gradients, bf16* inputs) const {
#pragma unroll
    for (int pass = 0; pass < kChunk / kSamplesPerPass; ++pass) {
      const int place = swizzled<kTile>(first_sample_ + pass * kSamplesPerPass, piece_);
      const int t = time_ + pass * kSamplesPerPass;
      const bool inside = t < length_;
      // The address of a copy that is not valid is not read.
      cp_async_16(gradients + place, gradient_ + std::int64_t{pass * kSamplesPerPass} * gradient_pitch_,
                  inside && has_gradient_);
      cp_async_16(inputs + place, input_ + std::int64_t{pass * kSamplesPerPass} * input_pitch_,
                  inside && has_input_ && static_cast<unsigned>(t - shift_) < static_cast<unsigned>(length_));
    }
  }

  // To the next chunk: of this sequence, or the first of the next.
  __device__ void advance() {
    const int start = time_ - first_sample_;
    const bool ends = start + kChunk >= length_;
    const int samples = ends ? length_ - start : kChunk;
    time_ = ends ? first_sample_ : time_ + kChunk;
    gradient_ += std::int64_t{samples} * gradient_pitch_;
    input_ += std::int64_t{samples} * input_pitch_;
  }

 private:
  int piece_, first_sample_;
  int time_, length_;  // of this thread's first sample in the chunk; T
  int gradient_pitch_, input_pitch_, shift_;
  bool has_gradient_, has_input_;
  const bf16* gradient_;
  const bf16* input_;
};

// resources: registers <= 128, shared <= 64 KiB, threads 256
template <int kTile>
__global__ void __launch_bounds__(kThreads, 2)
    weight_gradient_mma_kernel(const __grid_constant__ WeightGradientTask task) {
  constexpr int kRows = kTile / kWarpsDown, kColumns = kTile / kWarpsAcross;  // of a warp
  constexpr int kRowBlocks = kRows / 16, kColumnBlocks = kColumns / 8;
  constexpr int kOperand = kChunk * kTile;
  bf16* stages = dynamic_shared<bf16>();  // [kStages][gradient, input][kChunk][kTile]

  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int across = warp % kWarpsAcross;
  const int warp_row = warp / kWarpsAcross * kRows, warp_column = across * kColumns;
  const WeightGradientShare share = share_of_block(task);
  const WeightGradientTask::Product& product = task.products[share.product];
  Loader<kTile> loader(task, product, share, thread);
  // Of the warps that share rows, each sums one block of 16 of them.
  const bool sums_rows = product.bias_partial != nullptr && share.column_tile == 0 && across < kRowBlocks;

  float sums[kRowBlocks][kColumnBlocks][4] = {};
  float row_sums[4] = {};

  const int steps = static_cast<int>(share.last_chunk - share.first_chunk);
  const auto load_step = [&](int step) {
    if (step < steps) {
      bf16* stage = stages + step % kStages * 2 * kOperand;
      loader.load(stage, stage + kOperand);
      loader.advance();
    }
    cp_async_commit();  // an empty group where there is no step: the count of groups stays that of steps
  };
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) load_step(step);

  // ldmatrix x4: lane l gives the row (a sample) l % 8 of matrix l / 8. Gradient: matrices (samples 0-7, 8-15) slow,
  // (channels 0-7, 8-15) fast; input: the other way round.
  const int gradient_sample = lane / 16 * 8 + lane % 8, gradient_piece = warp_row / 8 + lane / 8 % 2;
  const int input_sample = lane / 8 % 2 * 8 + lane % 8, input_piece = warp_column / 8 + lane / 16;

  for (int step = 0; step < steps; ++step) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // this step has landed for everyone, and everyone has left the stage that is loaded next
    load_step(step + kStages - 1);
    const bf16* gradients = stages + step % kStages * 2 * kOperand;
    const bf16* inputs = gradients + kOperand;
#pragma unroll
    for (int sample = 0; sample < kChunk; sample += 16) {
      std::uint32_t b[kColumnBlocks][2];
#pragma unroll
      for (int j = 0; j < kColumnBlocks; j += 2) {
        std::uint32_t pair[4];
        ldmatrix_x4_transposed(pair, inputs + swizzled<kTile>(sample + input_sample, input_piece + j));
        b[j][0] = pair[0];
        b[j][1] = pair[1];
        b[j + 1][0] = pair[2];
        b[j + 1][1] = pair[3];
      }
#pragma unroll
      for (int i = 0; i < kRowBlocks; ++i) {
        std::uint32_t a[4];
        ldmatrix_x4_transposed(a, gradients + swizzled<kTile>(sample + gradient_sample, gradient_piece + 2 * i));
#pragma unroll
        for (int j = 0; j < kColumnBlocks; ++j) mma_bf16_m16n8k16(sums[i][j], a, b[j]);
        if (sums_rows && i == across) {
          const std::uint32_t ones[2] = {kOnes, kOnes};
          mma_bf16_m16n8k16(row_sums, a, ones);
        }
      }
    }
  }

  // A thread holds rows lane / 4 and + 8 of a 16 x 8 block, two neighbouring columns of each.
#pragma unroll
  for (int i = 0; i < kRowBlocks; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::int64_t o = std::int64_t{share.row_tile} * kTile + warp_row + i * 16 + half * 8 + lane / 4;
      if (o >= product.rows) continue;
      float* row = product.partial + (share.split * product.rows + o) * product.columns;
#pragma unroll
      for (int j = 0; j < kColumnBlocks; ++j) {
        const std::int64_t n = std::int64_t{share.column_tile} * kTile + warp_column + j * 8 + lane % 4 * 2;
        if (n < product.columns) {
          *reinterpret_cast<float2*>(row + n) = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
        }
      }
      if (sums_rows && i == across && lane % 4 == 0) {
        product.bias_partial[share.split * product.rows + o] = row_sums[2 * half];
      }
    }
  }
}

template <int kTile>
void launch_tile(const WeightGradientTask& task, const WeightGradientPlan& plan, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(plan.tiles), static_cast<unsigned>(plan.splits));
  shape.block = dim3(kThreads);
  shape.shared_bytes = kStages * 2 * kChunk * kTile * sizeof(bf16);
  launch(weight_gradient_mma_kernel<kTile>, shape, stream, task);
}

}  // namespace

void launch_weight_gradients_mma(const WeightGradientTask& task, const WeightGradientPlan& plan, cudaStream_t stream) {
  if (plan.tile_rows == 128) {
    launch_tile<128>(task, plan, stream);
  } else {
    launch_tile<64>(task, plan, stream);
  }
}

}  // namespace musicstar::cuda
