// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/units.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace amp4ec {

/// The smallest unit that a cut may separate: one operator of the lowered model, in execution order.
struct Layer {
  std::string name;       ///< Module path and operator, e.g. "features.3.conv.0.0/aten::conv2d".
  std::string op;         ///< The operator, e.g. "aten::conv2d".
  double flops = 0;       ///< Multiply-accumulates times two for one run of the example; 0 where not known.
  Bytes weights;          ///< Constants that this operator reads. A constant that several layers read counts in each.
  Bytes output;           ///< Bytes that the operator wrote in one run of the example.
  bool random = false;    ///< The operator draws random numbers: its output cannot be compared or cached.
  bool stateful = false;  ///< It reads or writes what the model keeps from call to call: one worker owns that.

  bool operator==(const Layer&) const = default;
};

/// The place after one layer. Every cut is valid or says why not.
struct Cut {
  bool valid = false;
  std::string reason;               ///< Empty when valid; else a documented code and a sentence, "alias crosses: ...".
  Bytes crossing;                   ///< Bytes of tensors that cross, in one run of the example.
  std::size_t crossing_values = 0;  ///< How many values cross.
  Bytes message{};                  ///< Size of the message that carried all of them in that run.

  bool operator==(const Cut&) const = default;
};

/// A module without children, as the author of the model wrote it: the unit in which AMP4EC counts.
struct LeafModule {
  std::string name;             ///< Path, e.g. "features.0.0".
  double cost = 0;              ///< AMP4EC's layer cost: k_h*k_w*C_in*C_out, N_in*N_out, or the number of parameters.
  std::size_t first_layer = 0;  ///< First layer at or after which this module, or a later one, does its work.

  bool operator==(const LeafModule&) const = default;
};

/// A model as data: what the planner knows of its structure. Torch-free, copyable, plain values.
struct LayerGraph {
  std::string model_hash;          ///< Content hash of the lowered model; ties profiles and plans to it.
  std::vector<Layer> layers;       ///< In execution order; never empty for a model that lowers.
  std::vector<Cut> cuts;           ///< cuts[i] lies between layers[i] and layers[i + 1]; one fewer than layers.
  std::vector<LeafModule> leaves;  ///< In registration order, which is the order in which AMP4EC walks them.

  bool operator==(const LayerGraph&) const = default;
};

}  // namespace amp4ec
