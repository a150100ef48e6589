// The emulated GPU itself: that it computes what the instructions are defined to compute, and that programs with a
// mistake in their synchronisation do not get away with it.
#ifdef MUSICSTAR_EMULATED_GPU
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cuda/instructions.cuh"
#include "cuda/launch.h"
#include "cuda/memory.h"
#include "emulated_gpu/control.h"

namespace musicstar::cuda {

namespace {

const char* const kSchedules[] = {"forward", "reverse", "early", "proxies", "random:1", "random:2", "random:3"};

struct WithSchedule {
  explicit WithSchedule(const char* name) : before(emulated_gpu::schedule()) { emulated_gpu::set_schedule(name); }
  ~WithSchedule() { emulated_gpu::set_schedule(before); }
  emulated_gpu::Schedule before;
};

// What goes wrong when everything so far is waited for; empty for nothing.
std::string outcome() {
  const cudaError_t status = cudaDeviceSynchronize();
  if (status == cudaSuccess) return "";
  const std::string text = cudaGetErrorString(status);
  cudaGetLastError();
  return text;
}

// The larger error; one that is no number stays.
double worse(double worst, double error) {
  return std::abs(error) <= worst || std::isnan(worst) ? worst : std::abs(error);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

template <typename T>
std::vector<T> fetch(const DeviceBuffer<T>& buffer) {
  std::vector<T> values(static_cast<std::size_t>(buffer.size()));
  buffer.copy_to_host(values.data(), buffer.size(), nullptr);
  check(cudaDeviceSynchronize(), "fetching");
  return values;
}

// --- Plain kernels
// ------------------------------------------------------------------------------------------------------

__global__ void index_kernel(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  out[block * threads + thread] = static_cast<int>(block * threads + thread);
}

// Reverses 64 numbers through shared memory; without its barrier it does not.
__global__ void reverse_kernel(int* values, bool with_barrier) {
  MUSICSTAR_SHARED(int, copy, 64);
  copy[threadIdx.x] = values[threadIdx.x];
  if (with_barrier) __syncthreads();
  values[threadIdx.x] = copy[63 - threadIdx.x];
}

__global__ void warp_sum_kernel(float* values) {
  float value = values[threadIdx.x];
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  const unsigned odd = __ballot_sync(kAllLanes, threadIdx.x % 2);
  values[threadIdx.x] = odd == 0xaaaaaaaau ? value : -1.0f;
}

__global__ void beyond_kernel(float* values, int where) { values[where] = 1.0f; }

__global__ void beyond_shared_kernel() { dynamic_shared<char>()[100] = 1; }

__global__ void early_exit_kernel(float* values) {
  if (threadIdx.x >= 40) return;
  __syncthreads();  // those that have returned do not count
  values[threadIdx.x] = 1.0f;
}

__global__ void stuck_kernel() {
  if (threadIdx.x < 32) named_barrier_sync(1, 64);
}

__global__ void half_warp_kernel() {
  if (threadIdx.x < 16) return;
  __syncwarp();
}

// --- Tensor-core products of a warp
// -------------------------------------------------------------------------------------

constexpr int kM = 128, kN = 128, kK = 128;

// d[m][n] = sum_k a[m][k] b[n][k]; eight warps of 16 rows. The operands come through shared memory.
__global__ void mma_kernel(const bf16* a, const bf16* b, float* d, bool transposed_b) {
  auto* tile_a = dynamic_shared<bf16>();
  auto* tile_b = tile_a + kM * kK;
  for (int i = static_cast<int>(threadIdx.x) * 8; i < kM * kK; i += 256 * 8) cp_async_16(tile_a + i, a + i);
  for (int i = static_cast<int>(threadIdx.x) * 8; i < kN * kK; i += 256 * 8) cp_async_16(tile_b + i, b + i);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  const int lane = lane_of_thread(), row = warp_of_thread() * 16;
  for (int column = 0; column < kN; column += 8) {
    float sums[4] = {};
    for (int k = 0; k < kK; k += 16) {
      std::uint32_t fragment_a[4], fragment_b[2];
      ldmatrix_x4(fragment_a, tile_a + (row + lane % 16) * kK + k + lane / 16 * 8);
      if (transposed_b) {  // b as [k][n]
        ldmatrix_x2_transposed(fragment_b, tile_b + (k + lane % 16) * kN + column);
      } else {
        ldmatrix_x2(fragment_b, tile_b + (column + lane % 8) * kK + k + lane / 8 % 2 * 8);
      }
      mma_bf16_m16n8k16(sums, fragment_a, fragment_b);
    }
    float* to = d + (row + lane / 4) * kN + column + lane % 4 * 2;
    to[0] = sums[0];
    to[1] = sums[1];
    to[8 * kN] = sums[2];
    to[8 * kN + 1] = sums[3];
  }
}

std::vector<bf16> random_bf16(std::size_t count, unsigned seed) {
  std::vector<bf16> values(count);
  for (auto& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = bf16(static_cast<float>(seed >> 8) / (1 << 23) - 1.0f);
  }
  return values;
}

DeviceBuffer<bf16> to_device(const std::vector<bf16>& values) {
  DeviceBuffer<bf16> buffer(static_cast<std::int64_t>(values.size()));
  buffer.copy_from_host(values.data(), buffer.size(), nullptr);
  return buffer;
}

__global__ void matrices_kernel(const bf16* matrices, std::uint32_t* out, bf16* back) {
  auto* tile = dynamic_shared<bf16>();
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 8; ++i) tile[lane * 8 + i] = matrices[lane * 8 + i];
  __syncwarp();
  std::uint32_t plain[4], turned[4];
  ldmatrix_x4(plain, tile + lane * 8);
  ldmatrix_x4_transposed(turned, tile + lane * 8);
  for (int i = 0; i < 4; ++i) {
    out[lane * 8 + i] = plain[i];
    out[lane * 8 + 4 + i] = turned[i];
  }
  __syncwarp();
  stmatrix_x4_transposed(tile + lane * 8, turned);
  __syncwarp();
  for (int i = 0; i < 8; ++i) back[lane * 8 + i] = tile[lane * 8 + i];
}

// --- Asynchronous copies
// ------------------------------------------------------------------------------------------------

__global__ void copy_kernel(const float* from, float* to, bool wait) {
  auto* tile = dynamic_shared<float>();
  const int i = static_cast<int>(threadIdx.x);
  cp_async_4(tile + i, from + i, i % 5 != 0);
  cp_async_commit();
  if (wait) cp_async_wait<0>();
  to[i] = tile[i];
}

// --- mbarriers and bulk copies
// ------------------------------------------------------------------------------------------

// A producer warp brings eight pieces of 64 floats through a ring of two; a consumer warp adds them up.
__global__ void ring_kernel(const float* from, float* sums, bool consumer_frees) {
  auto* ring = dynamic_shared<float>();
  MUSICSTAR_SHARED(Mbarrier, full, 2);
  MUSICSTAR_SHARED(Mbarrier, empty, 2);
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      mbarrier_init(full + i, 1);
      mbarrier_init(empty + i, 32);
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int piece = 0; piece < 8; ++piece) {
      const int slot = piece % 2;
      if (consumer_frees) mbarrier_wait(empty + slot, static_cast<unsigned>(piece / 2 + 1) & 1u);
      mbarrier_arrive_expect(full + slot, 256);
      bulk_copy(ring + slot * 64, from + piece * 64, 256, full + slot);
    }
  } else if (threadIdx.x >= 32) {
    const int lane = lane_of_thread();
    float sum = 0;
    for (int piece = 0; piece < 8; ++piece) {
      const int slot = piece % 2;
      mbarrier_wait(full + slot, static_cast<unsigned>(piece / 2) & 1u);
      sum = sum * 2 + ring[slot * 64 + lane] + ring[slot * 64 + 32 + lane];
      mbarrier_arrive(empty + slot);
    }
    sums[lane] = sum;
  }
}

