// SPDX-License-Identifier: Apache-2.0
#include "model/cut_rules.hpp"

#include "model/aliases.hpp"
#include "model/graph_walk.hpp"
#include "model/state.hpp"
#include "model/typed_value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <set>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

/// Layers first..last have to stay together.
void keep_together(Lowered& lowered, std::ptrdiff_t first, std::ptrdiff_t last, const std::string& reason) {
  const auto end = static_cast<std::ptrdiff_t>(lowered.refused.size());
  for (std::ptrdiff_t cut = std::max<std::ptrdiff_t>(first, 0); cut < std::min(last, end); ++cut) {
    std::string& slot = lowered.refused[static_cast<std::size_t>(cut)];
    if (slot.empty()) slot = reason;
  }
}

/// Operators whose result depends on the storage behind a tensor, not only on its elements.
bool reads_storage(const jit::Node* node) {
  static const std::set<c10::Symbol> operators = [] {
    std::set<c10::Symbol> symbols;
    for (const char* name :
         {"aten::as_strided", "aten::as_strided_", "aten::storage_offset", "aten::set_", "aten::is_set_to",
          "aten::data_ptr", "aten::resize_", "aten::resize_as_", "aten::_reshape_alias", "aten::is_pinned"}) {
      symbols.insert(c10::Symbol::fromQualString(name));
    }
    return symbols;
  }();
  return operators.count(node->kind()) != 0;
}

/// What an optimiser may compute once and for all: [], zeros(4), and what follows from those alone.
jit::ValueSet foldable_values(const Lowered& lowered) {
  jit::ValueSet foldable;
  const auto is_known = [&](const jit::Value* value) {
    return value->node()->kind() == c10::prim::Constant || foldable.count(value) != 0;
  };
  for (const jit::Node* node : lowered.layers) {  // In order: what a layer reads is judged before it.
    if (!node->blocks().empty() || node->hasSideEffects() || node->isNondeterministic()) continue;
    if (node->kind() == c10::prim::GetAttr) continue;
    if (std::all_of(node->inputs().begin(), node->inputs().end(), is_known))
      foldable.insert(node->outputs().begin(), node->outputs().end());
  }
  return foldable;
}

/// What may share memory with what, among the values that can cross a cut.
class Sharing {
 public:
  explicit Sharing(const Lowered& lowered)
      : aliases_(lowered.graph, lowered.state), foldable_(foldable_values(lowered)) {
    for (const LiveRange& range : lowered.ranges) {
      if (is_mutable(range.value->type())) candidates_.push_back(range);
    }
  }

  /// A value that shares memory with what a layer writes.
  struct Shared {
    LiveRange range;
    bool inside = false;  ///< It is written inside the value: an element of a list, say.
  };

  /// Of the values for which `matters(range)`.
  template <class Matters>
  [[nodiscard]] std::vector<Shared> written_by(jit::Node* layer, const Matters& matters) const {
    std::vector<Shared> shared;
    if (!aliases_.writes(layer)) return shared;
    for (const LiveRange& range : candidates_) {
      if (!matters(range)) continue;
      if (aliases_.writes(layer, range.value)) {
        shared.push_back({range, false});
      } else if (aliases_.writes_inside(layer, range.value)) {
        shared.push_back({range, true});
      }
    }
    return shared;
  }

  [[nodiscard]] bool is_foldable(const jit::Value* value) const { return foldable_.count(value) != 0; }

  /// True when a layer writes to memory of any of these values, or of what they hold.
  template <class Values>
  [[nodiscard]] bool writes_any(jit::Node* layer, const Values& values) const {
    return std::any_of(values.begin(), values.end(),
                       [&](const jit::Value* value) { return aliases_.writes_any(layer, value); });
  }

  /// The first layer that defines something which may share memory with `value`.
  [[nodiscard]] std::ptrdiff_t first_sharing(const jit::Value* value, std::ptrdiff_t layer) const {
    std::ptrdiff_t first = layer;
    for (const LiveRange& range : candidates_) {
      if (aliases_.share(range.value, value)) first = std::min(first, range.defined);
    }
    return first;
  }

