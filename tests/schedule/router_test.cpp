// SPDX-License-Identifier: Apache-2.0
// The simulator's routers stand below the policies and cannot use them; they must choose as these do all the same.
#include "support/catch.hpp"

#include <amp4ec/plan/router.hpp>
#include <amp4ec/schedule/make_policy.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

TEST_CASE("a simulation's routers choose as the policies of the same name") {
  std::mt19937 random(1);
  const auto below = [&](unsigned end) { return static_cast<std::uint32_t>(random() % end); };
  for (const std::string_view name : amp4ec::router_names) {
    INFO(name);
    auto router = amp4ec::make_router(name).value();
    const auto policy = amp4ec::make_policy(name).value();
    for (int round = 0; round < 1000; ++round) {
      constexpr std::size_t count = 4;
      std::vector<std::vector<amp4ec::WorkerState>> workers(count);
      std::vector<std::vector<const amp4ec::WorkerState*>> pointers(count);
      std::vector<amp4ec::Candidate> candidates;
      std::vector<amp4ec::RouteState> routes(count);
      for (std::size_t r = 0; r < count; ++r) {
        workers[r].resize(1 + below(3));
        routes[r].alive = below(5) > 0;
        for (amp4ec::WorkerState& worker : workers[r]) {
          worker.alive = routes[r].alive;
          worker.in_flight = below(4);  // few values: there must be ties
          worker.mean_service_us = 1000.0 * (1 + below(3));
          const double completion_us = (1.0 + worker.in_flight) * worker.mean_service_us;
          routes[r].slowest_us = std::max(routes[r].slowest_us, completion_us);
          routes[r].total_us += completion_us;
          routes[r].fullest = std::max(routes[r].fullest, worker.in_flight);
          routes[r].outstanding += worker.in_flight;
          pointers[r].push_back(&worker);
        }
        candidates.push_back({pointers[r]});
      }
      REQUIRE(router(routes) == policy->choose(candidates).value_or(amp4ec::no_route));
    }
  }
}
