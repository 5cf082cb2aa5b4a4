// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/support.hpp"
#include "support/catch.hpp"

#include <amp4ec/cgroup/hierarchy.hpp>
#include <amp4ec/model/compare.hpp>
#include <amp4ec/plan/plan.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <filesystem>
#include <string>
#include <utility>
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

/// What the kernel says in a file of the node's group, the one above its worker's, without the newline. `file`: of v1
/// and of v2. Empty when there is no such tree or file.
inline std::string file_of_node(pid_t worker, cgroup::Controller controller, std::pair<std::string, std::string> file) {
  namespace kernel = cgroup::detail;
  const auto hierarchy = cgroup::Hierarchy::detect().value();
  const auto groups =
      cgroup::parse_own_groups(kernel::read_file("/proc/" + std::to_string(worker) + "/cgroup").value()).value();
  for (const auto& tree : hierarchy.trees()) {
    if (!tree.has(controller)) continue;
    for (const auto& group : groups) {
      const bool in_tree = tree.version == 2 ? group.hierarchy == 0
                                             : kernel::has_word(group.controllers, ',', cgroup::to_string(controller));
      if (!in_tree) continue;
      const std::filesystem::path folder = tree.mount_point + kernel::group_below(tree.mount_root, group.path);
      const auto text = kernel::read_file(folder.parent_path() / (tree.version == 2 ? file.second : file.first));
      return text ? text->substr(0, text->find('\n')) : std::string();
    }
  }
  return {};
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
