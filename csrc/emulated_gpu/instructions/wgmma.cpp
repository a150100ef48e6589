#include "cuda/instructions/wgmma.cuh"

#include <algorithm>
#include <memory>
#include <vector>

#include "emulated_gpu/tensor_maps.h"

namespace musicstar::emulated_gpu {

namespace {

// An operand in shared memory as its 64 bits say. Rows are m or n.
struct Operand {
  std::uintptr_t start = 0;
  std::uint32_t leading = 0, stride = 0;
  std::size_t span = 0;  // bytes of the swizzle
  bool transposed = false;

  Operand(std::uint64_t descriptor, const Block& block, bool is_transposed) : transposed(is_transposed) {
    const std::uintptr_t window = reinterpret_cast<std::uintptr_t>(block.shared) & ~std::uintptr_t{0x3ffff};
    start = window + ((descriptor & 0x3fff) << 4);
    leading = static_cast<std::uint32_t>(descriptor >> 16 & 0x3fff) << 4;
    stride = static_cast<std::uint32_t>(descriptor >> 32 & 0x3fff) << 4;
    const unsigned mode = static_cast<unsigned>(descriptor >> 62);
    span = mode == 0 ? 0 : mode == 1 ? 128 : mode == 2 ? 64 : 32;
    if (descriptor >> 49 & 7) fault("wgmma: base offsets are not emulated");
  }

  // Where element (row, k) lies.
  std::uintptr_t at(unsigned row, unsigned k) const {
    std::uintptr_t place = start;
    if (span == 0) {
      // Atoms of 8 x 16 bytes; an atom's rows are m or n, or, transposed, k.
      place += transposed ? row / 8 * stride + k / 8 * leading + k % 8 * 16 + row % 8 * 2
                          : row / 8 * stride + k / 8 * leading + row % 8 * 16 + k % 8 * 2;
    } else if (transposed) {
      const unsigned elements = static_cast<unsigned>(span / 2);
      place += row / elements * leading + k / 8 * stride + k % 8 * span + row % elements * 2;
    } else {
      place += row / 8 * stride + row % 8 * span + k * 2;
    }
    return swizzled(place, span);
  }
};

float element_at(const Operand& operand, const Block& block, unsigned row, unsigned k) {
  const char* place = reinterpret_cast<const char*>(operand.at(row, k));
  if (place < block.shared || place + 2 > block.shared + kSharedWindow) {
    fault("wgmma: a descriptor leads outside the block's shared memory");
  }
  std::uint16_t bits;
  std::memcpy(&bits, place + block.view(), sizeof bits);
  return __uint_as_float(static_cast<std::uint32_t>(bits) << 16);
}

struct Product {
  int n;
  float* d;
  std::uint64_t a, b;
  const std::uint32_t* a_registers;
  bool transposed_a, transposed_b, accumulate;
};

struct WarpProduct {
  Product lanes[kLanes];
  std::uint32_t a_registers[kLanes][4];
  const Warp* warp;

  void act() const {
    const Product& all = lanes[0];
    const Block& block = *warp->block;
    const unsigned n = static_cast<unsigned>(all.n);
    const unsigned first_row = warp->lanes[0]->number / kLanes % 4 * 16;
    float a[16][16];
    std::vector<float> b(16 * n), sums(n);
    if (all.a_registers) {
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        for (unsigned i = 0; i < 8; ++i) {
          const unsigned row = lane / 4 + (i / 2 % 2 ? 8 : 0);
          const unsigned column = lane % 4 * 2 + i % 2 + (i >= 4 ? 8 : 0);
          const std::uint32_t word = a_registers[lane][i / 2];
          a[row][column] = __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
        }
      }
    } else {
      const Operand operand(all.a, block, all.transposed_a);
      for (unsigned row = 0; row < 16; ++row) {
        for (unsigned k = 0; k < 16; ++k) a[row][k] = element_at(operand, block, first_row + row, k);
      }
    }
    const Operand operand(all.b, block, all.transposed_b);
    for (unsigned k = 0; k < 16; ++k) {
      for (unsigned column = 0; column < n; ++column) b[k * n + column] = element_at(operand, block, column, k);
    }
    for (unsigned row = 0; row < 16; ++row) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (unsigned k = 0; k < 16; ++k) {
        const float factor = a[row][k];
        const float* from = &b[k * n];
        for (unsigned column = 0; column < n; ++column) sums[column] += factor * from[column];
      }
      for (unsigned column = 0; column < n; ++column) {
        float& d = lanes[row % 8 * 4 + column % 8 / 2].d[column / 8 * 4 + row / 8 * 2 + column % 2];
        d = all.accumulate ? d + sums[column] : sums[column];
      }
    }
  }
};

}  // namespace

