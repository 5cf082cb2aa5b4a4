// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "simulate_support.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace amp4ec::simulation_test {

namespace {

void check_complete(const Simulation& simulation) {
  CHECK(simulation.answered == simulation.requests);
  CHECK(simulation.lost == 0);
  CHECK(simulation.refused == 0);
  CHECK(simulation.duplicated == 0);
}

}  // namespace

TEST_CASE("requests on a worker that fails are replayed when it is back") {
  const Plan plan = plan_of({pipeline_of({{"a", 5'000}, {"b", 10'000}, {"c", 5'000}})});
  const auto nodes = nodes_of({"a", "b", "c"});
  SimulateOptions options;
  options.requests = 1'000;
  options.outages = {{"b", "", 2, 3}};
  const auto simulation = simulate(plan, nodes, {}, options).value();
  check_complete(simulation);
  CHECK(simulation.replayed == 12);  // All that were in flight, wherever they were.
  CHECK(simulation.stages[0].failures == 0);
  CHECK(simulation.stages[1].failures == 1);
  REQUIRE(simulation.timeline.size() > 6);
  CHECK(simulation.timeline[0].throughput_rps > 90);
  CHECK(simulation.timeline[3].throughput_rps == 0);
  CHECK(simulation.timeline[6].throughput_rps == Approx(100).margin(1));
  CHECK(simulation.latency_ms.max > 3'000);
  CHECK(simulation.seconds == Approx(1'000 / 100.0 + 3).epsilon(0.03));
  // Superseded attempts still cost time: a executes those before b's failure to the end, and all again.
  CHECK(simulation.stages[0].requests > 1'000);
}

TEST_CASE("a live route takes what a failed one held") {
  const Plan plan = plan_of({pipeline_of({{"a", 10'000}}), pipeline_of({{"b", 10'000}})});
  const auto nodes = nodes_of({"a", "b"});
  for (const std::string_view router : {"shortest-completion", "round-robin", "least-outstanding"}) {
    INFO(router);
    SimulateOptions options;
    options.router = make_router(router).value();
    options.requests = 2'000;
    options.outages = {{"a", "", 3, 4}};
    const auto simulation = simulate(plan, nodes, {}, options).value();
    check_complete(simulation);
    CHECK(simulation.timeline[1].throughput_rps == Approx(200).margin(1));
    CHECK(simulation.timeline[5].throughput_rps == Approx(100).margin(1));
    CHECK(simulation.timeline[9].throughput_rps == Approx(200).margin(1));
    CHECK(simulation.replayed == 4);

    options.outages = {{"a", "", 3}};  // for good
    const auto half = simulate(plan, nodes, {}, options).value();
    check_complete(half);
    CHECK(half.timeline[15].throughput_rps == Approx(100).margin(1));
  }
}

TEST_CASE("when no route is left for good, requests are lost and later ones refused") {
  const Plan plan = plan_of({pipeline_of({{"a", 10'000}}), pipeline_of({{"b", 10'000}})});
  SimulateOptions options;
  options.requests = 1'000;
  options.arrivals = Arrivals::constant(100);
  options.outages = {{"a", "", 2}, {"b", "", 4}};
  const auto simulation = simulate(plan, nodes_of({"a", "b"}), {}, options).value();
  CHECK(simulation.answered + simulation.lost + simulation.refused == 1'000);
  CHECK(simulation.lost >= 1);
  CHECK(simulation.lost <= 8);
  CHECK(simulation.refused == Approx(600).margin(2));
  options.arrivals = Arrivals::closed_loop();
  const auto loop = simulate(plan, nodes_of({"a", "b"}), {}, options).value();
  CHECK(loop.lost == 8);
  CHECK(loop.answered + loop.lost + loop.refused == 1'000);
}

TEST_CASE("a node's failure takes all its workers down, a link's the routes over it") {
  const std::vector<LinkSpec> links = {{"a", "b", 1'000'000_B, 1'000}, {"b", "a", 1'000'000_B, 1'000}};
  const Plan plan = plan_of({pipeline_of({{"a", 5'000}, {"b", 5'000}, {"a", 2'000}}, 1'000_B)});
  const auto nodes = nodes_of({"a", "b"}, 2);
  SimulateOptions options;
  options.requests = 1'000;
  options.outages = {{"a", "", 1, 1}};
  const auto node = simulate(plan, nodes, links, options).value();
  check_complete(node);
  CHECK(node.replayed == 12);
  CHECK(node.stages[0].failures == 1);
  CHECK(node.stages[1].failures == 0);
  CHECK(node.stages[2].failures == 1);

  options.outages = {{"b", "a", 1, 1}};
  const auto link = simulate(plan, nodes, links, options).value();
  check_complete(link);
  CHECK(link.replayed == 12);
  CHECK(link.timeline[1].throughput_rps < 10);
  REQUIRE(link.links.size() == 2);
  CHECK(link.links[0].failures == 0);
  CHECK(link.links[1].failures == 1);
  CHECK(link.stages[0].failures == 0);

  // Failures that overlap end with the last of them.
  options.outages = {{"b", "a", 1, 3}, {"b", "a", 2, 0.5}, {"b", "", 3, 2}};
  const auto both = simulate(plan, nodes, links, options).value();
  check_complete(both);
  CHECK(both.timeline[2].throughput_rps == 0);
  CHECK(both.timeline[4].throughput_rps == 0);
  CHECK(both.links[1].failures == 1);
}

TEST_CASE("failures at random cost the share of time that they last") {
  const Plan plan = plan_of({pipeline_of({{"a", 1'000}})});
  SimulateOptions options;
  options.requests = 100'000;
  options.failures.worker_life_s = 1;
  options.failures.worker_repair_s = 0.5;
  const auto estimated = estimate(plan, nodes_of({"a"}), {}, options, 20, [](const Simulation& simulation) {
    check_complete(simulation);
    CHECK(simulation.replayed > 0);
    return simulation.throughput_rps;
  });
  // Up 1 / (1 + 0.5) of the time; each failure costs half a request (0.5 ms a second) beside.
  const double expected = 1000 / 1.5 * (1 - 0.0005);
  INFO(estimated.mean << " +- " << estimated.error << ", expected " << expected);
  CHECK(estimated.error < 0.02 * expected);
  CHECK(std::abs(estimated.mean - expected) < 4 * estimated.error);
}

TEST_CASE("whatever fails and comes back, each request is answered once") {
  const std::vector<LinkSpec> links = {
      {"a", "b", 5'000'000_B, 200}, {"b", "c", 5'000'000_B, 200}, {"d", "b", 5'000'000_B, 200}};
  const Plan plan = plan_of({pipeline_of({{"a", 3'000}, {"b", 4'000}, {"c", 2'000}}, 5'000_B),
                             pipeline_of({{"d", 6'000}, {"b", 4'000}, {"a", 2'000}}, 5'000_B),
                             pipeline_of({{"c", 5'000}, {"d", 5'000}, {"c", 5'000}})});
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    INFO("seed " << seed);
    SimulateOptions options;
    options.seed = seed;
    options.requests = 2'000;
    options.arrivals = seed % 2 == 0 ? Arrivals::closed_loop(1 + seed % 40) : Arrivals::poisson(150);
    options.service = {ServiceNoise::exponential, 0, seed % 3 == 0 ? QuotaModel::periods : QuotaModel::even};
    options.failures = {0.3, 0.1, 0.5, 0.05};
    options.outages = {{"b", "", 1, 2}, {"a", "b", 0.5, 1}};
    const auto simulation = simulate(plan, nodes_of({"a", "b", "c", "d"}, 1.2), links, options).value();
    check_complete(simulation);
    CHECK(simulation.replayed > 0);
  }
}

}  // namespace amp4ec::simulation_test
