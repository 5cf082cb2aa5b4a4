// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inputs.hpp"
#include "model_options.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/model.hpp>
#include <amp4ec/plan/layer_graph.hpp>

#include <optional>

namespace amp4ec::cli {

/// A model and inputs that it accepts.
struct Subject {
  Model model;
  Inputs inputs;
  LayerGraph graph;  ///< Learnt from the example.

  /// Name of the first layer that draws random numbers: answers cannot be compared then.
  [[nodiscard]] std::optional<std::string> random_layer() const;
};

/// The file, or the reference model of that name where there is no such file. Unless the user trusts it, a process of
/// its own first tries the file, and runs it on the example if there is one. @error as load_untrusted; FileNotFound
/// when there is neither.
Result<Model> load_model(const ModelOptions& options, const Values* example = nullptr);

/// The model, its inputs and its layers. A reference model knows its inputs; for a file they must be given.
/// @error as `load_model`; InvalidArgument for bad or missing inputs; InputMismatch when the model refuses them.
Result<Subject> load_subject(const ModelOptions& options);

}  // namespace amp4ec::cli
