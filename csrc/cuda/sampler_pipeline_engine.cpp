// The pipeline kernel with its weights and state, and where its blocks go.
#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

#include "cuda/buffers.h"
#include "cuda/memory.h"
#include "cuda/sampler_condition.h"
#include "cuda/sampler_engine.h"
#include "cuda/sampler_packing.h"
#include "cuda/sampler_pipeline.h"

namespace musicstar::cuda {

namespace {

// Microseconds, predicted for an H200 and full groups of 128 channels (sampler_pipeline.cu): what a group spends from a
// block to the next, handed over in a cluster or through L2, and what a block is busy with it. They only weigh
// placements against each other.
constexpr double kInCluster = 0.56, kThroughL2 = 1.04, kBusy = 0.44;

double predicted_sample(int blocks, int cluster, int groups_of_a_pipeline) {
  const int links = blocks;  // as many as blocks: the last leads back to the first
  const int through_l2 = cluster == 1 ? links : (blocks + cluster - 1) / cluster;
  const double latency = (links - through_l2) * kInCluster + through_l2 * kThroughL2;
  return std::max(latency, groups_of_a_pipeline * kBusy);
}

// Two launches of pipelines on one device must not hold a part of the multiprocessors each and wait for the rest: a
// cooperative launch starts whole or not at all, and this keeps samplers of this process in line.
std::mutex& turn_on_device(int device) {
  static std::array<std::mutex, 64> turns;
  return turns[static_cast<std::size_t>(device) % turns.size()];
}

class PipelineEngine final : public SamplerEngine {
 public:
  PipelineEngine(const DecoderSizes& sizes, const DecoderWeights& weights, std::int64_t lanes,
                 const UsableDevice& device, const PipelinePlacement& placement, bool guided, cudaStream_t stream)
      : sizes_(sizes),
        channels_(static_cast<int>(sizes.residual_channels)),
        guided_(guided),
        lanes_(decoded_lanes(lanes, guided)),
        device_(device.index),
        placement_(placement),
        most_frames_(most_projected_frames(condition_rows(sizes) * placement.groups * kGroupLanes, sizes.pool)) {
    Carver counted(nullptr);
    lay_out(counted);
    memory_ = DeviceBuffer<unsigned char>(counted.used());
    Carver pieces(memory_.data());
    lay_out(pieces);
    upload(weights, stream);
    check(cudaMemsetAsync(packets_, 0, static_cast<std::size_t>(packet_words()) * sizeof(std::uint64_t), stream),
          "clearing the GPU's memory");
  }

  void reset(float first_input, cudaStream_t stream) override {
    check(cudaMemsetAsync(rings_, 0, static_cast<std::size_t>(ring_bytes()), stream), "clearing the GPU's memory");
    std::vector<float> inputs(static_cast<std::size_t>(placement_.groups) * kGroupLanes * 2, 0.0f);
    for (std::size_t i = 1; i < inputs.size(); i += 2) inputs[i] = first_input;
    copy_in(inputs_, inputs, stream);
  }

  void run(const SamplerPiece& piece, cudaStream_t stream) override {
    const std::lock_guard<std::mutex> turn(turn_on_device(device_));
    ConditionCall condition = projection_;
    condition.frames = piece.frames;
    condition.condition = piece.condition;
    launch_sampler_condition(condition, stream);
    PipelineCall call;
    call.depth = static_cast<int>(sizes_.depth());
    call.layers = static_cast<int>(sizes_.layers);
    call.classes = static_cast<int>(sizes_.classes);
    call.pipelines = placement_.pipelines;
    call.blocks = placement_.blocks;
    call.cluster = placement_.cluster;
    call.groups = placement_.groups;
    call.lanes = lanes_;
    call.guided = guided_;
    call.layer_weights = layer_weights_;
    call.head_weights = head_weights_;
    call.residual_bias = residual_bias_;
    call.head_constants = head_constants_;
    call.layer_condition = projection_.layer_condition;
    call.head_condition = projection_.head_condition;
    call.rings = rings_;
    call.inputs = inputs_;
    call.packets = packets_;
    call.tick = tick_;
    call.pool = sizes_.pool;
    take_piece(call, piece);
    launch_sampler_pipeline(channels_, call, stream);
    check(cudaStreamSynchronize(stream), "sampling on the GPU");
    tick_ += static_cast<std::uint32_t>(piece.samples);
  }

  int most_frames() const override { return most_frames_; }
  std::string kernel_name() const override {
    return placement_.cluster > 1 ? "layer-per-SM clusters bf16" : "layer-per-SM bf16";
  }
  std::string description() const override {
    const std::string lanes = guided_ ? " of 4 lanes, heard and unheard, in " : " of 8 lanes in ";
    std::string text = counted(placement_.groups, "group") + lanes + counted(placement_.pipelines, "pipeline") +
                       " of " + std::to_string(sizes_.depth() + 1) + " blocks";
    if (placement_.cluster > 1) text += ", clusters of " + std::to_string(placement_.cluster);
    return text;
  }
  std::int64_t memory_bytes() const override { return memory_.size(); }

 private:
  static std::string counted(int count, const std::string& what) {
    return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
  }

  std::int64_t ring_bytes() const {
    return ring_slots_before(sizes_.depth(), sizes_.layers) * placement_.groups * channels_ * kGroupLanes * 2;
  }
  std::int64_t packet_words() const { return (sizes_.depth() + 1) * placement_.groups * words_of_packet(channels_); }

