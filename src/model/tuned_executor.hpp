// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/model/segment_executor.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace amp4ec::detail {

/// Another way to execute the same segment. What `make` throws says that this way is not possible.
struct Candidate {
  std::string name;
  std::function<std::unique_ptr<SegmentExecutor>()> make;
};

/// Finds in its first call, with that call's inputs, which of several executors of one segment is the fastest that
/// answers as the plain one does, and uses it from then on. The others are released; there are never more than two.
/// Only for segments without state, chance and side effects: the first call runs them many times.
class TunedExecutor final : public SegmentExecutor {
 public:
  TunedExecutor(std::unique_ptr<SegmentExecutor> plain, std::vector<Candidate> candidates)
      : executor_(std::move(plain)), candidates_(std::move(candidates)) {}

  Result<Values> run(const Values& inputs) override {
    return candidates_.empty() ? executor_->run(inputs) : tune(inputs);
  }

  [[nodiscard]] bool is_tuned() const noexcept { return candidates_.empty(); }
  /// The candidate that is used; "plain" when it is none of them.
  [[nodiscard]] const std::string& chosen() const noexcept { return chosen_; }

 private:
  Result<Values> tune(const Values& inputs);

  std::unique_ptr<SegmentExecutor> executor_;
  std::vector<Candidate> candidates_;  ///< Empty when tuned.
  std::string chosen_ = "plain";
};

}  // namespace amp4ec::detail
