// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/schedule/make_policy.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <span>
#include <thread>
#include <vector>

using namespace amp4ec;

namespace {

/// A worker with everything it needs, idle, at 10 ms a request.
WorkerState worker() {
  WorkerState state;
  state.capacity = 1.0_cpu;
  state.cpu_available = state.cpu_required = 1.0_cpu;
  state.memory_available = state.memory_required = 1_GiB;
  state.mean_service_us = 10'000;
  return state;
}

WorkerState with_in_flight(std::uint32_t in_flight, double mean_service_us = 10'000) {
  WorkerState state = worker();
  state.in_flight = in_flight;
  state.mean_service_us = mean_service_us;
  return state;
}

/// Routes over workers that this owns.
class Routes {
 public:
  void add(std::vector<WorkerState> workers) {
    std::vector<const WorkerState*> route;
    for (auto& state : workers) route.push_back(states_.emplace_back(std::make_unique<WorkerState>(state)).get());
    pointers_.push_back(std::move(route));
    candidates_.push_back({pointers_.back()});
  }
  [[nodiscard]] std::span<const Candidate> all() const { return candidates_; }
  [[nodiscard]] const Candidate& operator[](std::size_t index) const { return candidates_[index]; }
  WorkerState& state(std::size_t index) { return *states_[index]; }

 private:
  std::vector<std::unique_ptr<WorkerState>> states_;
  std::vector<std::vector<const WorkerState*>> pointers_;
  std::vector<Candidate> candidates_;
};

Routes single(std::vector<WorkerState> workers) {
  Routes routes;
  for (const auto& state : workers) routes.add({state});
  return routes;
}

std::vector<std::size_t> choices(Policy& policy, const Routes& routes, int count) {
  std::vector<std::size_t> chosen;
  for (int i = 0; i < count; ++i) chosen.push_back(policy.choose(routes.all()).value());
  return chosen;
}

}  // namespace

TEST_CASE("the weighted score, by hand") {
  WorkerState state = worker();
  state.cpu_available = 0.5_cpu;   // half of the need
  state.memory_available = 4_GiB;  // four times the need: counts as met
  state.load = 0.25;
  state.mean_service_us = 4'000;  // 4 ms
  state.in_flight = 2;
  const ScoreTerms terms = WeightedPolicy::terms(state);
  CHECK(terms.resources == Approx(0.75));
  CHECK(terms.load == Approx(0.75));
  CHECK(terms.performance == Approx(0.2));
  CHECK(terms.balance == Approx(0.2));
  // 0.2 * 0.75 + 0.2 * 0.75 + 0.1 * 0.2 + 0.5 * 0.2
  CHECK(WeightedPolicy().judge(single({state})[0]).score.value == Approx(0.42));
  // 1 * 0.75 + 2 * 0.75 + 3 * 0.2 + 4 * 0.2
  CHECK(WeightedPolicy({1, 2, 3, 4}).judge(single({state})[0]).score.value == Approx(3.65));
}

TEST_CASE("the literal score, by hand") {
  WorkerState state = worker();
  state.cpu_available = 3.0_cpu;
  state.memory_available = 5_GiB;
  state.load = 0.25;
  state.mean_service_us = 4'000;
  state.in_flight = 2;
  CHECK(LiteralPolicy::terms(state).resources == Approx(4));  // no bound
  // 0.2 * 4 + 0.2 * 0.75 + 0.1 * 0.2 + 0.5 * 0.2
  CHECK(LiteralPolicy().judge(single({state})[0]).score.value == Approx(1.07));
  state.mean_service_us = 0;
  CHECK(LiteralPolicy::terms(state).performance == Approx(0.5));
  state.cpu_required = {};
  state.memory_required = {};
  CHECK(LiteralPolicy::terms(state).resources == Approx(1));
}

TEST_CASE("every term of the weighted score stays within 0 and 1") {
  const double odd[] = {
      0, 1e-300, 0.5, 1, 1e300, -1, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()};
  for (const double cpu : odd) {
    for (const double load : odd) {
      for (const double service : odd) {
        WorkerState state;
        state.cpu_available = {cpu};
        state.cpu_required = {load};
        state.memory_available = 1_B;
        state.memory_required = Bytes{~std::uint64_t{0}};
        state.load = load;
        state.mean_service_us = service;
        state.in_flight = ~std::uint32_t{0};
        const ScoreTerms terms = WeightedPolicy::terms(state);
        for (const double term : {terms.resources, terms.load, terms.performance, terms.balance}) {
          REQUIRE(term >= 0);
          REQUIRE(term <= 1);
        }
      }
    }
  }
}

TEST_CASE("clamping stops the biggest node from taking every request") {
  WorkerState big = worker();
  big.cpu_available = 16.0_cpu;
  big.memory_available = 64_GiB;
  big.in_flight = 5;
  const Routes routes = single({big, worker()});
  CHECK(LiteralPolicy().choose(routes.all()) == 0U);
  CHECK(WeightedPolicy().choose(routes.all()) == 1U);
}

