// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/ipc/control_channel.hpp>
#include <amp4ec/ipc/edge.hpp>
#include <amp4ec/ipc/wait_until.hpp>

#include "helpers.hpp"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

using namespace amp4ec;
using namespace amp4ec::ipc;
using test::Link;

namespace {

constexpr std::uint64_t messages = 1'000'000;
constexpr std::size_t slot_bytes = 16384;

/// Contents by request id: both sides know what must be in the payload, and how long it is.
class Contents {
 public:
  Contents() {
    std::mt19937 random(1);
    for (std::byte& byte : table_) byte = static_cast<std::byte>(random());
  }
  [[nodiscard]] std::span<const std::byte> of(std::uint64_t id) const {
    std::uint64_t mixed = (id + 1) * 0x9E3779B97F4A7C15U;
    mixed ^= mixed >> 31U;
    const std::size_t length = (mixed >> 8U) % (id % 64 == 0 ? slot_bytes + 1 : 513);
    return std::span(table_).subspan((mixed >> 32U) % (table_.size() - slot_bytes), length);
  }

 private:
  std::vector<std::byte> table_ = std::vector<std::byte>(1 << 20);
};

bool publish(EdgeProducer& producer, EdgeProducer::Slot slot, std::uint64_t id, std::span<const std::byte> bytes) {
  if (!bytes.empty()) std::memcpy(slot.payload().data(), bytes.data(), bytes.size());
  Descriptor descriptor;
  descriptor.request_id = id;
  descriptor.length = bytes.size();
  return producer.publish(std::move(slot), descriptor).has_value();
}

bool holds(const EdgeConsumer::Message& message, std::uint64_t id, std::span<const std::byte> bytes) {
  return message.descriptor().request_id == id && message.payload().size() == bytes.size() &&
         (bytes.empty() || std::memcmp(message.payload().data(), bytes.data(), bytes.size()) == 0);
}

/// Runs in the child: everything that comes on `in` goes back on `out`.
int echo(const Edge& in, const Edge& out, const Bell& own_bell, const Bell& host_bell) {
  auto consumer = EdgeConsumer::attach(in, host_bell.duplicate().value()).value();
  auto producer = EdgeProducer::attach(out, host_bell.duplicate().value()).value();
  for (std::uint64_t id = 0; id < messages; ++id) {
    if (!wait_until(
             own_bell, [&] { return consumer.pending(); }, test::watchdog)
             .value())
      return 1;
    const auto message = consumer.try_receive().value();
    if (!message) return 2;
    if (!wait_until(
             own_bell, [&] { return producer.slot_available(); }, test::watchdog)
             .value())
      return 3;
    auto slot = producer.try_acquire().value();
    if (!slot) return 4;
    if (!publish(producer, std::move(*slot), message->descriptor().request_id, message->payload())) return 5;
  }
  return 0;
}

}  // namespace

TEST_CASE("a million messages there and back between two processes, nothing lost, nothing changed") {
  const Contents contents;
  const auto there = Edge::create(48, Bytes{slot_bytes}).value();
  const auto back = Edge::create(35, Bytes{slot_bytes}).value();
  const auto host_bell = Bell::create().value();
  const auto worker_bell = Bell::create().value();
  test::Child child([&] { return echo(there, back, worker_bell, host_bell); });

  auto producer = EdgeProducer::attach(there, worker_bell.duplicate().value()).value();
  auto consumer = EdgeConsumer::attach(back, worker_bell.duplicate().value()).value();
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  bool intact = true;
  bool in_time = true;
  while (received < messages && intact && in_time) {
    while (sent < messages) {
      auto slot = producer.try_acquire().value();
      if (!slot) break;
      intact = intact && publish(producer, std::move(*slot), sent, contents.of(sent));
      ++sent;
    }
    while (const auto message = consumer.try_receive().value()) {
      intact = intact && holds(*message, received, contents.of(received));
      ++received;
    }
    const auto ready = [&] {
      return received == messages || consumer.pending() || (sent < messages && producer.slot_available());
    };
    in_time = wait_until(host_bell, ready, test::watchdog).value();
  }
  CHECK(intact);
  CHECK(in_time);
  CHECK(received == messages);
  CHECK(child.join() == 0);
}

TEST_CASE("a million messages between two threads, freed on a third") {
  const Contents contents;
  Link link(64, Bytes{slot_bytes});
  std::atomic<bool> sent_all = false;
  std::mutex mutex;  // guards the next two
  bool received_all = false;
  std::deque<EdgeConsumer::Message> to_free;
  std::condition_variable more_to_free;

  std::thread sender([&] {
    for (std::uint64_t id = 0; id < messages; ++id) {
      if (!wait_until(
               link.producer_bell, [&] { return link.producer.slot_available(); }, test::watchdog)
               .value())
        return;
      auto slot = link.producer.try_acquire().value();
      if (!slot || !publish(link.producer, std::move(*slot), id, contents.of(id))) return;
    }
    sent_all = true;
  });
  std::thread freer([&] {
    std::deque<EdgeConsumer::Message> batch;
    do {
      batch.clear();
      std::unique_lock lock(mutex);
      more_to_free.wait(lock, [&] { return received_all || !to_free.empty(); });
      batch.swap(to_free);
    } while (!batch.empty());
  });

  std::uint64_t received = 0;
  for (; received < messages; ++received) {
    if (!wait_until(
             link.consumer_bell, [&] { return link.consumer.pending(); }, test::watchdog)
             .value())
      break;
    auto message = link.consumer.try_receive().value();
    if (!message || !holds(*message, received, contents.of(received))) break;
    if (received % 2 == 0) continue;  // freed here
    const std::lock_guard lock(mutex);
    to_free.push_back(std::move(*message));
    more_to_free.notify_one();
  }
  {
    const std::lock_guard lock(mutex);
    received_all = true;
  }
  more_to_free.notify_one();
  sender.join();
  freer.join();
  CHECK(received == messages);
  CHECK(sent_all);
}

TEST_CASE("a peer killed at any instruction leaves nothing locked") {
  for (int round = 0; round < 50; ++round) {
    const auto edge = Edge::create(4, 4_KiB).value();
    const auto host_bell = Bell::create().value();
    const auto worker_bell = Bell::create().value();
    auto [host, worker] = ControlChannel::create_pair().value();
    auto consumer = EdgeConsumer::attach(edge, worker_bell.duplicate().value()).value();
    test::Child child([&] {
      auto producer = EdgeProducer::attach(edge, host_bell.duplicate().value()).value();
      for (std::uint64_t id = 0;; ++id) {
        if (!wait_until(
                 worker_bell, [&] { return producer.slot_available(); }, forever)
                 .value())
          return 1;
        if (!publish(producer, *producer.try_acquire().value(), id, {})) return 2;
      }
    });
    { const auto childs_end = std::move(worker); }
    std::uint64_t received = 0;
    const auto take = [&] {
      while (const auto message = consumer.try_receive().value()) {
        if (message->descriptor().request_id != received++) return false;
      }
      return true;
    };
    const auto enough = static_cast<std::uint64_t>(round * 7);
    while (received <= enough) {
      REQUIRE(wait_until(
                  host_bell, [&] { return consumer.pending(); }, test::watchdog)
                  .value());
      REQUIRE(take());
    }
    CHECK(child.kill() == -SIGKILL);
    CHECK(take());
    CHECK_FALSE(consumer.pending());
    CHECK(host.receive(test::watchdog).error().code == Errc::WorkerDied);
  }
}