__global__ void uninitialised_kernel() {
  MUSICSTAR_SHARED(Mbarrier, barrier, 1);
  mbarrier_arrive(barrier);
}

__global__ void noinc_kernel(const float* from, float* to) {
  auto* tile = dynamic_shared<float>();
  MUSICSTAR_SHARED(Mbarrier, landed, 1);
  if (threadIdx.x == 0) mbarrier_init(landed, 32);
  __syncthreads();
  if (threadIdx.x < 32) {
    cp_async_4(tile + threadIdx.x, from + threadIdx.x);
    cp_async_mbarrier_arrive_noinc(landed);
  } else {
    mbarrier_wait(landed, 0);
    to[threadIdx.x - 32] = tile[63 - threadIdx.x];
  }
}

// --- Clusters
// -----------------------------------------------------------------------------------------------------------

// Each block of four sends its number to the next one's shared memory, which hands on what it gets, once around. A
// block may be ahead of the next one, and its stores overtake one another: each step has its own barrier.
__global__ void around_kernel(std::uint32_t* out) {
  auto* slots = dynamic_shared<std::uint32_t>();
  MUSICSTAR_SHARED(Mbarrier, barriers, 4);
  const std::uint32_t rank = cluster_rank(), size = cluster_size();
  if (threadIdx.x == 0) {
    for (int step = 0; step < 4; ++step) mbarrier_init(barriers + step, 1);
    fence_mbarrier_init();
  }
  cluster_sync();
  if (threadIdx.x == 0) {
    const std::uint32_t next = (rank + 1) % size;
    std::uint32_t seen = rank;
    for (std::uint32_t step = 0; step < size; ++step) {
      mbarrier_arrive_expect(barriers + step, 4);
      store_remote_async(remote_address(slots, next) + 4 * step, seen + 1, remote_address(barriers + step, next));
      mbarrier_wait_cluster(barriers + step, 0);
      seen = slots[step];
    }
    out[blockIdx.x] = seen;
    *map_shared(slots + 40, next) = 100 + rank;
    store_remote(remote_address(slots + 41, next), 200 + rank);
  }
  cluster_sync();
  if (threadIdx.x == 0) {
    out[gridDim.x + blockIdx.x] = slots[40];
    out[2 * gridDim.x + blockIdx.x] = slots[41];
    out[3 * gridDim.x + blockIdx.x] = load_remote(remote_address(slots + 41, (rank + 1) % size));
  }
  cluster_sync();
}

