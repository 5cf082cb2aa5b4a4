// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/ipc/edge.hpp>

#include "helpers.hpp"

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

using namespace amp4ec;
using namespace amp4ec::ipc;
using namespace std::chrono_literals;
using test::Link;

TEST_CASE("a message arrives whole, with its descriptor") {
  Link link(4, 1000_B);
  CHECK(link.edge.slots() == 4);
  CHECK(link.edge.slot_bytes() == 1024_B);
  auto slot = link.producer.try_acquire().value();
  REQUIRE(slot);
  REQUIRE(slot->payload().size() == 1024);
  CHECK(reinterpret_cast<std::uintptr_t>(slot->payload().data()) % 64 == 0);
  std::fill_n(slot->payload().begin(), 700, std::byte{9});
  Descriptor sent;
  sent.request_id = 77;
  sent.generation = 5;
  sent.length = 700;
  sent.kind = MessageKind::error;
  sent.route = {3, 1, 2};
  sent.route_length = 3;
  sent.hop = 1;
  const auto before = monotonic_ns();
  REQUIRE(link.producer.publish(std::move(*slot), sent).has_value());

  CHECK(link.consumer_bell.drain().value());
  CHECK(link.consumer.pending());
  auto message = link.consumer.try_receive().value();
  REQUIRE(message);
  CHECK(message->descriptor().sent_ns >= before);
  sent.sent_ns = message->descriptor().sent_ns;
  sent.slot = message->descriptor().slot;
  CHECK(message->descriptor() == sent);
  CHECK(message->descriptor().destination() == 1);
  REQUIRE(message->payload().size() == 700);
  CHECK(std::all_of(message->payload().begin(), message->payload().end(), [](auto b) { return b == std::byte{9}; }));
  CHECK_FALSE(link.consumer.pending());
  CHECK_FALSE(link.consumer.try_receive().value());
}

TEST_CASE("a message past the last worker goes to the host") {
  Descriptor descriptor;
  CHECK_FALSE(descriptor.destination());
  descriptor.route_length = descriptor.hop = Descriptor::max_route;
  CHECK_FALSE(descriptor.destination());
  descriptor.route_length = 200;
  descriptor.hop = 100;
  CHECK_FALSE(descriptor.destination());
}

TEST_CASE("messages arrive in order over many rounds of the ring") {
  // Three slots in rings of four: positions and slots drift apart.
  Link link(3, 64_B);
  std::uint64_t next = 0;
  for (std::uint64_t id = 0; id < 1000; ++id) {
    link.send(id, id % 65, static_cast<std::byte>(id));
    if (id % 3 != 2) continue;
    for (; next <= id; ++next) {
      const auto message = link.consumer.try_receive().value();
      REQUIRE(message);
      CHECK(message->descriptor().request_id == next);
      REQUIRE(message->payload().size() == next % 65);
      for (const std::byte byte : message->payload()) REQUIRE(byte == static_cast<std::byte>(next));
    }
  }
}

TEST_CASE("when all slots are with the consumer the producer gets none until one is freed, and then a ring") {
  Link link(2, 64_B);
  link.send(1, 1, std::byte{1});
  link.send(2, 1, std::byte{2});
  std::vector<EdgeConsumer::Message> held;
  for (int i = 0; i < 2; ++i) held.push_back(std::move(*link.consumer.try_receive().value()));

  CHECK_FALSE(link.producer.slot_available());
  CHECK_FALSE(link.producer.try_acquire().value());
  CHECK_FALSE(link.producer_bell.wait(0ns).value());
  held.pop_back();
  CHECK(link.producer_bell.drain().value());
  CHECK(link.producer.slot_available());
  link.send(3, 1, std::byte{3});
  CHECK(link.consumer.try_receive().value()->descriptor().request_id == 3);
}

TEST_CASE("a producer that does not wait is not rung") {
  Link link(2, 64_B);
  link.send(1, 1, std::byte{1});
  CHECK(link.consumer.try_receive().value());
  CHECK_FALSE(link.producer_bell.wait(0ns).value());
}

TEST_CASE("slots that are never published come back") {
  Link link(2, 64_B);
  for (int round = 0; round < 5; ++round) {
    auto a = link.producer.try_acquire().value();
    auto b = link.producer.try_acquire().value();
    REQUIRE((a && b));
    CHECK(a->payload().data() != b->payload().data());
    CHECK_FALSE(link.producer.try_acquire().value());
  }
  CHECK(link.producer.slot_available());
}

