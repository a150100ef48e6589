#include "emulated_gpu/machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <new>
#include <utility>

#include "emulated_gpu/control.h"
#include "emulated_gpu/memory_faults.h"
#include "emulated_gpu/settings.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace musicstar::emulated_gpu {

Machine machine;
Thread* current = nullptr;

namespace {

constexpr std::uint64_t kMbarrierMark = 0x6d62617272696572ull & ~std::uint64_t{0xffffffff};

std::string text_of(const uint3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
}

// Shared memory of blocks: taken from the system once, reused, poisoned anew for each block.
char* shared_window(std::size_t number) {
  static std::vector<char*> windows;
  while (windows.size() <= number) {
    void* memory =
        mmap(nullptr, 3 * 262144, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    // The 18 address bits that a descriptor has are those within the window.
    const std::uintptr_t aligned = (reinterpret_cast<std::uintptr_t>(memory) + 262143) & ~std::uintptr_t{262143};
    windows.push_back(reinterpret_cast<char*>(aligned) + kSharedStart);
  }
  return windows[number];
}

void run_thread(void* argument) {
  Fiber::entered();
  Thread& thread = *static_cast<Thread*>(argument);
  try {
    machine.launch().run();
    machine.finish_thread(thread);
  } catch (const Fault& mistake) {
    machine.fault_text = mistake.text;
  } catch (const std::exception& error) {
    machine.fault_text = std::string("an exception in a kernel: ") + error.what();
  }
  if (!machine.fault_text.empty()) {
    machine.fault_text += " [block " + text_of(thread.block->index) + ", thread " + text_of(thread.index) + "]";
  }
  thread.fiber.leave(true);
}

// The thread has touched memory that it may not touch (memory_faults.h); it runs on its own stack.
void abandon_thread(const std::string& what) {
  machine.fault_text = what + " [block " + text_of(current->block->index) + ", thread " + text_of(current->index) + "]";
  current->fiber.leave(true);
}

}  // namespace

void fault(const std::string& text) { throw Fault{text}; }

void Groups::wait(std::size_t pending) {
  while (closed.size() > pending) {
    for (const auto& deed : closed.front()) deed->complete();
    closed.erase(closed.begin());
  }
}

void Block::publish() const {
  if (!schedule().proxies) return;
  std::memcpy(shared + kAsynchronousView, shared, dynamic_bytes);
  char* arrays = shared + kSharedWindow - static_bytes;
  std::memcpy(arrays + kAsynchronousView, arrays, static_bytes);
}

std::ptrdiff_t Block::view() const { return schedule().proxies ? kAsynchronousView : 0; }

// --- Asynchronous deeds
// -------------------------------------------------------------------------------------------------

std::shared_ptr<Deed> Machine::begin(std::function<void()> act) {
  auto deed = begin_waited(std::move(act));
  if (!deed->done) deeds_.push_back(deed);
  return deed;
}

std::shared_ptr<Deed> Machine::begin_waited(std::function<void()> act) {
  auto deed = std::make_shared<Deed>();
  deed->act = std::move(act);
  const Asynchronous when = schedule().asynchronous;
  if (when == Asynchronous::kEarly || (when == Asynchronous::kRandom && random_() % 2 == 0)) deed->complete();
  return deed;
}

bool Machine::complete_one_deed() {
  deeds_.erase(std::remove_if(deeds_.begin(), deeds_.end(), [](const auto& deed) { return deed->done; }), deeds_.end());
  if (deeds_.empty()) return false;
  std::size_t chosen = 0;
  if (schedule().order == Order::kReverse) chosen = deeds_.size() - 1;
  if (schedule().order == Order::kRandom) chosen = random_() % deeds_.size();
  const auto deed = deeds_[chosen];
  deeds_.erase(deeds_.begin() + static_cast<std::ptrdiff_t>(chosen));
  try {
    deed->complete();
  } catch (const Fault& mistake) {
    fault_text = mistake.text;
  }
  return true;
}

// --- What fibers call
// ---------------------------------------------------------------------------------------------------

void Machine::block_here(const char* where) {
  current->waits_at = where;
  current->fiber.leave();
}

void Machine::wake(Thread& thread) {
  ++progress_;
  Warp& warp = *thread.warp;
  warp.ready |= 1u << thread.lane;
  queue(warp);
}

void Machine::spin(const char* where) {
  current->waits_at = where;
  current->warp->spun |= 1u << current->lane;
  current->fiber.leave();
}

namespace {

std::uint64_t value_at(const void* place, unsigned bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, place, bytes);
  return value;
}

}  // namespace

