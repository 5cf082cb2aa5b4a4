// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/ipc/control_channel.hpp>

#include <amp4ec/ipc/bell.hpp>

#include "helpers.hpp"

#include <array>
#include <string>
#include <vector>

using namespace amp4ec;
using namespace amp4ec::ipc;
using namespace std::chrono_literals;

namespace {
// What a peer with its own code could send: no limits checked.
void send_raw(int fd, const std::string& text, const std::vector<int>& fds) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size() * sizeof(int));
  }
  REQUIRE(::sendmsg(fd, &message, MSG_NOSIGNAL) >= 0);
}
}  // namespace

TEST_CASE("messages keep their boundaries and their order") {
  const auto [a, b] = ControlChannel::create_pair().value();
  const std::string longest(ControlChannel::max_text, 'x');
  REQUIRE(a.send("one").has_value());
  REQUIRE(a.send(longest).has_value());
  REQUIRE(a.send(std::string_view("z\0z", 3)).has_value());
  CHECK(b.receive(test::watchdog).value().text == "one");
  CHECK(b.receive(test::watchdog).value().text == longest);
  CHECK(b.receive(test::watchdog).value().text == std::string("z\0z", 3));
  REQUIRE(b.send("back").has_value());
  CHECK(a.receive(test::watchdog).value().text == "back");
}

TEST_CASE("descriptors travel with a message and are closed on exec") {
  const auto before = test::open_descriptors();
  {
    const auto [a, b] = ControlChannel::create_pair().value();
    const auto bell = Bell::create().value();
    const auto for_peer = bell.for_peer().value();
    const std::vector<int> fds(ControlChannel::max_fds, for_peer.get());
    REQUIRE(a.send("bells", fds).has_value());
    auto received = b.receive(test::watchdog).value();
    REQUIRE(received.fds.size() == fds.size());
    for (const UniqueFd& fd : received.fds) CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
    REQUIRE(Bell::adopt(std::move(received.fds.back())).signal().has_value());
    CHECK(bell.drain().value());
  }
  CHECK(test::open_descriptors() == before);
}

TEST_CASE("descriptors reach another process") {
  auto [host, worker] = ControlChannel::create_pair().value();
  test::Child child([&channel = worker] {
    auto received = channel.receive(test::watchdog);
    if (!received || received->fds.size() != 1) return 1;
    return Bell::adopt(std::move(received->fds[0])).signal() && channel.send("done") ? 0 : 2;
  });
  const auto bell = Bell::create().value();
  REQUIRE(host.send("ring", std::array{bell.for_peer().value().get()}).has_value());
  CHECK(host.receive(test::watchdog).value().text == "done");
  CHECK(bell.drain().value());
  CHECK(child.join() == 0);
}

TEST_CASE("what does not fit a message is refused before it is sent") {
  const auto [a, b] = ControlChannel::create_pair().value();
  CHECK(a.send("").error().code == Errc::InvalidArgument);
  CHECK(a.send(std::string(ControlChannel::max_text + 1, 'x')).error().code == Errc::InvalidArgument);
  CHECK(a.send("x", std::vector<int>(ControlChannel::max_fds + 1, 0)).error().code == Errc::InvalidArgument);
  CHECK(a.send("x", std::array{-1}).error().code == Errc::SystemCall);
  CHECK(b.receive(0ns).error().code == Errc::WorkerUnresponsive);
}

TEST_CASE("a message past the limits is a violation, and its descriptors are closed") {
  std::array<int, 2> ends{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const UniqueFd peer(ends[0]);
  const auto channel = ControlChannel::adopt(UniqueFd(ends[1])).value();
  const auto before = test::open_descriptors();
  SECTION("too many descriptors") {
    send_raw(peer.get(), "x", std::vector<int>(ControlChannel::max_fds + 1, 0));
    CHECK(channel.receive(test::watchdog).error().code == Errc::ProtocolViolation);
  }
  SECTION("too much text") {
    send_raw(peer.get(), std::string(ControlChannel::max_text + 1, 'x'), {0, 0});
    CHECK(channel.receive(test::watchdog).error().code == Errc::ProtocolViolation);
  }
  SECTION("no text") {
    send_raw(peer.get(), "", {0, 0});
    CHECK(channel.receive(test::watchdog).error().code == Errc::WorkerDied);
  }
  CHECK(test::open_descriptors() == before);
}

TEST_CASE("a peer that is gone is reported, after what it sent before") {
  auto [a, b] = ControlChannel::create_pair().value();
  REQUIRE(b.send("last words").has_value());
  { const auto gone = std::move(b); }
  CHECK(a.receive(test::watchdog).value().text == "last words");
  CHECK(a.receive(test::watchdog).error().code == Errc::WorkerDied);
  CHECK(a.send("anyone?").error().code == Errc::WorkerDied);
}

TEST_CASE("a peer that dies with unread messages is reported as gone") {
  auto [a, b] = ControlChannel::create_pair().value();
  REQUIRE(a.send("never read").has_value());
  { const auto gone = std::move(b); }
  CHECK(a.receive(test::watchdog).error().code == Errc::WorkerDied);
}

TEST_CASE("a peer that never reads cannot block the sender") {
  const auto [a, b] = ControlChannel::create_pair().value();
  const std::string text(ControlChannel::max_text, 'x');
  Result<void> sent;
  for (int i = 0; i < 1000 && sent; ++i) sent = a.send(text, {}, 1ms);
  REQUIRE_FALSE(sent.has_value());
  CHECK(sent.error().code == Errc::WorkerUnresponsive);
  CHECK(b.receive(test::watchdog).value().text == text);
}

TEST_CASE("only a socket of the right kind is adopted") {
  CHECK(ControlChannel::adopt(UniqueFd()).error().code == Errc::InvalidArgument);
  CHECK(ControlChannel::adopt(UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))).error().code ==
        Errc::InvalidArgument);
}
