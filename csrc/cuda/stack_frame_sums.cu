// The gradient of the condition: dcondition[b][f] = sum of dh over the samples of frame f, in a fixed order.
//
// Two ways. From dh itself (any sizes; a block sums 32 columns of one frame, eight rows at a time): dh is read once
// more, 131 MB a layer at B = 16, T = 16,000, R = 128, 27 us at 4.8 TB/s. Or from the sums of strips of 16 rows that
// the tensor-core kernels leave (frame_sums.cuh; a thread adds one column of one frame, strip after strip): 16 MB.
#include "cuda/frame_sums.cuh"
#include "cuda/launch.h"
#include "cuda/stack_paths.h"

namespace musicstar::cuda {

namespace {

constexpr int kColumns = 32, kRowsAtOnce = 8, kThreads = kColumns * kRowsAtOnce;

// resources: registers <= 48, shared <= 1 KiB, threads 256
template <class T>
__global__ void __launch_bounds__(kThreads)
    sum_frames_kernel(const T* dh, std::int64_t time, std::int64_t columns, std::int64_t frames, std::int64_t pool,
                      float* dcondition) {
  MUSICSTAR_SHARED(float, partial, kThreads);
  const int x = static_cast<int>(threadIdx.x) % kColumns, y = static_cast<int>(threadIdx.x) / kColumns;
  const std::int64_t batch = blockIdx.x / frames, frame = blockIdx.x % frames;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.y) * kColumns + x;
  const std::int64_t begin = frame < (time + pool - 1) / pool ? frame * pool : time;
  const std::int64_t end = time - begin < pool ? time : begin + pool;
  float sum = 0.0f;
  if (column < columns) {
    for (std::int64_t t = begin + y; t < end; t += kRowsAtOnce) {
      sum += static_cast<float>(dh[(batch * time + t) * columns + column]);
    }
  }
  partial[threadIdx.x] = sum;
  __syncthreads();
  if (y == 0 && column < columns) {
    for (int row = 1; row < kRowsAtOnce; ++row) sum += partial[row * kColumns + x];
    dcondition[(batch * frames + frame) * columns + column] = sum;
  }
}

// resources: registers <= 40, shared <= 0 KiB, threads 256
__global__ void __launch_bounds__(kThreads)
    add_strips_kernel(const float* strips, std::int64_t sequence_strips, std::int64_t time, int columns,
                      std::int64_t frames, std::int64_t pool, float* dcondition) {
  const std::int64_t batch = blockIdx.x / frames, frame = blockIdx.x % frames;
  const int column = static_cast<int>(threadIdx.x);
  if (column >= columns) return;
  const std::int64_t begin = frame < (time + pool - 1) / pool ? frame * pool : time;
  const std::int64_t end = time - begin < pool ? time : begin + pool;
  float sum = 0.0f;
  // A frame that begins within a strip is that strip's second.
  for (std::int64_t strip = begin / kStripRows; strip * kStripRows < end && begin < end; ++strip) {
    const int second = strip * kStripRows < begin;
    sum += strips[((batch * sequence_strips + strip) * 2 + second) * columns + column];
  }
  dcondition[(batch * frames + frame) * columns + column] = sum;
}

}  // namespace

template <class T>
void sum_frames(const GatedResidualStackSizes& sizes, const T* dh, float* dcondition, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(sizes.batch * sizes.frames),
                  static_cast<unsigned>((2 * sizes.residual + kColumns - 1) / kColumns));
  launch(sum_frames_kernel<T>, LaunchShape{grid, dim3(kThreads)}, stream, dh, sizes.time, 2 * sizes.residual,
         sizes.frames, sizes.pool, dcondition);
}
template void sum_frames(const GatedResidualStackSizes&, const float*, float*, cudaStream_t);
template void sum_frames(const GatedResidualStackSizes&, const __nv_bfloat16*, float*, cudaStream_t);

std::int64_t strips_of_sequence(const GatedResidualStackSizes& sizes) {
  constexpr std::int64_t kTile = 128;  // the larger of the paths' tiles
  return (sizes.time + kTile - 1) / kTile * (kTile / kStripRows);
}

bool strips_suffice(const GatedResidualStackSizes& sizes) { return sizes.pool >= kStripRows; }

void add_strips(const GatedResidualStackSizes& sizes, const float* strips, float* dcondition, cudaStream_t stream) {
  launch(add_strips_kernel, LaunchShape{dim3(static_cast<unsigned>(sizes.batch * sizes.frames)), dim3(kThreads)},
         stream, strips, strips_of_sequence(sizes), sizes.time, static_cast<int>(2 * sizes.residual), sizes.frames,
         sizes.pool, dcondition);
}

}  // namespace musicstar::cuda
