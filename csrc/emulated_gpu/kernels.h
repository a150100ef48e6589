// How kernels, which CUDA launches by address, are called.
#pragma once

#include <functional>
#include <memory>
#include <tuple>

namespace musicstar::emulated_gpu {

// Copies the arguments that `pointers` lead to and gives the call with them.
using BindKernel = std::function<void()> (*)(const void* kernel, void** pointers);
void remember_kernel(const void* kernel, BindKernel bind);

// The name in the program's symbol table, mangled; null where there is none.
const char* symbol_at(const void* address);

namespace details {

template <typename... Parameters, std::size_t... I>
std::function<void()> bind(const void* kernel, void** pointers, std::index_sequence<I...>) {
  const auto function = reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(kernel));
  auto values = std::make_shared<std::tuple<Parameters...>>(*static_cast<Parameters*>(pointers[I])...);
  return [function, values] { std::apply(function, *values); };
}

}  // namespace details

template <typename... Parameters>
void remember_kernel(void (*kernel)(Parameters...)) {
  remember_kernel(reinterpret_cast<const void*>(kernel), [](const void* address, void** pointers) {
    return details::bind<Parameters...>(address, pointers, std::index_sequence_for<Parameters...>());
  });
}

}  // namespace musicstar::emulated_gpu
