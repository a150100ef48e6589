// The residual stacks on a GPU, for callers that have device memory: pointers as integers, from torch.
//
// An object stands for one shape. It is made once and says how many bytes its buffers take; forward and backward then
// only queue kernels. Whoever calls sets the current device and keeps the memory alive; what can be checked of a number
// is checked.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "module.h"
#include "musicstar/cuda_stacks.h"
#include "stack_arguments.h"

namespace musicstar::bindings {

namespace {

cuda::Element element_named(const std::string& name) {
  if (name == "float32") return cuda::Element::kFloat32;
  if (name == "bfloat16") return cuda::Element::kBfloat16;
  throw py::value_error("element must be 'float32' or 'bfloat16', not '" + name + "'");
}

constexpr Pointer kArrayAlignment = 16, kBufferAlignment = 256;

void* pointer(Pointer address, const char* name, bool needed, Pointer alignment = kArrayAlignment) {
  return checked_pointer(address, name, needed, alignment);
}

float* floats(Pointer address, const char* name, bool needed) {
  return static_cast<float*>(pointer(address, name, needed));
}

void check_saved(Pointer saved, std::int64_t bytes) { pointer(saved, "saved", bytes > 0, kBufferAlignment); }

// What both stacks share: sizes, element, path, and the memory that follows from them.
template <typename Sizes>
struct Stack {
  std::vector<std::int64_t> dilations;
  Sizes sizes;
  cuda::Element element = cuda::Element::kFloat32;
  cuda::StackPath path = cuda::StackPath::kAutomatic;
  StackMemory memory;

  // The sizes point into the dilations: an object stays where it is.
  Stack(std::vector<std::int64_t> given, const std::string& element_name)
      : dilations(std::move(given)), element(element_named(element_name)) {
    sizes.layers = static_cast<std::int64_t>(dilations.size());
    sizes.dilations = dilations.data();
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  bool has_samples() const { return sizes.batch > 0 && sizes.time > 0; }
  bool has_layers() const { return sizes.layers > 0; }
  void* scratch(Pointer address, std::int64_t bytes) const {
    return pointer(address, "scratch", bytes > 0, kBufferAlignment);
  }
  void* stream(Pointer address) const { return reinterpret_cast<void*>(address); }
};

struct GatedStack : Stack<GatedResidualStackSizes> {
  GatedStack(std::int64_t batch, std::int64_t time, std::int64_t residual, std::int64_t skip, std::int64_t kernel_size,
             std::vector<std::int64_t> given, std::int64_t frames, std::int64_t pool, const std::string& element_name,
             const std::string& path_name)
      : Stack(checked_dilations(std::move(given)), element_name) {
    sizes.batch = checked_size(batch, "batch", 0, kMostTime);
    sizes.time = checked_size(time, "time", 0, kMostTime);
    sizes.residual = checked_size(residual, "residual", 1, kMostChannels);
    sizes.skip = checked_size(skip, "skip", 1, kMostChannels);
    sizes.kernel_size = checked_size(kernel_size, "kernel_size", 1, kMostTaps);
    sizes.frames = checked_size(frames, "frames", 0, kMostTime);
    sizes.pool = checked_size(pool, "pool", 1, kMostTime);
    if (sizes.frames * sizes.pool < sizes.time) {
      throw py::value_error(std::to_string(time) + " samples need more than " + std::to_string(frames) + " frames of " +
                            std::to_string(pool));
    }
    check_elements({sizes.layers, sizes.batch, sizes.time, 2 * sizes.residual + sizes.skip});
    check_elements({sizes.layers, sizes.batch, sizes.frames, 2 * sizes.residual});
    check_elements({sizes.layers, 2 * sizes.residual, sizes.residual + sizes.skip, sizes.kernel_size});
    path = cuda::resolve_path(sizes, element, cuda::stack_path_named(path_name));
    memory = cuda::gated_residual_stack_memory(sizes, element, path);
  }

  cuda::GatedResidualStackInputs inputs(Pointer x, Pointer condition, Pointer dilated, Pointer residual,
                                        Pointer residual_bias, Pointer skip) const {
    cuda::GatedResidualStackInputs all;
    all.x = pointer(x, "x", has_samples());
    all.condition = floats(condition, "condition", has_layers() && has_samples());
    all.dilated = floats(dilated, "dilated", has_layers());
    all.residual = floats(residual, "residual", has_layers());
    all.residual_bias = floats(residual_bias, "residual_bias", has_layers());
    all.skip = floats(skip, "skip", has_layers());
    return all;
  }
};

struct GluStack : Stack<GluResidualStackSizes> {
  GluStack(bool gated, std::int64_t batch, std::int64_t time, std::int64_t channels, std::int64_t kernel_size,
           std::vector<std::int64_t> given, const std::string& element_name, const std::string& path_name)
      : Stack(checked_dilations(std::move(given)), element_name) {
    sizes.gated = gated;
    sizes.batch = checked_size(batch, "batch", 0, kMostTime);
    sizes.time = checked_size(time, "time", 0, kMostTime);
    sizes.channels = checked_size(channels, "channels", 1, kMostChannels);
    sizes.kernel_size = checked_size(kernel_size, "kernel_size", 1, kMostTaps);
    check_elements({sizes.layers, sizes.batch, sizes.time, 2 * sizes.channels});
    check_elements({sizes.layers, 2 * sizes.channels, sizes.channels, sizes.kernel_size});
    path = cuda::resolve_path(sizes, element, cuda::stack_path_named(path_name));
    memory = cuda::glu_residual_stack_memory(sizes, element, path);
  }

