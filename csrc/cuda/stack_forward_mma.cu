// Forward of one layer in bf16 on mma.sync tensor cores (sm_80), R = S (or C) in {32, 64, 128}, K <= 3.
//
//   gated:  h = sum_k taps_k x[t - delay_k] + condition[frame];  z = sigmoid(h_gate) tanh(h_filter)
//           x_next = x + residual z + bias
//   sum:    skip sum = sum_l skip_l z_l, all layers in one long product with fp32 sums
//   GLU:    a = ReLU(sum_k taps_k x[t + offset_k] + bias);  p = pointwise a + bias;  x_next = x + p_value
//   sigmoid(p_gate)
//
// Why the skip sum is a product of its own: a running sum costs a layer one read and one write of [B][T][S] (in fp32
// two each) and rounds 40 times where it is bf16; z costs one write and one read, is what the weight gradients need
// anyway, and is summed in registers, rounded once.
//
// One block: 128 rows (tile_mma.cuh). The order of the taps puts the unshifted one last, so that its tile stays in
// shared memory for the residual; z (or a) takes the place of the first tile and is the operand of the next step. The
// tails of x (stack_tails.cuh) are asked for before the last product and wait in registers, C / 8 a thread. Bytes a
// layer at B = 16, T = 16,000, C = 128: x read (its other taps come from L2), x_next and z written, 196 MB, and tails
// both ways, 66 MB; 41.9 GFLOP (gated), and for the sum 65.5 MB and 8.4 GFLOP a layer. Bound on an A100 (312 TFLOP/s,
// 1.9 TB/s): 138 + 34 us; weights come from L2 once a block: 160 KB for 128 rows, 330 MB a layer. Predicted, not
// measured: 1.4 times the bound on an A100 (one block an SM, whose first loads nothing hides), 110 to 130 us on an
// H200, where mma.sync reaches some 60 % of wgmma.
#include "cuda/stack_paths.h"
#include "cuda/stack_tails.cuh"
#include "cuda/stack_weights.h"
#include "cuda/tap_order.cuh"
#include "cuda/tile_mma.cuh"

namespace musicstar::cuda::mma {

namespace {

// Steps 0 .. taps - 1: the taps of x. Then, where asked, one product with what the block has made of them.
struct LayerProgram {
  int steps = 0, tiles = 0;
  TapOrder order{};
  int channels = 0, outputs = 0;  // outputs: of a tap
  const bf16* x = nullptr;        // of this sequence
  std::int64_t dilation = 0;
  const bf16* taps = nullptr;  // [K][outputs][channels]
  const bf16* last = nullptr;  // [last_outputs][channels]
  int last_outputs = 0;

  __device__ RowSource rows(int tile) const { return {x, channels, (order(tile) - order.centre) * dilation}; }
  __device__ WeightSource weights(int step) const {
    if (step == order.taps) return {last, channels, last_outputs};
    return {taps + static_cast<std::int64_t>(order(step)) * outputs * channels, channels, outputs};
  }
};

struct GatedForward {
  const bf16 *x, *taps, *residual;
  const float *bias, *condition;
  bf16 *x_next, *z;
  const void* tails_before;
  void* tails_after;
  std::int64_t dilation, frames;
  int time, kernel_size, pool;
};

// resources: registers <= 255, shared <= 160 KiB, threads 256
template <int C>
__global__ void __launch_bounds__(kThreads, 1) gated_forward_mma_kernel(GatedForward call) {
  using Shape = Layout<C, 2 * C>;
  const Place<C> place(call.time);
  const std::int64_t first = place.batch * call.time;
  LayerProgram program;
  program.order = {call.kernel_size, call.kernel_size - 1};
  program.tiles = call.kernel_size;
  program.steps = call.kernel_size + (call.x_next != nullptr);
  program.channels = C, program.outputs = 2 * C;
  program.x = call.x + first * C;
  program.dilation = call.dilation;
  program.taps = call.taps, program.last = call.residual, program.last_outputs = C;
  TileProducts<C, 2 * C, LayerProgram> products(dynamic_shared<unsigned char>(), program, place);
  unsigned char* const current = products.buffer(call.kernel_size - 1);
  unsigned char* const z = products.buffer(call.kernel_size == 1 ? 1 : 0);
  {
    float h[Shape::kRowTiles][8][4] = {};
    for (int step = 0; step < call.kernel_size; ++step) products.template multiply<8>(h, step, products.buffer(step));
    FrameValues<C> frames(call.condition, call.frames, call.pool, place);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = place.row + 16 * m + 8 * half;
          frames.load(row, 8 * i);
          const float z0 =
              fast_sigmoid(h[m][i][2 * half] + frames.gate.x) * fast_tanh(h[m][i + 4][2 * half] + frames.filter.x);
          const float z1 = fast_sigmoid(h[m][i][2 * half + 1] + frames.gate.y) *
                           fast_tanh(h[m][i + 4][2 * half + 1] + frames.filter.y);
          pair_of<C>(z, row, place.column + 8 * i) = pack_bf16(z0, z1);
        }
      }
    }
  }
  if (call.x_next != nullptr) {
    Tails<C> tails;
    tails.load(call.tails_before, blockIdx.x, static_cast<int>(threadIdx.x), kThreads);
    float sums[Shape::kRowTiles][4][4] = {};
    products.template multiply<4>(sums, call.kernel_size, z);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 bias = *reinterpret_cast<const float2*>(call.bias + place.column + 8 * i);
#pragma unroll
      for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          std::uint32_t& pair = pair_of<C>(current, place.row + 16 * m + 8 * half, place.column + 8 * i);
          const int number = (Shape::kRowTiles * i + m) * 2 + half;
          const float2 x = tails.join(number, pair);
          pair = tails.split(number, x.x + sums[m][i][2 * half] + bias.x, x.y + sums[m][i][2 * half + 1] + bias.y);
        }
      }
    }
    tails.store(call.tails_after, blockIdx.x, static_cast<int>(threadIdx.x), kThreads);
  }
  products.finish();
  products.store_rows(z, call.z + first * C, C);
  if (call.x_next != nullptr) products.store_rows(current, call.x_next + first * C, C);
}

