// Data backward of one layer in bf16 on mma.sync tensor cores (sm_80), R = S (or C) in {32, 64, 128}, K <= 3.
//
//   gate:   dz = skip^T dsum + residual^T dx_next;  h computed again;  with s = sigmoid(h_gate), f = tanh(h_filter)
//           dh = (dz f s (1 - s), dz s (1 - f^2))
//   input:  dx = dx_next + sum_k taps_k^T gradient[t + shift_k]                     gradient: dh, or du of a GLU layer
//   GLU:    a computed again;  p = pointwise a + bias;  with s = sigmoid(p_gate):
//           dp = (dx_next s, dx_next p_value s (1 - s));  da = pointwise^T dp;  du = da where a > 0
//
// Two kernels a layer, as the taps of dx need dh of other tiles: within one kernel a block would have to compute dh of
// up to K - 1 further tiles of rows (98,304 multiply-adds a row again), where writing dh and reading it back costs 2
// tensors of traffic that the weight gradients need anyway. h is computed again (65,536 multiply-adds a row: 43 us on
// an H200 at B = 16, T = 16,000, C = 128) rather than kept: keeping it would cost 131 MB a layer of memory, written and
// read in 61 us.
//
// Blocks as in tile_mma.cuh, 128 rows of all channels; dz is kept as bf16 pairs (rounded as dh will be) while h is
// summed. Bytes at that size: gate reads x, dx_next, dsum and writes dh: 327 MB for 50.3 GFLOP; input reads dh and
// dx_next, writes dx, and tails of both (stack_tails.cuh): 328 MB for 33.5 GFLOP; the GLU's reads x, dx_next and writes
// du, dp, a: 393 MB for 58.7 GFLOP. Bounds on an A100: 172, 172 and 207 us (memory and tensor cores about even).
// Predicted, not measured: 1.4 times these.
#include "cuda/frame_sums.cuh"
#include "cuda/stack_paths.h"
#include "cuda/stack_tails.cuh"
#include "cuda/stack_weights.h"
#include "cuda/tap_order.cuh"
#include "cuda/tile_mma.cuh"

namespace musicstar::cuda::mma {

namespace {

struct GateBackward {
  const bf16 *x, *dx_next, *dsum;
  const bf16 *taps, *residual_crossed, *skip_crossed;
  const float* condition;
  bf16* dh;
  float* strips;
  std::int64_t dilation, frames, sequence_strips;
  int time, kernel_size, pool;
};

// Steps: dsum, dx_next (where there is one), the taps.
struct GateProgram {
  int steps = 0, tiles = 0;
  int channels = 0;
  int first_tap = 0;
  GateBackward call;  // its sequences from this block's on

