// SPDX-License-Identifier: Apache-2.0
// The simulator against queueing theory: results that were proven without it.
#include "support/catch.hpp"

#include "simulate_support.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

namespace amp4ec::simulation_test {

namespace {

constexpr double service_us = 10'000;
constexpr double service_ms = service_us / 1e3;
const Plan one_worker = plan_of({pipeline_of({{"a", service_us}})});
const std::vector<NodeSpec> a = nodes_of({"a"});

/// Requests that come at this share of what one worker can do.
SimulateOptions poisson_at(double load, std::size_t requests = 50'000) {
  SimulateOptions options;
  options.arrivals = Arrivals::poisson(load * 1e6 / service_us);
  options.requests = requests;
  options.warm_up = requests / 10;
  return options;
}

/// Pollaczek and Khinchine: mean time in an M/G/1 queue and server, c2 the squared variation of service times.
double m_g_1_ms(double load, double c2) {
  return service_ms + load * (1 + c2) / 2 / (1 - load) * service_ms;
}

/// Erlang's C: the probability to wait with c servers, each busy for this share of the time.
double erlang_c(std::size_t servers, double load) {
  const double offered = load * static_cast<double>(servers);
  double sum = 0;
  double term = 1;
  for (std::size_t k = 0; k < servers; ++k) {
    sum += term;
    term *= offered / static_cast<double>(k + 1);
  }
  return term / (1 - load) / (sum + term / (1 - load));
}

void check_estimate(const Estimate& estimated, double expected) {
  INFO("estimated " << estimated.mean << " +- " << estimated.error << ", expected " << expected);
  CHECK(estimated.error < 0.05 * expected);  // or the comparison says nothing
  CHECK(std::abs(estimated.mean - expected) < 4 * estimated.error);
}

}  // namespace

TEST_CASE("one worker is M/D/1, M/M/1 or M/G/1 by its noise") {
  for (const double load : {0.3, 0.7, 0.9}) {
    INFO("load " << load);
    auto options = poisson_at(load);
    check_estimate(estimate(one_worker, a, {}, options, 20, mean_latency_ms), m_g_1_ms(load, 0));
    options.service.noise = ServiceNoise::exponential;
    check_estimate(estimate(one_worker, a, {}, options, 20, mean_latency_ms), m_g_1_ms(load, 1));
    options.service = {ServiceNoise::lognormal, 0.5};
    check_estimate(estimate(one_worker, a, {}, options, 20, mean_latency_ms), m_g_1_ms(load, 0.25));
  }
}

TEST_CASE("times in M/M/1 are exponential: percentiles") {
  auto options = poisson_at(0.5);
  options.service.noise = ServiceNoise::exponential;
  const double mean_ms = service_ms / (1 - 0.5);
  const auto percentile = [&](auto figure, double share) {
    check_estimate(estimate(one_worker, a, {}, options, 20, [&](const Simulation& s) { return figure(s.latency_ms); }),
                   -mean_ms * std::log(1 - share));
  };
  percentile([](const LatencyFigures& l) { return l.p50; }, 0.5);
  percentile([](const LatencyFigures& l) { return l.p90; }, 0.9);
  percentile([](const LatencyFigures& l) { return l.p99; }, 0.99);
}

TEST_CASE("replicas behind one waiting line are M/M/c") {
  constexpr std::size_t servers = 3;
  constexpr double load = 0.8;
  const Plan plan =
      plan_of({pipeline_of({{"a", service_us}}), pipeline_of({{"b", service_us}}), pipeline_of({{"c", service_us}})});
  auto options = poisson_at(load * servers);
  options.service.noise = ServiceNoise::exponential;
  options.max_in_flight = servers;  // none is sent before a worker is idle
  for (const std::string_view router : {"shortest-completion", "least-outstanding"}) {
    INFO(router);
    options.router = make_router(router).value();
    check_estimate(estimate(plan, nodes_of({"a", "b", "c"}), {}, options, 20, mean_latency_ms),
                   service_ms + erlang_c(servers, load) * service_ms / servers / (1 - load));
  }
}

TEST_CASE("round robin makes Erlang arrivals: shorter queues than splitting by chance, longer than one line") {
  // E_2/M/1, by the root of x = A*(mu (1 - x)): time = service / (1 - x).
  constexpr double load = 0.8;
  double x = 0.5;
  for (int i = 0; i < 1000; ++i) x = std::pow(2 * load / (2 * load + 1 - x), 2);
  const Plan plan = plan_of({pipeline_of({{"a", service_us}}), pipeline_of({{"b", service_us}})});
  auto options = poisson_at(load * 2);
  options.service.noise = ServiceNoise::exponential;
  options.router = make_router("round-robin").value();
  options.max_in_flight = 1'000'000;
  check_estimate(estimate(plan, nodes_of({"a", "b"}), {}, options, 20, mean_latency_ms), service_ms / (1 - x));
}

TEST_CASE("exponential stages in a row are a Jackson network") {
  const Plan plan = plan_of({pipeline_of({{"a", 5'000}, {"b", service_us}, {"c", 8'000}})});
  auto options = poisson_at(0.7);
  options.service.noise = ServiceNoise::exponential;
  options.max_in_flight = 1'000'000;
  const double rate = options.arrivals.rate_rps;
  double expected_ms = 0;
  for (const double time_us : {5'000.0, service_us, 8'000.0}) expected_ms += 1e3 / (1e6 / time_us - rate);
  check_estimate(estimate(plan, nodes_of({"a", "b", "c"}), {}, options, 20, mean_latency_ms), expected_ms);
}

TEST_CASE("D/D/1 never waits below capacity, and grows by the difference above") {
  SimulateOptions options;
  options.requests = 1'000;
  options.arrivals = Arrivals::constant(90);
  const auto below = simulate(one_worker, a, {}, options).value();
  CHECK(below.stable);
  CHECK(below.latency_ms.mean == Approx(service_ms));
  CHECK(below.latency_ms.max == Approx(service_ms));
  CHECK(below.stages[0].queue.max == 0);
  CHECK(below.throughput_rps == Approx(90).epsilon(0.002));
  CHECK(below.stages[0].busy == Approx(0.9).epsilon(0.002));
  CHECK(below.nodes[0].utilisation == Approx(below.stages[0].busy));

  options.arrivals = Arrivals::constant(125);
  const auto above = simulate(one_worker, a, {}, options).value();
  CHECK_FALSE(above.stable);
  CHECK(above.growth_rps == Approx(25).epsilon(0.02));
  CHECK(above.throughput_rps == Approx(100));
  // Request k comes at k / 125 s and is answered at (k + 1) / 100 s.
  CHECK(above.latency_ms.max == Approx(1e3 * (1000.0 / 100 - 999.0 / 125)));
}

TEST_CASE("growth beyond capacity is told from queues that are merely long") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    const auto stable_at = [&](double load, ServiceNoise noise) {
      auto options = poisson_at(load, 20'000);
      options.service.noise = noise;
      options.seed = seed;
      return simulate(one_worker, a, {}, options).value().stable;
    };
    CHECK(stable_at(0.5, ServiceNoise::exponential));
    CHECK(stable_at(0.95, ServiceNoise::exponential));
    CHECK(stable_at(0.95, ServiceNoise::none));
    CHECK_FALSE(stable_at(1.05, ServiceNoise::none));
    CHECK_FALSE(stable_at(1.1, ServiceNoise::exponential));
  }
}

