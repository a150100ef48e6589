// The streaming encoder on a GPU: the windows of csrc/cpu/encoder.cpp, as rings in device memory.
//
//   layer input   |<- left context ->|<- certain rows ->|<- right context ->|
//                                   next                                   end
//
// A chunk of samples goes through all layers, each giving as many rows as it has become certain of; nothing is computed
// twice. A ring holds both contexts and a chunk, so rows are written where the next layer reads them and are never
// moved. Rows before the first and after the last are the zero padding of the equations: kernels ask RingView whether a
// row is in the audio. A row's bits do not depend on the rows that it is computed with, so neither do they on how a
// stream is cut.
//
// Memory: 4 C bytes a row, in either storage, for depth x chunk rows and the contexts (131,064 rows for 4 x 14 layers).
// For the full size, C = 128, and chunks of 32,768 samples 1.0 GB; the chunk is halved until the rings take less than 1
// GiB.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "cuda/buffers.h"
#include "cuda/encoder_layers.h"
#include "cuda/memory.h"
#include "cuda/usable_device.h"
#include "musicstar/cuda_encoder.h"

namespace musicstar::cuda {

namespace {

constexpr std::int64_t kSmallestChunk = 1024, kLargestChunk = 32768;
constexpr std::int64_t kWindowBytes = std::int64_t{1} << 30;

// A sliding window over rows at absolute positions: `next` is the first that has not been worked on, `end` the first
// that has not come.
struct Window {
  std::int64_t right, capacity;
  std::int64_t next = 0, end = 0;

  std::int64_t waiting() const { return end - next; }
  // Rows whose right context has come.
  std::int64_t certain() const { return std::max<std::int64_t>(0, waiting() - right); }
  RingView from(std::int64_t position) const { return {capacity, position % capacity, -position, end - position}; }
};

std::vector<Window> windows_of(const EncoderSizes& sizes, std::int64_t chunk) {
  const auto window = [&](std::int64_t dilation) {
    const std::int64_t right = sizes.right_context(dilation);
    return Window{right, sizes.left_context(dilation) + right + chunk};
  };
  std::vector<Window> windows = {window(1)};  // the codes
  for (std::int64_t l = 0; l < sizes.depth(); ++l) windows.push_back(window(dilation_of_layer(l, sizes.layers)));
  windows.push_back({0, chunk});  // what leaves the last layer
  return windows;
}

std::int64_t window_bytes(const EncoderSizes& sizes, std::int64_t chunk) {
  std::int64_t rows = 0;
  for (const Window& window : windows_of(sizes, chunk)) rows += window.capacity;
  return rows * sizes.channels * Fp32Rows::kBytes;
}

std::int64_t chosen_chunk(const EncoderSizes& sizes) {
  std::int64_t chunk = kLargestChunk;
  while (chunk > kSmallestChunk && window_bytes(sizes, chunk) > kWindowBytes) chunk /= 2;
  return chunk;
}

template <class Rows>
class StreamingEncoder final : public Encoder {
 public:
  // The device is the current one.
  StreamingEncoder(const EncoderSizes& sizes, const EncoderWeights& weights, const UsableDevice& device,
                   std::int64_t chunk, bool fused)
      : sizes_(sizes), device_(device), chunk_(chunk), fused_(fused), windows_(windows_of(sizes, chunk)) {
    rows_.resize(windows_.size());
    layers_.resize(static_cast<std::size_t>(sizes.depth()));
    Carver counted(nullptr);
    lay_out(counted);
    memory_ = DeviceBuffer<unsigned char>(counted.used());
    Carver pieces(memory_.data());
    lay_out(pieces);
    upload(weights);
  }

  std::int64_t push(const std::uint8_t* codes, std::int64_t n, float* frames) override {
    const DeviceGuard guard(device_.index);
    frames_ = frames;
    frames_written_ = 0;
    for (std::int64_t done = 0; done < n; done += chunk_) {
      const std::int64_t count = std::min(chunk_, n - done);
      append(codes + done, count);
      advance_from(0);
    }
    pushed_ += n;
    stream_.synchronize();
    return frames_written_;
  }

  bool finish_some(float* frames) override {
    const DeviceGuard guard(device_.index);
    if (!finishing_) {
      finishing_ = true;
      finishing_window_ = 0;
      frames_written_ = 0;
    }
    frames_ = frames;
    // Each window in turn: what it still waits for is zero.
    const std::int64_t rows = std::min(chunk_, windows_[finishing_window_].waiting());
    if (rows > 0) {
      advance(finishing_window_, rows);
      advance_from(finishing_window_ + 1);
    } else if (finishing_window_ + 1 < windows_.size()) {
      ++finishing_window_;
    } else {
      reset();
      return false;
    }
    stream_.synchronize();
    return true;
  }

  void reset() override {
    for (Window& window : windows_) window.next = window.end = 0;
    in_frame_ = 0;
    pushed_ = 0;
    emitted_ = 0;
    finishing_ = false;
  }