bool Thread::sees_change() const {
  return std::any_of(polled.begin(), polled.end(),
                     [](const Polled& one) { return value_at(one.place, one.bytes) != one.value; });
}

std::uint64_t Machine::poll(const char* where, const void* place, unsigned bytes) {
  constexpr std::size_t kMost = 64;
  Thread& thread = *current;
  const bool again = std::any_of(thread.polled.begin(), thread.polled.end(),
                                 [place](const Polled& one) { return one.place == place; });
  if (again || thread.polled.size() == kMost) {
    if (!thread.sees_change()) {
      thread.watches = again;
      spin(where);
    }
    thread.polled.clear();
  }
  const std::uint64_t value = value_at(place, bytes);
  thread.polled.push_back({place, bytes, value});
  return value;
}

void Machine::pause() {
  current->watches = !current->polled.empty();
  spin("nanosleep");
}

// Those whose turn it is after a round: all but the ones that watch something unchanged.
void Machine::wake_spinners(bool all) {
  std::vector<Warp*> still;
  for (Warp* warp : spinners_) {
    for (unsigned lanes = warp->spun; lanes; lanes &= lanes - 1) {
      const int lane = __builtin_ctz(lanes);
      Thread& thread = *warp->lanes[lane];
      if (!all && thread.watches && !thread.sees_change()) continue;
      thread.watches = false;
      warp->spun &= ~(1u << lane);
      warp->ready |= 1u << lane;
    }
    warp->spinning = warp->spun != 0;
    if (warp->spinning) still.push_back(warp);
    if (warp->ready) queue(*warp);
  }
  spinners_ = std::move(still);
}

void Machine::queue(Warp& warp) {
  if (warp.queued) return;
  switch (schedule().order) {
    case Order::kForward:
      warp.priority = warp.number;
      break;
    case Order::kReverse:
      warp.priority = ~warp.number;
      break;
    case Order::kRandom:
      warp.priority = random_();
      break;
  }
  warp.queued = true;
  ready_.insert({warp.priority, &warp});
}

void Machine::finish_thread(Thread& thread) {
  ++progress_;
  thread.finished = true;
  thread.warp->finished |= 1u << thread.lane;
  Block& block = *thread.block;
  --block.unfinished;
  --unfinished_;
  if (block.unfinished == 0) finish_block(block);
  check_barriers_after_exit(block);
}

void Machine::finish_block(Block& block) {
  for (const Thread& thread : block.threads) {
    for (const auto& group : thread.bulk_stores.closed) {
      for (const auto& deed : group) {
        if (!deed->done) fault("a block ends before its bulk stores have read their shared memory");
      }
    }
    if (!thread.bulk_stores.open.empty()) fault("a block ends with bulk stores that were never committed");
  }
  for (const Warp& warp : block.warps) {
    if (!warp.products.open.empty()) fault("a warp ends with products that were never committed");
    for (const auto& group : warp.products.closed) {
      for (const auto& deed : group) {
        if (!deed->done) fault("a warp ends before its products are complete");
      }
    }
  }
  if (block.asynchronous != 0) fault("a block ends before a bulk copy into its shared memory has landed");
  const char* end = block.shared + block.dynamic_bytes;
  if (std::any_of(end, end + kSharedMargin, [](char byte) { return byte != static_cast<char>(0xff); })) {
    fault("something was written past the end of the dynamic shared memory");
  }
}

