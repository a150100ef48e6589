// The streaming encoder. Every layer keeps a window of its own input, in a ring: as many past rows as its taps reach
// back, and whatever still waits for the rows its taps reach ahead. A block of samples goes through all layers, each
// giving as many rows as it has become certain of; nothing is computed twice, and memory depends on the receptive field
// and not on the length.
//
//   layer input   |<- left context ->|<- certain rows ->|<- right context ->|
//                                 next                                     end
//
// Zeros before the first and after the last row are the zero padding of the equations, so a stream cut anywhere gives
// the bits of one call. Threads share the rows of a layer.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "cpu/packing.h"
#include "cpu/stack_spans.h"
#include "cpu/thread_team.h"
#include "musicstar/engine.h"

namespace musicstar::cpu {

namespace {

constexpr std::int64_t kBlock = 1024;  // samples that travel through the layers together
constexpr std::int64_t kGrain = 32;    // rows, or pairs of them, that a thread takes at a time

// The rows of a layer's input that taps reach yet, in a ring, at absolute positions from -left on.
class Window {
 public:
  // `products`: of the layer that reads the rows; null where none does.
  Window(Arena& arena, std::int64_t stride, std::int64_t left, std::int64_t right,
         const Kernels::InPrecision* products = nullptr)
      : left_(left),
        convert_(products == nullptr ? nullptr : products->convert),
        ring_{arena.floats((left + right + kBlock) * stride), stride, left + right + kBlock} {
    if (convert_ != nullptr) {
      ring_.converted_bytes = products->format.row_bytes(stride);
      ring_.converted = arena.bytes(ring_.capacity * ring_.converted_bytes);
    }
    reset();
  }

  void reset() {
    end_ = 0;
    next_ = 0;
    for (std::int64_t r = -left_; r < 0; ++r) clear(from(0), r);
  }

  // Room for n rows at `end`, in the place of some that no tap reaches any more.
  RowRing append(std::int64_t n) {
    end_ += n;
    return from(end_ - n);
  }
  void append_zeros(std::int64_t n) {
    const RowRing rows = append(n);
    for (std::int64_t r = 0; r < n; ++r) clear(rows, r);
  }

  // Brings a row that was written as floats into the form of products as well.
  void convert(const RowRing& rows, std::int64_t r) const {
    if (convert_ != nullptr) convert_(rows.at(r), rows.stride, rows.converted_at(r));
  }

  RowRing next_rows() const { return from(next_); }
  std::int64_t next() const { return next_; }
  void advance(std::int64_t n) { next_ += n; }
  std::int64_t waiting() const { return end_ - next_; }

 private:
  RowRing from(std::int64_t position) const {
    RowRing rows = ring_;
    rows.zero = position % ring_.capacity + left_;  // so that rows before it are not below 0
    return rows;
  }
  void clear(const RowRing& rows, std::int64_t r) {
    std::memset(rows.at(r), 0, static_cast<std::size_t>(rows.stride) * sizeof(float));
    convert(rows, r);
  }

