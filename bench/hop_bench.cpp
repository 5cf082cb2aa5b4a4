// SPDX-License-Identifier: Apache-2.0
// What one hop between two processes costs on the bare transports: from the sender's bytes ready in its memory until
// the receiver holds the message and could read it. So the copy out of the sender's memory counts; the receiver reads
// the payload afterwards. Not included is what a session adds, before and after: encoding and decoding values, the loop
// of a worker that serves several edges, the executor (for a hop in a session: `amp4ec_session_bench hop`). Edge beside
// a Unix stream socket and boost::interprocess::message_queue, with both sides pinned to one CPU or to two. In the same
// run, what a hop is made of: the bare wake-up of a process, and a plain copy into shared memory. The sender sends one
// message at a time and waits for a (tiny) answer, so nothing queues; p50 and p99 are of the one-way time that the
// receiver measures, in microseconds. "Time" is the round trip with its answer.
#include <amp4ec/ipc/edge_consumer.hpp>
#include <amp4ec/ipc/edge_producer.hpp>
#include <amp4ec/ipc/wait_until.hpp>

#include <benchmark/benchmark.h>
#include <boost/interprocess/ipc/message_queue.hpp>

#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace {

using namespace amp4ec;
using namespace amp4ec::ipc;
namespace bip = boost::interprocess;

/// Where the two sides run.
enum class Place { one_cpu, across };

/// How the edge's ends wait.
enum class Wait { blocking, spinning };

constexpr std::chrono::nanoseconds spin_time(Wait wait) {
  return wait == Wait::spinning ? std::chrono::seconds{1} : std::chrono::seconds{0};
}

/// Pins the calling process to one of the CPUs that the benchmark may use: both sides to the first, or the receiver to
/// the last. False when there is only one.
bool pin(Place place, bool receiver) {
  static const cpu_set_t usable = [] {
    cpu_set_t set;
    ::sched_getaffinity(0, sizeof set, &set);
    return set;
  }();
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &usable)) cpus.push_back(cpu);
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(receiver && place == Place::across ? cpus.back() : cpus.front(), &one);
  return ::sched_setaffinity(0, sizeof one, &one) == 0 && (place == Place::one_cpu || cpus.size() > 1);
}

