// An engine's state belongs to one call at a time. The interpreter's lock is released during calls, so a second Python
// thread could come in: it gets an error instead of a data race.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>

namespace musicstar::bindings {

class OneCaller {
 public:
  explicit OneCaller(std::atomic<bool>& busy) : busy_(busy) {
    if (busy_.exchange(true)) throw std::runtime_error("another thread is using this object; make one for each thread");
  }
  ~OneCaller() { busy_.store(false); }
  OneCaller(const OneCaller&) = delete;
  OneCaller& operator=(const OneCaller&) = delete;

 private:
  std::atomic<bool>& busy_;
};

}  // namespace musicstar::bindings
