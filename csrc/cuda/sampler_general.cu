// The sampler for every size: equations in reference/decoder.cpp.
//
// A block decodes one lane, or two or four that share the weights, through all layers; nothing is shared between
// blocks. A guided lane is two of these, heard and unheard, which meet in the draw. All
// activations of a sample lie in shared memory as [channel][lane]. A thread computes one output for all lanes of the
// block: a chain of multiply-adds in the order of the inputs, whatever the number of lanes, with weights [in][out]
// streamed from L2 (coalesced: a warp reads 128 neighbouring bytes of fp32). All sums are fp32; the draw is made in
// double precision, so that fp32 draws what the reference draws.
//
// Bound: the weights through L2 for every sample, 16 MB of fp32 for the full network: about 64 bytes a clock and
// multiprocessor, so 150 us a sample whatever the lanes of the block (predicted, not measured): 7 kHz for a lane, and
// 132 x 4 lanes / 200 us = 2.6 M samples a second. The pipeline (sampler_pipeline.cu) is what is made for speed.
//
// Memory: shared ((K + 4) R + 2 S + 256 + K) floats a lane; rings (K - 1) d R floats a layer and lane in global memory.
#include "cuda/sampler_general.h"

#include <algorithm>
#include <type_traits>

#include "cuda/launch.h"
#include "cuda/sampler_draw.cuh"

namespace musicstar::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kLogits = 256;

template <typename Weight>
__device__ __forceinline__ float value_of(Weight weight) {
  if constexpr (std::is_same<Weight, float>::value) {
    return weight;
  } else {
    return __bfloat162float(weight);
  }
}

// sum[lane] += sum_i weights[i][out] x[i][lane]; `stride` outputs in a row of weights.
template <int Lanes, typename Weight>
__device__ __forceinline__ void accumulate(float (&sum)[Lanes], const Weight* weights, std::int64_t stride,
                                           const float* x, int inputs) {
#pragma unroll 8
  for (int i = 0; i < inputs; ++i) {
    const float weight = value_of(weights[i * stride]);
#pragma unroll
    for (int lane = 0; lane < Lanes; ++lane) sum[lane] = fmaf(weight, x[i * Lanes + lane], sum[lane]);
  }
}

