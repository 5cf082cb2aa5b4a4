// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

namespace amp4ec {

/// What a router sees of one route, which is a pipeline of the plan. A request counts for every worker of its route
/// from the time it is sent until it is answered, as in a session.
struct RouteState {
  bool alive = true;              ///< All its workers and links are up.
  std::uint32_t in_flight = 0;    ///< Requests on this route.
  double slowest_us = 0;          ///< Largest (requests in flight + 1) * service time among its workers.
  double total_us = 0;            ///< Sum of the same.
  std::uint32_t fullest = 0;      ///< Most requests in flight on one of its workers.
  std::uint32_t outstanding = 0;  ///< Sum of the same.
};

/// What a router answers when it takes none of the routes: the request waits.
inline constexpr std::size_t no_route = std::numeric_limits<std::size_t>::max();

/// Picks the route of one request: its index, or `no_route`. A dead route is taken for `no_route`. A simulation works
/// on a copy of its own, so a router that keeps state begins anew each time.
using Router = std::function<std::size_t(std::span<const RouteState>)>;

namespace detail {

/// Takes the route with the smallest value that lives; of equal ones the first after the last choice. `value_of` makes
/// anything that compares with `<`.
template <class ValueOf>
class SmallestFirst {
 public:
  explicit SmallestFirst(ValueOf value_of) : value_of_(std::move(value_of)) {}

  std::size_t operator()(std::span<const RouteState> routes) {
    if (routes.empty()) return no_route;
    if (turn_ >= routes.size()) turn_ = 0;
    std::size_t best = no_route;
    decltype(value_of_(routes.front())) best_value{};
    const auto look_at = [&](std::size_t from, std::size_t to) {
      for (std::size_t r = from; r < to; ++r) {
        if (!routes[r].alive) continue;
        auto value = value_of_(routes[r]);
        if (best != no_route && !(value < best_value)) continue;
        best = r;
        best_value = std::move(value);
      }
    };
    look_at(turn_, routes.size());
    look_at(0, turn_);
    if (best != no_route) turn_ = best + 1;
    return best;
  }

 private:
  ValueOf value_of_;
  std::size_t turn_ = 0;
};

}  // namespace detail

/// The names that `make_router` takes; the first is the default. They are those of the scheduling policies that choose
/// the same route when all that is known of a worker is its queue and its mean service time.
inline constexpr std::string_view router_names[] = {"shortest-completion", "round-robin", "least-outstanding"};

/// The built-in router of this name:
/// - "shortest-completion": the route whose slowest worker would finish one more request first; then the smallest sum.
/// - "round-robin": the live routes in turn.
/// - "least-outstanding": the route whose fullest worker has the fewest requests in flight; then the smallest sum.
/// Each looks at every route once a request. @error InvalidArgument lists the names.
inline Result<Router> make_router(std::string_view name) {
  if (name == router_names[0]) {
    return Router(
        detail::SmallestFirst([](const RouteState& route) { return std::pair(route.slowest_us, route.total_us); }));
  }
  if (name == router_names[1]) {
    return Router([turn = std::size_t{0}](std::span<const RouteState> routes) mutable {
      for (std::size_t step = 0; step < routes.size(); ++step) {
        if (turn >= routes.size()) turn = 0;
        const std::size_t route = turn++;
        if (routes[route].alive) return route;
      }
      return no_route;
    });
  }
  if (name == router_names[2]) {
    return Router(
        detail::SmallestFirst([](const RouteState& route) { return std::pair(route.fullest, route.outstanding); }));
  }
  return Error{Errc::InvalidArgument, fmt::format("no router is called '{}'; there are {}, {}, {}", name,
                                                  router_names[0], router_names[1], router_names[2])};
}

}  // namespace amp4ec
