// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/count_vectors.hpp>
#include <amp4ec/plan/detail/search_space.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace amp4ec::detail {

/// Bits, one a boundary.
using BoundarySet = std::vector<std::uint64_t>;

inline bool has(const std::uint64_t* set, std::size_t boundary) {
  return (set[boundary / 64] >> (boundary % 64) & 1U) != 0;
}
inline void add(std::uint64_t* set, std::size_t boundary) {
  set[boundary / 64] |= std::uint64_t{1} << (boundary % 64);
}

/// From which boundaries can the rest of the model be run, if no stage and no link may take longer than a bound?
/// Answers for every vector of counts at once.
///
/// Dynamic programming over (nodes used at most, class of the first of them), whose value is the set of boundaries from
/// which they can finish, as bits: 64 boundaries are tested by one instruction, and nothing is assumed of the times, so
/// a longer segment may be quicker. Kinds to which the same links are quick enough form one class; where no link binds
/// there is one. O(v k b w) for v vectors, k kinds, b boundaries and w words that a segment's ends span (one or two
/// where stages are short).
class FinishSets {
 public:
  /// max_stages: 0 for no bound. first_only: stop as soon as the whole model can be run.
  FinishSets(const SearchSpace& space, const CountVectors& vectors, double most_us, std::size_t max_stages,
             bool first_only)
      : space_(space), vectors_(vectors), most_us_(most_us), words_((space.end() + 64) / 64) {
    classify_links();
    find_rows();
    max_stages_ = max_stages == 0 ? space.end() : max_stages;
    sets_.assign(vectors_.size() * classes_ * words_, 0);
    find_supply();
    Counts counts(vectors_.kinds(), 0);
    for (std::size_t v = 1; v < vectors_.size(); ++v) {
      vectors_.advance(counts);
      fill(v, counts);
      if (!whole_ && std::ranges::any_of(sets_of(v), [&](const std::uint64_t* set) { return has(set, 0); })) whole_ = v;
      if (whole_ && first_only) break;
    }
  }

  /// Whether a pipeline keeps the bound.
  [[nodiscard]] bool feasible() const { return whole_.has_value(); }

  /// Whether at most these nodes can run what is left from a boundary that was reached on this kind.
  [[nodiscard]] bool can_finish(std::size_t left, std::size_t kind, std::size_t boundary) const {
    if (boundary == space_.end()) return true;
    for (std::size_t c = 0; c < classes_; ++c) {
      if (link_ok(kind, c, boundary) && has(set(left, c), boundary)) return true;
    }
    return false;
  }
  /// The same from the start of the model.
  [[nodiscard]] bool can_start(std::size_t left) const {
    return std::ranges::any_of(sets_of(left), [](const std::uint64_t* set) { return has(set, 0); });
  }

  /// A pipeline that keeps the bound. Only if there is one.
  [[nodiscard]] Pieces trace() const {
    Pieces pieces;
    std::size_t left = *whole_;
    std::size_t from = 0;
    while (from < space_.end()) {
      const std::size_t before = from;
      for (std::size_t k = 0; k < vectors_.kinds() && from == before; ++k) {
        if (vectors_.count(left, k) == 0) continue;
        if (!pieces.empty() && !link_ok(pieces.back().kind, class_of_[k], from)) continue;
        const BoundarySet goals = goals_after(left - vectors_.one(k), k);
        for (std::size_t to = space_.end(); to > from; --to) {
          if (!row_has(k, from, to) || !has(goals.data(), to)) continue;
          pieces.push_back({k, from, to});
          left -= vectors_.one(k);
          from = to;
          break;
        }
      }
      if (from == before) return {};  // cannot be: a set holds no boundary without a way on
    }
    return pieces;
  }

  /// Memory that the sets of so many vectors need, in 64-bit words, if every kind is a class of its own.
  static double words_needed(const SearchSpace& space, const CountVectors& vectors) {
    const double classes = space.linked() ? static_cast<double>(space.kinds()) : 1;
    const std::size_t words = (space.end() + 64) / 64;
    return static_cast<double>(vectors.size()) * classes * static_cast<double>(words);
  }

