#include "emulated_gpu/runtime.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "emulated_gpu/device_memory.h"
#include "emulated_gpu/settings.h"

namespace musicstar::emulated_gpu {

namespace {

cudaError_t last_error = cudaSuccess;
std::string failure_text;
std::string shown_text;  // what cudaGetErrorString has returned must stay
bool failed = false;
std::map<const char*, std::size_t> pinned;

bool is_pinned(const void* pointer) {
  const char* place = static_cast<const char*>(pointer);
  auto next = pinned.upper_bound(place);
  if (next == pinned.begin()) return false;
  --next;
  return place < next->first + next->second;
}

// A range that begins in device memory must end there.
bool fits(const void* pointer, std::size_t bytes) {
  std::size_t left = 0;
  return !find_device_memory(pointer, left) || bytes <= left;
}

using Lock = std::lock_guard<std::recursive_mutex>;

}  // namespace

cudaError_t report(cudaError_t status) {
  if (status != cudaSuccess && status != cudaErrorNotReady) last_error = status;
  return status;
}

void fail(const std::string& text) {
  if (failed) return;
  failed = true;
  failure_text = text;
}

bool has_failed() { return failed; }
cudaError_t failure() { return failed ? report(cudaErrorLaunchFailure) : cudaSuccess; }

}  // namespace musicstar::emulated_gpu

using namespace musicstar::emulated_gpu;

// --- Errors
// -------------------------------------------------------------------------------------------------------------

const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorCooperativeLaunchTooLarge:
      return "too many blocks in cooperative launch";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorLaunchFailure: {
      const Lock lock(runtime_mutex);
      if (!failure_text.empty()) shown_text = failure_text;
      return shown_text.empty() ? "unspecified launch failure" : shown_text.c_str();
    }
    default:
      return "unknown error";
  }
}

const char* cudaGetErrorName(cudaError_t status) { return status == cudaSuccess ? "cudaSuccess" : "cudaError"; }

cudaError_t cudaGetLastError() {
  const Lock lock(runtime_mutex);
  const cudaError_t status = failed ? cudaErrorLaunchFailure : last_error;
  if (failed) shown_text = failure_text;
  last_error = cudaSuccess;
  failed = false;
  failure_text.clear();
  return status;
}

cudaError_t cudaPeekAtLastError() { return has_failed() ? cudaErrorLaunchFailure : last_error; }

// --- The device
// ---------------------------------------------------------------------------------------------------------

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : report(cudaErrorInvalidDevice); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return report(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "emulated GPU");
  properties->totalGlobalMem = static_cast<std::size_t>(settings().memory_bytes);
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin = kSharedWindow;
  properties->sharedMemPerMultiprocessor = 228 * 1024;
  properties->reservedSharedMemPerBlock = 1024;
  properties->major = settings().major;
  properties->minor = settings().minor;
  properties->multiProcessorCount = settings().multiprocessors;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->maxBlocksPerMultiProcessor = 32;
  properties->warpSize = 32;
  properties->regsPerBlock = 65536;
  properties->regsPerMultiprocessor = 65536;
  properties->l2CacheSize = 50 << 20;
  properties->cooperativeLaunch = 1;
  properties->clusterLaunch = settings().major >= 9;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  const cudaError_t status = cudaGetDeviceProperties(&properties, device);
  if (status != cudaSuccess) return status;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = properties.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrCooperativeLaunch:
      *value = properties.cooperativeLaunch;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      break;
    default:
      return report(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = static_cast<std::size_t>(settings().memory_bytes);
  *free = *total - std::min(*total, bytes_in_use());
  return cudaSuccess;
}

// --- Memory
// -------------------------------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  const Lock lock(runtime_mutex);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  *pointer = allocate(bytes);
  return *pointer ? cudaSuccess : report(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* pointer) {
  const Lock lock(runtime_mutex);
  if (!pointer) return cudaSuccess;
  complete_everything();
  bool overrun = false;
  if (!release(pointer, overrun)) return report(cudaErrorInvalidValue);
  if (overrun) fail("something was written past the end of an allocation in device memory");
  return failure();
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t) { return cudaMalloc(pointer, bytes); }

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  const Lock lock(runtime_mutex);
  enqueue(stream, [pointer] {
    bool overrun = false;
    if (!release(pointer, overrun)) fail("memory is freed that is none");
    if (overrun) fail("something was written past the end of an allocation in device memory");
  });
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes, unsigned) {
  const Lock lock(runtime_mutex);
  *pointer = std::malloc(std::max<std::size_t>(bytes, 1));
  if (!*pointer) return report(cudaErrorMemoryAllocation);
  pinned[static_cast<const char*>(*pointer)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned flags) {
  return cudaMallocHost(pointer, bytes, flags);
}

cudaError_t cudaFreeHost(void* pointer) {
  const Lock lock(runtime_mutex);
  if (!pointer) return cudaSuccess;
  complete_everything();
  if (pinned.erase(static_cast<const char*>(pointer)) == 0) return report(cudaErrorInvalidValue);
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Lock lock(runtime_mutex);
  if (bytes == 0) return cudaSuccess;
  if (!to || !from || !fits(to, bytes) || !fits(from, bytes)) return report(cudaErrorInvalidValue);
  // What lies in ordinary host memory is read at once, as CUDA does; into host memory everything comes late.
  std::size_t left = 0;
  const bool from_host =
      kind == cudaMemcpyHostToDevice || (kind == cudaMemcpyDefault && !find_device_memory(from, left));
  if (from_host && !is_pinned(from) && !is_capturing(stream)) {
    const char* start = static_cast<const char*>(from);
    auto staged = std::make_shared<std::vector<char>>(start, start + bytes);
    enqueue(stream, [=] { std::memcpy(to, staged->data(), bytes); });
  } else {
    enqueue(stream, [=] { std::memmove(to, from, bytes); });
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const Lock lock(runtime_mutex);
  const cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return status == cudaSuccess ? cudaStreamSynchronize(nullptr) : status;
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch) return report(cudaErrorInvalidValue);
  for (std::size_t row = 0; row < height; ++row) {
    const cudaError_t status = cudaMemcpyAsync(static_cast<char*>(to) + row * to_pitch,
                                               static_cast<const char*>(from) + row * from_pitch, width, kind, stream);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t stream) {
  const Lock lock(runtime_mutex);
  if (bytes == 0) return cudaSuccess;
  if (!pointer || !fits(pointer, bytes)) return report(cudaErrorInvalidValue);
  enqueue(stream, [=] { std::memset(pointer, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes) {
  const Lock lock(runtime_mutex);
  return cudaMemsetAsync(pointer, value, bytes, nullptr);
}
