// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace amp4ec::cli {

/// The options of every verb that works on a model.
struct ModelOptions {
  std::string model;
  std::vector<std::string> inputs;
  std::vector<std::string> examples;
  std::vector<std::string> op_libraries;
  std::uint64_t seed = 0;
  bool trusted = false;
  bool json = false;
};

/// MODEL, --seed, --op-library and --json.
void add_model_options(CLI::App& verb, ModelOptions& options);

/// --input and --example, for verbs that run the model.
void add_input_options(CLI::App& verb, ModelOptions& options);

}  // namespace amp4ec::cli
