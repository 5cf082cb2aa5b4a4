// SPDX-License-Identifier: Apache-2.0
// A peer that writes anything, anywhere, at any time into the shared memory. This side must answer with errors or with
// nothing, stay inside its slots and keep its own books straight. Most useful under AddressSanitizer.
#include <amp4ec/ipc/edge.hpp>

#include "helpers.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

using namespace amp4ec;
using namespace amp4ec::ipc;
using test::Link;

namespace {

using Random = std::mt19937_64;

/// The peer's own mapping, to write into at will.
detail::EdgeMemory attack(const Edge& edge) {
  auto file = MemoryFile::adopt(UniqueFd(::dup(edge.fd()))).value();
  return {file.map().value(), {edge.slots(), edge.slot_bytes().count}};
}

/// Fills slot k with bytes k, so that a look outside a slot is seen.
void mark_slots(const detail::EdgeMemory& memory) {
  for (std::uint32_t slot = 0; slot < memory.layout().slots; ++slot) {
    std::ranges::fill(memory.payload(slot), static_cast<std::byte>(slot));
  }
}
bool inside_its_slot(const EdgeConsumer::Message& message) {
  const auto mark = static_cast<std::byte>(message.descriptor().slot);
  return std::ranges::all_of(message.payload(), [mark](std::byte byte) { return byte == mark; });
}

/// Mostly small or near a limit: what comes past the first checks and finds the next ones.
std::uint64_t odd_number(Random& random) {
  switch (random() % 4) {
    case 0: return random() % 8;
    case 1: return random() % 200;
    case 2: return ~std::uint64_t{0} - random() % 4;
    default: return random();
  }
}

Descriptor odd_descriptor(Random& random) {
  Descriptor descriptor;
  if (random() % 8 == 0) {
    for (std::size_t i = 0; i < sizeof descriptor; i += 8) {
      const std::uint64_t word = random();
      std::memcpy(reinterpret_cast<char*>(&descriptor) + i, &word, sizeof word);
    }
    return descriptor;
  }
  descriptor.slot = static_cast<std::uint32_t>(odd_number(random));
  descriptor.length = random() % 4 == 0 ? odd_number(random) : random() % 130;
  descriptor.kind = static_cast<MessageKind>(random() % 16 == 0 ? random() : random() % 2);
  descriptor.route_length = static_cast<std::uint8_t>(random() % 16 == 0 ? random() : random() % 13);
  descriptor.hop = static_cast<std::uint8_t>(random() % 16 == 0 ? random() : 0);
  return descriptor;
}

void scribble(const detail::EdgeMemory& memory, Random& random) {
  switch (random() % 6) {
    case 0: memory.published().store(odd_number(random)); break;
    case 1: memory.published().fetch_add(random() % 3); break;
    case 2: memory.freed().store(odd_number(random)); break;
    case 3: memory.freed().fetch_add(random() % 3); break;
    case 4: memory.freed_slot(random()).store(static_cast<std::uint32_t>(odd_number(random))); break;
    default: memory.store_descriptor(random(), odd_descriptor(random)); break;
  }
}

bool is_violation(const Error& error) {
  return error.code == Errc::ProtocolViolation;
}

}  // namespace

TEST_CASE("a consumer refuses each thing that a producer may not publish, from then on") {
  Link link(3, 128_B);
  const auto attacker = attack(link.edge);
  Descriptor descriptor;
  std::uint64_t published = 1;
  SECTION("a slot that does not exist") {
    descriptor.slot = 3;
  }
  SECTION("a message longer than its slot") {
    descriptor.length = 129;
  }
  SECTION("a length that overflows") {
    descriptor.length = ~std::uint64_t{0};
  }
  SECTION("an unknown kind") {
    descriptor.kind = static_cast<MessageKind>(3);
  }
  SECTION("too long a route") {
    descriptor.route_length = Descriptor::max_route + 1;
  }
  SECTION("a hop past the route") {
    descriptor.hop = 1;
  }
  SECTION("more messages than slots") {
    published = 4;
  }
  SECTION("fewer messages than before") {
    published = ~std::uint64_t{0};
  }
  attacker.store_descriptor(0, descriptor);
  attacker.published().store(published);
  CHECK(link.consumer.pending());
  CHECK(is_violation(link.consumer.try_receive().error()));

  attacker.store_descriptor(0, Descriptor{});
  attacker.published().store(1);
  CHECK(is_violation(link.consumer.try_receive().error()));
  CHECK(link.consumer.pending());
}