// --- Blocks that wait for one another through device memory
// -------------------------------------------------------------

__global__ void chain_kernel(std::uint32_t* flags, std::uint32_t* value) {
  if (threadIdx.x == 0) {
    while (load_acquire(flags) != blockIdx.x) pause(20);
    *value = *value * 3 + blockIdx.x;
    store_release(flags, blockIdx.x + 1);
  }
}

// --- Products of warpgroups
// ---------------------------------------------------------------------------------------------

// Shared memory with the swizzle over 128 bytes: element (row, column) of a tile of rows of 64.
__device__ int swizzled_place(int row, int column) { return row * 64 + ((column / 8) ^ (row % 8)) * 8 + column % 8; }

// d[64][N] = a[64][64] b[64][N], operands K-major or MN-major, a from shared memory or registers.
template <int N, bool TransposedA, bool TransposedB, bool FromRegisters>
__global__ void wgmma_kernel(const bf16* a, const bf16* b, float* d, bool fence, bool wait) {
  auto* tile_a = dynamic_shared<bf16>();
  auto* tile_b = tile_a + 64 * 64;
  for (int i = static_cast<int>(threadIdx.x); i < 64 * 64; i += 128) {
    const int m = i / 64, k = i % 64;
    tile_a[TransposedA ? swizzled_place(k, m) : swizzled_place(m, k)] = a[m * 64 + k];
  }
  for (int i = static_cast<int>(threadIdx.x); i < 64 * N; i += 128) {
    const int k = i / N, n = i % N;
    // MN-major: pieces of 64 n, each [k][64]; K-major: [n][64 k].
    tile_b[TransposedB ? n / 64 * 64 * 64 + swizzled_place(k, n % 64) : swizzled_place(n, k)] = b[k * N + n];
  }
  if (fence) fence_proxy_async();
  __syncthreads();
  float sums[N / 2];
  for (float& sum : sums) sum = 7.0f;
  const int lane = lane_of_thread(), row = warp_of_thread() * 16 + lane / 4;
  keep_registers(sums);
  wgmma_fence();
  for (int k = 0; k < 64; k += 16) {
    const bf16* b_at = TransposedB ? tile_b + k * 64 : tile_b + k;
    const std::uint64_t describes_b = shared_descriptor(b_at, TransposedB ? 64 * 64 * 2 : 0, 1024);
    if constexpr (FromRegisters) {
      std::uint32_t fragment[4];
      for (int i = 0; i < 4; ++i) {
        const bf16* from = a + (row + i % 2 * 8) * 64 + k + lane % 4 * 2 + i / 2 * 8;
        fragment[i] = pack_bf16(__bfloat162float(from[0]), __bfloat162float(from[1]));
      }
      wgmma_bf16_registers<N, TransposedB>(sums, fragment, describes_b, k > 0);
    } else {
      const bf16* a_at = TransposedA ? tile_a + k * 64 : tile_a + k;
      wgmma_bf16<N, TransposedA, TransposedB>(sums, shared_descriptor(a_at, 0, 1024), describes_b, k > 0);
    }
  }
  wgmma_commit();
  if (wait) wgmma_wait<0>();
  keep_registers(sums);
  for (int i = 0; i < N / 2; ++i) {
    d[(row + i % 4 / 2 * 8) * N + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i];
  }
  wgmma_wait<0>();
}

