// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/schedule/worker_state.hpp>

#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace amp4ec {

/// One route that a request may take: its workers in the order of the visit. None of the pointers is null.
struct Candidate {
  std::span<const WorkerState* const> workers;
};

/// Why a policy does not consider a route.
enum class SkipReason : std::uint8_t {
  none,          ///< It is considered.
  no_workers,    ///< The route is empty.
  dead,          ///< A worker on it is not alive.
  overloaded,    ///< A worker's load is over the policy's limit.
  too_slow,      ///< A worker's latency is over the policy's limit.
  lacks_cpu,     ///< A worker has less CPU available than a request needs.
  lacks_memory,  ///< A worker has less memory available than a request needs.
};

/// In words, e.g. "lacks memory"; for logs and explanations.
constexpr std::string_view to_string(SkipReason reason) noexcept {
  switch (reason) {
    case SkipReason::none: return "considered";
    case SkipReason::no_workers: return "no workers";
    case SkipReason::dead: return "dead";
    case SkipReason::overloaded: return "overloaded";
    case SkipReason::too_slow: return "too slow";
    case SkipReason::lacks_cpu: return "lacks CPU";
    case SkipReason::lacks_memory: return "lacks memory";
  }
  return "unknown";
}

/// How good a route is: larger is better, `tie_break` counts between equal values. The unit is the policy's own.
struct Score {
  double value = 0;
  double tie_break = 0;

  auto operator<=>(const Score&) const = default;
};

/// What a policy thinks of one route. The score means nothing when there is a reason to skip.
struct Verdict {
  SkipReason skip = SkipReason::none;
  Score score;
};

/// Picks the route of each request. A policy of one's own (with new terms in the score) derives from this and overrides
/// `judge`; `choose` is the same for all. No allocation, no locks; both functions may be called from several threads.
class Policy {
 public:
  Policy() = default;
  Policy(const Policy&) = delete;
  Policy& operator=(const Policy&) = delete;
  virtual ~Policy() = default;

  /// The name that `make_policy` knows it by.
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  /// What it thinks of one route, by itself. For explanations; `choose` calls it for every candidate.
  [[nodiscard]] virtual Verdict judge(const Candidate& candidate) const noexcept = 0;

  /// Index of the best candidate; none when all are skipped (Errc::NoRoute is the caller's to report). Equal candidates
  /// take turns: of those, the first after the last choice wins.
  [[nodiscard]] std::optional<std::size_t> choose(std::span<const Candidate> candidates) noexcept {
    if (candidates.empty()) return std::nullopt;
    const std::size_t first = turn_.load(std::memory_order_relaxed) % candidates.size();
    std::optional<std::size_t> best;
    Score best_score;
    for (std::size_t step = 0; step < candidates.size(); ++step) {
      const std::size_t index = (first + step) % candidates.size();
      const Verdict verdict = judge(candidates[index]);
      if (verdict.skip != SkipReason::none) continue;
      if (best && !(verdict.score > best_score)) continue;
      best = index;
      best_score = verdict.score;
    }
    if (best) turn_.store(*best + 1, std::memory_order_relaxed);
    return best;
  }

 private:
  std::atomic<std::size_t> turn_ = 0;
};

/// The rule of every policy: a route needs workers, and they must live.
constexpr SkipReason skip_unusable(const Candidate& candidate) noexcept {
  if (candidate.workers.empty()) return SkipReason::no_workers;
  for (const WorkerState* worker : candidate.workers) {
    if (!worker->alive) return SkipReason::dead;
  }
  return SkipReason::none;
}

}  // namespace amp4ec