 private:
  Aliases aliases_;
  jit::ValueSet foldable_;
  std::vector<LiveRange> candidates_;  // values that something could write
};

std::string describe_writer(const Lowered& lowered, std::ptrdiff_t layer) {
  return fmt::format("alias crosses: {} (layer {}) writes memory that would be parted",
                     lowered.layers[static_cast<std::size_t>(layer)]->kind().toQualString(), layer);
}

// A copy of a value may be written as the value itself, as long as nobody else looks at that memory. So of what shares
// the memory that a layer writes, only one value may cross a cut before that layer.
void refuse_parted_aliases(Lowered& lowered, const std::vector<Sharing::Shared>& shared, std::ptrdiff_t layer) {
  // How many of them cross the cut after each layer, as differences from one to the next; two for one that may share
  // with itself.
  std::vector<int> crossing(static_cast<std::size_t>(layer) + 1);
  for (const auto& [range, inside] : shared) {
    if (range.defined >= layer) continue;
    const auto from = static_cast<std::size_t>(std::max<std::ptrdiff_t>(range.defined, 0));
    crossing[from] += inside ? 2 : 1;
    if (range.last_use < layer)
      crossing[static_cast<std::size_t>(std::max<std::ptrdiff_t>(range.last_use, 0))] -= inside ? 2 : 1;
  }
  const std::string reason = describe_writer(lowered, layer);
  int count = 0;
  for (std::ptrdiff_t cut = 0; cut < layer; ++cut) {
    count += crossing[static_cast<std::size_t>(cut)];
    if (count >= 2) keep_together(lowered, cut, cut + 1, reason);
  }
}

// In a segment without its first writer such a value looks like a constant. Whoever runs it would hand out the same
// object in every call, with what the later segment wrote into it: right in the first call only.
void refuse_parting_from_first_writer(Lowered& lowered, const std::vector<Sharing::Shared>& shared,
                                      std::ptrdiff_t layer, const Sharing& sharing,
                                      std::set<const jit::Value*>& written) {
  for (const auto& [range, inside] : shared) {
    if (range.defined < layer && sharing.is_foldable(range.value) && written.insert(range.value).second)
      keep_together(lowered, range.defined, layer, describe_writer(lowered, layer));
  }
}

/// How many cuts are not refused yet, between any two layers.
class OpenCuts {
 public:
  explicit OpenCuts(const Lowered& lowered) : before_(lowered.layers.size() + 1) {
    for (std::size_t cut = 0; cut < lowered.layers.size(); ++cut) {
      const bool open = cut < lowered.refused.size() && lowered.refused[cut].empty();
      before_[cut + 1] = before_[cut] + (open ? 1 : 0);
    }
  }
  /// True when there is one after any of the layers first, ..., last - 1.
  [[nodiscard]] bool any(std::ptrdiff_t first, std::ptrdiff_t last) const {
    first = std::max<std::ptrdiff_t>(first, 0);
    return first < last && before_[static_cast<std::size_t>(last)] > before_[static_cast<std::size_t>(first)];
  }

 private:
  std::vector<std::size_t> before_;  // by layer: open cuts in front of it
};

void refuse_shared_memory(Lowered& lowered, const Sharing& sharing) {
  std::set<const jit::Value*> written;
  for (std::ptrdiff_t layer = 0; layer < static_cast<std::ptrdiff_t>(lowered.layers.size()); ++layer) {
    jit::Node* node = lowered.layers[static_cast<std::size_t>(layer)];
    std::optional<OpenCuts> open;
    // Thousands of writes to one tensor must not mean millions of questions: what has no cut left is not asked about.
    const auto matters = [&](const LiveRange& range) {
      if (!open) open.emplace(lowered);
      return open->any(range.defined, sharing.is_foldable(range.value) ? layer : std::min(range.last_use, layer));
    };
    if (const auto shared = sharing.written_by(node, matters); !shared.empty()) {
      refuse_parted_aliases(lowered, shared, layer);
      refuse_parting_from_first_writer(lowered, shared, layer, sharing, written);
    }
    for_each_node_of(node, [&](jit::Node* inner) {
      if (!reads_storage(inner) || inner->inputs().empty()) return;
      keep_together(lowered, sharing.first_sharing(inner->input(0), layer), layer,
                    fmt::format("storage crosses: {} (layer {}) looks at the storage behind its argument",
                                inner->kind().toQualString(), layer));
    });
  }
}