  std::int64_t left_;
  void (*convert_)(const float* x, std::int64_t floats, char* row);
  RowRing ring_;
  std::int64_t end_ = 0, next_ = 0;
};

class StreamingEncoder final : public Encoder {
 public:
  StreamingEncoder(const EncoderSizes& sizes, const EncoderWeights& weights, int threads, Isa isa, Precision precision)
      : sizes_(sizes),
        kernels_(kernels_of(isa)),
        precision_(kernels_.in(precision).for_encoder),
        layer_kernel_(kernels_.in(precision_).encoder_layer),
        team_(threads),
        stride_(round_up(sizes.channels, kernels_.tile)),
        in_pairs_(precision_ == Precision::kFp32 && sizes.kernel_size == 3 && sizes.channels >= kLeastPairedChannels) {
    const Packer packer(arena_, kernels_, precision_);
    const std::int64_t kernel_size = sizes.kernel_size;
    code_stride_ = round_up(sizes.code_channels, kernels_.tile);
    start_taps_ = arena_.floats(kernel_size * stride_);
    for (std::int64_t c = 0; c < sizes.channels; ++c) {
      for (std::int64_t k = 0; k < kernel_size; ++k)
        start_taps_[k * stride_ + c] = weights.start.weight[c * kernel_size + k];
    }
    start_bias_ = arena_.copy(weights.start.bias, sizes.channels, stride_);
    windows_.emplace_back(arena_, 1, sizes.left_context(1), sizes.right_context(1));
    for (std::int64_t l = 0; l < sizes.depth(); ++l) {
      const auto& w = weights.layers[l];
      const std::int64_t dilation = dilation_of_layer(l, sizes.layers);
      Layer layer;
      layer.dilation = dilation;
      if (in_pairs_) {
        pack_pairs(packer, w.dilated.weight, layer);
      } else {
        for (std::int64_t k = 0; k < kernel_size; ++k) {
          layer.taps.push_back(
              packer.pack(sizes.channels, stride_, {{w.dilated.weight, sizes.channels, 0, kernel_size, k, 0}}));
          layer.tap_offsets.push_back((k - kernel_size / 2) * dilation);
        }
      }
      layer.dilated_bias = arena_.copy(w.dilated.bias, sizes.channels, stride_);
      const MatrixPart value = {w.pointwise.weight, sizes.channels, 0, 1, 0, 0};
      if (sizes.gated) {
        const MatrixPart gate = {w.pointwise.weight, sizes.channels, sizes.channels, 1, 0, stride_};
        layer.pointwise = packer.pack(sizes.channels, 2 * stride_, {value, gate});
        float* bias = arena_.floats(2 * stride_);
        std::copy_n(w.pointwise.bias, sizes.channels, bias);
        std::copy_n(w.pointwise.bias + sizes.channels, sizes.channels, bias + stride_);
        layer.pointwise_bias = bias;
      } else {
        layer.pointwise = packer.pack(sizes.channels, stride_, {value});
        layer.pointwise_bias = arena_.copy(w.pointwise.bias, sizes.channels, stride_);
      }
      layer.right_context = sizes.right_context(dilation);
      layers_.push_back(layer);
      windows_.emplace_back(arena_, stride_, sizes.left_context(dilation), layer.right_context,
                            &kernels_.in(precision_));
    }
    code_ = Packer(arena_, kernels_, Precision::kFp32)
                .pack(sizes.channels, code_stride_, {{weights.code.weight, sizes.code_channels, 0, 1, 0, 0}});
    code_bias_ = arena_.copy(weights.code.bias, sizes.code_channels, code_stride_);
    features_ = arena_.floats((kBlock + 1) * stride_);
    pooled_ = arena_.floats(stride_);
    zeros_ = arena_.floats(stride_);
    code_row_ = arena_.floats(code_stride_);
    for (int member = 0; member < team_.size(); ++member) {
      scratch_.push_back(arena_.floats(kernels_.encoder_scratch_floats(stride_)));
    }
  }

  std::int64_t push(const std::uint8_t* codes, std::int64_t n, float* frames) override {
    frames_ = frames;
    frames_written_ = 0;
    for (std::int64_t done = 0; done < n; done += kBlock) {
      const std::int64_t count = std::min(kBlock, n - done);
      const RowRing input = windows_[0].append(count);
      for (std::int64_t t = 0; t < count; ++t) *input.at(t) = input_of_code(codes[done + t]);
      advance_from_start();
    }
    pushed_ += n;
    return frames_written_;
  }

  bool finish_some(float* frames) override {
    if (!finishing_) {
      finishing_ = true;
      frames_written_ = 0;
      finishing_window_ = 0;
      zeros_left_ = sizes_.right_context(1);
    }
    frames_ = frames;
    // Each layer in turn gets its own right padding: zeros that are not the output of the layer before.
    if (zeros_left_ > 0) {
      const std::int64_t n = std::min(kBlock, zeros_left_);
      windows_[finishing_window_].append_zeros(n);
      zeros_left_ -= n;
      if (finishing_window_ == 0) {
        advance_from_start();
      } else {
        advance_from_layer(finishing_window_ - 1);
      }
    } else if (finishing_window_ < layers_.size()) {
      zeros_left_ = layers_[finishing_window_].right_context;
      ++finishing_window_;
    } else {
      reset();
      return false;
    }
    return true;
  }