TEST_CASE("a consumer refuses a slot that it still holds") {
  Link link(3, 128_B);
  const auto attacker = attack(link.edge);
  attacker.store_descriptor(0, Descriptor{});
  attacker.store_descriptor(1, Descriptor{});
  attacker.published().store(2);
  const auto first = link.consumer.try_receive().value();
  REQUIRE(first);
  CHECK(is_violation(link.consumer.try_receive().error()));
}

TEST_CASE("a producer refuses slots that the consumer does not hold, from then on") {
  Link link(2, 128_B);
  const auto attacker = attack(link.edge);
  link.send(1, 1, std::byte{1});
  link.send(2, 1, std::byte{2});
  SECTION("a slot that does not exist") {
    attacker.freed_slot(0).store(2);
    attacker.freed().store(1);
  }
  SECTION("one slot twice") {
    attacker.freed_slot(0).store(1);
    attacker.freed_slot(1).store(1);
    attacker.freed().store(2);
  }
  SECTION("more slots than there are") {
    attacker.freed().store(3);
  }
  SECTION("fewer slots than before") {
    attacker.freed().store(~std::uint64_t{0});
  }
  CHECK(link.producer.slot_available());
  CHECK(is_violation(link.producer.try_acquire().error()));
  attacker.freed_slot(0).store(0);
  attacker.freed().store(1);
  CHECK(is_violation(link.producer.try_acquire().error()));
}

TEST_CASE("a producer refuses a freed slot that it never sent") {
  Link link(2, 128_B);
  const auto attacker = attack(link.edge);
  link.send(1, 1, std::byte{1});
  const auto held = link.producer.try_acquire().value();
  REQUIRE(held);
  attacker.freed_slot(0).store(1);  // slots are handed out from 0
  attacker.freed().store(1);
  CHECK(is_violation(link.producer.try_acquire().error()));
}

TEST_CASE("what a peer writes into the header of an attached edge has no effect") {
  Link link(3, 128_B);
  const detail::EdgeHeader rubbish{.magic = 0, .version = 99, .slots = 1U << 31U, .slot_bytes = ~std::uint64_t{0}};
  REQUIRE(::pwrite(link.edge.fd(), &rubbish, sizeof rubbish, 0) == sizeof rubbish);
  for (std::uint64_t id = 0; id < 10; ++id) {
    link.send(id, 128, static_cast<std::byte>(id));
    const auto message = link.consumer.try_receive().value();
    REQUIRE(message);
    CHECK(message->descriptor().request_id == id);
  }
  CHECK(is_violation(test::open_as_consumer(link.edge).error()));
}

TEST_CASE("only the header that fills its file exactly is opened") {
  Random random(1);
  const auto edge = Edge::create(3, 128_B).value();
  detail::EdgeHeader right;
  REQUIRE(::pread(edge.fd(), &right, sizeof right, 0) == sizeof right);
  REQUIRE(test::open_as_consumer(edge).has_value());
  int opened = 0;
  for (int round = 0; round < 20'000; ++round) {
    detail::EdgeHeader header = right;
    header.slots = random() % 4 == 0 ? 3 : static_cast<std::uint32_t>(odd_number(random));
    header.slot_bytes = random() % 4 == 0 ? 128 : odd_number(random);
    if (random() % 64 == 0) header.version = static_cast<std::uint32_t>(odd_number(random));
    if (random() % 64 == 0) header.magic = odd_number(random);
    REQUIRE(::pwrite(edge.fd(), &header, sizeof header, 0) == sizeof header);
    const auto again = test::open_as_consumer(edge);
    if (again) {
      ++opened;
      const detail::EdgeLayout layout{again->slots(), again->slot_bytes().count};
      CHECK(layout.file_bytes() == edge.size().count);
    } else {
      REQUIRE(is_violation(again.error()));
    }
  }
  CHECK(opened > 0);

  const auto tiny = MemoryFile::create("tiny", 8_B).value();
  CHECK(is_violation(Edge::open(UniqueFd(::dup(tiny.fd())), UniqueFd(::dup(edge.consumer_files_fd()))).error()));
}

