// csrc/cuda/instructions/copies.cuh for the emulated GPU: copies land when they are waited for.
#pragma once

#include "emulated_gpu/machine.h"

namespace musicstar::cuda {

namespace details {

template <std::size_t Bytes>
void cp_async(void* shared, const void* global, bool valid, const char* name) {
  emulated_gpu::check_shared(shared, Bytes, Bytes, name);
  emulated_gpu::check_aligned(global, Bytes, name);
  emulated_gpu::current->copies.open.push_back(emulated_gpu::machine.begin_waited([=] {
    if (valid) {
      std::memcpy(shared, global, Bytes);
    } else {
      std::memset(shared, 0, Bytes);
    }
  }));
}

}  // namespace details

inline void cp_async_16(void* shared, const void* global, bool valid = true) {
  details::cp_async<16>(shared, global, valid, "cp.async 16");
}
inline void cp_async_8(void* shared, const void* global, bool valid = true) {
  details::cp_async<8>(shared, global, valid, "cp.async 8");
}
inline void cp_async_4(void* shared, const void* global, bool valid = true) {
  details::cp_async<4>(shared, global, valid, "cp.async 4");
}
inline void cp_async_commit() { emulated_gpu::current->copies.commit(); }
template <int N>
void cp_async_wait() {
  emulated_gpu::current->copies.wait(N);
}

}  // namespace musicstar::cuda
