// SPDX-License-Identifier: Apache-2.0
// A process that writes rubbish without pause into everything it shares with this one, while this one goes on using it.
// This side must stay inside its bounds, come back from every call, and see messages, nothing, or a violation.
// AMP4EC_FUZZ_SECONDS sets how long each case runs. Most useful under AddressSanitizer.
#include <amp4ec/ipc/edge.hpp>
#include <amp4ec/ipc/wait_until.hpp>
#include <amp4ec/ipc/worker_counters.hpp>

#include "helpers.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

using namespace amp4ec;
using namespace amp4ec::ipc;
using namespace std::chrono_literals;

namespace {

using Random = std::mt19937_64;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t fuzz_slots = 4;
constexpr std::uint64_t fuzz_slot_bytes = 256;
constexpr std::size_t longest_file = 3 * 4096;

std::chrono::duration<double> fuzz_time() {
  const char* seconds = std::getenv("AMP4EC_FUZZ_SECONDS");
  return std::chrono::duration<double>(seconds == nullptr ? 0.5 : std::atof(seconds));
}

/// Often close to what is allowed: that comes past the first checks.
std::uint64_t near_or_far(Random& random) {
  switch (random() % 5) {
    case 0: return random() % 4;
    case 1: return random() % (2 * fuzz_slot_bytes);
    case 2: return ~std::uint64_t{0} - random() % 4;
    case 3: return std::uint64_t{1} << random() % 64;
    default: return random();
  }
}

/// All that the hostile process holds: its mapping, its end of the socket, both bells. What it writes, it writes with
/// atomic stores, as a race within one process would be a defect of this test.
class Attacker {
 public:
  Attacker(const Edge& edge, int files, int own_bell, int other_bell, std::uint64_t seed)
      : random_(seed),
        mapping_(MemoryFile::adopt(UniqueFd(::dup(edge.fd()))).value().map().value()),
        memory_(MemoryFile::adopt(UniqueFd(::dup(edge.fd()))).value().map().value(),
                {edge.slots(), edge.slot_bytes().count}),
        files_(files),
        bells_{own_bell, other_bell} {}

  /// One of many things that no honest peer does, or one that any does: most ends would else be over at the first look.
  void act(std::uint64_t strategy) {
    switch (strategy == 0 ? 1 + random_() % 7 : strategy) {
      case 1: return write_words(0, 64);                                 // The header.
      case 2: return write_words(64, 256);                               // Counters and wishes.
      case 3: return memory_.store_descriptor(random_(), descriptor());  // Descriptors.
      case 4: return memory_.freed_slot(random_()).store(static_cast<std::uint32_t>(near_or_far(random_)));
      case 5: return write_words(0, mapping_.bytes().size());  // Payloads, mostly.
      case 6: return use_socket();
      default: return ring();
    }
  }
  /// What an honest producer would do, now and then with a large message; or something that only looks like it.
  void publish_one() {
    const std::uint64_t position = memory_.published().load();
    if (position - memory_.freed().load() >= fuzz_slots) return;
    Descriptor sent;
    sent.slot = static_cast<std::uint32_t>(position % fuzz_slots);
    sent.length = random_() % (fuzz_slot_bytes + 1);
    if (random_() % 4 == 0) {
      sent.length = fuzz_slot_bytes + 1 + random_() % (longest_file - fuzz_slot_bytes);
      send_file(sent.length);
    }
    memory_.store_descriptor(position, random_() % 32 == 0 ? descriptor() : sent);
    memory_.published().store(position + 1);
    ring();
  }
  /// What an honest consumer would do; or it gives back whatever lies in the ring.
  void free_one() {
    const std::uint64_t position = memory_.freed().load();
    if (position == memory_.published().load()) return;
    if (random_() % 8 != 0) memory_.freed_slot(position).store(memory_.load_descriptor(position).slot);
    memory_.freed().store(position + 1);
    if (random_() % 4 == 0) read_socket();
    ring();
  }
  Random& random() { return random_; }

