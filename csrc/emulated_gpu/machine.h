// The emulated processor: blocks, warps and threads, how they meet and in which order they run.
//
// Every CUDA thread is a fiber. A thread runs until it must wait: at an instruction of a warp until the other lanes
// have come, at a barrier until the other threads have come; or until it asks again for something that others must do
// ("spins"). Blocks that cannot know of each other run one after another; those of a cluster, and all of a cooperative
// launch, together.
//
// The order is strict: of all warps that can run, that with the highest priority runs, as far as it can, and the
// schedule (control.h) says who has priority. What runs asynchronously (copies, products of warpgroups) is kept as a
// list of deeds and done as late as possible: when a thread waits for them, or when nothing else can run. So a program
// that lacks a barrier or a wait computes something else under one of the schedules, and memory that nobody has written
// is poisoned.
//
// One launch runs at a time in a process; all state here belongs to it.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "emulated_gpu/fibers.h"
#include "emulated_gpu/vector_types.h"

// As every thread sees them: set whenever one goes on.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace musicstar::emulated_gpu {

struct Block;
struct Cluster;
struct Thread;
struct Warp;

constexpr unsigned kLanes = 32;
constexpr std::size_t kSharedWindow = 232448;         // bytes of shared memory that a block can have: 227 KiB
constexpr std::size_t kStaticShared = 48 * 1024;      // of these as static arrays
constexpr std::size_t kSharedStart = 1024;            // where the window begins among the addresses of shared memory
constexpr std::ptrdiff_t kAsynchronousView = 262144;  // from a byte of shared memory to what bulk copies and wgmma see
constexpr std::size_t kSharedMargin = 256;  // poisoned behind the dynamic shared memory, and looked at in the end

// A program's mistake, thrown in the thread that makes it; ends the launch.
struct Fault {
  std::string text;
};
[[noreturn]] void fault(const std::string& text);

// Something asynchronous, done once.
struct Deed {
  std::function<void()> act;
  bool done = false;
  void complete() {
    if (done) return;
    done = true;
    act();
    act = nullptr;
  }
};
using Deeds = std::vector<std::shared_ptr<Deed>>;

// Groups of deeds that one thread (or warp) commits and waits for.
struct Groups {
  Deeds open;
  std::vector<Deeds> closed;
  void commit() {
    closed.push_back(std::move(open));
    open.clear();
  }
  // Completes all but the newest `pending` groups, oldest first.
  void wait(std::size_t pending);
};

// Lanes of a warp on their way to one instruction.
struct Meeting {
  unsigned mask = 0, arrived = 0;
  const char* name = nullptr;
  void* arguments[kLanes] = {};
};

struct Polled {
  const void* place;
  unsigned bytes;
  std::uint64_t value;
};

struct Thread {
  uint3 index = {};
  unsigned number = 0;  // in the block
  unsigned lane = 0;
  Block* block = nullptr;
  Warp* warp = nullptr;
  Fiber fiber;
  bool finished = false;
  // The places that were asked lately (by a loop, if one is asked again), and what was there. While the thread
  // `watches`, it need not run before one of them changes.
  std::vector<Polled> polled;
  bool watches = false;
  bool sees_change() const;
  const char* waits_at = "";  // for the report of a deadlock
  Groups copies;              // cp.async
  Groups bulk_stores;
  bool in_cluster_barrier = false;
  std::uint64_t cluster_phase = 0;
};

struct Warp {
  Block* block = nullptr;
  Thread* lanes[kLanes] = {};
  unsigned existing = 0, finished = 0;
  unsigned ready = 0, spun = 0;  // lanes that can run; that have spun in this round
  std::uint64_t priority = 0;
  std::uint64_t number = 0;  // among all warps that run together
  bool queued = false, spinning = false;
  std::vector<Meeting> meetings;
  Groups products;  // wgmma
  bool product_fence = false;
};

struct Barrier {
  unsigned arrived = 0;
  unsigned expected = 0;  // 0: all threads of the block
  std::vector<Thread*> waiting;
};

struct Mbarrier {
  const void* place = nullptr;  // where in shared memory
  std::uint32_t expected = 0, pending = 0;
  std::int64_t bytes = 0;  // announced and not yet landed
  std::uint64_t phase = 0;
  Block* block = nullptr;
};

struct Block {
  uint3 index = {};
  Cluster* cluster = nullptr;
  unsigned rank = 0;  // in the cluster
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  unsigned unfinished = 0;
  char* shared = nullptr;  // kSharedWindow bytes, aligned to 1024: dynamic from the start, static from the end
  std::size_t dynamic_bytes = 0, static_bytes = 0;
  std::unordered_map<const void*, char*> static_arrays;
  Barrier barriers[16];
  // With separate proxies: what ordinary stores have written becomes visible to bulk copies and wgmma; and where they
  // read (0 without: there is one view).
  void publish() const;
  std::ptrdiff_t view() const;
  unsigned asynchronous = 0;  // bulk copies into this block's shared memory that have not landed
};