TEST_CASE("the literal policy skips by the published rules, in their order, and says why") {
  WorkerState state = worker();
  const auto reason = [&state] { return LiteralPolicy().judge(single({worker(), state})[1]).skip; };
  state.load = 0.8;
  state.latency_us = 100'000;
  CHECK(reason() == SkipReason::none);  // at the limits
  state.memory_available = Bytes{(std::uint64_t{1} << 30U) - 1};
  CHECK(reason() == SkipReason::lacks_memory);
  state.cpu_available = 0.99_cpu;
  CHECK(reason() == SkipReason::lacks_cpu);
  state.latency_us = 100'001;
  CHECK(reason() == SkipReason::too_slow);
  state.load = 0.81;
  CHECK(reason() == SkipReason::overloaded);
  state.alive = false;
  CHECK(reason() == SkipReason::dead);
  CHECK(to_string(SkipReason::lacks_memory) == "lacks memory");
}

TEST_CASE("a route with one unfit worker is skipped, and with no fit route nothing is chosen") {
  WorkerState loaded = worker();
  loaded.load = 0.9;
  Routes routes;
  routes.add({worker(), loaded});
  routes.add({worker(), worker()});
  LiteralPolicy literal;
  for (int i = 0; i < 4; ++i) CHECK(literal.choose(routes.all()) == 1U);
  routes.state(2).load = 1;
  CHECK_FALSE(literal.choose(routes.all()));
  // Under full load the default still finds a route: admission, not the score, turns requests away.
  CHECK(WeightedPolicy().choose(routes.all()));
}

TEST_CASE("no policy chooses a route that is dead or empty") {
  Routes routes;
  WorkerState dead = worker();
  dead.alive = false;
  routes.add({worker(), dead});
  routes.add({});
  for (const auto name : policy_names) {
    INFO(name);
    const auto policy = make_policy(name).value();
    CHECK(policy->name() == name);
    CHECK_FALSE(policy->choose({}));
    CHECK_FALSE(policy->choose(routes.all()));
    CHECK(policy->judge(routes[0]).skip == SkipReason::dead);
    CHECK(policy->judge(routes[1]).skip == SkipReason::no_workers);
  }
  routes.add({worker()});
  for (const auto name : policy_names) {
    INFO(name);
    CHECK(make_policy(name).value()->choose(routes.all()) == 2U);
  }
}

TEST_CASE("a route is as good as its worst worker") {
  Routes routes;
  routes.add({with_in_flight(0), with_in_flight(3), with_in_flight(0)});
  routes.add({with_in_flight(2), with_in_flight(2), with_in_flight(2)});
  CHECK(WeightedPolicy().choose(routes.all()) == 1U);
  CHECK(LeastOutstandingPolicy().choose(routes.all()) == 1U);
  CHECK(WeightedPolicy().judge(routes[0]).score.value ==
        WeightedPolicy().judge(single({with_in_flight(3)})[0]).score.value);
}

TEST_CASE("equal candidates take turns under every policy") {
  const Routes routes = single({worker(), worker(), worker()});
  for (const auto name : policy_names) {
    INFO(name);
    const auto policy = make_policy(name).value();
    CHECK(choices(*policy, routes, 7) == std::vector<std::size_t>{0, 1, 2, 0, 1, 2, 0});
  }
}

TEST_CASE("two equal candidates share whatever lies between them") {
  const Routes routes = single({worker(), with_in_flight(9), with_in_flight(9), worker()});
  for (const auto name : {"amp4ec", "amp4ec-literal", "least-outstanding", "shortest-completion"}) {
    INFO(name);
    const auto policy = make_policy(name).value();
    CHECK(choices(*policy, routes, 4) == std::vector<std::size_t>{0, 3, 0, 3});
  }
}

TEST_CASE("turns go on when the number of candidates changes") {
  RoundRobinPolicy policy;
  const Routes three = single({worker(), worker(), worker()});
  const Routes one = single({worker()});
  CHECK(choices(policy, three, 2) == std::vector<std::size_t>{0, 1});
  CHECK(choices(policy, one, 2) == std::vector<std::size_t>{0, 0});
  CHECK(choices(policy, three, 3) == std::vector<std::size_t>{1, 2, 0});
}

TEST_CASE("least-outstanding breaks ties by the sum over the route") {
  Routes routes;
  routes.add({with_in_flight(2), with_in_flight(2)});
  routes.add({with_in_flight(2), with_in_flight(0)});
  LeastOutstandingPolicy policy;
  CHECK(choices(policy, routes, 3) == std::vector<std::size_t>{1, 1, 1});
}

