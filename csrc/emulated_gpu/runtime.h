// What the parts of the emulated runtime API share.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <mutex>
#include <string>

namespace musicstar::emulated_gpu {

extern std::recursive_mutex runtime_mutex;  // one call, and so one launch, at a time

void enqueue(cudaStream_t stream, std::function<void()> act);
bool is_capturing(cudaStream_t stream);
void complete_everything();

// A call's own error, which cudaGetLastError then tells.
cudaError_t report(cudaError_t status);
// A kernel's mistake: every call that waits returns cudaErrorLaunchFailure, whose text this is, until cudaGetLastError.
void fail(const std::string& text);
bool has_failed();
cudaError_t failure();

}  // namespace musicstar::emulated_gpu