  __device__ RowSource rows(int tile) const {
    if (tile == 0) return {call.dsum, channels, 0};
    if (tile < first_tap) return {call.dx_next, channels, 0};
    return {call.x, channels, (tile - first_tap - (call.kernel_size - 1)) * call.dilation};
  }
  __device__ WeightSource weights(int step) const {
    if (step == 0) return {call.skip_crossed, channels, channels};
    if (step < first_tap) return {call.residual_crossed, channels, channels};
    return {call.taps + static_cast<std::int64_t>(step - first_tap) * 2 * channels * channels, channels, 2 * channels};
  }
};

// resources: registers <= 255, shared <= 160 KiB, threads 256
template <int C>
__global__ void __launch_bounds__(kThreads, 1) gate_backward_mma_kernel(GateBackward call) {
  using Shape = Layout<C, 2 * C>;
  const Place<C> place(call.time);
  const std::int64_t first = place.batch * call.time;
  GateProgram program;
  program.channels = C;
  program.first_tap = call.dx_next != nullptr ? 2 : 1;
  program.steps = program.tiles = program.first_tap + call.kernel_size;
  program.call = call;
  program.call.x += first * C;
  program.call.dsum += first * C;
  if (call.dx_next != nullptr) program.call.dx_next += first * C;
  TileProducts<C, 2 * C, GateProgram> products(dynamic_shared<unsigned char>(), program, place);

  std::uint32_t dz[Shape::kRowTiles][4][2];
  {
    float sums[Shape::kRowTiles][4][4] = {};
    for (int step = 0; step < program.first_tap; ++step) {
      products.template multiply<4>(sums, step, products.buffer(step));
    }
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        dz[m][i][0] = pack_bf16(sums[m][i][0], sums[m][i][1]);
        dz[m][i][1] = pack_bf16(sums[m][i][2], sums[m][i][3]);
      }
    }
  }
  float h[Shape::kRowTiles][8][4] = {};
  for (int step = program.first_tap; step < program.steps; ++step) {
    products.template multiply<8>(h, step, products.buffer(step));
  }
  products.finish();
  unsigned char* const gate_rows = products.buffer(0);
  unsigned char* const filter_rows = products.buffer(1);
  float* const strips = call.strips == nullptr ? nullptr : call.strips + place.batch * call.sequence_strips * 4 * C;
  FrameValues<C> frames[2] = {{call.condition, call.frames, call.pool, place},
                              {call.condition, call.frames, call.pool, place}};
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
#pragma unroll
    for (int m = 0; m < Shape::kRowTiles; ++m) {
      float dh[2][2][4];  // [half][column pair][gate, gate, filter, filter]
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int row = place.row + 16 * m + 8 * half, column = place.column + 8 * (i + j);
          frames[j].load(row, 8 * (i + j));
          const float2 d = unpack_bf16(dz[m][i + j][half]);
          const float* gate = &h[m][i + j][2 * half];
          const float* filter = &h[m][i + j + 4][2 * half];
          const float s0 = fast_sigmoid(gate[0] + frames[j].gate.x), s1 = fast_sigmoid(gate[1] + frames[j].gate.y);
          const float f0 = fast_tanh(filter[0] + frames[j].filter.x), f1 = fast_tanh(filter[1] + frames[j].filter.y);
          dh[half][j][0] = d.x * f0 * s0 * (1.0f - s0);
          dh[half][j][1] = d.y * f1 * s1 * (1.0f - s1);
          dh[half][j][2] = d.x * s0 * (1.0f - f0 * f0);
          dh[half][j][3] = d.y * s1 * (1.0f - f1 * f1);
          pair_of<C>(gate_rows, row, column) = pack_bf16(dh[half][j][0], dh[half][j][1]);
          pair_of<C>(filter_rows, row, column) = pack_bf16(dh[half][j][2], dh[half][j][3]);
        }
      }
      StripSums<C>(strips, place.t0 + place.row - lane_of_thread() / 4 + 16 * m, call.pool)
          .add(place.column - lane_of_thread() % 4 * 2 + 8 * i, dh[0], dh[1]);
    }
  }
  __syncthreads();
  products.store_rows(gate_rows, call.dh + first * 2 * C, 2 * C);
  products.store_rows(filter_rows, call.dh + first * 2 * C + C, 2 * C);
}

struct InputBackward {
  const bf16 *gradient, *crossed, *dx_next;
  bf16* dx;
  const void* tails_before;
  void* tails_after;
  std::int64_t first_shift, step;
  int time, taps, width;  // width: channels of the gradient, C or 2 C
};

// Steps: for each tap, each C channels of the gradient. One more tile: dx_next, for the epilogue.
struct InputProgram {
  int steps = 0, tiles = 0;
  int channels = 0, parts = 0;
  InputBackward call;  // its sequences from this block's on

  __device__ RowSource rows(int tile) const {
    if (tile == steps) return {call.dx_next, channels, 0};
    const int tap = tile / parts, part = tile % parts;
    return {call.gradient + part * channels, call.width, call.first_shift - tap * call.step};
  }
  __device__ WeightSource weights(int step) const {
    const int tap = step / parts, part = step % parts;
    return {call.crossed + static_cast<std::int64_t>(tap) * channels * call.width + part * channels, call.width,
            channels};
  }
};

// resources: registers <= 255, shared <= 128 KiB, threads 256
template <int C>
__global__ void __launch_bounds__(kThreads, 1) input_backward_mma_kernel(InputBackward call) {
  using Shape = Layout<C, C>;
  const Place<C> place(call.time);
  const std::int64_t first = place.batch * call.time;
  InputProgram program;
  program.channels = C;
  program.parts = call.width / C;
  program.steps = program.parts * call.taps;
  program.tiles = program.steps + (call.dx_next != nullptr);
  program.call = call;
  program.call.gradient += first * call.width;
  if (call.dx_next != nullptr) program.call.dx_next += first * C;
  TileProducts<C, C, InputProgram> products(dynamic_shared<unsigned char>(), program, place);
  Tails<C> tails;
  tails.load(call.tails_before, blockIdx.x, static_cast<int>(threadIdx.x), kThreads);
  float sums[Shape::kRowTiles][4][4] = {};
#pragma unroll 1
  for (int step = 0; step < program.steps; ++step) products.template multiply<4>(sums, step, products.buffer(step));
  products.finish();
  unsigned char* const staged = products.buffer(program.steps);
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        std::uint32_t& pair = pair_of<C>(staged, place.row + 16 * m + 8 * half, place.column + 8 * i);
        const int number = (Shape::kRowTiles * i + m) * 2 + half;
        const float2 base = call.dx_next != nullptr ? tails.join(number, pair) : make_float2(0.0f, 0.0f);
        pair = tails.split(number, base.x + sums[m][i][2 * half], base.y + sums[m][i][2 * half + 1]);
      }
    }
  }
  tails.store(call.tails_after, blockIdx.x, static_cast<int>(threadIdx.x), kThreads);
  __syncthreads();
  products.store_rows(staged, call.dx + first * C, C);
}

