// The pool gives the same memory again, to requests of about its size, and does not grow.
#include <doctest/doctest.h>

#include <cstring>

#include "musicstar/buffer_pool.h"

namespace musicstar::tests {

TEST_CASE("buffer pool: what is given back is given out again") {
  cpu::BufferPool pool;
  const cpu::BufferPool::Buffer first = pool.take(10'000'000);
  CHECK(first.bytes >= 10'000'000);
  CHECK(reinterpret_cast<std::uintptr_t>(first.data) % 4096 == 0);
  std::memset(first.data, 1, static_cast<std::size_t>(first.bytes));
  pool.give_back(first);
  CHECK(pool.bytes_kept() == first.bytes);
  const cpu::BufferPool::Buffer again = pool.take(9'500'000);
  CHECK(again.data == first.data);
  CHECK(pool.bytes_kept() == 0);
  const cpu::BufferPool::Buffer other = pool.take(9'500'000);
  CHECK(other.data != again.data);
  pool.give_back(again);
  pool.give_back(other);
}

TEST_CASE("buffer pool: a small request does not take a large buffer") {
  cpu::BufferPool pool;
  const cpu::BufferPool::Buffer large = pool.take(100'000'000);
  pool.give_back(large);
  const cpu::BufferPool::Buffer small = pool.take(1'000);
  CHECK(small.bytes < 10'000);
  pool.give_back(small);
}

TEST_CASE("buffer pool: keeps no more than a quarter above the most that was in use") {
  cpu::BufferPool pool;
  std::int64_t most = 0;
  for (std::int64_t bytes = 3'000'000; bytes < 60'000'000; bytes += 9'000'000) {
    const cpu::BufferPool::Buffer buffer = pool.take(bytes);
    most = buffer.bytes;
    pool.give_back(buffer);
    CHECK(pool.bytes_kept() <= most + most / 4);
  }
}

TEST_CASE("buffer pool: nothing is a request, too") {
  cpu::BufferPool pool;
  const cpu::BufferPool::Buffer buffer = pool.take(0);
  CHECK(buffer.data != nullptr);
  pool.give_back(buffer);
}

}  // namespace musicstar::tests
