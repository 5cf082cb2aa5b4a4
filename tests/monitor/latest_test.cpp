// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/monitor/detail/latest.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

using amp4ec::detail::Latest;

namespace {
/// Of no whole number of words, and large enough to be read in pieces.
struct Value {
  std::array<std::uint32_t, 101> numbers;
};

Value all(std::uint32_t number) {
  Value value{};
  value.numbers.fill(number);
  return value;
}

bool is_whole(const Value& value) {
  return std::ranges::all_of(value.numbers, [&](auto number) { return number == value.numbers[0]; });
}
}  // namespace

TEST_CASE("the latest value is read, and none before the first") {
  Latest<Value> latest;
  CHECK_FALSE(latest.load());
  for (std::uint32_t number = 7; number < 12; ++number) {
    latest.store(all(number));
    REQUIRE(latest.load());
    CHECK(latest.load()->numbers == all(number).numbers);
    CHECK(latest.load()->numbers == all(number).numbers);
  }
}

TEST_CASE("readers see whole values, never an older one after a newer one") {
  Latest<Value> latest;
  latest.store(all(0));
  std::atomic<bool> done = false;
  std::atomic<int> torn = 0;
  std::atomic<int> backwards = 0;
  std::atomic<std::uint64_t> reads = 0;
  std::vector<std::thread> readers;
  readers.reserve(2);
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&] {
      std::uint32_t last = 0;
      while (!done) {
        const auto value = *latest.load();
        if (!is_whole(value)) ++torn;
        if (value.numbers[0] < last) ++backwards;
        last = value.numbers[0];
        ++reads;
      }
    });
  }
  for (std::uint32_t number = 1; number <= 20'000 || reads < 1000; ++number) latest.store(all(number));
  done = true;
  for (auto& reader : readers) reader.join();
  CHECK(torn == 0);
  CHECK(backwards == 0);
}
