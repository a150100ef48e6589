#include "emulated_gpu/streams.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "emulated_gpu/control.h"
#include "emulated_gpu/device_memory.h"
#include "emulated_gpu/runtime.h"

namespace musicstar::emulated_gpu {

std::recursive_mutex runtime_mutex;

namespace {

std::uint64_t issued = 0;
std::set<EmulatedStream*> all_streams;
EmulatedStream default_stream;
std::mt19937_64 random_choice;

// All that must still run for `wanted`, itself included.
WorkList needed_for(const WorkList& wanted) {
  WorkList needed, todo = wanted;
  std::unordered_set<const Work*> seen;
  while (!todo.empty()) {
    const auto work = todo.back();
    todo.pop_back();
    if (work->done || !seen.insert(work.get()).second) continue;
    needed.push_back(work);
    todo.insert(todo.end(), work->after.begin(), work->after.end());
  }
  std::sort(needed.begin(), needed.end(), [](const auto& a, const auto& b) { return a->number < b->number; });
  return needed;
}

bool may_run(const Work& work) {
  return std::all_of(work.after.begin(), work.after.end(), [](const auto& before) { return before->done; });
}

// The piece of `needed` (in the order of issue) whose turn it is.
std::size_t next_of(const WorkList& needed) {
  std::vector<std::size_t> able;
  for (std::size_t i = 0; i < needed.size(); ++i) {
    if (!may_run(*needed[i])) continue;
    if (schedule().order == Order::kForward) return i;
    able.push_back(i);
  }
  return schedule().order == Order::kReverse ? able.back() : able[random_choice() % able.size()];
}

void run(Work& work) {
  work.done = true;
  const auto act = std::move(work.act);
  work.act = nullptr;
  work.after.clear();
  if (act && !has_failed()) act();
}

EmulatedStream& stream_of(cudaStream_t stream) {
  return stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread ? default_stream : *stream;
}

void append(WorkList& list, const WorkList& more) {
  for (const auto& work : more) {
    if (!work->done) list.push_back(work);
  }
}

// What new work in this stream must follow.
WorkList before_new_work(EmulatedStream& stream) {
  WorkList before;
  append(before, stream.last);
  if (stream.capture) return before;
  if (&stream == &default_stream) {
    for (const EmulatedStream* other : all_streams) {
      if (other->blocking && !other->capture) append(before, other->last);
    }
  } else if (stream.blocking) {
    append(before, default_stream.last);
  }
  return before;
}

}  // namespace

void complete(const WorkList& wanted) {
  WorkList needed = needed_for(wanted);
  while (!needed.empty()) {
    const std::size_t next = next_of(needed);
    const auto work = needed[next];
    needed.erase(needed.begin() + static_cast<std::ptrdiff_t>(next));
    run(*work);
  }
}

bool complete_one(const WorkList& wanted) {
  const WorkList needed = needed_for(wanted);
  if (needed.empty()) return false;
  run(*needed[next_of(needed)]);
  return true;
}

void complete_everything() {
  WorkList all = default_stream.last;
  for (const EmulatedStream* stream : all_streams) {
    if (!stream->capture) append(all, stream->last);
  }
  complete(all);
}

void enqueue(cudaStream_t stream, std::function<void()> act) {
  EmulatedStream& queue = stream_of(stream);
  auto work = std::make_shared<Work>();
  work->act = std::move(act);
  work->number = issued++;
  work->after = before_new_work(queue);
  if (queue.capture) queue.capture->works.push_back(work);
  queue.last = {work};
}

bool is_capturing(cudaStream_t stream) { return stream_of(stream).capture != nullptr; }

}  // namespace musicstar::emulated_gpu

using namespace musicstar::emulated_gpu;

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

bool known(cudaStream_t stream) { return &stream_of(stream) == &default_stream || all_streams.count(stream) != 0; }

}  // namespace

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Lock lock(runtime_mutex);
  *stream = new EmulatedStream;
  (*stream)->blocking = flags != cudaStreamNonBlocking;
  all_streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(runtime_mutex);
  if (all_streams.count(stream) == 0) return report(cudaErrorInvalidResourceHandle);
  complete(stream->last);  // its work is still done
  all_streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(runtime_mutex);
  if (!known(stream)) return report(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) return report(cudaErrorStreamCaptureUnsupported);
  complete(stream_of(stream).last);
  return failure();
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Lock lock(runtime_mutex);
  if (!known(stream)) return report(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) return report(cudaErrorStreamCaptureUnsupported);
  if (complete_one(stream_of(stream).last)) return cudaErrorNotReady;
  return failure();
}

