// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/core/units.hpp>
#include <amp4ec/monitor/detail/monitor_state.hpp>
#include <amp4ec/monitor/node_source.hpp>
#include <amp4ec/monitor/node_view.hpp>
#include <amp4ec/monitor/sample.hpp>
#include <amp4ec/monitor/subscription.hpp>

#include <fmt/format.h>
#include <boost/asio/any_io_executor.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace amp4ec {

/// Watches nodes: reads each node's sources at a fixed interval, keeps a window of samples, tells its subscribers.
/// It draws no conclusion. Sources that are dear to read form a slow tier, read at an interval of its own; each sample
/// carries their last figures.
///
/// Thread-safety: every method may be called from any thread, callbacks and readers included, while any number of
/// threads run the executor. One round of sampling runs at a time, on a thread of the executor or in `sample`.
/// `stop`, `remove_node`, `Subscription::reset` and the destructor wait for a running round (unless called from
/// within it): after them, what they took away is not called any more. Hold no lock there that a reader or callback
/// takes. The executor's context must outlive the Monitor; it need not be running.
class Monitor {
 public:
  using Callback = std::function<void(const Sample&)>;
  using Clock = std::chrono::steady_clock;

  static constexpr std::chrono::milliseconds default_interval{1000};
  static constexpr std::chrono::milliseconds default_slow_interval{5000};
  static constexpr std::chrono::milliseconds shortest_interval{10};
  static constexpr std::size_t default_window = 100;

  /// `window`: how many samples `history` keeps for each node, at least 1. Nothing is sampled before `start`.
  explicit Monitor(const boost::asio::any_io_executor& executor, std::size_t window = default_window)
      : state_(std::make_shared<State>(executor, std::max<std::size_t>(window, 1))) {
    state_->slow_interval = default_slow_interval;
  }
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;
  ~Monitor() {
    state_->forget_all();
    stop();
  }

  /// Samples every `interval` from now on, and reads the slow tier at the round nearest to `slow_interval` (in every
  /// round where that is the shorter one). A running monitor takes the new intervals. Does not block.
  /// @error InvalidArgument below 10 ms.
  Result<void> start(Clock::duration interval = default_interval,
                     Clock::duration slow_interval = default_slow_interval) {
    if (const auto shorter = std::min(interval, slow_interval); shorter < shortest_interval) {
      return Error{Errc::InvalidArgument,
                   fmt::format("a sampling interval of {} us is below the shortest, {} ms",
                               std::chrono::duration_cast<std::chrono::microseconds>(shorter).count(),
                               shortest_interval.count())};
    }
    const std::lock_guard lock(state_->data);
    state_->interval = interval;
    state_->slow_interval = slow_interval;
    ++state_->generation;
    state_->due = Clock::now();
    State::schedule(state_);
    return {};
  }

  /// No more rounds by the timer; the samples stay. `start` goes on.
  void stop() {
    {
      const std::lock_guard lock(state_->data);
      ++state_->generation;
      state_->timer.cancel();
    }
    const std::lock_guard wait(state_->round);
  }

  /// Adds a node and reads its sources once, figures of the user's own excepted.
  /// @error InvalidArgument for an empty name or one that is there already, of the node or of a figure.
  Result<void> add_node(NodeSource source) {
    const std::lock_guard exclude(state_->round);
    const std::string name = source.node;
    {
      const std::lock_guard lock(state_->data);
      if (name.empty() || state_->nodes.contains(name)) {
        return Error{Errc::InvalidArgument, fmt::format("node name '{}' is empty or taken in this monitor", name)};
      }
    }
    auto figures = std::move(source.figures);
    auto watched = std::make_shared<detail::MonitoredNode>(std::move(source), state_->window);
    for (auto& figure : figures) {
      const auto figure_name = figure.name;
      if (!watched->sampler.add_figure(std::move(figure))) return taken_figure(name, figure_name);
    }
    watched->sampler.begin(Clock::now());
    const std::lock_guard lock(state_->data);
    state_->nodes.emplace(name, std::move(watched));
    return {};
  }

  /// Forgets a node and its samples; one that is not there is no error.
  void remove_node(const std::string& node) {
    std::shared_ptr<detail::MonitoredNode> removed;  // destroyed without a lock: readers may hold anything
    const std::lock_guard exclude(state_->round);
    const std::lock_guard lock(state_->data);
    const auto found = state_->nodes.find(node);
    if (found == state_->nodes.end()) return;
    removed = std::move(found->second);
    removed->view->store(std::nullopt);
    state_->nodes.erase(found);
  }

