#include "arguments.h"

#include <cmath>
#include <set>

namespace musicstar::bindings {

namespace {

constexpr std::int64_t kLargest = std::int64_t{1} << 20;

// Reads the integers of a dict of sizes by name, and complains about what is missing or left over.
class SizeReader {
 public:
  SizeReader(const py::dict& sizes, std::string network) : sizes_(sizes), network_(std::move(network)) {}

  std::int64_t integer(const char* name, std::int64_t largest = kLargest) {
    const py::object value = take(name);
    if (!py::isinstance<py::int_>(value)) throw py::type_error(network_ + ": " + name + " must be an integer");
    const auto number = value.cast<std::int64_t>();
    if (number < 1 || number > largest) {
      throw py::value_error(network_ + ": " + name + " must be between 1 and " + std::to_string(largest) + ", not " +
                            std::to_string(number));
    }
    return number;
  }

  std::string text(const char* name) {
    const py::object value = take(name);
    if (!py::isinstance<py::str>(value)) throw py::type_error(network_ + ": " + name + " must be a string");
    return value.cast<std::string>();
  }

  void finish() const {
    for (const auto& item : sizes_) {
      const auto name = item.first.cast<std::string>();
      if (taken_.count(name) == 0) throw py::value_error(network_ + ": unknown size '" + name + "'");
    }
  }

 private:
  py::object take(const char* name) {
    if (!sizes_.contains(name)) throw py::value_error(network_ + ": size '" + name + "' is missing");
    taken_.insert(name);
    return sizes_[name];
  }

  const py::dict& sizes_;
  std::string network_;
  std::set<std::string> taken_;
};

class WeightReader {
 public:
  explicit WeightReader(const py::dict& weights) : weights_(weights) {}

  Convolution convolution(const std::string& name, std::int64_t out, std::int64_t in, std::int64_t kernel_size) {
    return {tensor(name + ".weight", {out, in, kernel_size}), tensor(name + ".bias", {out})};
  }

  void finish() const {
    for (const auto& item : weights_) {
      const auto name = item.first.cast<std::string>();
      if (taken_.count(name) == 0) throw py::value_error("unknown tensor '" + name + "'");
    }
  }

 private:
  const float* tensor(const std::string& name, const std::vector<std::int64_t>& shape) {
    if (!weights_.contains(name)) throw py::value_error("tensor '" + name + "' is missing");
    taken_.insert(name);
    const py::object value = weights_[name.c_str()];
    if (!py::isinstance<py::array>(value)) throw py::type_error("tensor '" + name + "' must be a numpy array");
    const auto array = value.cast<py::array>();
    check_array<float>(array, ("tensor '" + name + "'").c_str(), shape);
    return data_of<float>(array);
  }

  const py::dict& weights_;
  std::set<std::string> taken_;
};

}  // namespace

EncoderSizes encoder_sizes(const py::dict& dict) {
  SizeReader read(dict, "encoder");
  EncoderSizes sizes;
  const std::string kind = read.text("kind");
  if (kind != "universal" && kind != "music-star") {
    throw py::value_error("encoder: kind must be 'universal' or 'music-star', not '" + kind + "'");
  }
  sizes.gated = kind == "music-star";
  sizes.blocks = read.integer("blocks");
  sizes.layers = read.integer("layers", 20);
  sizes.channels = read.integer("channels");
  sizes.kernel_size = read.integer("kernel_size", 64);
  sizes.code_channels = read.integer("code_channels");
  sizes.pool = read.integer("pool");
  read.finish();
  return sizes;
}

DecoderSizes decoder_sizes(const py::dict& dict) {
  SizeReader read(dict, "decoder");
  DecoderSizes sizes;
  sizes.blocks = read.integer("blocks");
  sizes.layers = read.integer("layers", 20);
  sizes.residual_channels = read.integer("residual_channels");
  sizes.skip_channels = read.integer("skip_channels");
  sizes.kernel_size = read.integer("kernel_size", 64);
  sizes.condition_channels = read.integer("condition_channels");
  sizes.classes = read.integer("classes", 256);
  sizes.pool = read.integer("pool");
  read.finish();
  return sizes;
}

EncoderWeights encoder_weights(const EncoderSizes& sizes, const py::dict& dict) {
  WeightReader read(dict);
  EncoderWeights weights;
  weights.start = read.convolution("start", sizes.channels, 1, sizes.kernel_size);
  for (std::int64_t l = 0; l < sizes.depth(); ++l) {
    const std::string layer = "layers." + std::to_string(l);
    weights.layers.push_back({read.convolution(layer + ".dilated", sizes.channels, sizes.channels, sizes.kernel_size),
                              read.convolution(layer + ".pointwise", sizes.pointwise_channels(), sizes.channels, 1)});
  }
  weights.code = read.convolution("code", sizes.code_channels, sizes.channels, 1);
  read.finish();
  return weights;
}

DecoderWeights decoder_weights(const DecoderSizes& sizes, const py::dict& dict) {
  WeightReader read(dict);
  const std::int64_t residual = sizes.residual_channels, skip = sizes.skip_channels;
  DecoderWeights weights;
  weights.first = read.convolution("first", residual, 1, sizes.kernel_size);
  weights.first_skip = read.convolution("first_skip", skip, residual, 1);
  for (std::int64_t l = 0; l < sizes.depth(); ++l) {
    const std::string layer = "layers." + std::to_string(l);
    weights.layers.push_back({read.convolution(layer + ".dilated", 2 * residual, residual, sizes.kernel_size),
                              read.convolution(layer + ".condition", 2 * residual, sizes.condition_channels, 1),
                              read.convolution(layer + ".residual", residual, residual, 1),
                              read.convolution(layer + ".skip", skip, residual, 1)});
  }
  weights.head = read.convolution("head", skip, skip, 1);
  weights.head_condition = read.convolution("head_condition", skip, sizes.condition_channels, 1);
  weights.logits = read.convolution("logits", sizes.classes, skip, 1);
  read.finish();
  return weights;
}

int checked_threads(int threads) {
  if (threads < 1 || threads > 1024)
    throw py::value_error("threads must be between 1 and 1024, not " + std::to_string(threads));
  return threads;
}

std::int64_t checked_lanes(std::int64_t lanes) {
  if (lanes < 1 || lanes > 65536)
    throw py::value_error("lanes must be between 1 and 65536, not " + std::to_string(lanes));
  return lanes;
}

float checked_temperature(double temperature) {
  if (!std::isfinite(temperature) || temperature < 0.0)
    throw py::value_error("temperature must be finite and not negative");
  // Below this, the division of a logit by it would overflow; the draw is the most likely code long before.
  return temperature < 1e-6 ? 0.0f : static_cast<float>(temperature);
}

float checked_guidance(double guidance, bool guided) {
  if (!(guidance >= 0.0 && guidance <= static_cast<double>(kMostGuidance))) {
    throw py::value_error("guidance must be between 0 and 10, not " + std::string(py::str(py::float_(guidance))));
  }
  if (!guided && guidance != 1.0) throw py::value_error("guidance other than 1 needs a sampler made with guided=True");
  return static_cast<float>(guidance);
}

void check_uniforms(const float* uniforms, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (!(uniforms[i] >= 0.0f && uniforms[i] < 1.0f)) throw py::value_error("uniforms must lie in [0, 1)");
  }
}

void check_codes(const std::uint8_t* codes, std::int64_t count, std::int64_t classes) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (codes[i] >= classes) {
      throw py::value_error("codes must be below the number of classes, " + std::to_string(classes));
    }
  }
}

}  // namespace musicstar::bindings
