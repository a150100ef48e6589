#include "cuda/instructions/matrix.cuh"

namespace musicstar::cuda {

using emulated_gpu::kLanes;

namespace {

float low(std::uint32_t word) { return __uint_as_float(word << 16); }
float high(std::uint32_t word) { return __uint_as_float(word & 0xffff0000u); }

struct Product {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

void multiply(Product* (&lanes)[kLanes]) {
  float a[16][16], b[16][8], d[16][8];
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned group = lane / 4, in_group = lane % 4;
    const Product& mine = *lanes[lane];
    for (unsigned i = 0; i < 8; ++i) {  // a_i: two to a register
      const unsigned row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
      const unsigned column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
      a[row][column] = i & 1 ? high(mine.a[i / 2]) : low(mine.a[i / 2]);
    }
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
      b[row][group] = i & 1 ? high(mine.b[i / 2]) : low(mine.b[i / 2]);
      d[i < 2 ? group : group + 8][in_group * 2 + (i & 1)] = mine.d[i];
    }
  }
  for (unsigned row = 0; row < 16; ++row) {
    float sums[8] = {};
    for (unsigned k = 0; k < 16; ++k) {
      for (unsigned column = 0; column < 8; ++column) sums[column] += a[row][k] * b[k][column];
    }
    for (unsigned column = 0; column < 8; ++column) d[row][column] += sums[column];
  }
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    for (unsigned i = 0; i < 4; ++i) {
      lanes[lane]->d[i] = d[i < 2 ? lane / 4 : lane / 4 + 8][lane % 4 * 2 + (i & 1)];
    }
  }
}

struct Rows {
  std::uint32_t* registers;
  char* row;
};

// Lane 8 m + r names row r of matrix m. Register m of lane l: elements (l / 4, 2 (l % 4)) and its right neighbour; of
// the transposed matrix where asked.
template <unsigned Matrices, bool Transposed, bool Store>
void move_matrices(const char* name, std::uint32_t* registers, const void* row) {
  Rows mine{registers, static_cast<char*>(const_cast<void*>(row))};
  if (emulated_gpu::current->lane < 8 * Matrices) emulated_gpu::check_shared(row, 16, 16, name);
  emulated_gpu::meet_all(name, mine, [](Rows*(&lanes)[kLanes]) {
    for (unsigned matrix = 0; matrix < Matrices; ++matrix) {
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        for (unsigned i = 0; i < 2; ++i) {
          unsigned r = lane / 4, column = lane % 4 * 2 + i;
          if (Transposed) std::swap(r, column);
          char* element = lanes[8 * matrix + r]->row + 2 * column;
          char* half = reinterpret_cast<char*>(&lanes[lane]->registers[matrix]) + 2 * i;  // little endian
          if (Store) {
            std::memcpy(element, half, 2);
          } else {
            std::memcpy(half, element, 2);
          }
        }
      }
    }
  });
}

}  // namespace

void mma_bf16_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  Product mine{d, a, b};
  emulated_gpu::meet_all("mma.m16n8k16", mine, multiply);
}

void ldmatrix_x4(std::uint32_t (&d)[4], const void* row) { move_matrices<4, false, false>("ldmatrix.x4", d, row); }
void ldmatrix_x4_transposed(std::uint32_t (&d)[4], const void* row) {
  move_matrices<4, true, false>("ldmatrix.x4.trans", d, row);
}
void ldmatrix_x2(std::uint32_t (&d)[2], const void* row) { move_matrices<2, false, false>("ldmatrix.x2", d, row); }
void ldmatrix_x2_transposed(std::uint32_t (&d)[2], const void* row) {
  move_matrices<2, true, false>("ldmatrix.x2.trans", d, row);
}
void stmatrix_x4(void* row, const std::uint32_t (&s)[4]) {
  move_matrices<4, false, true>("stmatrix.x4", const_cast<std::uint32_t*>(s), row);
}
void stmatrix_x4_transposed(void* row, const std::uint32_t (&s)[4]) {
  move_matrices<4, true, true>("stmatrix.x4.trans", const_cast<std::uint32_t*>(s), row);
}

}  // namespace musicstar::cuda