  /// The limits that samples carry from now on. @error InvalidArgument for an unknown node.
  Result<void> set_limits(const std::string& node, Cpus cpu_quota, Bytes memory_limit) {
    return change_node(node, [&](detail::Sampler& sampler) -> Result<void> {
      sampler.set_limits(cpu_quota, memory_limit);
      return {};
    });
  }

  /// Adds a figure of the user's own to the node's samples; it is read in the next round for the first time.
  /// @error InvalidArgument for an unknown node, and for a name that is empty or taken.
  Result<void> add_figure(const std::string& node, FigureSource figure) {
    return change_node(node, [&](detail::Sampler& sampler) -> Result<void> {
      const auto name = figure.name;
      if (!sampler.add_figure(std::move(figure))) return taken_figure(node, name);
      return {};
    });
  }

  /// The node's samples lack this figure from now on; one that is not there is no error. Its reader is not called any
  /// more. @error InvalidArgument for an unknown node.
  Result<void> remove_figure(const std::string& node, const std::string& figure) {
    std::shared_ptr<const void> removed;  // as in remove_node
    return change_node(node, [&](detail::Sampler& sampler) -> Result<void> {
      removed = sampler.remove_figure(figure);
      return {};
    });
  }

  /// One round now, on this thread, beside those of the timer.
  void sample() {
    const auto state = state_;  // a callback may destroy the monitor
    state->run_round();
  }

  /// The node's last sample. @error InvalidArgument for an unknown node or one without a sample so far.
  [[nodiscard]] Result<Sample> snapshot(const std::string& node) const {
    const std::lock_guard lock(state_->data);
    const auto* found = state_->find(node);
    const auto* last = found == nullptr ? nullptr : found->history.latest();
    if (last == nullptr) return unknown(node);
    return *last;
  }

  /// For the request path: the node's latest figures without lock or allocation. @error InvalidArgument for an unknown
  /// node.
  [[nodiscard]] Result<NodeView> view(const std::string& node) const {
    const std::lock_guard lock(state_->data);
    const auto* found = state_->find(node);
    if (found == nullptr) return unknown(node);
    return NodeView(found->view);
  }

  /// The last sample of every node that has one, by name.
  [[nodiscard]] std::vector<Sample> latest() const {
    std::vector<Sample> samples;
    const std::lock_guard lock(state_->data);
    for (const auto& [name, node] : state_->nodes) {
      if (const auto* last = node->history.latest()) samples.push_back(*last);
    }
    return samples;
  }

  /// The node's window, oldest first; empty for an unknown node.
  [[nodiscard]] std::vector<Sample> history(const std::string& node) const {
    const std::lock_guard lock(state_->data);
    const auto* found = state_->find(node);
    if (found == nullptr) return {};
    return found->history.copy();
  }

  /// Calls back with every sample, until the subscription ends. Keep what it returns. The callback should be
  /// short, since it delays the round, and must not throw: what it throws is dropped, so that the others are told.
  Subscription subscribe(Callback callback) {
    const std::lock_guard lock(state_->data);
    const auto id = state_->next_subscriber++;
    state_->subscribers.emplace(id, std::make_shared<const Callback>(std::move(callback)));
    return Subscription([weak = std::weak_ptr<State>(state_), id] {
      const auto state = weak.lock();
      if (!state) return;
      decltype(state->subscribers)::node_type ended;  // destroyed without a lock: callbacks may hold anything
      {
        const std::lock_guard data_lock(state->data);
        ended = state->subscribers.extract(id);
      }
      const std::lock_guard wait(state->round);
    });
  }

 private:
  using State = detail::MonitorState;

  /// Changes a node between rounds. `change` runs under both locks.
  template <class Change>
  Result<void> change_node(const std::string& node, Change change) {
    const std::lock_guard exclude(state_->round);
    const std::lock_guard lock(state_->data);
    auto* found = state_->find(node);
    if (found == nullptr) return unknown(node);
    return change(found->sampler);
  }

  static Error taken_figure(const std::string& node, const std::string& figure) {
    return Error{Errc::InvalidArgument, fmt::format("figure name '{}' is empty or taken at node '{}'", figure, node)};
  }
  static Error unknown(const std::string& node) {
    return Error{Errc::InvalidArgument, fmt::format("the monitor has no sample of a node '{}'", node)};
  }

  std::shared_ptr<State> state_;
};

}  // namespace amp4ec
