// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/answer.hpp>
#include <amp4ec/plan/detail/label_search.hpp>
#include <amp4ec/plan/detail/one_pipeline.hpp>
#include <amp4ec/plan/detail/packing.hpp>
#include <amp4ec/plan/detail/set_search.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// The exact search for any number of pipelines: a `SetSearch` says what each vector of nodes can do, a `Packing`
/// shares the nodes out, and a `LabelSearch` makes each pipeline the one of least latency that its nodes can form so
/// quickly.
class SeveralPipelines {
 public:
  SeveralPipelines(SearchSpace space, Counts counts, PipelineBounds bounds, std::size_t max_stages)
      : space_(std::move(space)), vectors_(std::move(counts)), bounds_(bounds), max_stages_(max_stages) {}

  /// Whether the search takes seconds at most.
  [[nodiscard]] bool affordable() const {
    const std::size_t levels = std::max<std::size_t>({bounds_.exactly, bounds_.most, 1});
    const double cells = static_cast<double>(vectors_.size()) * static_cast<double>(vectors_.kinds()) *
                         static_cast<double>(space_.end() + 1);
    return FinishSets::words_needed(space_, vectors_) <= 0x1p23 && cells <= 0x1p24 &&
           SetSearch::steps(space_, vectors_) <= 6e8 && Packing::steps(vectors_) * static_cast<double>(levels) <= 1e8;
  }

  [[nodiscard]] Answer solve(Objective objective) {
    switch (objective) {
      case Objective::throughput: return most_throughput();
      case Objective::latency: return least_latency();
      case Objective::memory: return least_memory();
    }
    return {};
  }

 private:
  /// The rate of each vector of nodes; -infinity where it has no pipeline, so that `Packing` leaves it alone.
  [[nodiscard]] std::vector<double> rates(const SetSearch& search) const {
    std::vector<double> result(vectors_.size(), -infinity);
    for (std::size_t v = 1; v < vectors_.size(); ++v) {
      if (search.best(v) < infinity) result[v] = rate_rps(search.best(v));
    }
    return result;
  }

  /// Requests a second of the best pipeline of several stages; 0 if there is none.
  [[nodiscard]] double best_split(const std::vector<double>& rate) const {
    double best = 0;
    for (std::size_t v = 1; v < rate.size(); ++v) {
      if (total(vectors_.counts(v)) > 1) best = std::max(best, rate[v]);
    }
    return best;
  }

  /// Of the pipelines on at most these nodes with at most this bottleneck: the one of least latency.
  [[nodiscard]] Pieces shortest(std::size_t v, double most_us) const {
    return shortest_within(space_, CountVectors(vectors_.counts(v)), most_us, max_stages_, most_labels_for_ties);
  }

  [[nodiscard]] Answer most_throughput() const {
    const SetSearch search(space_, vectors_, SetCost::bottleneck, max_stages_);
    const std::vector<double> rate = rates(search);
    const Packing packing(vectors_, rate, bounds_, 0, std::plus<>());
    if (packing.best(vectors_.full()) <= 0) return {{}, true};
    Answer answer{{}, true, 0, best_split(rate)};
    for (const std::size_t v : packing.sets(vectors_.full())) {
      answer.pipelines.push_back(shortest(v, std::max(search.best(v), shortest_us)));
    }
    return answer;
  }

  [[nodiscard]] Answer least_memory() {
    const SetSearch search(space_, vectors_, SetCost::memory, max_stages_);
    std::vector<double> worth(vectors_.size(), -infinity);
    for (std::size_t v = 1; v < worth.size(); ++v) worth[v] = -search.best(v);
    // More pipelines never make the largest stage smaller: where any number will do, one decides.
    const Packing packing(vectors_, worth, {std::max<std::size_t>(bounds_.exactly, 1), 0}, infinity,
                          [](double a, double b) { return std::min(a, b); });
    const double least = -packing.best(vectors_.full());
    if (least == infinity) return {{}, true};
    space_.bound_memory(Bytes{static_cast<std::uint64_t>(least)});
    return most_throughput();
  }

  [[nodiscard]] Answer least_latency() const {
    const FinishSets finish(space_, vectors_, infinity, max_stages_, false);
    if (!finish.feasible()) return {{}, true};
    const SetSearch by_rate(space_, vectors_, SetCost::bottleneck, max_stages_);
    const std::vector<double> rate = rates(by_rate);
    const PipelineBounds rest{bounds_.exactly > 0 ? bounds_.exactly - 1 : 0, bounds_.most > 0 ? bounds_.most - 1 : 0};
    const Packing others(vectors_, rate, rest, 0, std::plus<>());
    // The first pipeline must leave enough nodes for the others.
    std::vector<bool> viable(vectors_.size());
    for (std::size_t v = 0; v < viable.size(); ++v) viable[v] = others.best(v) != -infinity;
    LabelSearch by_latency(space_, vectors_, finish, infinity, max_stages_, viable);
    LagrangianSearch bounds(space_, vectors_.most(), max_stages_);
    bounds.run(4e8);
    by_latency.run(bounds.multipliers(), rest.exactly > 0 ? Pieces{} : bounds.best(), most_labels(vectors_));

    const std::vector<LabelSearch::Label> ends = by_latency.ends();
    const LabelSearch::Label* first = nullptr;
    double throughput = 0;
    for (const LabelSearch::Label& end : ends) {
      const double with_others = rate_rps(end.longest_us) + others.best(end.left);
      if (with_others <= throughput) continue;
      first = &end;
      throughput = with_others;
    }
    if (first == nullptr) return {{}, by_latency.complete()};
    Answer answer{{by_latency.trace(*first)}, by_latency.complete(), by_latency.lower_bound_us(), best_split(rate)};
    for (const std::size_t v : others.sets(first->left)) {
      answer.pipelines.push_back(shortest(v, std::max(by_rate.best(v), shortest_us)));
    }
    return answer;
  }

  SearchSpace space_;
  CountVectors vectors_;
  PipelineBounds bounds_;
  std::size_t max_stages_;
};

}  // namespace amp4ec::detail