 private:
  struct Row {
    std::uint32_t first_word = 0;
    std::uint32_t words = 0;
    std::size_t offset = 0;  // in bits_
  };

  [[nodiscard]] const std::uint64_t* set(std::size_t v, std::size_t c) const {
    return sets_.data() + (v * classes_ + c) * words_;
  }
  [[nodiscard]] std::vector<const std::uint64_t*> sets_of(std::size_t v) const {
    std::vector<const std::uint64_t*> result;
    for (std::size_t c = 0; c < classes_; ++c) result.push_back(set(v, c));
    return result;
  }

  /// Kinds that every sender reaches quickly enough over the same boundaries form a class.
  void classify_links() {
    const std::size_t kinds = space_.kinds();
    class_of_.assign(kinds, 0);
    std::vector<std::vector<BoundarySet>> known;  // [class][sender]
    for (std::size_t to = 0; to < kinds; ++to) {
      std::vector<BoundarySet> quick(kinds, BoundarySet(words_, 0));
      for (std::size_t from = 0; from < kinds; ++from) {
        if (space_.link(from, to) == nullptr) {
          quick[from].assign(words_, ~std::uint64_t{0});
          continue;
        }
        for (std::size_t b = 0; b <= space_.end(); ++b) {
          if (space_.link_us(from, to, b) <= most_us_) add(quick[from].data(), b);
        }
      }
      const auto same = std::ranges::find(known, quick);
      class_of_[to] = static_cast<std::size_t>(same - known.begin());
      if (same == known.end()) known.push_back(std::move(quick));
    }
    classes_ = known.size();
    quick_.resize(kinds * classes_ * words_);
    for (std::size_t from = 0; from < kinds; ++from) {
      for (std::size_t c = 0; c < classes_; ++c) {
        std::ranges::copy(known[c][from], quick_.begin() + static_cast<std::ptrdiff_t>((from * classes_ + c) * words_));
      }
    }
  }
  [[nodiscard]] bool link_ok(std::size_t from, std::size_t to_class, std::size_t boundary) const {
    return has(quick_.data() + (from * classes_ + to_class) * words_, boundary);
  }

  /// Where a stage that starts at a boundary may end, on each kind.
  void find_rows() {
    const Segments& segments = space_.segments();
    rows_.resize(space_.kinds() * space_.end());
    for (std::size_t k = 0; k < space_.kinds(); ++k) {
      if (vectors_.most()[k] == 0) continue;
      const double speed = space_.kind(k).speed;
      for (std::size_t from = 0; from < space_.end(); ++from) {
        const std::size_t reach = space_.reach(k, from);
        Row& row = rows_[k * space_.end() + from];
        row = {static_cast<std::uint32_t>((from + 1) / 64), 0, bits_.size()};
        for (std::size_t to = from + 1; to <= reach; ++to) {
          if ((segments.share_us(to) - segments.share_us(from)) / speed > most_us_) break;
          if (space_.stage_us(k, from, to) > most_us_) continue;
          const std::size_t word = to / 64 - row.first_word;
          if (word >= row.words) {
            row.words = static_cast<std::uint32_t>(word + 1);
            bits_.resize(row.offset + row.words, 0);
          }
          bits_[row.offset + word] |= std::uint64_t{1} << (to % 64);
        }
      }
    }
  }
  [[nodiscard]] bool row_has(std::size_t kind, std::size_t from, std::size_t to) const {
    const Row& row = rows_[kind * space_.end() + from];
    const std::size_t word = to / 64;
    return word >= row.first_word && word < row.first_word + row.words &&
           (bits_[row.offset + word - row.first_word] >> (to % 64) & 1U) != 0;
  }

  /// What one node of each kind can take of the layers' time and memory, with a margin for rounding.
  void find_supply() {
    constexpr double margin = 1 + 1e-9;
    for (std::size_t k = 0; k < space_.kinds(); ++k) {
      time_supply_.push_back(most_us_ * space_.kind(k).speed * margin);
      memory_supply_.push_back(std::max(space_.capacity(k), 0.0) * margin);
    }
  }