void multiply_warpgroup(int n, float* d, std::uint64_t a, const std::uint32_t* a_registers, bool transposed_a,
                        std::uint64_t b, bool transposed_b, bool accumulate) {
  Product mine{n, d, a, b, a_registers, transposed_a, transposed_b, accumulate};
  meet_all("wgmma.mma_async", mine, [](Product*(&all)[kLanes]) {
    Warp& warp = *current->warp;
    if (!warp.product_fence) fault("wgmma.mma_async: no wgmma.fence since the registers were free");
    if (warp.block->warps.size() % 4 != 0) fault("wgmma.mma_async: the warps do not form groups of four");
    auto product = std::make_shared<WarpProduct>();
    product->warp = &warp;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      product->lanes[lane] = *all[lane];
      if (all[lane]->a != all[0]->a || all[lane]->b != all[0]->b || all[lane]->accumulate != all[0]->accumulate) {
        fault("wgmma.mma_async: lanes disagree on the operands");
      }
      if (all[lane]->a_registers) std::memcpy(product->a_registers[lane], all[lane]->a_registers, 16);
    }
    // Products of a warp write the same registers in turn: none before an earlier one.
    const auto done = [](const auto& deed) { return deed->done; };
    bool all_done = std::all_of(warp.products.open.begin(), warp.products.open.end(), done);
    for (const auto& group : warp.products.closed) all_done = all_done && std::all_of(group.begin(), group.end(), done);
    if (all_done) {
      warp.products.open.push_back(machine.begin_waited([product] { product->act(); }));
    } else {
      warp.products.open.push_back(std::make_shared<Deed>());
      warp.products.open.back()->act = [product] { product->act(); };
    }
  });
}

void wgmma_fence() {
  int nothing = 0;
  meet_all("wgmma.fence", nothing, [](auto&) { current->warp->product_fence = true; });
}

void wgmma_commit() {
  int nothing = 0;
  meet_all("wgmma.commit_group", nothing, [](auto&) { current->warp->products.commit(); });
}

void wgmma_wait(unsigned pending) {
  int nothing = 0;
  meet_all("wgmma.wait_group", nothing, [pending](auto&) {
    current->warp->products.wait(pending);
    current->warp->product_fence = false;
  });
}

void set_registers(int registers) {
  if (registers % 8 != 0 || registers < 24 || registers > 256) fault("setmaxnreg: not a multiple of 8 from 24 to 256");
  int nothing = 0;
  meet_all("setmaxnreg", nothing, [](auto&) {});
}

}  // namespace musicstar::emulated_gpu

namespace musicstar::cuda {

std::uint64_t shared_descriptor(const void* pointer, std::uint32_t leading, std::uint32_t stride, Swizzle swizzle) {
  emulated_gpu::check_shared(pointer, 16, 16, "a descriptor");
  if (leading % 16 != 0 || stride % 16 != 0) emulated_gpu::fault("a descriptor: offsets are multiples of 16 bytes");
  return static_cast<std::uint64_t>(shared_address(pointer) >> 4) |
         static_cast<std::uint64_t>((leading & 0x3ffffu) >> 4) << 16 |
         static_cast<std::uint64_t>((stride & 0x3ffffu) >> 4) << 32 | static_cast<std::uint64_t>(swizzle) << 62;
}

}  // namespace musicstar::cuda
