// What a residual stream (x on its way forward, dx on its way back) has beside its values in bf16: their tails, the 8
// bits that follow.
//
// Each layer adds to the stream. Rounded to bf16 every time, it drifts by a percent in 40 to 56 layers; with 8 bits
// more it keeps 2^-16 of itself a layer, which is nothing beside the rounding of what is added. Products, `saved` and
// the gradients of weights take the bf16 values alone: only the addition at a layer's end reads and writes tails. They
// cost that kernel one byte a value each way, where a second bf16 would cost two and a float, beside its bf16, four.
//
//   bits of the float x = (bits of bf16 << 16) + (tail << 8) - 2^15        tail = 128: x is its bf16
//
// The bf16 is rounded to nearest even as everywhere, so that x lies within half a step on either side of it: the tail
// says where, in 256 parts. Floats of one sign are in the order of their bits, so this holds across powers of two too.
//
// Nobody but the same kernel of the next layer reads tails, so they need not lie as rows do: on tensor cores a thread
// finds those of its own values as whole pieces of 16 bytes, beside its neighbours' ([tile][C / 32][threads]). A thread
// reads its tails before it writes them, to the same place: one plane is enough for a stack.
#pragma once

#include "cuda/instructions.cuh"

namespace musicstar::cuda {

constexpr std::uint32_t kTailOfNone = 0x80;

// x from its bf16, as a float, and its tail, shifted left by 8.
__device__ __forceinline__ float with_tail(float rounded, std::uint32_t shifted_tail) {
  return __uint_as_float(__float_as_uint(rounded) + shifted_tail - (kTailOfNone << 8));
}

// The tail in the bits 8 to 15, the rest of no meaning; `rounded`: x in bf16, as a float.
__device__ __forceinline__ std::uint32_t shifted_tail_of(float x, float rounded) {
  const std::uint32_t tail = __float_as_uint(x) - __float_as_uint(rounded) + (kTailOfNone << 8) + 0x80;
  return tail < 0xffff ? tail : 0xffff;
}

// The tails of a thread's C / 2 values, by pairs that the kernel numbers as it has them.
template <int C>
class Tails {
 public:
  // Of the tile's threads; without a plane there are no tails, values are their bf16.
  __device__ __forceinline__ void load(const void* plane, std::int64_t tile, int thread, int threads) {
    const uint4* from = static_cast<const uint4*>(plane) + tile * (C / 32) * threads + thread;
#pragma unroll
    for (int i = 0; i < C / 32; ++i) {
      const std::uint32_t none = kTailOfNone * 0x01010101u;
      const uint4 piece = plane != nullptr ? from[i * threads] : make_uint4(none, none, none, none);
      words_[4 * i] = piece.x, words_[4 * i + 1] = piece.y, words_[4 * i + 2] = piece.z, words_[4 * i + 3] = piece.w;
    }
  }
  __device__ __forceinline__ void store(void* plane, std::int64_t tile, int thread, int threads) const {
    if (plane == nullptr) return;
    uint4* to = static_cast<uint4*>(plane) + tile * (C / 32) * threads + thread;
#pragma unroll
    for (int i = 0; i < C / 32; ++i) {
      to[i * threads] = make_uint4(words_[4 * i], words_[4 * i + 1], words_[4 * i + 2], words_[4 * i + 3]);
    }
  }

  // `pair` (of C / 4) wants to be known to the compiler.
  __device__ __forceinline__ float2 join(int pair, std::uint32_t rounded) const {
    const float2 high = unpack_bf16(rounded);
    const unsigned first = 0x4404u + pair % 2 * 0x20u;  // byte 0 or 2 to byte 1
    return make_float2(with_tail(high.x, __byte_perm(words_[pair / 2], 0, first)),
                       with_tail(high.y, __byte_perm(words_[pair / 2], 0, first + 0x10u)));
  }
  // Keeps the tails of x0 and x1, and gives the pair in bf16.
  __device__ __forceinline__ std::uint32_t split(int pair, float x0, float x1) {
    const std::uint32_t rounded = pack_bf16(x0, x1);
    const float2 high = unpack_bf16(rounded);
    const std::uint32_t tails = __byte_perm(shifted_tail_of(x0, high.x), shifted_tail_of(x1, high.y), 0x0051u);
    std::uint32_t& word = words_[pair / 2];
    word = pair % 2 == 0 ? __byte_perm(tails, word, 0x7610u) : __byte_perm(word, tails, 0x5410u);
    return rounded;
  }

 private:
  std::uint32_t words_[C / 8];
};

}  // namespace musicstar::cuda