 private:
  void write_words(std::size_t begin, std::size_t end) {
    const std::size_t words = (end - begin) / 8;
    auto* const at = reinterpret_cast<std::uint64_t*>(mapping_.bytes().data() + begin);
    for (std::uint64_t left = 1 + random_() % 8; left > 0; --left) {
      std::atomic_ref(at[random_() % words]).store(near_or_far(random_));
    }
  }
  Descriptor descriptor() {
    Descriptor made;
    if (random_() % 4 == 0) {
      for (std::size_t i = 0; i < sizeof made; i += 8) {
        const std::uint64_t word = random_();
        std::memcpy(reinterpret_cast<char*>(&made) + i, &word, sizeof word);
      }
      return made;
    }
    made.slot = static_cast<std::uint32_t>(random_() % (fuzz_slots + 1));
    made.length = near_or_far(random_);
    made.kind = static_cast<MessageKind>(random_() % 4);
    made.route_length = static_cast<std::uint8_t>(random_() % 16);
    made.hop = static_cast<std::uint8_t>(random_() % 16);
    return made;
  }
  /// Fills it, too, and makes its own end one that blocks, as far as that cannot hold up the attack.
  void ring() {
    const int bell = bells_[random_() % 2];
    std::array<char, 4096> rings{};
    const int flags = ::fcntl(bell, F_GETFL);
    (void)::fcntl(bell, F_SETFL, flags | O_NONBLOCK);
    [[maybe_unused]] const auto written = ::write(bell, rings.data(), random_() % rings.size());
    (void)::fcntl(bell, F_SETFL, flags & ~O_NONBLOCK);
  }

  void send_file(std::uint64_t length) {
    auto file = MemoryFile::create_with_one_writer("fuzz", Bytes{length});
    if (file) send(file->first.fd(), 1);
  }
  void send(int fd, std::size_t count) {
    std::array<int, 20> fds{};
    fds.fill(fd);
    const std::size_t bytes = std::min(count, fds.size()) * sizeof(int);
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fds)> control{};
    std::array<char, 64> text{};
    iovec part{text.data(), random_() % text.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (count > 0) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(bytes);
      cmsghdr* head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(bytes);
      std::memcpy(CMSG_DATA(head), fds.data(), bytes);
    }
    (void)::sendmsg(files_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  void read_socket() {
    std::array<char, 64> text{};
    (void)::recv(files_, text.data(), text.size(), MSG_DONTWAIT);  // A descriptor that came with it is closed.
  }
  void use_socket() {
    switch (random_() % 32) {
      case 0: (void)::shutdown(files_, static_cast<int>(random_() % 3)); return;
      case 1: return send(files_, 1);
      case 2: return send(bells_[0], random_() % 20);
      case 3: return send(bells_[0], 0);
      case 4: return send_file(1 + random_() % longest_file);
      case 5:
        if (auto shrinks = MemoryFile::create("fuzz", Bytes{longest_file})) send(shrinks->fd(), 1);
        return;
      default: return read_socket();
    }
  }

  Random random_;
  Mapping<std::byte> mapping_;
  detail::EdgeMemory memory_;
  int files_;
  std::array<int, 2> bells_;
};

/// The edges of one hostile process, which attacks one at a time: the one whose number it is told.
class Battle {
 public:
  static constexpr std::size_t edges = 24;

