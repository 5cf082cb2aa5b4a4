// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/detail/history.hpp>
#include <amp4ec/monitor/detail/sampler.hpp>
#include <amp4ec/monitor/node_view.hpp>
#include <amp4ec/monitor/sample.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace amp4ec::detail {

/// A node of a Monitor. The sampler is used under `MonitorState::round`, the rest under `data`.
struct MonitoredNode {
  MonitoredNode(NodeSource source, std::size_t window)
      : sampler(std::move(source)), history(window), view(std::make_shared<NodeView::Cell>()) {}

  Sampler sampler;
  History history;
  const std::shared_ptr<NodeView::Cell> view;
};

/// What a Monitor and its timer share. Lives as long as the monitor or a round in progress; a handler of the timer
/// holds it weakly. A round allocates nothing once every node's history is full.
struct MonitorState {
  using Callback = std::function<void(const Sample&)>;
  using Clock = MonitorClock;

  MonitorState(const boost::asio::any_io_executor& executor, std::size_t window_size)
      : window(window_size), timer(executor) {}

  const std::size_t window;
  std::recursive_mutex round;  ///< Held during a round; recursive, since callbacks may call back. Taken before `data`.
  Sample scratch;              ///< Under `round`.

  std::mutex data;  ///< Guards everything below; never held while a reader or callback runs.
  boost::asio::steady_timer timer;
  std::uint64_t generation = 0;  ///< Of the timer: a handler of an older one is void.
  Clock::duration interval{};
  Clock::duration slow_interval{};
  Clock::time_point due;
  std::map<std::string, std::shared_ptr<MonitoredNode>> nodes;
  std::map<std::uint64_t, std::shared_ptr<const Callback>> subscribers;
  std::uint64_t next_subscriber = 0;

  /// `data` is held.
  [[nodiscard]] MonitoredNode* find(const std::string& node) const {
    const auto found = nodes.find(node);
    return found == nodes.end() ? nullptr : found->second.get();
  }

  /// `data` is held.
  static void schedule(const std::shared_ptr<MonitorState>& state) {
    state->due = std::max(state->due + state->interval, Clock::now());  // a late round does not cause a burst
    state->timer.expires_at(state->due);
    state->timer.async_wait([weak = std::weak_ptr<MonitorState>(state), generation = state->generation](auto error) {
      if (const auto alive = weak.lock(); alive && !error) on_timer(alive, generation);
    });
  }

  static void on_timer(const std::shared_ptr<MonitorState>& state, std::uint64_t generation) {
    const auto current = [&] {
      const std::lock_guard lock(state->data);
      return state->generation == generation;
    };
    // A round by hand may be waiting, in a callback, for this very thread: it serves as the timer's.
    if (const std::unique_lock round_lock(state->round, std::try_to_lock); round_lock) {
      if (!current()) return;
      try {
        state->run_round();
      } catch (...) {
        // No memory for this round's samples; the next round comes all the same.
      }
    }
    const std::lock_guard lock(state->data);
    if (state->generation == generation) schedule(state);
  }

  void run_round() {
    const std::lock_guard round_lock(round);
    Sample taken = std::exchange(scratch, {});  // a callback may start a round within this one
    for (auto node = next_node(nullptr); node; node = next_node(node.get())) {
      node->sampler.next(Clock::now(), slow_after(), taken);
      if (keep(*node, taken)) tell(taken);
    }
    scratch = std::move(taken);
  }

  /// A round that runs goes on to its next step and then ends.
  void forget_all() {
    decltype(nodes) forgotten_nodes;  // destroyed without a lock: readers and callbacks may hold anything
    decltype(subscribers) forgotten_subscribers;
    const std::lock_guard lock(data);
    for (const auto& [name, node] : nodes) node->view->store(std::nullopt);
    forgotten_nodes.swap(nodes);
    forgotten_subscribers.swap(subscribers);
  }

 private:
  /// The one that comes after `node`, which may be gone by now, by name; the first for null.
  std::shared_ptr<MonitoredNode> next_node(const MonitoredNode* node) {
    const std::lock_guard lock(data);
    const auto next = node == nullptr ? nodes.begin() : nodes.upper_bound(node->sampler.node());
    return next == nodes.end() ? nullptr : next->second;
  }

  /// How old the slow tier's figures may be before a round reads them: at the round nearest to their interval.
  Clock::duration slow_after() {
    const std::lock_guard lock(data);
    return std::max(interval, slow_interval) - interval / 2;
  }

  /// False when the node has been removed meanwhile.
  bool keep(MonitoredNode& node, const Sample& taken) {
    const std::lock_guard lock(data);
    if (find(taken.node) != &node) return false;
    node.history.keep(taken);
    node.view->store(static_cast<const NodeFigures&>(taken));
    return true;
  }

  /// Tells those who were subscribed before the sample and still are.
  void tell(const Sample& taken) {
    std::uint64_t id = 0;
    std::uint64_t end = 0;
    {
      const std::lock_guard lock(data);
      end = next_subscriber;
    }
    for (;; ++id) {
      std::shared_ptr<const Callback> callback;
      {
        const std::lock_guard lock(data);
        const auto found = subscribers.lower_bound(id);
        if (found == subscribers.end() || found->first >= end) return;
        id = found->first;
        callback = found->second;
      }
      if (!*callback) continue;
      try {
        (*callback)(taken);
      } catch (...) {
        // As `Monitor::subscribe` says: dropped.
      }
    }
  }
};

}  // namespace amp4ec::detail