struct GluBackward {
  const bf16 *x, *dx_next;
  const bf16 *taps, *pointwise, *pointwise_crossed;
  const float *dilated_bias, *pointwise_bias;
  bf16 *du, *dp, *a;
  std::int64_t dilation;
  int time, kernel_size;
};

// Steps: the taps; gated: p, then da from the two halves of dp; plain: da from dx_next. One more tile: dx_next.
struct GluProgram {
  int steps = 0, tiles = 0;
  TapOrder order{};  // the forward's: a ReLU must fall to the same side again
  int channels = 0;
  bool gated = false;
  GluBackward call;  // its sequences from this block's on

  __device__ RowSource rows(int tile) const {
    if (tile == call.kernel_size) return {call.dx_next, channels, 0};
    return {call.x, channels, (order(tile) - order.centre) * call.dilation};
  }
  __device__ WeightSource weights(int step) const {
    const int after = step - call.kernel_size;
    if (after < 0) {
      return {call.taps + static_cast<std::int64_t>(order(step)) * channels * channels, channels, channels};
    }
    if (!gated) return {call.pointwise_crossed, channels, channels};
    if (after == 0) return {call.pointwise, channels, 2 * channels};
    return {call.pointwise_crossed + (after - 1) * channels, 2 * channels, channels};
  }
};

// resources: registers <= 255, shared <= 160 KiB, threads 256
template <int C, bool Gated>
__global__ void __launch_bounds__(kThreads, 1) glu_backward_mma_kernel(GluBackward call) {
  constexpr int kOutputs = Gated ? 2 * C : C;
  using Shape = Layout<C, kOutputs>;
  const Place<C> place(call.time);
  const std::int64_t first = place.batch * call.time;
  const int taps = call.kernel_size;
  GluProgram program;
  program.order = {taps, taps / 2};
  program.channels = C;
  program.gated = Gated;
  program.steps = taps + (Gated ? 3 : 1);
  program.tiles = taps + 1;
  program.call = call;
  program.call.x += first * C;
  program.call.dx_next += first * C;
  TileProducts<C, kOutputs, GluProgram> products(dynamic_shared<unsigned char>(), program, place);
  // dx_next lies where it was loaded; the other two tiles are free once the last tap is under way.
  unsigned char* const dx_next = products.buffer(taps);
  unsigned char* const a = products.buffer(taps + 1);
  {
    float u[Shape::kRowTiles][4][4] = {};
    for (int step = 0; step < taps; ++step) products.template multiply<4>(u, step, products.buffer(step));
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
  unsigned char* dp_value = dx_next;
  unsigned char* const dp_gate = products.buffer(taps + 2);
  if constexpr (Gated) {
    float p[Shape::kRowTiles][8][4] = {};
    products.template multiply<8>(p, taps, a);
    // dx_next landed as step `taps` began, when everybody had left the buffer of dp_gate.
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* bias = call.pointwise_bias + place.column + 8 * i;
      const float2 value_bias = *reinterpret_cast<const float2*>(bias);
      const float2 gate_bias = *reinterpret_cast<const float2*>(bias + C);
#pragma unroll
      for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = place.row + 16 * m + 8 * half;
          std::uint32_t& pair = pair_of<C>(dp_value, row, place.column + 8 * i);
          const float2 d = unpack_bf16(pair);
          const float s0 = fast_sigmoid(p[m][i + 4][2 * half] + gate_bias.x);
          const float s1 = fast_sigmoid(p[m][i + 4][2 * half + 1] + gate_bias.y);
          pair = pack_bf16(d.x * s0, d.y * s1);
          pair_of<C>(dp_gate, row, place.column + 8 * i) =
              pack_bf16(d.x * (p[m][i][2 * half] + value_bias.x) * s0 * (1.0f - s0),
                        d.y * (p[m][i][2 * half + 1] + value_bias.y) * s1 * (1.0f - s1));
        }
      }
    }
  }
  float da[Shape::kRowTiles][4][4] = {};
  if constexpr (Gated) {
    products.template multiply<4>(da, taps + 1, dp_value);
    products.template multiply<4>(da, taps + 2, dp_gate);
    products.store_rows(dp_value, call.dp + first * 2 * C, 2 * C);
    products.store_rows(dp_gate, call.dp + first * 2 * C + C, 2 * C);
  } else {
    products.template multiply<4>(da, taps, dx_next);
  }
  products.store_rows(a, call.a + first * C, C);
  __syncthreads();  // du takes the place of a
