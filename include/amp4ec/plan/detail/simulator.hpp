// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/event_heap.hpp>
#include <amp4ec/plan/detail/plan_network.hpp>
#include <amp4ec/plan/detail/random_source.hpp>
#include <amp4ec/plan/detail/routes.hpp>
#include <amp4ec/plan/detail/simulation_figures.hpp>
#include <amp4ec/plan/detail/stations.hpp>
#include <amp4ec/plan/simulate_options.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <queue>
#include <span>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// The engine of `simulate`: one run. Times are in microseconds.
///
/// A request is what the caller waits for, a message one attempt at it; only that of its latest attempt counts. This
/// class keeps the requests, and decides when and where they are sent; `Stations` moves the messages.
class Simulator {
 public:
  /// Borrows everything. @pre all is valid, each and together
  Simulator(const Plan& plan, std::span<const NodeSpec> nodes, std::span<const LinkSpec> links,
            const SimulateOptions& options)
      : options_(options),
        nodes_(nodes),
        network_(make_plan_network(plan, nodes, links)),
        stations_(network_, nodes, options.service, options.seed, events_),
        routes_(network_),
        router_(options.router ? options.router : make_router(router_names[0]).value()),
        arrival_chance_(options.seed, 0),
        failure_chance_(options.seed, 2),
        total_(options.arrivals.kind == ArrivalKind::times ? std::min(options.requests, options.arrivals.times_s.size())
                                                           : options.requests),
        growth_(options.warm_up, total_ - 1) {
    std::size_t stages = 0;
    for (const Pipeline& pipeline : plan.pipelines) stages += pipeline.stages.size();
    const bool loop_given = closed() && options.arrivals.in_flight != Arrivals::as_admitted;
    const std::size_t usual = loop_given ? options.arrivals.in_flight : in_flight_per_stage * stages;
    max_under_way_ = options.max_in_flight.value_or(usual);
    loop_ = loop_given ? options.arrivals.in_flight : max_under_way_;
    requests_.reserve(total_);
    answers_.reserve(total_);
  }
  Simulator(const Simulator&) = delete;
  Simulator& operator=(const Simulator&) = delete;

  /// @error NotSupported past `max_events`. @pre called once
  Result<Simulation> run() {
    schedule_failures();
    for (std::size_t i = 0; i < (closed() ? loop_ : 1) && i < total_; ++i) schedule_arrival();
    std::uint64_t events = 0;
    while (answers_.size() + lost_ + refused_ < total_) {
      if (events_.empty()) {  // Only a router that takes no route leaves it at that.
        if (waiting() == 0) break;
        lose_waiting();
        continue;
      }
      const Event event = events_.pop();
      if (++events > options_.max_events) return too_many_events(event.at_us);
      now_us_ = event.at_us;
      handle(event);
    }
    return report(events);
  }

 private:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t in_flight_per_stage = 4;  // as in a session

  struct Request {
    double arrived_us = 0;
    std::uint32_t attempt = 0;
    std::uint32_t route = none;  ///< None while it waits, and when it is done.
    std::uint32_t place = none;  ///< In `under_way_`.
  };

  [[nodiscard]] bool closed() const noexcept { return options_.arrivals.kind == ArrivalKind::closed_loop; }
  [[nodiscard]] std::size_t waiting() const noexcept { return again_.size() + fresh_.size(); }

  void handle(const Event& event) {
    switch (event.kind()) {
      case EventKind::arrival: return on_arrival();
      case EventKind::finish:
        if (const auto message = stations_.on_finish(now_us_, event.index, event.stamp)) on_answer(*message);
        return;
      case EventKind::outage_begin: return on_outage(options_.outages[event.index], event.index);
      case EventKind::outage_end: return on_outage_end(options_.outages[event.index]);
      case EventKind::breakdown: return on_breakdown(event.index);
      case EventKind::repair: return on_repair(event.index);
    }
  }

  // -- the way in ----------------------------------------------------------------------------------------------------

  void schedule_arrival() {
    if (scheduled_ == total_) return;
    switch (options_.arrivals.kind) {
      case ArrivalKind::closed_loop: next_arrival_us_ = now_us_; break;
      case ArrivalKind::poisson:
        next_arrival_us_ += 1e6 * arrival_chance_.exponential() / options_.arrivals.rate_rps;
        break;
      case ArrivalKind::constant:
        next_arrival_us_ = 1e6 * static_cast<double>(scheduled_) / options_.arrivals.rate_rps;
        break;
      case ArrivalKind::times: next_arrival_us_ = 1e6 * options_.arrivals.times_s[scheduled_]; break;
    }
    ++scheduled_;
    events_.push(next_arrival_us_, EventKind::arrival);
  }