TEST_CASE("a full pipeline gives its bottleneck's rate, and Little's law holds") {
  const std::vector<std::vector<double>> cases = {
      {10'000}, {3'000, 9'000, 5'000}, {8'000, 8'000}, {1'000, 2'000, 3'000, 40'000}};
  for (const auto& times : cases) {
    std::vector<StageTime> stages;
    std::vector<std::string> names;
    for (const double time_us : times) {
      names.push_back("n" + std::to_string(names.size()));
      stages.push_back({names.back(), time_us});
    }
    SimulateOptions options;
    options.requests = 5'000;
    const auto simulation = simulate(plan_of({pipeline_of(stages)}), nodes_of(names), {}, options).value();
    const double rate = 1e6 / *std::ranges::max_element(times);
    CHECK(simulation.throughput_rps == Approx(rate).epsilon(0.01));
    CHECK(simulation.answered == 5'000);
    CHECK(simulation.stable);
    const double in_flight = 4.0 * static_cast<double>(times.size());
    CHECK(simulation.mean_in_system == Approx(in_flight).epsilon(0.01));
    CHECK(simulation.latency_ms.p50 == Approx(1e3 * in_flight / rate));
    for (std::size_t s = 0; s < times.size(); ++s) {
      CHECK(simulation.stages[s].requests == 5'000);
      CHECK(simulation.stages[s].service_us == Approx(times[s]));
      CHECK(simulation.stages[s].busy == Approx(rate * times[s] / 1e6).epsilon(0.01));
    }
  }
}

TEST_CASE("Little's law is exact over a whole run, whatever happens in it") {
  const Plan plan = plan_of({pipeline_of({{"a", 5'000}, {"b", 9'000}}, 10'000_B), pipeline_of({{"c", 12'000}}),
                             pipeline_of({{"c", 4'000}, {"b", 9'000}}, 10'000_B)});
  // The first two layers of pipelines 0 and 2 are cut alike, so they share the worker on b.
  const std::vector<LinkSpec> links = {{"a", "b", 10'000'000_B, 300}};
  Plan same_layers = plan;
  same_layers.pipelines[1].stages[0].last_layer = 1;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SimulateOptions options;
    options.seed = seed;
    options.requests = 3'000;
    options.arrivals = seed % 4 == 0 ? Arrivals::closed_loop(7) : Arrivals::poisson(40.0 * static_cast<double>(seed));
    if (seed % 3 == 0) options.max_waiting = 5;
    options.service = {ServiceNoise::lognormal, 0.5, seed % 2 == 0 ? QuotaModel::periods : QuotaModel::even};
    options.failures = {2, 0.5, 3, 0.1};
    const auto simulation = simulate(same_layers, nodes_of({"a", "b", "c"}, 0.5), links, options).value();
    CHECK(simulation.stages.size() == 4);
    CHECK(simulation.requests == 3'000);
    CHECK(simulation.answered + simulation.refused + simulation.lost == simulation.requests);
    CHECK(simulation.lost == 0);
    CHECK(simulation.duplicated == 0);
    const double area = simulation.mean_in_system * simulation.seconds;
    const double latencies = simulation.latency_ms.mean / 1e3 * static_cast<double>(simulation.answered);
    CHECK(area == Approx(latencies).epsilon(1e-9));
  }
}

TEST_CASE("pipelines add their rates, and fast ones get more") {
  const Plan plan = plan_of({pipeline_of({{"a", 10'000}}), pipeline_of({{"b", 25'000}}), pipeline_of({{"c", 40'000}})});
  for (const std::string_view router : {"shortest-completion", "least-outstanding"}) {
    SimulateOptions options;
    options.requests = 20'000;
    options.router = make_router(router).value();
    const auto simulation = simulate(plan, nodes_of({"a", "b", "c"}), {}, options).value();
    CHECK(simulation.throughput_rps == Approx(165).epsilon(0.01));
    CHECK(simulation.stages[0].requests > 2 * simulation.stages[1].requests);
  }
  // In turns all are as slow as the slowest.
  SimulateOptions options;
  options.requests = 20'000;
  options.router = make_router("round-robin").value();
  CHECK(simulate(plan, nodes_of({"a", "b", "c"}), {}, options).value().throughput_rps == Approx(3 * 25).epsilon(0.01));
}

TEST_CASE("a link carries one message at a time, for all pipelines together") {
  const std::vector<LinkSpec> links = {{"a", "b", 1'000'000_B, 2'000}};  // 10 kB: 12 ms
  const Plan two = plan_of({pipeline_of({{"a", 1'000}, {"b", 3'000}}, 10'000_B)});
  SimulateOptions options;
  options.requests = 2'000;
  const auto full = simulate(two, nodes_of({"a", "b"}), links, options).value();
  CHECK(full.throughput_rps == Approx(1e3 / 12).epsilon(0.01));
  REQUIRE(full.links.size() == 1);
  CHECK(full.links[0].messages == 2'000);
  CHECK(full.links[0].busy == Approx(1).epsilon(0.01));
  CHECK(full.links[0].queue.max > 0);

  options.arrivals = Arrivals::constant(10);
  CHECK(simulate(two, nodes_of({"a", "b"}), links, options).value().latency_ms.max == Approx(1 + 12 + 3));
  CHECK(simulate(two, nodes_of({"a", "b"}), {}, options).value().latency_ms.max == Approx(1 + 3));
  const std::vector<LinkSpec> other_way = {{"b", "a", 1'000'000_B, 2'000}};
  CHECK(simulate(two, nodes_of({"a", "b"}), other_way, options).value().links.empty());

  // Two pipelines with other cuts, hence other workers, over the same link: still 1 / 12 ms.
  Plan four = two;
  four.pipelines[0].stages[1].last_layer = 2;
  four.pipelines.push_back(pipeline_of({{"a", 1'000}, {"b", 3'000}}, 10'000_B));
  four.pipelines[1].stages[0].last_layer = 1;
  four.pipelines[1].stages[1] = {"b", 2, 2, 1, 3'000, 0_B, 0_B};
  options.arrivals = Arrivals::closed_loop();
  const auto shared = simulate(four, nodes_of({"a", "b"}, 2), links, options).value();
  CHECK(shared.stages.size() == 4);
  CHECK(shared.throughput_rps == Approx(1e3 / 12).epsilon(0.01));
}

TEST_CASE("workers of a node share its quota") {
  // Two replicas with one node: each has half of the quota when both are busy, all of it when alone.
  Plan plan = plan_of({pipeline_of({{"a", 10'000}, {"a", 10'000}})});
  SimulateOptions options;
  options.requests = 2'000;
  const auto throughput = [&](double cpus) {
    const auto simulation = simulate(plan, nodes_of({"a"}, cpus), {}, options).value();
    CHECK(simulation.nodes[0].utilisation == Approx(std::min(1.0, 2 / cpus)).epsilon(0.01));
    return simulation.throughput_rps;
  };
  CHECK(throughput(1) == Approx(50).epsilon(0.01));
  CHECK(throughput(0.4) == Approx(50).epsilon(0.01));  // The times are those at this quota.
  CHECK(throughput(1.5) == Approx(75).epsilon(0.01));  // Each can use one CPU at most.
  CHECK(throughput(2) == Approx(100).epsilon(0.01));
  CHECK(throughput(4) == Approx(100).epsilon(0.01));
  options.arrivals = Arrivals::constant(10);
  const auto idle = simulate(plan, nodes_of({"a"}, 1), {}, options).value();
  CHECK(idle.latency_ms.max == Approx(20));
}

TEST_CASE("a worker held by periods computes at full speed until its quota is used") {
  // 10 ms of work at quota 0.4: 25 ms when spread evenly.
  const Plan plan = plan_of({pipeline_of({{"a", 25'000}})});
  const auto nodes = nodes_of({"a"}, 0.4);
  SimulateOptions options;
  options.requests = 1'000;
  options.service.quota = QuotaModel::periods;
  options.service.period_us = 100'000;
  options.arrivals = Arrivals::constant(1);
  CHECK(simulate(plan, nodes, {}, options).value().latency_ms.max == Approx(10));

  options.arrivals = Arrivals::closed_loop(1);
  const auto full = simulate(plan, nodes, {}, options).value();
  CHECK(full.throughput_rps == Approx(40).epsilon(0.01));
  CHECK(full.latency_ms.p50 == Approx(10));
  CHECK(full.latency_ms.p90 == Approx(70));  // One in four waits 60 ms for the next period.
  CHECK(full.nodes[0].utilisation == Approx(1).epsilon(0.01));

  // A period far shorter than the work is as good as even.
  options.service.period_us = 10;
  CHECK(simulate(plan, nodes, {}, options).value().latency_ms.p50 == Approx(25).epsilon(0.01));
}

TEST_CASE("nodes that are busy at once slow one another down") {
  Plan plan = plan_of({pipeline_of({{"a", 1000}}), pipeline_of({{"b", 1000}})});
  plan.predicted.slowdown = 1.2;
  SimulateOptions options;
  options.requests = 2000;
  options.warm_up = 100;
  CHECK(simulate(plan, nodes_of({"a", "b"}), {}, options).value().throughput_rps == Approx(2000 / 1.2).epsilon(0.01));
  options.arrivals = Arrivals::closed_loop(1);
  CHECK(simulate(plan, nodes_of({"a", "b"}), {}, options).value().latency_ms.p50 == Approx(1));
  plan.predicted.slowdown = 0.5;
  CHECK(simulate(plan, nodes_of({"a", "b"}), {}, options).error().code == Errc::PlanInvalid);
}

TEST_CASE("the warm-up is left out of the figures") {
  // The queue of a burst at the start is gone when the rest comes.
  std::vector<double> times(100, 0.0);
  for (int i = 0; i < 900; ++i) times.push_back(10 + 0.1 * i);
  SimulateOptions options;
  options.arrivals = Arrivals::at(times);
  const auto all = simulate(one_worker, a, {}, options).value();
  CHECK(all.requests == 1'000);
  CHECK(all.latency_ms.max == Approx(100 * service_ms));
  options.warm_up = 100;
  const auto rest = simulate(one_worker, a, {}, options).value();
  CHECK(rest.answered == 1'000);
  CHECK(rest.latency_ms.max == Approx(service_ms));
  CHECK(rest.throughput_rps == Approx(10).epsilon(0.01));
  CHECK(rest.stages[0].busy == Approx(0.1).epsilon(0.01));
  CHECK(rest.stages[0].queue.max == 0);
  CHECK(rest.waiting.max == 0);
  CHECK(rest.seconds == Approx(89.91));
}

TEST_CASE("the timeline tells when what was answered") {
  SimulateOptions options;
  options.arrivals = Arrivals::at({0, 0.5, 2.3, 2.4, 2.5});
  const auto simulation = simulate(one_worker, a, {}, options).value();
  REQUIRE(simulation.timeline.size() == 3);
  CHECK(simulation.slice_s == 1);
  CHECK(simulation.timeline[0].throughput_rps == Approx(2));
  CHECK(simulation.timeline[0].p99_ms.value() == Approx(service_ms));
  CHECK(simulation.timeline[1].throughput_rps == 0);
  CHECK_FALSE(simulation.timeline[1].p99_ms.has_value());
  CHECK(simulation.timeline[2].second == 2);
  CHECK(simulation.timeline[2].throughput_rps == Approx(3 / 0.51));

  options.arrivals = Arrivals::at({0, 1e9});
  const auto slow = simulate(one_worker, a, {}, options).value();
  CHECK(slow.slice_s == Approx(1e5).epsilon(0.01));
  CHECK(slow.timeline.size() <= 10'000);
}

TEST_CASE("admission bounds what is in flight and what waits") {
  SimulateOptions options;
  options.arrivals = Arrivals::at(std::vector<double>(20, 1.0));
  options.max_in_flight = 3;
  const auto unbounded = simulate(one_worker, a, {}, options).value();
  CHECK(unbounded.answered == 20);
  CHECK(unbounded.refused == 0);
  CHECK(unbounded.waiting.max == 17);
  CHECK(unbounded.stages[0].queue.max == 2);
  options.max_waiting = 4;
  const auto bounded = simulate(one_worker, a, {}, options).value();
  CHECK(bounded.answered == 7);
  CHECK(bounded.refused == 13);
  CHECK(bounded.waiting.max == 4);
  options.max_waiting = 0;
  options.max_in_flight.reset();  // 4 a stage
  CHECK(simulate(one_worker, a, {}, options).value().answered == 4);
  // In a loop, what is refused never happens: the next comes when one is answered.
  options.arrivals = Arrivals::closed_loop(9);
  options.requests = 50;
  CHECK(simulate(one_worker, a, {}, options).value().answered == 50);
}

TEST_CASE("the same seed makes the same run, another one another") {
  const Plan plan =
      plan_of({pipeline_of({{"a", 5'000}, {"b", 9'000}}, 10'000_B), pipeline_of({{"c", 12'000}, {"d", 1}})});
  const std::vector<LinkSpec> links = {{"a", "b", 10'000'000_B, 300}};
  SimulateOptions options;
  options.arrivals = Arrivals::poisson(100);
  options.service = {ServiceNoise::lognormal, 0.3, QuotaModel::periods};
  options.failures = {3, 0.2, 0, 0};
  options.outages = {{"a", "", 2, 1}};
  const auto nodes = nodes_of({"a", "b", "c", "d"}, 0.6);
  const auto first = simulate(plan, nodes, links, options).value();
  CHECK(simulate(plan, nodes, links, options).value() == first);
  options.seed = 2;
  CHECK_FALSE(simulate(plan, nodes, links, options).value() == first);
}

TEST_CASE("a router of one's own decides") {
  const Plan plan = plan_of({pipeline_of({{"a", 10'000}}), pipeline_of({{"b", 10'000}})});
  SimulateOptions options;
  options.requests = 100;
  options.router = [](std::span<const RouteState> routes) {
    return routes[1].in_flight < 2 ? std::size_t{1} : no_route;
  };
  const auto simulation = simulate(plan, nodes_of({"a", "b"}), {}, options).value();
  CHECK(simulation.stages[0].requests == 0);
  CHECK(simulation.stages[1].requests == 100);
  CHECK(simulation.stages[1].queue.max == 1);

  options.router = [](std::span<const RouteState>) { return no_route; };
  const auto stuck = simulate(plan, nodes_of({"a", "b"}), {}, options).value();
  CHECK(stuck.answered == 0);
  CHECK(stuck.lost == 100);
  options.router = [](std::span<const RouteState>) -> std::size_t { throw std::runtime_error("no idea"); };
  const auto thrown = simulate(plan, nodes_of({"a", "b"}), {}, options);
  REQUIRE_FALSE(thrown.has_value());
  CHECK(thrown.error().message.find("no idea") != std::string::npos);
}

}  // namespace amp4ec::simulation_test
