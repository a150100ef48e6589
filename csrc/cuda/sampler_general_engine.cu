// The general kernel with its weights and state.
#include <algorithm>
#include <type_traits>
#include <vector>

#include "cuda/buffers.h"
#include "cuda/instructions.cuh"
#include "cuda/memory.h"
#include "cuda/sampler_condition.h"
#include "cuda/sampler_engine.h"
#include "cuda/sampler_general.h"
#include "cuda/sampler_packing.h"

namespace musicstar::cuda {

namespace {

template <typename Weight>
class GeneralEngine final : public SamplerEngine {
 public:
  GeneralEngine(const DecoderSizes& sizes, const DecoderWeights& weights, std::int64_t lanes,
                const UsableDevice& device, bool guided, cudaStream_t stream)
      : sizes_(sizes),
        plan_(sizes),
        guided_(guided),
        lanes_(decoded_lanes(lanes, guided)),
        lanes_of_block_(chosen_lanes_of_block(plan_, lanes, device, guided)),
        most_frames_(most_projected_frames(condition_rows(sizes) * lanes_, sizes.pool)) {
    Carver counted(nullptr);
    lay_out(counted);
    memory_ = DeviceBuffer<unsigned char>(counted.used());
    Carver pieces(memory_.data());
    lay_out(pieces);
    upload(weights, stream);
  }

  void reset(float first_input, cudaStream_t stream) override {
    check(cudaMemsetAsync(rings_, 0, static_cast<std::size_t>(ring_floats()) * sizeof(float), stream),
          "clearing the GPU's memory");
    const std::int64_t taps = sizes_.kernel_size;
    std::vector<float> inputs(static_cast<std::size_t>(lanes_ * taps), 0.0f);
    for (std::int64_t lane = 0; lane < lanes_; ++lane) inputs[lane * taps + taps - 1] = first_input;
    copy_in(inputs_, inputs, stream);
  }

  void run(const SamplerPiece& piece, cudaStream_t stream) override {
    ConditionCall condition = projection_;
    condition.frames = piece.frames;
    condition.condition = piece.condition;
    launch_sampler_condition(condition, stream);
    GeneralCall<Weight> call(plan_);
    call.lanes = lanes_;
    call.guided = guided_;
    call.matrices = matrices_;
    call.vectors = vectors_;
    call.condition = projected_;
    call.rings = rings_;
    call.inputs = inputs_;
    call.pool = sizes_.pool;
    take_piece(call, piece);
    launch_sampler_general(call, lanes_of_block_, stream);
    check(cudaStreamSynchronize(stream), "sampling on the GPU");
  }

  int most_frames() const override { return most_frames_; }
  std::string kernel_name() const override {
    return std::is_same<Weight, float>::value ? "general fp32" : "general bf16";
  }
  std::string description() const override {
    const int callers_lanes = guided_ ? lanes_of_block_ / 2 : lanes_of_block_;
    return std::to_string(blocks()) + " blocks of " + std::to_string(callers_lanes) +
           (callers_lanes == 1 ? " lane" : " lanes") + (guided_ ? ", heard and unheard" : "");
  }
  std::int64_t memory_bytes() const override { return memory_.size(); }

 private:
  static int chosen_lanes_of_block(const GeneralPlan& plan, std::int64_t lanes, const UsableDevice& device,
                                   bool guided) {
    const int fewest = guided ? 2 : 1;
    if (general_shared_bytes(plan, fewest) > device.shared_limit) {
      throw Error("the decoder is too wide for this GPU: a lane needs " +
                  std::to_string(general_shared_bytes(plan, fewest)) + " bytes of a block's shared memory, which has " +
                  std::to_string(device.shared_limit));
    }
    const bool four_fit = general_shared_bytes(plan, kGeneralLanes) <= device.shared_limit;
    return lanes > device.multiprocessors && four_fit ? kGeneralLanes : fewest;
  }

  std::int64_t blocks() const { return (lanes_ + lanes_of_block_ - 1) / lanes_of_block_; }
  std::int64_t ring_floats() const { return blocks() * plan_.ring_slots * sizes_.residual_channels * lanes_of_block_; }

  void lay_out(Carver& pieces) {
    const std::int64_t rows = condition_rows(sizes_), channels = sizes_.condition_channels;
    matrices_ = pieces.take<Weight>(plan_.matrix_count);
    vectors_ = pieces.take<float>(plan_.vector_count);
    condition_weights_ = pieces.take<float>(channels * rows);
    condition_bias_ = pieces.take<float>(rows);
    projected_ = pieces.take<float>(most_frames_ * lanes_ * rows);
    rings_ = pieces.take<float>(ring_floats());
    inputs_ = pieces.take<float>(lanes_ * sizes_.kernel_size);
    projection_.lanes = lanes_;
    projection_.guided = guided_;
    projection_.condition_channels = channels;
    projection_.rows = rows;
    projection_.weights = condition_weights_;
    projection_.bias = condition_bias_;
    projection_.projected = projected_;
  }

  void upload(const DecoderWeights& weights, cudaStream_t stream) {
    const std::vector<float> matrices = pack_general_matrices(sizes_, weights);
    if constexpr (std::is_same<Weight, float>::value) {
      copy_in(matrices_, matrices, stream);
    } else {
      std::vector<std::uint16_t> rounded(matrices.size());
      std::transform(matrices.begin(), matrices.end(), rounded.begin(), bf16_bits);
      copy_in(reinterpret_cast<std::uint16_t*>(matrices_), rounded, stream);
    }
    copy_in(vectors_, pack_general_vectors(sizes_, weights), stream);
    copy_condition_in(condition_weights_, condition_bias_, sizes_, weights, stream);
  }

  DecoderSizes sizes_;
  GeneralPlan plan_;
  bool guided_;
  std::int64_t lanes_;  // that are decoded
  int lanes_of_block_, most_frames_;
  DeviceBuffer<unsigned char> memory_;  // of everything that follows
  Weight* matrices_ = nullptr;
  float* vectors_ = nullptr;
  float* condition_weights_ = nullptr;
  float* condition_bias_ = nullptr;
  float* projected_ = nullptr;
  float* rings_ = nullptr;
  float* inputs_ = nullptr;
  ConditionCall projection_;
};

}  // namespace

std::unique_ptr<SamplerEngine> make_general_engine(const DecoderSizes& sizes, const DecoderWeights& weights,
                                                   std::int64_t lanes, const UsableDevice& device,
                                                   const SamplerOptions& options, cudaStream_t stream) {
  if (options.precision == cpu::Precision::kFp32) {
    return std::make_unique<GeneralEngine<float>>(sizes, weights, lanes, device, options.guided, stream);
  }
  return std::make_unique<GeneralEngine<bf16>>(sizes, weights, lanes, device, options.guided, stream);
}

}  // namespace musicstar::cuda
