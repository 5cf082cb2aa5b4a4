// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/event_heap.hpp>
#include <amp4ec/plan/detail/plan_network.hpp>
#include <amp4ec/plan/detail/quota_clock.hpp>
#include <amp4ec/plan/detail/random_source.hpp>
#include <amp4ec/plan/detail/simulation_figures.hpp>
#include <amp4ec/plan/service_model.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// One attempt at a request, on its way through a route.
struct Message {
  std::uint32_t request = 0;
  std::uint32_t attempt = 0;
};

/// The workers and links of a simulation, their queues and what they have in hand. Each host has at most one event that
/// counts: the time at which the first of its stations is done. Messages lie in one pool and are chained into the
/// queues, so that a request costs no allocation once the pool has grown.
class Stations {
 public:
  /// Borrows everything. Random numbers: streams 1 and 3 of the seed.
  Stations(const PlanNetwork& network, std::span<const NodeSpec> nodes, const ServiceModel& service, std::uint64_t seed,
           EventHeap& events)
      : network_(network), nodes_(nodes), service_(service), events_(events), service_chance_(seed, 1) {
    RandomSource periods(seed, 3);
    const double period_us = service.quota == QuotaModel::periods ? service.period_us : 0;
    for (std::size_t h = 0; h < network.stations.size(); ++h) {
      const double period_end_us = period_us * (1 - periods.uniform());
      hosts_.push_back({h < nodes.size() ? QuotaClock(nodes[h].cpus.count, period_us, period_end_us) : QuotaClock(1),
                        network.stations[h].size() == 1 ? network.stations[h].front() : none});
    }
    stations_.resize(network.host_of.size());
    for (std::size_t s = 0; s < stations_.size(); ++s) stations_[s].host = network.host_of[s];
    if (service.noise == ServiceNoise::lognormal) log_variance_ = std::log1p(service.squared_variation());
    for (const NodeSpec& node : nodes) all_speeds_ += node_speed(node);
  }

  /// Sends a message to the first station of a route.
  void send(double now_us, Message message, std::size_t route) {
    std::uint32_t place = free_places_;
    if (place == none) {
      place = static_cast<std::uint32_t>(pool_.size());
      pool_.emplace_back();
    } else {
      free_places_ = pool_[place].next;
    }
    pool_[place] = {message, network_.first_step[route], network_.first_step[route + 1] - 1, none};
    enter(now_us, place);
  }

  /// A `finish` event: the message goes on to its next station. One that has been to its last is returned. What comes
  /// to a station that is down is dropped.
  std::optional<Message> on_finish(double now_us, std::uint32_t host, std::uint32_t stamp) {
    if (hosts_[host].stamp != stamp) return std::nullopt;
    hosts_[host].clock.advance(now_us, hosts_[host].running);
    const std::uint32_t number = next_done(host);
    Station& station = stations_[number];
    hosts_[host].clock.settle_at(station.ends_at_work_us);
    const std::uint32_t place = take_current(now_us, station);
    ++station.served;
    if (station.first != none) begin(now_us, number, take_first(now_us, station));
    schedule(host);
    if (pool_[place].step == pool_[place].last_step) {
      free(place);
      return pool_[place].message;
    }
    ++pool_[place].step;
    enter(now_us, place);
    return std::nullopt;
  }

  /// Whatever the station holds is gone. Failures add up: true if it was up.
  bool take_down(double now_us, std::uint32_t number) {
    Station& station = stations_[number];
    if (station.down++ > 0) return false;
    ++station.failures;
    while (station.first != none) free(take_first(now_us, station));
    if (station.current == none) return true;
    hosts_[station.host].clock.advance(now_us, hosts_[station.host].running);
    free(take_current(now_us, station));
    schedule(station.host);
    return true;
  }

  /// The end of one failure: true if it was the last.
  bool bring_up(std::uint32_t number) { return --stations_[number].down == 0; }

  /// Figures count from here on.
  void forget(double now_us) {
    for (Host& host : hosts_) {
      host.clock.advance(now_us, host.running);
      host.clock.forget_use();
    }
    for (Station& station : stations_) {
      station.queue.move_to(now_us);
      station.queue.forget(now_us);
      station.began_us = now_us;
      station.busy_us = 0;
      station.served = 0;
    }
  }

  /// Fills in stages, links and nodes. @param time_us since `forget`
  void report(double now_us, double time_us, Simulation& simulation) {
    const auto share = [&](double part_us) { return time_us > 0 ? part_us / time_us : 0; };
    for (std::uint32_t number = 0; number < stations_.size(); ++number) {
      Station& station = stations_[number];
      station.queue.move_to(now_us);
      if (station.current != none) station.busy_us += now_us - station.began_us;
      const auto served = static_cast<double>(std::max<std::uint64_t>(1, station.served));
      const double wait_us = station.queue.area() / served;
      if (network_.is_worker(number)) {
        const Stage& stage = *network_.workers[number].stage;
        simulation.stages.push_back({stage.node, stage.first_layer, stage.last_layer, station.served,
                                     share(station.busy_us), station.busy_us / served, wait_us,
                                     station.queue.over(time_us), station.failures});
      } else {
        const LinkSpec& link = *network_.links[number - network_.workers.size()];
        simulation.links.push_back({link.from, link.to, station.served, share(station.busy_us), wait_us,
                                    station.queue.over(time_us), station.failures});
      }
    }
    for (std::size_t node = 0; node < nodes_.size(); ++node) {
      hosts_[node].clock.advance(now_us, hosts_[node].running);
      simulation.nodes.push_back({nodes_[node].name, share(hosts_[node].clock.used_us() / nodes_[node].cpus.count)});
    }
  }