TEST_CASE("shortest-completion takes the smallest bottleneck, then the smallest sum") {
  Routes routes;
  routes.add({with_in_flight(1, 10'000), with_in_flight(0, 1'000)});  // bottleneck 20 ms
  routes.add({with_in_flight(0, 15'000), with_in_flight(2, 5'000)});  // bottleneck 15 ms, sum 30 ms
  routes.add({with_in_flight(2, 5'000), with_in_flight(0, 10'000)});  // bottleneck 15 ms, sum 25 ms
  ShortestCompletionPolicy policy;
  CHECK(choices(policy, routes, 2) == std::vector<std::size_t>{2, 2});
  const Score score = policy.judge(routes[1]).score;
  CHECK(score.value == Approx(-15'000));
  CHECK(score.tie_break == Approx(-30'000));
}

TEST_CASE("shortest-completion tries a worker without history first, once") {
  Routes routes = single({with_in_flight(0, 1'000), with_in_flight(0, 0), with_in_flight(0, 0)});
  ShortestCompletionPolicy policy;
  CHECK(policy.choose(routes.all()) == 1U);
  routes.state(1).in_flight = 1;
  CHECK(policy.choose(routes.all()) == 2U);
  routes.state(2).in_flight = 1;
  // Both are being tried; a worker that is known takes what comes meanwhile, however full.
  routes.state(0).in_flight = 50;
  CHECK(policy.choose(routes.all()) == 0U);
  routes.state(0).alive = false;
  routes.state(1).in_flight = 2;
  CHECK(policy.choose(routes.all()) == 2U);
}

TEST_CASE("shortest-completion shares requests in proportion to speed") {
  // Closed loop, 10 requests in flight, workers at 10, 20 and 40 ms: shares of 4/7, 2/7 and 1/7.
  Routes routes = single({with_in_flight(0, 10'000), with_in_flight(0, 20'000), with_in_flight(0, 40'000)});
  std::array<double, 3> ends = {1e18, 1e18, 1e18};
  std::array<int, 3> served{};
  ShortestCompletionPolicy policy;
  double now = 0;
  const auto send = [&] {
    const std::size_t index = policy.choose(routes.all()).value();
    if (routes.state(index).in_flight++ == 0) ends[index] = now + routes.state(index).mean_service_us;
  };
  for (int i = 0; i < 10; ++i) send();
  for (int i = 0; i < 7000; ++i) {
    const auto index = static_cast<std::size_t>(std::min_element(ends.begin(), ends.end()) - ends.begin());
    now = ends[index];
    ++served[index];
    ends[index] = --routes.state(index).in_flight == 0 ? 1e18 : now + routes.state(index).mean_service_us;
    send();
  }
  CHECK(served[0] == Approx(4000).margin(20));
  CHECK(served[1] == Approx(2000).margin(20));
  CHECK(served[2] == Approx(1000).margin(20));
}

TEST_CASE("the published clusters: no node is starved and none takes all") {
  // High, medium and low nodes that answer in proportion to their quota; 6 requests in flight.
  for (const auto name : {"amp4ec", "least-outstanding", "shortest-completion", "round-robin"}) {
    INFO(name);
    const auto policy = make_policy(name).value();
    Routes routes = single({with_in_flight(0, 9'000), with_in_flight(0, 15'000), with_in_flight(0, 22'500)});
    std::array<int, 3> chosen{};
    for (int i = 0; i < 6; ++i) {
      const std::size_t index = policy->choose(routes.all()).value();
      ++routes.state(index).in_flight;
      ++chosen[index];
    }
    for (const int count : chosen) {
      CHECK(count >= 1);
      CHECK(count <= 3);
    }
  }
}

TEST_CASE("a policy of one's own adds a term") {
  // As CarbonEdge (arXiv 2603.27420) does: prefer the first route unless it is loaded.
  class Greener final : public Policy {
   public:
    [[nodiscard]] std::string_view name() const noexcept override { return "greener"; }
    [[nodiscard]] Verdict judge(const Candidate& candidate) const noexcept override {
      Verdict verdict = weighted_.judge(candidate);
      verdict.score.value += candidate.workers.front()->capacity < 1.0_cpu ? 0.3 : 0.0;
      return verdict;
    }

   private:
    WeightedPolicy weighted_;
  };
  WorkerState small = worker();
  small.capacity = 0.4_cpu;
  Routes routes = single({worker(), small});
  Greener policy;
  CHECK(choices(policy, routes, 2) == std::vector<std::size_t>{1, 1});
  routes.state(1).in_flight = 4;
  CHECK(policy.choose(routes.all()) == 0U);
}

TEST_CASE("several threads may choose at once") {
  const Routes routes = single({worker(), worker(), worker()});
  const auto policy = make_policy("amp4ec").value();
  std::array<std::array<int, 3>, 2> chosen{};
  const auto run = [&](std::size_t thread) {
    for (int i = 0; i < 30'000; ++i) ++chosen[thread][policy->choose(routes.all()).value()];
  };
  std::thread other(run, 1);
  run(0);
  other.join();
  for (std::size_t index = 0; index < 3; ++index) CHECK(chosen[0][index] + chosen[1][index] > 0);
}

TEST_CASE("an unknown policy is refused with the names that exist") {
  const auto policy = make_policy("fastest");
  REQUIRE(policy.has_error());
  CHECK(policy.error().code == Errc::InvalidArgument);
  for (const auto name : policy_names) CHECK(policy.error().message.find(name) != std::string::npos);
}
