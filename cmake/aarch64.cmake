# Cross build for 64-bit ARM with Debian's g++-aarch64-linux-gnu; ctest runs the programs under qemu-user's emulation of a
# processor that has plain NEON and nothing newer:
#
#   cmake -S . -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake -DMUSICSTAR_PYTHON=OFF -DMUSICSTAR_NATIVE_TESTS=ON
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu cortex-a72 -L /usr/aarch64-linux-gnu)