  void lay_out(Carver& pieces) {
    const std::int64_t rows = condition_rows(sizes_), depth = sizes_.depth(), groups = placement_.groups;
    layer_weights_ = pieces.take<uint4>(depth * fragments_of_layer(channels_));
    head_weights_ = pieces.take<uint4>(fragments_of_head(channels_));
    residual_bias_ = pieces.take<float>(depth * channels_);
    head_constants_ = pieces.take<float>(constants_of_head(channels_));
    condition_weights_ = pieces.take<float>(sizes_.condition_channels * rows);
    condition_bias_ = pieces.take<float>(rows);
    const std::int64_t values_of_frame = groups * kGroupLanes;
    layer_condition_ = pieces.take<float>(most_frames_ * depth * 2 * channels_ * values_of_frame);
    head_condition_ = pieces.take<float>(most_frames_ * channels_ * values_of_frame);
    rings_ = pieces.take<unsigned char>(ring_bytes());
    inputs_ = pieces.take<float>(groups * kGroupLanes * 2);
    packets_ = pieces.take<std::uint64_t>(packet_words());
    projection_.lanes = lanes_;
    projection_.guided = guided_;
    projection_.condition_channels = sizes_.condition_channels;
    projection_.rows = rows;
    projection_.weights = condition_weights_;
    projection_.bias = condition_bias_;
    projection_.channels = channels_;
    projection_.layer_condition = layer_condition_;
    projection_.head_condition = head_condition_;
  }

  void upload(const DecoderWeights& weights, cudaStream_t stream) {
    std::vector<std::uint32_t> layers;
    std::vector<float> residual_bias;
    for (const DecoderWeights::Layer& layer : weights.layers) {
      const std::vector<std::uint32_t> packed = pack_pipeline_layer(sizes_, layer);
      layers.insert(layers.end(), packed.begin(), packed.end());
      residual_bias.insert(residual_bias.end(), layer.residual.bias, layer.residual.bias + channels_);
    }
    copy_in(reinterpret_cast<std::uint32_t*>(layer_weights_), layers, stream);
    copy_in(residual_bias_, residual_bias, stream);
    copy_in(reinterpret_cast<std::uint32_t*>(head_weights_), pack_pipeline_head(sizes_, weights), stream);
    copy_in(head_constants_, pack_pipeline_constants(sizes_, weights), stream);
    copy_condition_in(condition_weights_, condition_bias_, sizes_, weights, stream);
  }

  DecoderSizes sizes_;
  int channels_;
  bool guided_;
  std::int64_t lanes_;  // that are decoded
  int device_;
  PipelinePlacement placement_;
  int most_frames_;
  std::uint32_t tick_ = 0;
  DeviceBuffer<unsigned char> memory_;  // of everything that follows
  uint4* layer_weights_ = nullptr;
  uint4* head_weights_ = nullptr;
  float* residual_bias_ = nullptr;
  float* head_constants_ = nullptr;
  float* condition_weights_ = nullptr;
  float* condition_bias_ = nullptr;
  float* layer_condition_ = nullptr;
  float* head_condition_ = nullptr;
  unsigned char* rings_ = nullptr;
  float* inputs_ = nullptr;
  std::uint64_t* packets_ = nullptr;
  ConditionCall projection_;
};

}  // namespace

PipelinePlacement place_pipelines(const DecoderSizes& sizes, std::int64_t lanes, const UsableDevice& device,
                                  const SamplerOptions& options) {
  constexpr int kLargestCluster = 16;
  const int channels = static_cast<int>(sizes.residual_channels);
  const int busy = static_cast<int>(sizes.depth()) + 1;
  const int groups = static_cast<int>((decoded_lanes(lanes, options.guided) + kGroupLanes - 1) / kGroupLanes);
  PipelinePlacement best;
  double best_time = 0.0;
  for (int cluster = 1; cluster <= kLargestCluster; ++cluster) {
    if (options.cluster != 0 && cluster != options.cluster) continue;
    if (cluster > 1 && (device.major < 9 || options.path == SamplerPath::kLayers)) continue;
    if (cluster == 1 && options.path == SamplerPath::kLayerClusters) continue;
    const int blocks = (busy + cluster - 1) / cluster * cluster;
    for (int pipelines = 1; pipelines <= groups; ++pipelines) {
      if (options.pipelines != 0 && pipelines != options.pipelines) continue;
      const int groups_of_a_pipeline = (groups + pipelines - 1) / pipelines;
      if (pipeline_shared(channels, groups_of_a_pipeline).bytes > device.shared_limit) continue;
      if (pipeline_blocks_at_once(channels, cluster, groups_of_a_pipeline) < pipelines * blocks) break;
      const double time = predicted_sample(busy, cluster, groups_of_a_pipeline);
      if (best.blocks != 0 && time >= best_time) continue;
      best = {cluster, pipelines, blocks, groups};
      best_time = time;
    }
  }
  return best;
}

std::unique_ptr<SamplerEngine> make_pipeline_engine(const DecoderSizes& sizes, const DecoderWeights& weights,
                                                    std::int64_t lanes, const UsableDevice& device,
                                                    const PipelinePlacement& placement, bool guided,
                                                    cudaStream_t stream) {
  return std::make_unique<PipelineEngine>(sizes, weights, lanes, device, placement, guided, stream);
}

}  // namespace musicstar::cuda
