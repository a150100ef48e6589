// The skip sum of a whole gated stack in bf16 on wgmma tensor cores (sm_90a), R = S in {64, 128}:
//
//   sum[t] = sum_l skip_l z_l[t],   one product of L R terms with fp32 sums
//
// A block owns 256 rows of one sequence and all S columns: two consumer warpgroups of 128 rows each (two products of 64
// rows, 2 x S / 2 registers of sums a thread) and a warpgroup of which one thread copies. A step is 64 of the L R
// terms: 256 x 64 of z and S x 64 of the skip weights, 32 + 16 KiB at S = 128, four steps in flight (192 KiB); rows
// past the end arrive as zeros. Rows are 128 bytes, 128-byte swizzle, all operands K-major. The result leaves through
// registers, once a stack.
//
// Bytes at B = 16, T = 16,000, R = S = 128, L = 40: z read once, 2.6 GB = 546 us at 4.8 TB/s; 336 GFLOP = 425 us at 790
// TFLOP/s; the weights come from L2 once a block, 1.3 MB for 256 rows, 1.3 GB. Predicted, not measured: 0.7 ms, 17 us a
// layer.
#include "cuda/stack_paths.h"
#include "cuda/stack_weights.h"
#include "cuda/tile_wgmma.cuh"

namespace musicstar::cuda::wgmma {

namespace {

constexpr int kSumRows = 256, kSteps = 4;

struct SkipSum {
  float* running;
  bf16* sum;
  std::int64_t batch;
  int time, layers;
  bool continued;
};

template <int C>
struct SumStep {
  static constexpr int kRowBytes = kSumRows * 128, kWeightBytes = C * 128, kBytes = kRowBytes + kWeightBytes;
  static constexpr int kSharedBytes = kSteps * kBytes + 2 * kSteps * 8;
};

// resources: registers <= 168, shared <= 193 KiB, threads 384
template <int C>
__global__ void __launch_bounds__(kThreads, 1)
    skip_sum_wgmma_kernel(const __grid_constant__ CUtensorMap z, const __grid_constant__ CUtensorMap skip,
                          SkipSum call) {
#ifdef MUSICSTAR_SM90A
  using Step = SumStep<C>;
  unsigned char* const shared = dynamic_shared<unsigned char>();
  Mbarrier* const full = reinterpret_cast<Mbarrier*>(shared + kSteps * Step::kBytes);
  Mbarrier* const empty = full + kSteps;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kSteps; ++i) {
      mbarrier_init(full + i, 1);
      mbarrier_init(empty + i, kConsumers * kGroupThreads / kWarp);
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  const int sequence_tiles = (call.time + kSumRows - 1) / kSumRows;
  const std::int64_t batch = blockIdx.x / sequence_tiles;
  const int t0 = static_cast<int>(blockIdx.x % sequence_tiles) * kSumRows;
  const int steps = call.layers * (C / 64);

  if (threadIdx.x >= kConsumers * kGroupThreads) {
    setmaxnreg_decrease<kCopierRegisters>();
    if (threadIdx.x > kConsumers * kGroupThreads) return;
    for (int n = 0; n < steps; ++n) {
      const int layer = n / (C / 64), column = n % (C / 64) * 64;
      unsigned char* const slot = shared + n % kSteps * Step::kBytes;
      mbarrier_wait(empty + n % kSteps, (n / kSteps + 1) & 1);
      mbarrier_arrive_expect(full + n % kSteps, Step::kBytes);
      tensor_copy_3d(slot, &z, column, t0, static_cast<int>(layer * call.batch + batch), full + n % kSteps);
      tensor_copy_3d(slot + Step::kRowBytes, &skip, column, 0, layer, full + n % kSteps);
    }
    return;
  }

  setmaxnreg_increase<kConsumerRegisters>();
  const Consumer me;
  float upper[C / 2] = {}, lower[C / 2] = {};
  const auto release = [&](int n) {
    __syncwarp();
    if (me.lane == 0) mbarrier_arrive(empty + n % kSteps);
  };
  for (int n = 0; n < steps; ++n) {
    const unsigned char* const slot = shared + n % kSteps * Step::kBytes;
    const unsigned char* const rows = slot + me.group * (128 * 128);
    mbarrier_wait(full + n % kSteps, n / kSteps & 1);
    keep_registers(upper);
    keep_registers(lower);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const std::uint64_t weights = shared_descriptor(slot + Step::kRowBytes + k * 32, 16, 1024);
      wgmma_bf16<C>(upper, shared_descriptor(rows + k * 32, 16, 1024), weights);
      wgmma_bf16<C>(lower, shared_descriptor(rows + 64 * 128 + k * 32, 16, 1024), weights);
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (n > 0) release(n - 1);
  }
  wgmma_wait<0>();
  keep_registers(upper);
  keep_registers(lower);

  const auto store = [&](const float (&sums)[C / 2], int first_row) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int t = t0 + 128 * me.group + first_row + me.row + 8 * half;
      if (t >= call.time) return;
      const std::int64_t index = (batch * call.time + t) * C + me.column;
#pragma unroll
      for (int j = 0; j < C / 8; ++j) {
        float2 value = make_float2(sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1]);
        if (call.continued) {
          const float2 before = *reinterpret_cast<const float2*>(call.running + index + 8 * j);
          value.x += before.x, value.y += before.y;
        }
        if (call.sum != nullptr) {
          *reinterpret_cast<std::uint32_t*>(call.sum + index + 8 * j) = pack_bf16(value.x, value.y);
        } else {
          *reinterpret_cast<float2*>(call.running + index + 8 * j) = value;
        }
      }
    }
  };
  store(upper, 0);
  store(lower, 64);
#else
  unavailable();
#endif
}

}  // namespace

void skip_sum(const GatedResidualStackSizes& sizes, const void* packed, const SkipSumCall<bf16>& call,
              cudaStream_t stream) {
  const GatedWeights<bf16> weights(sizes, packed);
  const auto run = [&](auto constant) {
    constexpr int C = decltype(constant)::value;
    const std::int64_t blocks = sizes.batch * ((sizes.time + kSumRows - 1) / kSumRows);
    const LaunchShape shape{dim3(static_cast<unsigned>(blocks)), dim3(kThreads), SumStep<C>::kSharedBytes};
    TensorShape rows;
    rows.x = C, rows.y = sizes.time, rows.z = call.layers * sizes.batch;
    rows.stride_y = C, rows.stride_z = sizes.time * C;
    rows.box_x = 64, rows.box_y = kSumRows;
    const SkipSum kernel_call{
        call.running,        call.sum, sizes.batch, static_cast<int>(sizes.time), static_cast<int>(call.layers),
        call.first_layer > 0};
    launch(skip_sum_wgmma_kernel<C>, shape, stream, make_tensor_map_3d(call.z, rows, Swizzle::k128),
           map_weights(weights.skip_straight + call.first_layer * C * C, call.layers, C, C), kernel_call);
  };
  if (sizes.residual == 64) return run(std::integral_constant<int, 64>());
  if (sizes.residual == 128) return run(std::integral_constant<int, 128>());
  mma::skip_sum(sizes, packed, call, stream);
}

}  // namespace musicstar::cuda::wgmma
