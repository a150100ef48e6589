// The residual stacks on the CPU, for callers that hold their memory: pointers as integers, from torch.
//
// An object stands for one shape; it says how many bytes its buffers take, and forward and backward compute. In float64
// it is the reference that computes. bind_cuda_stacks.cpp has the same for a GPU.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <type_traits>
#include <utility>

#include "arguments.h"
#include "module.h"
#include "musicstar/buffer_pool.h"
#include "musicstar/stacks.h"
#include "stack_arguments.h"

namespace musicstar::bindings {

namespace {

constexpr Pointer kBufferAlignment = 64;

void check_buffer(Pointer address, const char* name, std::int64_t bytes) {
  checked_pointer(address, name, bytes > 0, kBufferAlignment);
}

enum class Element { kFloat32, kFloat64 };

Element element_named(const std::string& name) {
  if (name == "float32") return Element::kFloat32;
  if (name == "float64") return Element::kFloat64;
  throw py::value_error("element must be 'float32' or 'float64', not '" + name + "'");
}

// Memory of the core's pool, as an object that holds it and has Python's buffer protocol.
class Buffer {
 public:
  explicit Buffer(std::int64_t bytes)
      : bytes_(checked_size(bytes, "bytes", 0, kMostElements)), buffer_(cpu::buffer_pool().take(bytes_)) {}
  ~Buffer() { cpu::buffer_pool().give_back(buffer_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  py::buffer_info info() const {
    return py::buffer_info(static_cast<std::uint8_t*>(buffer_.data), static_cast<py::ssize_t>(bytes_));
  }

 private:
  std::int64_t bytes_;
  cpu::BufferPool::Buffer buffer_;
};

// What both stacks share: sizes, element, threads, and the memory that follows from them.
template <typename Sizes>
struct Stack {
  std::vector<std::int64_t> dilations;
  Sizes sizes;
  Element element;
  int threads;
  cpu::Isa isa;
  StackMemory memory;

  Stack(std::vector<std::int64_t> given, const std::string& element_name, int thread_count, const std::string& isa_name)
      : dilations(checked_dilations(std::move(given))),
        element(element_named(element_name)),
        threads(checked_threads(thread_count)),
        isa(cpu::select_isa(isa_name)) {
    sizes.layers = static_cast<std::int64_t>(dilations.size());
    sizes.dilations = dilations.data();
  }
  Stack(const Stack&) = delete;  // the sizes point into the dilations
  Stack& operator=(const Stack&) = delete;

  bool has_samples() const { return sizes.batch > 0 && sizes.time > 0; }

  template <typename T>
  T* array(Pointer address, const char* name, bool needed) const {
    return static_cast<T*>(checked_pointer(address, name, needed, alignof(T)));
  }
  template <typename T>
  T* wanted(const std::optional<Pointer>& address, const char* name) const {
    return array<T>(address.value_or(0), name, false);
  }
};

struct GatedStack : Stack<GatedResidualStackSizes> {
  GatedStack(std::int64_t batch, std::int64_t time, std::int64_t residual, std::int64_t skip, std::int64_t kernel_size,
             std::vector<std::int64_t> given, std::int64_t frames, std::int64_t pool, const std::string& element_name,
             int thread_count, const std::string& isa_name)
      : Stack(std::move(given), element_name, thread_count, isa_name) {
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
    if (element == Element::kFloat32) memory = cpu::gated_residual_stack_memory(sizes, threads, isa);
  }

  template <typename T>
  GatedResidualStackInputs<T> inputs(Pointer x, Pointer condition, Pointer dilated, Pointer residual,
                                     Pointer residual_bias, Pointer skip) const {
    const bool layers = sizes.layers > 0;
    GatedResidualStackInputs<T> all;
    all.x = array<T>(x, "x", has_samples());
    all.condition = array<T>(condition, "condition", layers && has_samples());
    all.dilated = array<T>(dilated, "dilated", layers);
    all.residual = array<T>(residual, "residual", layers);
    all.residual_bias = array<T>(residual_bias, "residual_bias", layers);
    all.skip = array<T>(skip, "skip", layers);
    return all;
  }
};

struct GluStack : Stack<GluResidualStackSizes> {
  GluStack(bool gated, std::int64_t batch, std::int64_t time, std::int64_t channels, std::int64_t kernel_size,
           std::vector<std::int64_t> given, const std::string& element_name, int thread_count,
           const std::string& isa_name)
      : Stack(std::move(given), element_name, thread_count, isa_name) {
    sizes.gated = gated;
    sizes.batch = checked_size(batch, "batch", 0, kMostTime);
    sizes.time = checked_size(time, "time", 0, kMostTime);
    sizes.channels = checked_size(channels, "channels", 1, kMostChannels);
    sizes.kernel_size = checked_size(kernel_size, "kernel_size", 1, kMostTaps);
    check_elements({sizes.layers, sizes.batch, sizes.time, 2 * sizes.channels});
    check_elements({sizes.layers, 2 * sizes.channels, sizes.channels, sizes.kernel_size});
    if (element == Element::kFloat32) memory = cpu::glu_residual_stack_memory(sizes, threads, isa);
  }

  template <typename T>
  GluResidualStackInputs<T> inputs(Pointer x, Pointer dilated, Pointer dilated_bias, Pointer pointwise,
                                   Pointer pointwise_bias) const {
    const bool layers = sizes.layers > 0;
    GluResidualStackInputs<T> all;
    all.x = array<T>(x, "x", has_samples());
    all.dilated = array<T>(dilated, "dilated", layers);
    all.dilated_bias = array<T>(dilated_bias, "dilated_bias", layers);
    all.pointwise = array<T>(pointwise, "pointwise", layers);
    all.pointwise_bias = array<T>(pointwise_bias, "pointwise_bias", layers);
    return all;
  }
};

// Calls body with a null T*, T the type that the stack computes in.
template <typename Stack, typename Body>
void in_element(const Stack& stack, const Body& body) {
  if (stack.element == Element::kFloat32) {
    body(static_cast<float*>(nullptr));
  } else {
    body(static_cast<double*>(nullptr));
  }
}

// What an object says of itself.
template <typename Type>
void describe(py::class_<Type>& type) {
  type.def_property_readonly("isa", [](const Type& stack) { return cpu::name_of(stack.isa); });
  type.def_property_readonly("saved_bytes", [](const Type& stack) { return stack.memory.saved; });
  type.def_property_readonly("inference_bytes", [](const Type& stack) { return stack.memory.inference; });
  type.def_property_readonly("forward_bytes", [](const Type& stack) { return stack.memory.forward; });
  type.def_property_readonly("backward_bytes", [](const Type& stack) { return stack.memory.backward; });
}

using Optional = const std::optional<Pointer>&;  // None: a gradient that is not wanted, a forward that saves nothing

void bind_gated(py::module_& module) {
  py::class_<GatedStack> type(module, "GatedResidualStack");
  type.def(py::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::vector<std::int64_t>,
                    std::int64_t, std::int64_t, const std::string&, int, const std::string&>(),
           py::kw_only(), py::arg("batch"), py::arg("time"), py::arg("residual"), py::arg("skip"),
           py::arg("kernel_size"), py::arg("dilations"), py::arg("frames"), py::arg("pool"), py::arg("element"),
           py::arg("threads") = 1, py::arg("isa") = "");
  describe(type);
  type.def(
      "forward",
      [](const GatedStack& stack, Pointer x, Pointer condition, Pointer dilated, Pointer residual,
         Pointer residual_bias, Pointer skip, Pointer result, Optional saved, Pointer scratch) {
        in_element(stack, [&](auto* type_of) {
          using T = std::remove_pointer_t<decltype(type_of)>;
          const auto inputs = stack.inputs<T>(x, condition, dilated, residual, residual_bias, skip);
          T* const to = stack.array<T>(result, "result", stack.has_samples());
          if (saved) check_buffer(*saved, "saved", stack.memory.saved);
          check_buffer(scratch, "scratch", saved ? stack.memory.forward : stack.memory.inference);
          const py::gil_scoped_release released;
          if constexpr (std::is_same_v<T, double>) {
            reference::gated_residual_stack_forward(stack.sizes, inputs, to);
          } else {
            cpu::gated_residual_stack_forward(stack.sizes, inputs, to, reinterpret_cast<void*>(saved.value_or(0)),
                                              reinterpret_cast<void*>(scratch), stack.threads, stack.isa);
          }
        });
      },
      py::kw_only(), py::arg("x"), py::arg("condition"), py::arg("dilated"), py::arg("residual"),
      py::arg("residual_bias"), py::arg("skip"), py::arg("result"), py::arg("saved"), py::arg("scratch"));
  type.def(
      "backward",
      [](const GatedStack& stack, Pointer x, Pointer condition, Pointer dilated, Pointer residual,
         Pointer residual_bias, Pointer skip, Pointer result_gradient, Optional x_gradient, Optional condition_gradient,
         Optional dilated_gradient, Optional residual_gradient, Optional residual_bias_gradient, Optional skip_gradient,
         Pointer saved, Pointer scratch) {
        in_element(stack, [&](auto* type_of) {
          using T = std::remove_pointer_t<decltype(type_of)>;
          const auto inputs = stack.inputs<T>(x, condition, dilated, residual, residual_bias, skip);
          const T* const from = stack.array<T>(result_gradient, "result_gradient", stack.has_samples());
          const GatedResidualStackGradients<T> gradients{
              stack.wanted<T>(x_gradient, "x_gradient"),
              stack.wanted<T>(condition_gradient, "condition_gradient"),
              stack.wanted<T>(dilated_gradient, "dilated_gradient"),
              stack.wanted<T>(residual_gradient, "residual_gradient"),
              stack.wanted<T>(residual_bias_gradient, "residual_bias_gradient"),
              stack.wanted<T>(skip_gradient, "skip_gradient")};
          check_buffer(saved, "saved", stack.memory.saved);
          check_buffer(scratch, "scratch", stack.memory.backward);
          const py::gil_scoped_release released;
          if constexpr (std::is_same_v<T, double>) {
            reference::gated_residual_stack_backward(stack.sizes, inputs, from, gradients);
          } else {
            cpu::gated_residual_stack_backward(stack.sizes, inputs, from, gradients,
                                               reinterpret_cast<const void*>(saved), reinterpret_cast<void*>(scratch),
                                               stack.threads, stack.isa);
          }
        });
      },
      py::kw_only(), py::arg("x"), py::arg("condition"), py::arg("dilated"), py::arg("residual"),
      py::arg("residual_bias"), py::arg("skip"), py::arg("result_gradient"), py::arg("x_gradient"),
      py::arg("condition_gradient"), py::arg("dilated_gradient"), py::arg("residual_gradient"),
      py::arg("residual_bias_gradient"), py::arg("skip_gradient"), py::arg("saved"), py::arg("scratch"));
}

void bind_glu(py::module_& module) {
  py::class_<GluStack> type(module, "GluResidualStack");
  type.def(py::init<bool, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::vector<std::int64_t>,
                    const std::string&, int, const std::string&>(),
           py::kw_only(), py::arg("gated"), py::arg("batch"), py::arg("time"), py::arg("channels"),
           py::arg("kernel_size"), py::arg("dilations"), py::arg("element"), py::arg("threads") = 1,
           py::arg("isa") = "");
  describe(type);
  type.def(
      "forward",
      [](const GluStack& stack, Pointer x, Pointer dilated, Pointer dilated_bias, Pointer pointwise,
         Pointer pointwise_bias, Pointer result, Optional saved, Pointer scratch) {
        in_element(stack, [&](auto* type_of) {
          using T = std::remove_pointer_t<decltype(type_of)>;
          const auto inputs = stack.inputs<T>(x, dilated, dilated_bias, pointwise, pointwise_bias);
          T* const to = stack.array<T>(result, "result", stack.has_samples());
          if (saved) check_buffer(*saved, "saved", stack.memory.saved);
          check_buffer(scratch, "scratch", saved ? stack.memory.forward : stack.memory.inference);
          const py::gil_scoped_release released;
          if constexpr (std::is_same_v<T, double>) {
            reference::glu_residual_stack_forward(stack.sizes, inputs, to);
          } else {
            cpu::glu_residual_stack_forward(stack.sizes, inputs, to, reinterpret_cast<void*>(saved.value_or(0)),
                                            reinterpret_cast<void*>(scratch), stack.threads, stack.isa);
          }
        });
      },
      py::kw_only(), py::arg("x"), py::arg("dilated"), py::arg("dilated_bias"), py::arg("pointwise"),
      py::arg("pointwise_bias"), py::arg("result"), py::arg("saved"), py::arg("scratch"));
  type.def(
      "backward",
      [](const GluStack& stack, Pointer x, Pointer dilated, Pointer dilated_bias, Pointer pointwise,
         Pointer pointwise_bias, Pointer result_gradient, Optional x_gradient, Optional dilated_gradient,
         Optional dilated_bias_gradient, Optional pointwise_gradient, Optional pointwise_bias_gradient, Pointer saved,
         Pointer scratch) {
        in_element(stack, [&](auto* type_of) {
          using T = std::remove_pointer_t<decltype(type_of)>;
          const auto inputs = stack.inputs<T>(x, dilated, dilated_bias, pointwise, pointwise_bias);
          const T* const from = stack.array<T>(result_gradient, "result_gradient", stack.has_samples());
          const GluResidualStackGradients<T> gradients{
              stack.wanted<T>(x_gradient, "x_gradient"), stack.wanted<T>(dilated_gradient, "dilated_gradient"),
              stack.wanted<T>(dilated_bias_gradient, "dilated_bias_gradient"),
              stack.wanted<T>(pointwise_gradient, "pointwise_gradient"),
              stack.wanted<T>(pointwise_bias_gradient, "pointwise_bias_gradient")};
          check_buffer(saved, "saved", stack.memory.saved);
          check_buffer(scratch, "scratch", stack.memory.backward);
          const py::gil_scoped_release released;
          if constexpr (std::is_same_v<T, double>) {
            reference::glu_residual_stack_backward(stack.sizes, inputs, from, gradients);
          } else {
            cpu::glu_residual_stack_backward(stack.sizes, inputs, from, gradients, reinterpret_cast<const void*>(saved),
                                             reinterpret_cast<void*>(scratch), stack.threads, stack.isa);
          }
        });
      },
      py::kw_only(), py::arg("x"), py::arg("dilated"), py::arg("dilated_bias"), py::arg("pointwise"),
      py::arg("pointwise_bias"), py::arg("result_gradient"), py::arg("x_gradient"), py::arg("dilated_gradient"),
      py::arg("dilated_bias_gradient"), py::arg("pointwise_gradient"), py::arg("pointwise_bias_gradient"),
      py::arg("saved"), py::arg("scratch"));
}

}  // namespace

void bind_stacks(py::module_& module) {
  py::class_<Buffer>(module, "Buffer", py::buffer_protocol())
      .def(py::init<std::int64_t>(), py::arg("bytes"))
      .def_buffer(&Buffer::info);
  bind_gated(module);
  bind_glu(module);
}

}  // namespace musicstar::bindings
