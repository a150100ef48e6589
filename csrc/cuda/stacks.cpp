#include "cuda/stacks.h"

#include <stdexcept>

#include "cuda/stack_layers.h"

namespace musicstar::cuda {

namespace {

constexpr StackPath kPaths[] = {StackPath::kAutomatic, StackPath::kGeneral, StackPath::kMma, StackPath::kWgmma};

}  // namespace

UsableDevice current_device() {
  int index = 0;
  check(cudaGetDevice(&index), "asking for the current GPU");
  return usable_device(index);
}

void refuse_path(Element element, StackPath asked, const UsableDevice& device) {
  const std::string name = name_of(asked);
  if (element != Element::kBfloat16) {
    throw std::invalid_argument("the path '" + name + "' computes in bf16; fp32 takes 'general'");
  }
  throw std::invalid_argument("the path '" + name +
                              "' takes 32, 64 or 128 channels (residual and skip alike), up to 3 taps and a GPU that "
                              "has the instructions; this one has compute capability " +
                              std::to_string(device.major) + "." + std::to_string(device.minor));
}

const char* name_of(StackPath path) {
  switch (path) {
    case StackPath::kGeneral:
      return "general";
    case StackPath::kMma:
      return "mma";
    case StackPath::kWgmma:
      return "wgmma";
    default:
      return "automatic";
  }
}

StackPath stack_path_named(const std::string& name) {
  std::string known;
  for (const StackPath path : kPaths) {
    if (name == name_of(path)) return path;
    known += (known.empty() ? "" : ", ") + std::string(name_of(path));
  }
  throw std::invalid_argument("unknown path '" + name + "'; there are: " + known);
}

void wait_for_stream(void* stream) {
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "waiting for the GPU");
}

StackPath resolve_path(const GatedResidualStackSizes& sizes, Element element, StackPath asked) {
  return choose_path(element, asked, [&](StackPath path, int capability) { return supports(sizes, path, capability); });
}

StackPath resolve_path(const GluResidualStackSizes& sizes, Element element, StackPath asked) {
  return choose_path(element, asked, [&](StackPath path, int capability) { return supports(sizes, path, capability); });
}

}  // namespace musicstar::cuda
