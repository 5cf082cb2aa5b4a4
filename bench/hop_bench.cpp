// SPDX-License-Identifier: Apache-2.0
// What one hop between two processes costs: from before the sender writes the payload until the receiver has read it.
// Edge with spinning and with blocking waits, beside a Unix stream socket and boost::interprocess::message_queue.
// The sender sends one message at a time and waits for a (tiny) answer, so nothing queues; p50 and p99 are of the
// one-way time that the receiver measures, in microseconds. "Time" is the round trip with its answer.
#include <amp4ec/ipc/edge_consumer.hpp>
#include <amp4ec/ipc/edge_producer.hpp>
#include <amp4ec/ipc/wait_until.hpp>

#include <benchmark/benchmark.h>
#include <boost/interprocess/ipc/message_queue.hpp>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace {

using namespace amp4ec;
using namespace amp4ec::ipc;
namespace bip = boost::interprocess;

/// The other process: receives messages until it is killed.
class Receiver {
 public:
  explicit Receiver(const std::function<void()>& body) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    body();
    ::_exit(1);
  }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;
  ~Receiver() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_;
};

/// Reads every cache line, as the first operator of a segment would.
std::uint64_t read_all(const std::byte* bytes, std::size_t size) {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < size; at += 64) sum += std::to_integer<std::uint64_t>(bytes[at]);
  benchmark::DoNotOptimize(sum);
  return sum;
}

/// Runs `hop`, which sends one message and returns its one-way time in ns.
void measure(benchmark::State& state, const std::function<std::uint64_t()>& hop) {
  for (int warm_up = 0; warm_up < 50; ++warm_up) hop();
  std::vector<std::uint64_t> times;
  for (auto _ : state) times.push_back(hop());
  std::ranges::sort(times);
  state.counters["p50_us"] = static_cast<double>(times[times.size() / 2]) / 1e3;
  state.counters["p99_us"] = static_cast<double>(times[times.size() * 99 / 100]) / 1e3;
}

void edge(benchmark::State& state, std::chrono::nanoseconds spin) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const auto there = Edge::create(2, Bytes{size}).value();
  const auto back = Edge::create(2, 64_B).value();
  const auto here_bell = EventFd::create().value();
  const auto there_bell = EventFd::create().value();
  const auto next = [spin](const EventFd& bell, EdgeConsumer& consumer) {
    static_cast<void>(wait_until(
                          bell, [&] { return consumer.pending(); }, forever, spin)
                          .value());
    return std::move(*consumer.try_receive().value());
  };
  Receiver receiver([&] {
    auto consumer = EdgeConsumer::attach(there, here_bell.duplicate().value()).value();
    auto producer = EdgeProducer::attach(back, here_bell.duplicate().value()).value();
    for (;;) {
      const auto message = next(there_bell, consumer);
      read_all(message.payload().data(), message.payload().size());
      const std::uint64_t time = elapsed_ns(message.descriptor().request_id);
      auto slot = *producer.try_acquire().value();
      std::memcpy(slot.payload().data(), &time, sizeof time);
      Descriptor descriptor;
      descriptor.length = sizeof time;
      producer.publish(std::move(slot), descriptor).value();
    }
  });
  auto producer = EdgeProducer::attach(there, there_bell.duplicate().value()).value();
  auto consumer = EdgeConsumer::attach(back, there_bell.duplicate().value()).value();
  measure(state, [&] {
    auto slot = *producer.try_acquire().value();
    Descriptor descriptor;
    descriptor.request_id = monotonic_ns();
    descriptor.length = size;
    std::memset(slot.payload().data(), 1, size);
    producer.publish(std::move(slot), descriptor).value();
    const auto answer = next(here_bell, consumer);
    std::uint64_t time = 0;
    std::memcpy(&time, answer.payload().data(), sizeof time);
    return time;
  });
}

void edge_spinning(benchmark::State& state) {
  edge(state, std::chrono::seconds{1});
}
void edge_blocking(benchmark::State& state) {
  edge(state, std::chrono::nanoseconds{0});
}

void read_fully(int fd, std::byte* bytes, std::size_t size) {
  while (size > 0) {
    const ssize_t count = ::recv(fd, bytes, size, 0);
    if (count <= 0) std::abort();
    bytes += count;
    size -= static_cast<std::size_t>(count);
  }
}
void write_fully(int fd, const std::byte* bytes, std::size_t size) {
  while (size > 0) {
    const ssize_t count = ::send(fd, bytes, size, MSG_NOSIGNAL);
    if (count <= 0) std::abort();
    bytes += count;
    size -= static_cast<std::size_t>(count);
  }
}

void unix_stream(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) return state.SkipWithError("socketpair");
  const UniqueFd here(ends[0]);
  const UniqueFd there(ends[1]);
  std::vector<std::byte> buffer(size);
  Receiver receiver([&] {
    for (;;) {
      read_fully(there.get(), buffer.data(), size);
      read_all(buffer.data(), size);
      std::uint64_t start = 0;
      std::memcpy(&start, buffer.data(), sizeof start);
      const std::uint64_t time = elapsed_ns(start);
      write_fully(there.get(), reinterpret_cast<const std::byte*>(&time), sizeof time);
    }
  });
  measure(state, [&] {
    const std::uint64_t start = monotonic_ns();
    std::memset(buffer.data(), 1, size);
    std::memcpy(buffer.data(), &start, sizeof start);
    write_fully(here.get(), buffer.data(), size);
    std::uint64_t time = 0;
    read_fully(here.get(), reinterpret_cast<std::byte*>(&time), sizeof time);
    return time;
  });
}

void boost_message_queue(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const std::string there_name = "amp4ec-hop-bench-there-" + std::to_string(::getpid());
  const std::string back_name = "amp4ec-hop-bench-back-" + std::to_string(::getpid());
  std::vector<std::byte> buffer(size);
  bip::message_queue there(bip::create_only, there_name.c_str(), 2, size);
  bip::message_queue back(bip::create_only, back_name.c_str(), 2, sizeof(std::uint64_t));
  bip::message_queue::remove(there_name.c_str());
  bip::message_queue::remove(back_name.c_str());
  Receiver receiver([&] {
    bip::message_queue::size_type length = 0;
    unsigned priority = 0;
    for (;;) {
      there.receive(buffer.data(), size, length, priority);
      read_all(buffer.data(), size);
      std::uint64_t start = 0;
      std::memcpy(&start, buffer.data(), sizeof start);
      const std::uint64_t time = elapsed_ns(start);
      back.send(&time, sizeof time, 0);
    }
  });
  measure(state, [&] {
    const std::uint64_t start = monotonic_ns();
    std::memset(buffer.data(), 1, size);
    std::memcpy(buffer.data(), &start, sizeof start);
    there.send(buffer.data(), size, 0);
    bip::message_queue::size_type length = 0;
    unsigned priority = 0;
    std::uint64_t time = 0;
    back.receive(&time, sizeof time, length, priority);
    return time;
  });
}

BENCHMARK(edge_spinning)->Arg(64)->Arg(4 << 20)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(edge_blocking)->Arg(64)->Arg(4 << 20)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(unix_stream)->Arg(64)->Arg(4 << 20)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(boost_message_queue)->Arg(64)->Arg(4 << 20)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
