// SPDX-License-Identifier: Apache-2.0
#include "model_options.hpp"

#include <CLI/CLI.hpp>

namespace amp4ec::cli {

void add_model_options(CLI::App& verb, ModelOptions& options) {
  verb.add_option("MODEL", options.model, "A TorchScript file, or the name of a reference model (see 'amp4ec zoo')")
      ->required();
  verb.add_option("--seed", options.seed, "Seed of random inputs and of a reference model's weights")
      ->capture_default_str();
  verb.add_option("--op-library", options.op_libraries,
                  "A shared library with custom operators, loaded before the model; repeatable")
      ->allow_extra_args(false);
  verb.add_flag("--trusted", options.trusted, "Load the file without trying it in a process of its own first");
  verb.add_flag("--json", options.json, "Print one JSON object and nothing else");
}

void add_input_options(CLI::App& verb, ModelOptions& options) {
  auto* input = verb.add_option("--input", options.inputs,
                                "A random input, SHAPE[:float|:int64[:MAX]], e.g. 1x3x224x224; once for each input")
                    ->allow_extra_args(false);
  verb.add_option("--example", options.examples,
                  "Inputs that Python's torch.save wrote: a tuple; once more for inputs of another shape")
      ->allow_extra_args(false)
      ->excludes(input);
}

}  // namespace amp4ec::cli
