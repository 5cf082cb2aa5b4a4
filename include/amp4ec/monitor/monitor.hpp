// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/core/units.hpp>
#include <amp4ec/monitor/detail/sampler.hpp>
#include <amp4ec/monitor/node_source.hpp>
#include <amp4ec/monitor/sample.hpp>
#include <amp4ec/monitor/subscription.hpp>

#include <fmt/format.h>
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
#include <vector>

namespace amp4ec {

/// Watches nodes: reads each node's sources at a fixed interval, keeps a window of samples, tells its subscribers.
/// It draws no conclusion.
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
  static constexpr std::chrono::milliseconds shortest_interval{10};
  static constexpr std::size_t default_window = 100;

  /// `window`: how many samples `history` keeps for each node, at least 1. Nothing is sampled before `start`.
  explicit Monitor(const boost::asio::any_io_executor& executor, std::size_t window = default_window)
      : state_(std::make_shared<State>(executor, std::max<std::size_t>(window, 1))) {}
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;
  ~Monitor() {
    {
      const std::lock_guard lock(state_->data);
      state_->nodes.clear();
      state_->subscribers.clear();
    }
    stop();
  }

  /// Samples every `interval` from now on; a running monitor takes the new interval. Does not block.
  /// @error InvalidArgument below 10 ms.
  Result<void> start(Clock::duration interval = default_interval) {
    if (interval < shortest_interval) {
      return Error{Errc::InvalidArgument,
                   fmt::format("a sampling interval of {} us is below the shortest, {} ms",
                               std::chrono::duration_cast<std::chrono::microseconds>(interval).count(),
                               shortest_interval.count())};
    }
    const std::lock_guard lock(state_->data);
    state_->interval = interval;
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

  /// Adds a node and reads its sources once. @error InvalidArgument for an empty name or one that is there already.
  Result<void> add_node(NodeSource source) {
    const std::lock_guard exclude(state_->round);
    const std::string name = source.node;
    {
      const std::lock_guard lock(state_->data);
      if (name.empty() || state_->nodes.contains(name)) {
        return Error{Errc::InvalidArgument, fmt::format("node name '{}' is empty or taken in this monitor", name)};
      }
    }
    auto sampler = std::make_shared<detail::Sampler>(std::move(source), state_->window);
    sampler->begin(Clock::now());
    const std::lock_guard lock(state_->data);
    state_->nodes.emplace(name, std::move(sampler));
    return {};
  }

  /// Forgets a node and its samples; one that is not there is no error.
  void remove_node(const std::string& node) {
    const std::lock_guard exclude(state_->round);
    const std::lock_guard lock(state_->data);
    state_->nodes.erase(node);
  }

  /// The limits that samples carry from now on. @error InvalidArgument for an unknown node.
  Result<void> set_limits(const std::string& node, Cpus cpu_quota, Bytes memory_limit) {
    const std::lock_guard exclude(state_->round);
    const std::lock_guard lock(state_->data);
    const auto found = state_->nodes.find(node);
    if (found == state_->nodes.end()) return unknown(node);
    found->second->set_limits(cpu_quota, memory_limit);
    return {};
  }

  /// One round now, on this thread, beside those of the timer.
  void sample() {
    const auto state = state_;  // a callback may destroy the monitor
    State::run_round(*state);
  }

  /// The node's last sample. @error InvalidArgument for an unknown node or one without a sample so far.
  [[nodiscard]] Result<Sample> snapshot(const std::string& node) const {
    const std::lock_guard lock(state_->data);
    const auto found = state_->nodes.find(node);
    if (found == state_->nodes.end() || found->second->history().empty()) return unknown(node);
    return found->second->history().back();
  }

  /// The last sample of every node that has one, by name.
  [[nodiscard]] std::vector<Sample> latest() const {
    std::vector<Sample> samples;
    const std::lock_guard lock(state_->data);
    for (const auto& [name, sampler] : state_->nodes) {
      if (!sampler->history().empty()) samples.push_back(sampler->history().back());
    }
    return samples;
  }

  /// The node's window, oldest first; empty for an unknown node.
  [[nodiscard]] std::vector<Sample> history(const std::string& node) const {
    const std::lock_guard lock(state_->data);
    const auto found = state_->nodes.find(node);
    if (found == state_->nodes.end()) return {};
    return {found->second->history().begin(), found->second->history().end()};
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
      {
        const std::lock_guard data_lock(state->data);
        state->subscribers.erase(id);
      }
      const std::lock_guard wait(state->round);
    });
  }

 private:
  /// Lives as long as the monitor or a round in progress. A handler of the timer holds it weakly.
  struct State {
    State(const boost::asio::any_io_executor& executor, std::size_t window_size)
        : window(window_size), timer(executor) {}

    const std::size_t window;
    std::recursive_mutex
        round;        ///< Held during a round; recursive, since callbacks may call back. Taken before `data`.
    std::mutex data;  ///< Guards everything below; never held while a reader or callback runs.
    boost::asio::steady_timer timer;
    std::uint64_t generation = 0;  ///< Of the timer: a handler of an older one is void.
    Clock::duration interval{};
    Clock::time_point due;
    std::map<std::string, std::shared_ptr<detail::Sampler>> nodes;  ///< Samplers change under `round` and `data`.
    std::map<std::uint64_t, std::shared_ptr<const Callback>> subscribers;
    std::uint64_t next_subscriber = 0;

    /// `data` is held.
    static void schedule(const std::shared_ptr<State>& state) {
      state->due = std::max(state->due + state->interval, Clock::now());  // a late round does not cause a burst
      state->timer.expires_at(state->due);
      state->timer.async_wait([weak = std::weak_ptr<State>(state), generation = state->generation](auto error) {
        if (const auto alive = weak.lock(); alive && !error) on_timer(alive, generation);
      });
    }

    static void on_timer(const std::shared_ptr<State>& state, std::uint64_t generation) {
      const auto current = [&] {
        const std::lock_guard lock(state->data);
        return state->generation == generation;
      };
      // A round by hand may be waiting, in a callback, for this very thread: it serves as the timer's.
      if (const std::unique_lock round_lock(state->round, std::try_to_lock); round_lock) {
        if (!current()) return;
        run_round(*state);
      }
      const std::lock_guard lock(state->data);
      if (state->generation == generation) schedule(state);
    }

    static void run_round(State& state) {
      const std::lock_guard round_lock(state.round);
      std::vector<std::pair<std::string, std::shared_ptr<detail::Sampler>>> round_nodes;
      {
        const std::lock_guard lock(state.data);
        round_nodes.assign(state.nodes.begin(), state.nodes.end());
      }
      for (const auto& [name, sampler] : round_nodes) {
        if (!state.is_watched(name, sampler)) continue;  // a callback of this round has removed it
        const auto taken = sampler->next(Clock::now());
        {
          const std::lock_guard lock(state.data);
          sampler->keep(taken);
        }
        state.tell(taken);
      }
    }

    bool is_watched(const std::string& name, const std::shared_ptr<detail::Sampler>& sampler) {
      const std::lock_guard lock(data);
      const auto found = nodes.find(name);
      return found != nodes.end() && found->second == sampler;
    }

    void tell(const Sample& taken) {
      std::vector<std::uint64_t> ids;
      {
        const std::lock_guard lock(data);
        for (const auto& [id, callback] : subscribers) ids.push_back(id);
      }
      for (const auto id : ids) {
        std::shared_ptr<const Callback> callback;
        {
          const std::lock_guard lock(data);
          if (const auto found = subscribers.find(id); found != subscribers.end()) callback = found->second;
        }
        if (!callback || !*callback) continue;
        try {
          (*callback)(taken);
        } catch (...) {
          // As `subscribe` says: dropped.
        }
      }
    }
  };

  static Error unknown(const std::string& node) {
    return Error{Errc::InvalidArgument, fmt::format("the monitor has no sample of a node '{}'", node)};
  }

  std::shared_ptr<State> state_;
};

}  // namespace amp4ec
