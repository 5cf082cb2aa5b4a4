// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/monitor/network_reader.hpp>

#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

#include <limits>

using namespace amp4ec;
using namespace amp4ec::literals;

namespace {
const std::string header =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
    "compressed\n";
}  // namespace

TEST_CASE("interfaces add up, loopback does not count") {
  const auto traffic = parse_network_traffic(
      header +
      "    lo: 5555555   44444    0    0    0     0          0         0  5555555   44444    0    0    0     0       0"
      "          0\n"
      "  eth0:    1000      10    1    2    3     4          5         6     2000      20    7    8    9    10      11"
      "         12\n"
      "veth12ab@x:18446744073709540000 7 0 0 0 0 0 0 30 3 0 0 0 0 0 0\n");
  REQUIRE(traffic);
  CHECK(traffic->received == Bytes{18446744073709541000U});
  CHECK(traffic->packets_received == 17);
  CHECK(traffic->sent == 2030_B);
  CHECK(traffic->packets_sent == 23);
}

TEST_CASE("a namespace without interfaces has no traffic") {
  const auto traffic = parse_network_traffic(header);
  REQUIRE(traffic);
  CHECK(traffic->received == 0_B);
  CHECK(parse_network_traffic(header + "    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")->packets_sent == 0);
}

TEST_CASE("malformed texts are errors") {
  const std::string good = "  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
  REQUIRE(parse_network_traffic(header + good)->packets_sent == 10);
  for (const auto& text : {
           std::string(), std::string("\n\n"), good, header.substr(0, header.find('\n') + 1) + good,
           header + "no colon here 1 2 3 4 5 6 7 8 9 10\n",
           header + "  eth0: 1 2 3 4 5 6 7 8 9\n",  // too few
           header + "  eth0:\n",
           header + "      : 1 2 3 4 5 6 7 8 9 10\n",  // nameless
           header + "  eth0: 1 2 3 4 5 6 7 8 -9 10\n", header + "  eth0: 1x 2 3 4 5 6 7 8 9 10\n",
           header + "  eth0: 18446744073709551616 2 3 4 5 6 7 8 9 10\n",  // 2^64
           header + good + "\n" + good,
           header + "  eth0: 1 2 3 4 5 6 7 8 9 10\n  eth1: 1",  // cut off
       }) {
    INFO(text);
    const auto traffic = parse_network_traffic(text);
    REQUIRE_FALSE(traffic);
    CHECK(traffic.error().code == Errc::NotSupported);
  }
}

TEST_CASE("the machine's own text is read, again and again") {
  const auto reader = NetworkReader::open();
  REQUIRE(reader);
  const auto first = (*reader)();
  REQUIRE(first);
  const auto copy = *reader;
  const auto second = copy();
  REQUIRE(second);
  CHECK(second->packets_received >= first->packets_received);
  REQUIRE(NetworkReader::open(::getpid()));
  CHECK(NetworkReader::open(std::numeric_limits<pid_t>::max()).error().code == Errc::SystemCall);
}