// Threads that have returned no longer count at the barriers of a block and of a cluster.
void Machine::check_barriers_after_exit(Block& block) {
  Barrier& barrier = block.barriers[0];
  if (barrier.arrived > 0 && barrier.expected == 0 && barrier.arrived >= block.unfinished) {
    barrier.arrived = 0;
    for (Thread* waiting : std::exchange(barrier.waiting, {})) wake(*waiting);
  }
  Cluster& cluster = *block.cluster;
  --cluster.unfinished;
  if (cluster.arrived > 0 && cluster.arrived >= cluster.unfinished) {
    cluster.arrived = 0;
    ++cluster.phase;
    for (Thread* waiting : std::exchange(cluster.waiting, {})) wake(*waiting);
  }
}

void Machine::pass_barrier(Block& block, int id, unsigned threads, bool wait, const char* name) {
  if (id < 0 || id > 15) fault(std::string(name) + ": barriers are numbered 0 to 15");
  if (threads % kLanes != 0) fault(std::string(name) + ": the number of threads must be a multiple of 32");
  if (threads > (block.threads.size() + kLanes - 1) / kLanes * kLanes) {
    fault(std::string(name) + ": more threads are expected than the block has");
  }
  Barrier& barrier = block.barriers[id];
  if (barrier.arrived > 0 && barrier.expected != threads) {
    fault(std::string(name) + ": threads expect different numbers of threads at one barrier");
  }
  barrier.expected = threads;
  ++barrier.arrived;
  const unsigned needed = threads ? threads : block.unfinished;
  if (barrier.arrived >= needed) {
    barrier.arrived = 0;
    ++progress_;
    for (Thread* waiting : std::exchange(barrier.waiting, {})) wake(*waiting);
  } else if (wait) {
    barrier.waiting.push_back(current);
    block_here(name);
  }
}

// --- mbarriers: shared memory holds a mark and the number of the object
// -------------------------------------------------

Mbarrier& Machine::mbarrier_at(const void* place) {
  check_aligned(place, 8, "mbarrier");
  block_of_shared(place);
  std::uint64_t word;
  std::memcpy(&word, place, sizeof word);
  const std::size_t number = word & 0xffffffffu;
  if ((word & ~std::uint64_t{0xffffffff}) != kMbarrierMark || number >= mbarriers_.size() ||
      mbarriers_[number].place != place) {
    fault("an mbarrier is used that is not initialised (or was overwritten)");
  }
  return mbarriers_[number];
}

Mbarrier& Machine::new_mbarrier(const void* place) {
  check_aligned(place, 8, "mbarrier.init");
  Block& block = block_of_shared(place);
  const std::uint64_t word = kMbarrierMark | mbarriers_.size();
  std::memcpy(const_cast<void*>(place), &word, sizeof word);
  mbarriers_.emplace_back();
  mbarriers_.back().place = place;
  mbarriers_.back().block = &block;
  return mbarriers_.back();
}

void Machine::forget_mbarrier(const void* place) {
  mbarrier_at(place).place = nullptr;
  std::memset(const_cast<void*>(place), 0xff, 8);
}

void Machine::settle(Mbarrier& barrier) {
  constexpr std::int64_t kMost = (1 << 20) - 1;
  if (barrier.bytes > kMost || barrier.bytes < -kMost) fault("an mbarrier counts more than 2^20 - 1 bytes");
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.expected;
  ++progress_;
}

// --- Shared memory
// ------------------------------------------------------------------------------------------------------

Block& Machine::block_of_shared(const void* pointer) {
  const char* place = static_cast<const char*>(pointer);
  const auto holds = [&](const Block& block) { return place >= block.shared && place < block.shared + kSharedWindow; };
  if (holds(*current->block)) return *current->block;
  for (Block* block : current->block->cluster->blocks) {
    if (!holds(*block)) continue;
    if (block->unfinished == 0) fault("shared memory of a block that has returned is used");
    return *block;
  }
  fault("an address that should be in shared memory is not");
}

void check_aligned(const void* pointer, std::size_t alignment, const char* name) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % alignment != 0) {
    fault(std::string(name) + ": an address is not aligned to " + std::to_string(alignment) + " bytes");
  }
}