TEST_CASE("slots never overlap") {
  Link link(5, 128_B);
  std::set<std::byte*> starts;
  std::vector<EdgeProducer::Slot> slots;
  while (auto slot = link.producer.try_acquire().value()) {
    starts.insert(slot->payload().data());
    slots.push_back(std::move(*slot));
  }
  REQUIRE(starts.size() == 5);
  CHECK(*starts.rbegin() - *starts.begin() == 4 * 128);
}

TEST_CASE("what cannot be published is refused and costs no slot") {
  Link link(1, 64_B);
  Link other(1, 64_B);
  Descriptor descriptor;
  descriptor.length = 65;
  CHECK(link.producer.publish(*link.producer.try_acquire().value(), descriptor).error().code == Errc::MessageTooLarge);
  descriptor.length = 0;
  descriptor.hop = 1;
  CHECK(link.producer.publish(*link.producer.try_acquire().value(), descriptor).error().code == Errc::InvalidArgument);
  descriptor.hop = 0;
  descriptor.route_length = Descriptor::max_route + 1;
  CHECK(link.producer.publish(*link.producer.try_acquire().value(), descriptor).error().code == Errc::InvalidArgument);
  CHECK(link.producer.publish(*other.producer.try_acquire().value(), Descriptor{}).error().code ==
        Errc::InvalidArgument);
  CHECK_FALSE(link.consumer.pending());
  CHECK(other.producer.try_acquire().value());
  link.send(1, 64, std::byte{1});
  CHECK(link.consumer.pending());
}

TEST_CASE("messages and slots may outlive their ends and the edge") {
  auto link = std::make_unique<Link>(2, 64_B);
  link->send(1, 64, std::byte{5});
  auto message = *link->consumer.try_receive().value();
  auto slot = *link->producer.try_acquire().value();
  link.reset();
  CHECK(message.payload()[63] == std::byte{5});
  slot.payload()[63] = std::byte{6};
  std::thread([moved = std::move(message)] { CHECK(moved.payload()[0] == std::byte{5}); }).join();
}

TEST_CASE("an edge has each end once") {
  const auto edge = Edge::create(2, 64_B).value();
  const auto bell = Bell::create().value();
  auto producer = EdgeProducer::attach(edge, bell.duplicate().value()).value();
  REQUIRE(producer.publish(*producer.try_acquire().value(), Descriptor{}).has_value());
  CHECK(EdgeProducer::attach(edge, bell.duplicate().value()).error().code == Errc::ProtocolViolation);
  auto consumer = EdgeConsumer::attach(edge, bell.duplicate().value()).value();
  CHECK(consumer.try_receive().value());
  CHECK(EdgeConsumer::attach(edge, bell.duplicate().value()).error().code == Errc::ProtocolViolation);
}

TEST_CASE("impossible geometries are refused") {
  CHECK(Edge::create(0, 64_B).error().code == Errc::InvalidArgument);
  CHECK(Edge::create(1, 0_B).error().code == Errc::InvalidArgument);
  CHECK(Edge::create(65537, 64_B).error().code == Errc::InvalidArgument);
  CHECK(Edge::create(1, Bytes{~std::uint64_t{0}}).error().code == Errc::InvalidArgument);
}

TEST_CASE("edges and their ends leave no descriptor behind") {
  const auto before = test::open_descriptors();
  for (int round = 0; round < 10; ++round) {
    Link link(4, 4_KiB);
    const auto opened = test::open_as_producer(link.edge).value();
    link.send(1, 1, std::byte{1});
    CHECK(link.consumer.try_receive().value());
    CHECK_FALSE(Edge::open(UniqueFd(::dup(link.consumer_bell.fd())), UniqueFd(::dup(link.edge.fd()))).has_value());
    CHECK_FALSE(Edge::open(UniqueFd(::dup(link.edge.fd())), UniqueFd(::dup(link.edge.fd()))).has_value());
    CHECK_FALSE(EdgeProducer::attach(link.edge, link.consumer_bell.duplicate().value()).has_value());
  }
  CHECK(test::open_descriptors() == before);
}
