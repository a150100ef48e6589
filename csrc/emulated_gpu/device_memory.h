// Device memory: the host's, poisoned with 0xff (NaN as floats), each allocation between unmapped pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace musicstar::emulated_gpu {

// Aligned to 256 bytes; null where the device has not so much left.
void* allocate(std::size_t bytes);
// False when `pointer` is none of allocate's. Tells in `overrun` whether something was written past the end.
bool release(void* pointer, bool& overrun);
// Whether `pointer` is device memory, and how many bytes there are from it to the allocation's end.
bool find_device_memory(const void* pointer, std::size_t& bytes_left);
std::size_t bytes_in_use();

// What an address outside is: "... bytes past the end of an allocation of n bytes".
std::string describe_address(const void* pointer);

}  // namespace musicstar::emulated_gpu
