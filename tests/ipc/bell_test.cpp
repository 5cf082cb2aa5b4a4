// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/ipc/bell.hpp>
#include <amp4ec/ipc/wait_until.hpp>

#include "helpers.hpp"

#include <array>
#include <atomic>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::ipc;
using namespace std::chrono_literals;

TEST_CASE("a descriptor has one owner, who closes it") {
  const auto before = test::open_descriptors();
  {
    UniqueFd a(::dup(0));
    REQUIRE(a);
    const int number = a.get();
    UniqueFd b(std::move(a));
    CHECK(b.get() == number);
    CHECK_FALSE(a);
    auto c = b.duplicate().value();
    CHECK(c.get() != number);
    c = std::move(b);
    CHECK(c.get() == number);
    CHECK(test::open_descriptors() == before + 1);
    UniqueFd d(c.release());
    CHECK_FALSE(c);
  }
  CHECK(test::open_descriptors() == before);
}

TEST_CASE("duplicating a descriptor that is none says which call failed") {
  const auto copy = UniqueFd().duplicate();
  REQUIRE_FALSE(copy.has_value());
  CHECK(copy.error().code == Errc::SystemCall);
  CHECK(copy.error().message.find("F_DUPFD_CLOEXEC") != std::string::npos);
  CHECK(copy.error().message.find("Bad file descriptor") != std::string::npos);
}

TEST_CASE("a bell rings until it is silenced") {
  const auto bell = Bell::create().value();
  CHECK_FALSE(bell.drain().value());
  CHECK_FALSE(bell.wait(0ns).value());
  REQUIRE(bell.signal().has_value());
  REQUIRE(bell.signal().has_value());
  CHECK(bell.wait(0ns).value());
  CHECK(bell.wait(forever).value());
  CHECK(bell.drain().value());
  CHECK_FALSE(bell.drain().value());
  CHECK_FALSE(bell.wait(1ms).value());
}

TEST_CASE("nothing that a peer does to its bell makes ours block") {
  const auto bell = Bell::create().value();
  const auto theirs = bell.for_peer().value();
  REQUIRE(::fcntl(theirs.get(), F_SETFL, 0) == 0);  // No longer O_NONBLOCK.
  SECTION("when it is empty") {
    CHECK_FALSE(bell.drain().value());
  }
  SECTION("when it is full") {
    const auto flags = ::fcntl(theirs.get(), F_GETFL);
    REQUIRE(::fcntl(theirs.get(), F_SETFL, flags | O_NONBLOCK) == 0);
    std::array<char, 4096> rings{};
    while (::write(theirs.get(), rings.data(), rings.size()) > 0) continue;
    while (::write(theirs.get(), rings.data(), 1) > 0) continue;
    REQUIRE(::fcntl(theirs.get(), F_SETFL, 0) == 0);
    CHECK(bell.signal().has_value());
    CHECK(bell.wait(0ns).value());
    CHECK(bell.drain().value());
  }
}

TEST_CASE("a bell that nobody else holds any more can still be rung") {
  const auto bell = Bell::create().value();
  const auto ringer = Bell::adopt(bell.for_peer().value());
  CHECK(ringer.signal().has_value());  // A pipe without a reader would end the process.
  CHECK(bell.drain().value());
}

TEST_CASE("a bell rings under all its descriptors") {
  const auto bell = Bell::create().value();
  const auto same = bell.duplicate().value();
  const auto also = Bell::adopt(bell.for_peer().value());
  REQUIRE(same.signal().has_value());
  CHECK(also.drain().value());
  CHECK_FALSE(bell.drain().value());
}

TEST_CASE("waiting ends when the state is there, or after the time-out") {
  const auto bell = Bell::create().value();
  CHECK(wait_until(
            bell, [] { return true; }, 0ns)
            .value());
  CHECK_FALSE(wait_until(
                  bell, [] { return false; }, 1ms)
                  .value());
  CHECK_FALSE(wait_until(
                  bell, [] { return false; }, 2ms, 1ms)
                  .value());
  // A bell that rings for nothing does not end the wait.
  REQUIRE(bell.signal().has_value());
  CHECK_FALSE(wait_until(
                  bell, [] { return false; }, 1ms)
                  .value());
}

TEST_CASE("a change right after the look ends the wait that follows") {
  const auto bell = Bell::create().value();
  const int missed = GENERATE(1, 2, 3);
  int looks = 0;
  const auto ready = [&] {
    ++looks;
    if (looks <= missed) REQUIRE(bell.signal().has_value());  // the other side, just too late for this look
    return looks > missed;
  };
  CHECK(wait_until(bell, ready, test::watchdog).value());
  CHECK(looks == missed + 1);
}

TEST_CASE("no wake-up is lost between two threads") {
  const auto there = Bell::create().value();
  const auto back = Bell::create().value();
  constexpr int rounds = 20'000;
  const auto spin = GENERATE(0ns, 20us);
  std::atomic<int> ping = 0;
  std::atomic<int> pong = 0;
  std::thread peer([&] {
    for (int round = 1; round <= rounds; ++round) {
      if (!wait_until(
               there, [&] { return ping == round; }, test::watchdog, spin)
               .value())
        return;
      pong = round;
      static_cast<void>(back.signal());
    }
  });
  int done = 0;
  for (int round = 1; round <= rounds; ++round) {
    ping = round;
    static_cast<void>(there.signal());
    if (!wait_until(
             back, [&] { return pong == round; }, test::watchdog, spin)
             .value())
      break;
    done = round;
  }
  peer.join();
  CHECK(done == rounds);
}