/// First and last layer that use something.
struct Users {
  std::ptrdiff_t first = std::numeric_limits<std::ptrdiff_t>::max();
  std::ptrdiff_t last = -1;
  void add(std::ptrdiff_t layer) {
    first = std::min(first, layer);
    last = std::max(last, layer);
  }
};

void refuse_shared_state(Lowered& lowered, const Sharing& sharing) {
  const auto values = values_of_state(*lowered.graph);
  if (values.empty()) return;
  std::map<std::string, Users> users;
  const jit::Value* self = lowered.graph->inputs()[0];
  for (std::size_t layer = 0; layer < lowered.layers.size(); ++layer) {
    const auto at = static_cast<std::ptrdiff_t>(layer);
    for (const std::string& name : attributes_touched(lowered.layers[layer], self)) users[name].add(at);
    for (const auto& [name, aliases] : values) {
      if (sharing.writes_any(lowered.layers[layer], aliases)) users[name].add(at);
    }
  }
  for (const auto& group : groups_that_share(lowered.state)) {
    Users all;
    for (const std::string& name : group) {
      if (users.count(name) == 0) continue;
      all.add(users[name].first);
      all.add(users[name].last);
    }
    keep_together(lowered, all.first, all.last,
                  fmt::format("state would be shared: layers {} to {} use '{}'", all.first, all.last, group.front()));
  }
}

void refuse_open_contexts(Lowered& lowered) {
  for (std::size_t layer = 0; layer < lowered.layers.size(); ++layer) {
    const std::size_t last = last_of_context(lowered, layer);
    keep_together(lowered, static_cast<std::ptrdiff_t>(layer), static_cast<std::ptrdiff_t>(last),
                  fmt::format("context crosses: the 'with' statement of layers {} to {} is open", layer, last));
  }
}

/// Early returns leave results of branches without a value: whatever is there is never read, and has no true type.
bool may_be_uninitialized(const jit::Value* value) {
  const jit::Node* node = value->node();
  if (node->kind() == c10::prim::Uninitialized) return true;
  const bool loop = node->kind() == c10::prim::Loop;
  if (node->kind() != c10::prim::If && !loop) return false;
  // A loop's body returns the condition first; its node takes the trip count and the condition first.
  const auto in_block = [&](const jit::Block* block) {
    return may_be_uninitialized(block->outputs().at(value->offset() + (loop ? 1 : 0)));
  };
  const auto blocks = node->blocks();
  return std::any_of(blocks.begin(), blocks.end(), in_block) ||
         (loop && may_be_uninitialized(node->inputs().at(value->offset() + 2)));
}

void refuse_travel(Lowered& lowered) {
  for (const LiveRange& range : lowered.ranges) {
    if (may_be_uninitialized(range.value)) {
      keep_together(lowered, range.defined, range.last_use, "value cannot travel: an uninitialized value crosses");
    } else if (!is_transferable(range.value->type())) {
      keep_together(lowered, range.defined, range.last_use,
                    fmt::format("value cannot travel: type {}", range.value->type()->annotation_str()));
    }
  }
}

}  // namespace

std::size_t last_of_context(const Lowered& lowered, std::size_t layer) {
  int open = 0;
  for (std::size_t last = layer; last < lowered.layers.size(); ++last) {
    if (lowered.layers[last]->kind() == c10::prim::Enter) ++open;
    if (lowered.layers[last]->kind() == c10::prim::Exit) --open;
    if (open <= 0) return last;
  }
  return lowered.layers.size() - 1;
}

void refuse_cuts(Lowered& lowered) {
  const Sharing sharing(lowered);
  refuse_shared_memory(lowered, sharing);
  refuse_shared_state(lowered, sharing);
  refuse_open_contexts(lowered);
  refuse_travel(lowered);
}

}  // namespace amp4ec::detail