  /// The boundaries that at most these nodes can possibly finish from while the others get there.
  [[nodiscard]] std::pair<std::size_t, std::size_t> window(const Counts& counts) const {
    const Segments& segments = space_.segments();
    double time = 0;
    double memory = 0;
    double other_time = 0;
    double other_memory = 0;
    for (std::size_t k = 0; k < counts.size(); ++k) {
      const std::uint32_t others = vectors_.most()[k] - counts[k];
      if (counts[k] > 0) time += counts[k] * time_supply_[k];
      if (counts[k] > 0) memory += counts[k] * memory_supply_[k];
      if (others > 0) other_time += others * time_supply_[k];
      if (others > 0) other_memory += others * memory_supply_[k];
    }
    const auto first = [&](auto&& enough) {
      std::size_t low = 0;
      std::size_t high = space_.end();
      while (low < high) {
        const std::size_t middle = (low + high) / 2;
        if (enough(middle)) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      return low;
    };
    const double whole_us = segments.share_us(space_.end());
    const double weights = segments.weights(space_.end());
    const std::size_t low = first([&](std::size_t b) {
      return whole_us - segments.share_us(b) <= time && weights - segments.weights(b) <= memory;
    });
    const std::size_t high = first(
        [&](std::size_t b) { return segments.share_us(b + 1) > other_time || segments.weights(b + 1) > other_memory; });
    return {low, high};
  }

  /// Boundaries that a stage on this kind may end at, if these nodes are left for the rest.
  [[nodiscard]] BoundarySet goals_after(std::size_t left, std::size_t kind) const {
    BoundarySet goals(words_, 0);
    collect_goals(left, kind, goals.data());
    return goals;
  }
  void collect_goals(std::size_t left, std::size_t kind, std::uint64_t* goals) const {
    std::fill_n(goals, words_, 0);
    for (std::size_t c = 0; c < classes_; ++c) {
      const std::uint64_t* finish = set(left, c);
      const std::uint64_t* quick = quick_.data() + (kind * classes_ + c) * words_;
      for (std::size_t w = 0; w < words_; ++w) goals[w] |= finish[w] & quick[w];
    }
    add(goals, space_.end());
  }

  void fill(std::size_t v, const Counts& counts) {
    std::uint64_t* mine = sets_.data() + v * classes_ * words_;
    for (std::size_t k = 0; k < counts.size(); ++k) {
      if (counts[k] == 0) continue;
      const std::uint64_t* fewer = set(v - vectors_.one(k), 0);
      for (std::size_t w = 0; w < classes_ * words_; ++w) mine[w] |= fewer[w];
    }
    if (total(counts) > max_stages_) return;
    const auto [low, high] = window(counts);
    goals_.resize(words_);
    for (std::size_t k = 0; k < counts.size(); ++k) {
      if (counts[k] == 0) continue;
      collect_goals(v - vectors_.one(k), k, goals_.data());
      std::uint64_t* finish = mine + class_of_[k] * words_;
      for (std::size_t from = low; from <= high && from < space_.end(); ++from) {
        const Row& row = rows_[k * space_.end() + from];
        std::uint64_t common = 0;
        for (std::uint32_t w = 0; w < row.words; ++w) common |= bits_[row.offset + w] & goals_[row.first_word + w];
        if (common != 0) add(finish, from);
      }
    }
  }

  const SearchSpace& space_;
  const CountVectors& vectors_;
  double most_us_;
  std::size_t words_;
  std::size_t max_stages_ = 0;
  std::size_t classes_ = 1;
  std::vector<std::size_t> class_of_;  // [kind]
  std::vector<std::uint64_t> quick_;   // [sender's kind][class][word]
  std::vector<Row> rows_;              // [kind][from]
  std::vector<std::uint64_t> bits_;    // of the rows
  std::vector<std::uint64_t> sets_;    // [vector][class][word]
  std::vector<double> time_supply_;    // [kind], of one node
  std::vector<double> memory_supply_;  // [kind], of one node
  std::vector<std::uint64_t> goals_;   // scratch of fill
  std::optional<std::size_t> whole_;   // the first vector that can run the whole model
};

}  // namespace amp4ec::detail
