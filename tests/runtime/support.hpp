// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/support.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/compare.hpp>
#include <amp4ec/plan/plan.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

namespace amp4ec::test {

/// Four layers with outputs far from zero.
inline Model small_model() {
  return Model::from_module(module_from(R"(
    def forward(self, x):
        a = torch.relu(x) + 1.0
        b = torch.sigmoid(a)
        return torch.tanh(b) * a
  )"))
      .value();
}

inline Pipeline pipeline(const std::vector<std::tuple<std::string, std::size_t, std::size_t>>& stages) {
  Pipeline made;
  for (const auto& [node, first, last] : stages) {
    Stage stage;
    stage.node = node;
    stage.first_layer = first;
    stage.last_layer = last;
    made.stages.push_back(stage);
  }
  return made;
}

inline Plan plan_of(std::vector<Pipeline> pipelines) {
  Plan plan;
  plan.pipelines = std::move(pipelines);
  return plan;
}

/// What the unsplit module answers.
inline Value whole_answer(const Model& model, const Values& inputs) {
  return model.reference_executor().value()->run(inputs).value().front();
}

/// Groups of this process that exist now, in any hierarchy.
inline std::size_t groups_left() {
  namespace fs = std::filesystem;
  const std::string prefix = "amp4ec-" + std::to_string(getpid()) + "-";
  std::size_t count = 0;
  std::error_code failed;
  for (const auto& tree : fs::directory_iterator("/sys/fs/cgroup", failed)) {
    if (tree.path().filename().string().starts_with(prefix)) ++count;
    for (const auto& group : fs::directory_iterator(tree.path(), failed)) {
      if (group.path().filename().string().starts_with(prefix)) ++count;
    }
  }
  return count;
}

}  // namespace amp4ec::test
