// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <amp4ec/plan/link_spec.hpp>
#include <amp4ec/plan/node_spec.hpp>
#include <amp4ec/plan/problem.hpp>

#include <string>
#include <vector>

using namespace amp4ec;

TEST_CASE("a node is read from NAME:CPUS:MEMORY") {
  CHECK(parse_node_spec("high:1.0:1GiB").value() == NodeSpec{"high", 1_cpu, 1_GiB});
  CHECK(parse_node_spec("edge-7.b_2:0.4:512MiB").value() == NodeSpec{"edge-7.b_2", 0.4_cpu, 512_MiB});
  CHECK(parse_node_spec("free:2:0").value() == NodeSpec{"free", 2_cpu, 0_B});
}

TEST_CASE("what is not a node is refused with an example of one") {
  for (const char* text :
       {"", "high", "high:1.0", "high:1.0:1GiB:x", ":1.0:1GiB", "high:0:1GiB", "high:-1:1GiB", "high:nan:1GiB",
        "high:inf:1GiB", "high::1GiB", "high:1.0:", "high:1.0:-1MiB", "high:1.0:lots", "hi gh:1:1GiB", "../x:1:1GiB",
        "a/b:1:1GiB", ".:1:1GiB", "-x:1:1GiB", "h\xC3\xB6he:1:1GiB"}) {
    INFO(text);
    const auto node = parse_node_spec(text);
    REQUIRE_FALSE(node.has_value());
    CHECK(node.error().code == Errc::InvalidArgument);
    CHECK(node.error().message.find("high:1.0:1GiB") != std::string::npos);
  }
  CHECK_FALSE(parse_node_spec(std::string(65, 'a') + ":1:1GiB").has_value());
}

TEST_CASE("nodes need different names, and there must be one") {
  CHECK(validate_nodes(std::vector<NodeSpec>{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}}).has_value());
  const auto twice = validate_nodes(std::vector<NodeSpec>{{"a", 1_cpu, 0_B}, {"a", 2_cpu, 0_B}});
  REQUIRE_FALSE(twice.has_value());
  CHECK(twice.error().message.find("'a'") != std::string::npos);
  CHECK_FALSE(validate_nodes({}).has_value());
  CHECK_FALSE(validate_nodes(std::vector<NodeSpec>{{"a", 0_cpu, 0_B}}).has_value());
}

TEST_CASE("a link is read from FROM:TO:BANDWIDTH:LATENCY") {
  CHECK(parse_link("a:b:100MB:2ms").value() == LinkSpec{"a", "b", 100000000_B, 2000});
  CHECK(parse_link("a:b:1GiB:0.5us").value() == LinkSpec{"a", "b", 1_GiB, 0.5});
  CHECK(parse_link("a:b:8kB:1s").value() == LinkSpec{"a", "b", 8000_B, 1e6});
}

TEST_CASE("what is not a link is refused with an example of one") {
  for (const char* text :
       {"", "a:b", "a:b:100MB", "a:b:100MB:2ms:x", "a:a:100MB:2ms", ":b:100MB:2ms", "a:b:0:2ms", "a:b:fast:2ms",
        "a:b:100MB:2", "a:b:100MB:ms", "a:b:100MB:-2ms", "a:b:100MB:nanms", "a:b:100MB:1e306s"}) {
    INFO(text);
    const auto link = parse_link(text);
    REQUIRE_FALSE(link.has_value());
    CHECK(link.error().code == Errc::InvalidArgument);
    CHECK(link.error().message.find("a:b:100MB:2ms") != std::string::npos);
  }
}

TEST_CASE("links join known nodes, once in each direction") {
  const std::vector<NodeSpec> nodes{{"a", 1_cpu, 0_B}, {"b", 1_cpu, 0_B}};
  const LinkSpec there{"a", "b", 1_MiB, 10};
  const LinkSpec back{"b", "a", 1_MiB, 10};
  CHECK(validate_links(std::vector{there, back}, nodes).has_value());
  CHECK_FALSE(validate_links(std::vector{there, there}, nodes).has_value());
  const auto unknown = validate_links(std::vector{LinkSpec{"a", "c", 1_MiB, 10}}, nodes);
  REQUIRE_FALSE(unknown.has_value());
  CHECK(unknown.error().message.find("'c'") != std::string::npos);
}

TEST_CASE("stage, link and rate formulas") {
  const NodeSpec slow{"slow", 0.5_cpu, 1_MiB};
  CHECK(node_speed(slow) == 0.5);
  CHECK(node_speed({"fast", 4_cpu, 0_B}) == 1.0);
  CHECK(fits(slow, 1_MiB));
  CHECK_FALSE(fits(slow, 1_MiB + 1_B));
  CHECK(fits({"free", 1_cpu, 0_B}, 1024_GiB));
  const LinkSpec link{"a", "b", 1000000_B, 250};
  CHECK(link_time_us(&link, 2000_B) == 250 + 2000);
  CHECK(link_time_us(nullptr, 1_GiB) == 0);
  CHECK(rate_rps(2000) == 500);
  CHECK(rate_rps(0) == 1e9);
}

TEST_CASE("objectives have names") {
  for (const Objective objective : {Objective::throughput, Objective::latency, Objective::memory}) {
    CHECK(parse_objective(to_string(objective)).value() == objective);
  }
  CHECK_FALSE(parse_objective("speed").has_value());
}
