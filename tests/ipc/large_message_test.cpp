// SPDX-License-Identifier: Apache-2.0
// Messages that do not fit their slot: each travels in a memory file of its own.
#include <amp4ec/ipc/edge.hpp>
#include <amp4ec/ipc/wait_until.hpp>

#include "helpers.hpp"

#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <vector>

using namespace amp4ec;
using namespace amp4ec::ipc;
using namespace std::chrono_literals;
using test::Link;

namespace {

Result<void> send_large(EdgeProducer& producer, std::uint64_t id, std::size_t length,
                        std::chrono::nanoseconds patience = 0ns) {
  auto slot = producer.try_acquire().value();
  if (!slot) return Error{Errc::Overloaded, "no slot"};
  if (auto reserved = slot->reserve(Bytes{length}); !reserved) return reserved;
  std::ranges::fill(slot->payload(), static_cast<std::byte>(id));
  Descriptor descriptor;
  descriptor.request_id = id;
  descriptor.length = length;
  return producer.publish(std::move(*slot), descriptor, patience);
}

bool is_whole(const EdgeConsumer::Message& message, std::uint64_t id, std::size_t length) {
  const auto payload = message.payload();
  return message.descriptor().request_id == id && payload.size() == length &&
         std::ranges::all_of(payload, [id](std::byte byte) { return byte == static_cast<std::byte>(id); });
}

/// A producer that keeps to no rule: its end of the socket, and the shared memory.
struct HostileProducer {
  explicit HostileProducer(const Edge& edge)
      : files(ControlChannel::adopt(UniqueFd(::dup(edge.producer_files_fd()))).value()),
        memory(MemoryFile::adopt(UniqueFd(::dup(edge.fd()))).value().map().value(),
               {edge.slots(), edge.slot_bytes().count}) {}

  void publish(std::uint64_t length) {
    Descriptor descriptor;
    descriptor.length = length;
    memory.store_descriptor(0, descriptor);
    memory.published().store(1);
  }
  void send(std::initializer_list<int> fds) const { files.send("message", std::span(fds.begin(), fds.size())).value(); }

  ControlChannel files;
  detail::EdgeMemory memory;
};

UniqueFd raw_memory(off_t size, int seals) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(::ftruncate(fd.get(), size) == 0);
  if (seals != 0) REQUIRE(::fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
  return fd;
}

}  // namespace

TEST_CASE("messages of any size arrive whole and in order through one edge, and leave no descriptor") {
  const auto before = test::open_descriptors();
  {
    Link link(3, 128_B);
    const std::array<std::size_t, 6> lengths{128, 129, 0, 1 << 20, 64, 5000};
    std::uint64_t next = 0;
    for (std::uint64_t id = 0; id < 60; ++id) {
      REQUIRE(send_large(link.producer, id, lengths[id % lengths.size()]).has_value());
      if (id % 3 != 2) continue;
      CHECK_FALSE(link.producer.try_acquire().value());  // Large ones take a slot as well.
      for (; next <= id; ++next) {
        const auto message = link.consumer.try_receive().value();
        REQUIRE(message);
        CHECK(is_whole(*message, next, lengths[next % lengths.size()]));
        CHECK(reinterpret_cast<std::uintptr_t>(message->payload().data()) % 64 == 0);
      }
    }
  }
  CHECK(test::open_descriptors() == before);
}

TEST_CASE("a slot takes what was reserved in it, and a file of its own comes back as a plain slot") {
  Link link(1, 128_B);
  {
    auto slot = *link.producer.try_acquire().value();
    std::byte* const in_place = slot.payload().data();
    REQUIRE(slot.reserve(100_B).has_value());
    CHECK(slot.payload().data() == in_place);
    REQUIRE(slot.reserve(1000_B).has_value());
    CHECK(slot.payload().size() == 1000);
    REQUIRE(slot.reserve(500_B).has_value());
    CHECK(slot.payload().size() == 1000);
    CHECK(slot.reserve(Bytes{detail::EdgeLayout::max_slot_bytes + 1}).error().code == Errc::MessageTooLarge);
    CHECK(slot.payload().size() == 1000);
    Descriptor descriptor;
    descriptor.length = 999;
    const auto refused = link.producer.publish(std::move(slot), descriptor);
    CHECK(refused.error().code == Errc::InvalidArgument);
  }
  CHECK_FALSE(link.consumer.pending());
  CHECK(link.producer.try_acquire().value()->payload().size() == 128);
}