  void reset() override {
    for (Window& window : windows_) window.reset();
    std::fill_n(pooled_, stride_, 0.0f);
    in_pool_ = 0;
    pushed_ = 0;
    emitted_ = 0;
    finishing_ = false;
  }

  std::int64_t look_ahead() const override {
    std::int64_t samples = sizes_.right_context(1);
    for (const Layer& layer : layers_) samples += layer.right_context;
    return samples;
  }

  std::int64_t frames_within(std::int64_t n) const override { return (pushed_ + n) / sizes_.pool - emitted_; }
  std::int64_t frames_at_end() const override { return pushed_ / sizes_.pool - emitted_; }

 private:
  struct Layer {
    std::int64_t dilation = 0;
    std::vector<PackedMatrix> taps;
    std::vector<std::int64_t> tap_offsets;
    float* carried = nullptr;  // where rows are taken in pairs, as EncoderLayerCall::carried
    const float* dilated_bias = nullptr;
    PackedMatrix pointwise;
    const float* pointwise_bias = nullptr;
    std::int64_t right_context = 0;
  };

  // The weights of a layer's four products, and room for what first rows leave: no two pairs of one call may share a
  // row of it, as each may be another thread's. Among the pairs that a call can see, from the first one whose second
  // row is not done yet to the last one whose first row is in the call, are at most this many.
  static std::int64_t carried_rows(std::int64_t dilation) { return dilation + kBlock / 2; }
  void pack_pairs(const Packer& packer, const float* taps, Layer& layer) {
    const std::int64_t channels = sizes_.channels;
    std::vector<float> products(channels * channels * 4);
    for (std::int64_t i = 0; i < channels * channels; ++i) {
      const float* g = taps + 3 * i;
      products[4 * i] = g[0];
      products[4 * i + 1] = (g[0] + g[1] + g[2]) / 2;
      products[4 * i + 2] = (g[0] - g[1] + g[2]) / 2;
      products[4 * i + 3] = g[2];
    }
    for (std::int64_t k = 0; k < 4; ++k) {
      layer.taps.push_back(packer.pack(channels, stride_, {{products.data(), channels, 0, 4, k, 0}}));
    }
    layer.carried = arena_.floats(carried_rows(layer.dilation) * stride_);
  }

  // Where rows that leave layer l (or, with 0, the start convolution) go: the next window, or the pooling.
  RowRing destination(std::size_t window, std::int64_t rows) {
    return window < windows_.size() ? windows_[window].append(rows) : RowRing{features_, stride_, rows};
  }

  void advance_from_start() {
    const std::int64_t rows = std::max<std::int64_t>(0, windows_[0].waiting() - sizes_.right_context(1));
    if (rows == 0) return;
    const RowRing x = windows_[0].next_rows(), y = destination(1, rows);
    const std::int64_t origin = sizes_.kernel_size / 2;
    for (std::int64_t t = 0; t < rows; ++t) {
      float* row = y.at(t);
      std::copy_n(start_bias_, stride_, row);
      for (std::int64_t k = 0; k < sizes_.kernel_size; ++k) {
        const float sample = *x.at(t + k - origin);
        for (std::int64_t c = 0; c < stride_; ++c) row[c] += start_taps_[k * stride_ + c] * sample;
      }
      if (windows_.size() > 1) windows_[1].convert(y, t);
    }
    windows_[0].advance(rows);
    advance_from_layer(0);
  }

  void advance_from_layer(std::size_t first) {
    for (std::size_t l = first; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      Window& window = windows_[l + 1];
      const std::int64_t rows = std::max<std::int64_t>(0, window.waiting() - layer.right_context);
      if (rows == 0) return;
      EncoderLayerCall call;
      call.x = window.next_rows();
      call.y = destination(l + 2, rows);
      call.taps = layer.taps.data();
      call.tap_offsets = layer.tap_offsets.data();
      call.kernel_size = sizes_.kernel_size;
      call.dilated_bias = layer.dilated_bias;
      call.pointwise = layer.pointwise;
      call.pointwise_bias = layer.pointwise_bias;
      call.gated = sizes_.gated;
      call.stride = stride_;
      if (in_pairs_) {
        run_in_pairs(call, layer, rows, window.next());
      } else {
        share_out(0, rows, [&](int member, std::int64_t begin, std::int64_t end) {
          EncoderLayerCall part = call;
          part.x.zero += begin;
          part.y.zero += begin;
          part.rows = end - begin;
          part.scratch = scratch_[member];
          layer_kernel_(part);
        });
      }
      window.advance(rows);
      if (l + 1 == layers_.size()) pool(rows);
    }
  }