// Wider networks than 128 channels in four lanes take more shared memory, and fewer blocks a multiprocessor.
// resources: registers <= 128, shared <= 64 KiB, threads 256, blocks 2
template <typename Weight, int Lanes>
__global__ void __launch_bounds__(kThreads, 2) sampler_general_kernel(const GeneralCall<Weight> call) {
  const GeneralPlan& plan = call.plan;
  const int residual = plan.residual, skip = plan.skip, kernel_size = plan.kernel_size;
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t first_lane = static_cast<std::int64_t>(blockIdx.x) * Lanes;
  const std::int64_t rows = static_cast<std::int64_t>(plan.depth) * 2 * residual + skip;

  float* const logits = dynamic_shared<float>();                 // [lane][256], 16-byte aligned rows
  float* const x = logits + Lanes * kLogits;                     // [R][lane]
  float* const past = x + residual * Lanes;                      // [K - 1][R][lane]
  float* const h = past + (kernel_size - 1) * residual * Lanes;  // [2R][lane], its first half then z
  float* const s = h + 2 * residual * Lanes;                     // [S][lane]
  float* const hidden = s + skip * Lanes;                        // [S][lane]
  float* const inputs = hidden + skip * Lanes;                   // [K][lane]

  for (int i = thread; i < kernel_size * Lanes; i += kThreads) {
    const std::int64_t lane = first_lane + i % Lanes;
    inputs[i] = lane < call.lanes ? call.inputs[lane * kernel_size + i / Lanes] : 0.0f;
  }
  __syncthreads();

  for (int sample = 0; sample < call.samples; ++sample) {
    const std::int64_t position = call.position + sample;
    const std::int64_t frame = position / call.pool - call.position / call.pool;
    const float* const condition = call.condition + (frame * call.lanes + first_lane) * rows;
    const auto conditioned = [&](float (&sum)[Lanes], std::int64_t row) {
#pragma unroll
      for (int lane = 0; lane < Lanes; ++lane) {
        sum[lane] = first_lane + lane < call.lanes ? condition[lane * rows + row] : 0.0f;
      }
    };

    for (int r = thread; r < residual; r += kThreads) {
      for (int lane = 0; lane < Lanes; ++lane) {
        float sum = call.vectors[plan.first_bias + r];
        for (int k = 0; k < kernel_size; ++k) {
          sum = fmaf(call.vectors[static_cast<std::int64_t>(k) * residual + r], inputs[k * Lanes + lane], sum);
        }
        x[r * Lanes + lane] = sum;
      }
    }
    __syncthreads();
    for (int o = thread; o < skip; o += kThreads) {
      float sum[Lanes];
      for (float& value : sum) value = call.vectors[plan.first_skip_bias + o];
      accumulate(sum, call.matrices + o, skip, x, residual);
      for (int lane = 0; lane < Lanes; ++lane) s[o * Lanes + lane] = sum[lane];
    }

    float* ring = call.rings + static_cast<std::int64_t>(blockIdx.x) * plan.ring_slots * residual * Lanes;
    for (int layer = 0; layer < plan.depth; ++layer) {
      const std::int64_t dilation = std::int64_t{1} << (layer % plan.layers);
      const std::int64_t slots = (kernel_size - 1) * dilation;
      if (kernel_size > 1) {
        // The newest input takes the place of the oldest, which the same thread has read.
        const std::int64_t slot = position % slots;
        for (int i = thread; i < residual * Lanes; i += kThreads) {
          for (int k = 0; k + 1 < kernel_size; ++k) {
            std::int64_t source = slot + k * dilation;
            if (source >= slots) source -= slots;
            past[k * residual * Lanes + i] = ring[source * residual * Lanes + i];
          }
          ring[slot * residual * Lanes + i] = x[i];
        }
        ring += slots * residual * Lanes;
      }
      __syncthreads();
      const Weight* const matrices = call.matrices + plan.dilated + layer * plan.layer;
      for (int o = thread; o < 2 * residual; o += kThreads) {
        float sum[Lanes];
        conditioned(sum, static_cast<std::int64_t>(layer) * 2 * residual + o);
        for (int k = 0; k < kernel_size; ++k) {
          accumulate(sum, matrices + static_cast<std::int64_t>(k) * residual * 2 * residual + o, 2 * residual,
                     k + 1 < kernel_size ? past + k * residual * Lanes : x, residual);
        }
        for (int lane = 0; lane < Lanes; ++lane) h[o * Lanes + lane] = sum[lane];
      }
      __syncthreads();
      for (int i = thread; i < residual * Lanes; i += kThreads) {
        h[i] = tanhf(h[residual * Lanes + i]) / (1.0f + expf(-h[i]));
      }
      __syncthreads();
      const int outputs = residual + skip;
      const Weight* const out = call.matrices + plan.residual_and_skip + layer * plan.layer;
      const float* const bias = call.vectors + plan.layer_bias + static_cast<std::int64_t>(layer) * outputs;
      for (int o = thread; o < outputs; o += kThreads) {
        float* const place = o < residual ? x + o * Lanes : s + (o - residual) * Lanes;
        float sum[Lanes];
        for (int lane = 0; lane < Lanes; ++lane) sum[lane] = place[lane] + bias[o];
        accumulate(sum, out + o, outputs, h, residual);
        for (int lane = 0; lane < Lanes; ++lane) place[lane] = sum[lane];
      }
      __syncthreads();
    }

    for (int i = thread; i < skip * Lanes; i += kThreads) s[i] = fmaxf(s[i], 0.0f);
    __syncthreads();
    for (int o = thread; o < skip; o += kThreads) {
      float sum[Lanes];
      conditioned(sum, static_cast<std::int64_t>(plan.depth) * 2 * residual + o);
      accumulate(sum, call.matrices + plan.head + o, skip, s, skip);
      for (int lane = 0; lane < Lanes; ++lane) hidden[o * Lanes + lane] = fmaxf(sum[lane], 0.0f);
    }
    __syncthreads();
    for (int a = thread; a < plan.classes; a += kThreads) {
      float sum[Lanes];
      for (float& value : sum) value = call.vectors[plan.logits_bias + a];
      accumulate(sum, call.matrices + plan.logits + a, plan.classes, hidden, skip);
      for (int lane = 0; lane < Lanes; ++lane) logits[lane * kLogits + a] = sum[lane];
    }
    __syncthreads();

    // A warp draws for one lane, a guided one's from what it and the unheard one after it give together.
    const int lane_of_warp = lane_of_thread(), each = call.guided ? 2 : 1, lane_of_block = warp_of_thread() * each;
    if (lane_of_block < Lanes && first_lane + lane_of_block < call.lanes) {
      const std::int64_t decoded = first_lane + lane_of_block, lane = call.guided ? decoded / 2 : decoded;
      float* const row = logits + lane_of_block * kLogits;
      if (call.guided) warp_guide(row, row + kLogits, plan.classes, call.guidance, lane_of_warp);
      const std::int64_t at = lane * call.samples + sample;
      int code = 0;
      if (call.forced != nullptr) {
        code = call.forced[at];
      } else {
        float uniform = 0.0f;
        if (call.philox) {
          uniform = uniform_of_philox(call.seed, call.first_lane + static_cast<std::uint64_t>(lane),
                                      call.first_index + static_cast<std::uint64_t>(sample));
        } else if (call.uniforms != nullptr) {
          uniform = call.uniforms[at];
        }
        code = warp_draw<double>(row, plan.classes, uniform, call.temperature, lane_of_warp);
      }
      if (lane_of_warp == 0) {
        call.codes[at] = static_cast<std::uint8_t>(code);
        for (int fed = lane_of_block; fed < lane_of_block + each; ++fed) {
          for (int k = 0; k + 1 < kernel_size; ++k) inputs[k * Lanes + fed] = inputs[(k + 1) * Lanes + fed];
          inputs[(kernel_size - 1) * Lanes + fed] = input_of(static_cast<std::uint8_t>(code));
        }
      }
      if (call.logits != nullptr) {
        for (int a = lane_of_warp; a < plan.classes; a += kWarp) call.logits[at * plan.classes + a] = row[a];
      }
    }
    __syncthreads();
  }
  for (int i = thread; i < kernel_size * Lanes; i += kThreads) {
    const std::int64_t lane = first_lane + i % Lanes;
    if (lane < call.lanes) call.inputs[lane * kernel_size + i / Lanes] = inputs[i];
  }
}

