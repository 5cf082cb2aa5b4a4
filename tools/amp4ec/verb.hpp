// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <functional>

namespace CLI {
class App;
}

namespace amp4ec::cli {

class Interrupt;

/// How the command ends. An error of a verb becomes `no` when it says that the model does not fit, else `bad`.
enum class Exit {
  success = 0,
  no = 1,   ///< The answer is no: not equal, does not fit.
  bad = 2,  ///< Bad use or bad input.
};

/// The work of the verb that the user chose, its options bound.
using Action = std::function<Result<Exit>(const Interrupt&)>;

// Each adds its verb to the command; when the user asks for it, parsing leaves its work in `chosen`.
void add_zoo(CLI::App& app, Action& chosen);
void add_inspect(CLI::App& app, Action& chosen);
void add_plan(CLI::App& app, Action& chosen);
void add_split(CLI::App& app, Action& chosen);
void add_verify(CLI::App& app, Action& chosen);
void add_run(CLI::App& app, Action& chosen);
void add_simulate(CLI::App& app, Action& chosen);
void add_top(CLI::App& app, Action& chosen);

}  // namespace amp4ec::cli