  std::int64_t frames_within(std::int64_t n) const override { return (pushed_ + n) / sizes_.pool - emitted_; }
  std::int64_t frames_at_end() const override { return pushed_ / sizes_.pool - emitted_; }
  std::int64_t look_ahead() const override {
    std::int64_t samples = 0;
    for (const Window& window : windows_) samples += window.right;
    return samples;
  }

  std::string kernel_name() const override {
    if (fused_) return "fused bf16 tensor cores";
    return sizeof(Operand) == 4 ? "general fp32" : "general bf16";
  }
  std::int64_t chunk() const override { return chunk_; }
  std::int64_t memory_bytes() const override { return memory_.size(); }

 private:
  using Operand = typename Rows::Operand;

  struct Layer {
    unsigned char* packed = nullptr;  // fused; otherwise:
    Operand* dilated = nullptr;
    Operand* pointwise = nullptr;
    float* dilated_bias = nullptr;
    float* pointwise_bias = nullptr;
  };

  void lay_out(Carver& pieces) {
    const std::int64_t channels = sizes_.channels, outputs = sizes_.pointwise_channels();
    start_weights_ = pieces.take<float>(sizes_.kernel_size * channels);
    start_bias_ = pieces.take<float>(channels);
    for (Layer& layer : layers_) {
      if (fused_) {
        layer.packed = pieces.take<unsigned char>(encoder_layer_bytes(sizes_));
        continue;
      }
      layer.dilated = pieces.take<Operand>(sizes_.kernel_size * channels * channels);
      layer.pointwise = pieces.take<Operand>(channels * outputs);
      layer.dilated_bias = pieces.take<float>(channels);
      layer.pointwise_bias = pieces.take<float>(outputs);
    }
    code_ = pieces.take<float>(channels * sizes_.code_channels);
    code_bias_ = pieces.take<float>(sizes_.code_channels);

    codes_ = pieces.take<std::uint8_t>(windows_[0].capacity);
    for (std::size_t w = 1; w < windows_.size(); ++w) {
      const std::int64_t values = windows_[w].capacity * channels;
      void* const memory = pieces.bytes(values * Rows::kBytes);
      if (memory != nullptr) rows_[w] = Rows::at(memory, values);
    }
    if (!fused_) hidden_ = pieces.take<Operand>(chunk_ * channels);
    const std::int64_t frames = chunk_ / sizes_.pool + 1;
    for (float*& sums : sums_) sums = pieces.take<float>(channels);
    means_ = pieces.take<float>(frames * channels);
    device_frames_ = pieces.take<float>(frames * sizes_.code_channels);
  }

  template <class T>
  void copy_in(T* target, const T* source, std::int64_t count) {
    check(cudaMemcpyAsync(target, source, static_cast<std::size_t>(count) * sizeof(T), cudaMemcpyHostToDevice, stream_),
          "copying to the GPU");
  }

  // [out][in][k] weights as [k][in][out].
  template <class T>
  void copy_turned(T* target, const float* weight, std::int64_t out, std::int64_t in, std::int64_t taps) {
    std::vector<T> turned(static_cast<std::size_t>(out * in * taps));
    for (std::int64_t k = 0; k < taps; ++k) {
      for (std::int64_t i = 0; i < in; ++i) {
        for (std::int64_t o = 0; o < out; ++o)
          turned[(k * in + i) * out + o] = as_operand<T>(weight[(o * in + i) * taps + k]);
      }
    }
    copy_in(target, turned.data(), out * in * taps);
    stream_.synchronize();  // `turned` goes
  }

  void upload(const EncoderWeights& weights) {
    const std::int64_t channels = sizes_.channels, outputs = sizes_.pointwise_channels();
    copy_turned(start_weights_, weights.start.weight, channels, 1, sizes_.kernel_size);
    copy_in(start_bias_, weights.start.bias, channels);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const EncoderWeights::Layer& source = weights.layers[l];
      if (fused_) {
        std::vector<unsigned char> packed(static_cast<std::size_t>(encoder_layer_bytes(sizes_)));
        pack_encoder_layer(sizes_, source, packed.data());
        copy_in(layers_[l].packed, packed.data(), encoder_layer_bytes(sizes_));
        stream_.synchronize();
        continue;
      }
      copy_turned(layers_[l].dilated, source.dilated.weight, channels, channels, sizes_.kernel_size);
      copy_turned(layers_[l].pointwise, source.pointwise.weight, outputs, channels, 1);
      copy_in(layers_[l].dilated_bias, source.dilated.bias, channels);
      copy_in(layers_[l].pointwise_bias, source.pointwise.bias, outputs);
    }
    copy_turned(code_, weights.code.weight, sizes_.code_channels, channels, 1);
    copy_in(code_bias_, weights.code.bias, sizes_.code_channels);
    stream_.synchronize();
  }

  // n more codes at the end of the first window, in two parts where its ring ends between them.
  void append(const std::uint8_t* codes, std::int64_t n) {
    Window& window = windows_[0];
    const std::int64_t place = window.end % window.capacity;
    const std::int64_t before_wrap = std::min(n, window.capacity - place);
    copy_in(codes_ + place, codes, before_wrap);
    if (n > before_wrap) copy_in(codes_, codes + before_wrap, n - before_wrap);
    window.end += n;
  }