  template <class Honest>
  Battle(bool attacker_produces, std::uint64_t seed, Honest honest)
      : turn_(MemoryFile::create("turn", 64_B).value().map().value()) {
    for (std::size_t i = 0; i < edges; ++i) edges_.push_back(Edge::create(fuzz_slots, Bytes{fuzz_slot_bytes}).value());
    const auto own_bell = Bell::create().value();
    const auto their_bell = Bell::create().value();
    const auto bells = std::pair(their_bell.for_peer().value(), own_bell.for_peer().value());
    const test::Child child([&] {
      for (std::size_t i = 0;; ++i) {
        const Edge& edge = edges_[i % edges];
        const int files = attacker_produces ? edge.producer_files_fd() : edge.consumer_files_fd();
        Attacker attacker(edge, files, bells.first.get(), bells.second.get(), seed + i);
        const std::uint64_t strategy = attacker.random()() % 8;  // Each alone, or all together.
        while (turn().load() == i) {
          if (attacker.random()() % 64 == 0) attacker.act(strategy);
          if (attacker.random()() % 8 != 0) continue;
          attacker_produces ? attacker.publish_one() : attacker.free_one();
        }
      }
      return 0;
    });
    for (std::size_t i = 0; i < edges; ++i) {
      turn().store(i);
      honest(edges_[i], own_bell, their_bell);
    }
  }

 private:
  [[nodiscard]] std::atomic_ref<std::uint64_t> turn() const {
    return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(turn_.bytes().data()));
  }
  Mapping<std::byte> turn_;
  std::vector<Edge> edges_;
};

template <class Honest>
void fuzz(bool attacker_produces, Honest honest) {
  const auto until = Clock::now() + fuzz_time();
  const auto descriptors = test::open_descriptors();
  std::uint64_t seed = 1;
  do {
    const Battle battle(attacker_produces, seed, honest);
    seed += 1000;
  } while (Clock::now() < until);
  CHECK(test::open_descriptors() == descriptors);
}

/// How long to bear one attack. Without a deadline of its own nothing would end where all the rubbish is harmless.
constexpr auto bout = 2ms;

}  // namespace

TEST_CASE("a consumer bears a producer that writes rubbish all the time") {
  Random random(1);
  std::uint64_t received = 0;
  std::uint64_t large = 0;
  std::uint64_t violations = 0;
  std::uint64_t outside = 0;
  std::uint64_t other_errors = 0;
  std::uint64_t sum = 0;
  fuzz(true, [&](const Edge& edge, const Bell& own_bell, const Bell& their_bell) {
    auto attached = EdgeConsumer::attach(edge, their_bell.duplicate().value());
    if (!attached) {  // The attacker was first.
      other_errors += attached.error().code == Errc::ProtocolViolation ? 0 : 1;
      return;
    }
    EdgeConsumer consumer(std::move(*attached));
    std::vector<EdgeConsumer::Message> held;
    std::optional<const std::byte*> first_slot;
    const auto until = Clock::now() + bout;
    while (Clock::now() < until) {
      if (random() % 16 == 0)
        (void)wait_until(
            own_bell, [&] { return consumer.pending(); }, 100us);
      outside += consumer.waiting() > fuzz_slots ? 1 : 0;
      auto message = consumer.try_receive();
      if (!message) {
        ++violations;
        other_errors += message.error().code == Errc::ProtocolViolation ? 0 : 1;
        CHECK(consumer.pending());
        break;
      }
      if (!held.empty() && random() % 2 == 0) held.erase(held.begin());
      if (!*message) continue;
      ++received;
      const Descriptor& descriptor = (*message)->descriptor();
      const auto payload = (*message)->payload();
      for (const std::byte byte : payload) sum += std::to_integer<std::uint64_t>(byte);
      outside += payload.size() != descriptor.length || descriptor.slot >= fuzz_slots ? 1 : 0;
      if (payload.size() > fuzz_slot_bytes) {
        ++large;
      } else {
        const std::byte* base = payload.data() - descriptor.slot * fuzz_slot_bytes;
        outside += base != first_slot.value_or(base) ? 1 : 0;
        first_slot = base;
      }
      held.push_back(std::move(**message));
    }
    std::set<std::uint32_t> slots;
    for (const auto& one : held) slots.insert(one.descriptor().slot);
    outside += slots.size() != held.size() ? 1 : 0;
  });
  CHECK(outside == 0);
  CHECK(other_errors == 0);
  CHECK(received > 20);
  CHECK(large > 0);
  CHECK(violations > 10);
  CHECK(sum > 0);
}