TEST_CASE("random rubbish from a peer never leads a consumer astray") {
  Random random(2);
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    Link link(1 + static_cast<std::uint32_t>(random() % 5), 128_B);
    const auto attacker = attack(link.edge);
    mark_slots(attacker);
    std::vector<EdgeConsumer::Message> held;
    for (int step = 0; step < 60; ++step) {
      scribble(attacker, random);
      auto received = link.consumer.try_receive();
      if (!received) {
        REQUIRE(is_violation(received.error()));
        ++refused;
        if (random() % 4 == 0) break;
      } else if (*received) {
        ++accepted;
        REQUIRE((*received)->descriptor().slot < link.edge.slots());
        REQUIRE(inside_its_slot(**received));
        held.push_back(std::move(**received));
      }
      if (!held.empty() && random() % 2 == 0)
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(random() % held.size()));
      std::set<std::uint32_t> slots;
      for (const auto& message : held) slots.insert(message.descriptor().slot);
      REQUIRE(slots.size() == held.size());
    }
  }
  CHECK(accepted > 1000);
  CHECK(refused > 1000);
}

TEST_CASE("random rubbish from a peer never makes a producer hand out a slot twice") {
  Random random(3);
  std::uint64_t acquired = 0;
  std::uint64_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    Link link(1 + static_cast<std::uint32_t>(random() % 5), 128_B);
    const auto attacker = attack(link.edge);
    std::vector<EdgeProducer::Slot> held;
    for (int step = 0; step < 60; ++step) {
      if (random() % 4 == 0) scribble(attacker, random);
      // Now and then what an honest consumer would do, or the run would end at the first look.
      if (random() % 2 == 0) {
        const auto position = attacker.freed().load();
        attacker.freed_slot(position).store(static_cast<std::uint32_t>(random() % link.edge.slots()));
        attacker.freed().store(position + 1);
      }
      auto slot = link.producer.try_acquire();
      if (!slot) {
        REQUIRE(is_violation(slot.error()));
        ++refused;
        if (random() % 4 == 0) break;
      } else if (*slot) {
        ++acquired;
        std::ranges::fill((*slot)->payload(), std::byte{0});
        held.push_back(std::move(**slot));
      }
      std::set<std::byte*> slots;
      for (const auto& one : held) slots.insert(one.payload().data());
      REQUIRE(slots.size() == held.size());
      REQUIRE(held.size() <= link.edge.slots());
      while (!held.empty() && random() % 3 != 0) {
        REQUIRE(link.producer.publish(std::move(held.back()), Descriptor{}).has_value());
        held.pop_back();
      }
    }
  }
  CHECK(acquired > 1000);
  CHECK(refused > 1000);
}

TEST_CASE("a peer that writes while this side checks gains nothing") {
  Link link(4, 128_B);
  const auto attacker = attack(link.edge);
  mark_slots(attacker);
  Descriptor good;
  good.slot = 2;
  good.length = 128;
  Descriptor bad = good;
  bad.slot = 1000;
  bad.length = std::uint64_t{1} << 50U;
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    while (!stop) {
      attacker.store_descriptor(0, bad);
      attacker.store_descriptor(0, good);
    }
  });
  int accepted = 0;
  int refused = 0;
  bool inside = true;
  while (inside && (accepted < 2000 || refused < 2000)) {
    attacker.freed().store(0);  // the edge looks new again
    attacker.published().store(1);
    auto consumer = EdgeConsumer::attach(link.edge, link.producer_bell.duplicate().value()).value();
    const auto received = consumer.try_receive();
    ++(received ? accepted : refused);
    inside = !received || ((*received)->descriptor().slot < 4 && (*received)->descriptor().length <= 128 &&
                           inside_its_slot(**received));
  }
  stop = true;
  writer.join();
  CHECK(inside);
}
