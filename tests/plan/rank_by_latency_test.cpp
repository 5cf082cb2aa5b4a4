// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "simulate_support.hpp"

#include <amp4ec/plan/rank_by_latency.hpp>

#include <cstddef>
#include <vector>

namespace amp4ec::simulation_test {

namespace {

// The whole model on one node answers sooner, the pipeline answers more.
const std::vector<Plan> candidates = {plan_of({pipeline_of({{"a", 15'000}, {"b", 15'000}})}), plan_of({[] {
                                        Pipeline whole = pipeline_of({{"a", 20'000}});
                                        whole.stages[0].last_layer = 1;
                                        return whole;
                                      }()})};
const std::vector<NodeSpec> nodes = nodes_of({"a", "b"});

std::vector<std::size_t> order(double rate_rps, SimulateOptions options = {},
                               LatencyFigure figure = LatencyFigure::mean) {
  options.requests = 20'000;
  std::vector<std::size_t> order;
  for (const auto& ranked : rank_by_latency_at(rate_rps, candidates, nodes, {}, options, figure).value()) {
    order.push_back(ranked.candidate);
  }
  return order;
}

using Order = std::vector<std::size_t>;

}  // namespace

TEST_CASE("which plan is best depends on the rate of arrivals") {
  CHECK(order(5) == Order{1, 0});
  CHECK(order(48) == Order{0, 1});
  CHECK(order(60) == Order{0, 1});   // Past what the second can do.
  CHECK(order(200) == Order{0, 1});  // Past both: the one that does more.
  CHECK(order(5, {}, LatencyFigure::p99) == Order{1, 0});
  CHECK(order(45, {}, LatencyFigure::p99) == Order{0, 1});
  SimulateOptions constant;
  constant.arrivals = Arrivals::constant(1);
  CHECK(order(48, constant) == Order{1, 0});  // Nobody waits.
}

TEST_CASE("plans that refuse requests come after those that answer all") {
  SimulateOptions options;
  options.max_waiting = 0;
  options.max_in_flight = 4;
  CHECK(order(49, options) == Order{0, 1});
  options.outages = {{"b", "", 10}};  // The pipeline ends there, the whole model goes on.
  CHECK(order(5, options) == Order{1, 0});
}

TEST_CASE("candidates see the same arrivals") {
  const std::vector<Plan> twice = {candidates[0], candidates[0]};
  const auto ranked = rank_by_latency_at(40, twice, nodes).value();
  CHECK(ranked[0].candidate == 0);
  CHECK(ranked[0].simulation == ranked[1].simulation);
}

TEST_CASE("ranking names the candidate that is at fault") {
  CHECK(rank_by_latency_at(40, {}, nodes).error().message.find("at least one") != std::string::npos);
  const std::vector<Plan> bad = {candidates[0], Plan{}};
  CHECK(rank_by_latency_at(40, bad, nodes).error().message.find("candidate 1: the plan has no pipeline") !=
        std::string::npos);
  CHECK(rank_by_latency_at(-1, candidates, nodes).error().message.find("arrival rate") != std::string::npos);
}

}  // namespace amp4ec::simulation_test