cudaError_t cudaDeviceSynchronize() {
  const Lock lock(runtime_mutex);
  for (const EmulatedStream* stream : all_streams) {
    if (stream->capture) return report(cudaErrorStreamCaptureUnsupported);
  }
  complete_everything();
  return failure();
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  const Lock lock(runtime_mutex);
  enqueue(stream, [=] { function(data); });
  return cudaSuccess;
}

// --- Events
// -------------------------------------------------------------------------------------------------------------

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new EmulatedEvent;
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock(runtime_mutex);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(runtime_mutex);
  if (!known(stream)) return report(cudaErrorInvalidResourceHandle);
  EmulatedStream& queue = stream_of(stream);
  event->capture = queue.capture;
  if (!queue.capture) {
    event->time = std::make_shared<std::chrono::steady_clock::time_point>();
    enqueue(stream, [time = event->time] { *time = std::chrono::steady_clock::now(); });
  }
  event->after = queue.last;
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(runtime_mutex);
  if (!known(stream)) return report(cudaErrorInvalidResourceHandle);
  EmulatedStream& queue = stream_of(stream);
  if (event->capture && event->capture != queue.capture) {
    if (queue.capture) return report(cudaErrorStreamCaptureInvalidated);
    queue.capture = event->capture;  // joins; what the stream did before is none of the graph's
    queue.last.clear();
  } else if (!event->capture && queue.capture) {
    return report(cudaErrorStreamCaptureInvalidated);
  }
  for (const auto& work : event->after) {
    if (!work->done) queue.last.push_back(work);
  }
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(runtime_mutex);
  if (event->capture) return report(cudaErrorStreamCaptureUnsupported);
  complete(event->after);
  return failure();
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock(runtime_mutex);
  if (event->capture) return report(cudaErrorStreamCaptureUnsupported);
  if (complete_one(event->after)) return cudaErrorNotReady;
  return failure();
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const Lock lock(runtime_mutex);
  const auto passed = [](const EmulatedEvent& event) {
    return event.time && event.time->time_since_epoch().count() != 0;
  };
  if (!start->timed || !end->timed) return report(cudaErrorInvalidResourceHandle);
  if (!passed(*start) || !passed(*end)) return report(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(*end->time - *start->time).count();
  return cudaSuccess;
}

// --- Graphs
// -------------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Lock lock(runtime_mutex);
  *status = is_capturing(stream) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Lock lock(runtime_mutex);
  EmulatedStream& queue = stream_of(stream);
  if (&queue == &default_stream || queue.capture) return report(cudaErrorStreamCaptureUnsupported);
  complete(queue.last);
  queue.last.clear();
  queue.capture = std::make_shared<Capture>();
  queue.capture->origin = stream;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(runtime_mutex);
  const auto capture = stream_of(stream).capture;
  if (!capture || capture->origin != stream) return report(cudaErrorStreamCaptureInvalidated);
  // Every stream that joined must have come back to the one that began.
  std::unordered_set<const Work*> behind;
  for (const auto& work : needed_for(stream_of(stream).last)) behind.insert(work.get());
  const bool joined = std::all_of(capture->works.begin(), capture->works.end(),
                                  [&](const auto& work) { return behind.count(work.get()) != 0; });
  for (EmulatedStream* other : all_streams) {
    if (other->capture != capture) continue;
    other->capture = nullptr;
    other->last.clear();
  }
  if (!joined) return report(cudaErrorStreamCaptureInvalidated);
  *graph = new EmulatedGraph{capture->works};
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new EmulatedGraph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const Lock lock(runtime_mutex);
  EmulatedStream& queue = stream_of(stream);
  if (queue.capture) return report(cudaErrorStreamCaptureUnsupported);
  const WorkList before = before_new_work(queue);
  std::unordered_map<const Work*, std::shared_ptr<Work>> copies;
  WorkList last;
  for (const auto& work : executable->works) {
    auto copy = std::make_shared<Work>();
    copy->act = work->act;
    copy->number = issued++;
    copy->after = before;
    for (const auto& earlier : work->after) copy->after.push_back(copies.at(earlier.get()));
    copies[work.get()] = copy;
    last.push_back(copy);
  }
  if (!last.empty()) queue.last = last;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