template <typename Weight, int Lanes>
void launch_with(const GeneralCall<Weight>& call, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>((call.lanes + Lanes - 1) / Lanes));
  shape.block = dim3(kThreads);
  shape.shared_bytes = static_cast<std::size_t>(general_shared_bytes(call.plan, Lanes));
  launch(sampler_general_kernel<Weight, Lanes>, shape, stream, call);
}

}  // namespace

GeneralPlan::GeneralPlan(const DecoderSizes& sizes)
    : depth(static_cast<int>(sizes.depth())),
      layers(static_cast<int>(sizes.layers)),
      residual(static_cast<int>(sizes.residual_channels)),
      skip(static_cast<int>(sizes.skip_channels)),
      kernel_size(static_cast<int>(sizes.kernel_size)),
      classes(static_cast<int>(sizes.classes)) {
  const std::int64_t r = residual, s = skip;
  dilated = r * s;
  residual_and_skip = dilated + kernel_size * r * 2 * r;
  layer = kernel_size * r * 2 * r + r * (r + s);
  head = dilated + depth * layer;
  logits = head + s * s;
  matrix_count = logits + s * classes;
  first_bias = kernel_size * r;
  first_skip_bias = first_bias + r;
  layer_bias = first_skip_bias + s;
  logits_bias = layer_bias + depth * (r + s);
  vector_count = logits_bias + classes;
  ring_slots = 0;
  for (std::int64_t l = 0; l < depth; ++l) ring_slots += (kernel_size - 1) * dilation_of_layer(l, layers);
}

std::int64_t general_shared_bytes(const GeneralPlan& plan, int lanes_of_block) {
  const std::int64_t r = plan.residual, k = plan.kernel_size;
  const std::int64_t floats = kLogits + (k - 1) * r + 3 * r + 2 * plan.skip + k;
  return floats * lanes_of_block * static_cast<std::int64_t>(sizeof(float));
}

template <typename Weight>
void launch_sampler_general(const GeneralCall<Weight>& call, int lanes_of_block, cudaStream_t stream) {
  if (lanes_of_block == 1) {
    launch_with<Weight, 1>(call, stream);
  } else if (lanes_of_block == 2) {
    launch_with<Weight, 2>(call, stream);
  } else {
    launch_with<Weight, kGeneralLanes>(call, stream);
  }
}

template void launch_sampler_general(const GeneralCall<float>&, int, cudaStream_t);
template void launch_sampler_general(const GeneralCall<bf16>&, int, cudaStream_t);

}  // namespace musicstar::cuda