  cuda::GluResidualStackInputs inputs(Pointer x, Pointer dilated, Pointer dilated_bias, Pointer pointwise,
                                      Pointer pointwise_bias) const {
    cuda::GluResidualStackInputs all;
    all.x = pointer(x, "x", has_samples());
    all.dilated = floats(dilated, "dilated", has_layers());
    all.dilated_bias = floats(dilated_bias, "dilated_bias", has_layers());
    all.pointwise = floats(pointwise, "pointwise", has_layers());
    all.pointwise_bias = floats(pointwise_bias, "pointwise_bias", has_layers());
    return all;
  }
};

// What an object says of itself.
template <typename Type>
void describe(py::class_<Type>& type) {
  type.def_property_readonly("path", [](const Type& stack) { return cuda::name_of(stack.path); });
  type.def_property_readonly("saved_bytes", [](const Type& stack) { return stack.memory.saved; });
  type.def_property_readonly("inference_bytes", [](const Type& stack) { return stack.memory.inference; });
  type.def_property_readonly("forward_bytes", [](const Type& stack) { return stack.memory.forward; });
  type.def_property_readonly("backward_bytes", [](const Type& stack) { return stack.memory.backward; });
}

// The gradients that a backward is to write are optional: None means not wanted.
Pointer wanted(const std::optional<Pointer>& address) { return address.value_or(0); }

void bind_gated(py::module_& module) {
  py::class_<GatedStack> type(module, "CudaGatedResidualStack");
  type.def(py::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::vector<std::int64_t>,
                    std::int64_t, std::int64_t, const std::string&, const std::string&>(),
           py::kw_only(), py::arg("batch"), py::arg("time"), py::arg("residual"), py::arg("skip"),
           py::arg("kernel_size"), py::arg("dilations"), py::arg("frames"), py::arg("pool"), py::arg("element"),
           py::arg("path") = "automatic");
  describe(type);
  type.def(
      "forward",
      [](const GatedStack& stack, Pointer x, Pointer condition, Pointer dilated, Pointer residual,
         Pointer residual_bias, Pointer skip, Pointer result, const std::optional<Pointer>& saved, Pointer scratch,
         Pointer stream) {
        const auto inputs = stack.inputs(x, condition, dilated, residual, residual_bias, skip);
        void* const to = pointer(result, "result", stack.has_samples());
        if (saved) check_saved(*saved, stack.memory.saved);
        void* const work = stack.scratch(scratch, saved ? stack.memory.forward : stack.memory.inference);
        const py::gil_scoped_release released;
        cuda::gated_residual_stack_forward(stack.sizes, stack.element, inputs, to,
                                           reinterpret_cast<void*>(wanted(saved)), work, stack.stream(stream),
                                           stack.path);
      },
      py::kw_only(), py::arg("x"), py::arg("condition"), py::arg("dilated"), py::arg("residual"),
      py::arg("residual_bias"), py::arg("skip"), py::arg("result"), py::arg("saved"), py::arg("scratch"),
      py::arg("stream") = 0);
  type.def(
      "backward",
      [](const GatedStack& stack, Pointer x, Pointer condition, Pointer dilated, Pointer residual,
         Pointer residual_bias, Pointer skip, Pointer result_gradient, const std::optional<Pointer>& x_gradient,
         const std::optional<Pointer>& condition_gradient, const std::optional<Pointer>& dilated_gradient,
         const std::optional<Pointer>& residual_gradient, const std::optional<Pointer>& residual_bias_gradient,
         const std::optional<Pointer>& skip_gradient, Pointer saved, Pointer scratch, Pointer stream) {
        const auto inputs = stack.inputs(x, condition, dilated, residual, residual_bias, skip);
        const void* const from = pointer(result_gradient, "result_gradient", stack.has_samples());
        cuda::GatedResidualStackGradients gradients;
        gradients.x = pointer(wanted(x_gradient), "x_gradient", false);
        gradients.condition = floats(wanted(condition_gradient), "condition_gradient", false);
        gradients.dilated = floats(wanted(dilated_gradient), "dilated_gradient", false);
        gradients.residual = floats(wanted(residual_gradient), "residual_gradient", false);
        gradients.residual_bias = floats(wanted(residual_bias_gradient), "residual_bias_gradient", false);
        gradients.skip = floats(wanted(skip_gradient), "skip_gradient", false);
        check_saved(saved, stack.memory.saved);
        void* const work = stack.scratch(scratch, stack.memory.backward);
        const py::gil_scoped_release released;
        cuda::gated_residual_stack_backward(stack.sizes, stack.element, inputs, from, gradients,
                                            reinterpret_cast<const void*>(saved), work, stack.stream(stream),
                                            stack.path);
      },
      py::kw_only(), py::arg("x"), py::arg("condition"), py::arg("dilated"), py::arg("residual"),
      py::arg("residual_bias"), py::arg("skip"), py::arg("result_gradient"), py::arg("x_gradient"),
      py::arg("condition_gradient"), py::arg("dilated_gradient"), py::arg("residual_gradient"),
      py::arg("residual_bias_gradient"), py::arg("skip_gradient"), py::arg("saved"), py::arg("scratch"),
      py::arg("stream") = 0);
}

void bind_glu(py::module_& module) {
  py::class_<GluStack> type(module, "CudaGluResidualStack");
  type.def(py::init<bool, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::vector<std::int64_t>,
                    const std::string&, const std::string&>(),
           py::kw_only(), py::arg("gated"), py::arg("batch"), py::arg("time"), py::arg("channels"),
           py::arg("kernel_size"), py::arg("dilations"), py::arg("element"), py::arg("path") = "automatic");
  describe(type);
  type.def(
      "forward",
      [](const GluStack& stack, Pointer x, Pointer dilated, Pointer dilated_bias, Pointer pointwise,
         Pointer pointwise_bias, Pointer result, const std::optional<Pointer>& saved, Pointer scratch, Pointer stream) {
        const auto inputs = stack.inputs(x, dilated, dilated_bias, pointwise, pointwise_bias);
        void* const to = pointer(result, "result", stack.has_samples());
        if (saved) check_saved(*saved, stack.memory.saved);
        void* const work = stack.scratch(scratch, saved ? stack.memory.forward : stack.memory.inference);
        const py::gil_scoped_release released;
        cuda::glu_residual_stack_forward(stack.sizes, stack.element, inputs, to, reinterpret_cast<void*>(wanted(saved)),
                                         work, stack.stream(stream), stack.path);
      },
      py::kw_only(), py::arg("x"), py::arg("dilated"), py::arg("dilated_bias"), py::arg("pointwise"),
      py::arg("pointwise_bias"), py::arg("result"), py::arg("saved"), py::arg("scratch"), py::arg("stream") = 0);
  type.def(
      "backward",
      [](const GluStack& stack, Pointer x, Pointer dilated, Pointer dilated_bias, Pointer pointwise,
         Pointer pointwise_bias, Pointer result_gradient, const std::optional<Pointer>& x_gradient,
         const std::optional<Pointer>& dilated_gradient, const std::optional<Pointer>& dilated_bias_gradient,
         const std::optional<Pointer>& pointwise_gradient, const std::optional<Pointer>& pointwise_bias_gradient,
         Pointer saved, Pointer scratch, Pointer stream) {
        const auto inputs = stack.inputs(x, dilated, dilated_bias, pointwise, pointwise_bias);
        const void* const from = pointer(result_gradient, "result_gradient", stack.has_samples());
        cuda::GluResidualStackGradients gradients;
        gradients.x = pointer(wanted(x_gradient), "x_gradient", false);
        gradients.dilated = floats(wanted(dilated_gradient), "dilated_gradient", false);
        gradients.dilated_bias = floats(wanted(dilated_bias_gradient), "dilated_bias_gradient", false);
        gradients.pointwise = floats(wanted(pointwise_gradient), "pointwise_gradient", false);
        gradients.pointwise_bias = floats(wanted(pointwise_bias_gradient), "pointwise_bias_gradient", false);
        check_saved(saved, stack.memory.saved);
        void* const work = stack.scratch(scratch, stack.memory.backward);
        const py::gil_scoped_release released;
        cuda::glu_residual_stack_backward(stack.sizes, stack.element, inputs, from, gradients,
                                          reinterpret_cast<const void*>(saved), work, stack.stream(stream), stack.path);
      },
      py::kw_only(), py::arg("x"), py::arg("dilated"), py::arg("dilated_bias"), py::arg("pointwise"),
      py::arg("pointwise_bias"), py::arg("result_gradient"), py::arg("x_gradient"), py::arg("dilated_gradient"),
      py::arg("dilated_bias_gradient"), py::arg("pointwise_gradient"), py::arg("pointwise_bias_gradient"),
      py::arg("saved"), py::arg("scratch"), py::arg("stream") = 0);
}

}  // namespace

void bind_cuda_stacks(py::module_& module) {
  module.def(
      "cuda_wait",
      [](Pointer stream) {
        const py::gil_scoped_release released;
        cuda::wait_for_stream(reinterpret_cast<void*>(stream));
      },
      py::arg("stream") = 0);
  bind_gated(module);
  bind_glu(module);
}

}  // namespace musicstar::bindings