struct Cluster {
  std::vector<Block*> blocks;
  unsigned arrived = 0;
  unsigned unfinished = 0;
  std::uint64_t phase = 0;
  std::vector<Thread*> waiting;
};

// What the fibers of a launch see.
struct Launch {
  dim3 grid, block, cluster;
  std::size_t shared_bytes = 0;
  std::function<void()> run;  // the kernel with its arguments
};

class Machine {
 public:
  // Runs all blocks. Returns the mistake's description, or nothing.
  std::string run(const Launch& launch, bool all_at_once);

  // --- Called by fibers ---
  void block_here(const char* where);  // until woken
  void wake(Thread& thread);
  void spin(const char* where);  // others first
  // Reads 4 or 8 bytes that others change. Who asks again and finds all as it was waits until something changes.
  std::uint64_t poll(const char* where, const void* place, unsigned bytes);
  void pause();
  void progressed() { ++progress_; }
  void finish_thread(Thread& thread);

  // Something asynchronous that nobody waits for by itself: done at a moment that the schedule chooses.
  std::shared_ptr<Deed> begin(std::function<void()> act);
  // Something asynchronous that is waited for: done now where the schedule is early.
  std::shared_ptr<Deed> begin_waited(std::function<void()> act);

  Mbarrier& mbarrier_at(const void* place);
  Mbarrier& new_mbarrier(const void* place);
  void forget_mbarrier(const void* place);
  void settle(Mbarrier& barrier);  // ends the phase if everything has come

  Block& block_of_shared(const void* pointer);  // which of the running blocks; a fault for none
  const Launch& launch() const { return *launch_; }
  void pass_barrier(Block& block, int id, unsigned threads, bool wait, const char* name);
  std::string fault_text;

 private:
  void prepare(Block& block, uint3 index);
  void run_together(std::vector<std::unique_ptr<Block>>& blocks, std::vector<std::unique_ptr<Cluster>>& clusters);
  void queue(Warp& warp);
  void wake_spinners(bool all);
  void run_warp(Warp& warp);
  void resume(Thread& thread);
  bool complete_one_deed();
  void check_barriers_after_exit(Block& block);
  std::string describe_deadlock() const;
  void finish_block(Block& block);

  const Launch* launch_ = nullptr;
  std::set<std::pair<std::uint64_t, Warp*>> ready_;
  std::vector<Warp*> spinners_;
  Deeds deeds_;
  std::uint64_t progress_ = 0;
  std::deque<Mbarrier> mbarriers_;  // deeds keep references
  std::vector<Block*> running_;
  unsigned unfinished_ = 0;
  std::mt19937_64 random_;
};

extern Machine machine;
extern Thread* current;  // whose fiber runs

// All lanes in `mask` come to the instruction `name` with their arguments; the last one acts for all.
template <typename Arguments, typename Act>
void meet(unsigned mask, const char* name, Arguments& arguments, Act&& act) {
  Thread& thread = *current;
  Warp& warp = *thread.warp;
  if (!(mask >> thread.lane & 1)) fault(std::string(name) + ": the mask lacks the calling lane");
  const unsigned needed = mask & warp.existing;
  Meeting* meeting = nullptr;
  for (Meeting& open : warp.meetings) {
    if (open.mask == needed) meeting = &open;
  }
  if (!meeting) {
    warp.meetings.emplace_back();
    meeting = &warp.meetings.back();
    meeting->mask = needed;
    meeting->name = name;
  }
  if (meeting->name != name && std::strcmp(meeting->name, name) != 0) {
    fault(std::string("lanes of one warp are at different instructions: ") + meeting->name + " and " + name);
  }
  meeting->arguments[thread.lane] = &arguments;
  meeting->arrived |= 1u << thread.lane;
  if (meeting->arrived != needed) {
    machine.block_here(name);
    return;
  }
  Meeting complete = *meeting;
  *meeting = warp.meetings.back();
  warp.meetings.pop_back();
  Arguments* all[kLanes] = {};
  for (unsigned lane = 0; lane < kLanes; ++lane) all[lane] = static_cast<Arguments*>(complete.arguments[lane]);
  act(all, needed);
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((needed >> lane & 1) && lane != thread.lane) machine.wake(*warp.lanes[lane]);
  }
}

// The same for instructions that need the whole warp.
template <typename Arguments, typename Act>
void meet_all(const char* name, Arguments& arguments, Act&& act) {
  if (current->warp->existing != 0xffffffffu) fault(std::string(name) + ": the warp is not whole");
  meet(0xffffffffu, name, arguments, [&](Arguments*(&all)[kLanes], unsigned) { act(all); });
}

// `pointer` and the `bytes` from it lie in the calling thread's block's shared memory, aligned; else a fault.
void check_shared(const void* pointer, std::size_t bytes, std::size_t alignment, const char* name);
void check_aligned(const void* pointer, std::size_t alignment, const char* name);

}  // namespace musicstar::emulated_gpu