// Step l: z_l times skip_l.
struct SkipProgram {
  int steps = 0, tiles = 0;
  int channels = 0;
  const bf16* z = nullptr;
  std::int64_t layer_elements = 0;
  const bf16* skip = nullptr;

  __device__ RowSource rows(int tile) const { return {z + tile * layer_elements, channels, 0}; }
  __device__ WeightSource weights(int step) const {
    return {skip + static_cast<std::int64_t>(step) * channels * channels, channels, channels};
  }
};

struct SkipSum {
  const bf16 *z, *skip;
  float* running;
  bf16* sum;
  std::int64_t batch;
  int time, layers;
  bool continued;
};

// resources: registers <= 255, shared <= 128 KiB, threads 256
template <int C>
__global__ void __launch_bounds__(kThreads, 1) skip_sum_mma_kernel(SkipSum call) {
  using Shape = Layout<C, C>;
  const Place<C> place(call.time);
  const std::int64_t first = place.batch * call.time;
  SkipProgram program;
  program.steps = program.tiles = call.layers;
  program.channels = C;
  program.z = call.z + first * C;
  program.layer_elements = call.batch * call.time * C;
  program.skip = call.skip;
  TileProducts<C, C, SkipProgram> products(dynamic_shared<unsigned char>(), program, place);
  float sums[Shape::kRowTiles][4][4] = {};
#pragma unroll 1
  for (int step = 0; step < call.layers; ++step) products.template multiply<4>(sums, step, products.buffer(step));
  products.finish();
  unsigned char* const staged = products.buffer(0);
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = place.row + 16 * m + 8 * half;
      const bool inside = place.t0 + row < call.time;
      float* running = call.running + (first + place.t0 + row) * C + place.column;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float2 value = make_float2(sums[m][i][2 * half], sums[m][i][2 * half + 1]);
        if (call.continued && inside) {
          const float2 before = *reinterpret_cast<const float2*>(running + 8 * i);
          value.x += before.x, value.y += before.y;
        }
        if (call.sum != nullptr) {
          pair_of<C>(staged, row, place.column + 8 * i) = pack_bf16(value.x, value.y);
        } else if (inside) {
          *reinterpret_cast<float2*>(running + 8 * i) = value;
        }
      }
    }
  }
  if (call.sum == nullptr) return;
  __syncthreads();
  products.store_rows(staged, call.sum + first * C, C);
}

struct GluForward {
  const bf16 *x, *taps, *pointwise;
  const float *dilated_bias, *pointwise_bias;
  bf16* x_next;
  const void* tails_before;
  void* tails_after;
  std::int64_t dilation;
  int time, kernel_size;
};