void check_shared(const void* pointer, std::size_t bytes, std::size_t alignment, const char* name) {
  check_aligned(pointer, alignment, name);
  const Block& block = *current->block;
  const char* place = static_cast<const char*>(pointer);
  const bool dynamic = place >= block.shared && place + bytes <= block.shared + block.dynamic_bytes;
  const bool fixed =
      place >= block.shared + kSharedWindow - block.static_bytes && place + bytes <= block.shared + kSharedWindow;
  if (!dynamic && !fixed) fault(std::string(name) + ": an address is outside the block's shared memory");
}

// --- Running
// ------------------------------------------------------------------------------------------------------------

void Machine::resume(Thread& thread) {
  current = &thread;
  threadIdx = thread.index;
  blockIdx = thread.block->index;
  thread.fiber.enter();
  current = nullptr;
  if (thread.fiber.overflowed() && fault_text.empty()) fault_text = "a thread's stack has overflowed";
}

void Machine::run_warp(Warp& warp) {
  const Order order = schedule().order;
  while (warp.ready && fault_text.empty()) {
    unsigned lanes = std::exchange(warp.ready, 0);
    if (order == Order::kForward) {
      for (; lanes && fault_text.empty(); lanes &= lanes - 1) resume(*warp.lanes[__builtin_ctz(lanes)]);
    } else if (order == Order::kReverse) {
      while (lanes && fault_text.empty()) {
        const int lane = 31 - __builtin_clz(lanes);
        lanes &= ~(1u << lane);
        resume(*warp.lanes[lane]);
      }
    } else {
      const unsigned turn = static_cast<unsigned>(random_() % kLanes);
      for (unsigned i = 0; i < kLanes && fault_text.empty(); ++i) {
        const unsigned lane = (i ^ turn) % kLanes;
        if (lanes >> lane & 1) resume(*warp.lanes[lane]);
      }
    }
    if (warp.ready && !ready_.empty() && ready_.begin()->first < warp.priority) {
      queue(warp);
      break;
    }
  }
  if (warp.spun && !warp.spinning) {
    warp.spinning = true;
    spinners_.push_back(&warp);
  }
}

std::string Machine::describe_deadlock() const {
  std::map<std::string, unsigned> places;
  unsigned returned = 0;
  for (const Block* block : running_) {
    for (const Thread& thread : block->threads) {
      if (thread.finished) {
        ++returned;
      } else {
        ++places[thread.waits_at];
      }
    }
  }
  std::string text = "deadlock:";
  for (const auto& [place, threads] : places) text += " " + std::to_string(threads) + " threads wait at " + place + ",";
  return text + " " + std::to_string(returned) + " have returned";
}

void Machine::prepare(Block& block, uint3 index) {
  const dim3& shape = launch_->block;
  const unsigned count = shape.x * shape.y * shape.z;
  block.index = index;
  block.unfinished = count;
  block.dynamic_bytes = launch_->shared_bytes;
  std::memset(block.shared, 0xff, block.dynamic_bytes + kSharedMargin);
  if (schedule().proxies) std::memset(block.shared + kAsynchronousView, 0xff, kSharedWindow);
  block.threads = std::vector<Thread>(count);
  block.warps = std::vector<Warp>((count + kLanes - 1) / kLanes);
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = block.threads[i];
    Warp& warp = block.warps[i / kLanes];
    thread.number = i;
    thread.lane = i % kLanes;
    thread.index = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
    thread.block = &block;
    thread.warp = &warp;
    warp.block = &block;
    warp.lanes[thread.lane] = &thread;
    warp.existing |= 1u << thread.lane;
    warp.ready |= 1u << thread.lane;
  }
}