#pragma unroll
  for (int m = 0; m < Shape::kRowTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        std::uint32_t& pair = pair_of<C>(a, place.row + 16 * m + 8 * half, place.column + 8 * i);
        const float2 active = unpack_bf16(pair);
        pair = pack_bf16(active.x > 0.0f ? da[m][i][2 * half] : 0.0f, active.y > 0.0f ? da[m][i][2 * half + 1] : 0.0f);
      }
    }
  }
  __syncthreads();
  products.store_rows(a, call.du + first * C, C);
}

}  // namespace

void gate_backward(const GatedResidualStackSizes& sizes, const void* packed, const GateBackwardCall<bf16>& call,
                   cudaStream_t stream) {
  const GatedWeights<bf16> weights(sizes, packed);
  const std::int64_t matrix = sizes.residual * sizes.residual;
  const GateBackward kernel_call{call.x,
                                 call.dx_next,
                                 call.dsum,
                                 weights.taps_straight + call.layer * sizes.kernel_size * 2 * matrix,
                                 weights.residual_crossed + call.layer * matrix,
                                 weights.skip_crossed + call.layer * matrix,
                                 call.condition,
                                 call.dh,
                                 call.strips,
                                 sizes.dilations[call.layer],
                                 sizes.frames,
                                 strips_of_sequence(sizes),
                                 static_cast<int>(sizes.time),
                                 static_cast<int>(sizes.kernel_size),
                                 static_cast<int>(sizes.pool < sizes.time ? sizes.pool : sizes.time)};
  for_channels(sizes.residual, [&](auto channels) {
    constexpr int C = decltype(channels)::value;
    launch(gate_backward_mma_kernel<C>, tile_shape<C, 2 * C>(sizes.batch, sizes.time), stream, kernel_call);
  });
}

void input_backward(const InputBackwardCall<bf16>& call, cudaStream_t stream) {
  const InputBackward kernel_call{call.gradient,
                                  call.crossed,
                                  call.dx_next,
                                  call.dx,
                                  call.tails_before,
                                  call.tails_after,
                                  call.first_shift,
                                  call.step,
                                  static_cast<int>(call.time),
                                  static_cast<int>(call.taps),
                                  static_cast<int>(call.width)};
  for_channels(call.channels, [&](auto channels) {
    constexpr int C = decltype(channels)::value;
    launch(input_backward_mma_kernel<C>, tile_shape<C, C>(call.batch, call.time), stream, kernel_call);
  });
}

void pointwise_backward(const GluResidualStackSizes& sizes, const void* packed, const GluBackwardCall<bf16>& call,
                        cudaStream_t stream) {
  const GluWeights<bf16> weights(sizes, packed);
  const std::int64_t outputs = sizes.pointwise_channels(), matrix = sizes.channels * sizes.channels;
  const GluBackward kernel_call{call.x,
                                call.dx_next,
                                weights.taps_straight + call.layer * sizes.kernel_size * matrix,
                                weights.pointwise_straight + call.layer * outputs * sizes.channels,
                                weights.pointwise_crossed + call.layer * outputs * sizes.channels,
                                weights.dilated_bias + call.layer * sizes.channels,
                                weights.pointwise_bias + call.layer * outputs,
                                call.du,
                                call.dp,
                                call.a,
                                sizes.dilations[call.layer],
                                static_cast<int>(sizes.time),
                                static_cast<int>(sizes.kernel_size)};
  for_channels(sizes.channels, [&](auto channels) {
    constexpr int C = decltype(channels)::value;
    if (sizes.gated) {
      launch(glu_backward_mma_kernel<C, true>, tile_shape<C, 2 * C>(sizes.batch, sizes.time), stream, kernel_call);
    } else {
      launch(glu_backward_mma_kernel<C, false>, tile_shape<C, C>(sizes.batch, sizes.time), stream, kernel_call);
    }
  });
}

}  // namespace musicstar::cuda::mma
