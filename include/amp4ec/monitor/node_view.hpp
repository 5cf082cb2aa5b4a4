// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/monitor/detail/latest.hpp>
#include <amp4ec/monitor/sample.hpp>

#include <memory>
#include <optional>
#include <utility>

namespace amp4ec {

/// A node's latest figures, for a path that may not wait: `load` takes no lock and allocates nothing, about 50 ns.
/// Get one by `Monitor::view` once, and keep it. It may outlive the node and the Monitor.
/// Thread-safety: `load` may be called from any thread, on one object too.
class NodeView {
 public:
  using Cell = detail::Latest<std::optional<NodeFigures>>;

  NodeView() = default;
  explicit NodeView(std::shared_ptr<const Cell> cell) noexcept : cell_(std::move(cell)) {}

  /// The last sample's figures. Nothing before the node's first sample, and after it was removed.
  [[nodiscard]] std::optional<NodeFigures> load() const noexcept {
    return cell_ ? cell_->load().value_or(std::nullopt) : std::nullopt;
  }

 private:
  std::shared_ptr<const Cell> cell_;
};

}  // namespace amp4ec