  void run_in_pairs(EncoderLayerCall& call, const Layer& layer, std::int64_t rows, std::int64_t position) {
    call.rows = rows;
    call.dilation = layer.dilation;
    call.position = position;
    call.carried = layer.carried;
    call.carried_rows = carried_rows(layer.dilation);
    call.zeros = zeros_;
    const RowGroups pairs{position + rows, layer.dilation, true};
    share_out(pairs.before(position - layer.dilation), pairs.count(0),
              [&](int member, std::int64_t begin, std::int64_t end) {
                EncoderLayerCall part = call;
                part.first_pair = begin;
                part.last_pair = end;
                part.scratch = scratch_[member];
                kernels_.encoder_layer_in_pairs(part);
              });
  }

  // Calls body(member, begin, end) for grains of [first, last), each taken by whichever member is free.
  template <class Body>
  void share_out(std::int64_t first, std::int64_t last, const Body& body) {
    std::atomic<std::int64_t> next{first};
    const auto work = [&](int member) {
      for (;;) {
        const std::int64_t begin = next.fetch_add(kGrain, std::memory_order_relaxed);
        if (begin >= last) return;
        body(member, begin, std::min(begin + kGrain, last));
      }
    };
    if (last - first <= kGrain) {
      work(0);
    } else {
      team_.run(work);
    }
  }

  // Averaging commutes with the 1x1 to the code: so pool first, and project once per frame.
  void pool(std::int64_t rows) {
    for (std::int64_t t = 0; t < rows; ++t) {
      const float* x = features_ + t * stride_;
      for (std::int64_t c = 0; c < stride_; ++c) pooled_[c] += x[c];
      if (++in_pool_ < sizes_.pool) continue;
      for (std::int64_t c = 0; c < stride_; ++c) pooled_[c] /= static_cast<float>(sizes_.pool);
      kernels_.product_fp32(code_, pooled_, stride_, code_bias_, 0, code_row_, code_stride_, 1);
      std::copy_n(code_row_, sizes_.code_channels, frames_ + frames_written_ * sizes_.code_channels);
      ++frames_written_;
      ++emitted_;
      std::fill_n(pooled_, stride_, 0.0f);
      in_pool_ = 0;
    }
  }

  EncoderSizes sizes_;
  const Kernels& kernels_;
  Precision precision_;
  void (*layer_kernel_)(const EncoderLayerCall& call);
  ThreadTeam team_;
  Arena arena_;
  std::int64_t stride_ = 0, code_stride_ = 0;
  const bool in_pairs_;
  float* start_taps_ = nullptr;
  const float* start_bias_ = nullptr;
  std::vector<Layer> layers_;
  std::vector<Window> windows_;  // [0] the samples, [l + 1] the input of layer l
  PackedMatrix code_;
  const float* code_bias_ = nullptr;
  float* features_ = nullptr;  // the rows that the last layer has just given
  float* pooled_ = nullptr;
  const float* zeros_ = nullptr;
  float* code_row_ = nullptr;
  std::vector<float*> scratch_;
  std::int64_t in_pool_ = 0, pushed_ = 0, emitted_ = 0;
  bool finishing_ = false;
  std::size_t finishing_window_ = 0;
  std::int64_t zeros_left_ = 0;
  float* frames_ = nullptr;
  std::int64_t frames_written_ = 0;
};

}  // namespace

std::unique_ptr<Encoder> make_encoder(const EncoderSizes& sizes, const EncoderWeights& weights, int threads, Isa isa,
                                      Precision precision) {
  return std::make_unique<StreamingEncoder>(sizes, weights, threads, isa, precision);
}

}  // namespace musicstar::cpu