TEST_CASE("a producer bears a consumer that writes rubbish all the time") {
  Random random(2);
  std::uint64_t published = 0;
  std::uint64_t violations = 0;
  std::uint64_t twice = 0;
  std::uint64_t other_errors = 0;
  fuzz(false, [&](const Edge& edge, const Bell& own_bell, const Bell& their_bell) {
    auto attached = EdgeProducer::attach(edge, their_bell.duplicate().value());
    if (!attached) {
      other_errors += attached.error().code == Errc::ProtocolViolation ? 0 : 1;
      return;
    }
    EdgeProducer producer(std::move(*attached));
    std::vector<EdgeProducer::Slot> held;
    const auto until = Clock::now() + bout;
    while (Clock::now() < until) {
      if (random() % 16 == 0)
        (void)wait_until(
            own_bell, [&] { return producer.slot_available(); }, 100us);
      auto slot = producer.try_acquire();
      if (!slot) {
        ++violations;
        other_errors += slot.error().code == Errc::ProtocolViolation ? 0 : 1;
        break;
      }
      if (*slot) held.push_back(std::move(**slot));
      std::set<const std::byte*> starts;
      for (const auto& one : held) starts.insert(one.payload().data());
      twice += starts.size() != held.size() || held.size() > fuzz_slots ? 1 : 0;
      if (held.empty() || random() % 2 == 0) continue;
      EdgeProducer::Slot sent = std::move(held.back());
      held.pop_back();
      if (random() % 16 == 0) sent.reserve(Bytes{fuzz_slot_bytes + 1 + random() % longest_file}).value();
      std::ranges::fill(sent.payload(), std::byte{1});
      Descriptor descriptor;
      descriptor.length = sent.payload().size();
      const auto done = producer.publish(std::move(sent), descriptor);
      published += done ? 1 : 0;
      other_errors +=
          done || done.error().code == Errc::WorkerDied || done.error().code == Errc::WorkerUnresponsive ? 0 : 1;
    }
  });
  CHECK(twice == 0);
  CHECK(other_errors == 0);
  CHECK(published > 100);
  CHECK(violations > 10);
}

TEST_CASE("a host bears counters that a worker fills with rubbish all the time") {
  const auto host = WorkerCounters::create().value();
  const test::Child child([&] {
    Random random(3);
    const auto mapping = MemoryFile::adopt(UniqueFd(::dup(host.fd()))).value().map().value();
    auto* const words = reinterpret_cast<std::uint64_t*>(mapping.bytes().data());
    for (;;) {
      const std::size_t at = random() % 4 == 0 ? 0 : random() % (mapping.bytes().size() / 8);
      std::atomic_ref(words[at]).store(at == 0 && random() % 2 == 0 ? random() % 4 : near_or_far(random));
    }
    return 0;
  });
  Random random(4);
  const auto until = Clock::now() + fuzz_time();
  std::uint64_t readings = 0;
  std::uint64_t violations = 0;
  std::uint64_t impossible = 0;
  ServiceHistogram all;
  ServiceHistogram last;
  while (Clock::now() < until) {
    const auto stats = host.snapshot();
    ++(stats ? readings : violations);
    impossible += stats ? (stats->phase > WorkerPhase::stopping ? 1 : 0)
                        : (stats.error().code == Errc::ProtocolViolation ? 0 : 1);
    const auto times = host.service_times();
    all += times.since(last);
    last = times;
    impossible += all.quantile_us(0.99) >= 0 && times.quantile_us(0.5) >= 0 ? 0 : 1;
    (void)host.execution_of(random());
  }
  CHECK(readings > 100);
  CHECK(violations > 100);
  CHECK(impossible == 0);
}