/// The other process: receives messages until it is killed. Pins itself and this one.
class Receiver {
 public:
  Receiver(Place place, const std::function<void()>& body) : pid_((pin(place, false), ::fork())) {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(place, true);
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

void edge(benchmark::State& state, Place place, Wait wait) {
  if (!pin(place, false)) return state.SkipWithError("needs two CPUs");
  const auto size = static_cast<std::size_t>(state.range(0));
  const auto there = Edge::create(2, Bytes{size}).value();
  const auto back = Edge::create(2, 64_B).value();
  const auto here_bell = Bell::create().value();
  const auto there_bell = Bell::create().value();
  const auto next = [spin = spin_time(wait)](const Bell& bell, EdgeConsumer& consumer) {
    static_cast<void>(wait_until(
                          bell, [&] { return consumer.pending(); }, forever, spin)
                          .value());
    return std::move(*consumer.try_receive().value());
  };
  const Receiver receiver(place, [&] {
    auto consumer = EdgeConsumer::attach(there, here_bell.duplicate().value()).value();
    auto producer = EdgeProducer::attach(back, here_bell.duplicate().value()).value();
    for (;;) {
      std::uint64_t time = 0;
      {
        // Let go of before the answer, as a worker does.
        const auto message = next(there_bell, consumer);
        time = elapsed_ns(message.descriptor().request_id);
        read_all(message.payload().data(), message.payload().size());
      }
      auto slot = *producer.try_acquire().value();
      std::memcpy(slot.payload().data(), &time, sizeof time);
      Descriptor descriptor;
      descriptor.length = sizeof time;
      producer.publish(std::move(slot), descriptor).value();
    }
  });
  auto producer = EdgeProducer::attach(there, there_bell.duplicate().value()).value();
  auto consumer = EdgeConsumer::attach(back, there_bell.duplicate().value()).value();
  const std::vector<std::byte> output(size, std::byte{1});
  measure(state, [&] {
    Descriptor descriptor;
    descriptor.request_id = monotonic_ns();
    descriptor.length = size;
    auto slot = *producer.try_acquire().value();
    std::memcpy(slot.payload().data(), output.data(), size);
    producer.publish(std::move(slot), descriptor).value();
    const auto answer = next(here_bell, consumer);
    std::uint64_t time = 0;
    std::memcpy(&time, answer.payload().data(), sizeof time);
    return time;
  });
}

/// What an edge's hop costs apart from its copy: a time stamp in shared memory, and a bell or a spinning reader.
void wake_up(benchmark::State& state, Place place, Wait wait) {
  if (!pin(place, false)) return state.SkipWithError("needs two CPUs");
  const auto memory = MemoryFile::create("wake-up", 4_KiB).value().map(MemoryFile::Prefault::yes).value();
  auto* const words = reinterpret_cast<std::uint64_t*>(memory.bytes().data());
  const std::atomic_ref sent(words[0]);
  const std::atomic_ref measured(words[8]);  // On a cache line of its own.
  const auto here_bell = Bell::create().value();
  const auto there_bell = Bell::create().value();
  const auto take = [spin = spin_time(wait)](const Bell& bell, const std::atomic_ref<std::uint64_t>& word) {
    static_cast<void>(wait_until(
                          bell, [&] { return word.load() != 0; }, forever, spin)
                          .value());
    return word.exchange(0);
  };
  const Receiver receiver(place, [&] {
    for (;;) {
      measured.store(elapsed_ns(take(there_bell, sent)) + 1);  // Never 0.
      here_bell.signal().value();
    }
  });
  measure(state, [&] {
    sent.store(monotonic_ns());
    there_bell.signal().value();
    return take(here_bell, measured);
  });
}

void plain_memcpy(benchmark::State& state) {
  pin(Place::one_cpu, false);
  const auto size = static_cast<std::size_t>(state.range(0));
  const auto memory = MemoryFile::create("memcpy", Bytes{size}).value().map(MemoryFile::Prefault::yes).value();
  const std::vector<std::byte> output(size, std::byte{1});
  measure(state, [&] {
    const std::uint64_t start = monotonic_ns();
    std::memcpy(memory.bytes().data(), output.data(), size);
    benchmark::ClobberMemory();
    return elapsed_ns(start);
  });
}

/// The same copy while another process reads what was copied, each time, on the same CPU or on another: then the lines
/// lie in the other's cache, or the mapping in none. With `Until::copied` times the copy alone; with `Until::woken`
/// until a bell has woken the other process, whose code and data the copy has driven out of the caches. That is the
/// least that any hop of this size can cost which copies once and blocks.
enum class Until { copied, woken };
void shared_memcpy(benchmark::State& state, Place place, Until until) {
  if (!pin(place, false)) return state.SkipWithError("needs two CPUs");
  const auto size = static_cast<std::size_t>(state.range(0));
  const auto memory = MemoryFile::create("memcpy", Bytes{size}).value().map(MemoryFile::Prefault::yes).value();
  const auto times = MemoryFile::create("times", 4_KiB).value().map(MemoryFile::Prefault::yes).value();
  auto* const words = reinterpret_cast<std::uint64_t*>(times.bytes().data());
  const std::atomic_ref started(words[0]);
  const std::atomic_ref woken_after(words[8]);  // On a cache line of its own.
  const auto copied = Bell::create().value();
  const auto read = Bell::create().value();
  const auto await = [](const Bell& bell) {
    while (!bell.drain().value()) static_cast<void>(bell.wait(forever).value());
  };
  const Receiver receiver(place, [&] {
    for (;;) {
      await(copied);
      woken_after.store(elapsed_ns(started.load()));
      read_all(memory.bytes().data(), size);
      read.signal().value();
    }
  });
  const std::vector<std::byte> output(size, std::byte{1});
  measure(state, [&] {
    const std::uint64_t start = monotonic_ns();
    started.store(start);
    std::memcpy(memory.bytes().data(), output.data(), size);
    benchmark::ClobberMemory();
    const std::uint64_t time = elapsed_ns(start);
    copied.signal().value();
    await(read);
    return until == Until::woken ? woken_after.load() : time;
  });
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

void unix_stream(benchmark::State& state, Place place) {
  if (!pin(place, false)) return state.SkipWithError("needs two CPUs");
  const auto size = static_cast<std::size_t>(state.range(0));
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) return state.SkipWithError("socketpair");
  const UniqueFd here(ends[0]);
  const UniqueFd there(ends[1]);
  std::vector<std::byte> buffer(size);
  const Receiver receiver(place, [&] {
    for (;;) {
      read_fully(there.get(), buffer.data(), size);
      std::uint64_t start = 0;
      std::memcpy(&start, buffer.data(), sizeof start);
      const std::uint64_t time = elapsed_ns(start);
      read_all(buffer.data(), size);
      write_fully(there.get(), reinterpret_cast<const std::byte*>(&time), sizeof time);
    }
  });
  measure(state, [&] {
    const std::uint64_t start = monotonic_ns();
    std::memcpy(buffer.data(), &start, sizeof start);
    write_fully(here.get(), buffer.data(), size);
    std::uint64_t time = 0;
    read_fully(here.get(), reinterpret_cast<std::byte*>(&time), sizeof time);
    return time;
  });
}

void boost_message_queue(benchmark::State& state, Place place) {
  if (!pin(place, false)) return state.SkipWithError("needs two CPUs");
  const auto size = static_cast<std::size_t>(state.range(0));
  const std::string there_name = "amp4ec-hop-bench-there-" + std::to_string(::getpid());
  const std::string back_name = "amp4ec-hop-bench-back-" + std::to_string(::getpid());
  std::vector<std::byte> buffer(size);
  bip::message_queue there(bip::create_only, there_name.c_str(), 2, size);
  bip::message_queue back(bip::create_only, back_name.c_str(), 2, sizeof(std::uint64_t));
  bip::message_queue::remove(there_name.c_str());
  bip::message_queue::remove(back_name.c_str());
  const Receiver receiver(place, [&] {
    bip::message_queue::size_type length = 0;
    unsigned priority = 0;
    for (;;) {
      there.receive(buffer.data(), size, length, priority);
      std::uint64_t start = 0;
      std::memcpy(&start, buffer.data(), sizeof start);
      const std::uint64_t time = elapsed_ns(start);
      read_all(buffer.data(), size);
      back.send(&time, sizeof time, 0);
    }
  });
  measure(state, [&] {
    const std::uint64_t start = monotonic_ns();
    std::memcpy(buffer.data(), &start, sizeof start);
    there.send(buffer.data(), size, 0);
    bip::message_queue::size_type length = 0;
    unsigned priority = 0;
    std::uint64_t time = 0;
    back.receive(&time, sizeof time, length, priority);
    return time;
  });
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  for (const std::int64_t size : {64, 64 << 10, 4 << 20}) benchmark->Arg(size);
  benchmark->UseRealTime()->Unit(benchmark::kMicrosecond);
}
void no_size(benchmark::internal::Benchmark* benchmark) {
  benchmark->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(wake_up, one_cpu, Place::one_cpu, Wait::blocking)->Apply(no_size);
BENCHMARK_CAPTURE(wake_up, across, Place::across, Wait::blocking)->Apply(no_size);
BENCHMARK_CAPTURE(wake_up, across_spinning, Place::across, Wait::spinning)->Apply(no_size);
BENCHMARK(plain_memcpy)->Apply(sizes);
BENCHMARK_CAPTURE(shared_memcpy, one_cpu, Place::one_cpu, Until::copied)->Apply(sizes);
BENCHMARK_CAPTURE(shared_memcpy, across, Place::across, Until::copied)->Apply(sizes);
BENCHMARK_CAPTURE(shared_memcpy, one_cpu_woken, Place::one_cpu, Until::woken)->Apply(sizes);
BENCHMARK_CAPTURE(shared_memcpy, across_woken, Place::across, Until::woken)->Apply(sizes);
BENCHMARK_CAPTURE(edge, one_cpu, Place::one_cpu, Wait::blocking)->Apply(sizes);
BENCHMARK_CAPTURE(edge, across, Place::across, Wait::blocking)->Apply(sizes);
BENCHMARK_CAPTURE(edge, across_spinning, Place::across, Wait::spinning)->Apply(sizes);
BENCHMARK_CAPTURE(unix_stream, one_cpu, Place::one_cpu)->Apply(sizes);
BENCHMARK_CAPTURE(unix_stream, across, Place::across)->Apply(sizes);
BENCHMARK_CAPTURE(boost_message_queue, one_cpu, Place::one_cpu)->Apply(sizes);
BENCHMARK_CAPTURE(boost_message_queue, across, Place::across)->Apply(sizes);

}  // namespace