  void advance_from(std::size_t first) {
    for (std::size_t w = first; w < windows_.size(); ++w) {
      const std::int64_t rows = windows_[w].certain();
      if (rows == 0) return;
      advance(w, rows);
    }
  }

  // The next rows of window w become rows of the window after it, or of frames.
  void advance(std::size_t w, std::int64_t rows) {
    const RingView x_view = windows_[w].from(windows_[w].next);
    if (w + 1 == windows_.size()) {
      pool(x_view, rows);
    } else {
      Window& after = windows_[w + 1];
      const RingView y_view = after.from(after.end);
      if (w == 0) {
        launch_encoder_start(
            sizes_, StartCall<Rows>{codes_, x_view, rows_[1], y_view, rows, start_weights_, start_bias_}, stream_);
      } else {
        layer(w, x_view, y_view, rows);
      }
      after.end += rows;
    }
    windows_[w].next += rows;
  }

  void layer(std::size_t w, const RingView& x_view, const RingView& y_view, std::int64_t rows) {
    const Layer& layer = layers_[w - 1];
    const std::int64_t dilation = dilation_of_layer(static_cast<std::int64_t>(w) - 1, sizes_.layers);
    if constexpr (sizeof(Operand) == 2) {
      if (fused_) {
        const EncoderLayerCall call = {rows_[w], rows_[w + 1], x_view, y_view, rows, dilation, layer.packed};
        return launch_encoder_layer(sizes_, call, device_.shared_limit, stream_);
      }
    }
    const GeneralLayerCall<Rows> call = {
        rows_[w],           rows_[w + 1],         x_view, y_view, rows, dilation, layer.dilated, layer.pointwise,
        layer.dilated_bias, layer.pointwise_bias, hidden_};
    launch_general_layer(sizes_, call, stream_);
  }

  void pool(const RingView& view, std::int64_t rows) {
    PoolCall<Rows> call;
    call.x = rows_.back();
    call.x_view = view;
    call.rows = rows;
    call.in_frame = in_frame_;
    call.sums_before = sums_[0];
    call.sums_after = sums_[1];
    call.means = means_;
    call.code = code_;
    call.code_bias = code_bias_;
    call.frames = device_frames_;
    launch_encoder_pool(sizes_, call, stream_);
    std::swap(sums_[0], sums_[1]);
    const std::int64_t complete = (in_frame_ + rows) / sizes_.pool;
    in_frame_ = (in_frame_ + rows) % sizes_.pool;
    if (complete == 0) return;
    const std::int64_t values = complete * sizes_.code_channels;
    check(cudaMemcpyAsync(frames_ + frames_written_ * sizes_.code_channels, device_frames_,
                          static_cast<std::size_t>(values) * sizeof(float), cudaMemcpyDeviceToHost, stream_),
          "copying from the GPU");
    frames_written_ += complete;
    emitted_ += complete;
  }

  EncoderSizes sizes_;
  UsableDevice device_;
  std::int64_t chunk_;
  bool fused_;
  Stream stream_;
  DeviceBuffer<unsigned char> memory_;  // of everything that follows
  float* start_weights_ = nullptr;
  float* start_bias_ = nullptr;
  std::vector<Layer> layers_;
  float* code_ = nullptr;
  float* code_bias_ = nullptr;
  std::vector<Window> windows_;  // [0] the codes, [l + 1] the input of layer l, the last what leaves the last layer
  std::uint8_t* codes_ = nullptr;
  std::vector<Rows> rows_;  // by window; the first has none
  Operand* hidden_ = nullptr;
  float* sums_[2] = {};
  float* means_ = nullptr;
  float* device_frames_ = nullptr;
  std::int64_t in_frame_ = 0, pushed_ = 0, emitted_ = 0;
  bool finishing_ = false;
  std::size_t finishing_window_ = 0;
  float* frames_ = nullptr;
  std::int64_t frames_written_ = 0;
};

}  // namespace

std::unique_ptr<Encoder> make_encoder(const EncoderSizes& sizes, const EncoderWeights& weights, int device,
                                      const EncoderOptions& options) {
  if (options.precision == cpu::Precision::kInt8) {
    throw std::invalid_argument("precision int8 is not to be had on a GPU: fp32 or bf16");
  }
  if (options.chunk < 0 || options.chunk > kLargestChunk) {
    throw std::invalid_argument("chunk must be between 0 and " + std::to_string(kLargestChunk) + ", not " +
                                std::to_string(options.chunk));
  }
  const UsableDevice usable = usable_device(device);
  const DeviceGuard guard(device);
  const std::int64_t chunk = options.chunk ? options.chunk : chosen_chunk(sizes);
  if (options.precision == cpu::Precision::kFp32) {
    return std::make_unique<StreamingEncoder<Fp32Rows>>(sizes, weights, usable, chunk, false);
  }
  const bool fused = !options.general && encoder_layer_fits(sizes, usable.shared_limit);
  return std::make_unique<StreamingEncoder<Bf16Rows>>(sizes, weights, usable, chunk, fused);
}

}  // namespace musicstar::cuda
