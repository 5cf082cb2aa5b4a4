// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include "simulate_support.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace amp4ec::simulation_test {

namespace {

const Plan good_plan = plan_of({pipeline_of({{"a", 10'000}, {"b", 10'000}})});
const std::vector<NodeSpec> good_nodes = nodes_of({"a", "b"});
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

void check_refused(const Result<Simulation>& result, Errc code, const std::string& part) {
  REQUIRE_FALSE(result.has_value());
  INFO(result.error().message);
  CHECK(result.error().code == code);
  CHECK(result.error().message.find(part) != std::string::npos);
}

void refuse_options(const std::function<void(SimulateOptions&)>& change, const std::string& part) {
  SimulateOptions options;
  change(options);
  check_refused(simulate(good_plan, good_nodes, {}, options), Errc::InvalidArgument, part);
}

void refuse_plan(const std::function<void(Plan&)>& change, const std::string& part) {
  Plan plan = good_plan;
  change(plan);
  check_refused(simulate(plan, good_nodes), Errc::PlanInvalid, part);
}

}  // namespace

TEST_CASE("absurd options are refused with what is wrong") {
  for (const double rate : {nan, infinity, -5.0, 0.0, 1e300}) {
    refuse_options([&](SimulateOptions& o) { o.arrivals = Arrivals::poisson(rate); }, "arrival rate");
    refuse_options([&](SimulateOptions& o) { o.arrivals = Arrivals::constant(rate); }, "arrival rate");
  }
  refuse_options([](SimulateOptions& o) { o.arrivals = Arrivals::closed_loop(0); }, "0 requests in flight");
  refuse_options([](SimulateOptions& o) { o.arrivals = Arrivals::at({}); }, "empty");
  refuse_options([](SimulateOptions& o) { o.arrivals = Arrivals::at({1, nan}); }, "arrival time 1 is nan");
  refuse_options([](SimulateOptions& o) { o.arrivals = Arrivals::at({-1}); }, "arrival time 0 is -1");
  refuse_options([](SimulateOptions& o) { o.arrivals = Arrivals::at({2, 1}); }, "ascending");
  refuse_options([](SimulateOptions& o) { o.requests = 0; }, "0 requests");
  refuse_options([](SimulateOptions& o) { o.requests = 1'000'000'000'000; }, "at most 20000000");
  refuse_options([](SimulateOptions& o) { o.warm_up = o.requests; }, "warm-up of 10000 requests leaves none of 10000");
  refuse_options([](SimulateOptions& o) { o.max_in_flight = 0; }, "0 requests in flight");
  refuse_options(
      [](SimulateOptions& o) {
        o.arrivals = Arrivals::closed_loop(10);
        o.max_in_flight = 4;
        o.max_waiting = 5;
      },
      "only 9 are admitted");
  refuse_options([](SimulateOptions& o) { o.service.variation = nan; }, "variation");
  refuse_options([](SimulateOptions& o) { o.service.variation = -1; }, "variation");
  refuse_options([](SimulateOptions& o) { o.service.period_us = 0; }, "period");
  refuse_options([](SimulateOptions& o) { o.failures.worker_life_s = -1; }, "life of a worker");
  refuse_options([](SimulateOptions& o) { o.failures.link_repair_s = nan; }, "repair of a link");
  refuse_options([](SimulateOptions& o) { o.outages = {{"x", "", 1, 1}}; }, "'x': there is no such node");
  refuse_options([](SimulateOptions& o) { o.outages = {{"a", "b", 1, 1}}; }, "'a:b': there is no such link");
  refuse_options([](SimulateOptions& o) { o.outages = {{"a", "", -1, 1}}; }, "-1 is not a second");
  refuse_options([](SimulateOptions& o) { o.outages = {{"a", "", nan, 1}}; }, "not a second");
  refuse_options([](SimulateOptions& o) { o.outages = {{"a", "", 1, 0}}; }, "0 s is not a time");
}

TEST_CASE("plans that cannot be simulated are refused with what is wrong") {
  refuse_plan([](Plan& p) { p.pipelines.clear(); }, "no pipeline");
  refuse_plan([](Plan& p) { p.pipelines.emplace_back(); }, "pipeline 1 has no stage");
  refuse_plan([](Plan& p) { p.pipelines[0].stages[1].node = std::string("c"); },
              "stage 1 (on 'c'): there is no such node");
  refuse_plan([](Plan& p) { p.pipelines[0].stages[1].first_layer = 5; }, "1 comes next");
  refuse_plan(
      [](Plan& p) {
        p.pipelines.push_back(pipeline_of({{"a", 1}}));
      },
      "pipeline 1 has 1 layers, pipeline 0 has 2");
  for (const double time_us : {nan, infinity, -1.0}) {
    refuse_plan([&](Plan& p) { p.pipelines[0].stages[1].time_us = time_us; }, "a time is finite and not negative");
  }
  refuse_plan([](Plan& p) { p.pipelines[0] = pipeline_of({{"a", 0}, {"b", 0}}); }, "evaluate it with a profile");
  // One stage that takes no time is no fault.
  CHECK(simulate(plan_of({pipeline_of({{"a", 0}, {"b", 1}})}), good_nodes).has_value());
}

TEST_CASE("nodes and links are checked too") {
  check_refused(simulate(good_plan, {}), Errc::InvalidArgument, "no node");
  check_refused(simulate(good_plan, nodes_of({"a", "b"}, nan)), Errc::InvalidArgument, "CPU quota");
  const std::vector<LinkSpec> endless = {{"a", "b", 0_B, 0}};
  check_refused(simulate(good_plan, good_nodes, endless), Errc::InvalidArgument, "bandwidth");
}

TEST_CASE("a plan that hardly ever finishes a request is given up") {
  SimulateOptions options;
  options.failures.worker_life_s = 1e-6;
  options.max_events = 100'000;
  check_refused(simulate(good_plan, good_nodes, {}, options), Errc::NotSupported, "0 of 10000 requests are answered");
}

TEST_CASE("failures are written NAME@SECOND[:DURATION]") {
  CHECK(parse_outage("high@3:2").value() == Outage{"high", "", 3, 2});
  CHECK(parse_outage("high@0.5").value() == Outage{"high", "", 0.5, infinity});
  CHECK(parse_outage("high:low@3:0.25").value() == Outage{"high", "low", 3, 0.25});
  for (const char* text : {"", "high", "@3", "high@", "high@x", "high@-1", "high@1:", "high@1:0", "high@1:-1",
                           "high@1:2:3", "high@inf", ":low@1", "high:@1", "a b@1", "high@1@2", "high@nan"}) {
    INFO(text);
    const auto parsed = parse_outage(text);
    REQUIRE_FALSE(parsed.has_value());
    CHECK(parsed.error().message.find("NAME@SECOND[:DURATION]") != std::string::npos);
  }
  CHECK(parse_arrival_kind("poisson").value() == ArrivalKind::poisson);
  CHECK(parse_arrival_kind("constant").value() == ArrivalKind::constant);
  CHECK_FALSE(parse_arrival_kind("closed_loop").has_value());
  CHECK_FALSE(make_router("luck").has_value());
}

}  // namespace amp4ec::simulation_test