template <int N, bool TransposedA, bool TransposedB, bool FromRegisters>
double wgmma_error(bool fence = true, bool wait = true) {
  const auto a = random_bf16(64 * 64, 3), b = random_bf16(64 * N, 4);
  const auto device_a = to_device(a), device_b = to_device(b);
  DeviceBuffer<float> d(64 * N);
  launch(wgmma_kernel<N, TransposedA, TransposedB, FromRegisters>, LaunchShape{1, 128, 8192 + 128 * N}, nullptr,
         device_a.data(), device_b.data(), d.data(), fence, wait);
  const auto found = fetch(d);
  double worst = 0;
  for (int m = 0; m < 64; ++m) {
    for (int n = 0; n < N; ++n) {
      double wanted = 0;
      for (int k = 0; k < 64; ++k) wanted += double{float{a[m * 64 + k]}} * double{float{b[k * N + n]}};
      worst = worse(worst, wanted - found[m * N + n]);
    }
  }
  return worst;
}

}  // namespace

TEST_SUITE("cuda") {
  TEST_CASE("every thread of every block runs once, and knows its indices") {
    for (const char* schedule : kSchedules) {
      const WithSchedule with(schedule);
      DeviceBuffer<int> out(2 * 3 * 2 * 5 * 3 * 2);
      launch(index_kernel, LaunchShape{dim3(2, 3, 2), dim3(5, 3, 2)}, nullptr, out.data());
      const auto found = fetch(out);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == static_cast<int>(i));
    }
  }

  TEST_CASE("a missing barrier shows under some schedule, a present one under none") {
    for (const bool with_barrier : {true, false}) {
      bool wrong = false;
      for (const char* schedule : kSchedules) {
        const WithSchedule with(schedule);
        std::vector<int> values(64);
        for (int i = 0; i < 64; ++i) values[i] = i;
        DeviceBuffer<int> device(64);
        device.copy_from_host(values.data(), 64, nullptr);
        launch(reverse_kernel, LaunchShape{1, 64}, nullptr, device.data(), with_barrier);
        const auto found = fetch(device);
        for (int i = 0; i < 64; ++i) wrong = wrong || found[i] != 63 - i;
      }
      CHECK(wrong == !with_barrier);
    }
  }

  TEST_CASE("lanes exchange values") {
    for (const char* schedule : kSchedules) {
      const WithSchedule with(schedule);
      std::vector<float> values(64);
      for (int i = 0; i < 64; ++i) values[i] = static_cast<float>(i);
      DeviceBuffer<float> device(64);
      device.copy_from_host(values.data(), 64, nullptr);
      launch(warp_sum_kernel, LaunchShape{1, 64}, nullptr, device.data());
      const auto found = fetch(device);
      CHECK(found[5] == 496.0f);
      CHECK(found[40] == 1520.0f);
    }
  }

  TEST_CASE("accesses outside device and shared memory are reported") {
    DeviceBuffer<float> values(64);
    launch(beyond_kernel, LaunchShape{1, 1}, nullptr, values.data(), 64);
    const std::string text = outcome();
    CHECK(contains(text, "beyond_kernel"));
    CHECK(contains(text, "0 bytes past the end of an allocation of 256 bytes"));
    CHECK(contains(text, "block (0, 0, 0), thread (0, 0, 0)"));
    launch(beyond_kernel, LaunchShape{1, 1}, nullptr, static_cast<float*>(nullptr), 3);
    CHECK(contains(outcome(), "in no allocation"));
    launch(beyond_kernel, LaunchShape{1, 1}, nullptr, values.data(), 3);
    CHECK(outcome() == "");
    launch(beyond_shared_kernel, LaunchShape{1, 1, 100}, nullptr);
    CHECK(contains(outcome(), "past the end of the dynamic shared memory"));
    DeviceBuffer<float> odd(3);
    launch(beyond_kernel, LaunchShape{1, 1}, nullptr, odd.data(), 3);
    CHECK(outcome() == "");
    odd = DeviceBuffer<float>();  // noticed where it is freed
    CHECK(contains(outcome(), "past the end of an allocation"));
  }

  TEST_CASE("threads that have returned do not count at a barrier of the block, but do at one of the warp") {
    DeviceBuffer<float> values(64);
    launch(early_exit_kernel, LaunchShape{1, 64}, nullptr, values.data());
    CHECK(fetch(values)[39] == 1.0f);
    launch(half_warp_kernel, LaunchShape{1, 32}, nullptr);
    CHECK(contains(outcome(), "16 threads wait at __syncwarp, 16 have returned"));
  }

  TEST_CASE("a deadlock is reported with the kernel and the places") {
    for (const char* schedule : kSchedules) {
      const WithSchedule with(schedule);
      launch(stuck_kernel, LaunchShape{1, 64}, nullptr);
      const std::string text = outcome();
      CHECK(contains(text, "stuck_kernel"));
      CHECK(contains(text, "deadlock: 32 threads wait at bar.sync, 32 have returned"));
    }
  }

  TEST_CASE("tensor-core products of a warp") {
    const auto a = random_bf16(kM * kK, 1), b = random_bf16(kN * kK, 2);
    const auto device_a = to_device(a), device_b = to_device(b);
    for (const char* schedule : kSchedules) {
      const WithSchedule with(schedule);
      for (const bool transposed : {false, true}) {
        DeviceBuffer<float> d(kM * kN);
        launch(mma_kernel, LaunchShape{1, 256, 2 * (kM + kN) * kK}, nullptr, device_a.data(), device_b.data(), d.data(),
               transposed);
        const auto found = fetch(d);
        double worst = 0;
        for (int m = 0; m < kM; ++m) {
          for (int n = 0; n < kN; ++n) {
            double wanted = 0;
            for (int k = 0; k < kK; ++k) {
              wanted += double{float{a[m * kK + k]}} * double{float{transposed ? b[k * kN + n] : b[n * kK + k]}};
            }
            worst = worse(worst, wanted - found[m * kN + n]);
          }
        }
        CHECK(worst < 1e-4);
      }
    }
  }

  TEST_CASE("matrices come into registers as they are or transposed, and back") {
    std::vector<bf16> values(256);
    for (int i = 0; i < 256; ++i) values[i] = bf16(static_cast<float>(i));
    const auto matrices = to_device(values);
    DeviceBuffer<std::uint32_t> out(256);
    DeviceBuffer<bf16> back(256);
    launch(matrices_kernel, LaunchShape{1, 32, 512}, nullptr, matrices.data(), out.data(), back.data());
    const auto found = fetch(out);
    for (int lane = 0; lane < 32; ++lane) {
      for (int m = 0; m < 4; ++m) {
        for (int i = 0; i < 2; ++i) {
          const int r = lane / 4, c = lane % 4 * 2 + i;
          const auto half = [&](std::uint32_t word) { return i ? unpack_bf16(word).y : unpack_bf16(word).x; };
          CHECK(half(found[lane * 8 + m]) == static_cast<float>(m * 64 + r * 8 + c));
          CHECK(half(found[lane * 8 + 4 + m]) == static_cast<float>(m * 64 + c * 8 + r));
        }
      }
    }
    const auto returned = fetch(back);
    for (int i = 0; i < 256; ++i) CHECK(float{returned[i]} == static_cast<float>(i));
  }

  TEST_CASE("an asynchronous copy has landed after the wait, and not before") {
    std::vector<float> values(32);
    for (int i = 0; i < 32; ++i) values[i] = static_cast<float>(i + 1);
    DeviceBuffer<float> from(32), to(32);
    from.copy_from_host(values.data(), 32, nullptr);
    for (const bool wait : {true, false}) {
      bool wrong = false;
      for (const char* schedule : kSchedules) {
        const WithSchedule with(schedule);
        launch(copy_kernel, LaunchShape{1, 32, 128}, nullptr, from.data(), to.data(), wait);
        const auto found = fetch(to);
        for (int i = 0; i < 32; ++i) wrong = wrong || !(found[i] == (i % 5 ? values[i] : 0.0f));
      }
      CHECK(wrong == !wait);
    }
    launch(noinc_kernel, LaunchShape{1, 64, 128}, nullptr, from.data(), to.data());
    CHECK(fetch(to)[0] == 32.0f);
  }

  TEST_CASE("a ring between a producer and a consumer, and one whose slots are not freed") {
    std::vector<float> values(512);
    for (int i = 0; i < 512; ++i) values[i] = static_cast<float>(i);
    DeviceBuffer<float> from(512), sums(32);
    from.copy_from_host(values.data(), 512, nullptr);
    std::vector<float> wanted(32);
    for (int lane = 0; lane < 32; ++lane) {
      for (int piece = 0; piece < 8; ++piece) {
        wanted[lane] = wanted[lane] * 2 + values[piece * 64 + lane] + values[piece * 64 + 32 + lane];
      }
    }
    bool wrong = false;
    for (const char* schedule : kSchedules) {
      const WithSchedule with(schedule);
      launch(ring_kernel, LaunchShape{1, 64, 512}, nullptr, from.data(), sums.data(), true);
      CHECK(fetch(sums) == wanted);
      launch(ring_kernel, LaunchShape{1, 64, 512}, nullptr, from.data(), sums.data(), false);
      const std::string text = outcome();
      wrong = wrong || !text.empty() || fetch(sums) != wanted;
    }
    CHECK(wrong);
    launch(uninitialised_kernel, LaunchShape{1, 1}, nullptr);
    CHECK(contains(outcome(), "mbarrier is used that is not initialised"));
  }

  TEST_CASE("blocks of a cluster send to each other") {
    for (const char* schedule : kSchedules) {
      const WithSchedule with(schedule);
      DeviceBuffer<std::uint32_t> out(4 * 8);
      launch(around_kernel, LaunchShape{8, 32, 256, 4}, nullptr, out.data());
      const auto found = fetch(out);
      for (std::uint32_t block = 0; block < 8; ++block) {
        const std::uint32_t rank = block % 4;
        CHECK(found[block] == rank + 4);
        CHECK(found[8 + block] == 100 + (rank + 3) % 4);
        CHECK(found[16 + block] == 200 + (rank + 3) % 4);
        CHECK(found[24 + block] == 200 + rank);
      }
    }
  }

  TEST_CASE("blocks that run together wait for one another; one after another they cannot") {
    for (const char* schedule : kSchedules) {
      const WithSchedule with(schedule);
      DeviceBuffer<std::uint32_t> state(2);
      state.fill_bytes(0, nullptr);
      launch(chain_kernel, LaunchShape{5, 32, 0, 1, true}, nullptr, state.data(), state.data() + 1);
      CHECK(fetch(state)[1] == ((0u * 3 + 1) * 3 + 2) * 9 + 3 * 3 + 4);
    }
    const WithSchedule with("reverse");
    DeviceBuffer<std::uint32_t> state(2);
    state.fill_bytes(0, nullptr);
    launch(chain_kernel, LaunchShape{5, 32}, nullptr, state.data(), state.data() + 1);
    CHECK(contains(outcome(), "deadlock"));
    CHECK_THROWS_WITH_AS(launch(chain_kernel, LaunchShape{5000, 32, 0, 1, true}, nullptr, state.data(), state.data()),
                         doctest::Contains("too many blocks in cooperative launch"), Error);
  }

  TEST_CASE("tensor-core products of a warpgroup, from every kind of operand") {
    for (const char* schedule : kSchedules) {
      const WithSchedule with(schedule);
      CHECK(wgmma_error<64, false, false, false>() < 1e-4);
      CHECK(wgmma_error<128, false, true, false>() < 1e-4);
      CHECK(wgmma_error<32, true, false, false>() < 1e-4);
      CHECK(wgmma_error<256, true, true, false>() < 1e-4);
      CHECK(wgmma_error<128, false, true, true>() < 1e-4);
      CHECK(wgmma_error<64, false, false, true>() < 1e-4);
    }
    CHECK(wgmma_error<64, false, false, false>(true, false) > 1);  // read before the wait
    const WithSchedule with("proxies");
    CHECK(std::isnan(wgmma_error<64, false, false, false>(false)));  // ordinary stores without their fence
  }

  TEST_CASE("what cannot be launched says so in one line") {
    CHECK_THROWS_WITH_AS(launch(stuck_kernel, LaunchShape{1, 1025}, nullptr), doctest::Contains("stuck_kernel"), Error);
    CHECK_THROWS_WITH_AS(launch(stuck_kernel, LaunchShape{1, 32, 300000}, nullptr),
                         doctest::Contains("asking for shared memory"), Error);
    CHECK_THROWS_AS(launch(stuck_kernel, LaunchShape{3, 32, 0, 2}, nullptr), Error);
    CHECK_THROWS_AS(DeviceBuffer<float>(std::int64_t{1} << 40), OutOfMemory);
    CHECK_THROWS_AS(emulated_gpu::schedule_named("sideways"), std::invalid_argument);
    CHECK(blocks_at_once(reinterpret_cast<const void*>(stuck_kernel), LaunchShape{1000, 1024}) == 32);
  }
}

}  // namespace musicstar::cuda
#endif