void Machine::run_together(std::vector<std::unique_ptr<Block>>& blocks,
                           std::vector<std::unique_ptr<Cluster>>& clusters) {
  ready_.clear();
  spinners_.clear();
  deeds_.clear();
  mbarriers_.clear();
  running_.clear();
  unfinished_ = 0;
  std::uint64_t warps = 0;
  std::size_t fibers = 0;
  for (auto& cluster : clusters) {
    for (const Block* block : cluster->blocks) cluster->unfinished += block->unfinished;
  }
  for (auto& block : blocks) {
    running_.push_back(block.get());
    unfinished_ += block->unfinished;
    for (Thread& thread : block->threads) thread.fiber.start(fibers++, run_thread, &thread);
    for (Warp& warp : block->warps) {
      warp.number = warps++;
      queue(warp);
    }
  }
  std::uint64_t before = progress_;
  std::uint64_t idle_rounds = 0;
  while (unfinished_ > 0 && fault_text.empty()) {
    if (!ready_.empty()) {
      Warp& warp = *ready_.begin()->second;
      ready_.erase(ready_.begin());
      warp.queued = false;
      run_warp(warp);
      if (schedule().asynchronous == Asynchronous::kRandom && !deeds_.empty() && random_() % 8 == 0)
        complete_one_deed();
      continue;
    }
    // Nothing runs but what spins: the moment for what is asynchronous, then another round.
    bool stuck = false;
    if (progress_ != before) {
      idle_rounds = 0;
    } else if (!complete_one_deed()) {
      stuck = true;
      if (spinners_.empty() || ++idle_rounds > settings().patience) {
        fault_text = describe_deadlock();
        break;
      }
    }
    before = progress_;
    wake_spinners(stuck);
  }
  // What has not been waited for happens all the same.
  while (fault_text.empty() && complete_one_deed()) {
  }
}

std::string Machine::run(const Launch& launch, bool all_at_once) {
  launch_ = &launch;
  blockDim = launch.block;
  gridDim = launch.grid;
  fault_text.clear();
  random_.seed(schedule().seed);
  const MemoryFaultGuard guard(abandon_thread);
  const dim3& grid = launch.grid;
  const dim3& shape = launch.cluster;
  const unsigned members = shape.x * shape.y * shape.z;
  const dim3 clusters_of_grid(grid.x / shape.x, grid.y / shape.y, grid.z / shape.z);
  const std::uint64_t count = std::uint64_t{clusters_of_grid.x} * clusters_of_grid.y * clusters_of_grid.z;
  std::vector<std::uint64_t> sequence(count);
  for (std::uint64_t i = 0; i < count; ++i) sequence[i] = i;
  if (schedule().order == Order::kReverse) std::reverse(sequence.begin(), sequence.end());
  if (schedule().order == Order::kRandom) std::shuffle(sequence.begin(), sequence.end(), random_);
  const std::uint64_t together = all_at_once ? count : 1;
  for (std::uint64_t first = 0; first < count && fault_text.empty(); first += together) {
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<std::unique_ptr<Cluster>> clusters;
    for (std::uint64_t i = first; i < first + together; ++i) {
      // Those of a cooperative launch keep their numbers; their order is the schedule's when they run.
      const std::uint64_t number = all_at_once ? i : sequence[i];
      const unsigned x = static_cast<unsigned>(number % clusters_of_grid.x);
      const unsigned y = static_cast<unsigned>(number / clusters_of_grid.x % clusters_of_grid.y);
      const unsigned z = static_cast<unsigned>(number / clusters_of_grid.x / clusters_of_grid.y);
      clusters.push_back(std::make_unique<Cluster>());
      for (unsigned rank = 0; rank < members; ++rank) {
        blocks.push_back(std::make_unique<Block>());
        Block& block = *blocks.back();
        block.shared = shared_window(blocks.size() - 1);
        block.cluster = clusters.back().get();
        block.rank = rank;
        clusters.back()->blocks.push_back(&block);
        prepare(block, {x * shape.x + rank % shape.x, y * shape.y + rank / shape.x % shape.y,
                        z * shape.z + rank / shape.x / shape.y});
      }
    }
    run_together(blocks, clusters);
  }
  launch_ = nullptr;
  return fault_text;
}

}  // namespace musicstar::emulated_gpu
