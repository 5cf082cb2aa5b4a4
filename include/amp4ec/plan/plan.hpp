// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace amp4ec {

/// Layers first_layer..last_layer (both included) on one node. Two stages with the same node and layers are one
/// worker: pipelines may share it.
struct Stage {
  std::string node;
  std::size_t first_layer = 0;
  std::size_t last_layer = 0;
  std::size_t leaf_modules = 0;  ///< Leaf modules of the original model in this range.
  double time_us = 0;            ///< Predicted service time of one request, the node's quota included.
  Bytes memory;                  ///< Predicted peak of the worker.
  Bytes crossing;                ///< Bytes handed to the next stage; 0 at the end.
  std::string form{};            ///< Its worker's, where the profile knows it (`found_form`); else the worker searches.

  bool operator==(const Stage&) const = default;
};

/// Stages in order; together they cover every layer once. A whole-model replica is a pipeline of one stage.
struct Pipeline {
  std::vector<Stage> stages;

  bool operator==(const Pipeline&) const = default;
};

struct Prediction {
  double throughput_rps = 0;  ///< Requests per second when kept full.
  double latency_ms = 0;      ///< One request alone, through the fastest pipeline.
  /// How much longer than their `time_us` stages take while the plan is kept full (`slowdown_when_full`), as
  /// `throughput_rps` counts on.
  double slowdown = 1;
  double price = 0;        ///< Of one request, on average: CPU time on each node times `NodeSpec::price`.
  bool estimated = false;  ///< From a profile that was estimated and not measured.

  bool operator==(const Prediction&) const = default;
};

/// Which worker runs which layers. Plain data; read and written as JSON by `plan_json.hpp`.
struct Plan {
  std::string model_hash;  ///< The model it was made for; empty matches any.
  std::string strategy;
  std::string objective;
  std::vector<Pipeline> pipelines;
  Prediction predicted;
  double gap = 0;      ///< Proven distance from the best plan under the stated model; 0 is optimal, negative not known.
  std::string advice;  ///< One sentence for a person, e.g. why splitting does not help here.

  bool operator==(const Plan&) const = default;
};

}  // namespace amp4ec
