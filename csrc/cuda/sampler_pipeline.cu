// The sampler with one layer a multiprocessor. Equations: reference/decoder.cpp; one sample of one lane is
//
//   x_0, s_0 = functions of the last two codes
//   h = (b + condition + past x_l[t - d]) + current x_l[t],   z = sigmoid(h[:R]) tanh(h[R:])
//   x_{l+1} = x_l + b + residual z,   s_{l+1} = s_l + skip z                                   l = 0 .. depth - 1
//   logits = W ReLU(b + condition + head ReLU(s)) + b,   code = draw(logits)
//
// a chain of 2 depth + 2 products that wait for each other. The kernel keeps every weight in registers and lets the
// activations travel: block l of a pipeline is layer l (sampler_layer.cuh), one more block is the head and closes the
// circle (sampler_head.cuh), and groups of 8 lanes go round: while layer l works on one group, layer l - 1 works on the
// next. One launch makes thousands of samples; nothing but activations moves during it. One lane and a thousand take
// the same kernel: a lane alone has its column in a group of 8 and the chain to itself.
//
// Products: mma.m16n8k16, weights as the operand of 16 rows, the group's lanes as the 8 columns, bf16 with fp32 sums. x
// travels as two bf16 (high + low, 16 bits of mantissa), so that the residual sum is not rounded to bf16 once a layer;
// the high half is the operand. The skip sum travels in fp32. An output is one chain of additions in one order, so that
// lanes, pieces, placements and launches change no bit.
//
// Hand-over (sampler_links.cuh): between neighbours of a cluster through distributed shared memory, st.async counted by
// mbarriers; between clusters, and everywhere below compute capability 9.0, through L2, data their own flag. All blocks
// run at the same time (cooperative launch), the waits form no circle, and a launch ends after its samples.
//
// Off the chain: what is past (the dilated tap, one or two steps ahead, from a ring in global memory, and the
// condition, projected once a frame by sampler_condition.cu), and the skip product, in warps of their own.
//
// Thread mapping, R = 128: 4 chain warps and 4 side warps, one of each in every quarter of the multiprocessor. A warp
// has 32 of the gates, the 32 filters that they meet in the same thread, and 32 rows of the square matrix: for the
// chain current (256 x 128) and residual, for the side past (256 x 128) and skip, for the head's chain logits (256 x
// 128) and head. R = 64: 16 gates a warp; R = 32: half the warps.
//
// Budget, R = 128: weights 192 registers a thread, all in all 255 x 256 threads = the whole register file. Shared
// memory 108 KiB: 64 of inboxes (8 slots of 4 KiB x and 4 KiB s), 32 of coming `older`, 12 of z and past inputs. State
// in global memory: 2 bytes a channel and slot of a ring, 1 MB a lane of the full network; 16 KiB a group and link
// through L2. R = 64 and 32 use a half and a quarter of it: several blocks share a multiprocessor.
//
// Bound and prediction for an H200 (132 multiprocessors, 1.7 GHz). Nothing of this has run on a real GPU: these are
// sums of what others measured of single instructions, and no measurement. Cycles of a layer's step, one lane:
//
//   x on its way (st.async to a neighbour) and noticed      240
//   current: 32 products a warp, one in 6.5, + latencies     270
//   gate: 8 special functions at 8 (a full group: 16), + 40  104    (168)
//   z to the other warps                                      60
//   residual: 16 products, + latencies                       167
//   rounding and sending                                      40
//   sum                                                      881    (945)   0.52 us (0.56)
//
// Through L2 about 800 more: 1.0 us. The head 1560 (0.9 us), a third of it the draw. So for one lane and clusters of 14
// (41 blocks, three links through L2): 37 x 0.52 + 3 x 1.0 + 0.9 = 23 us, 43 kHz; without clusters 41 us, 24 kHz.
// A block is busy for 745 cycles of a full group's step (0.44 us; its products alone 96 x 6.5 = 624), so a full
// pipeline makes 8 samples in 0.44 us. 512 lanes are 64 groups: two pipelines of clusters of 14, which the device's
// sixteen-SM partitions leave room for, go round in 37 x 0.56 + 3 x 1.04 + 1.2 = 25 us: 20 M samples a second; 1,024
// lanes are bound by the blocks, 64 x 0.44 = 28 us: 36 M. Three pipelines in full work would make 54 M.
#include "cuda/sampler_pipeline.h"

#include <algorithm>
#include <string>

