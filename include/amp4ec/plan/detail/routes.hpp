// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/plan_network.hpp>
#include <amp4ec/plan/router.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// The routes of a simulation as a router sees them, kept up to date.
class Routes {
 public:
  /// Borrows the network.
  explicit Routes(const PlanNetwork& network)
      : network_(network),
        in_flight_(network.host_of.size()),
        lost_stations_(network.host_of.size()),
        down_(network.routes()),
        lost_(network.routes()),
        states_(network.routes()),
        usable_(network.routes()) {
    for (std::size_t r = 0; r < states_.size(); ++r) refresh(r);
  }

  [[nodiscard]] std::span<const RouteState> states() const noexcept { return states_; }
  /// How many are alive or may be again.
  [[nodiscard]] std::size_t usable() const noexcept { return usable_; }

  void add_request(std::size_t route) { count(route, 1); }
  void remove_request(std::size_t route) { count(route, ~0U); }  // unsigned arithmetic wraps: minus one

  void station_down(std::uint32_t station) {
    for (const std::uint32_t route : network_.routes_through[station]) {
      if (down_[route]++ == 0) states_[route].alive = false;
    }
  }
  void station_up(std::uint32_t station) {
    for (const std::uint32_t route : network_.routes_through[station]) {
      if (--down_[route] == 0) states_[route].alive = true;
    }
  }
  /// It is down and will not come up any more, nor will the routes through it.
  void station_lost(std::uint32_t station) {
    if (std::exchange(lost_stations_[station], true)) return;
    for (const std::uint32_t route : network_.routes_through[station]) {
      if (!std::exchange(lost_[route], true)) --usable_;
    }
  }

 private:
  void count(std::size_t route, std::uint32_t change) {
    states_[route].in_flight += change;
    for (const PlanNetwork::Step& step : network_.steps_of(route)) in_flight_[step.station] += change;
    for (const std::uint32_t neighbour : network_.neighbours[route]) refresh(neighbour);
  }

  void refresh(std::size_t route) {
    RouteState& state = states_[route];
    state.slowest_us = 0;
    state.total_us = 0;
    state.fullest = 0;
    state.outstanding = 0;
    for (const PlanNetwork::Step& step : network_.steps_of(route)) {
      if (!network_.is_worker(step.station)) continue;
      const std::uint32_t in_flight = in_flight_[step.station];
      const double completion_us = (1.0 + in_flight) * step.time_us;
      state.slowest_us = std::max(state.slowest_us, completion_us);
      state.total_us += completion_us;
      state.fullest = std::max(state.fullest, in_flight);
      state.outstanding += in_flight;
    }
  }

  const PlanNetwork& network_;
  std::vector<std::uint32_t> in_flight_;     ///< For each station, requests on routes through it.
  std::vector<std::uint8_t> lost_stations_;  ///< Whether.
  std::vector<std::uint32_t> down_;          ///< For each route, how many of its stations are.
  std::vector<std::uint8_t> lost_;           ///< Whether, for each route.
  std::vector<RouteState> states_;
  std::size_t usable_;
};

}  // namespace amp4ec::detail
