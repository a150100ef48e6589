#include "cpu/packing.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace musicstar::cpu {

namespace {

std::uint16_t bf16_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

}  // namespace

void Packer::store(char* place, float value, float scale) const {
  if (precision_ == Precision::kFp32) {
    std::memcpy(place, &value, sizeof value);
  } else if (precision_ == Precision::kBf16) {
    const std::uint16_t rounded = bf16_of(value);
    std::memcpy(place, &rounded, sizeof rounded);
  } else {
    const auto quantised = static_cast<std::int16_t>(std::lrint(value / scale));
    std::memcpy(place, &quantised,
                static_cast<std::size_t>(format_.weight_bytes));  // little-endian: the low byte is int8
  }
}

PackedMatrix Packer::pack(std::int64_t in, std::int64_t padded_out, std::initializer_list<MatrixPart> parts) const {
  PackedMatrix packed;
  packed.groups = (in + format_.group - 1) / format_.group;
  packed.tiles = padded_out / tile_;
  packed.row_floats = round_up(in, tile_);
  char* weight = arena_.bytes(packed.groups * format_.group * padded_out * format_.weight_bytes);
  packed.weight = weight;
  const bool scaled = precision_ == Precision::kInt8;
  float* scales = scaled ? arena_.floats(padded_out) : nullptr;
  auto* corrections = scaled ? reinterpret_cast<std::int32_t*>(arena_.bytes(padded_out * 4)) : nullptr;
  packed.scales = scales;
  packed.corrections = corrections;
  for (const MatrixPart& part : parts) {
    for (std::int64_t o = 0; o < part.out; ++o) {
      const std::int64_t column = part.column + o;
      const auto weight_of = [&](std::int64_t i) {
        return part.weight[((part.first_row + o) * in + i) * part.kernel_size + part.tap];
      };
      float scale = 1.0f;
      if (scaled) {
        float largest = 0.0f;
        for (std::int64_t i = 0; i < in; ++i) largest = std::max(largest, std::fabs(weight_of(i)));
        // Two neighbours of one sign make up to 255 (127 + 1 by their rounding) = 32,640 < 2^15.
        for (std::int64_t i = 0; format_.in_16_bits && i + 1 < in; i += 2) {
          largest = std::max(largest, std::fabs(weight_of(i) + weight_of(i + 1)));
        }
        if (largest > 0.0f) scale = largest / 127.0f;
        scales[column] = scale;
      }
      for (std::int64_t i = 0; i < in; ++i) {
        const std::int64_t at =
            ((column / tile_ * packed.groups + i / format_.group) * tile_ + column % tile_) * format_.group +
            i % format_.group;
        store(weight + at * format_.weight_bytes, weight_of(i), scale);
        if (scaled) {
          corrections[column] += format_.offset * static_cast<std::int32_t>(std::lrint(weight_of(i) / scale));
        }
      }
    }
  }
  return packed;
}

}  // namespace musicstar::cpu
