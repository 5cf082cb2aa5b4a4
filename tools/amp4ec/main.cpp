// SPDX-License-Identifier: Apache-2.0
#include "interrupt.hpp"
#include "output.hpp"
#include "threads.hpp"
#include "verb.hpp"

#include <amp4ec/model/segment_executor.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <boost/json/object.hpp>

#include <exception>
#include <string>

namespace amp4ec::cli {
namespace {

constexpr const char* verbs = "zoo, inspect, plan, split, verify, run, simulate, top";

int fail(Exit exit, const std::string& text) {
  print_failure(text);
  return static_cast<int>(exit);
}

/// What the parser objects to; its own sentence for a wrong verb is about subcommands.
std::string explain(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const auto chosen = app.get_subcommands();
  if (!chosen.empty()) return fmt::format("{}; see 'amp4ec {} --help'", error.what(), chosen.front()->get_name());
  if (argc < 2) return fmt::format("which verb? Use one of {}; see 'amp4ec --help'", verbs);
  return fmt::format("'{}' is not a verb; use one of {}; see 'amp4ec --help'", argv[1], verbs);
}

/// A failure that answers the question: the model does not fit.
bool is_an_answer(const Error& error) {
  return error.code == Errc::PlanInfeasible || error.code == Errc::OutOfMemory;
}

int perform(const Action& action, bool as_json) {
  const Interrupt interrupt;
  const Result<Exit> result = [&]() -> Result<Exit> {
    try {
      return action(interrupt);
    } catch (const std::exception& exception) {
      return Error{Errc::Internal, exception.what()};
    }
  }();
  if (interrupt) {
    print_failure("interrupted");
    return 128 + interrupt.signal();
  }
  if (result) return static_cast<int>(*result);
  const Error& error = result.error();
  if (!is_an_answer(error)) return fail(Exit::bad, error.what());
  if (as_json) {
    const boost::json::object object{{"error", {{"code", to_string(error.code)}, {"message", error.message}}}};
    if (const auto printed = print_json(object); !printed) return fail(Exit::bad, printed.error().what());
  }
  return fail(Exit::no, error.what());
}

int run(int argc, char** argv) {
  CLI::App app("Split deep-learning inference over small, unequal, changing nodes.", "amp4ec");
  app.footer("Exit status: 0 success; 1 the answer is no (not equal, does not fit); 2 bad use or bad input.");
  app.set_version_flag("--version", AMP4EC_VERSION);
  app.require_subcommand(1);
  Action chosen;
  for (const auto add : {add_zoo, add_inspect, add_plan, add_split, add_verify, add_run, add_simulate, add_top})
    add(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
    return fail(Exit::bad, explain(app, error, argc, argv));
  }
  const CLI::App* verb = app.get_subcommands().front();
  return perform(chosen, verb->get_option("--json")->count() > 0);
}

}  // namespace
}  // namespace amp4ec::cli

int main(int argc, char** argv) {
  amp4ec::disable_fuser_in_this_process();
  amp4ec::cli::use_one_thread();
  return amp4ec::cli::run(argc, argv);
}