  void on_arrival() {
    const auto id = static_cast<std::uint32_t>(requests_.size());
    requests_.push_back({now_us_});
    in_system_.move_to(now_us_);
    if (id == options_.warm_up) begin_figures();
    growth_.on_arrival(id, now_us_, in_system_.area());
    if (!closed()) schedule_arrival();

    const bool full = options_.max_waiting && in_system_.value() >= max_under_way_ &&
                      in_system_.value() - max_under_way_ >= *options_.max_waiting;
    if (full || routes_.usable() == 0) {
      ++refused_;
      if (closed()) schedule_arrival();
      return;
    }
    in_system_.set(now_us_, in_system_.value() + 1);
    if (waiting() > 0 || !place(id)) fresh_.push_back(id);
    waiting_.set(now_us_, waiting());
  }

  /// Sends a request on its way; false if it has to wait.
  bool place(std::uint32_t id) {
    if (under_way_.size() >= max_under_way_) return false;
    const auto states = routes_.states();
    const std::size_t route = router_(states);
    if (route >= states.size() || !states[route].alive) return false;
    Request& request = requests_[id];
    request.route = static_cast<std::uint32_t>(route);
    request.place = static_cast<std::uint32_t>(under_way_.size());
    under_way_.push_back(id);
    if (request.attempt > 0) ++replayed_;
    routes_.add_request(route);
    stations_.send(now_us_, {id, request.attempt}, route);
    return true;
  }

  /// Sends those that wait, in the order in which they came: first the ones to be sent again, which are older.
  void place_waiting() {
    while (!again_.empty() && place(again_.top())) again_.pop();
    while (again_.empty() && !fresh_.empty() && place(fresh_.front())) fresh_.pop_front();
    waiting_.set(now_us_, waiting());
  }

  // -- the way out ---------------------------------------------------------------------------------------------------

  void on_answer(Message message) {
    Request& request = requests_[message.request];
    if (request.attempt != message.attempt) return;  // It has been sent again.
    if (request.route == none) {
      ++duplicated_;
      return;
    }
    answers_.push_back({now_us_, now_us_ - request.arrived_us, message.request >= options_.warm_up});
    leave_route(request);
    in_system_.set(now_us_, in_system_.value() - 1);
    place_waiting();
    if (closed()) schedule_arrival();
  }

  void leave_route(Request& request) {
    routes_.remove_request(request.route);
    const std::uint32_t mover = under_way_.back();
    under_way_[request.place] = mover;
    requests_[mover].place = request.place;
    under_way_.pop_back();
    request.route = none;
    request.place = none;
  }

  // -- failures ------------------------------------------------------------------------------------------------------

  void schedule_failures() {
    for (std::uint32_t i = 0; i < options_.outages.size(); ++i) {
      events_.push(1e6 * options_.outages[i].at_s, EventKind::outage_begin, i);
    }
    for (std::uint32_t station = 0; station < network_.host_of.size(); ++station) schedule_breakdown(station);
  }

  void schedule_breakdown(std::uint32_t station) {
    const RandomFailures& failures = options_.failures;
    const double life_s = network_.is_worker(station) ? failures.worker_life_s : failures.link_life_s;
    if (life_s <= 0) return;
    events_.push(now_us_ + 1e6 * life_s * failure_chance_.exponential(), EventKind::breakdown, station);
  }

  void on_breakdown(std::uint32_t station) {
    const RandomFailures& failures = options_.failures;
    const double repair_s = network_.is_worker(station) ? failures.worker_repair_s : failures.link_repair_s;
    if (stations_.take_down(now_us_, station)) routes_.station_down(station);
    recall();
    place_waiting();
    events_.push(now_us_ + 1e6 * repair_s * failure_chance_.exponential(), EventKind::repair, station);
  }

  void on_repair(std::uint32_t station) {
    if (stations_.bring_up(station)) routes_.station_up(station);
    place_waiting();
    schedule_breakdown(station);
  }

  /// The stations that an outage takes down; none for what the plan does not use.
  [[nodiscard]] std::span<const std::uint32_t> stations_of(const Outage& outage) const {
    if (!outage.is_link()) {
      const auto node = std::ranges::find(nodes_, outage.node, &NodeSpec::name);
      return network_.stations[static_cast<std::size_t>(node - nodes_.begin())];
    }
    for (std::size_t i = 0; i < network_.links.size(); ++i) {
      const LinkSpec& link = *network_.links[i];
      if (link.from == outage.node && link.to == outage.to) return network_.stations[nodes_.size() + i];
    }
    return {};
  }