TEST_CASE("a large message outlives both ends, and goes on any thread") {
  auto link = std::make_unique<Link>(2, 64_B);
  REQUIRE(send_large(link->producer, 7, 100'000).has_value());
  auto message = *link->consumer.try_receive().value();
  auto other = message.payload();
  link.reset();
  std::thread([moved = std::move(message)] { CHECK(is_whole(moved, 7, 100'000)); }).join();
  CHECK(other.size() == 100'000);
}

TEST_CASE("large messages cross between processes, and go with the process that sent them") {
  const auto before = test::open_descriptors();
  for (const bool taken : {true, false}) {
    const auto bell = Bell::create().value();
    auto edge = std::make_optional(Edge::create(4, 64_B).value());
    auto consumer = EdgeConsumer::attach(*edge, bell.duplicate().value()).value();
    test::Child child([&] {
      auto own = test::open_as_producer(*edge).value();
      auto producer = EdgeProducer::attach(own, bell.duplicate().value()).value();
      for (std::uint64_t id = 0; id < 4; ++id) send_large(producer, id, 300'000 + id).value();
      ::pause();
      return 0;
    });
    edge.reset();
    while (consumer.waiting() < 4) REQUIRE(bell.wait(test::watchdog).value());
    CHECK(child.kill() == -SIGKILL);
    for (std::uint64_t id = 0; taken && id < 4; ++id) {  // What it sent before it died counts.
      CHECK(is_whole(*consumer.try_receive().value(), id, 300'000 + id));
    }
  }
  CHECK(test::open_descriptors() == before);
}

TEST_CASE("a producer whose consumer is gone learns it instead of waiting") {
  const auto bell = Bell::create().value();
  auto edge = std::make_optional(Edge::create(4, 64_B).value());
  auto producer = EdgeProducer::attach(*edge, bell.duplicate().value()).value();
  auto consumer = std::make_optional(EdgeConsumer::attach(*edge, bell.duplicate().value()).value());
  edge.reset();
  consumer.reset();
  CHECK(send_large(producer, 1, 1000, forever).error().code == Errc::WorkerDied);
  for (int i = 0; i < 4; ++i) CHECK(send_large(producer, 1, 1000).error().code == Errc::WorkerDied);  // Costs no slot.
}

TEST_CASE("when too many files wait, publishing is refused or waits, and nothing is lost") {
  constexpr std::uint64_t slots = 2000;
  Link link(slots, 64_B);
  std::uint64_t sent = 0;
  Result<void> last{};
  while (sent < slots && (last = send_large(link.producer, sent, 65))) ++sent;
  REQUIRE(sent > 100);
  REQUIRE(sent < slots);  // Or this test shows nothing.
  // The queue is full, or this user may have no more descriptors on their way.
  CHECK((last.error().code == Errc::WorkerUnresponsive || last.error().code == Errc::SystemCall));
  if (last.error().code == Errc::SystemCall) {
    WARN("not tested: waiting for a full queue; this user may have too few descriptors on their way");
    return;
  }

  std::atomic<bool> published = false;
  std::thread patient([&] { published = send_large(link.producer, sent, 65, forever).has_value(); });
  for (std::uint64_t id = 0; id <= sent; ++id) {
    REQUIRE(wait_until(
                link.consumer_bell, [&] { return link.consumer.pending(); }, test::watchdog)
                .value());
    REQUIRE(is_whole(*link.consumer.try_receive().value(), id, 65));
  }
  patient.join();
  CHECK(published);
}

TEST_CASE("no memory or no descriptor for a large message is an error, and the slot is free again") {
  Link link(1, 64_B);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit tight = before;
  tight.rlim_cur = 3;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
  const auto refused = send_large(link.producer, 1, 1000);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(refused.error().code == Errc::SystemCall);

  REQUIRE(send_large(link.producer, 2, 1000).has_value());
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
  const auto received = link.consumer.try_receive();
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE(received.has_error());
  CHECK(received.error().message.find("limit of open files") != std::string::npos);
  CHECK(link.consumer.try_receive().has_error());
}

TEST_CASE("a consumer refuses each file that a producer may not send, and closes it") {
  Link link(3, 128_B);
  HostileProducer hostile(link.edge);
  auto [good, writer] = MemoryFile::create_with_one_writer("test", Bytes{8192}).value();
  const auto before = test::open_descriptors();
  constexpr int size_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  std::uint64_t length = 8192;
  SECTION("none") {}
  SECTION("the end of the socket") {
    REQUIRE(::shutdown(hostile.files.fd(), SHUT_RDWR) == 0);
  }
  SECTION("a text without a file") {
    hostile.send({});
  }
  SECTION("two files") {
    hostile.send({good.fd(), good.fd()});
  }
  SECTION("more files than any message may have") {
    std::array<int, 20> many{};
    many.fill(good.fd());
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof many)> control{};
    char text = 'x';
    iovec part{&text, 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof many);
    std::memcpy(CMSG_DATA(head), many.data(), sizeof many);
    REQUIRE(::sendmsg(hostile.files.fd(), &message, 0) == 1);
  }
  SECTION("a file that is longer") {
    length = 8191;
    hostile.send({good.fd()});
  }
  SECTION("a file that is shorter") {
    length = 8193;
    hostile.send({good.fd()});
  }
  SECTION("a length that no message has") {
    length = detail::EdgeLayout::max_slot_bytes + 1;
    hostile.send({good.fd()});
  }
  SECTION("memory that can shrink") {
    hostile.send({raw_memory(8192, 0).get()});
  }
  SECTION("memory whose pages its producer can take back") {
    hostile.send({MemoryFile::create("test", Bytes{8192}).value().fd()});
  }
  SECTION("memory that is not there") {
    length = std::uint64_t{1} << 35U;
    const auto hole = raw_memory(static_cast<off_t>(length), size_seals | F_SEAL_FUTURE_WRITE);
    hostile.send({hole.get()});
  }
  SECTION("a file that is no memory") {
    hostile.send({::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)});
  }
  SECTION("a pipe") {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    hostile.send({ends[0]});
    ::close(ends[0]);
    ::close(ends[1]);
  }
  SECTION("its own end of the socket") {
    hostile.send({hostile.files.fd()});
  }
  hostile.publish(length);
  CHECK(link.consumer.pending());
  CHECK(link.consumer.try_receive().error().code == Errc::ProtocolViolation);
  hostile.publish(1);
  CHECK(link.consumer.try_receive().error().code == Errc::ProtocolViolation);
  CHECK(test::open_descriptors() <= before + 1);  // The one that this test opened itself.
}

TEST_CASE("what a producer sends without publishing is not taken for a message") {
  Link link(3, 128_B);
  const HostileProducer hostile(link.edge);
  auto [file, writer] = MemoryFile::create_with_one_writer("test", Bytes{8192}).value();
  for (int i = 0; i < 50; ++i) hostile.send({file.fd()});
  CHECK_FALSE(link.consumer.pending());
  link.send(1, 128, std::byte{1});
  CHECK(is_whole(*link.consumer.try_receive().value(), 1, 128));
  REQUIRE(send_large(link.producer, 2, 10'000).has_value());
  CHECK(link.consumer.try_receive().error().code == Errc::ProtocolViolation);
}

TEST_CASE("nobody but its producer's one mapping changes a large message, nor takes its pages back") {
  auto [file, writer] = MemoryFile::create_with_one_writer("test", Bytes{8192}).value();
  CHECK(file.map().has_error());
  CHECK(::pwrite(file.fd(), "x", 1, 0) < 0);
  CHECK(::fallocate(file.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8192) < 0);
  CHECK(::madvise(writer.bytes().data(), 8192, MADV_REMOVE) < 0);
  CHECK(::ftruncate(file.fd(), 0) < 0);
  writer.bytes()[0] = std::byte{5};
  CHECK(file.map_read_only().value().bytes()[0] == std::byte{5});
}

TEST_CASE("a consumer that writes a payload faults instead of changing it") {
  Link link(1, 128_B);
  REQUIRE(send_large(link.producer, 1, GENERATE(std::size_t{128}, std::size_t{5000})).has_value());
  const auto message = *link.consumer.try_receive().value();
  test::Child child([&] {
    ::signal(SIGSEGV, SIG_DFL);
    *const_cast<std::byte*>(message.payload().data()) = std::byte{2};
    return 0;
  });
  CHECK(child.join() == -SIGSEGV);
  CHECK(message.payload()[0] == std::byte{1});
}