 private:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  struct Place {
    Message message;
    std::uint32_t step = 0;  ///< In `PlanNetwork::steps`.
    std::uint32_t last_step = 0;
    std::uint32_t next = none;  ///< In a queue, or among the free.
  };
  struct Station {
    std::uint32_t host = 0;
    std::uint32_t current = none;
    std::uint32_t first = none;  ///< Of the queue.
    std::uint32_t last = none;
    std::uint32_t down = 0;  ///< How many failures last.
    std::uint32_t failures = 0;
    double ends_at_work_us = 0;  ///< On the host's clock.
    double began_us = 0;
    double busy_us = 0;
    std::uint64_t served = 0;
    TimedCount queue;
  };
  struct Host {
    QuotaClock clock;
    std::uint32_t only_station = none;  ///< None if there are more or less.
    std::uint32_t running = 0;
    std::uint32_t stamp = 0;  ///< Of its latest event; earlier ones are void.
  };

  void free(std::uint32_t place) {
    pool_[place].next = free_places_;
    free_places_ = place;
  }

  void enter(double now_us, std::uint32_t place) {
    const std::uint32_t number = network_.steps[pool_[place].step].station;
    Station& station = stations_[number];
    if (station.down > 0) return free(place);  // An earlier attempt: the later one is elsewhere.
    if (station.current == none) {
      begin(now_us, number, place);
      schedule(station.host);
      return;
    }
    pool_[place].next = none;
    if (station.first == none) {
      station.first = place;
    } else {
      pool_[station.last].next = place;
    }
    station.last = place;
    station.queue.set(now_us, station.queue.value() + 1);
  }

  /// Takes a message in hand. `schedule` has to follow.
  void begin(double now_us, std::uint32_t number, std::uint32_t place) {
    Station& station = stations_[number];
    Host& host = hosts_[station.host];
    host.clock.advance(now_us, host.running);
    if (host.running == 0) host.clock.begin_anew();
    count_running(station.host, +1);
    const double work_us = network_.steps[pool_[place].step].work_us;
    station.current = place;
    station.began_us = now_us;
    station.ends_at_work_us =
        host.clock.work_us() + (network_.is_worker(number) ? work_us * noise() * contention() : work_us);
  }

  void count_running(std::uint32_t host, int change) {
    const bool was_busy = hosts_[host].running > 0;
    hosts_[host].running = static_cast<std::uint32_t>(static_cast<int>(hosts_[host].running) + change);
    const bool is_busy = hosts_[host].running > 0;
    if (host < nodes_.size() && is_busy != was_busy)
      busy_speeds_ += is_busy ? node_speed(nodes_[host]) : -node_speed(nodes_[host]);
  }

  /// How much longer work takes that begins now: in proportion to the other CPUs that are busy, up to
  /// `Prediction::slowdown` for all nodes.
  [[nodiscard]] double contention() const {
    if (all_speeds_ <= 1) return network_.slowdown;
    return 1 + (network_.slowdown - 1) * std::clamp((busy_speeds_ - 1) / (all_speeds_ - 1), 0.0, 1.0);
  }

  /// How many times the mean, by chance.
  double noise() {
    switch (service_.noise) {
      case ServiceNoise::none: return 1;
      case ServiceNoise::lognormal:
        return std::exp(std::sqrt(log_variance_) * service_chance_.normal() - log_variance_ / 2);
      case ServiceNoise::exponential: return service_chance_.exponential();
    }
    return 1;
  }

  /// The station of a host that will be done first. @pre one is busy
  [[nodiscard]] std::uint32_t next_done(std::uint32_t host) const {
    if (hosts_[host].only_station != none) return hosts_[host].only_station;
    std::uint32_t first = none;
    for (const std::uint32_t number : network_.stations[host]) {
      if (stations_[number].current == none) continue;
      if (first == none || stations_[number].ends_at_work_us < stations_[first].ends_at_work_us) first = number;
    }
    return first;
  }

  /// Sets the time at which the host's next station is done; whatever was set before is void.
  void schedule(std::uint32_t number) {
    Host& host = hosts_[number];
    ++host.stamp;
    if (host.running == 0) return;
    const double left_us = stations_[next_done(number)].ends_at_work_us - host.clock.work_us();
    events_.push(host.clock.time_of(std::max(0.0, left_us), host.running), EventKind::finish, number, host.stamp);
  }

  /// What the station has in hand leaves it. @pre the host's clock is at this time
  std::uint32_t take_current(double now_us, Station& station) {
    count_running(station.host, -1);
    station.busy_us += now_us - station.began_us;
    return std::exchange(station.current, none);
  }

  std::uint32_t take_first(double now_us, Station& station) {
    const std::uint32_t place = station.first;
    station.first = pool_[place].next;
    station.queue.set(now_us, station.queue.value() - 1);
    return place;
  }

  const PlanNetwork& network_;
  std::span<const NodeSpec> nodes_;
  const ServiceModel& service_;
  EventHeap& events_;
  RandomSource service_chance_;
  double log_variance_ = 0;
  double all_speeds_ = 0;
  double busy_speeds_ = 0;  ///< Of the nodes that have something in hand.
  std::vector<Place> pool_;
  std::uint32_t free_places_ = none;
  std::vector<Station> stations_;
  std::vector<Host> hosts_;
};

}  // namespace amp4ec::detail