  void on_outage(const Outage& outage, std::uint32_t index) {
    const double end_us = now_us_ + 1e6 * outage.duration_s;
    const bool for_good = !std::isfinite(end_us);
    for (const std::uint32_t station : stations_of(outage)) {
      if (stations_.take_down(now_us_, station)) routes_.station_down(station);
      if (for_good) routes_.station_lost(station);
    }
    if (!for_good) events_.push(end_us, EventKind::outage_end, index);
    recall();
    if (routes_.usable() == 0) lose_waiting();
    place_waiting();
  }

  void on_outage_end(const Outage& outage) {
    for (const std::uint32_t station : stations_of(outage)) {
      if (stations_.bring_up(station)) routes_.station_up(station);
    }
    place_waiting();
  }

  /// All requests on routes that are down leave them and wait to be sent again.
  void recall() {
    const auto states = routes_.states();
    std::vector<std::uint32_t> recalled;
    for (const std::uint32_t id : under_way_) {
      if (!states[requests_[id].route].alive) recalled.push_back(id);
    }
    for (const std::uint32_t id : recalled) {
      leave_route(requests_[id]);
      ++requests_[id].attempt;
      again_.push(id);
    }
    waiting_.set(now_us_, waiting());
  }

  void lose_waiting() {
    const std::size_t losing = waiting();
    lost_ += losing;
    again_ = {};
    fresh_.clear();
    waiting_.set(now_us_, 0);
    in_system_.set(now_us_, in_system_.value() - losing);
    for (std::size_t i = 0; closed() && i < losing; ++i) schedule_arrival();
  }

  // -- figures -------------------------------------------------------------------------------------------------------

  /// The warm-up is over.
  void begin_figures() {
    figures_from_us_ = now_us_;
    answered_before_ = answers_.size();
    in_system_.forget(now_us_);
    waiting_.move_to(now_us_);
    waiting_.forget(now_us_);
    stations_.forget(now_us_);
  }

  [[nodiscard]] Error too_many_events(double at_us) const {
    return {
        Errc::NotSupported,
        fmt::format("after {} events, at second {:.1f}, {} of {} requests are answered: the simulation is given up; "
                    "simulate fewer requests, let fail less, or raise max_events",
                    options_.max_events, at_us / 1e6, answers_.size(), total_)};
  }

  Simulation report(std::uint64_t events) {
    Simulation simulation;
    simulation.requests = requests_.size();
    simulation.answered = answers_.size();
    simulation.lost = lost_;
    simulation.refused = refused_;
    simulation.duplicated = duplicated_;
    simulation.replayed = replayed_;
    simulation.events = events;
    const double time_us = now_us_ - figures_from_us_;
    simulation.seconds = time_us / 1e6;
    if (time_us > 0) {
      simulation.throughput_rps = static_cast<double>(answers_.size() - answered_before_) / simulation.seconds;
    }
    std::vector<double> latencies_ms;
    latencies_ms.reserve(answers_.size());
    for (const AnsweredRequest& answer : answers_) {
      if (answer.counted) latencies_ms.push_back(answer.latency_us / 1e3);
    }
    simulation.latency_ms = latency_figures(std::move(latencies_ms));
    in_system_.move_to(now_us_);
    waiting_.move_to(now_us_);
    simulation.mean_in_system = in_system_.over(time_us).mean;
    simulation.waiting = waiting_.over(time_us);
    if (!closed()) {
      const double arrivals = options_.arrivals.kind == ArrivalKind::constant ? 0 : 1;
      growth_.judge(arrivals + options_.service.squared_variation(), simulation);
    }
    stations_.report(now_us_, time_us, simulation);
    fill_timeline(simulation, answers_, now_us_);
    return simulation;
  }

  const SimulateOptions& options_;
  std::span<const NodeSpec> nodes_;
  EventHeap events_;
  PlanNetwork network_;
  Stations stations_;
  Routes routes_;
  Router router_;
  RandomSource arrival_chance_;
  RandomSource failure_chance_;
  std::size_t total_;  ///< Requests that will have come.
  std::size_t max_under_way_ = 0;
  std::size_t loop_ = 0;  ///< What a closed loop keeps in flight.

  double now_us_ = 0;
  double next_arrival_us_ = 0;
  std::size_t scheduled_ = 0;  ///< Arrivals.
  std::vector<Request> requests_;
  std::vector<std::uint32_t> under_way_;
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> again_;  ///< Wait to be sent again.
  std::deque<std::uint32_t> fresh_;                                                       ///< Wait to be sent.

  std::vector<AnsweredRequest> answers_;
  std::size_t lost_ = 0;
  std::size_t refused_ = 0;
  std::size_t duplicated_ = 0;
  std::size_t replayed_ = 0;
  double figures_from_us_ = 0;
  std::size_t answered_before_ = 0;
  TimedCount in_system_;
  TimedCount waiting_;
  GrowthWatch growth_;
};

}  // namespace amp4ec::detail