#include "cuda/launch.h"
#include "cuda/sampler_head.cuh"
#include "cuda/sampler_layer.cuh"

namespace musicstar::cuda {

namespace {

// Each role starts from numbers of its own, so that nothing is worked out for all of them before they part and kept in
// registers that the weights need.
__device__ __forceinline__ Place own(const Place& place) {
  return {__shfl_sync(kAllLanes, place.block, 0), __shfl_sync(kAllLanes, place.first_group, 0),
          __shfl_sync(kAllLanes, place.groups, 0)};
}

// resources: registers <= 255, shared <= 128 KiB, threads 256
template <int R, bool Clusters>
__global__ void __launch_bounds__(Spread<R>::kThreads, 1) sampler_pipeline_kernel(const PipelineCall call) {
  if constexpr (!Clusters || kHasClusters) {
    const int pipeline = static_cast<int>(blockIdx.x) / call.blocks;
    const int block = static_cast<int>(blockIdx.x) % call.blocks;
    // The first pipelines have one group more where groups do not divide.
    const int each = call.groups / call.pipelines, more = call.groups % call.pipelines;
    const int groups = each + (pipeline < more ? 1 : 0);
    const int first_group = pipeline * each + min(pipeline, more);
    unsigned char* const shared = dynamic_shared<unsigned char>();
    if constexpr (Clusters) {
      if (threadIdx.x == 0) Links<R, Clusters>::initialise(shared);
      cluster_sync();
    }
    if (block <= call.depth) {
      constexpr int kWarps = Spread<R>::kWarps;
      const int warp = warp_of_thread();
      const Place place = {block, first_group, groups};
      if (block < call.depth) {
        if (warp < kWarps) {
          chain_of_layer<R, Clusters>(call, own(place), shared, warp);
        } else {
          side_of_layer<R, Clusters>(call, own(place), shared, warp - kWarps);
        }
      } else if (warp < kWarps) {
        chain_of_head<R, Clusters>(call, own(place), shared, warp);
      } else {
        side_of_head<R, Clusters>(call, own(place), shared, warp - kWarps);
      }
    }
    if constexpr (Clusters) cluster_sync();  // nobody leaves while a neighbour may still reach into its shared memory
  }
}

template <int R>
LaunchShape shape_of(int blocks, int cluster, int groups_of_a_pipeline) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(blocks));
  shape.block = dim3(Spread<R>::kThreads);
  shape.shared_bytes = static_cast<std::size_t>(pipeline_shared(R, groups_of_a_pipeline).bytes);
  shape.cluster = dim3(static_cast<unsigned>(cluster));
  shape.cooperative = true;
  return shape;
}

template <int R>
int blocks_at_once_of(int cluster, int groups_of_a_pipeline) {
  constexpr int kMany = 1 << 20;
  const LaunchShape shape = shape_of<R>(kMany / cluster * cluster, cluster, groups_of_a_pipeline);
  void (*const kernel)(PipelineCall) =
      cluster > 1 ? sampler_pipeline_kernel<R, true> : sampler_pipeline_kernel<R, false>;
  return blocks_at_once(reinterpret_cast<const void*>(kernel), shape);
}

template <int R>
void launch_of(const PipelineCall& call, cudaStream_t stream) {
  const int most_groups = (call.groups + call.pipelines - 1) / call.pipelines;
  const LaunchShape shape = shape_of<R>(call.pipelines * call.blocks, call.cluster, most_groups);
  if (call.cluster > 1) {
    launch(sampler_pipeline_kernel<R, true>, shape, stream, call);
  } else {
    launch(sampler_pipeline_kernel<R, false>, shape, stream, call);
  }
}

// Calls f with R as a constant.
template <class F>
auto with_channels(int channels, const F& f) {
  switch (channels) {
    case 32:
      return f(std::integral_constant<int, 32>());
    case 64:
      return f(std::integral_constant<int, 64>());
    case 128:
      return f(std::integral_constant<int, 128>());
    default:
      throw Error("no pipeline kernel has " + std::to_string(channels) + " channels, only 32, 64 and 128");
  }
}

}  // namespace

int pipeline_blocks_at_once(int channels, int cluster, int groups_of_a_pipeline) {
  return with_channels(channels, [&](auto r) { return blocks_at_once_of<r()>(cluster, groups_of_a_pipeline); });
}

void launch_sampler_pipeline(int channels, const PipelineCall& call, cudaStream_t stream) {
  with_channels(channels, [&](auto r) { launch_of<r()>(call, stream); });
}

}  // namespace musicstar::cuda
