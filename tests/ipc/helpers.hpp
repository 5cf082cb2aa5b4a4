// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/catch.hpp"

#include <amp4ec/ipc/edge_consumer.hpp>
#include <amp4ec/ipc/edge_producer.hpp>

#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <iterator>
#include <utility>

namespace amp4ec::ipc::test {

/// Ends a hang; no test relies on how long anything takes.
inline constexpr std::chrono::seconds watchdog{120};

/// A forked child that runs `body` and exits with its result. Fork before any thread starts. Killed and reaped at the
/// end.
class Child {
 public:
  template <class Body>
  explicit Child(Body body) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::_exit(body());
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) kill();
  }

  /// The exit code, or -signal.
  int join() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int kill() {
    ::kill(pid_, SIGKILL);
    return join();
  }

 private:
  pid_t pid_;
};

inline std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator{});
}

/// The edge as the process sees it that was sent one end of it.
inline Result<Edge> open_as_producer(const Edge& edge) {
  return Edge::open(UniqueFd(::dup(edge.fd())), UniqueFd(::dup(edge.producer_files_fd())));
}
inline Result<Edge> open_as_consumer(const Edge& edge) {
  return Edge::open(UniqueFd(::dup(edge.fd())), UniqueFd(::dup(edge.consumer_files_fd())));
}

/// An edge with both its ends in this process.
struct Link {
  Link(std::uint32_t slots, Bytes slot_bytes)
      : edge(Edge::create(slots, slot_bytes).value()),
        consumer_bell(Bell::create().value()),
        producer_bell(Bell::create().value()),
        producer(EdgeProducer::attach(edge, consumer_bell.duplicate().value()).value()),
        consumer(EdgeConsumer::attach(edge, producer_bell.duplicate().value()).value()) {}

  /// Publishes `length` bytes of value `fill` as request `id`. The edge must have a free slot.
  void send(std::uint64_t id, std::size_t length, std::byte fill) {
    auto slot = producer.try_acquire().value();
    REQUIRE(slot);
    std::fill_n(slot->payload().begin(), length, fill);
    Descriptor descriptor;
    descriptor.request_id = id;
    descriptor.length = length;
    REQUIRE(producer.publish(std::move(*slot), descriptor).has_value());
  }

  Edge edge;
  Bell consumer_bell;
  Bell producer_bell;
  EdgeProducer producer;
  EdgeConsumer consumer;
};

}  // namespace amp4ec::ipc::test
