// Device memory, streams and events that free themselves, and the current device for a while.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "cuda/errors.h"

namespace musicstar::cuda {

// Makes `device` the calling thread's current one, and the earlier one again at the end.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&before_), "asking for the current GPU");
    if (device != before_) check(cudaSetDevice(device), "choosing the GPU");
  }
  ~DeviceGuard() { cudaSetDevice(before_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
};

// A stream of its own, which does not wait for the default stream.
class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
  ~Stream() {
    if (stream_) cudaStreamDestroy(stream_);
  }
  Stream(Stream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }
  operator cudaStream_t() const { return stream_; }
  void synchronize() const { check(cudaStreamSynchronize(stream_), "waiting for the GPU"); }

 private:
  cudaStream_t stream_ = nullptr;
};

// A mark in a stream, without a clock unless `timed`.
class Event {
 public:
  explicit Event(bool timed = false) {
    check(cudaEventCreateWithFlags(&event_, timed ? cudaEventDefault : cudaEventDisableTiming), "making an event");
  }
  ~Event() {
    if (event_) cudaEventDestroy(event_);
  }
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  operator cudaEvent_t() const { return event_; }
  void record(cudaStream_t stream) const { check(cudaEventRecord(event_, stream), "recording an event"); }
  void hold_back(cudaStream_t stream) const { check(cudaStreamWaitEvent(stream, event_, 0), "waiting for an event"); }
  void synchronize() const { check(cudaEventSynchronize(event_), "waiting for the GPU"); }

 private:
  cudaEvent_t event_ = nullptr;
};

// `size` elements in the current device's memory, uninitialised; empty for none.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::int64_t size) : size_(size) {
    if (size == 0) return;
    const cudaError_t status = cudaMalloc(reinterpret_cast<void**>(&data_), bytes());
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw OutOfMemory(static_cast<std::int64_t>(bytes()));
    }
    check(status, "taking device memory");
  }
  ~DeviceBuffer() {
    if (data_) cudaFree(data_);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * sizeof(T); }

  // Copies of `count` elements in the stream's order. The host's memory must stay until the stream has come so far.
  void copy_from_host(const T* source, std::int64_t count, cudaStream_t stream) {
    check_range(count);
    if (count == 0) return;
    check(cudaMemcpyAsync(data_, source, bytes_of(count), cudaMemcpyHostToDevice, stream), "copying to the GPU");
  }
  void copy_to_host(T* target, std::int64_t count, cudaStream_t stream) const {
    check_range(count);
    if (count == 0) return;
    check(cudaMemcpyAsync(target, data_, bytes_of(count), cudaMemcpyDeviceToHost, stream), "copying from the GPU");
  }
  // Every byte becomes `value`.
  void fill_bytes(int value, cudaStream_t stream) {
    if (size_ == 0) return;
    check(cudaMemsetAsync(data_, value, bytes(), stream), "filling device memory");
  }

 private:
  static std::size_t bytes_of(std::int64_t count) { return static_cast<std::size_t>(count) * sizeof(T); }
  void check_range(std::int64_t count) const {
    if (count < 0 || count > size_) throw Error("a copy is larger than its device memory");
  }

  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace musicstar::cuda
