// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/detail/group_meter.hpp>
#include <amp4ec/monitor/detail/worker_meter.hpp>
#include <amp4ec/monitor/node_source.hpp>
#include <amp4ec/monitor/sample.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// Reads the sources of one node and makes its samples. Calls exclude one another, but a reader may call all methods
/// other than `begin` and `next`.
class Sampler {
 public:
  using Clock = MonitorClock;

  /// The source's figures are added by `add_figure`.
  explicit Sampler(NodeSource source) : source_(std::move(source)) { source_.figures.clear(); }

  [[nodiscard]] const std::string& node() const noexcept { return source_.node; }

  /// Reads where the sums stand, so that the first sample already has an interval.
  void begin(Clock::time_point now) {
    NodeFigures unused;
    if (const auto reading = read(source_.read_workers)) workers_.begin(*reading, now);
    if (const auto times = read(source_.read_service_times)) workers_.begin_times(*times, now);
    read_slow_tier(now);
    read_group(now, unused);
  }

  /// Reads the fast tier, and the slow one when it was last read `slow_after` ago or longer. Allocates nothing where
  /// `sample` was of this node already, unless a reader does.
  void next(Clock::time_point now, Clock::duration slow_after, Sample& sample) {
    const bool slow = now - slow_.slow_time >= slow_after;
    if (slow) read_slow_tier(now);
    NodeFigures figures = slow_;
    figures.time = now;
    figures.cpu_quota = source_.cpu_quota;
    figures.memory_limit = source_.memory_limit;
    read_group(now, figures);
    if (source_.read_workers) read_workers(now, figures.throttled);
    workers_.write(figures);
    static_cast<NodeFigures&>(sample) = figures;
    sample.node = source_.node;
    read_figures(slow);
    sample.user.resize(figures_.size());
    for (std::size_t i = 0; i < figures_.size(); ++i) {
      sample.user[i].name = figures_[i]->source.name;
      sample.user[i].value = figures_[i]->value;
    }
  }

  void set_limits(Cpus quota, Bytes memory) {
    source_.cpu_quota = quota;
    source_.memory_limit = memory;
  }

  /// False when the name is empty or taken; then the figure is still the caller's, to destroy where it may.
  bool add_figure(FigureSource&& figure) {
    if (figure.name.empty() || find_figure(figure.name) != figures_.end()) return false;
    figures_.push_back(std::make_shared<Figure>(Figure{std::move(figure), {}}));
    return true;
  }
  /// Returns what is left of the figure, if it was there: destroying it runs the user's code.
  std::shared_ptr<const void> remove_figure(const std::string& name) {
    const auto found = find_figure(name);
    if (found == figures_.end()) return nullptr;
    auto removed = std::move(*found);
    figures_.erase(found);
    return removed;
  }

 private:
  struct Figure {
    FigureSource source;
    std::optional<double> value;
    bool tried = false;
  };
  using Figures = std::vector<std::shared_ptr<Figure>>;

  Figures::iterator find_figure(const std::string& name) {
    return std::ranges::find_if(figures_, [&](const auto& figure) { return figure->source.name == name; });
  }

  /// Nothing where there is no reader or where it fails.
  template <class T>
  static std::optional<T> read(const std::function<Result<T>()>& reader) {
    if (!reader) return std::nullopt;
    try {
      if (auto reading = reader()) return std::move(*reading);
    } catch (...) {
      // As `NodeSource` says: a failed reading.
    }
    return std::nullopt;
  }

  void read_slow_tier(Clock::time_point now) {
    slow_ = {};
    slow_.slow_time = now;
    if (const auto details = read(source_.read_details)) group_.add_details(*details, now, slow_);
    if (const auto times = read(source_.read_service_times)) workers_.add_times(*times, now);
    if (const auto traffic = read(source_.read_network)) {
      if (!network_at_start_) network_at_start_ = traffic;
      const auto& start = *network_at_start_;
      slow_.network_known = true;
      slow_.network = {Bytes{growth(traffic->received.count, start.received.count)},
                       Bytes{growth(traffic->sent.count, start.sent.count)},
                       growth(traffic->packets_received, start.packets_received),
                       growth(traffic->packets_sent, start.packets_sent)};
    }
  }

  void read_group(Clock::time_point now, NodeFigures& figures) {
    const auto usage = read(source_.read_usage);
    if (!usage) return;
    // Dear to read, and mostly the same: worth it only where something has come or gone.
    if (group_.is_inactive_file_old(usage->memory)) {
      if (const auto inactive_file = read(source_.read_inactive_file)) group_.add_inactive_file(*inactive_file);
    }
    group_.add_usage(*usage, now, figures);
  }

  void read_workers(Clock::time_point now, double throttled) {
    const auto reading = read(source_.read_workers);
    reading ? workers_.add(*reading, now, throttled, source_.stall_after) : workers_.add_failure();
  }

  void read_figures(bool slow) {
    // By index, and with a hold on the figure: its reader may add and remove figures.
    for (std::size_t i = 0; i < figures_.size(); ++i) {
      const auto figure = figures_[i];
      if (figure->source.tier == Tier::slow && !slow && figure->tried) continue;
      figure->tried = true;
      figure->value = read(figure->source.read);
    }
  }

  NodeSource source_;
  Figures figures_;
  GroupMeter group_;
  WorkerMeter workers_;
  std::optional<NetworkTraffic> network_at_start_;
  NodeFigures slow_;  ///< Only the slow tier's fields are set.
};

}  // namespace amp4ec::detail