// resources: registers <= 255, shared <= 160 KiB, threads 256
template <int C, bool Gated>
__global__ void __launch_bounds__(kThreads, 1) glu_forward_mma_kernel(GluForward call) {
  constexpr int kOutputs = Gated ? 2 * C : C;
  using Shape = Layout<C, kOutputs>;
  const Place<C> place(call.time);
  const std::int64_t first = place.batch * call.time;
  LayerProgram program;
  program.order = {call.kernel_size, call.kernel_size / 2};
  program.tiles = call.kernel_size;
  program.steps = call.kernel_size + 1;
  program.channels = C, program.outputs = C;
  program.x = call.x + first * C;
  program.dilation = call.dilation;
  program.taps = call.taps, program.last = call.pointwise, program.last_outputs = kOutputs;
  TileProducts<C, kOutputs, LayerProgram> products(dynamic_shared<unsigned char>(), program, place);
  unsigned char* const current = products.buffer(call.kernel_size - 1);
  unsigned char* const a = products.buffer(call.kernel_size == 1 ? 1 : 0);
  {
    float u[Shape::kRowTiles][4][4] = {};
    for (int step = 0; step < call.kernel_size; ++step) products.template multiply<4>(u, step, products.buffer(step));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 bias = *reinterpret_cast<const float2*>(call.dilated_bias + place.column + 8 * i);
#pragma unroll
      for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          pair_of<C>(a, place.row + 16 * m + 8 * half, place.column + 8 * i) =
              pack_bf16(fmaxf(u[m][i][2 * half] + bias.x, 0.0f), fmaxf(u[m][i][2 * half + 1] + bias.y, 0.0f));
        }
      }
    }
  }
  Tails<C> tails;
  tails.load(call.tails_before, blockIdx.x, static_cast<int>(threadIdx.x), kThreads);
  constexpr int kColumnTiles = Gated ? 8 : 4;
  float p[Shape::kRowTiles][kColumnTiles][4] = {};
  products.template multiply<kColumnTiles>(p, call.kernel_size, a);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float* bias = call.pointwise_bias + place.column + 8 * i;
    const float2 value_bias = *reinterpret_cast<const float2*>(bias);
    float2 gate_bias = make_float2(0.0f, 0.0f);
    if constexpr (Gated) gate_bias = *reinterpret_cast<const float2*>(bias + C);
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        std::uint32_t& pair = pair_of<C>(current, place.row + 16 * m + 8 * half, place.column + 8 * i);
        const int number = (Shape::kRowTiles * i + m) * 2 + half;
        const float2 x = tails.join(number, pair);
        float y0 = p[m][i][2 * half] + value_bias.x, y1 = p[m][i][2 * half + 1] + value_bias.y;
        if constexpr (Gated) {
          y0 *= fast_sigmoid(p[m][i + 4][2 * half] + gate_bias.x);
          y1 *= fast_sigmoid(p[m][i + 4][2 * half + 1] + gate_bias.y);
        }
        pair = tails.split(number, x.x + y0, x.y + y1);
      }
    }
  }
  tails.store(call.tails_after, blockIdx.x, static_cast<int>(threadIdx.x), kThreads);
  products.finish();
  products.store_rows(current, call.x_next + first * C, C);
}

}  // namespace

void forward(const GatedResidualStackSizes& sizes, const void* packed, const GatedForwardCall<bf16>& call,
             cudaStream_t stream) {
  const GatedWeights<bf16> weights(sizes, packed);
  const std::int64_t matrix = sizes.residual * sizes.residual;
  const GatedForward kernel_call{call.x,
                                 weights.taps_straight + call.layer * sizes.kernel_size * 2 * matrix,
                                 weights.residual_straight + call.layer * matrix,
                                 weights.residual_bias + call.layer * sizes.residual,
                                 call.condition,
                                 call.x_next,
                                 call.z,
                                 call.tails_before,
                                 call.tails_after,
                                 sizes.dilations[call.layer],
                                 sizes.frames,
                                 static_cast<int>(sizes.time),
                                 static_cast<int>(sizes.kernel_size),
                                 static_cast<int>(sizes.pool < sizes.time ? sizes.pool : sizes.time)};
  for_channels(sizes.residual, [&](auto channels) {
    constexpr int C = decltype(channels)::value;
    launch(gated_forward_mma_kernel<C>, tile_shape<C, 2 * C>(sizes.batch, sizes.time), stream, kernel_call);
  });
}

void skip_sum(const GatedResidualStackSizes& sizes, const void* packed, const SkipSumCall<bf16>& call,
              cudaStream_t stream) {
  const GatedWeights<bf16> weights(sizes, packed);
  const SkipSum kernel_call{call.z,
                            weights.skip_straight + call.first_layer * sizes.skip * sizes.residual,
                            call.running,
                            call.sum,
                            sizes.batch,
                            static_cast<int>(sizes.time),
                            static_cast<int>(call.layers),
                            call.first_layer > 0};
  for_channels(sizes.residual, [&](auto channels) {
    constexpr int C = decltype(channels)::value;
    launch(skip_sum_mma_kernel<C>, tile_shape<C, C>(sizes.batch, sizes.time), stream, kernel_call);
  });
}

void forward(const GluResidualStackSizes& sizes, const void* packed, const GluForwardCall<bf16>& call,
             cudaStream_t stream) {
  const GluWeights<bf16> weights(sizes, packed);
  const std::int64_t outputs = sizes.pointwise_channels(), matrix = sizes.channels * sizes.channels;
  const GluForward kernel_call{call.x,
                               weights.taps_straight + call.layer * sizes.kernel_size * matrix,
                               weights.pointwise_straight + call.layer * outputs * sizes.channels,
                               weights.dilated_bias + call.layer * sizes.channels,
                               weights.pointwise_bias + call.layer * outputs,
                               call.x_next,
                               call.tails_before,
                               call.tails_after,
                               sizes.dilations[call.layer],
                               static_cast<int>(sizes.time),
                               static_cast<int>(sizes.kernel_size)};
  for_channels(sizes.channels, [&](auto channels) {
    constexpr int C = decltype(channels)::value;
    if (sizes.gated) {
      launch(glu_forward_mma_kernel<C, true>, tile_shape<C, 2 * C>(sizes.batch, sizes.time), stream, kernel_call);
    } else {
      launch(glu_forward_mma_kernel<C, false>, tile_shape<C, C>(sizes.batch, sizes.time), stream, kernel_call);
    }
  });
}

}  // namespace musicstar::cuda::mma
