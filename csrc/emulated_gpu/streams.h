// Streams, events and captured graphs: every piece of work knows what it must follow, and nothing runs before somebody
// waits for it. Then only what is waited for runs, in the order of issue, or newest first, or at random among what may
// run (control.h): work whose order the program does not enforce comes in the wrong one.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace musicstar::emulated_gpu {

struct Work {
  std::function<void()> act;
  std::vector<std::shared_ptr<Work>> after;
  std::uint64_t number = 0;  // in the order of issue
  bool done = false;
};
using WorkList = std::vector<std::shared_ptr<Work>>;

struct Capture {
  WorkList works;
  cudaStream_t origin = nullptr;
};

// Runs all that these need, and these.
void complete(const WorkList& wanted);
// Runs one piece of it; false when there is none left.
bool complete_one(const WorkList& wanted);

}  // namespace musicstar::emulated_gpu

struct EmulatedStream {
  bool blocking = true;  // waits for the default stream, and it for this
  musicstar::emulated_gpu::WorkList last;
  std::shared_ptr<musicstar::emulated_gpu::Capture> capture;
};

struct EmulatedEvent {
  musicstar::emulated_gpu::WorkList after;
  std::shared_ptr<std::chrono::steady_clock::time_point> time;  // when it was passed
  std::shared_ptr<musicstar::emulated_gpu::Capture> capture;
  bool timed = true;
};

struct EmulatedGraph {
  musicstar::emulated_gpu::WorkList works;
};
