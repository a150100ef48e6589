#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "cpu/thread_team.h"

namespace musicstar::cpu {

TEST_CASE("thread team: every member runs once a run, and the caller sees what all wrote") {
  for (const int size : {1, 2, 3, 5}) {
    CAPTURE(size);
    ThreadTeam team(size);
    REQUIRE(team.size() == size);
    std::vector<int> runs(size);  // plain integers: only the team's own order makes this right
    for (int run = 1; run <= 300; ++run) {
      team.run([&](int member) { ++runs[member]; });
      REQUIRE(runs == std::vector<int>(size, run));
    }
  }
}

TEST_CASE("thread team: member 0 is the calling thread") {
  ThreadTeam team(3);
  std::vector<std::thread::id> ids(3);
  team.run([&](int member) { ids[member] = std::this_thread::get_id(); });
  CHECK((ids[0] == std::this_thread::get_id()));
  CHECK((ids[1] != ids[0]));
  CHECK((ids[2] != ids[0]));
  CHECK((ids[1] != ids[2]));
}

TEST_CASE("thread team: ends without a run, and asks for at least the caller") {
  CHECK(ThreadTeam(4).size() == 4);
  CHECK(ThreadTeam(0).size() == 1);
}

TEST_CASE("thread team: shares cover everything once, cut at the grain") {
  for (const int size : {1, 2, 3, 7}) {
    const ThreadTeam team(size);
    for (const std::int64_t count : {0, 1, 2, 31, 32, 33, 64, 100, 1025}) {
      for (const std::int64_t grain : {1, 8, 32}) {
        CAPTURE(size);
        CAPTURE(count);
        CAPTURE(grain);
        std::int64_t next = 0;
        for (int member = 0; member < size; ++member) {
          const auto [begin, end] = team.share(count, member, grain);
          REQUIRE(begin == next);
          REQUIRE(begin <= end);
          REQUIRE((end % grain == 0 || end == count));
          next = end;
        }
        REQUIRE(next == count);
      }
    }
  }
}

}  // namespace musicstar::cpu
